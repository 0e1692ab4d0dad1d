"""Tables that hsta-hf did not write: what is read, and what is said of what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hsta_hf.reporting import PredictionsError
from hsta_hf.reporting.any_table import in_one_order, numbers_read_as, read_any_table

HEADER = "clip,subject,label,prediction\n"


def write(folder: Path, text: str, name: str = "mine.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_four_columns_are_enough(tmp_path: Path) -> None:
    found = read_any_table(write(tmp_path, HEADER + "a,s1,happy,sad\nb,s1,sad,sad\n"))
    assert found.labels == ("happy", "sad") and not found.numbered
    assert found.rows["label"].tolist() == [0, 1] and found.rows["prediction"].tolist() == [1, 1]
    assert set(found.rows["seed"]) == {0} and set(found.rows["database"]) == {""} and "fold" not in found.rows


def test_numbers_are_classes_without_names(tmp_path: Path) -> None:
    found = read_any_table(write(tmp_path, HEADER + "a,007,0,2\nb,007,1.0,1\n"))
    assert found.labels == ("0", "1", "2") and found.numbered and found.rows["label"].tolist() == [0, 1]
    assert found.rows["subject"].tolist() == ["007", "007"]


def test_score_columns_say_the_order_of_names_and_of_numbers(tmp_path: Path) -> None:
    header = "clip\tsubject\tlabel\tprediction\tscore_sad\tscore_happy\tfold\tseed\tdatabase\n"
    rest = "0.2\t0.8\t3\t42\tsamm\n"
    for label, prediction in (("happy", "sad"), ("1", "0"), ("happy", "0")):
        found = read_any_table(write(tmp_path, f"{header}a\ts1\t{label}\t{prediction}\t{rest}", "mine.tsv"))
        assert found.labels == ("sad", "happy")
        assert (found.rows["label"][0], found.rows["prediction"][0]) == (1, 0), (label, prediction)
        row = found.rows.iloc[0]
        assert (row["fold"], row["seed"], row["database"], row["score_happy"]) == (3, 42, "samm", 0.8)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["mine.csv", "mine.tsv"])
def test_the_header_says_what_separates_the_cells(tmp_path: Path, separator: str, name: str) -> None:
    rows = [["clip", "subject", "label", "prediction", "score_sad", "score_happy"], ["a", "s1", "happy", "sad"]]
    rows[1] += ["0,25", "7,5e-1"] if separator == ";" else ["0.25", "7.5e-1"]
    found = read_any_table(write(tmp_path, "\n".join(map(separator.join, rows)) + "\n", name))
    row = found.rows.iloc[0]
    assert (row["clip"], row["label"], row["prediction"]) == ("a", 1, 0)
    assert (row["score_sad"], row["score_happy"]) == (0.25, 0.75)


def test_lists_with_commas_in_a_semicolon_table(tmp_path: Path) -> None:
    found = read_any_table(write(tmp_path, HEADER.replace(",", ";") + "a,1;s1;[0, 1];[1, 1]\n"))
    assert found.rows["clip"].tolist() == ["a,1"] and found.rows["label"].tolist() == [[0, 1]]


def test_numbers_that_stand_for_the_other_tables_names_are_told(tmp_path: Path) -> None:
    names = read_any_table(write(tmp_path, HEADER + "a,s1,sad,happy\n", "names.csv"))
    numbers = read_any_table(write(tmp_path, HEADER + "a,s1,1,0\n", "numbers.csv"))
    many = read_any_table(write(tmp_path, HEADER + "a,s1,1,4\n", "many.csv"))
    read = (numbers, {"0": "happy", "1": "sad"})
    assert numbers_read_as(names, numbers) == read == numbers_read_as(numbers, names)
    assert numbers_read_as(names, names) is numbers_read_as(numbers, many) is numbers_read_as(many, names) is None


def test_parquet_with_names_numbers_and_lists(tmp_path: Path) -> None:
    base = pd.DataFrame({"clip": ["a", "b"], "subject": [1, 2]})
    base.assign(label=["x", "y"], prediction=["y", "y"]).to_parquet(tmp_path / "names.parquet")
    assert read_any_table(tmp_path / "names.parquet").labels == ("x", "y")
    columns = {"label": [0, 1], "prediction": [1, 1], "score_1": [0.1, 0.2], "score_2": [0.9, 0.8]}
    base.assign(**columns).to_parquet(tmp_path / "predictions.parquet")
    found = read_any_table(tmp_path)
    assert found.labels == ("1", "2") and found.rows["label"].tolist() == [0, 1]
    base.assign(label=[[1, 0], [0, 1]], prediction=[[1, 1], [0, 0]]).to_parquet(tmp_path / "lists.parquet")
    assert read_any_table(tmp_path / "lists.parquet").rows["prediction"].tolist() == [[1, 1], [0, 0]]


def test_lists_in_a_csv(tmp_path: Path) -> None:
    text = HEADER + 'a,s1,"[0, 1, 1]","[0, 0, 1]"\nb,s1,1 0 0,1 0 0\n'
    found = read_any_table(write(tmp_path, text))
    assert found.rows["label"].tolist() == [[0, 1, 1], [1, 0, 0]] and found.labels == ("0", "1", "2")
    with pytest.raises(
        PredictionsError, match=r"mine\.csv, row 2: label must be a list of 3 zeros and ones.*got \[1, 0\]"
    ):
        read_any_table(write(tmp_path, HEADER + 'a,s1,"[0, 1, 1]","[0, 0, 1]"\nb,s1,1 0,1 0 0\n'))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip,label\na,0\n", r"mine\.csv has no column subject, prediction; needed are clip, .*it has clip, label"),
        (HEADER, "has no rows"),
        (HEADER + "a,s1,0,0\nb,,0,0\n", r"mine\.csv, row 2: subject is empty"),
        (HEADER + "a,s1,0,0\nb,s1,-1,0\n", r"row 2: label -1 is no class"),
        (HEADER + "a,s1,0,happy\n", "mix names and numbers \\('happy', '0'\\)"),
        (HEADER + "a,s1,0,0\na,s1,0,1\n", r"row 2: clip a of subject s1 \(seed 0\) is already in row 1"),
        (HEADER[:-1] + ",seed\na,s1,0,0,1.5\n", r"row 1: seed must be a whole number; got '1\.5'"),
        (HEADER[:-1] + ",score_x\na,s1,x,x,high\n", r"row 1: score_x must be a number; got 'high'"),
        (HEADER[:-1] + ",score_x\na,s1,x,y,1\n", r"row 1: prediction 'y' is no class; the classes are x"),
        (HEADER[:-1] + ",score_x\na,s1,0,3,1\n", r"row 1: prediction 3 is no class; class ids must lie in 0\.\.0"),
        (HEADER[:-1] + ",score_1,score_2\na,s1,1,1,0,1\n", "may be names or positions"),
        (HEADER + "a,s1,0,0,9\n", "rows have more cells than the header"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PredictionsError, match=message):
        read_any_table(write(tmp_path, text))


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PredictionsError, match=r"no predictions table.*start it again"):
        read_any_table(tmp_path)
    with pytest.raises(PredictionsError, match=r"only \.parquet, \.csv, \.tsv"):
        read_any_table(write(tmp_path, "x", "mine.xlsx"))
    with pytest.raises(PredictionsError, match="cannot be read as Parquet"):
        read_any_table(write(tmp_path, "x", "mine.parquet"))


def test_classes_of_two_tables_are_put_in_one_order(tmp_path: Path) -> None:
    scored = read_any_table(
        write(tmp_path, HEADER[:-1] + ",score_sad,score_happy,score_anger\na,s1,sad,happy,0,1,0\n", "a.csv")
    )
    names = read_any_table(write(tmp_path, HEADER + "a,s1,sad,happy\n", "b.csv"))
    numbers = read_any_table(write(tmp_path, HEADER + "a,s1,0,1\n", "c.csv"))
    assert names.labels == ("happy", "sad")
    for first, second in ((scored, names), (names, scored), (scored, numbers), (numbers, scored)):
        one, other = in_one_order(first, second)
        assert one.labels == other.labels == ("sad", "happy", "anger")
        for table in (one, other):
            assert (table.rows["label"][0], table.rows["prediction"][0]) == (0, 1)
    other_names = read_any_table(write(tmp_path, HEADER + "a,s1,fear,happy\n", "d.csv"))
    assert in_one_order(scored, other_names) == (scored, other_names)
    longer = read_any_table(write(tmp_path, HEADER + "a,s1,0,4\n", "e.csv"))
    assert [len(table.labels) for table in in_one_order(numbers, longer)] == [5, 5]
    assert [table.labels for table in in_one_order(scored, longer)] == [scored.labels, longer.labels]
    assert in_one_order(names, other_names)[1].rows["label"].tolist() == [0]
    assert np.array_equal(in_one_order(names, other_names)[0].labels, ("fear", "happy", "sad"))
