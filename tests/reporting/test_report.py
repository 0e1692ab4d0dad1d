"""report.md and report.html: what they say, and that the page needs nothing from anywhere."""

from __future__ import annotations

import base64
import dataclasses
import html.parser
import itertools
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from hsta_hf.reporting import report_content as content
from hsta_hf.reporting.caveats import caveats
from hsta_hf.reporting.clip_pictures import Pictures
from hsta_hf.reporting.completeness import coverage_text, finished_text, planned, ranges
from hsta_hf.reporting.facts import DatabaseCounts, FactsError, RunFacts, read_facts, write_facts
from hsta_hf.reporting.figures import (
    IntervalRow,
    curves,
    intervals_drawing,
    learning_curves_drawing,
    reliability_drawing,
    subjects_drawing,
)
from hsta_hf.reporting.html_page import THEMES, blend, contrast, heat_cell, picture_uri, with_code
from hsta_hf.reporting.html_report import report_html
from hsta_hf.reporting.report import write_report
from hsta_hf.reporting.report_hardest import hardest_clips
from hsta_hf.reporting.scores import compute_metrics

LABELS = ("anger", "happy", "sad")
VOID = {"meta", "br", "img", "link", "input", "hr", "path", "use", "rect", "circle", "line"}


def table(clips: int = 30, seeds: tuple[int, ...] = (1,), databases: tuple[str, ...] = ("casme3",)) -> pd.DataFrame:
    parts = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        label = np.arange(clips) % 3
        scores = rng.dirichlet(np.ones(3), clips) * 0.6
        scores[np.arange(clips), label] += 0.4 * (rng.random(clips) < 0.8)
        scores /= scores.sum(axis=1, keepdims=True)
        rows = pd.DataFrame(
            {
                "clip": [f"c{i}" for i in range(clips)],
                "database": [databases[i % len(databases)] for i in range(clips)],
                "subject": [f"s{i % 6}" for i in range(clips)],
                "fold": [i % 6 for i in range(clips)],
                "seed": seed,
                "label": label,
                "prediction": scores.argmax(axis=1),
            }
        )
        parts.append(rows.assign(**{f"score_{name}": scores[:, i] for i, name in enumerate(LABELS)}))
    return pd.concat(parts, ignore_index=True)


def facts(**changes: Any) -> RunFacts:
    plain = RunFacts(
        labels=LABELS,
        protocol="loso",
        protocol_description="Protocol loso: leave one subject out, 6 folds.",
        label_description="Label scheme x: all 30 clips have a label.",
        class_counts={"anger": 10, "happy": 10, "sad": 10},
        databases=["casme3"],
        num_subjects=6,
    )
    return dataclasses.replace(plain, **changes)


def several_labels(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows.copy()
    for name in ("label", "prediction"):
        rows[name] = [[int(value == i) for i in range(3)] for value in rows[name]]
    return rows


class Page(html.parser.HTMLParser):
    """What a page holds: its elements, their nesting checked, and everything that it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def check_page(text: str) -> Page:
    """A page is whole, accessible where a machine can tell, and fetches nothing."""
    page = Page(text)
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
            link = attributes.get(name)
            assert link is None or link.startswith(("#", "data:")), f"<{tag} {name}={link}> loads something"
    assert not re.search(r"@import|@font-face|url\((?!#)", text)
    assert not page.all("link") and not page.all("iframe") and all("src" not in s for s in page.all("script"))
    assert page.all("html")[0]["lang"] == "en" and page.all("title")
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), levels
    assert all(image.get("alt") for image in page.all("img"))
    assert all(svg.get("role") == "img" and svg.get("aria-label") for svg in page.all("svg"))
    assert all("scope" in head for head in page.all("th")) and len(page.all("caption")) == len(page.all("table"))
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    assert {link["href"] for link in page.all("a")} <= {f"#{name}" for name in names}
    return page


def test_the_page_of_a_full_run_holds_all_it_shows(tmp_path: Path) -> None:
    databases = ("casme2", "samm")
    history = [{"epoch": float(e), "loss": 1 / e, "learning_rate": 1e-3} for e in (1, 2, 3)]
    (tmp_path / "recipe.yaml").write_text("dataset: 'a<b'\n")
    finished = [(fold, seed) for seed, folds in ((1, (0, 1, 2, 6, 7)), (2, range(1, 9))) for fold in folds]
    full = facts(
        databases=databases,
        database_counts={name: DatabaseCounts(6, {"anger": 5, "happy": 5, "sad": 5}) for name in databases},
        complete=False,
        missing_folds={"1": [3, 4, 5, 8], "2": [0]},
        log_histories={f"fold-{i}": [dict(e, loss=e["loss"] + i) for e in history] for i in range(6)},
        fold_metrics=[{"fold": f, "seed": s, "seconds": {"total": 50.0, "steps": 45.0}} for f, s in finished],
        method="<STSTNet>",
        model="folds/fold-00-seed-1/model",
    )
    picture = np.full((40, 40, 3), 90, np.uint8)
    metrics = write_report(
        tmp_path, table(seeds=(1, 2), databases=databases), full, lambda clip: Pictures(picture, picture, picture)
    )
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = check_page(text)
    words = " ".join(" ".join(page.words).split())
    assert "<STSTNet>" in words and "dataset: 'a<b'" in words
    assert (
        "13 of 18 trainings (9 folds, 2 seeds) are finished; missing: folds 3-5, 8 of seed 1; fold 0 of seed 2."
        in words
    )
    assert "10.0 % went into everything else" in words and f"{metrics['pooled']['uf1']:.3f}" in words
    assert "casme2" in words and "Confusion matrix of samm" in words and "wrong in 2 of 2 seeds" in words
    assert len(page.all("img")) % 3 == 0 and page.all("img") and "named researchers" in words
    assert len(text) < 3_000_000
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "data:image" not in markdown and "Method: <STSTNet>." in markdown and "dataset: 'a<b'" in markdown
    for name in re.findall(r"\]\(([^)]+)\)", markdown):
        assert (tmp_path / name).is_file() or name == "split.json"


def test_a_bare_run_has_a_page_too(tmp_path: Path) -> None:
    write_report(tmp_path, table().iloc[:1], facts())
    page = check_page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Training" not in page.words and not page.all("img")


def test_several_labels_a_clip_have_hits_and_misses_in_place_of_a_matrix(tmp_path: Path) -> None:
    rows = several_labels(table())
    write_report(tmp_path, rows, facts(synthetic=True))
    words = " ".join(check_page((tmp_path / "report.html").read_text(encoding="utf-8")).words)
    assert "false alarms" in words and "Confusion matrix" not in words and "always every label" in words
    assert not (tmp_path / "confusion_matrix.png").exists()
    found = {row[0]: [int(cell) for cell in row[1:]] for row in content.unit_rows(rows, LABELS).rows}
    plain = table()
    hits = int(((plain["label"] == 0) & (plain["prediction"] == 0)).sum())
    assert found["anger"] == [hits, 10 - hits, int((plain["prediction"] == 0).sum()) - hits]


def test_a_figure_that_no_longer_applies_is_deleted(tmp_path: Path) -> None:
    write_report(tmp_path, table(), facts(log_histories={"a": [{"epoch": 1.0, "loss": 1.0}]}))
    assert (tmp_path / "learning_curves.png").is_file()
    write_report(tmp_path, table(), facts())
    assert not (tmp_path / "learning_curves.png").exists()


def test_pictures_are_spoken_of_as_their_owners_would() -> None:
    rows = table()
    metrics = {**compute_metrics(rows, LABELS), "environment": {}}
    black = np.zeros((8, 8, 3), np.uint8)

    def page(show: bool = True, **changes: Any) -> str:
        return report_html(
            metrics, facts(**changes), rows, "", (lambda clip: Pictures(black, None, None)) if show else None
        )

    licensed = page()
    assert "Do not publish this page" in licensed and "CAS(ME)^3" in licensed and "data:image" in licensed
    drawn = page(synthetic=True)
    assert "no person is in these pictures" in drawn and "publish this" not in drawn
    assert "consent" in page(own_footage=True)
    without = page(show=False)
    assert "data:image" not in without and "Do not publish" not in without


def test_facts_come_back_from_their_file(tmp_path: Path) -> None:
    noted = facts(database_counts={"casme3": DatabaseCounts(6, {"anger": 10})}, missing_folds={"42": [1]}, method="X")
    write_facts(tmp_path, noted)
    again = read_facts(tmp_path)
    assert again is not None
    assert dataclasses.replace(again, labels=tuple(again.labels), warnings=tuple(again.warnings)) == noted
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"of_a_later_version": 1}))
    assert read_facts(tmp_path) == again
    file.write_text('{"labels": []}')
    with pytest.raises(FactsError, match=r"facts\.json is damaged .*protocol"):
        read_facts(tmp_path)
    assert read_facts(tmp_path / "elsewhere") is None


def test_hardest_clips_are_the_most_confident_mistakes() -> None:
    rows = table(9)
    rows["prediction"] = rows["label"]
    scores = np.full((9, 3), 0.1)
    scores[np.arange(9), rows["label"]] = 0.8
    for clip, wrong, score in ((2, 0, 0.9), (4, 2, 0.6)):
        rows.loc[clip, "prediction"] = wrong
        scores[clip] = (1 - score) / 2
        scores[clip, wrong] = score
    rows[[f"score_{name}" for name in LABELS]] = scores
    found = hardest_clips(rows, LABELS)
    assert [(hard.clip, hard.label, hard.prediction) for hard in found] == [
        ("c2", "sad", "anger"),
        ("c4", "happy", "sad"),
    ]
    assert found[0].score == pytest.approx(0.9) and found[0].label_score == pytest.approx(0.05)
    assert hardest_clips(rows, LABELS, limit=1) == found[:1]
    # Wrong in both of two seeds comes before more sure, but in one of them.
    right = rows.assign(seed=2)
    right.loc[2, ["prediction", "score_anger", "score_sad"]] = [2, 0.1, 0.8]
    both = hardest_clips(pd.concat([rows, right], ignore_index=True), LABELS)
    assert [(hard.clip, hard.wrong, hard.seeds) for hard in both] == [("c4", 2, 2), ("c2", 1, 2)]
    units = several_labels(rows)
    worst = hardest_clips(units, LABELS)[0]
    assert (worst.label, worst.prediction) == ("sad present", "sad absent") and worst.score == pytest.approx(0.95)


def test_of_answers_that_are_all_alike_none_is_hardest() -> None:
    rows = table(30).assign(prediction=0)
    rows[[f"score_{name}" for name in LABELS]] = 1 / 3
    assert hardest_clips(rows, LABELS) == []


def test_a_method_without_epochs_has_no_share_of_training_steps() -> None:
    timed = [{"fold": 0, "seed": 1, "seconds": {"total": 2.0, "steps": 0.1}}]
    assert len(content.time_sentences(facts(fold_metrics=timed))) == 2
    (only,) = content.time_sentences(facts(fold_metrics=timed, method="Majority class", log_histories={}))
    assert "Training steps" not in only


def test_backticks_are_code_and_the_rest_is_text() -> None:
    assert with_code("`a<b` is <not> code") == "<code>a&lt;b</code> is &lt;not&gt; code"


def test_text_keeps_its_contrast_in_light_and_dark() -> None:
    for theme in THEMES.values():
        for text in ("ink", "muted"):
            for ground in ("surface", "panel"):
                assert contrast(theme[text], theme[ground]) >= 4.5
        assert contrast(theme["ink"], theme["warn"]) >= 4.5 and contrast(theme["accent"], theme["surface"]) >= 4.5
        assert contrast(theme["second"], theme["surface"]) >= 3
    for share in np.linspace(0, 1, 101):
        classes = str(heat_cell(float(share)))
        for name, theme in THEMES.items():
            plain = "#000000" if name == "light" else "#ffffff"
            other = "#ffffff" if name == "light" else "#000000"
            text = other if f"on-{name}" in classes else plain
            assert contrast(text, blend(theme["heat"], theme["surface"], float(share))) >= 4.5
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_figures_take_the_colours_of_the_page_and_repeat() -> None:
    drawing = intervals_drawing(
        "x", "UF1 & <more>", [IntervalRow("a run", 0.5, 0.4, 0.6, True), IntervalRow("b", 0.7)]
    )
    text = drawing.svg()
    assert text == drawing.svg() and "var(--accent)" in text and "var(--second)" in text and "&lt;more&gt;" in text
    assert not re.search(r"#a1b00\d", text) and "<metadata" not in text
    # Nothing is left in a colour of its own, which could not be seen on one of the two grounds.
    assert not re.search(r"(fill|stroke): #(?!000000)", text.split("</defs>", 1)[0])
    assert "y $\\frac$" in intervals_drawing("x", "t", [IntervalRow("y $\\frac$", 0.5)]).svg()  # a name, no formula
    assert reliability_drawing({"bins": []}) is None and subjects_drawing([], "acc", "ACC") is None
    assert learning_curves_drawing({"fold": [{"train_runtime": 3.0}]}) is None


def test_learning_curves_are_a_mean_and_a_band() -> None:
    histories = {f"f{i}": [{"epoch": e, "loss": i + e} for e in (1.0, 2.0)] for i in range(5)}
    histories["cut"] = [{"epoch": 1.0, "loss": float("nan")}]
    (curve,) = curves(histories)
    assert curve.mean.tolist() == [3, 4] and curve.low.tolist() == [1, 2] and curve.high.tolist() == [5, 6]
    assert curve.trainings == 5


def test_pictures_are_small_jpegs() -> None:
    picture = np.zeros((400, 300, 3), np.uint8)
    picture[..., 0] = 250
    kind, _, data = picture_uri(picture).partition(",")
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert kind == "data:image/jpeg;base64" and decoded.shape == (235, 176, 3)
    assert decoded[..., 2].mean() > 240 > 20 > decoded[..., 0].mean()


@pytest.mark.parametrize(("numbers", "text"), [([], ""), ([4], "4"), ([3, 1, 2, 7], "1-3, 7")])
def test_ranges_are_short(numbers: list[int], text: str) -> None:
    assert ranges(numbers) == text


def test_the_epoch_is_said_to_be_chosen_where_validation_subjects_chose_it() -> None:
    assert content.choices(facts())[0].startswith("Scored are the weights after the last epoch; no test clip")
    chosen = content.choices(facts(fold_metrics=[{"validation": {}}], moving_average=True))[0]
    assert "moving average of the weights of the epoch with the best score on validation clips" in chosen
    assert content.choices(facts(method="LBP-TOP"))[0] == "No test clip was used to choose anything."


def test_durations_are_easy_to_read() -> None:
    assert [content.duration(s) for s in (4.24, 42, 210, 7560)] == ["4.2 s", "42 s", "3.5 min", "2.1 h"]
    history = {"a": [{"train_runtime": 30.0}], "b": [{"train_runtime": 50.0}]}
    (sentence,) = content.time_sentences(facts(log_histories=history))
    assert sentence == "Trainings took 80 s in all, 40 s each on average (from 30 s to 50 s; 2 trainings)."


def test_a_part_of_a_run_is_not_taken_for_the_whole() -> None:
    metrics = [{"fold": fold, "seed": seed} for fold in (0, 1) for seed in (1, 2)]
    part = facts(complete=False, fold_metrics=metrics, missing_folds={"1": [2], "2": [2]}, num_clips=42)
    assert finished_text(part) == (
        "4 of 6 trainings (3 folds, 2 seeds) are finished; missing: fold 2 of seeds 1 and 2."
    )
    scores = {"clips": 28, "folds": 2, "synthetic": True, "all_folds": False, "planned": planned(part)}
    assert coverage_text(scores) == "28 of 42 synthetic clips, 2 of 3 folds, 4 of 6 trainings: not the whole split"
    one_seed = dataclasses.replace(part, fold_metrics=metrics[::2], missing_folds={"1": [2]})
    assert finished_text(one_seed) == "2 of 3 trainings (3 folds, 1 seed) are finished; missing: fold 2 of seed 1."
    assert coverage_text(scores | {"planned": planned(one_seed)}).startswith("28 of 42 synthetic clips, 2 of 3 folds:")
    older = dataclasses.replace(part, fold_metrics=(), num_clips=None)  # and the folds' own folders are gone
    assert finished_text(older) == "Not finished: fold 2 of seeds 1 and 2."
    assert coverage_text(scores | {"planned": planned(older)}) == "28 synthetic clips: not the whole split"
    assert finished_text(facts()) is None
    assert coverage_text({"clips": 42, "folds": 3, "all_folds": True}) == "42 clips, 3 folds, pooled"


def test_few_subjects_and_one_answer_are_said_beside_the_scores(tmp_path: Path) -> None:
    rows = table(seeds=(1, 2))
    assert ["6 subjects" in caveat for caveat in caveats(compute_metrics(rows, LABELS, samples=20))] == [True]
    many = rows.assign(subject=[f"s{i % 10}" for i in range(len(rows))])
    assert caveats(compute_metrics(many, LABELS, samples=20)) == []
    write_report(tmp_path, many.assign(prediction=1), facts())
    for name in ("report.md", "report.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "All clips were answered with one class, happy" in text
        assert "All 2 seeds gave the same scores" in text and "rough" not in text
    assert "one class" not in " ".join(caveats(compute_metrics(several_labels(rows), LABELS, samples=20)))


def test_the_report_says_how_to_repeat_the_run(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("dataset: data/it\noutput_dir: runs/a b\nnum_folds: 4\n")
    metrics = write_report(tmp_path, table(), facts(apex_jitter=2))
    assert metrics["environment"]["torch threads"] == str(torch.get_num_threads())
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "`hsta train 'runs/a b/recipe.yaml' --output_dir ANOTHER_FOLDER`" in text
    assert "in which the run was started: `dataset: data/it` counts from there." in text
    assert "`num_folds: 4` has no part in this run: the folds of loso follow" in text
    assert "| torch threads | " in text and "move it by up to 2 frames" in text
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = " ".join(" ".join(check_page(html).words).split())
    assert "<code>num_folds: 4</code> has no part" in html
    assert "runs/a b/recipe.yaml" in page and "num_folds: 4 has no part" in page and "counts from there" in page
    (tmp_path / "recipe.yaml").write_text(f"dataset: {Path.cwd()}\nnum_folds: 4\n")
    write_report(tmp_path, table(), facts(protocol="kfold-subjects"))
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "THIS_FOLDER/recipe.yaml" in text and "no part" not in text and "from there" not in text


def test_the_chosen_epoch_stands_beside_its_fold() -> None:
    chosen = [{"fold": fold, "seed": 1, "validation": {"epoch": fold + 2.0}} for fold in range(5)]
    metrics = compute_metrics(table(), LABELS, samples=20)
    rows = content.fold_rows(metrics, facts(fold_metrics=chosen))
    assert rows.header[3] == "epoch chosen"
    assert [row[3] for row in rows.rows] == ["2", "3", "4", "5", "6", "–"]  # noqa: RUF001
    assert "epoch chosen" not in content.fold_rows(metrics, facts()).header
