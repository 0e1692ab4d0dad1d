"""HSTAConfig: defaults of the paper, presets, nesting, errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsta_hf.configuration_hsta import HSTA_PRESETS, HSTAConfig


def test_defaults_are_the_papers_choice_at_videomae_base_width() -> None:
    config = HSTAConfig()
    assert (config.num_hsta_layers, config.num_video_layers, config.num_special_layers) == (4, 2, 1)
    assert (config.stream("video").num_frames, config.stream("special").num_frames) == (6, 2)
    for name in ("video", "special"):
        stream = config.stream(name)
        assert (stream.hidden_size, stream.num_attention_heads, stream.image_size) == (768, 12, 224)
        assert (stream.patch_size, stream.tubelet_size) == (16, 2)
    assert (config.block_style, config.classification_loss) == ("released", "mse")


@pytest.mark.parametrize("name", HSTA_PRESETS)
def test_presets_keep_the_papers_frames_and_take_overrides(name: str) -> None:
    config = HSTAConfig.from_preset(name, num_labels=7, video_config={"image_size": 96}, drop_path_rate=0.2)
    assert config.num_labels == 7
    assert config.drop_path_rate == 0.2
    assert config.stream("video").image_size == 96
    assert config.stream("special").image_size == HSTA_PRESETS[name]["stream"].get("image_size", 224)
    assert config.stream("video").hidden_size == HSTA_PRESETS[name]["stream"]["hidden_size"]
    assert (config.stream("video").num_frames, config.stream("special").num_frames) == (6, 2)


def test_save_and_load_keeps_every_field(tmp_path: Path) -> None:
    config = HSTAConfig.from_preset("tiny", num_labels=3, special_config={"hidden_size": 96}, block_style="paper")
    config.save_pretrained(tmp_path)
    again = HSTAConfig.from_pretrained(tmp_path)
    assert again.to_dict() == config.to_dict()
    assert again.stream("special").hidden_size == 96


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"block_style": "original"}, "block_style is 'original'; use one of released, paper"),
        ({"classification_loss": "l1"}, "classification_loss is 'l1'; use one of mse, cross_entropy"),
        ({"use_video_stream": False, "use_special_stream": False}, "switches both streams off"),
        ({"num_hsta_layers": 0}, r"num_hsta_layers \(M\) is 0"),
        ({"num_special_layers": -1}, "num_special_layers is -1"),
        ({"first_patch_position": 2}, "first_patch_position is 2"),
        ({"drop_path_rate": 1.0}, "drop_path_rate is 1.0"),
        ({"video_config": {"num_frames": 0}}, "HSTAConfig.video_config: num_frames is 0; it must be at least 1"),
        ({"special_config": {"num_frames": 1}}, "num_frames=1 is not a multiple of tubelet_size=2; tubelet_size=1"),
        ({"video_config": {"num_frames": 5}}, "video_config: num_frames=5 is not a multiple of tubelet_size=2"),
        ({"special_config": {"hidden_size": 100}}, "special_config: hidden_size=100 is not a multiple"),
    ],
)
def test_a_wrong_field_is_named(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HSTAConfig(**fields)


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no preset 'huge'; use one of tiny, small, base"):
        HSTAConfig.from_preset("huge")
