"""Frame choice: sampling, special frames, and apex spotting against slow or known answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hsta_hf.frame_selection import (
    MAX_SPOTTING_FRAMES,
    sample_random,
    sample_uniform,
    special_frame_indices,
    spot_apex,
    spotting_stride,
)


@pytest.mark.parametrize(
    ("onset", "offset", "num_frames", "expected"),
    [
        (0, 5, 6, [0, 1, 2, 3, 4, 5]),
        (0, 10, 6, [0, 2, 4, 6, 8, 10]),
        (3, 12, 4, [3, 6, 9, 12]),
        (0, 2, 6, [0, 0, 1, 1, 2, 2]),
        (7, 7, 3, [7, 7, 7]),
        (0, 9, 1, [4]),
    ],
)
def test_uniform_sampling_includes_both_ends(onset: int, offset: int, num_frames: int, expected: list[int]) -> None:
    indices = sample_uniform(onset, offset, num_frames)
    assert indices.dtype == np.int64
    assert indices.tolist() == expected


def test_random_sampling_is_sorted_without_repeats_and_follows_its_seed() -> None:
    for seed in range(50):
        indices = sample_random(4, 20, 6, np.random.default_rng(seed))
        assert indices.tolist() == sorted(set(indices.tolist()))
        assert indices.min() >= 4 and indices.max() <= 20
        assert indices.tolist() == sample_random(4, 20, 6, np.random.default_rng(seed)).tolist()
    draws = {tuple(sample_random(4, 20, 6, np.random.default_rng(seed))) for seed in range(50)}
    assert len(draws) > 40


def test_random_sampling_of_a_short_clip_shows_every_frame() -> None:
    indices = sample_random(2, 4, 6, np.random.default_rng(0))
    assert indices.tolist() == sorted(indices.tolist())
    assert len(indices) == 6 and set(indices.tolist()) == {2, 3, 4}


@pytest.mark.parametrize("sample", [sample_uniform, lambda *a: sample_random(*a, np.random.default_rng(0))])
def test_sampling_refuses_a_backward_clip(sample) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"offset \(frame 3\) lies before the onset \(frame 5\)"):
        sample(5, 3, 6)
    with pytest.raises(ValueError, match="num_frames"):
        sample(0, 3, 0)


def test_special_frames_keep_the_order_asked_for() -> None:
    assert special_frame_indices(2, 5, 9, ["onset", "apex"]).tolist() == [2, 5]
    assert special_frame_indices(2, 5, 9, ["offset", "apex", "apex"]).tolist() == [9, 5, 5]
    with pytest.raises(ValueError, match="peak"):
        special_frame_indices(2, 5, 9, ["onset", "peak"])
    with pytest.raises(ValueError, match="special_frames"):
        special_frame_indices(2, 5, 9, [])
    with pytest.raises(ValueError, match="special_frames"):
        special_frame_indices(2, 5, 9, "apex")


def drawn_clip(
    num_frames: int, apex: int, *, seed: int = 0, drift: float = 2.0, amplitude: float = 1.5, noise: float = 2.0
) -> np.ndarray:
    """A textured disc; a patch of it rises until the apex and falls, while all of it drifts and the sensor hums.

    (T, 120, 120) uint8. Drift is in pixels over the whole clip, amplitude in pixels at the apex.
    """
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.arange(120.0), np.arange(120.0), indexing="ij")
    waves = rng.uniform(-0.35, 0.35, (24, 2))
    phases = rng.uniform(0, 2 * np.pi, 24)
    direction = rng.normal(size=2)
    direction *= drift / np.linalg.norm(direction)
    frames = []
    for t in range(num_frames):
        moved = t / apex if t <= apex else (num_frames - 1 - t) / (num_frames - 1 - apex)
        patch = np.exp(-((x - 40) ** 2 + (y - 80) ** 2) / (2 * 10**2))
        shift_y = direction[0] * t / (num_frames - 1) + amplitude * moved * patch
        shift_x = direction[1] * t / (num_frames - 1)
        texture = sum(
            np.cos(wx * (x - shift_x) + wy * (y - shift_y) + p) for (wx, wy), p in zip(waves, phases, strict=True)
        )
        frames.append(128 + 10 * texture + noise * rng.normal(size=x.shape))
    return np.clip(np.rint(np.stack(frames)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("num_frames", "apex"), [(9, 3), (13, 4), (13, 9), (20, 12)])
def test_apex_is_spotted_under_drift_and_noise(num_frames: int, apex: int) -> None:
    errors = [abs(spot_apex(drawn_clip(num_frames, apex, seed=seed)) - apex) for seed in range(4)]
    assert np.mean(errors) <= 0.5, errors


def test_the_frame_furthest_from_the_onset_would_miss_that_apex() -> None:
    """Guards the test above: with its drift the simple method fails, so the drawn clip is a fair trial."""
    clip = drawn_clip(13, 4).astype(float)
    furthest = int(np.argmax(((clip - clip[0]) ** 2).sum(axis=(1, 2))))
    assert furthest >= 10


def test_spotting_reads_colour_floats_and_parts_of_a_clip_alike() -> None:
    clip = drawn_clip(13, 5)
    apex = spot_apex(clip)
    colour = np.repeat(clip[..., None], 3, axis=-1)
    assert spot_apex(colour) == apex
    assert spot_apex(clip / 255.0) == apex
    assert spot_apex(clip.astype(np.float32)) == apex
    longer = np.concatenate([clip[:1].repeat(4, axis=0), clip, clip[-1:].repeat(3, axis=0)])
    assert spot_apex(longer, onset=4, offset=16) == apex + 4


def test_spotting_small_cases() -> None:
    still = np.full((11, 64, 64), 90, dtype=np.uint8)
    assert spot_apex(still) == 5  # nothing moves: the middle
    assert spot_apex(still[:1]) == 0
    assert spot_apex(still[:2]) == 1
    assert spot_apex(still[:3]) == 1
    assert 0 < spot_apex(drawn_clip(9, 4)[:, :3, :5]) < 8  # a picture smaller than the grid
    assert 0 < spot_apex(drawn_clip(9, 4)[:, :1, :]) < 8  # a line


def test_spotting_refuses_what_is_no_clip() -> None:
    with pytest.raises(ValueError, match=r"\(4, 4\)"):
        spot_apex(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="onset 5 and offset 3"):
        spot_apex(np.zeros((9, 8, 8)), onset=5, offset=3)
    with pytest.raises(ValueError, match="9 frames"):
        spot_apex(np.zeros((9, 8, 8)), offset=9)


def test_long_clips_are_thinned() -> None:
    assert [spotting_stride(n) for n in (1, 256, 257, 512, 513)] == [1, 1, 2, 2, 4]
    num_frames = 2 * MAX_SPOTTING_FRAMES + 20
    apex = 160
    y, x = np.meshgrid(np.arange(32.0), np.arange(32.0), indexing="ij")
    frames = np.empty((num_frames, 32, 32), dtype=np.uint8)
    for t in range(num_frames):
        moved = t / apex if t <= apex else (num_frames - 1 - t) / (num_frames - 1 - apex)
        frames[t] = 128 + 80 * np.sin(x * 0.9 + moved * np.exp(-((x - 10) ** 2 + (y - 20) ** 2) / 30)) * np.cos(y)
    assert abs(spot_apex(frames) - apex) <= 8


def test_apex_error_on_rendered_faces(shared_dir: Path) -> None:
    """Mean distance to the annotated apex on ict_me (rendered faces), over the rows whose annotation is in order."""
    import cv2
    import pandas as pd

    root = shared_dir / "data" / "ict_me"
    if not root.is_dir():
        pytest.skip("needs data/ict_me in the reference data, which is absent")
    errors = []
    for row in pd.read_excel(root / "annotation.xlsx").itertuples():
        onset, apex, offset = int(row.Onset), int(row.Apex), int(row.Offset)
        if not onset < apex <= offset:
            continue
        folder = root / str(row.Subject) / str(row.Filename) / "color"
        frames = [cv2.imread(str(folder / f"{n}.jpg"), cv2.IMREAD_GRAYSCALE) for n in range(onset, offset + 1)]
        if any(frame is None for frame in frames):
            continue
        errors.append(abs(spot_apex(np.stack(frames)) - (apex - onset)))
    assert len(errors) >= 300
    assert np.mean(errors) <= 0.9, f"mean error {np.mean(errors):.3f} frames over {len(errors)} clips"
