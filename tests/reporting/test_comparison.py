"""Several runs beside each other: what is compared, what is marked, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reporting.test_report import LABELS, check_page, facts, several_labels, table

from hsta_hf.cli.main import main
from hsta_hf.metrics.uncertainty import ComparisonError, compare_tables
from hsta_hf.reporting.comparison import compare_runs, run_names
from hsta_hf.reporting.comparison_content import (
    OutputError,
    comparison_html,
    comparison_markdown,
    comparison_text,
    difference_tables,
    notices,
    p_text,
    remark_lines,
    score_table,
    shared_facts,
    write_comparison,
)
from hsta_hf.reporting.facts import write_facts


def run(folder: Path, rows: pd.DataFrame, **changes: object) -> Path:
    folder.mkdir(parents=True)
    rows.to_parquet(folder / "predictions.parquet")
    write_facts(folder, facts(**changes))
    return folder


def worse(rows: pd.DataFrame, clips: int) -> pd.DataFrame:
    """The same table with so many more mistakes."""
    rows = rows.copy()
    places = np.flatnonzero((rows["label"] == rows["prediction"]).to_numpy())[:clips]
    rows.loc[places, "prediction"] = (rows.loc[places, "label"] + 1) % 3
    return rows


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [
        run(tmp_path / "hsta", table(60)),
        run(tmp_path / "net", worse(table(60), 20), method="STSTNet"),
        run(tmp_path / "twin", table(60), method="Twin"),
    ]


def test_differences_and_corrected_p_are_those_of_the_paired_test(runs: list[Path]) -> None:
    comparison = compare_runs(runs)
    assert comparison.reference.name == "hsta" and [row.run.method for row in comparison.rows[1:]] == [
        "STSTNet",
        "Twin",
    ]
    expected = compare_tables(worse(table(60), 20), table(60)).scores["uf1"]
    net, twin = comparison.rows[1:]
    assert net.paired is not None and twin.paired is not None and net.corrected is not None
    assert net.paired.scores["uf1"] == expected and expected.difference < 0 and expected.p is not None
    assert twin.paired.scores["uf1"].difference == 0 and twin.paired.scores["uf1"].p == 1
    assert net.corrected["uf1"] == pytest.approx(2 * expected.p)
    assert not net.remarks and net.refusal is None
    cells = difference_tables(comparison)[0].rows[0]
    assert cells[0] == "net" and cells[4] == f"{expected.difference:+.3f}" and cells[6] == p_text(expected.p)
    other = compare_runs(runs, runs[1])
    assert other.reference.method == "STSTNet" and [row.run.name for row in other.rows] == ["net", "hsta", "twin"]


def test_what_makes_other_numbers_is_named(tmp_path: Path, runs: list[Path]) -> None:
    fewer = table(60).iloc[:48]
    other_folds = table(60).assign(fold=lambda rows: rows["subject"].str[1:].astype(int) % 2)
    relabelled = table(60).assign(label=lambda rows: (rows["label"] + 1) % 3)
    renamed = table(60).rename(columns={"score_sad": "score_fear"})
    comparison = compare_runs(
        [
            runs[0],
            run(tmp_path / "clips", table(60), protocol="kfold-clips", protocol_description="By clip."),
            run(tmp_path / "fewer", fewer, complete=False, synthetic=True),
            run(tmp_path / "folds", other_folds),
            run(tmp_path / "relabelled", relabelled),
            run(tmp_path / "renamed", renamed),
            run(tmp_path / "units", several_labels(table(60))),
        ]
    )
    rows = {row.run.name: row for row in comparison.rows}
    assert "protocol kfold-clips, the reference's is loso" in rows["clips"].remarks
    assert {"synthetic clips", "some folds only"} <= set(rows["fewer"].remarks)
    assert any("the 48 clips of both" in text and "12 of the reference" in text for text in rows["fewer"].remarks)
    assert rows["folds"].paired is not None and any("its folds are not" in text for text in rows["folds"].remarks)
    assert "has the label" in str(rows["relabelled"].refusal) and rows["relabelled"].paired is None
    assert "fear" in str(rows["renamed"].refusal) and "several" in str(rows["units"].refusal)
    text = comparison_markdown(comparison)
    assert "- **relabelled**: not compared: Clip c0 of subject s0 has the label" in text
    assert "By clip." in text and len(score_table(comparison).rows) == 7


def test_what_holds_for_all_runs_is_said_once_and_first(tmp_path: Path, runs: list[Path]) -> None:
    few = table(60)
    few = few[few["subject"].isin(sorted(set(few["subject"]))[:4])]
    comparison = compare_runs(
        [run(tmp_path / name, few, complete=name != "part", synthetic=True) for name in ("one", "two", "part")]
    )
    first, second = notices(comparison)
    assert first == "All clips are synthetic: no number here is a result on people."
    assert "There are 4 subjects" in second and "cannot be below 0.125" in second
    assert remark_lines(comparison) == [("part", "some folds only.")]
    assert score_table(comparison).header[:2] == ["run", "UF1 (95 % interval)"]
    facts = str(shared_facts(comparison))
    assert facts.startswith("All runs: method HSTA, protocol loso, clips ") and facts.endswith("subjects 4, seeds 1.")
    for text in (comparison_markdown(comparison), comparison_text(comparison), comparison_html(comparison)):
        assert text.count(first) == 1 and text.index(first) < text.index("UF1")
    assert (
        not any("synthetic" in text for text in notices(compare_runs(runs)))
        and "STSTNet" in score_table(compare_runs(runs)).rows[1]
    )
    strangers = few.assign(clip=few["clip"] + "x")
    nothing = comparison_markdown(compare_runs([tmp_path / "one", run(tmp_path / "strangers", strangers)]))
    assert nothing.index("not compared") < nothing.index("## Differences") and "difference to one:" not in nothing


def test_runs_that_cannot_be_compared_are_refused(runs: list[Path]) -> None:
    with pytest.raises(ComparisonError, match="two runs or more"):
        compare_runs(runs[:1])
    with pytest.raises(ComparisonError, match="named twice"):
        compare_runs([runs[0], runs[0] / "." / ""])
    with pytest.raises(ComparisonError, match="none of the runs"):
        compare_runs(runs[:2], runs[2])


def test_names_are_as_short_as_they_can_be() -> None:
    assert run_names([Path("/a/x/run"), Path("/a/y/run"), Path("/a/y/best")]) == ["x/run", "y/run", "y/best"]


def test_a_run_of_an_earlier_version_and_a_bare_table_are_read(tmp_path: Path, runs: list[Path]) -> None:
    old = run(tmp_path / "old", table(60))
    (old / "facts.json").unlink()
    (old / "metrics.json").write_text(json.dumps({"protocol": "loso", "synthetic": True, "all_folds": True}))
    (old / "split.json").write_text(json.dumps({"description": "As it was."}))
    comparison = compare_runs([old, runs[1] / "predictions.parquet"])
    first, second = (row.run for row in comparison.rows)
    assert (first.method, first.protocol, list(first.notes)) == ("HSTA", "loso", ["synthetic clips"])
    assert (second.name, second.protocol) == (
        "predictions.parquet",
        "unknown",
    ) and "As it was." in comparison.protocols


def test_tables_of_others_are_compared_as_hsta_score_does(tmp_path: Path, runs: list[Path]) -> None:
    mine = table(60)
    rows = worse(mine, 20)[["clip", "database", "subject", "label", "prediction"]]
    numbers, names = tmp_path / "numbers.csv", tmp_path / "names.csv"
    pd.concat([rows.assign(seed=1), rows.assign(seed=2)]).to_csv(numbers, index=False, sep=";")
    rows.assign(**{name: rows[name].map(LABELS.__getitem__) for name in ("label", "prediction")}).to_csv(names)
    expected = compare_tables(worse(mine, 20), mine).scores["uf1"]
    for by_number, by_name in (compare_runs([runs[0], numbers, names]).rows[1:],):
        for row in (by_number, by_name):
            assert row.paired is not None and row.paired.scores["uf1"] == expected
            assert row.run.protocol == "unknown" and not any("folds are not" in text for text in row.remarks)
        said = ", ".join(f"{number} = {name}" for number, name in enumerate(LABELS))
        assert f"its labels are numbers, read as {said}" in by_number.remarks
        assert any(text.startswith("seeds: 2 of this run (1, 2), each compared") for text in by_number.remarks)
        assert not any("labels" in text or "classes" in text or "seeds" in text for text in by_name.remarks)


def test_the_command_writes_a_page_and_the_same_as_markdown(
    tmp_path: Path, runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out" / "table.html"
    command = ["compare", *map(str, runs), "--output", str(output)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "hsta (reference)" in printed and "corrected" in printed and str(output) in printed
    words = " ".join(check_page(output.read_text(encoding="utf-8")).words)
    markdown = output.with_suffix(".md").read_text(encoding="utf-8")
    for name in ("hsta (reference)", "STSTNet", "Differences to hsta", "(Holm)"):
        assert name in words and name in markdown
    assert output.with_suffix(".png").stat().st_size > 5000
    assert "replacing" not in printed
    assert main(command) == 0  # its own files are replaced
    assert "(replacing an earlier comparison)" in capsys.readouterr().out
    output.with_suffix(".md").write_text("my notes")
    assert main(command) == 1
    assert "table.md exists and is no comparison" in capsys.readouterr().err
    assert output.with_suffix(".md").read_text() == "my notes"
    assert main(["compare", str(runs[0]), str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err
    with pytest.raises(OutputError, match=r"must end in \.html"):
        write_comparison(compare_runs(runs), tmp_path / "table.txt")


def test_labels_of_runs_are_those_of_their_columns(runs: list[Path]) -> None:
    assert compare_runs(runs).reference.labels == LABELS
