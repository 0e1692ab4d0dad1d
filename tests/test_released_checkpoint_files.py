"""Files of released checkpoints: prefixes, nestings, what is never unpickled; and the folder of a converted model."""

from __future__ import annotations

import argparse
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hsta_hf import HSTAConfig, HSTAForMicroExpressionClassification, HSTAVideoProcessor
from hsta_hf.released_checkpoint import ReleasedCheckpointError, from_released, to_released
from hsta_hf.released_checkpoint_files import (
    read_released_checkpoint,
    released_processor,
    save_model_folder,
    write_released_checkpoint,
)

STREAM = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 32}
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def weights() -> Weights:
    torch.manual_seed(0)
    config = HSTAConfig(
        video_config=STREAM, special_config=STREAM, num_hsta_layers=1, num_video_layers=1, first_patch_position=1
    )
    return to_released(HSTAForMicroExpressionClassification(config))


def model_of(weights: Weights) -> HSTAForMicroExpressionClassification:
    return from_released(weights, video_heads=2, special_heads=2, image_size=32)


def assert_same(found: Weights, wanted: Weights) -> None:
    assert set(found) == set(wanted)
    assert all(torch.equal(found[key], value) for key, value in wanted.items())


def prefixed(prefix: str, weights: Weights) -> Weights:
    return {prefix + key: value for key, value in weights.items()}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module."])
def test_prefixes_are_stripped_in_every_kind_of_file(
    prefix: str, suffix: str, weights: Weights, tmp_path: Path
) -> None:
    path = tmp_path / f"weights{suffix}"
    content = prefixed(prefix, weights)
    save_file(content, path) if suffix == ".safetensors" else torch.save(content, path)
    found = read_released_checkpoint(path)
    assert_same(found.weights, weights)
    assert (found.prefix, found.nesting, found.left_unread) == (prefix, (), ())


def test_a_prefix_that_only_some_names_have_is_not_stripped(weights: Weights, tmp_path: Path) -> None:
    torch.save({**weights, "module.head.bias": weights["head.bias"]}, tmp_path / "weights.pth")
    found = read_released_checkpoint(tmp_path / "weights.pth")
    assert "module.head.bias" in found.weights
    with pytest.raises(ReleasedCheckpointError, match=r"unknown: module\.head\.bias"):
        model_of(found.weights)


@pytest.mark.parametrize(
    ("nest", "nesting"),
    [
        (lambda w: {"model": w}, ("model",)),
        (lambda w: {"module": prefixed("module.", w), "epoch": 3}, ("module",)),
        (lambda w: {"epoch": 3, "state_dict": w, "lr": 0.1}, ("state_dict",)),
        (lambda w: {"model_state_dict": w, "scaler": {"scale": 65536.0}}, ("model_state_dict",)),
        (lambda w: {"model": {"state_dict": w, "step": 7}, "epoch": 3}, ("model", "state_dict")),
    ],
)
def test_nested_state_dicts_are_found_and_the_rest_is_named(
    nest: Callable[[Weights], dict[str, Any]], nesting: tuple[str, ...], weights: Weights, tmp_path: Path
) -> None:
    content = nest(weights)
    torch.save(content, tmp_path / "weights.pth")
    found = read_released_checkpoint(tmp_path / "weights.pth")
    assert_same(found.weights, weights)
    assert found.nesting == nesting
    rest = [key for key in content if key not in nesting] + [k for k in content[nesting[0]] if k == "step"]
    assert list(found.left_unread) == rest


def test_of_several_state_dicts_one_has_to_be_named(weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    averaged = {key: value + 1 for key, value in weights.items()}
    torch.save({"model": weights, "epoch": 3, "model_ema": averaged}, path)
    with pytest.raises(ReleasedCheckpointError) as caught:
        read_released_checkpoint(path)
    for said in ("several state dicts (model, model_ema)", "--nesting", "epoch (int)", "model_ema (dict)"):
        assert said in str(caught.value)
    assert_same(read_released_checkpoint(path, nesting="model").weights, weights)
    assert_same(read_released_checkpoint(path, nesting="model_ema").weights, averaged)
    with pytest.raises(ReleasedCheckpointError, match=r"nor under teacher; .*model \(dict\), epoch \(int\)"):
        read_released_checkpoint(path, nesting="teacher")


def test_a_nesting_of_another_name_lists_the_entries_and_can_be_chosen(weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"student": weights, "epoch": 3}, path)
    with pytest.raises(ReleasedCheckpointError, match=r"no state dict at its top.*student \(dict\), epoch \(int\)"):
        read_released_checkpoint(path)
    assert_same(read_released_checkpoint(path, nesting="student").weights, weights)
    torch.save({**weights, "epoch": 3}, path)
    with pytest.raises(
        ReleasedCheckpointError, match=r"no state dict at its top.*head\.bias \(Tensor\), epoch \(int\)"
    ):
        read_released_checkpoint(path)
    torch.save([weights], path)
    with pytest.raises(ReleasedCheckpointError, match=r"holds a list; wanted is a state dict"):
        read_released_checkpoint(path)


def test_the_training_scripts_own_settings_are_read(weights: Weights, tmp_path: Path) -> None:
    settings = argparse.Namespace(model_header_mode=2, num_frames=8, input_size=None, lr=5e-4, data_path="somewhere")
    torch.save({"model": weights, "optimizer": {"state": {}}, "epoch": 3, "args": settings}, tmp_path / "a.pth")
    found = read_released_checkpoint(tmp_path / "a.pth")
    assert found.settings == {"model_header_mode": 2, "num_frames": 8}
    assert found.left_unread == ("optimizer", "epoch", "args")


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_nothing_in_a_pickle_is_run(weights: Weights, tmp_path: Path) -> None:
    path, sprung = tmp_path / "weights.pth", tmp_path / "sprung"
    for content in (
        {"model": weights, "args": Trap(sprung)},
        {"model": weights, "args": argparse.Namespace(x=Trap(sprung))},
    ):
        torch.save(content, path)
        with pytest.raises(
            ReleasedCheckpointError, match=r"holds a \w+\.mkdir, which only unpickling could read.*[/\\]weights\.pth"
        ):
            read_released_checkpoint(path)
        assert not sprung.exists()
    torch.load(path, weights_only=False)
    assert sprung.exists(), "the trap itself does not work"


def test_files_that_are_none_are_named(weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.pth is no file"):
        read_released_checkpoint(tmp_path / "absent.pth")
    with pytest.raises(FileNotFoundError, match="is no file; give the checkpoint file itself"):
        read_released_checkpoint(tmp_path)
    for name in ("broken.safetensors", "broken.pth", "broken.npz"):
        (tmp_path / name).write_bytes(b"not a checkpoint")
        with pytest.raises(ReleasedCheckpointError, match=name.replace(".", r"\.")):
            read_released_checkpoint(tmp_path / name)
    (tmp_path / "empty.pth").write_bytes(b"")
    with pytest.raises(ReleasedCheckpointError, match=r"empty\.pth"):
        read_released_checkpoint(tmp_path / "empty.pth")
    whole = io.BytesIO()
    torch.save(weights, whole)
    (tmp_path / "cut.pth").write_bytes(whole.getvalue()[:-2000])
    with pytest.raises(ReleasedCheckpointError, match=r"cut\.pth"):
        read_released_checkpoint(tmp_path / "cut.pth")
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("readme.txt", "no checkpoint")
    with pytest.raises(ReleasedCheckpointError, match=r"other\.pt"):
        read_released_checkpoint(tmp_path / "other.pt")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_written_files_hold_the_tensors_and_replace_nothing_unasked(
    suffix: str, weights: Weights, tmp_path: Path
) -> None:
    path = tmp_path / f"weights{suffix}"
    write_released_checkpoint(weights, path)
    assert_same(load_file(path) if suffix == ".safetensors" else torch.load(path, weights_only=True), weights)
    changed = {key: value + 1 for key, value in weights.items()}
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_released_checkpoint(changed, path)
    assert_same(read_released_checkpoint(path).weights, weights)
    write_released_checkpoint(changed, path, overwrite=True)
    assert_same(read_released_checkpoint(path).weights, changed)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_other_outputs_are_refused(weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(ReleasedCheckpointError, match=r"weights\.npz: the name of the output must end in"):
        write_released_checkpoint(weights, tmp_path / "weights.npz")
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(FileExistsError):
        write_released_checkpoint(weights, tmp_path / "folder.pth", overwrite=True)


def test_the_processor_is_the_released_preprocessing(weights: Weights) -> None:
    model = from_released(weights, video_heads=2, special_heads=2, image_size=48, num_frames=8)
    processor = released_processor(model)
    assert dict(processor.size) == {"height": 48, "width": 48}
    assert processor.num_frames == 8
    assert processor.special_frames == ["onset", "apex"]
    clip = torch.full((12, 30, 60, 3), 128, dtype=torch.uint8)
    clip[5:] = 255
    batch = processor(clip.numpy(), apex=9)
    assert batch["pixel_values"].shape == (1, 8, 3, 48, 48)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    onset, apex = ((torch.full((3,), grey / 255) - mean) / std for grey in (128, 255))
    special = batch["special_pixel_values"][0]
    torch.testing.assert_close(special[0], onset[:, None, None].expand(3, 48, 48), atol=1e-5, rtol=0)
    torch.testing.assert_close(special[1], apex[:, None, None].expand(3, 48, 48), atol=1e-5, rtol=0)
    with pytest.raises(ReleasedCheckpointError, match="the special stream has 2 frames"):
        released_processor(model, ["apex"])


def test_an_old_model_is_replaced_when_asked_and_other_files_stay(weights: Weights, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()  # empty: may be written to
    model = model_of(weights)
    save_model_folder(model, released_processor(model), folder)
    (folder / "README.md").write_text("mine")
    other = model_of({key: value + 1 for key, value in weights.items()})
    with pytest.raises(FileExistsError, match=r"holds a model; .*--overwrite"):
        save_model_folder(other, released_processor(other), folder)
    assert_same(to_released(HSTAForMicroExpressionClassification.from_pretrained(folder)), weights)
    save_model_folder(other, released_processor(other), folder, overwrite=True)
    assert_same(to_released(HSTAForMicroExpressionClassification.from_pretrained(folder)), to_released(other))
    assert (folder / "README.md").read_text() == "mine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_is_no_model_is_left_alone(weights: Weights, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    model = model_of(weights)
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="is no saved model; it is left alone"):
            save_model_folder(model, HSTAVideoProcessor(), tmp_path, overwrite)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]
