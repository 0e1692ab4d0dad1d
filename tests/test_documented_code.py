"""Every code block of README.md, CONTRIBUTING.md, docs/ and the benchmarks' README is run, or is named with a reason.

`documented_code/rules.py` is the table of what is run how. The quick tests say that every block has its place there
and that every command would be understood; the slow ones run them.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from documented_code import rules
from documented_code.blocks import Block, blocks_of, documents, inline_commands, unfenced_commands
from documented_code.commands import Command, NotUnderstood, check, check_inline, check_yaml, commands_of
from documented_code.running import Failed, check_shell, is_run, run_block
from documented_code.workplace import Workplace, fill_hub, lay_out
from filelock import FileLock
from hub_server import HubServer

PAGES = documents()
_COMMAND_LINE = re.compile(r"^\s*\$?\s*(hsta|python|pip|accelerate|make) [\w./-]")
RUN_PAGES = [page for page in PAGES if any(is_run(block) for block in blocks_of(page))]


def problems_of(block: Block, folder: Path) -> list[str]:
    """What is wrong with a block, found without running it."""
    if block.language == "python":
        return _problems_of_python(block)
    if block.language == "bash":
        return _problems_of_shell(block, folder)
    if block.language == "yaml":
        kind = rules.kind_of_yaml(block)
        if kind is None:
            return [f"{block.name}: rules.YAML_KINDS does not say what it is"]
        try:
            check_yaml(block, kind, folder)
        except NotUnderstood as error:
            return [f"{block.name}: {error}"]
        return []
    if block.language not in rules.SHOWN_LANGUAGES:
        return [f"{block.name}: no rule for blocks of language {block.language!r}"]
    return [
        f"{block.name}: a command in a block that is not run; make it `bash`: {line}"
        for line in (block.text.splitlines() if not block.language else ())
        if _COMMAND_LINE.match(line)
    ]


def _problems_of_python(block: Block) -> list[str]:
    try:
        tree = ast.parse(block.text)
    except SyntaxError as error:
        return [f"{block.name}: {error}"]
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            found += [
                f"{block.name}: {node.module} has no {a.name}" for a in node.names if not hasattr(module, a.name)
            ]
    return found


def _problems_of_shell(block: Block, folder: Path) -> list[str]:
    found: list[str] = []
    if said := check_shell(block, folder):
        return [f"{block.name}: {said}"]
    for command in commands_of(block):
        words = rules.filled(command.words)
        if not words:
            continue
        if words[0] not in rules.PROGRAMS:
            found.append(f"{command.where}: rules.PROGRAMS does not have {words[0]}")
            continue
        try:
            check([word.replace("$first-$last", "0-5") for word in words])
        except NotUnderstood as error:
            found.append(f"{command.where}: {error}")
    return found


@pytest.fixture
def own_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with recipes of the reader's own, which commands name."""
    monkeypatch.chdir(tmp_path)
    for name in ("my_recipe.yaml", "mine.yaml"):
        (tmp_path / name).write_text("extends: casme3_flow\n", encoding="utf-8")
    (tmp_path / "scripts").symlink_to(Path(__file__).resolve().parents[1] / "scripts")
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_every_block_has_its_rule_and_would_be_understood(page: str, own_recipes: Path) -> None:
    found = [problem for block in blocks_of(page) for problem in problems_of(block, own_recipes)]
    for text in inline_commands(page):
        try:
            check_inline(text)
        except NotUnderstood as error:
            found.append(f"{page}: `{text}`: {error}")
    found += [f"{page}: not fenced, so nothing runs it: {line}" for line in unfenced_commands(page)]
    assert not found, "\n".join(found)


def test_no_rule_is_left_over() -> None:
    texts = [command.text for page in PAGES for block in blocks_of(page) for command in shell_commands(block)]
    firsts = {block.text.partition("\n")[0] for page in PAGES for block in blocks_of(page)}
    stale = [pattern for pattern in (*rules.NOT_RUN, *rules.EXTRA) if not any(re.search(pattern, t) for t in texts)]
    stale += [first for first in rules.YAML_KINDS if first not in firsts]
    stale += [word for word in rules.INSTEAD if not any(word in text.split() for text in texts)]
    assert not stale, f"rules.py has rules that no document needs any more: {stale}"


def shell_commands(block: Block) -> list[Command]:
    return commands_of(block) if block.language == "bash" else []


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("```bash\nhsta fly casme3 ROOT\n```", "invalid choice: 'fly'"),
        ("```bash\nhsta predict MODEL clip.mp4 --wings 2\n```", "unrecognized arguments: --wings 2"),
        ("```bash\nhsta train casme3_flow --num_epochs 3\n```", "no field 'num_epochs'"),
        ("```bash\nhsta train casme4_flow\n```", "no recipe casme4_flow"),
        ("```bash\naccelerate launch scripts/fly.py casme3_paper\n```", "there is no scripts/fly.py"),
        ("```bash\naccelerate launch scripts/train.py casme3_paper --wings 2\n```", "no field 'wings'"),
        ("```bash\nACCELERATE_USE_CPU=true accelerate launch --wings scripts/train.py\n```", "--wings"),
        ("```bash\npython benchmarks/model_speed.py --wings\n```", "has no option --wings"),
        ("```bash\nmake wings   # and so on\n```", "no target wings"),
        ("```bash\npip install '.[wings]'\n```", "no extra wings"),
        ("```bash\nfly --now\n```", "rules.PROGRAMS does not have fly"),
        ("```bash\nhsta check casme3 'ROOT\n```", "unexpected EOF"),
        ("```python\nfrom hsta_hf import HSTAWings\n```", "hsta_hf has no HSTAWings"),
        ("```python\nmodel = (\n```", "was never closed"),
        ("```yaml\nwings: 2\n```", "rules.YAML_KINDS does not say"),
        ("```yaml\n# mine.yaml\nextends: casme3_paper\nwings: 2\n```", "no field 'wings'"),
        ("```\nhsta train casme3_flow\n```", "a command in a block that is not run"),
        ("```rust\nfn main() {}\n```", "no rule for blocks of language 'rust'"),
    ],
)
def test_a_block_that_is_wrong_is_noticed(block: str, said: str, own_recipes: Path) -> None:
    (only,) = blocks_of("page.md", block)
    found = problems_of(only, own_recipes)
    assert len(found) >= 1 and said in "\n".join(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [("hsta fly", "no command 'fly'"), ("hsta train --wings 2", "wings"), ("hsta check --wings", "--w")],
)
def test_a_command_in_running_text_that_is_wrong_is_noticed(text: str, said: str) -> None:
    with pytest.raises(NotUnderstood, match=said):
        check_inline(text)


def test_fences_comments_and_continued_lines_are_read() -> None:
    page = "a\n\n````text\n```\nhsta x\n```\n````\n\n"
    page += "  ```bash\n  A=1 hsta a \\\n      --b 'c d'   # e\n  hsta f & \n  ```\n"
    shown, shell = blocks_of("page.md", page)
    assert (shown.language, shown.line, shown.text) == ("text", 3, "```\nhsta x\n```")
    first, second = commands_of(shell)
    assert (first.variables, first.words) == (("A=1",), ("hsta", "a", "--b", "c d")) and second.words == ("hsta", "f")
    with pytest.raises(ValueError, match=r"page\.md:1: the block is not closed"):
        blocks_of("page.md", "```bash\nhsta a\n")


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("```python\nscores = {}\nscores['UF1']\n```", "KeyError"),
        ("```bash\nhsta score predictions.parquet\n```", "ended with 1:\nhsta score: "),
        ("```bash\npython -c 'print(1 / 0)'\n```", "ZeroDivisionError"),
    ],
)
def test_a_block_that_fails_when_run_is_noticed(
    block: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nothing").mkdir()
    workplace = Workplace(tmp_path / "nothing", tmp_path / "page")
    monkeypatch.chdir(workplace.folder)
    (only,) = blocks_of("page.md", block)
    with pytest.raises(Failed, match=said):
        run_block(only, workplace, capsys)


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory, random_videomae: Any) -> Path:
    """What documents name, made once for all processes that run these tests."""
    shared = tmp_path_factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else None
    folder = (shared or tmp_path_factory.mktemp("documents")) / "laid_out"
    with FileLock(f"{folder}.lock"):
        if not (folder / "finished").exists():
            lay_out(folder, random_videomae)
            (folder / "finished").touch()
    return folder


@pytest.fixture
def hub(laid_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as server:
        server.point_client(monkeypatch, tmp_path / "hub_cache")
        fill_hub(server, laid_out)
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN_PAGES)
def test_every_block_runs(
    page: str,
    laid_out: Path,
    hub: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    workplace = Workplace(laid_out, tmp_path / "page")
    monkeypatch.chdir(workplace.folder)
    failures = []
    for block in blocks_of(page):
        try:
            run_block(block, workplace, capsys)
        except Failed as failure:
            failures.append(str(failure))
    assert not failures, "\n\n".join(failures)
