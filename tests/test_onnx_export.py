"""`hsta export`: the ONNX file computes the model's logits, can be used alone, and replaces nothing by itself."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

from hsta_hf import HSTAConfig, HSTAForMicroExpressionClassification, HSTAModel, HSTAVideoProcessor, onnx_export
from hsta_hf.cli.main import main
from hsta_hf.onnx_export import OnnxExportError, export_onnx

onnx = pytest.importorskip("onnx", reason='needs pip install "hsta-hf[onnx]"')
onnxruntime = pytest.importorskip("onnxruntime", reason='needs pip install "hsta-hf[onnx]"')
pytest.importorskip("onnxscript", reason='needs pip install "hsta-hf[onnx]"')

STREAM = {"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 48, "image_size": 32, "patch_size": 16}
SPECIAL = {**STREAM, "hidden_size": 16, "num_attention_heads": 2, "patch_size": 12}  # 12 does not divide 32
LABELS = {0: "happy", 1: "sad", 2: "überrascht"}


def small_model(seed: int = 0, **fields: Any) -> HSTAForMicroExpressionClassification:
    torch.manual_seed(seed)
    labels = {"id2label": LABELS, "label2id": {name: i for i, name in LABELS.items()}}
    config = HSTAConfig(
        video_config=dict(STREAM), special_config=dict(SPECIAL), **{"num_hsta_layers": 1, **labels, **fields}
    )
    return HSTAForMicroExpressionClassification(config).eval()


def pixels(batch: int, seed: int = 7) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = {"pixel_values": (batch, 6, 3, 32, 32), "special_pixel_values": (batch, 2, 3, 32, 32)}
    return {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


def logits_in_onnxruntime(path: Path, batch: int) -> np.ndarray:
    session = onnxruntime.InferenceSession(path)
    given = pixels(batch)
    return session.run(["logits"], {entry.name: given[entry.name] for entry in session.get_inputs()})[0]


def logits_in_pytorch(model: HSTAForMicroExpressionClassification, batch: int) -> np.ndarray:
    with torch.no_grad():
        return model(**{name: torch.from_numpy(x) for name, x in pixels(batch).items()}).logits.numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model in half precision, with its video processor."""
    path = tmp_path_factory.mktemp("trained")
    small_model().to(torch.bfloat16).save_pretrained(path)
    HSTAVideoProcessor(size={"height": 32, "width": 32}, special_frames=["apex", "offset"]).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "new folder" / "hsta.onnx"
    assert main(["export", str(folder), str(path)]) == 0
    return path


def test_the_command_writes_a_file_with_the_same_logits_at_any_batch(folder: Path, exported: Path) -> None:
    onnx.checker.check_model(str(exported), full_check=True)
    model = HSTAForMicroExpressionClassification.from_pretrained(folder, dtype=torch.float32).eval()
    for batch in (1, 3, 5):
        found, expected = logits_in_onnxruntime(exported, batch), logits_in_pytorch(model, batch)
        assert found.shape == (batch, 3)
        assert np.abs(found - expected).max() <= 1e-4
    assert np.ptp(expected, axis=0).max() > 1e-3, "clips differ, so that equal logits mean something"
    assert list(exported.parent.iterdir()) == [exported], "no temporary file stays"


def test_inputs_and_output_have_the_documented_names_and_a_dynamic_batch(exported: Path) -> None:
    session = onnxruntime.InferenceSession(exported)
    assert {entry.name: entry.shape for entry in session.get_inputs()} == {
        "pixel_values": ["batch", 6, 3, 32, 32],
        "special_pixel_values": ["batch", 2, 3, 32, 32],
    }
    assert [(entry.name, entry.shape) for entry in session.get_outputs()] == [("logits", ["batch", 3])]
    assert {(entry.domain, entry.version) for entry in onnx.load(exported).opset_import} == {("", 20)}


def test_the_file_says_what_its_user_has_to_know(folder: Path, exported: Path) -> None:
    import hsta_hf

    about = onnxruntime.InferenceSession(exported).get_modelmeta().custom_metadata_map
    assert json.loads(about["labels"]) == ["happy", "sad", "überrascht"]
    assert about["model_type"] == "hsta"
    assert about["hsta_hf_version"] == hsta_hf.__version__
    assert about["problem_type"] == "single_label_classification"
    processor = HSTAVideoProcessor.from_dict(json.loads(about["processor"]))
    assert processor.to_dict() == HSTAVideoProcessor.from_pretrained(folder).to_dict()
    assert HSTAConfig.from_dict(json.loads(about["config"])).num_hsta_layers == 1


def test_a_film_goes_through_file_and_model_alike(folder: Path, exported: Path) -> None:
    """The example in the module's docstring, on frames: the metadata alone prepare the input."""
    session = onnxruntime.InferenceSession(exported)
    about = session.get_modelmeta().custom_metadata_map
    frames = np.random.default_rng(3).integers(0, 256, (12, 40, 40, 3), dtype=np.uint8)
    inputs = HSTAVideoProcessor.from_dict(json.loads(about["processor"]))(frames, return_tensors="np")
    found = session.run(["logits"], {entry.name: inputs[entry.name] for entry in session.get_inputs()})[0]
    model = HSTAForMicroExpressionClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = model(**HSTAVideoProcessor.from_pretrained(folder)(frames, return_tensors="pt")).logits
    assert np.abs(found - expected.numpy()).max() <= 1e-4


def test_nothing_of_the_machine_is_in_the_file(exported: Path) -> None:
    content = exported.read_bytes()
    for path in (Path(onnx_export.__file__).parent, Path(torch.__file__).parent, Path.home()):
        assert str(path).encode() + os.sep.encode() not in content, f"{path} is in the file"


def test_a_file_that_exists_is_replaced_only_when_asked(
    folder: Path,
    exported: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = exported.read_bytes()
    assert main(["export", str(folder), str(exported)]) == 2
    assert "exists; choose another name, or replace it with --overwrite" in capsys.readouterr().err
    assert exported.read_bytes() == before
    mine = tmp_path / "mine.onnx"
    mine.write_text("something of the user's")
    monkeypatch.setattr(onnx_export, "_write", lambda model, path, *_: shutil.copy(exported, path))  # saves seconds
    assert main(["export", str(folder), str(mine), "--overwrite"]) == 0
    assert "logits differ by" in capsys.readouterr().out
    assert logits_in_onnxruntime(mine, 2).shape == (2, 3)


def test_a_file_that_computes_something_else_is_not_kept(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine.onnx"
    mine.write_text("something of the user's")
    monkeypatch.setattr(onnx_export, "_write", lambda model, path, *_: shutil.copy(exported, path))
    with pytest.raises(OnnxExportError, match=r"At batch 1 a logit differs by \S+ between ONNX Runtime and PyTorch"):
        export_onnx(small_model(seed=1), mine, overwrite=True)
    assert mine.read_text() == "something of the user's"
    assert list(tmp_path.iterdir()) == [mine], "no temporary file stays"


def test_a_file_that_cannot_run_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "_write", lambda model, path, *_: path.write_bytes(b"no model"))
    with pytest.raises(OnnxExportError, match="is not a model that can run"):
        export_onnx(small_model(), tmp_path / "hsta.onnx")
    assert not list(tmp_path.iterdir())


def test_the_model_is_left_as_it_was(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def write(model: HSTAForMicroExpressionClassification, path: Path, *_: Any) -> None:
        seen.update(training=model.training, attention=model.config._attn_implementation)
        shutil.copy(exported, path)

    monkeypatch.setattr(onnx_export, "_write", write)
    model = small_model(seed=1).train()
    model.set_attn_implementation("eager")
    with pytest.raises(OnnxExportError):
        export_onnx(model, tmp_path / "hsta.onnx")
    assert seen == {"training": False, "attention": "sdpa"}
    assert model.training and model.config._attn_implementation == "eager"
    assert model.config.stream("video")._attn_implementation == "eager"


def test_missing_packages_are_named_with_the_command_that_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name.startswith("onnx") else find(name, *rest)
    )
    assert main(["export", str(tmp_path), str(tmp_path / "hsta.onnx")]) == 2
    assert 'needs onnx, onnxruntime, onnxscript: pip install "hsta-hf[onnx]"' in capsys.readouterr().err


def test_wrong_requests_are_refused_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for output, rest, said in (
        (tmp_path, [], "is a folder; name a file in it"),
        (tmp_path / "hsta.pt", [], "does not end in .onnx"),
        (tmp_path / "hsta.onnx", ["--opset", "17"], "The opset is 17; PyTorch's exporter writes 18 or newer"),
    ):
        assert main(["export", str(tmp_path / "no model"), str(output), *rest]) == 2
        assert said in capsys.readouterr().err


def test_what_is_no_trained_classifier_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    HSTAModel(small_model().config).save_pretrained(tmp_path / "headless")
    videomae = VideoMAEConfig(
        hidden_size=16, num_attention_heads=2, num_hidden_layers=1, intermediate_size=16, image_size=32
    )
    VideoMAEForVideoClassification(videomae).save_pretrained(tmp_path / "videomae")
    (tmp_path / "empty").mkdir()
    for name, said in (
        ("headless", "has no weights for classifier.bias, classifier.weight"),
        ("videomae", "is a model of type 'videomae'"),
        ("empty", "holds neither a model nor a run"),
    ):
        assert main(["export", str(tmp_path / name), str(tmp_path / "hsta.onnx")]) == 1
        error = capsys.readouterr().err
        assert str(tmp_path / name) in error and said in error
    assert not (tmp_path / "hsta.onnx").exists()


def test_weights_of_another_type_or_too_many_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"cls_token is bfloat16; .* call model.float\(\) first"):
        export_onnx(small_model().to(torch.bfloat16), tmp_path / "hsta.onnx")
    monkeypatch.setattr(onnx_export, "MAX_WEIGHT_BYTES", 1000)
    with pytest.raises(ValueError, match=r"The weights take \S+ GB; one ONNX file holds 0.00 GB"):
        export_onnx(small_model(), tmp_path / "hsta.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"block_style": "paper", "num_hsta_layers": 2},
        {"block_style": "released", "num_hsta_layers": 2, "first_patch_position": 1},
        {"use_csta": False},
        {"use_special_stream": False},
        {"use_video_stream": False},
        {"token_reduction": 0.5},
        {"token_reduction": 0.5, "use_special_stream": False, "block_style": "paper"},
        {"use_video_stream": False, "block_style": "paper"},
        {"problem_type": "multi_label_classification"},
    ],
    ids=str,
)
def test_every_kind_of_model_exports(fields: dict[str, Any], tmp_path: Path) -> None:
    model = small_model(**fields)
    said: list[str] = []
    written = export_onnx(model, tmp_path / "hsta.onnx", progress=said.append)
    assert set(written.differences) == {1, 3} and max(written.differences.values()) <= 1e-4
    assert written.num_bytes == written.path.stat().st_size
    names = [
        name
        for name, on in (
            ("pixel_values", fields.get("use_video_stream", True)),
            ("special_pixel_values", fields.get("use_special_stream", True)),
        )
        if on
    ]
    session = onnxruntime.InferenceSession(written.path)
    assert [entry.name for entry in session.get_inputs()] == names == list(written.inputs)
    for batch in (1, 4):
        difference = np.abs(logits_in_onnxruntime(written.path, batch) - logits_in_pytorch(model, batch)).max()
        assert difference <= 1e-4
    about = session.get_modelmeta().custom_metadata_map
    assert about["problem_type"] == fields.get("problem_type", "single_label_classification")
    assert "processor" not in about
    assert len(said) == 4 and "opset 20" in said[0]


@pytest.mark.slow
@pytest.mark.parametrize("opset", [18, 23])
def test_older_and_newer_opsets_run(opset: int, tmp_path: Path) -> None:
    written = export_onnx(small_model(), tmp_path / "hsta.onnx", opset=opset)
    assert onnx.load(written.path).opset_import[0].version == written.opset == opset


@pytest.mark.slow
def test_an_opset_that_the_exporter_does_not_reach_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OnnxExportError, match=r"reached opset \d+ instead of 99"):
        export_onnx(small_model(), tmp_path / "hsta.onnx", opset=99)
    assert not list(tmp_path.iterdir())
