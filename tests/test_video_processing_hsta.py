"""The processor: every kind of input, frame choice, both streams, and errors that name what is wrong."""

from __future__ import annotations

import http.server
import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as transforms

from hsta_hf.frame_selection import sample_uniform, spot_apex
from hsta_hf.optical_flow_hsta import flow_with_strain, head_motion, optical_flow, special_flows, warp
from hsta_hf.video_processing_hsta import HSTAVideoProcessor
from hsta_hf.video_reading_hsta import VideoReadError

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def moving_frames(num_frames: int = 12, height: int = 48, width: int = 64) -> np.ndarray:
    """(T, H, W, 3) uint8; frame t is grey level 20 + 10 t in its left half, with a bar that moves."""
    frames = np.full((num_frames, height, width, 3), 128, dtype=np.uint8)
    for t in range(num_frames):
        frames[t, :, : width // 2] = 20 + 10 * (t % 20)
        left = width // 2 + t % (width // 2 - 4)
        frames[t, 10:30, left : left + 4] = (250, 30, 60)
    return frames


def write_video(
    target: Path | io.BytesIO,
    frames: np.ndarray,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    pts: list[int] | None = None,
    format: str | None = None,
    options: dict[str, str] | None = None,
) -> None:
    """Encode (T, H, W, 3) frames at 30 fps, or at the given time stamps in 1/30 s."""
    file = target if isinstance(target, io.BytesIO) else str(target)
    with av.open(file, "w", format=format, options=options or {}) as container:
        stream = container.add_stream(codec, rate=30)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pix_fmt
        if codec == "libx264":
            stream.options = {"crf": "5"}
        for t, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = (t if pts is None else pts[t]), Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture
def video(tmp_path: Path) -> Path:
    write_video(tmp_path / "clip.mp4", moving_frames())
    return tmp_path / "clip.mp4"


def processor(**fields: object) -> HSTAVideoProcessor:
    return HSTAVideoProcessor(**{"size": {"height": 32, "width": 32}, **fields})


def brightness(stream: torch.Tensor) -> np.ndarray:
    """Grey level of the left half of each normalised frame, which tells which frame it is."""
    restored = (stream * STD + MEAN) * 255
    return restored[..., 4:28, 3:13].mean(dim=(-3, -2, -1)).numpy()


def test_output_shapes_and_normalisation() -> None:
    frames = moving_frames()
    batch = processor(special_size={"height": 16, "width": 24})(frames)
    assert set(batch) == {"pixel_values", "special_pixel_values"}
    assert batch["pixel_values"].shape == (1, 6, 3, 32, 32)
    assert batch["special_pixel_values"].shape == (1, 2, 3, 16, 24)
    assert batch["pixel_values"].dtype == torch.float32

    unresized = processor(do_resize=False)(frames, return_frame_indices=True)
    chosen = unresized["frame_indices"][0]["video"]
    expected = (torch.from_numpy(frames[chosen]).permute(0, 3, 1, 2) / 255 - MEAN) / STD
    assert torch.allclose(unresized["pixel_values"][0], expected, atol=1e-5)


def test_frames_are_those_of_frame_selection() -> None:
    frames = moving_frames(15)
    batch = processor()(frames, onset=2, offset=12, return_frame_indices=True)
    indices = batch["frame_indices"][0]
    assert indices["video"] == sample_uniform(2, 12, 6).tolist()
    assert indices["apex"] == spot_apex(frames, 2, 12)
    assert np.allclose(brightness(batch["pixel_values"][0]), 20 + 10 * np.array(indices["video"]), atol=1)
    special = [indices["onset"], indices["apex"]]
    assert np.allclose(brightness(batch["special_pixel_values"][0]), 20 + 10 * np.array(special), atol=1)


def test_training_and_pipeline_prepare_the_same_tensors() -> None:
    frames = moving_frames()
    hsta = processor(video_input="difference", special_input="optical_flow")
    batch = hsta(frames, onset=1, apex=4, offset=9)
    video, special = hsta.select_and_prepare(frames, 1, 4, 9)
    assert torch.equal(batch["pixel_values"][0], video)
    assert torch.equal(batch["special_pixel_values"][0], special)
    jittered, _ = hsta.select_and_prepare(frames, 1, 4, 9, video_indices=[1, 2, 2, 5, 8, 9])
    assert not torch.equal(jittered, video)


def test_every_kind_of_input_gives_the_same_answer(tmp_path: Path) -> None:
    frames = moving_frames()
    expected = processor()(frames)
    folder = tmp_path / "color"
    folder.mkdir()
    for t, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{t + 1}.png")  # 10.png sorts before 2.png by name
    paths = [folder / f"{t + 1}.png" for t in range(12)]
    rgba = np.concatenate([frames, np.full((*frames.shape[:3], 1), 255, np.uint8)], axis=-1)
    kinds = {
        "channels first": frames.transpose(0, 3, 1, 2),
        "tensor": torch.from_numpy(frames),
        "tensor, channels first, 0..1": torch.from_numpy(frames).permute(0, 3, 1, 2) / 255,
        "float 0..255": frames.astype(np.float64),
        "16 bit": frames.astype(np.uint16) * 257,
        "alpha": rgba,
        "list of arrays": list(frames),
        "list of tensors": list(torch.from_numpy(frames)),
        "list of pictures": [Image.fromarray(frame) for frame in frames],
        "list of paths": paths,
        "folder": folder,
        "folder as text": str(folder),
        "batch of one": [frames],
        "five dimensions": frames[None],
    }
    for name, kind in kinds.items():
        batch = processor()(kind)
        for key in ("pixel_values", "special_pixel_values"):
            assert torch.equal(batch[key], expected[key]), name


def test_greyscale_is_repeated() -> None:
    grey = moving_frames()[..., 0]
    colour = np.repeat(grey[..., None], 3, axis=-1)
    expected = processor()(colour)["pixel_values"]
    for kind in (grey, grey[..., None], grey[:, None], list(grey), [grey]):
        assert torch.equal(processor()(kind)["pixel_values"], expected)


def test_batches_keep_their_order_and_indices(video: Path) -> None:
    short = moving_frames(8)
    batch = processor()(
        [str(video), short, video.read_bytes()],
        onset=[0, 1, None],
        apex=[5, None, 5],
        offset=[None, 6, 11],
        return_frame_indices=True,
    )
    assert batch["pixel_values"].shape == (3, 6, 3, 32, 32)
    assert torch.equal(batch["pixel_values"][0], batch["pixel_values"][2])
    first, second, third = batch["frame_indices"]
    assert first == third == {"onset": 0, "apex": 5, "offset": 11, "video": [0, 2, 4, 7, 9, 11]}
    assert (second["onset"], second["offset"]) == (1, 6)


def test_clip_shorter_than_num_frames() -> None:
    for length in (1, 2, 3, 5):
        batch = processor()(moving_frames(length), return_frame_indices=True)
        assert batch["pixel_values"].shape == (1, 6, 3, 32, 32)
        assert batch["frame_indices"][0]["video"] == sample_uniform(0, length - 1, 6).tolist()


def test_num_frames_and_fields_can_be_overridden_for_one_call() -> None:
    hsta = processor()
    frames = moving_frames()
    assert hsta(frames, num_frames=4, do_sample_frames=True)["pixel_values"].shape[1] == 4
    assert hsta(frames, do_sample_frames=False)["pixel_values"].shape[1] == 12
    assert hsta(frames, size={"height": 8, "width": 8})["pixel_values"].shape[-2:] == (8, 8)
    assert hsta(frames)["pixel_values"].shape == (1, 6, 3, 32, 32)
    assert isinstance(hsta(frames, return_tensors="np")["pixel_values"], np.ndarray)
    own_special = processor(special_size=16)
    assert own_special(frames, special_size=None)["special_pixel_values"].shape[-2:] == (32, 32)
    half = hsta(frames, image_mean=np.array([0.5, 0.5, 0.5]))["pixel_values"]
    assert torch.equal(half, hsta(frames, image_mean=[0.5, 0.5, 0.5])["pixel_values"])
    with pytest.raises(TypeError, match="num_frmes"):
        hsta(frames, num_frmes=4)


def test_difference_stream() -> None:
    frames = moving_frames()
    hsta = processor(do_resize=False, video_input="difference", special_input="difference", difference_scale=2.0)
    video, special = hsta.select_and_prepare(frames, 1, 4, 9, video_indices=[1, 3])
    expected = 2.0 * (frames[[1, 3]].astype(float) - frames[1]) / 255
    assert torch.allclose(video, torch.from_numpy(expected).float().permute(0, 3, 1, 2), atol=1e-6)
    assert not special[0].any()
    assert torch.allclose(special[1, :, 40, 3], torch.full((3,), 2.0 * 30 / 255))


def test_optical_flow_stream() -> None:
    frames = moving_frames()
    hsta = processor(
        do_resize=False, video_input="optical_flow", special_input="optical_flow", flow_scale=2.0, strain_scale=0.5,
        special_frames=["onset", "apex", "offset"],
    )  # fmt: skip
    video, special = hsta.select_and_prepare(frames, 1, 4, 9, video_indices=[1, 6])

    def expected(first: int, second: int) -> torch.Tensor:
        flow = flow_with_strain(optical_flow(frames[first], frames[second], hsta.flow_method)) / (2.0, 2.0, 0.5)
        return torch.from_numpy(flow).float().permute(2, 0, 1)

    assert not video[0].any()
    assert torch.allclose(video[1], expected(1, 6), atol=1e-5)
    for image, pair in zip(special, [(1, 4), (4, 9), (1, 9)], strict=True):
        assert torch.allclose(image, expected(*pair), atol=1e-5)


def test_flow_computed_large_and_shown_small() -> None:
    frames = moving_frames(12, 96, 96)
    small = processor(special_input="optical_flow", special_size=12, flow_size=96)
    full = processor(special_input="optical_flow", special_size=96)
    flow = small.select_and_prepare(frames, 0, 6, 11)[1]
    assert flow.shape == (2, 3, 12, 12)
    whole = full.select_and_prepare(frames, 0, 6, 11)[1]
    assert torch.allclose(flow.mean(dim=(-2, -1)), whole.mean(dim=(-2, -1)), atol=0.05)


# --- short of the last step, and with stored flow -----------------------------------------------------------------


def textured_frames(num_frames: int = 7, height: int = 40, width: int = 52) -> np.ndarray:
    """(T, H, W, 3) uint8: a pattern that drifts and, in its middle, rises and falls back."""
    rng = np.random.default_rng(4)
    waves = [(*rng.uniform(-0.6, 0.6, 2), rng.uniform(0, 6.3), rng.uniform(0.5, 1.5, 3)) for _ in range(20)]
    y, x = np.meshgrid(np.arange(float(height)), np.arange(float(width)), indexing="ij")
    bump = np.exp(-((x - width / 2) ** 2 + (y - height / 2) ** 2) / 72)
    frames = []
    for t in range(num_frames):
        moved_x, moved_y = x - 0.15 * t, y + 1.5 * bump * np.sin(np.pi * t / (num_frames - 1))
        shades = sum(np.cos(wx * moved_x + wy * moved_y + p)[..., None] * rgb for wx, wy, p, rgb in waves)
        frames.append(128 + 12 * shades)
    return np.clip(np.rint(np.stack(frames)), 0, 255).astype(np.uint8)


def slow_stream(
    hsta: HSTAVideoProcessor,
    frames: np.ndarray,
    kind: str,
    indices: list[int],
    pairs: list[tuple[int, int]],
    side: int,
) -> torch.Tensor:
    """A finished stream, every picture by itself, with torchvision and OpenCV called by hand."""

    def resized(picture: np.ndarray, to: int) -> torch.Tensor:
        tensor = torch.from_numpy(picture).permute(2, 0, 1)
        return transforms.resize(tensor, [to, to], antialias=True) if hsta.do_resize else tensor

    def channels_last(picture: torch.Tensor) -> np.ndarray:
        return np.ascontiguousarray(picture.permute(1, 2, 0).numpy())

    result = []
    if kind == "frames":
        for index in indices:
            picture = resized(frames[index], side).float()
            if hsta.do_normalize:
                scale = 1 / hsta.rescale_factor if hsta.do_rescale else 1.0
                mean, std = (torch.tensor(values)[:, None, None] for values in (hsta.image_mean, hsta.image_std))
                picture = (picture - mean * scale) / (std * scale)
            elif hsta.do_rescale:
                picture = picture * hsta.rescale_factor
            result.append(picture)
    elif kind == "difference":
        for first, second in pairs:
            before, after = (resized(frames[i].astype(np.float32), side) for i in (first, second))
            if hsta.remove_head_motion and first != second:
                whole = [np.clip(np.rint(channels_last(p)), 0, 255).astype(np.uint8) for p in (before, after)]
                moved = head_motion(optical_flow(*whole, hsta.flow_method))
                after = torch.from_numpy(warp(channels_last(after), moved)).permute(2, 0, 1)
            result.append(
                (after - before) * ((hsta.rescale_factor if hsta.do_rescale else 1.0) * hsta.difference_scale)
            )
    else:
        to = hsta.flow_size["height"] if hsta.flow_size else side
        for first, second in pairs:
            before, after = (channels_last(resized(frames[i], to)) for i in (first, second))
            flow = np.zeros((*before.shape[:2], 2), np.float32)
            if first != second:
                flow = optical_flow(before, after, hsta.flow_method)
                flow = flow - head_motion(flow) if hsta.remove_head_motion else flow
            stream = torch.from_numpy(flow_with_strain(flow)).permute(2, 0, 1)
            if hsta.flow_size and hsta.do_resize:
                stream = transforms.resize(stream, [side, side], antialias=True)
            result.append(stream / torch.tensor([hsta.flow_scale, hsta.flow_scale, hsta.strain_scale])[:, None, None])
    return torch.stack(result)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"do_normalize": False},
        {"do_rescale": False},
        {"do_rescale": False, "do_normalize": False},
        {"do_resize": False, "special_input": "optical_flow"},
        {"do_resize": False, "special_input": "optical_flow", "flow_size": 64},
        {"video_input": "difference", "special_input": "frames"},
        {"video_input": "difference", "special_input": "difference", "remove_head_motion": True},
        {"video_input": "optical_flow", "special_input": "optical_flow", "strain_scale": 0.3},
        {"video_input": "optical_flow", "special_input": "optical_flow", "flow_size": 64, "remove_head_motion": True},
        {"special_input": "optical_flow", "flow_size": 64, "flow_method": "dis", "flow_scale": 0.5},
    ],
)
def test_streams_equal_the_slow_way_bit_for_bit(fields: dict[str, object]) -> None:
    frames, chosen = textured_frames(), [1, 2, 4, 4, 6]
    hsta = processor(special_size=24, special_frames=["onset", "apex", "offset"], **fields)
    streams = hsta.select_and_prepare(frames, 1, 3, 6, video_indices=chosen)
    leaving = [(1, 3), (3, 6), (1, 6)] if hsta.special_input == "optical_flow" else [(1, 1), (1, 3), (1, 6)]
    expected = (
        slow_stream(hsta, frames, hsta.video_input, chosen, [(1, i) for i in chosen], 32),
        slow_stream(hsta, frames, hsta.special_input, [1, 3, 6], leaving, 24),
    )
    for got, wanted in zip(streams, expected, strict=True):
        assert got.dtype == torch.float32 and torch.equal(got, wanted)
    uniform = hsta.select_and_prepare(frames, 1, 3, 6)
    called = hsta(frames, onset=1, apex=3, offset=6)
    assert torch.equal(called["pixel_values"][0], uniform[0])
    assert torch.equal(called["special_pixel_values"][0], uniform[1])


@pytest.mark.parametrize("normalise", [True, False])
def test_finishing_later_and_in_batches_gives_the_same(normalise: bool) -> None:
    hsta = processor(special_input="optical_flow", flow_size=48, do_normalize=normalise)
    clips = [textured_frames(), moving_frames()]
    early = [hsta.prepare_unnormalised(frames, 0, 2, 5) for frames in clips]
    done = [hsta.select_and_prepare(frames, 0, 2, 5) for frames in clips]
    for video, special in early:
        assert video.dtype == torch.uint8 and video.shape == (6, 3, 32, 32)
        assert special.dtype == torch.float32
    batch = torch.stack([video for video, _ in early])
    kept = batch.clone()
    assert torch.equal(hsta.finish(batch, "frames"), torch.stack([video for video, _ in done]))
    assert torch.equal(batch, kept)  # finishing does not write into its input
    for (_, before), (_, after) in zip(early, done, strict=True):
        assert torch.equal(hsta.finish(before, "optical_flow"), after) and torch.equal(before, after)
    with pytest.raises(ValueError, match="a stream's input is 'rgb'"):
        hsta.finish(batch, "rgb")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_finishing_on_a_gpu() -> None:
    hsta = processor()
    video, _ = hsta.prepare_unnormalised(textured_frames(), 0, 2, 5)
    there = hsta.finish(video.to("cuda"), "frames")
    assert there.device.type == "cuda" and torch.allclose(there.cpu(), hsta.finish(video, "frames"), atol=1e-6)


FLOW_FIELDS: list[dict[str, object]] = [
    {"flow_size": 64, "remove_head_motion": True},
    {"flow_size": {"height": 40, "width": 48}, "flow_method": "dis"},
    {"special_size": 36},
    {"do_resize": False, "remove_head_motion": True},
]


@pytest.mark.parametrize("fields", FLOW_FIELDS)
@pytest.mark.parametrize("moments", [(0, 2, 5), (1, 1, 4), (0, 4, 4)])
def test_stored_flow_equals_computed_flow_bit_for_bit(
    fields: dict[str, object], moments: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = textured_frames()
    hsta = processor(special_input="optical_flow", **fields)
    settings = hsta.flow_settings()
    assert settings == json.loads(json.dumps(settings))
    stored = special_flows([frames[i] for i in moments], **settings)
    computed = hsta.select_and_prepare(frames, *moments)
    assert computed[1].any()
    three = processor(special_input="optical_flow", special_frames=["onset", "apex", "offset"], **fields)
    all_three = three.select_and_prepare(frames, *moments)[1]
    assert torch.equal(three.select_and_prepare(frames, *moments, flows=stored)[1], all_three)  # "offset" is computed

    def fail(*arguments: object) -> None:
        raise AssertionError("a stored flow was computed again")

    monkeypatch.setattr("hsta_hf.video_processing_hsta.flow_channels", fail)
    for flows in (stored, torch.from_numpy(stored)):
        got = hsta.select_and_prepare(frames, *moments, flows=flows)
        assert torch.equal(got[0], computed[0]) and torch.equal(got[1], computed[1])
    swapped = hsta.select_and_prepare(frames, *moments, flows=stored[::-1])[1]
    assert torch.equal(swapped, computed[1].flip(0))
    kept = special_flows([frames[i] for i in moments], **settings)
    assert np.array_equal(stored, kept)  # the processor's scaling does not write into what is stored


def test_flow_settings_tell_how_flow_is_computed() -> None:
    assert HSTAVideoProcessor().flow_settings() == {
        "method": "farneback", "size": {"height": 224, "width": 224}, "remove_head_motion": False
    }  # fmt: skip
    hsta = HSTAVideoProcessor(special_size=28, flow_method="dis", remove_head_motion=True)
    assert hsta.flow_settings() == {
        "method": "dis", "size": {"height": 28, "width": 28}, "remove_head_motion": True
    }  # fmt: skip
    assert HSTAVideoProcessor(special_size=28, flow_size={"height": 96, "width": 64}).flow_settings()["size"] == {
        "height": 96, "width": 64
    }  # fmt: skip
    assert HSTAVideoProcessor(do_resize=False).flow_settings()["size"] is None
    # Nothing stored is resized with another filter, so such settings must equal none that are.
    assert set(HSTAVideoProcessor(resample=3).flow_settings()) == {"method", "size", "remove_head_motion", "resample"}


def test_flows_of_another_size_are_refused() -> None:
    frames = textured_frames()
    stored = special_flows(frames[[0, 2, 5]], size=48)
    hsta = processor(special_input="optical_flow", flow_size=64)
    for wrong in (stored, stored[:1], stored[..., :2], torch.from_numpy(stored)):
        with pytest.raises(ValueError, match=r"takes its flow at 64x64: float32 of shape \(2, 64, 64, 3\)"):
            hsta.select_and_prepare(frames, 0, 2, 5, flows=wrong)
    with pytest.raises(ValueError, match="float64"):
        hsta.select_and_prepare(frames, 0, 2, 5, flows=special_flows(frames[[0, 2, 5]], size=64).astype(float))
    with pytest.raises(ValueError, match=r"takes its flow at 52x40"):
        processor(special_input="optical_flow", do_resize=False).select_and_prepare(frames, 0, 2, 5, flows=stored)
    plain = processor().select_and_prepare(frames, 0, 2, 5)  # pictures in the special stream: flows have no place
    assert torch.equal(processor().select_and_prepare(frames, 0, 2, 5, flows=stored)[1], plain[1])


@pytest.mark.parametrize("kind", ["difference", "optical_flow"])
def test_head_motion_is_taken_out(kind: str) -> None:
    rng = np.random.default_rng(0)
    y, x = np.meshgrid(np.arange(96.0), np.arange(96.0), indexing="ij")
    waves = rng.uniform(-0.4, 0.4, (20, 2))
    frames = [128 + 9 * sum(np.cos(wx * (x - 0.4 * t) + wy * y + 5 * wx) for wx, wy in waves) for t in range(6)]
    clip = np.repeat(np.clip(np.stack(frames), 0, 255).astype(np.uint8)[..., None], 3, axis=-1)
    size = {"size": 96, "video_input": kind, "special_input": kind}
    plain = HSTAVideoProcessor(**size).select_and_prepare(clip, 0, 3, 5)[0]
    steady = HSTAVideoProcessor(**size, remove_head_motion=True).select_and_prepare(clip, 0, 3, 5)[0]
    inner = (slice(1, None), slice(0, 2), slice(12, -12), slice(12, -12))
    assert steady[inner].abs().mean() < 0.15 * plain[inner].abs().mean()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"onset": 5, "apex": 3}, "onset 5, apex 3 are not in order"),
        ({"apex": 8, "offset": 6}, "onset 0, apex 8, offset 6 are not in order"),
        ({"onset": -1}, "onset -1"),
        ({"offset": 12}, "12 frames, 0 to 11, but onset 0, offset 12"),
        ({"onset": 12}, "12 frames, 0 to 11, but onset 12"),
        ({"apex": 40}, "apex 40"),
        ({"apex": 5, "offset": 12}, "frame 12 is wanted"),
        ({"onset": 1.5}, "onset holds 1.5"),
        ({"apex": float("nan")}, "apex holds nan"),
        ({"apex": "third"}, "apex holds 'third'"),
        ({"apex": [1, 2]}, "apex has 2 entries for 1 clips"),
    ],
)
@pytest.mark.parametrize("as_file", [False, True])
def test_wrong_indices_are_named(given: dict[str, int], message: str, as_file: bool, video: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        processor()(str(video) if as_file else moving_frames(), **given)
    if as_file and "entries" not in message and "holds" not in message:
        assert "clip.mp4" in str(caught.value)


def test_wrong_arrays_are_named() -> None:
    for wrong, message in [
        (np.zeros((4, 4)), r"\(4, 4\)"),
        (np.zeros((0, 4, 4, 3)), "holds no frames"),
        (np.zeros((3, 5, 5, 7)), "1, 3 or 4 channels"),
        (moving_frames() * -1.0, "from -"),
        (np.full((3, 4, 5), np.nan), "nan"),
        ([], "holds no frames"),
        ([np.zeros((4, 4, 3)), np.zeros((5, 4, 3))], "different shapes"),
    ]:
        with pytest.raises(VideoReadError, match=message):
            processor()(wrong)
    with pytest.raises(TypeError, match="int"):
        processor()(3)
    with pytest.raises(VideoReadError, match="video 1 of the batch"):
        processor()([moving_frames(), np.zeros((3, 5, 5, 7))])


def test_wrong_fields_are_named() -> None:
    for fields, message in [
        ({"video_input": "flow"}, "video_input is 'flow'"),
        ({"flow_method": "raft"}, "flow_method is 'raft'"),
        ({"special_frames": ["peak"]}, "peak"),
        ({"size": {"shortest_edge": 224}}, "size is"),
        ({"special_size": [28, 28]}, "special_size is"),
        ({"flow_size": 28.5}, "flow_size is"),
        ({"flow_scale": 0.0}, "flow_scale is 0.0"),
        ({"do_center_crop": True}, "do_center_crop"),
    ]:
        with pytest.raises(ValueError, match=message):
            HSTAVideoProcessor(**fields)


# --- files -------------------------------------------------------------------------------------------------------


def test_video_file_bytes_and_array_agree(video: Path) -> None:
    from_path = processor()(video, return_frame_indices=True)
    from_bytes = processor()(video.read_bytes())
    assert torch.equal(from_path["pixel_values"], from_bytes["pixel_values"])
    chosen = from_path["frame_indices"][0]["video"]
    assert np.allclose(brightness(from_path["pixel_values"][0]), 20 + 10 * np.array(chosen), atol=3)
    with av.open(str(video)) as container:
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    from_array = processor()(decoded, return_frame_indices=True)
    assert torch.equal(from_path["pixel_values"], from_array["pixel_values"])
    assert from_path["frame_indices"] == from_array["frame_indices"]


WRITERS: dict[str, Callable[[Path], None]] = {
    "greyscale.mkv": lambda p: write_video(p, moving_frames(), codec="ffv1", pix_fmt="gray"),
    "alpha.mov": lambda p: write_video(p, moving_frames(), codec="png", pix_fmt="rgba"),
    "odd.mkv": lambda p: write_video(p, moving_frames(12, 47, 61), codec="ffv1", pix_fmt="bgr0"),
    "variable.mp4": lambda p: write_video(p, moving_frames(), pts=[0, 1, 2, 5, 6, 7, 15, 16, 30, 31, 32, 60]),
    "variable.mkv": lambda p: write_video(p, moving_frames(), pts=[0, 1, 2, 5, 6, 7, 15, 16, 30, 31, 32, 60]),
    "old.avi": lambda p: write_video(p, moving_frames(), codec="mpeg4"),
    "short.mp4": lambda p: write_video(p, moving_frames(3)),
    "single.mp4": lambda p: write_video(p, moving_frames(1)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_unusual_files_are_read(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    batch = processor()(tmp_path / name, return_frame_indices=True)
    assert batch["pixel_values"].shape == (1, 6, 3, 32, 32)
    chosen = np.array(batch["frame_indices"][0]["video"])
    assert np.allclose(brightness(batch["pixel_values"][0]), 20 + 10 * chosen, atol=6)


def test_url_is_downloaded(video: Path) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(video.parent))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    (video.parent / "none.mp4").touch()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        expected = processor()(video)["pixel_values"]
        assert torch.equal(processor()(f"{address}/clip.mp4")["pixel_values"], expected)
        with pytest.raises(VideoReadError, match=r"missing\.mp4 cannot be downloaded: .*404"):
            processor()(f"{address}/missing.mp4")
        with pytest.raises(VideoReadError, match=r"none\.mp4 is empty"):
            processor()(f"{address}/none.mp4")
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(VideoReadError, match="cannot be downloaded"):
        processor()(f"{address}/clip.mp4")


def broken_files(folder: Path) -> Iterator[Path]:
    frames = np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3), dtype=np.uint8)

    def cut(name: str, part: float, **how: object) -> Path:
        whole = folder / f"whole_{name}"
        write_video(whole, frames, **how)  # type: ignore[arg-type]
        data = whole.read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * part)])
        return folder / name

    (folder / "empty.mp4").touch()
    yield folder / "empty.mp4"
    (folder / "notes.txt").write_text("This is not a video.\n" * 50)
    yield folder / "notes.txt"
    (folder / "renamed.mp4").write_text("This is not a video.\n" * 50)
    yield folder / "renamed.mp4"
    Image.fromarray(frames[0]).save(folder / "photo.jpg")
    yield folder / "photo.jpg"
    (folder / "noise.avi").write_bytes(np.random.default_rng(1).bytes(20000))
    yield folder / "noise.avi"
    yield cut("cut_index_at_end.mp4", 0.7)
    yield cut("cut_index_first.mp4", 0.7, options={"movflags": "faststart"})
    yield cut("cut_index_first_early.mp4", 0.3, options={"movflags": "faststart"})
    yield cut("cut.avi", 0.6, codec="mpeg4")
    yield cut("cut.mkv", 0.6)
    (folder / "no_frames").mkdir()
    yield folder / "no_frames"


def test_broken_files_are_named(tmp_path: Path) -> None:
    names = []
    for path in broken_files(tmp_path):
        with pytest.raises(VideoReadError) as caught:
            processor()(path)
        assert path.name in str(caught.value), caught.value
        names.append(path.name)
    assert len(names) == 11
    with pytest.raises(FileNotFoundError, match=r"nowhere\.mp4"):
        processor()(tmp_path / "nowhere.mp4")
    with pytest.raises(VideoReadError, match="is empty: 0 bytes"):
        processor()(b"")
    with pytest.raises(VideoReadError, match=r"not a video.*video 1 of the batch|video 1 of the batch.*not a video"):
        processor()([moving_frames(), b"no video at all"])


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(VideoReadError, match=r"song\.wav holds no video stream"):
        processor()(tmp_path / "song.wav")


PEAK = """
import sys
from pathlib import Path
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

hsta = HSTAVideoProcessor(size=32)
for path in sys.argv[1:]:
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far, which importing torch sets high
    hsta(path)
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    """A video 20 times as long, 138 MB of raw frames, costs no more than some small pictures for the apex."""
    frames = moving_frames(30, 240, 320)
    for name, repeats in (("short.mp4", 1), ("long.mp4", 20)):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("mpeg4", rate=30)
            stream.height, stream.width, stream.pix_fmt = 240, 320, "yuv420p"
            for _ in range(repeats):
                for frame in frames:
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    command = [sys.executable, "-c", PEAK, str(tmp_path / "short.mp4"), str(tmp_path / "long.mp4")]
    short, long = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    grown = (long - short) / 1024
    assert grown < 80, f"peak memory grew by {grown:.0f} MB"


def test_long_files_and_arrays_are_thinned_alike(tmp_path: Path) -> None:
    """Above 256 frames, the stream thins out as it goes; the apex must be that of the array, in parts as well."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (530, 16, 16, 3), dtype=np.uint8)
    write_video(tmp_path / "long.mkv", frames, codec="ffv1", pix_fmt="bgr0")
    for given in ({}, {"onset": 3, "offset": 300}, {"onset": 500}):
        from_file = processor()(tmp_path / "long.mkv", return_frame_indices=True, **given)
        from_array = processor()(frames, return_frame_indices=True, **given)
        assert from_file["frame_indices"] == from_array["frame_indices"]
        assert torch.equal(from_file["special_pixel_values"], from_array["special_pixel_values"])


def test_saving_keeps_every_field(tmp_path: Path) -> None:
    fields = {
        "size": {"height": 112, "width": 96}, "special_size": {"height": 28, "width": 28}, "num_frames": 8,
        "special_frames": ["apex", "offset"], "video_input": "difference", "special_input": "optical_flow",
        "difference_scale": 3.0, "flow_scale": 1.5, "strain_scale": 0.2, "flow_method": "dis",
        "flow_size": {"height": 56, "width": 56}, "remove_head_motion": True, "do_normalize": False,
        "image_mean": [0.5, 0.5, 0.5],
    }  # fmt: skip
    HSTAVideoProcessor(**fields).save_pretrained(tmp_path)
    loaded = HSTAVideoProcessor.from_pretrained(tmp_path)
    for name, value in fields.items():
        kept = getattr(loaded, name)
        assert type(value)(kept) == value, name
    frames = moving_frames()
    expected = HSTAVideoProcessor(**fields)(frames)
    assert torch.equal(loaded(frames)["special_pixel_values"], expected["special_pixel_values"])
    assert HSTAVideoProcessor.from_pretrained(tmp_path, num_frames=4).num_frames == 4


def test_real_footage(shared_dir: Path) -> None:
    path = shared_dir / "media" / "single_face.mp4"
    if not path.is_file():
        pytest.skip("needs media/single_face.mp4 in the reference data, which is absent")
    batch = HSTAVideoProcessor()(path, return_frame_indices=True)
    assert batch["pixel_values"].shape == (1, 6, 3, 224, 224)
    assert batch["frame_indices"][0]["video"] == [0, 14, 28, 43, 57, 71]
    assert torch.isfinite(batch["pixel_values"]).all()
