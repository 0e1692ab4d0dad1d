"""`from_videomae`: the streams compute what VideoMAE computes, and the report says what went where."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AttentionInterface, VideoMAEForPreTraining, VideoMAEModel
from transformers.models.videomae.modeling_videomae import eager_attention_forward

from hsta_hf.data.prepare import PrepareOptions, prepare
from hsta_hf.data.synthesize import synthesize
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.methods import started_from
from hsta_hf.training.recipe import resolve

Make = Callable[..., VideoMAEForPreTraining]


def start(path: Path | str, **fields: Any) -> HSTAForMicroExpressionClassification:
    torch.manual_seed(0)  # what the checkpoint does not bring is then the same in every model that is compared
    return HSTAForMicroExpressionClassification.from_videomae(str(path), **fields).eval()


def frames(count: int, size: int = 32, seed: int = 1) -> torch.Tensor:
    return torch.randn(1, count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def attend_without_cls(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: None, **kwargs: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """VideoMAE's attention with the first token, the [CLS], hidden from every query."""
    hidden = torch.zeros(1, 1, 1, key.shape[2], dtype=key.dtype)
    hidden[..., 0] = float("-inf")
    return eager_attention_forward(module, query, key, value, hidden, **kwargs)


@pytest.fixture
def no_cls() -> str:
    AttentionInterface.register("without_cls", attend_without_cls)
    return "without_cls"


def states_of_videomae(folder: Path, layers: int, num_frames: int, pixels: torch.Tensor, every: int) -> list[Any]:
    """Tokens of `VideoMAEModel` cut to `layers` layers, after its embeddings and every few layers, before its norm."""
    cut = (
        VideoMAEModel.from_pretrained(folder, num_hidden_layers=layers, num_frames=num_frames).eval().to(pixels.dtype)
    )
    assert len(cut.encoder.layer) == layers
    tokens = [cut.embeddings(pixels, None)]
    for layer in cut.encoder.layer:
        tokens.append(layer(tokens[-1]))
    assert torch.equal(tokens[-1], cut.encoder(tokens[0]).last_hidden_state)
    return tokens[::every]


def largest_difference(
    folder: Path,
    special_frames: int,
    implementation: str,
    depth: tuple[int, int, int],
    dtype: torch.dtype = torch.float32,
) -> float:
    """Between the patches of both streams after every HSTA layer and VideoMAE's, [CLS] left out."""
    m, l_v, l_s = depth
    model = start(
        folder,
        use_csta=False,
        num_hsta_layers=m,
        num_video_layers=l_v,
        num_special_layers=l_s,
        special_config={"num_frames": special_frames},
    )
    model.set_attn_implementation(implementation)
    model.to(dtype)
    size = model.config.stream("video").image_size
    pixels = {"pixel_values": frames(6, size), "special_pixel_values": frames(special_frames, size, seed=2)}
    pixels = {name: value.to(dtype) for name, value in pixels.items()}
    with torch.no_grad():
        ours = model(**pixels, output_hidden_states=True)
        video = states_of_videomae(folder, m * l_v, 6, pixels["pixel_values"], l_v)
        special = states_of_videomae(folder, m * l_s, special_frames, pixels["special_pixel_values"], l_s)
    assert len(ours.video_hidden_states) == len(video) == m + 1
    assert len(ours.special_hidden_states) == len(special) == m + 1
    pairs = [*zip(ours.video_hidden_states, video, strict=True)]
    pairs += [*zip(ours.special_hidden_states, special, strict=True)]
    return max(float((mine[:, 1:] - theirs).abs().max()) for mine, theirs in pairs)


@pytest.mark.parametrize("use_mean_pooling", [True, False])
@pytest.mark.parametrize(
    ("depth", "special_frames", "geometry"),
    [
        ((2, 2, 1), 2, {}),
        ((3, 1, 2), 1, {"hidden_size": 40, "num_attention_heads": 5, "patch_size": 8, "tubelet_size": 1}),
        # The MLP ratio of VideoMAE v2's giant is 48/11, its patches have 14 pixels.
        ((1, 4, 3), 2, {"hidden_size": 44, "num_attention_heads": 2, "intermediate_size": 192, "patch_size": 14}),
        ((2, 1, 2), 3, {"tubelet_size": 3, "num_frames": 15, "qv_bias": False, "image_size": 40}),
        ((1, 5, 1), 2, {"layer_norm_eps": 1e-2, "hidden_size": 96, "num_attention_heads": 12}),
    ],
)
def test_without_csta_and_cls_the_streams_are_videomae_cut_short(
    depth: tuple[int, int, int],
    special_frames: int,
    geometry: dict[str, Any],
    use_mean_pooling: bool,
    no_cls: str,
    tmp_path: Path,
    random_videomae: Make,
) -> None:
    layers = depth[0] * max(depth[1:])
    random_videomae(num_hidden_layers=layers + 1, use_mean_pooling=use_mean_pooling, **geometry).save_pretrained(
        tmp_path
    )
    assert largest_difference(tmp_path, special_frames, no_cls, depth) <= 1e-5


def test_the_cls_makes_a_difference_where_it_is_not_masked(no_cls: str, tmp_path: Path, random_videomae: Make) -> None:
    random_videomae().save_pretrained(tmp_path)
    assert largest_difference(tmp_path, 2, "eager", (2, 2, 1)) > 1e-3


@pytest.mark.slow
def test_the_base_model_of_224_pixels_is_videomae_cut_short(
    no_cls: str, tmp_path: Path, random_videomae: Make
) -> None:
    fields = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072, "image_size": 224}
    random_videomae(num_hidden_layers=8, **fields).save_pretrained(tmp_path)
    # Double precision: eight layers of this width add up float32's rounding to some 1e-5, whatever is compared.
    assert largest_difference(tmp_path, 2, no_cls, (4, 2, 1), torch.float64) <= 1e-9


def test_six_frames_take_the_first_three_tubelet_slots_of_sixteen(tmp_path: Path, random_videomae: Make) -> None:
    source = random_videomae(image_size=64)
    source.save_pretrained(tmp_path)
    table = source.videomae.embeddings.position_embeddings  # 8 tubelets of 4 x 4 patches
    assert table.shape == (1, 128, 24)
    model = start(tmp_path)
    for stream, slots in (("video", 3), ("special", 1)):
        positions = getattr(model.hsta, f"{stream}_embeddings").position_embeddings
        assert torch.equal(positions[:, 1:], table[:, : slots * 16])
    assert model.videomae_report is not None
    assert model.videomae_report.positions == [
        "the video stream's 3 x 4 x 4 patches take rows 0 to 47 of the sinusoid table, the first 3 of the "
        "checkpoint's 8 tubelet slots",
        "the special stream's 1 x 4 x 4 patches take rows 0 to 15 of the sinusoid table, the first 1 of the "
        "checkpoint's 8 tubelet slots",
    ]


def test_what_the_streams_change_about_positions_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, random_videomae: Make
) -> None:
    random_videomae(num_frames=4).save_pretrained(tmp_path)
    with transformers_logs(caplog):
        report = start(tmp_path, special_config={"image_size": 64}, first_patch_position=1).videomae_report
    assert report is not None
    video, special = report.positions
    assert "rows 1 to 12" in video and "1 later than in VideoMAE" in video
    assert "trained with 2 tubelet slots, the others are new to it" in video
    assert "1 x 4 x 4 patches take rows 1 to 16" in special and "trained with 2 x 2 patches a frame" in special
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1 and special in warnings[0]
    assert all(f"positions: {line}" in str(report) for line in report.positions)


@contextlib.contextmanager
def transformers_logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        yield
    finally:
        logger.removeHandler(caplog.handler)


@pytest.fixture
def videomae_folder(tmp_path: Path, random_videomae: Make) -> Path:
    random_videomae().save_pretrained(tmp_path / "videomae")
    return tmp_path / "videomae"


def test_the_first_layers_are_taken_in_order(videomae_folder: Path) -> None:
    source = VideoMAEModel.from_pretrained(videomae_folder).state_dict()
    model = start(videomae_folder, num_labels=7, num_hsta_layers=2)
    assert model.num_labels == 7
    assert model.config.stream("video").num_frames == 6
    ours = model.state_dict()
    query = "attention.attention.query.weight"
    for m in range(2):
        for i in range(2):
            assert torch.equal(
                ours[f"hsta.layers.{m}.video.{i}.{query}"], source[f"encoder.layer.{2 * m + i}.{query}"]
            )
        assert torch.equal(ours[f"hsta.layers.{m}.special.0.{query}"], source[f"encoder.layer.{m}.{query}"])
    for stream in ("video", "special"):
        key = "patch_embeddings.projection.weight"
        assert torch.equal(ours[f"hsta.{stream}_embeddings.{key}"], source[f"embeddings.{key}"])


def test_the_report_says_what_was_done(videomae_folder: Path) -> None:
    model = start(videomae_folder, num_hsta_layers=4, special_config={"hidden_size": 16, "num_attention_heads": 2})
    report = model.videomae_report
    assert report is not None
    loaded_or_fresh = {id(p) for p in report.loaded_parameters}
    by_name = dict(model.named_parameters())
    assert set(report.initialised) == {name for name, p in by_name.items() if id(p) not in loaded_or_fresh}
    # M * L_v = 8 layers are asked of a checkpoint of 5: the last three start afresh, and are named.
    assert any("layers.2.video.1." in name for name in report.initialised)
    assert not any("layers.1.video." in name for name in report.initialised)
    # The special stream is narrower than the checkpoint: nothing fits, and each tensor says so.
    assert any("special stream has another shape" in line for line in report.skipped)
    assert "hsta.video_embeddings.cls_token" in report.initialised
    assert "loaded" in str(report) and "initialised" in str(report)


def test_every_tensor_of_the_checkpoint_is_in_the_report(videomae_folder: Path) -> None:
    report = start(videomae_folder, num_hsta_layers=1).videomae_report
    assert report is not None
    skipped = dict(line.split(" ", 1) for line in report.skipped)
    loaded = {line.split(" ")[0] for line in report.loaded}
    assert loaded | set(skipped) == set(load_file(videomae_folder / "model.safetensors"))
    assert not loaded & set(skipped)
    assert skipped["videomae.encoder.layer.2.output.dense.bias"] == "(deeper than the streams)"
    assert skipped["mask_token"] == skipped["decoder.head.bias"] == "(the pre-training decoder)"


def test_the_printed_report_is_short_and_complete(videomae_folder: Path) -> None:
    report = start(videomae_folder, num_hsta_layers=3).videomae_report
    assert report is not None
    lines = [line.strip() for line in str(report).splitlines()]
    assert len(lines) < 12
    assert lines[1] == "video stream: tubelet embedding and encoder layers 0-4 of 5 loaded"
    assert lines[2] == "special stream: tubelet embedding and encoder layers 0-2 of 5 loaded"
    assert lines[3] == "fresh layers: hsta.layers.2.video.1"
    always = [name for name in report.initialised if not name.startswith("hsta.layers.2.video.1.")]
    assert lines[4].startswith(f"fresh in every start: {len(always)} tensors")
    assert sum(int(line.split(" ")[1]) for line in lines if line.startswith("skipped:")) == len(report.skipped)
    assert lines[-1] == "every tensor: model.videomae_report.loaded, .skipped, .initialised"


@pytest.mark.parametrize(
    ("fields", "video", "special"),
    [
        ({"use_special_stream": False}, "encoder layers 0-1 of 5 loaded", "special stream: off"),
        ({"num_special_layers": 0}, "encoder layers 0-1 of 5 loaded", "embedding loaded; the stream has no layers"),
        (
            {"video_config": {"intermediate_size": 40}},
            "tubelet embedding and parts of encoder layers 0-1 of 5 loaded",
            "tubelet embedding and encoder layer 0 of 5 loaded",
        ),
        (
            {"special_config": {"patch_size": 8}},
            "encoder layers 0-1 of 5 loaded",
            "special stream: encoder layer 0 of 5 loaded, the tubelet embedding is fresh",
        ),
    ],
)
def test_the_report_tells_each_stream_apart(
    fields: dict[str, Any], video: str, special: str, videomae_folder: Path
) -> None:
    report = start(videomae_folder, num_hsta_layers=1, **fields).videomae_report
    assert report is not None
    lines = str(report).splitlines()
    assert lines[1].endswith(video) and lines[2].endswith(special)


def test_a_stream_that_gets_nothing_is_a_warning(videomae_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with transformers_logs(caplog):
        start(videomae_folder, num_hsta_layers=1)
        assert not [record for record in caplog.records if record.levelno == logging.WARNING]
        model = start(videomae_folder, num_hsta_layers=1, special_config={"hidden_size": 16})
    [warning] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "the special stream got no weight" in warning
    assert "hidden_size is 16, the checkpoint has 24" in warning
    report = model.videomae_report
    assert report is not None and report.fresh_layers == ["hsta.layers.0.special.0"]
    assert "special stream: no weight loaded" in str(report)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_hsta_layer": 1}, r"HSTAConfig has no field 'num_hsta_layer'\. Did you mean 'num_hsta_layers'"),
        ({"num_layers": 1}, r"'num_layers'\. Did you mean .*'num_video_layers'"),
        ({"special_config": {"hidden": 16}}, r"VideoMAEConfig has no field 'special_config\.hidden'\. Did you mean "),
    ],
)
def test_keywords_without_effect_are_refused(fields: dict[str, Any], message: str, videomae_folder: Path) -> None:
    with pytest.raises(ValueError, match=message):
        start(videomae_folder, **fields)


def test_keywords_of_every_configuration_are_taken(videomae_folder: Path) -> None:
    names = {0: "brow", 1: "lip"}
    fields: dict[str, Any] = {"id2label": names, "label2id": {name: i for i, name in names.items()}}
    fields |= {"problem_type": "multi_label_classification", "attn_implementation": "eager"}
    fields["video_config"] = VideoMAEModel.from_pretrained(videomae_folder, num_frames=6).config.to_dict()
    config = start(videomae_folder, num_hsta_layers=1, **fields).config
    assert config.id2label == names and config.problem_type == "multi_label_classification"
    assert start(videomae_folder, num_hsta_layers=1, num_labels=4).config.num_labels == 4


def test_a_run_says_what_it_started_from(
    videomae_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    synthesize(tmp_path / "database", num_subjects=2, clips_per_subject=2, size=64, num_frames=(8, 10))
    prepare("casme3", tmp_path / "database", tmp_path / "prepared", PrepareOptions(faces="keep"), progress=False)
    fields: dict[str, Any] = {"dataset": str(tmp_path / "prepared"), "output_dir": str(tmp_path / "run")}
    fields |= {"videomae": str(videomae_folder), "num_folds": 2, "num_train_epochs": 1, "warmup_epochs": 0}
    model = {"num_hsta_layers": 3, "use_special_stream": False, "stream": {"image_size": 32}}
    result = run_recipe(resolve({**fields, "model": model, "use_cpu": True, "disable_tqdm": True}))
    printed = capsys.readouterr().out
    assert printed.count("HSTA from ") == 1  # two folds, one report
    stream = "video stream: tubelet embedding and encoder layers 0-4 of 5 loaded"
    assert stream in printed and "fresh layers: hsta.layers.2.video.1" in printed
    text = (result.path / "report.md").read_text()
    assert f"The video stream started from the VideoMAE checkpoint {videomae_folder} ({stream}; special " in text
    assert "Layers that started from random weights: hsta.layers.2.video.1." in text
    assert "Both streams" not in text


def test_the_sentence_of_a_run_counts_the_streams_that_started(videomae_folder: Path) -> None:
    recipe = resolve({"videomae": str(videomae_folder)})

    def sentence(**fields: Any) -> str:
        return started_from(recipe, start(videomae_folder, num_hsta_layers=1, **fields).videomae_report)

    assert sentence().startswith("Both streams started from the VideoMAE checkpoint")
    assert "random" not in sentence()
    assert "special stream: tubelet embedding loaded; the stream has no layers" in sentence(num_special_layers=0)
    narrow = {"hidden_size": 16}
    assert sentence(special_config=narrow).startswith("The video stream started from")
    assert sentence(special_config=narrow, video_config=narrow).startswith("Training started from random weights: ")


def test_the_paper_style_is_refused(videomae_folder: Path) -> None:
    with pytest.raises(ValueError, match="Only block_style='released'"):
        start(videomae_folder, block_style="paper")
