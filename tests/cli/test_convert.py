"""`hsta convert`: what it asks for, prints, writes and refuses."""

from __future__ import annotations

import argparse
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForVideoClassification,
    AutoVideoProcessor,
    VideoMAEConfig,
    VideoMAEModel,
    pipeline,
)

from hsta_hf import HSTAConfig, HSTAForMicroExpressionClassification, HSTAModel, HSTAVideoProcessor
from hsta_hf.cli.main import main
from hsta_hf.released_checkpoint import to_released

VIDEO = {"hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 96, "image_size": 32}
SPECIAL = {"hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 48, "image_size": 32, "patch_size": 12}
HEADS = ["--video_heads", "4", "--special_heads", "2"]


def small_model(**fields: Any) -> HSTAForMicroExpressionClassification:
    torch.manual_seed(0)
    fields = {"num_hsta_layers": 2, "num_labels": 3, "first_patch_position": 1, **fields}
    return HSTAForMicroExpressionClassification(
        HSTAConfig(video_config=VIDEO, special_config=SPECIAL, **fields)
    ).eval()


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return to_released(small_model())


@pytest.fixture
def checkpoint(weights: dict[str, torch.Tensor], tmp_path: Path) -> Path:
    save_file(weights, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def convert(checkpoint: Path, output: Path, *options: str) -> int:
    return main(["convert", "--checkpoint", str(checkpoint), "--output", str(output), *options])


def test_the_folder_is_a_model_like_any_other(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    names = ["--labels", "positive", "negative", "surprise"]
    assert convert(checkpoint, folder, *HEADS, "--image_size", "32", *names) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"Read off the tensors of {checkpoint}:",
        f"  {len(load_file(checkpoint))} tensors, {small_model().num_parameters():,} parameters, float32",
        "  M=2, L_v=2, L_s=1, 3 labels",
        "  video stream: width 48, MLP 96, patch 16, tubelet 2, 3 channels, q and v biases",
        "  special stream: width 24, MLP 48, patch 12, tubelet 2, 3 channels, q and v biases",
        "Asked for, as the tensors do not tell it:",
        "  heads: 4 in the video stream (12 wide), 2 in the special stream (12 wide)",
        "  image_size: 32",
        "  labels: positive negative surprise",
        "Assumed:",
        "  num_frames: 6 (--num_frames)",
        "  special_frames: onset apex (--special_frames)",
        "  layer_norm_eps: 1e-06 (--layer_norm_eps)",
        "  the head reads the two [CLS] (model_header_mode 2 of the released command)",
        "  both streams see RGB frames (video_input and special_input of the processor)",
        "  preprocessing: whole picture resized, ImageNet mean and standard deviation; loss: cross-entropy",
        "  video frames: uniform over the clip; the released code drew them at random, at test time too",
        f"Wrote model and processor to {folder}",
    ]
    model = AutoModelForVideoClassification.from_pretrained(folder).eval()
    processor = AutoVideoProcessor.from_pretrained(folder)
    clip = np.random.default_rng(0).integers(0, 255, (9, 40, 50, 3), dtype=np.uint8)
    inputs = processor(clip, apex=4)
    with torch.no_grad():
        logits, wanted = model(**inputs).logits, small_model()(**inputs).logits
    torch.testing.assert_close(logits, wanted, atol=1e-6, rtol=0)
    frames = tmp_path / "frames"
    frames.mkdir()
    from PIL import Image

    for number, picture in enumerate(clip):
        Image.fromarray(picture).save(frames / f"{number}.png")
    answer = pipeline("video-classification", model=str(folder))(str(frames), top_k=3)
    assert {entry["label"] for entry in answer} == {"positive", "negative", "surprise"}
    assert {"modeling_hsta.py", "configuration_hsta.py", "video_preprocessor_config.json"} <= {
        entry.name for entry in folder.iterdir()
    }
    assert json.loads((folder / "config.json").read_text())["id2label"]["2"] == "surprise"


def test_without_heads_it_says_the_widths_and_writes_nothing(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for given, missing in (
        (["--video_heads", "4"], "--special_heads"),
        (["--special_heads", "2"], "--video_heads"),
        ([], "--video_heads and --special_heads"),
    ):
        assert convert(checkpoint, tmp_path / "model", *given) == 1
        error = capsys.readouterr().err
        assert f"give {missing}. The video stream is 48 wide, the special stream 24" in error
    assert not (tmp_path / "model").exists()


def test_a_refused_checkpoint_is_an_error_line_and_no_folder(
    weights: dict[str, torch.Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({**weights, "blocks.0.blocks.1.0.gamma_1": torch.ones(48)}, tmp_path / "odd.pth")
    assert convert(tmp_path / "odd.pth", tmp_path / "model", *HEADS, "--image_size", "32") == 1
    assert "unknown: blocks.0.blocks.1.0.gamma_1" in capsys.readouterr().err
    assert convert(tmp_path / "absent.pth", tmp_path / "model", *HEADS) == 1
    assert "absent.pth is no file" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_an_output_in_use_is_kept_unless_told_otherwise(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, options = tmp_path / "model", [*HEADS, "--image_size", "32"]
    assert convert(checkpoint, folder, *options) == 0
    before = (folder / "config.json").read_text()
    assert convert(checkpoint, folder, *options, "--labels", "a", "b", "c") == 1
    assert "--overwrite" in capsys.readouterr().err
    assert (folder / "config.json").read_text() == before
    assert convert(checkpoint, folder, *options, "--labels", "a", "b", "c", "--overwrite") == 0
    assert AutoModelForVideoClassification.from_pretrained(folder).config.id2label == {0: "a", 1: "b", 2: "c"}
    assert convert(checkpoint, tmp_path, *options, "--overwrite") == 1
    assert "is no saved model; it is left alone" in capsys.readouterr().err


def test_settings_saved_by_the_training_script_are_taken_or_contradicted_aloud(
    weights: dict[str, torch.Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = tmp_path / "checkpoint-149.pth", tmp_path / "model"
    noted = argparse.Namespace(model_header_mode=2, num_frames=8, input_size=32)
    torch.save({"model": weights, "epoch": 149, "args": noted}, file)
    assert convert(file, folder, *HEADS) == 0
    out = capsys.readouterr().out
    assert "num_frames: 8 (from the training settings in the file)" in out
    assert "image_size: 32 (from the training settings in the file)" in out
    assert f"{file}, under model:" in out
    assert "Left in the file: epoch, args" in out
    video = AutoModelForVideoClassification.from_pretrained(folder).config.stream("video")
    assert (video.num_frames, video.image_size) == (8, 32)
    assert convert(file, tmp_path / "second", *HEADS, "--num_frames", "6") == 1
    assert "--num_frames is 6, but" in capsys.readouterr().err
    noted.model_header_mode = 4
    torch.save({"model": weights, "epoch": 149, "args": noted}, file)
    assert convert(file, tmp_path / "second", *HEADS) == 1
    assert "trained with model_header_mode 4" in capsys.readouterr().err
    assert not (tmp_path / "second").exists()


def test_one_of_several_state_dicts_is_chosen_by_name(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    averaged = {key: value + 1 for key, value in weights.items()}
    torch.save({"model": weights, "model_ema": averaged}, tmp_path / "two.pth")
    options = [*HEADS, "--image_size", "32"]
    assert convert(tmp_path / "two.pth", tmp_path / "model", *options) == 1
    assert convert(tmp_path / "two.pth", tmp_path / "model", *options, "--nesting", "model_ema") == 0
    model = AutoModelForVideoClassification.from_pretrained(tmp_path / "model")
    assert torch.equal(model.classifier.bias, averaged["head.bias"])


def test_the_way_back_prints_what_the_tensors_will_not_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = {0: "positive", 1: "not positive", 2: "surprise"}
    model = small_model(id2label=labels, label2id={name: i for i, name in labels.items()})
    model.to(torch.bfloat16).save_pretrained(tmp_path / "model")
    back = tmp_path / "back.pth"
    assert convert(tmp_path / "model", back, "--to_released") == 0
    out = capsys.readouterr().out
    assert "--video_heads 4 --special_heads 2" in out
    assert "--labels positive 'not positive' surprise" in out
    found = torch.load(back, weights_only=True)
    assert all(torch.equal(found[key], value) for key, value in to_released(model).items())
    assert {value.dtype for value in found.values()} == {torch.bfloat16}
    assert convert(tmp_path / "model", back, "--to_released") == 1
    assert "--overwrite" in capsys.readouterr().err
    assert convert(tmp_path / "model", back, "--to_released", "--overwrite") == 0
    assert convert(tmp_path / "model", back, "--to_released", "--video_heads", "4") == 2
    assert "takes no --video_heads" in capsys.readouterr().err


def test_heads_too_narrow_to_be_meant_are_converted_with_a_warning(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = ["--video_heads", "3", "--special_heads", "12", "--image_size", "32"]
    assert convert(checkpoint, tmp_path / "model", *heads) == 0
    printed = capsys.readouterr()
    assert "heads: 3 in the video stream (16 wide), 12 in the special stream (2 wide)" in printed.out
    warnings = [line for line in printed.err.splitlines() if "unusual" in line]
    assert warnings == [
        "hsta convert: WARNING: heads of 2 are unusual (the released models have 32 or 64): check --special_heads"
    ]


def test_the_way_back_says_aloud_what_only_the_processor_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(**fields: Any) -> tuple[str, list[str]]:
        folder = tmp_path / "model"
        small_model().save_pretrained(folder)
        HSTAVideoProcessor(**{"size": {"height": 32, "width": 32}, **fields}).save_pretrained(folder)
        capsys.readouterr()
        assert convert(folder, tmp_path / "back.pth", "--to_released", "--overwrite") == 0
        printed = capsys.readouterr()
        return printed.out, [line for line in printed.err.splitlines() if "WARNING" in line]

    out, warnings = told()
    assert "--special_frames onset apex" in out
    assert warnings == []
    assert told(remove_head_motion=True, flow_scale=2.0)[1] == []  # nothing moves where both streams see frames
    out, warnings = told(
        special_input="optical_flow",
        special_frames=["onset", "offset"],
        flow_size={"height": 112, "width": 96},
        remove_head_motion=True,
        difference_scale=3.0,
        image_mean=[0.5, 0.5, 0.25],
    )
    assert "--special_frames onset offset" in out
    assert len(warnings) == 1
    fields = (
        "special_input optical_flow, special_frames onset offset, image_mean 0.5 0.5 0.25, flow_size 112x96, "
        "remove_head_motion True. Who converts it back must set these"
    )
    assert fields in warnings[0]
    assert (
        ": video_input difference, difference_scale 3. Who" in told(video_input="difference", difference_scale=3)[1][0]
    )
    assert "size 40x40, special_size 24x24, num_frames 8. Who" in told(size=40, special_size=24, num_frames=8)[1][0]
    (tmp_path / "model" / "video_preprocessor_config.json").unlink()
    assert convert(tmp_path / "model", tmp_path / "back.pth", "--to_released", "--overwrite") == 0
    printed = capsys.readouterr()
    assert "has no video processor to read" in printed.err
    assert "--special_frames (names of 2, which the model does not say)" in printed.out


def test_the_way_back_takes_a_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    small_model().save_pretrained(run / "final" / "model")
    (run / "recipe.yaml").touch()
    assert convert(run, tmp_path / "back.safetensors", "--to_released") == 0
    assert f"Took the model in {run / 'final' / 'model'}" in capsys.readouterr().out
    assert load_file(tmp_path / "back.safetensors").keys() == to_released(small_model()).keys()


def test_a_converted_model_goes_back_without_a_warning(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(checkpoint, tmp_path / "model", *HEADS, "--image_size", "32", "--num_frames", "4") == 0
    capsys.readouterr()
    assert convert(tmp_path / "model", tmp_path / "back.safetensors", "--to_released") == 0
    assert "WARNING" not in capsys.readouterr().err


def test_a_path_that_does_not_exist_is_not_asked_of_the_hub(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def ask(name: str, **_: Any) -> None:
        asked.append(name)
        raise OSError("no such model on the Hub")

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", ask)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    for absent in (str(tmp_path / "absent"), "./absent", "absent", "models/absent", "runs/one/model"):
        assert main(["convert", "--to_released", "--checkpoint", absent, "--output", "back.pth"]) == 1
        assert capsys.readouterr().err == f"hsta convert: {absent} does not exist.\n"
    assert asked == []
    assert main(["convert", "--to_released", "--checkpoint", "org/name", "--output", "back.pth"]) == 1
    assert asked == ["org/name"]


def test_a_model_folder_without_to_released_is_told_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_model().save_pretrained(tmp_path / "model")
    assert convert(tmp_path / "model", tmp_path / "out", *HEADS) == 1
    assert "give --to_released to write it back" in capsys.readouterr().err


def test_the_way_back_refuses_models_that_are_not_whole_or_not_released(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    headless = HSTAModel(small_model().config)
    headless.save_pretrained(tmp_path / "headless")
    assert convert(tmp_path / "headless", tmp_path / "back.pth", "--to_released") == 1
    assert "not whole; missing weights: classifier.bias, classifier.weight" in capsys.readouterr().err
    other = VideoMAEConfig(**VIDEO, num_hidden_layers=1, decoder_hidden_size=24, decoder_num_attention_heads=2)
    VideoMAEModel(other).save_pretrained(tmp_path / "videomae")
    assert convert(tmp_path / "videomae" / "config.json", tmp_path / "back.pth", "--to_released") == 1
    assert "is a file; --to_released takes a model folder" in capsys.readouterr().err.splitlines()[-1]
    assert convert(tmp_path / "videomae", tmp_path / "back.pth", "--to_released") == 1
    assert "is a videomae model; wanted is a saved HSTA model" in capsys.readouterr().err
    small_model().save_pretrained(tmp_path / "more")
    stored = load_file(tmp_path / "more" / "model.safetensors")
    save_file({**stored, "extra.weight": torch.ones(1)}, tmp_path / "more" / "model.safetensors", {"format": "pt"})
    assert convert(tmp_path / "more", tmp_path / "back.pth", "--to_released") == 1
    assert "not whole; unexpected weights: extra.weight" in capsys.readouterr().err
    small_model(block_style="paper").save_pretrained(tmp_path / "paper")
    assert convert(tmp_path / "paper", tmp_path / "back.pth", "--to_released") == 1
    assert "block_style is 'paper'" in capsys.readouterr().err
    for fields, options in (
        ({"first_patch_position": 0}, "--model.first_patch_position 1"),
        ({"block_style": "paper", "use_csta": False}, "--model.block_style released --model.use_csta true"),
    ):
        small_model(**fields).save_pretrained(tmp_path / "other")
        assert convert(tmp_path / "other", tmp_path / "back.pth", "--to_released") == 1
        assert f"can go back: train with `{options}`." in capsys.readouterr().err
    assert convert(tmp_path / "absent", tmp_path / "back.pth", "--to_released") == 1
    assert "absent" in capsys.readouterr().err
    assert not (tmp_path / "back.pth").exists()


def test_the_script_is_the_command(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Path(__file__).parents[2] / "scripts" / "convert_released_checkpoint.py"
    options = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "model"), *HEADS, "--image_size", "32"]
    monkeypatch.setattr(sys, "argv", [str(script), *options])
    monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])
    with pytest.raises(SystemExit) as done:
        runpy.run_path(str(script), run_name="__main__")
    assert done.value.code == 0
    assert (tmp_path / "model" / "config.json").is_file()
