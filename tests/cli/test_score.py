"""`hsta score` on tables made by hand and on a public log."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

from hsta_hf.cli.main import main

LOG = Path(__file__).parents[1] / "metrics" / "fixtures" / "ststnet_log.csv"
NAMES = ("negative", "positive", "surprise")


def public_log() -> pd.DataFrame:
    """STSTNet's predictions for MEGC 2019, as its authors printed them."""
    with LOG.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return pd.DataFrame(
        [
            {
                "clip": f"{row['subject']}/{number}",
                "database": {"sub": "casme2", "s": "smic"}.get(row["subject"].rstrip("0123456789"), "samm"),
                "subject": row["subject"],
                "label": NAMES[int(true)],
                "prediction": NAMES[int(predicted)],
            }
            for row in rows
            for number, (true, predicted) in enumerate(zip(row["true"], row["predicted"], strict=True))
        ]
    ).assign(seed=42)


def score(*arguments: str | Path, code: int = 0) -> None:
    assert main(["score", *map(str, arguments)]) == code


def test_a_public_log_as_csv_scores_what_it_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    public_log().to_csv(tmp_path / "log.csv", index=False)
    score(tmp_path / "log.csv", "--json", "--samples", "200")
    found = json.loads(capsys.readouterr().out)
    assert (round(found["pooled"]["uf1"], 4), round(found["pooled"]["uar"], 4)) == (0.7209, 0.725)
    parts = {name: (part["clips"], part["subjects"]) for name, part in found["per_database"].items()}
    assert parts == {"casme2": (145, 24), "samm": (133, 28), "smic": (164, 16)}
    assert found["intervals"]["uf1"][0] < 0.7209 < found["intervals"]["uf1"][1] and found["interval_samples"] == 200
    score(tmp_path / "log.csv", "--samples", "50", "--by", "database")
    printed = capsys.readouterr().out
    assert "95 % interval over 68 subjects" in printed and "smic" in printed and "UF1         0.721 [0." in printed


def test_parts_and_a_seed_that_repeats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = public_log()
    pd.concat([rows, rows.assign(seed=43, prediction=rows["label"])]).to_parquet(tmp_path / "two.parquet")
    printed = []
    for seed in ("1", "1", "2"):
        score(tmp_path / "two.parquet", "--by", "seed", "--json", "--samples", "100", "--seed", seed)
        printed.append(json.loads(capsys.readouterr().out))
    assert printed[0] == printed[1] != printed[2]
    assert printed[0]["by"]["seed"]["43"]["uf1"] == 1 and round(printed[0]["by"]["seed"]["42"]["uf1"], 4) == 0.7209
    score(tmp_path / "two.parquet", "--by", "subject", "--json", "--samples", "10")
    people = json.loads(capsys.readouterr().out)["by"]["subject"]
    assert len(people) == 68 and people["smic/s03"]["clips"] == 39 and people["smic/s03"]["intervals"] is None
    rows.drop(columns="database").to_csv(tmp_path / "bare.csv")
    score(tmp_path / "bare.csv", "--by", "database", code=1)
    assert "no column database to score by" in capsys.readouterr().err


def test_several_tables_are_compared_with_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = public_log()
    rows.to_csv(tmp_path / "log.csv", index=False)
    numbers = {"label": [NAMES.index(name) for name in rows["label"]], "prediction": 0}
    rows.assign(**numbers).iloc[:-3].to_parquet(tmp_path / "majority.parquet")
    arguments = [tmp_path / "log.csv", tmp_path / "majority.parquet", tmp_path / "log.csv", "--samples", "200"]
    score(*arguments, "--json")
    found = json.loads(capsys.readouterr().out)
    against, itself = found["comparisons"]
    assert (against["left_out_first"], against["left_out_second"], against["clips"]) == (3, 0, 439)
    uf1 = against["scores"]["uf1"]
    assert uf1["p"] == 1e-4 and uf1["p_holm"] == 2e-4 and uf1["interval"][0] > 0.3
    assert uf1["difference"] == pytest.approx(uf1["first"] - uf1["second"])
    assert itself["scores"]["uf1"]["p"] == 1 and found["tables"][1]["clips"] == 439
    score(*arguments)
    printed = capsys.readouterr().out
    assert "minus" in printed and "p (Holm)" in printed and "left out: 3 clips" in printed and "0.0001" in printed


def test_how_numbers_and_seeds_were_matched_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = public_log()
    rows.to_csv(tmp_path / "names.csv", index=False, sep=";")
    numbers = rows.assign(**{name: rows[name].map(NAMES.index) for name in ("label", "prediction")})
    pd.concat([numbers.assign(seed=1), numbers.assign(seed=2)]).to_csv(tmp_path / "numbers.csv", index=False)
    arguments = [tmp_path / "names.csv", tmp_path / "numbers.csv", "--samples", "20"]
    score(*arguments)
    printed = capsys.readouterr().out
    assert f"labels of {arguments[1]} are numbers, read as 0 = negative, 1 = positive, 2 = surprise" in printed
    assert f"seeds: 2 of {arguments[1]} (1, 2), each compared with the only one of {arguments[0]} (42)" in printed
    score(*arguments, "--json")
    found = json.loads(capsys.readouterr().out)["comparisons"][0]
    assert found["numbers"] == {
        "table": str(arguments[1]),
        "are": {"0": "negative", "1": "positive", "2": "surprise"},
    }
    assert found["scores"]["uf1"]["difference"] == 0 and found["seeds"] == [[42, 1], [42, 2]]
    score(arguments[0], arguments[0], "--samples", "20")
    printed = capsys.readouterr().out
    assert "numbers, read as" not in printed and "seeds: " not in printed
    pd.concat([numbers.assign(seed=3), numbers.assign(seed=4)]).to_csv(tmp_path / "later.csv", index=False)
    score(tmp_path / "numbers.csv", tmp_path / "later.csv", "--samples", "20")
    assert "are other ones, paired in order: 1 with 3, 2 with 4" in capsys.readouterr().out


def test_tables_of_other_annotation_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = public_log()
    rows.to_csv(tmp_path / "log.csv", index=False)
    rows.loc[7, "label"] = "surprise"
    rows.to_csv(tmp_path / "other.csv", index=False)
    score(tmp_path / "log.csv", tmp_path / "other.csv", code=1)
    said = capsys.readouterr().err
    assert "other.csv: Clip 006/7 of subject 006 has the label 0 in the first table and 2 in the second" in said


def test_output_is_a_new_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    public_log().to_csv(tmp_path / "log.csv", index=False)
    for name in ("scores.json", "scores.txt"):
        score(tmp_path / "log.csv", "--samples", "10", "--output", tmp_path / "out" / name)
        assert f"Wrote {tmp_path / 'out' / name}" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))["clips"] == 442
    assert "negative" in (tmp_path / "out" / "scores.txt").read_text(encoding="utf-8")
    score(tmp_path / "log.csv", "--output", tmp_path / "out" / "scores.txt", code=1)
    assert "exists already" in capsys.readouterr().err
    score(tmp_path / "log.csv", "--samples", "0", code=2)


def test_a_run_folder_names_its_protocol(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    public_log().to_parquet(tmp_path / "predictions.parquet")
    (tmp_path / "metrics.json").write_text('{"protocol": "loso", "synthetic": true, "pooled": {"uf1": 0}}')
    score(tmp_path, "--samples", "10")
    assert capsys.readouterr().out.startswith("442 synthetic clips (loso)\n  UF1         0.721 [")
    score(tmp_path / "predictions.parquet", "--samples", "20")
    assert capsys.readouterr().out.startswith("442 synthetic clips (loso)")


def test_one_subject_gets_scores_and_is_told_why_no_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    public_log().query("subject == 's03'").to_csv(tmp_path / "s03.csv")
    score(tmp_path / "s03.csv")
    printed = capsys.readouterr().out
    assert "No interval: all clips are of one subject" in printed and "[" not in printed


def test_several_labels_a_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "clip,subject,label,prediction,score_AU1,score_AU4\n"
    text += "a,s1,1 0,1 0,0.9,0.2\nb,s2,1 1,1 0,0.8,0.4\nc,s3,0 0,0 1,0.1,0.6\n"
    (tmp_path / "units.csv").write_text(text)
    score(tmp_path / "units.csv", "--json", "--samples", "50")
    found = json.loads(capsys.readouterr().out)
    assert found["pooled"] == {"mean_f1": 0.5, "exact_match": pytest.approx(1 / 3)}
    assert found["per_class"]["AU4"] == {"f1": 0, "recall": 0, "clips": 1} and "always_yes" in found["baselines"]
    score(tmp_path / "units.csv", tmp_path / "units.csv", "--samples", "50", "--by", "subject")
    assert "MEAN_F1" in capsys.readouterr().out


def test_the_earlier_name_works_and_is_not_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    public_log().to_csv(tmp_path / "log.csv", index=False)
    assert main(["evaluate", str(tmp_path / "log.csv"), "--samples", "10"]) == 0
    assert "UF1" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = capsys.readouterr().out
    assert "score" in listed and "evaluate" not in listed
