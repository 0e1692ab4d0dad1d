"""`hsta explain` on small models, from a video file and from a prepared dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from prediction_helpers import BrightFace, moving_clip, save_model, write_video

from hsta_hf import HSTAForMicroExpressionClassification, HSTAVideoProcessor
from hsta_hf.cli import explain
from hsta_hf.cli.main import main
from hsta_hf.data.face_alignment import FaceAligner
from hsta_hf.data.prepare import PrepareOptions, prepare
from hsta_hf.data.prepared import load_prepared
from hsta_hf.data.synthesize import synthesize
from hsta_hf.explanation import sources
from hsta_hf.explanation.drawing import draw_contact_sheet
from hsta_hf.explanation.explain import METHODS, explain_clip
from hsta_hf.explanation.gradients import has_captum
from hsta_hf.explanation.text import verdicts

FLOW = {"video_input": "optical_flow", "special_input": "optical_flow", "flow_scale": 0.1}
QUICK = ["--random_orders", "4", "--steps", "4"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "model", **FLOW)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip one.mp4", moving_clip(3))


def test_the_command_knows_the_maps_that_there_are() -> None:
    assert tuple(METHODS) == explain.MAPS


def test_it_writes_pictures_and_numbers_and_prints_the_test(
    model: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", str(model), str(video), "--output", str(tmp_path / "out"), *QUICK]) == 0
    printed = capsys.readouterr()
    assert "between the brows (AU 4)" in printed.out and "random orders beaten" in printed.out
    assert "faces are not aligned" in printed.err and "regions lie beside the face" in printed.out
    found = json.loads((tmp_path / "out" / "explanation.json").read_text())
    made = [name for name in METHODS if name != "integrated_gradients" or has_captum()]
    assert list(found["maps"]) == made and found["label"] in found["scores"] and found["aligned"] is False
    for maps in found["maps"].values():
        assert sum(region["share"] for region in maps["regions"]) == pytest.approx(1)
        for region in maps["regions"]:
            assert sum(region["tubelets"].values()) == pytest.approx(region["share"])
        assert maps["deletion"]["scores"][0] == pytest.approx(found["scores"][found["label"]], abs=1e-5)
        assert len(maps["deletion"]["random_areas"]) == 4
    sheet = cv2.imread(str(tmp_path / "out" / "contact_sheet.png"))
    assert sheet is not None and sheet.shape[1] > 1200 and sheet.mean() > 150
    with av.open(str(tmp_path / "out" / "overlay.mp4")) as container:
        assert len(list(container.decode(video=0))) == 9


def test_what_a_map_is_worth_is_said_on_the_sheet_too(model: Path) -> None:
    """Of a model that movement hardly moves, that the test says little; elsewhere each map has a sentence."""
    network = HSTAForMicroExpressionClassification.from_pretrained(model)
    explanation = explain_clip(
        network,
        HSTAVideoProcessor.from_pretrained(model),
        moving_clip(3),
        methods=["rollout", "last_layer"],
        random_orders=4,
    )
    page = draw_contact_sheet(explanation, "clip")
    scores = explanation.tests["rollout"].curve.scores
    scores[:] = np.linspace(0.9, 0.2, len(scores))
    first, second = verdicts(explanation)
    assert first.startswith("Attention rollout: deleting in its order beats") and "last layer" in second
    assert "Attention rollout: deleting" in heading(draw_contact_sheet(explanation, "clip"))
    scores[:] = np.linspace(0.35, 0.3, len(scores))
    (only,) = verdicts(explanation)
    assert "hardly depends on movement (a still clip has 0.30), so the deletion test says little of any" in only
    assert only in heading(draw_contact_sheet(explanation, "clip")) and "why" in heading(page)
    bars = page.axes[-2].get_yticklabels()
    assert "elsewhere" in [label.get_text() for label in bars] and len(bars) == 7


def heading(figure: Figure) -> str:
    """The words at the top, its lines joined."""
    assert figure.get_suptitle()
    return " ".join(figure.get_suptitle().split())


def test_a_film_of_more_than_a_second_is_warned_of_unless_its_offset_is_given(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = write_video(tmp_path / "film.mp4", moving_clip(3, num_frames=45))
    command = ["explain", str(model), str(film), "--output", str(tmp_path / "out"), "--maps", "rollout", *QUICK]
    assert main(command) == 0
    assert "film.mp4 lasts 1.5 s and is taken as one micro-expression" in capsys.readouterr().err
    assert main([*command, "--offset", "8"]) == 0
    assert "lasts" not in capsys.readouterr().err


def test_faces_are_aligned_as_the_processor_says(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def aligner(alignment: dict[str, Any] | None, face_detector: object) -> FaceAligner:
        assert alignment == {"size": 48, "stabilise": False}
        return FaceAligner(size=48, stabilise=False, detector=BrightFace())

    monkeypatch.setattr(sources, "make_aligner", aligner)
    folder = save_model(tmp_path / "model", face_alignment={"size": 48, "stabilise": False}, **FLOW)
    command = ["explain", str(folder), str(video), "--output", str(tmp_path / "out"), "--maps", "rollout", *QUICK]
    assert main([*command, "--onset", "1", "--apex", "3", "--offset", "6", "--label", "sad"]) == 0
    printed = capsys.readouterr()
    assert "not aligned" not in printed.out + printed.err and "clip one.mp4: sad" in printed.out
    found = json.loads((tmp_path / "out" / "explanation.json").read_text())
    assert found["aligned"] is True and found["label"] == "sad" and list(found["maps"]) == ["rollout"]
    assert [found["frames"][name] for name in ("onset", "apex", "offset")] == [0, 2, 5]  # from the onset on
    assert found["first_frame"] == 1 and "Frames count from the onset, which is frame 1 of the film." in printed.out


def test_a_clip_of_a_dataset_is_explained_by_the_model_that_was_tested_on_it(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    synthesize(tmp_path / "drawn", num_subjects=2, clips_per_subject=1, size=64, num_frames=(8, 9))
    prepare("casme3", tmp_path / "drawn", tmp_path / "prepared", PrepareOptions(faces="keep"), progress=False)
    clips = load_prepared(tmp_path / "prepared").data.column("clip_id").to_pylist()
    run = tmp_path / "run"
    for fold in (0, 1):
        save_model(run / "folds" / f"fold-{fold:02d}-seed-42" / "model", seed=fold, **FLOW)
    (run / "recipe.yaml").write_text("preset: tiny\n")
    pd.DataFrame({"clip": clips, "fold": [1, 0], "seed": 42}).to_parquet(run / "predictions.parquet")
    monkeypatch.setattr(sources, "read_predictions", pd.read_parquet)
    command = ["explain", str(run), clips[0], "--dataset", str(tmp_path / "prepared"), "--maps", "last_layer", *QUICK]
    monkeypatch.chdir(tmp_path)
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "fold-01-seed-42" in printed and clips[0] in printed
    (folder,) = (tmp_path / "explanation").iterdir()
    assert folder.name == clips[0].replace("/", "_")
    assert {path.name for path in folder.iterdir()} == {"contact_sheet.png", "overlay.mp4", "explanation.json"}
    assert main([*command[:2], "nobody", *command[3:]]) == 1
    assert "no clip 'nobody'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--label", "bored"], 1, "no class 'bored'; its classes are happy, sad, surprise"),
        (["--steps", "0"], 2, "--steps is 0"),
        (["--apex", "40"], 1, "40"),
        (["--maps", "rollout", "--video_map", "last_layer"], 2, "not among --maps"),
        (["--dataset", "x", "--apex", "1"], 2, "leave them out"),
    ],
)
def test_what_cannot_be_explained_is_said(
    model: Path, video: Path, capsys: pytest.CaptureFixture[str], more: list[str], code: int, said: str
) -> None:
    assert main(["explain", str(model), str(video), *more]) == code
    assert said in capsys.readouterr().err


def test_a_film_is_not_taken_for_a_clip(
    model: Path, video: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MOST_FRAMES", 8)
    assert main(["explain", str(model), str(video)]) == 1
    assert "has 9 frames" in capsys.readouterr().err
    assert main(["explain", str(model), "nothing.mp4"]) == 1
    assert "nothing.mp4" in capsys.readouterr().err
