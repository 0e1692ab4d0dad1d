"""Token reduction: which patches are merged, what comes back to full shape, and that 0 changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hsta_hf.configuration_hsta import HSTAConfig
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
from hsta_hf.token_reduction_hsta import TokenGroups, group_still_patches, temporal_change

STREAM = {"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 48, "image_size": 32, "patch_size": 8}
SPECIAL = {**STREAM, "hidden_size": 16, "num_attention_heads": 2, "patch_size": 16}
PLACES, TUBELETS = 16, 3
PATCHES = PLACES * TUBELETS


def model_with(**fields: Any) -> HSTAForMicroExpressionClassification:
    torch.manual_seed(0)
    fields = {"num_hsta_layers": 2, "num_labels": 5, **fields}
    config = HSTAConfig(video_config=dict(STREAM), special_config=dict(SPECIAL), **fields)
    return HSTAForMicroExpressionClassification(config).eval()


@pytest.fixture
def pixels() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "pixel_values": torch.randn(3, 6, 3, 32, 32, generator=generator),
        "special_pixel_values": torch.randn(3, 2, 3, 32, 32, generator=generator),
    }


def slow_groups(change: torch.Tensor, merged_away: int) -> list[list[list[int]]]:
    """Per clip, the members of each group, patch by patch: token 0 is [CLS], then tubelet by tubelet."""
    clips = []
    for clip in change:  # (tubelets - 1, places)
        steps, places = clip.shape
        order = sorted(range(steps * places), key=lambda i: float(clip.flatten()[i]))
        still = {divmod(i, places) for i in order[:merged_away]}
        groups: list[list[int]] = [[0]]
        for tubelet in range(steps + 1):
            for place in range(places):
                token = 1 + tubelet * places + place
                if tubelet and (tubelet - 1, place) in still:
                    next(group for group in groups if token - places in group).append(token)
                else:
                    groups.append([token])
        clips.append(groups)
    return clips


@pytest.mark.parametrize("merged_away", [0, 1, 7, 20, 32])
def test_the_patches_that_changed_least_join_the_tubelet_before_them(merged_away: int) -> None:
    change = torch.rand(4, TUBELETS - 1, PLACES, generator=torch.Generator().manual_seed(2))
    groups = group_still_patches(change, merged_away)
    assert groups.averages.shape == (4, 1 + PATCHES - merged_away, 1 + PATCHES)
    for clip, expected in enumerate(slow_groups(change, merged_away)):
        found = [row.nonzero().flatten().tolist() for row in groups.averages[clip]]
        assert found == expected
        for row, members in zip(groups.averages[clip], expected, strict=True):
            assert row[members].tolist() == pytest.approx([1 / len(members)] * len(members))


def test_ties_still_save_the_number_asked_for() -> None:
    groups = group_still_patches(torch.zeros(2, TUBELETS - 1, PLACES), 11)
    assert groups.averages.shape == (2, 1 + PATCHES - 11, 1 + PATCHES)
    torch.testing.assert_close(groups.averages.sum(-1), torch.ones(2, 1 + PATCHES - 11))
    assert ((groups.averages > 0).sum(1) == 1).all()


@pytest.mark.parametrize(("height", "width", "patch"), [(32, 32, (8, 8)), (32, 32, (12, 12)), (24, 40, (8, 10))])
def test_change_is_measured_patch_by_patch_in_the_order_of_the_embedding(
    height: int, width: int, patch: tuple[int, int]
) -> None:
    video = torch.randn(2, 6, 3, height, width, generator=torch.Generator().manual_seed(3))
    change = temporal_change(video, 2, patch)
    rows, columns = height // patch[0], width // patch[1]
    assert change.shape == (2, 2, rows * columns)
    for row in range(rows):
        for column in range(columns):
            area = (slice(row * patch[0], (row + 1) * patch[0]), slice(column * patch[1], (column + 1) * patch[1]))
            second, third = video[1, 2:4, :, area[0], area[1]], video[1, 4:6, :, area[0], area[1]]
            torch.testing.assert_close(change[1, 1, row * columns + column], (third - second).abs().mean())


def test_merging_and_back_leaves_means_and_keeps_the_cls() -> None:
    generator = torch.Generator().manual_seed(4)
    tokens = torch.randn(2, 1 + PATCHES, 5, generator=generator)
    groups = group_still_patches(torch.rand(2, TUBELETS - 1, PLACES, generator=generator), 20)
    back = groups.unmerge(groups.merge(tokens))
    assert back.shape == tokens.shape
    torch.testing.assert_close(back[:, 0], tokens[:, 0])
    for clip in range(2):
        for row in groups.averages[clip]:
            members = row.nonzero().flatten()
            expected = tokens[clip, members].mean(0).expand(len(members), -1)
            torch.testing.assert_close(back[clip, members], expected)


def test_a_ratio_of_zero_is_exactly_the_full_model(pixels: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        full = model_with()(**pixels, output_hidden_states=True)
        zero = model_with(token_reduction=0.0)(**pixels, output_hidden_states=True)
    assert torch.equal(full.logits, zero.logits)
    assert all(torch.equal(a, b) for a, b in zip(full.video_hidden_states, zero.video_hidden_states, strict=True))


@pytest.mark.parametrize("block_style", ["released", "paper"])
def test_outputs_keep_their_shapes_and_maps_still_sum_to_one(
    block_style: str, pixels: dict[str, torch.Tensor]
) -> None:
    with torch.no_grad():
        wanted = {"output_attentions": True, "output_hidden_states": True}
        full = model_with(block_style=block_style)(**pixels, **wanted)
        model = model_with(block_style=block_style, token_reduction=0.5)
        reduced, plain = model(**pixels, **wanted), model(**pixels)
    torch.testing.assert_close(reduced.logits, plain.logits, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(reduced.logits, full.logits)
    for name in full:
        if isinstance(full[name], tuple):
            assert [x.shape for x in reduced[name]] == [x.shape for x in full[name]], name
    for maps in (reduced.video_attentions, reduced.special_cross_attentions):
        for attention in maps:
            torch.testing.assert_close(attention.sum(-1), torch.ones_like(attention.sum(-1)))


def test_maps_of_merged_patches_are_shared_equally(pixels: dict[str, torch.Tensor]) -> None:
    model = model_with(token_reduction=0.5)
    with torch.no_grad():
        groups = model.hsta._group_tokens(pixels["pixel_values"])
        out = model(**pixels, output_attentions=True)
    assert isinstance(groups, TokenGroups)
    attention, cross = out.video_attentions[0], out.special_cross_attentions[0]
    for row in groups.averages[0]:
        members = row.nonzero().flatten()
        assert (attention[0][:, members] == attention[0][:, members[:1]]).all(), "one query row for the group"
        assert (attention[0][:, :, members] == attention[0][:, :, members[:1]]).all()
        assert (cross[0][:, :, members] == cross[0][:, :, members[:1]]).all()


def test_a_clip_that_stands_still_loses_nothing_but_positions(pixels: dict[str, torch.Tensor]) -> None:
    """With positions off, tokens that are merged are equal: their mean is each of them."""
    model = model_with(token_reduction=2 / 3, use_special_stream=False)
    model.hsta.video_embeddings.position_embeddings.zero_()
    still = pixels["pixel_values"][:, :1].expand(-1, 6, -1, -1, -1)
    with torch.no_grad():
        reduced = model(still, output_hidden_states=True)
        model.config.token_reduction = 0.0
        full = model(still, output_hidden_states=True)
    torch.testing.assert_close(reduced.video_hidden_states[0], full.video_hidden_states[0])


def test_it_may_be_changed_on_a_saved_model(tmp_path: Path, pixels: dict[str, torch.Tensor]) -> None:
    model_with().save_pretrained(tmp_path)
    model = HSTAForMicroExpressionClassification.from_pretrained(tmp_path, token_reduction=0.5).eval()
    with torch.no_grad():
        assert torch.equal(model(**pixels).logits, model_with(token_reduction=0.5)(**pixels).logits)


def test_fewer_multiplications_are_done(pixels: dict[str, torch.Tensor]) -> None:
    counted = []
    for ratio in (0.0, 0.5):
        model = model_with(token_reduction=ratio, use_special_stream=False)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(pixels["pixel_values"])
        counted.append(counter.get_flop_counts()["Global"][torch.ops.aten.addmm])
    # Linear layers work on half the patches: 25 of 49 tokens, save for what the last layer leaves out in both.
    assert counted[1] / counted[0] == pytest.approx(25 / 49, abs=0.01)


def test_it_trains_and_gradients_reach_the_embedding(pixels: dict[str, torch.Tensor]) -> None:
    model = model_with(token_reduction=0.6).train()
    model(**pixels, labels=torch.tensor([0, 1, 2])).loss.backward()
    assert model.hsta.video_embeddings.patch_embeddings.projection.weight.grad.abs().sum() > 0
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_runs_in_half_precision(dtype: torch.dtype, pixels: dict[str, torch.Tensor]) -> None:
    model = model_with(token_reduction=0.5)
    with torch.no_grad():
        expected = model(**pixels).logits
        half = model.to(dtype)(**{name: x.to(dtype) for name, x in pixels.items()}).logits
    assert half.dtype == dtype
    torch.testing.assert_close(half.float(), expected, atol=0.02, rtol=0.05)


@pytest.mark.parametrize("ratio", [-0.1, 0.7, 1.0])
def test_a_ratio_that_would_leave_a_place_without_a_token_is_refused(ratio: float) -> None:
    with pytest.raises(
        ValueError, match=r"token_reduction is .*3 tubelets \(6 frames\) allow a number from 0 to 0\.667"
    ):
        HSTAConfig(token_reduction=ratio)


@pytest.mark.parametrize("ratio", [-0.1, 1.5, "0.65", True, None])
def test_a_wrong_ratio_is_refused_on_a_saved_model_too(
    ratio: Any, tmp_path: Path, pixels: dict[str, torch.Tensor]
) -> None:
    model = model_with()
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"HSTAConfig\.token_reduction is .* allow a number from 0 to 0\.667"):
        HSTAForMicroExpressionClassification.from_pretrained(tmp_path, token_reduction=ratio)
    object.__setattr__(model.config, "token_reduction", ratio)
    with pytest.raises(ValueError, match=r"HSTAConfig\.token_reduction is .* allow a number from 0 to 0\.667"):
        model(**pixels)


def test_the_largest_ratio_that_the_message_names_is_taken(pixels: dict[str, torch.Tensor]) -> None:
    model = model_with(token_reduction=0.667)
    groups = model.hsta._group_tokens(pixels["pixel_values"])
    assert groups is not None
    assert groups.averages.shape[1] == 1 + PLACES
