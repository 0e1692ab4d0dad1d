"""Augmentation does to the numbers what it does to the picture."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.transforms import functional as tvf

from hsta_hf.training.arguments import AugmentationArguments
from hsta_hf.training.augmentation import BatchAugmentation, _move

KEYS = [(42, 3, place) for place in range(16)]


def batch(size: int = 12, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "pixel_values": torch.randn(16, 4, 3, size, size, generator=generator),
        "special_pixel_values": torch.randn(16, 2, 3, size, size, generator=generator),
        "labels": torch.arange(16) % 3,
    }


def augment(arguments: AugmentationArguments, clips: dict, kinds: tuple[str, str], keys: list = KEYS) -> dict:
    return BatchAugmentation(arguments, *kinds)(clips, keys)


def test_nothing_happens_by_default() -> None:
    clips = batch()
    result = augment(AugmentationArguments(), clips, ("frames", "optical_flow"))
    assert all(torch.equal(result[name], clips[name]) for name in clips)


def test_mirroring_negates_horizontal_flow_only_and_twice_is_identity() -> None:
    arguments, clips = AugmentationArguments(flip_probability=1.0), batch()
    once = augment(arguments, clips, ("frames", "optical_flow"))
    assert torch.equal(once["pixel_values"], clips["pixel_values"].flip(-1))
    flow, before = once["special_pixel_values"], clips["special_pixel_values"].flip(-1)
    assert torch.equal(flow[:, :, 0], -before[:, :, 0])
    assert torch.equal(flow[:, :, 1:], before[:, :, 1:])
    twice = augment(arguments, once, ("frames", "optical_flow"))
    assert all(torch.equal(twice[name], clips[name]) for name in clips)


def test_half_of_the_clips_are_mirrored_both_streams_alike() -> None:
    clips = batch()
    result = augment(AugmentationArguments(flip_probability=0.5), clips, ("difference", "difference"))
    flipped = [
        [not torch.equal(result[name][i], clips[name][i]) for i in range(16)]
        for name in ("pixel_values", "special_pixel_values")
    ]
    assert flipped[0] == flipped[1] and 2 <= sum(flipped[0]) <= 14


def draw(**values: float):
    made = BatchAugmentation(AugmentationArguments(), "frames", "frames").draw([(0, 0, 0)])
    changes = {name: torch.tensor([value]) for name, value in values.items()}
    return made.__class__(**{**vars(made), **changes})


def test_a_quarter_turn_turns_picture_and_flow() -> None:
    clip = torch.randn(1, 2, 3, 9, 9)
    quarter = draw(angle=math.pi / 2)
    turned = torch.rot90(clip, -1, dims=(-2, -1))  # y points down: x goes to y, the picture turns clockwise
    assert torch.allclose(_move(clip, quarter, "difference"), turned, atol=1e-5)
    flow = _move(clip, quarter, "optical_flow")
    assert torch.allclose(flow[:, :, 0], -turned[:, :, 1], atol=1e-5)
    assert torch.allclose(flow[:, :, 1], turned[:, :, 0], atol=1e-5)
    assert torch.allclose(flow[:, :, 2], turned[:, :, 2], atol=1e-5)  # strain has no direction


def test_zoom_enlarges_flow_and_shift_moves_by_whole_pixels() -> None:
    flow = torch.ones(1, 1, 3, 8, 8)
    zoomed = _move(flow, draw(zoom=1.25), "optical_flow")
    assert torch.allclose(zoomed[:, :, :2], torch.full((1, 1, 2, 8, 8), 1.25))
    assert torch.allclose(zoomed[:, :, 2], torch.ones(1, 1, 8, 8))
    clip = torch.randn(1, 1, 3, 8, 8)
    shifted = _move(clip, draw(shift_x=2 / 8), "difference")
    assert torch.allclose(shifted[..., 2:], clip[..., :-2], atol=1e-5)
    assert torch.allclose(shifted[..., :1], torch.zeros(1))  # no motion comes in from outside
    edge = _move(clip, draw(shift_x=2 / 8), "frames")
    assert torch.allclose(edge[..., 0], clip[..., 0], atol=1e-5)  # pictures are continued by their edge


def test_wide_pictures_are_turned_without_shearing() -> None:
    clip = torch.zeros(1, 1, 3, 21, 41)
    clip[..., 10, 28] = 1.0  # 8 pixels right of the centre
    turned = _move(clip, draw(angle=math.pi / 2), "difference")
    assert (turned[0, 0, 0] > 0.5).nonzero().tolist() == [[18, 20]]  # 8 pixels below it


def test_amplitude_scales_motion_within_bounds_and_leaves_pictures_alone() -> None:
    arguments, clips = AugmentationArguments(motion_amplitude=[0.5, 2.0]), batch()
    result = augment(arguments, clips, ("frames", "optical_flow"))
    assert torch.equal(result["pixel_values"], clips["pixel_values"])
    factors = (result["special_pixel_values"] / clips["special_pixel_values"]).flatten(1)
    assert torch.allclose(factors, factors[:, :1].expand_as(factors), rtol=1e-3)
    assert factors.min() >= 0.5 and factors.max() <= 2 and factors[:, 0].std() > 0.1


def test_erasing_blanks_the_same_place_in_all_frames_and_streams() -> None:
    clips = {name: torch.ones_like(x) if x.ndim == 5 else x for name, x in batch(size=20).items()}
    result = augment(AugmentationArguments(erase_probability=1.0, erase_area=0.3), clips, ("frames", "frames"))
    video, special = result["pixel_values"], result["special_pixel_values"]
    assert torch.equal(video[:, :1].expand_as(video), video)
    assert torch.equal(video[:, :2], special)
    shares = (video == 0).float().mean(dim=(1, 2, 3, 4))
    assert shares.max() <= 0.36 and (shares > 0).sum() >= 12


def test_a_clip_is_augmented_alike_in_any_batch() -> None:
    arguments = AugmentationArguments(0.5, translate=0.1, scale=0.1, rotate=5, motion_amplitude=[0.7, 1.4])
    clips = batch()
    whole = augment(arguments, clips, ("difference", "optical_flow"))
    part = augment(arguments, {name: x[5:8] for name, x in clips.items()}, ("difference", "optical_flow"), KEYS[5:8])
    assert torch.allclose(whole["pixel_values"][5:8], part["pixel_values"], atol=1e-6)
    other = augment(arguments, clips, ("difference", "optical_flow"), [(42, 4, place) for place in range(16)])
    assert not torch.allclose(whole["pixel_values"], other["pixel_values"], atol=1e-2)


def test_noise_is_repeatable_and_as_strong_as_asked() -> None:
    arguments, clips = AugmentationArguments(noise_std=0.2), batch()
    one, two = (augment(arguments, clips, ("frames", "frames"))["pixel_values"] for _ in range(2))
    assert torch.equal(one, two)
    assert (one - clips["pixel_values"]).std().item() == pytest.approx(0.2, rel=0.05)


def test_mixup_mixes_clips_and_labels_with_one_weight() -> None:
    clips = batch()
    clips["labels"] = torch.nn.functional.one_hot(clips["labels"], 3).float()
    result = augment(AugmentationArguments(mixup_alpha=1.0), clips, ("frames", "frames"))
    neighbour = clips["pixel_values"].roll(1, dims=0)
    weight = (
        ((result["pixel_values"] - neighbour) / (clips["pixel_values"] - neighbour)).flatten(1).median(dim=1).values
    )
    labels = weight[:, None] * clips["labels"] + (1 - weight[:, None]) * clips["labels"].roll(1, dims=0)
    assert torch.allclose(result["labels"], labels, atol=1e-3)
    assert torch.allclose(result["labels"].sum(dim=1), torch.ones(16))


def static_batch(size: int = 24) -> dict[str, torch.Tensor]:
    """Pictures, 0 to 255, that are the same in every frame and both streams of a clip."""
    generator = torch.Generator().manual_seed(3)
    picture = torch.randint(0, 256, (16, 1, 3, size, size), generator=generator, dtype=torch.uint8)
    return {"pixel_values": picture.repeat(1, 4, 1, 1, 1), "special_pixel_values": picture.repeat(1, 2, 1, 1, 1)}


def test_colour_jitter_touches_pictures_only() -> None:
    clips = {**batch(), "pixel_values": static_batch(12)["pixel_values"]}
    result = augment(AugmentationArguments(colour_jitter=0.3), clips, ("frames", "difference"))
    assert torch.equal(result["special_pixel_values"], clips["special_pixel_values"])
    assert not torch.equal(result["pixel_values"], clips["pixel_values"])


def test_colour_jitter_is_torchvisions() -> None:
    clips, arguments = static_batch(), AugmentationArguments(colour_jitter=0.4)
    draw = BatchAugmentation(arguments, "frames", "frames").draw(KEYS)
    result = augment(arguments, clips, ("frames", "frames"))
    for i in range(16):
        picture = clips["pixel_values"][i, 0].float() / 255
        picture = tvf.adjust_brightness(picture, float(draw.brightness[i]))
        picture = tvf.adjust_contrast(picture, float(draw.contrast[i]))
        picture = tvf.adjust_saturation(picture, float(draw.saturation[i]))
        torch.testing.assert_close(result["pixel_values"][i, 0] / 255, picture, atol=1e-5, rtol=0)
    for factors in (draw.brightness, draw.contrast, draw.saturation):
        assert factors.min() >= 0.6 and factors.max() <= 1.4 and factors.std() > 0.1


def test_a_frame_has_the_same_colours_in_both_streams_of_a_clip_that_changes() -> None:
    generator = torch.Generator().manual_seed(4)
    video = torch.randint(0, 256, (16, 4, 3, 12, 12), generator=generator, dtype=torch.uint8)
    clips = {"pixel_values": video, "special_pixel_values": video[:, [0, 2]]}
    result = augment(AugmentationArguments(colour_jitter=0.4), clips, ("frames", "frames"))
    assert torch.equal(result["pixel_values"][:, [0, 2]], result["special_pixel_values"])


EVERYTHING = AugmentationArguments(
    flip_probability=0.5,
    crop_area=[0.6, 1.0],
    translate=0.1,
    scale=0.1,
    rotate=8,
    erase_probability=0.7,
    colour_jitter=0.3,
)


def test_frames_that_are_the_same_stay_the_same_in_all_frames_and_both_streams() -> None:
    result = augment(EVERYTHING, static_batch(), ("frames", "frames"))
    video, special = result["pixel_values"], result["special_pixel_values"]
    assert torch.equal(video, video[:, :1].expand_as(video))
    assert torch.equal(special, video[:, :2])
    assert len({float(clip.mean()) for clip in video}) == 16


def test_a_crop_is_the_box_that_was_drawn_enlarged() -> None:
    # In a picture whose numbers are its own coordinates, each place says where it came from.
    y, x = torch.meshgrid(*(torch.linspace(-1 + 1 / 40, 1 - 1 / 40, 40),) * 2, indexing="ij")
    clip = torch.stack([x, y, torch.zeros_like(x)]).expand(16, 3, 3, 40, 40)
    clips = {"pixel_values": clip, "special_pixel_values": clip[:, :2]}
    arguments = AugmentationArguments(crop_area=[0.25, 0.8])
    draw = BatchAugmentation(arguments, "frames", "frames").draw(KEYS)
    result = augment(arguments, clips, ("frames", "frames"))
    assert torch.equal(result["pixel_values"][:, :2], result["special_pixel_values"])
    inner = result["pixel_values"][..., 2:-2, 2:-2]
    expected = draw.crop_x.view(-1, 1, 1) + draw.crop_side.view(-1, 1, 1) * x[2:-2, 2:-2]
    assert torch.allclose(inner[:, 0, 0], expected, atol=1e-4)
    expected = draw.crop_y.view(-1, 1, 1) + draw.crop_side.view(-1, 1, 1) * y[2:-2, 2:-2]
    assert torch.allclose(inner[:, 0, 1], expected, atol=1e-4)
    area = draw.crop_side**2
    assert area.min() >= 0.25 and area.max() <= 0.8 and area.std() > 0.05
    reach = draw.crop_side + torch.maximum(draw.crop_x.abs(), draw.crop_y.abs())
    assert reach.max() <= 1 + 1e-6  # no box leaves the picture


def test_a_crop_enlarges_flow_as_it_does_the_picture() -> None:
    flow = torch.ones(16, 1, 3, 8, 8)
    arguments = AugmentationArguments(crop_area=[0.25, 0.8])
    draw = BatchAugmentation(arguments, "optical_flow", "optical_flow").draw(KEYS)
    result = augment(arguments, {"pixel_values": flow}, ("optical_flow", "optical_flow"))["pixel_values"]
    enlarged = (1 / draw.crop_side).view(-1, 1, 1, 1, 1).expand(16, 1, 2, 8, 8)
    assert torch.allclose(result[:, :, :2, 1:-1, 1:-1], enlarged[..., 1:-1, 1:-1], rtol=1e-4)
    assert torch.allclose(result[:, :, 2, 1:-1, 1:-1], torch.ones(16, 1, 6, 6))  # pixels per pixel stay


def test_mirrored_clips_have_their_sided_labels_swapped_also_under_mixup() -> None:
    mirror = (1, 0, 2)  # left, right, neither
    clips = {**batch(), "labels": torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]).repeat(8, 1)}
    for alpha in (0.0, 0.5):
        arguments = AugmentationArguments(flip_probability=0.5, mixup_alpha=alpha)
        augmentation = BatchAugmentation(arguments, "frames", "frames", mirror=mirror)
        draw = augmentation.draw(KEYS)
        flipped = draw.flip > 0
        assert 2 <= flipped.sum() <= 14
        expected = torch.where(flipped[:, None], clips["labels"][:, [1, 0, 2]], clips["labels"])
        weight = draw.mix[:, None]
        expected = weight * expected + (1 - weight) * expected.roll(1, dims=0)
        assert torch.allclose(augmentation(clips, KEYS)["labels"], expected)
    unsided = BatchAugmentation(AugmentationArguments(flip_probability=1.0), "frames", "frames")
    assert torch.equal(unsided(clips, KEYS)["labels"], clips["labels"])
    ids = {**clips, "labels": torch.arange(16) % 3}
    always = BatchAugmentation(AugmentationArguments(flip_probability=1.0), "frames", "frames", mirror=(2, 0, 1))
    assert torch.equal(always(ids, KEYS)["labels"], torch.tensor([2, 0, 1])[ids["labels"]])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gets_the_numbers_of_the_cpu() -> None:
    clips = {**static_batch(), "labels": torch.nn.functional.one_hot(torch.arange(16) % 3, 3).float()}
    arguments = AugmentationArguments(**{**vars(EVERYTHING), "noise_std": 0.1, "mixup_alpha": 0.3})
    augmentation = BatchAugmentation(arguments, "frames", "frames", mirror=(1, 0, 2))
    here = augmentation(clips, KEYS)
    there = augmentation({name: x.cuda() for name, x in clips.items()}, KEYS)
    assert all(x.device.type == "cuda" for x in there.values())
    for name in here:
        torch.testing.assert_close(there[name].cpu(), here[name], atol=0.05, rtol=1e-4)  # of 0 to 255
