"""`hsta ablate` from the command line, on drawn faces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hsta_hf.cli.main import main
from hsta_hf.paper.tables import load_tables


def ablate(prepared: Path, recipe_file: Path, output: Path, *words: str, tables: str = "table2") -> int:
    fixed = ["--database", str(prepared), "--recipe", str(recipe_file), "--output", str(output)]
    return main(["ablate", *tables.split(), *fixed, *words])


def lines_of(output: Path, table: str = "table2") -> dict[str, dict[str, Any]]:
    return {line["row"]: line for line in json.loads((output / f"{table}.json").read_text(encoding="utf-8"))["lines"]}


def written(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (folder / "runs").glob("*/folds/*/metrics.json")}


@pytest.mark.slow
def test_rows_are_run_once_printed_beside_the_paper_and_tested(
    prepared: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "out"
    rows = ("--rows", "a5", "a6", "--note", "Drawn for a test.")
    assert ablate(prepared, recipe_file, output, *rows) == 0
    printed = capsys.readouterr().out
    assert "a6 | with CSTA, L_v=1, L_s=1 | 40.2 | 33.9 | 31.6 |" in printed
    assert "of the measured ones: kfold-subjects, 2 folds." in printed
    before = written(output)
    assert len(before) == 4
    a6 = lines_of(output)["a6"]
    metrics = json.loads((output / "runs" / "a6_kfold-subjects" / "metrics.json").read_text(encoding="utf-8"))
    assert a6["measured"] == metrics["pooled"] and a6["paper"] == {"acc": 40.2, "uar": 33.9, "uf1": 31.6}
    assert a6["differences"]["uf1"] == pytest.approx(100 * metrics["pooled"]["uf1"] - 31.6)
    assert a6["intervals"]["uf1"] == metrics["intervals"]["uf1"]
    assert lines_of(output)["a1"]["state"] == "not asked for" and not lines_of(output)["a1"]["measured"]
    table = json.loads((output / "table2.json").read_text(encoding="utf-8"))
    notes = " ".join(table["notes"][number - 1] for number in a6["notes"])
    for reason in ("synthetic", "kfold-subjects here, kfold-clips in the paper", "2 folds here, 5", "hidden_size 16"):
        assert reason in notes, reason
    assert "Drawn for a test." in notes and "28 of 4 subjects here, 860 of 94" in notes
    claims = {claim["claim"]["name"]: claim for claim in table["claims"]}
    assert claims["csta-helps"]["verdict"] in ("holds", "does not hold", "undecided")
    assert claims["csta-helps"]["p"] is not None and claims["csta-helps"]["subjects"] == 4
    assert claims["both-over-one"]["verdict"] == "not tested"
    page = (output / "table2.html").read_text(encoding="utf-8")
    assert "<table>" in page and "Drawn for a test." in page and "http" not in page

    # Again, with a table that has the same row: nothing is trained twice.
    assert ablate(prepared, recipe_file, output, *rows[:1], "a6", "b1", tables="table2 table3") == 0
    assert written(output) == before
    assert lines_of(output, "table3")["b1"]["measured"] == a6["measured"]
    assert "finished before" in capsys.readouterr().out


@pytest.mark.slow
def test_a_row_that_fails_is_named_and_the_others_go_on(
    prepared: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "out"
    occupied = output / "runs" / "a1_kfold-subjects"
    occupied.mkdir(parents=True)
    (occupied / "letter.txt").write_text("not a run")
    words = ("--rows", "a1", "a3", "--num_train_epochs", "2")
    assert ablate(prepared, recipe_file, output, *words) == 1
    said = capsys.readouterr()
    assert "table2 row a1 (kfold-subjects) is not finished: RunFolderError" in said.err
    assert lines_of(output)["a1"]["state"].startswith("failed: RunFolderError")
    assert lines_of(output)["a3"]["measured"]
    recipe = yaml.safe_load((output / "runs" / "a3_kfold-subjects" / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["num_train_epochs"] == 2 and recipe["model"]["use_csta"] is False
    assert "Traceback" in (output / "runs" / "a1_kfold-subjects.failed.txt").read_text(encoding="utf-8")

    (occupied / "letter.txt").unlink()
    assert ablate(prepared, recipe_file, output, *words) == 0
    assert lines_of(output)["a1"]["measured"]
    assert not (output / "runs" / "a1_kfold-subjects.failed.txt").exists()


def test_a_dry_run_lists_rows_and_sizes_and_writes_nothing(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "out"
    assert ablate(Path("nowhere"), recipe_file, output, "--dry_run", tables="table2 table3 table5") == 0
    listed = capsys.readouterr().out
    for table in ("table2", "table3", "table5"):
        for row in load_tables()[table].rows:
            assert f"\n  {row.name}" in listed
    assert "a1 (kfold-subjects): " in listed and "--model.use_csta false" in listed
    assert "baseline ststnet" in listed and "micron-bert: not run here" in listed
    sizes = {
        line.split()[0]: line.split(": ")[1].split(" parameters")[0] for line in listed.split("\n") if "par" in line
    }
    rows = {row.name for table in ("table2", "table3") for row in load_tables()[table].rows}
    assert "\ndataset: nowhere\nfolds: kfold-subjects 2, loso ?\nseeds: 42\n" in listed
    trained = [line for line in listed.split("\n") if line.startswith("  ") and "(kfold-subjects)" in line]
    runs = len({line.split(", run ")[1].split(",")[0] for line in trained})
    assert len(trained) == len(rows) > runs
    assert f", {2 * runs} trainings (a fold with a seed is one) and those of" in listed
    assert int(sizes["b12"].replace(",", "")) > int(sizes["a6"].replace(",", "")) == int(sizes["b1"].replace(",", ""))
    assert not output.exists()


def test_a_dry_run_counts_the_trainings_of_protocols_whose_folds_follow_from_the_clips(
    prepared: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ("--rows", "a1", "a6", "--protocol", "loso", "kfold-subjects", "--seeds", "1", "2", "3", "--dry_run")
    assert ablate(prepared, recipe_file, tmp_path / "out", *words) == 0
    listed = capsys.readouterr().out
    assert f"dataset: {prepared}\nfolds: loso 4, kfold-subjects 2\nseeds: 1, 2, 3\n" in listed
    # two rows of four and of two folds, with three seeds
    assert f"4 runs in {tmp_path / 'out' / 'runs'}, 36 trainings (a fold with a seed is one)\n" in listed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rows", "a9"), "--rows names a9"),
        (("--model.num_hsta_layers", "3"), "is what the rows of table2 differ in"),
        (("--learning_rat", "1e-3"), "Did you mean 'learning_rate'"),
    ],
)
def test_a_command_that_makes_no_sense_says_why(
    words: tuple[str, ...],
    message: str,
    recipe_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    assert ablate(Path("nowhere"), recipe_file, tmp_path / "out", *words) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_dataset_that_is_none_is_an_error_before_anything_runs(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert ablate(tmp_path / "nowhere", recipe_file, tmp_path / "out") == 1
    assert "is not a folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_other_commands_still_refuse_what_they_do_not_know(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["check", "casme3", "nowhere", "--nonsense", "1"])
    assert "unrecognized arguments: --nonsense" in capsys.readouterr().err
