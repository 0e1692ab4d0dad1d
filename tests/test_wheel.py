"""The wheel: what it holds works outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PROGRAM = """
import sys
from pathlib import Path
import hsta_hf
assert Path(hsta_hf.__file__).is_relative_to(sys.argv[1]), hsta_hf.__file__
from transformers import AutoConfig, AutoModelForVideoClassification
config = hsta_hf.HSTAConfig.from_preset("tiny", num_labels=7)
config.save_pretrained("config")
model = AutoModelForVideoClassification.from_config(AutoConfig.from_pretrained("config"))
assert type(model) is hsta_hf.HSTAForMicroExpressionClassification
from hsta_hf.training.recipe import load_recipe, shipped_recipes
names = set(shipped_recipes())
assert {"synthetic_demo", "casme3_paper", "casme3_flow", "casme3_flow_small"} <= names, names
assert all(Path(p).is_relative_to(sys.argv[1]) for p in shipped_recipes().values())
load_recipe("synthetic_demo")
from hsta_hf.paper import load_tables
assert len(load_tables()) == 7
from hsta_hf.reporting.model_card import find_template
for name in ("template.md", "recipe_template.md"):
    assert find_template(name).is_relative_to(sys.argv[1]), find_template(name)
from hsta_hf.cli.main import main
assert main(["synthesize", "database", "--subjects", "1", "--clips-per-subject", "2", "--size", "64", "--quiet"]) == 0
assert main(["prepare", "casme3", "database", "prepared", "--faces", "keep"]) == 0
"""


@pytest.mark.slow
def test_the_wheel_works_outside_the_checkout(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        template = (ROOT / "model_cards" / "template.md").read_bytes()
        assert archive.read("hsta_hf/model_cards/template.md") == template
        assert not [name for name in archive.namelist() if name.startswith(("tests/", "scripts/"))]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(site)], cwd=elsewhere, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    usage = [sys.executable, "-m", "hsta_hf.cli.main", "--help"]
    done = subprocess.run(usage, cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "synthesize" in done.stdout
