# The two commands of the README. Each sets itself up: `make demo`, `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo
export TOKENIZERS_PARALLELISM := false

.PHONY: help setup demo test test-slow lint docs lock clean

help:
	@echo "make demo      train, cross-validate, save and query a micro-expression model on drawn faces (synthetic)"
	@echo "make test      run the quick tests      make test-slow run the slow ones"
	@echo "make lint      ruff and mypy            make lock      resolve requirements.lock anew"
	@echo "make docs      build the documentation's site in build/docs"

# The environment is made anew whenever the lock file or the project's metadata change.
$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "hsta-hf needs Python 3.10 or newer; set PYTHON=/path/to/python3")'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing the tested set of packages (7.5 GB with PyTorch; some minutes, without a word) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

setup: $(VENV)/.ready

demo: setup
	PATH="$(abspath $(BIN)):$$PATH" bash scripts/demo.sh $(DEMO)

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m "not slow" -q

test-slow: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m slow -q

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lock:
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.10 \
		--no-emit-index-url --no-annotate --upgrade -o requirements.lock \
		--custom-compile-command "make lock"

clean:
	rm -rf $(VENV) $(DEMO) build dist
