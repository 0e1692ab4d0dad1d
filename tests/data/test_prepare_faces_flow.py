"""Faces and optical flow in prepared datasets: what is stored, what is said, and that stored flow is computed flow."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch

from hsta_hf.data import prepare as prepare_module
from hsta_hf.data import prepare_job
from hsta_hf.data.databases import get_database
from hsta_hf.data.face_alignment import Face, FaceAligner
from hsta_hf.data.face_geometry import warp_similarity
from hsta_hf.data.prepare import FlowOptions, PrepareError, PrepareOptions, PrepareReport
from hsta_hf.data.prepared import MANIFEST, flow_at, frames_at, load_prepared, prepared_info
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

if TYPE_CHECKING:
    from conftest import Casme3Tree

WIDTH, HEIGHT = 96, 80


def prepare(root: Path, out: Path, options: PrepareOptions, **settings: Any) -> PrepareReport:
    return prepare_module.prepare("casme3", root, out, options, **{"progress": False, "workers": 1, **settings})


class MarkedFaces:
    """Finds as many faces as the red of a frame's corner says in steps of 60; nothing else about it is a detector."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def detect(self, frame: np.ndarray) -> list[Face]:
        count = round(float(frame[:6, :6, 0].mean()) / 60)
        left = 20.0 + frame[:6, :6, 2].mean() / 60
        points = np.array([[0.0, 0], [24, 2], [12, 12], [3, 24], [22, 25]]) + np.array([left, 20])
        return [Face((left, 10, 40.0 - i, 50), points, 0.9) for i in range(count)]

    def refine(self, frame: np.ndarray, face: Face) -> Face:
        return face


@pytest.fixture
def detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights' file of `MarkedFaces`, which `prepare` uses in place of YuNet."""
    path = tmp_path / "detector.onnx"
    path.write_bytes(b"weights")

    def aligner(weights: Any, size: int, stabilise: bool) -> FaceAligner:
        return FaceAligner(size=size, stabilise=stabilise, detector=MarkedFaces(Path(weights)))

    monkeypatch.setattr(prepare_job, "FaceAligner", aligner)
    return path


@pytest.fixture
def moving_root(casme3_tree: Casme3Tree) -> Path:
    """Three subjects whose textured "face" moves; the frames' corner says how many faces are found: 1, 0, 2."""
    rng = np.random.default_rng(5)
    for subject, faces in enumerate((1, 0, 2)):
        texture = cv2.GaussianBlur(rng.integers(0, 256, (HEIGHT + 40, WIDTH + 40, 3), dtype=np.uint8), (0, 0), 2)
        texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
        for number in range(1, 14):
            moved = 2.5 * np.sin(number / 4)
            shift = np.array([[1, 0, -20 + moved], [0, 1, -20 - moved / 2]])
            frame = cv2.warpAffine(texture, shift, (WIDTH, HEIGHT))
            frame[:8, :8] = (number * 8, 30, 60 * faces)  # BGR
            path = casme3_tree.frame(f"spNO.{subject}", "a", number)
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), frame, [cv2.IMWRITE_JPEG_QUALITY, 100])
        casme3_tree.row(f"spNO.{subject}", "a", 2, 6, 12)
    return casme3_tree.save()


def test_faces_are_aligned_by_the_onset_frames_transform_and_reported(
    moving_root: Path, tmp_path: Path, detector: Path
):
    options = PrepareOptions(size=64, face_detector=detector, stabilise=False)
    report = prepare(moving_root, tmp_path / "out", options)
    dataset = load_prepared(tmp_path / "out")
    assert [row["subject"] for row in dataset] == ["spNO.0", "spNO.2"]
    assert [row["num_faces"] for row in dataset] == [1, 2]
    for index, row in enumerate(dataset):
        assert (row["height"], row["width"]) == (64, 64)
        assert (row["source_height"], row["source_width"]) == (HEIGHT, WIDTH)
        matrix = np.reshape(row["face_matrix"], (2, 3))
        frames = frames_at(dataset, index)
        for place, number in enumerate(row["frame_numbers"]):
            source = cv2.imread(str(moving_root / row["subject"] / "a" / "color" / f"{number}.jpg"))[:, :, ::-1]
            np.testing.assert_array_equal(frames[place], warp_similarity(np.ascontiguousarray(source), matrix, 64))
        first = cv2.imread(str(moving_root / row["subject"] / "a" / "color" / "2.jpg"))[:, :, ::-1]
        landmarks = MarkedFaces(detector).detect(first)[0].landmarks
        np.testing.assert_allclose(
            np.reshape(row["face_landmarks"], (5, 2)), landmarks @ matrix[:, :2].T + matrix[:, 2], atol=1e-9
        )
    no_face, two = report.problems
    assert (no_face.clip, no_face.field, no_face.severity) == ("spNO.1/a/2/6/12", "face", "error")
    assert "no face found in the onset frame (96x80 pixels)" in no_face.message
    assert (two.clip, two.field, two.severity) == ("spNO.2/a/2/6/12", "face", "warning")
    assert "2 faces" in two.message
    faces = prepared_info(tmp_path / "out").faces
    assert faces is not None and (faces["mode"], faces["size"], faces["stabilise"]) == ("align", 64, False)
    assert faces["detector"]["file"] == "detector.onnx" and len(faces["detector"]["sha256"]) == 64
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "- 1 left out since no face was found in the onset frame" in text
    assert "Onset frames with no face: 1 (left out), with one: 1, with several: 1 (the largest was taken)" in text
    with (tmp_path / "out" / "clips.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["faces_found"] for line in lines] == ["1", "2"]
    assert lines[1]["problems"].startswith("warning: face: 2 faces")
    assert float(lines[0]["face_scale"]) == pytest.approx(
        np.hypot(*np.reshape(dataset[0]["face_matrix"], (2, 3))[:, 0]), abs=1e-4
    )


def test_without_a_face_in_any_clip_nothing_is_written(moving_root: Path, tmp_path: Path, detector: Path):
    for subject in (0, 2):
        for path in (moving_root / f"spNO.{subject}" / "a" / "color").iterdir():
            path.write_bytes((moving_root / "spNO.1" / "a" / "color" / path.name).read_bytes())
    with pytest.raises(PrepareError, match=r"no clip's frames can be used(.|\n)*no face found"):
        prepare(moving_root, tmp_path / "out", PrepareOptions(size=64, face_detector=detector))
    assert not (tmp_path / "out").exists()


def test_what_the_owner_aligned_is_kept_unless_asked(
    moving_root: Path, tmp_path: Path, detector: Path, monkeypatch: pytest.MonkeyPatch
):
    aligned = dataclasses.replace(get_database("casme3"), aligned_variants=("",))
    monkeypatch.setattr(prepare_module, "get_database", lambda _: aligned)
    report = prepare(moving_root, tmp_path / "out", PrepareOptions(face_detector=detector))
    assert report.kept_since_aligned and report.options.faces == "keep" and report.num_clips == 3
    row = load_prepared(tmp_path / "out")[0]
    assert (row["height"], row["width"]) == (HEIGHT, WIDTH)
    assert (row["face_matrix"], row["face_landmarks"], row["num_faces"]) == (None, None, None)
    assert prepared_info(tmp_path / "out").faces is None
    assert "already cropped and registered" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    again = prepare(moving_root, tmp_path / "anew", PrepareOptions(faces="align", face_detector=detector))
    assert not again.kept_since_aligned and prepared_info(tmp_path / "anew").size == 224


@pytest.mark.parametrize("named", [False, True])
def test_a_detector_that_cannot_be_had_is_one_error_before_any_work(
    moving_root: Path, tmp_path: Path, named: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HSTA_FACE_DETECTOR", raising=False)
    options = PrepareOptions(face_detector=tmp_path / "nowhere.onnx" if named else None)
    with pytest.raises(PrepareError) as caught:
        prepare(moving_root, tmp_path / "out", options)
    assert "--face-detector PATH" in str(caught.value) and "--faces keep" in str(caught.value)
    assert not (tmp_path / "out.partial").exists()


def test_changed_options_and_another_detector_reuse_nothing(
    moving_root: Path, tmp_path: Path, detector: Path, monkeypatch: pytest.MonkeyPatch
):
    base = PrepareOptions(size=64, face_detector=detector, flow=FlowOptions(height=48, width=48))
    others = [
        dataclasses.replace(base, size=80),
        dataclasses.replace(base, faces="keep"),
        dataclasses.replace(base, max_frames=9),
        dataclasses.replace(base, stabilise=False),
        dataclasses.replace(base, spot_missing_apex=False),
        dataclasses.replace(base, flow=None),
        dataclasses.replace(base, flow=FlowOptions("dis", 48, 48)),
        dataclasses.replace(base, flow=FlowOptions(height=48, width=50)),
        dataclasses.replace(base, flow=FlowOptions(height=48, width=48, remove_head_motion=False)),
    ]
    clips = get_database("casme3").load(moving_root).clips
    key = prepare_job.ClipJob(base.settled(False)).key(clips[0])
    keys = {prepare_job.ClipJob(option.settled(False)).key(clips[0]) for option in others}
    assert len(keys | {key}) == len(others) + 1
    assert prepare_job.ClipJob(base.settled(False)).key(clips[0]) == key
    assert len({prepare_job.ClipJob(base.settled(False)).key(clip) for clip in clips}) == len(clips)
    detector.write_bytes(b"other weights")
    assert prepare_job.ClipJob(base.settled(False)).key(clips[0]) != key
    monkeypatch.setattr(prepare_job, "_code_digest", lambda: "a newer version of hsta-hf")
    detector.write_bytes(b"weights")
    assert prepare_job.ClipJob(base.settled(False)).key(clips[0]) != key


@pytest.mark.parametrize("faces", ["align", "keep"])
@pytest.mark.parametrize(
    "flow", [FlowOptions("farneback", 48, 56, True), FlowOptions("dis", 40, 40, False)], ids=["farneback", "dis"]
)
def test_training_from_stored_flow_equals_training_from_computed_flow(
    moving_root: Path, tmp_path: Path, detector: Path, faces: str, flow: FlowOptions
):
    options = PrepareOptions(faces=faces, size=64 if faces == "align" else None, flow=flow, face_detector=detector)
    prepare(moving_root, tmp_path / "out", options)
    dataset = load_prepared(tmp_path / "out")
    stored_with = prepared_info(tmp_path / "out").flow
    processor = HSTAVideoProcessor(
        size={"height": 28, "width": 28},
        special_frames=["onset", "apex"],
        special_input="optical_flow",
        flow_method=flow.method,
        flow_size={"height": flow.height, "width": flow.width},
        remove_head_motion=flow.remove_head_motion,
    )
    assert processor.flow_settings() == stored_with
    assert len(dataset) >= 2
    for index, row in enumerate(dataset):
        flows = flow_at(dataset, index)
        assert flows is not None and flows.dtype == np.float32 and flows.shape == (2, flow.height, flow.width, 3)
        key_frames = (row["onset_index"], row["apex_index"], row["offset_index"])
        computed = processor.select_and_prepare(frames_at(dataset, index), *key_frames)
        stored = processor.select_and_prepare(frames_at(dataset, index), *key_frames, flows=flows)
        for one, other in zip(computed, stored, strict=True):
            assert torch.equal(one, other)
        assert float(np.abs(flows[..., :2]).max()) > 0.2, "nothing moves in what is compared"


def test_an_unknown_apex_has_no_flow_and_that_is_said(casme3_tree: Casme3Tree, tmp_path: Path):
    casme3_tree.recording("spNO.1", "a", range(1, 30))
    casme3_tree.row("spNO.1", "a", 5, 5, 13)
    casme3_tree.row("spNO.1", "a", 16, 18, 23)
    flow = FlowOptions(height=16, width=16)
    options = PrepareOptions(faces="keep", spot_missing_apex=False, flow=flow)
    report = prepare(casme3_tree.save(), tmp_path / "out", options)
    dataset = load_prepared(tmp_path / "out")
    assert flow_at(dataset, 0) is None and flow_at(dataset, 1) is not None
    assert flow_at(dataset.select([1]), 0) is not None
    assert "no optical flow is stored" in report.problems[-1].message
    assert "Stored for 1 of 2 clips" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    spotted = prepare(tmp_path / "casme3", tmp_path / "spotted", dataclasses.replace(options, spot_missing_apex=True))
    assert flow_at(load_prepared(tmp_path / "spotted"), 0) is not None and len(spotted.problems) == 1


def test_a_flow_method_that_is_not_there_is_said_before_any_work(
    moving_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def absent(*_: Any) -> None:
        raise ImportError("needs opencv-contrib")

    monkeypatch.setattr(prepare_job, "special_flows", absent)
    with pytest.raises(PrepareError, match="--flow tvl1: needs opencv-contrib"):
        prepare(moving_root, tmp_path / "out", PrepareOptions(faces="keep", flow=FlowOptions("tvl1")))
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.slow
def test_ict_me_aligned_with_flow(shared_dir: Path, tmp_path: Path):
    """Every face is found once, lands where the template says, and the stored flow is the recipe's."""
    from hsta_hf.training.model_factory import build_processor
    from hsta_hf.training.recipe import load_recipe

    weights = shared_dir / "models" / "yunet_n_640_640.onnx"
    options = PrepareOptions(face_detector=weights, flow=FlowOptions("farneback", 192, 192, True))
    report = prepare(shared_dir / "data" / "ict_me", tmp_path / "out", options, workers=2)
    assert report.num_clips == 320 and report.errors == ()
    dataset = load_prepared(tmp_path / "out")
    assert set(dataset.select_columns(["num_faces"])["num_faces"]) == {1}
    eyes = np.reshape(dataset.select_columns(["face_landmarks"])["face_landmarks"], (320, 5, 2))[:, :2]
    assert np.abs(eyes - eyes.mean(axis=0)).max() < 0.03 * 224
    processor = build_processor(load_recipe("casme3_flow").model)
    assert prepared_info(tmp_path / "out").flow == processor.flow_settings()
    for index in (0, 100, 319):
        row = dataset[index]
        key_frames = (row["onset_index"], row["apex_index"], row["offset_index"])
        computed = processor.select_and_prepare(frames_at(dataset, index), *key_frames)[1]
        stored = processor.select_and_prepare(frames_at(dataset, index), *key_frames, flows=flow_at(dataset, index))[1]
        assert torch.equal(computed, stored)


@pytest.mark.slow
def test_videos_are_prepared_and_one_without_a_face_is_named(shared_dir: Path, tmp_path: Path):
    import shutil

    root = tmp_path / "videos"
    root.mkdir()
    for name in ("single_face.mp4", "no_face.mp4"):
        shutil.copy(shared_dir / "media" / name, root / name)
    (root / "clips.csv").write_text(
        "path,subject,onset,apex,offset,emotion\nsingle_face.mp4,1,0,4,9,happy\nno_face.mp4,2,0,4,9,happy\n"
    )
    weights = shared_dir / "models" / "yunet_n_640_640.onnx"
    report = prepare_module.prepare(
        "folder", root, tmp_path / "out", PrepareOptions(face_detector=weights), progress=False
    )
    assert report.num_clips == 1
    (problem,) = report.errors
    assert problem.field == "face" and problem.clip.startswith("2/") and "no face found" in problem.message
    dataset = load_prepared(tmp_path / "out")
    assert frames_at(dataset, 0).shape == (10, 224, 224, 3) and dataset[0]["frame_numbers"] == list(range(10))
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["databases"] == ["folder"]
