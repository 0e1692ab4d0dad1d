"""How still the eyes are after alignment, and what aligning every frame anew does to a clip.

    python benchmarks/face_alignment.py casme3 ROOT --face-detector face_detection_yunet_2023mar.onnx
    python benchmarks/face_alignment.py casme3 ROOT --video talking.mp4 --faceless street.mp4

Reads any database that hsta reads, and videos of one face, which are cut into windows that stand for its clips. All
lengths are in per cent of the distance between the eyes in the crop. docs/faces.md says what was found.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from hsta_hf.data.databases import DATABASES, get_database
from hsta_hf.data.decode import FaceNotFoundError, decode_clip, read_frame
from hsta_hf.data.face_alignment import FaceAligner, FaceDetector, OnsetAlignment
from hsta_hf.data.face_geometry import TEMPLATE, compose, fit_similarity, transform_points, warp_similarity
from hsta_hf.optical_flow_hsta import head_motion, optical_flow
from hsta_hf.video_reading_hsta import VideoFileReader

SIZE = 224
TARGET = TEMPLATE * SIZE - 0.5
EYES = TARGET[:2]
EYE_DISTANCE = float(np.linalg.norm(EYES[1] - EYES[0]))
PERCENT = 100 / EYE_DISTANCE
# Copies of a crop, moved by so much, in which the eyes are looked for again.
SHIFTS = ((0.0, 0.0), (2.3, 1.1), (-1.7, 2.6), (3.1, -2.2), (-2.9, -1.3), (0.7, -3.4), (1.4, 3.7), (-3.6, 0.4))


@dataclass(frozen=True)
class Clip:
    """Frames (n, H, W, 3) uint8 RGB, whose they are, and the position of the apex; None if it is unknown."""

    subject: str
    frames: Sequence[np.ndarray]
    apex: int | None = None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database", choices=DATABASES)
    parser.add_argument("root", type=Path, help="the database's folder")
    parser.add_argument("--face-detector", type=Path, help="YuNet's file; default: as hsta prepare finds it")
    parser.add_argument("--video", type=Path, action="append", default=[], help="a video of one face; repeatable")
    parser.add_argument("--window", type=int, default=8, help="frames of a video that make a clip (%(default)s)")
    parser.add_argument("--faceless", type=Path, action="append", default=[], help="a video without faces; repeatable")
    parser.add_argument("--motion-clips", type=int, default=1, help="clips a subject in the tables of motion")
    options = parser.parse_args()

    aligner = FaceAligner(options.face_detector, SIZE, stabilise=True)
    detector = aligner.detector
    assert isinstance(detector, FaceDetector)
    clips = get_database(options.database).load(options.root).clips
    onsets = [Clip(clip.subject, [read_frame(clip.frame_paths[0])]) for clip in clips if clip.frame_paths]
    moving = []
    taken: dict[str, int] = defaultdict(int)
    for clip in clips:
        if clip.apex is not None and taken[clip.subject] < options.motion_clips:
            taken[clip.subject] += 1
            decoded = decode_clip(clip)
            if not isinstance(decoded, tuple) and decoded.clip.apex is not None:
                apex = decoded.clip.frame_numbers.index(decoded.clip.apex)
                moving.append(Clip(clip.subject, list(decoded.frames), apex))
    print(f"# {options.database}: {len(onsets)} clips of {len({clip.subject for clip in onsets})} subjects\n")
    report_eyes(onsets, aligner, detector)
    report_motion(moving, aligner, detector)
    report_known_motion(moving, aligner)
    for path in options.video:
        frames = read_video(path)
        starts = range(0, len(frames) - options.window + 1, options.window)
        windows = [Clip(path.name, frames[start : start + options.window]) for start in starts]
        print(f"# {path.name}: {len(frames)} frames, {len(windows)} windows of {options.window}\n")
        report_eyes(windows, aligner, detector)
        report_motion(windows, aligner, detector)
        report_known_motion(windows, aligner)
    for path in options.faceless:
        report_faceless(path, options.face_detector, detector)


def read_video(path: Path) -> list[np.ndarray]:
    """All frames of a video, (H, W, 3) uint8 RGB."""
    reader = VideoFileReader(path.name, str(path))
    return [picture for _, picture in reader.pictures(0, 1 << 30)]


# --- eyes after alignment ------------------------------------------------------------------------------------------


def report_eyes(clips: list[Clip], aligner: FaceAligner, detector: FaceDetector) -> None:
    """Where the eyes are in the aligned onsets of one subject, by two ways that do not use the fit."""
    faces, fits, kept = [], [], []
    for clip in tqdm(clips, desc="onsets", leave=False):
        found = detector.detect(clip.frames[0])
        try:
            fits.append(aligner.fit(clip.frames[0]))
        except FaceNotFoundError as error:
            print(f"- {clip.subject}: {error}")
            continue
        faces.append(found[0])
        kept.append(clip)
    subjects = np.array([clip.subject for clip in kept])
    common = {
        name: np.mean([f.landmarks for f, s in zip(faces, subjects, strict=True) if s == name], axis=0)
        for name in dict.fromkeys(subjects)
    }
    even = np.ones(5)
    ways = {
        "not aligned": [fit_similarity(common[name], TARGET, even) for name in subjects],
        "five landmarks, found once, equal weights": [fit_similarity(f.landmarks, TARGET, even) for f in faces],
        "FaceAligner": [fit.matrix for fit in fits],
    }
    print(
        f"faces in an onset: {sorted({fit.num_faces for fit in fits})}; lowest score "
        f"{min(fit.face.score for fit in fits):.2f}\n"
    )
    print(
        "| alignment | measured by | spread, mean | spread, worst | subjects below 1 % | per axis, mean | per axis, "
        "worst | farthest clip | error of measuring |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for way, matrices in ways.items():
        crops = [warp_similarity(clip.frames[0], m, SIZE) for clip, m in zip(kept, matrices, strict=True)]
        groups = [[crops[i] for i in np.flatnonzero(subjects == name)] for name in common]
        measures: dict[str, list[tuple[np.ndarray, float]]] = defaultdict(list)
        for group in tqdm(groups, desc=way, leave=False):
            again = np.array([detections(crop, detector) for crop in group])  # (clips, shifts, eyes, 2)
            noise = float(np.sqrt((again - again.mean(axis=1, keepdims=True)).var(axis=1).mean(axis=(0, 1)).sum()))
            measures["detecting again"].append((again[:, 0], noise))
            measures["detecting in 8 shifted copies"].append((again.mean(axis=1), noise / len(SHIFTS) ** 0.5))
            wide, narrow = (registered_eyes(group, half) for half in (0.42, 0.3))
            apart = (wide - np.nanmean(wide, axis=0)) - (narrow - np.nanmean(narrow, axis=0))
            measures["registration (ECC)"].append((wide, float(np.sqrt(np.nanmean((apart**2).sum(axis=-1))))))
        for measure, results in measures.items():
            lost = sum(int(np.isnan(points[..., 0]).sum()) for points, _ in results)
            measure += f", {lost} eyes without a match" if lost else ""
            spread = np.array([spread_of(points) for points, _ in results]) * PERCENT
            doubt = np.sqrt(np.mean([noise**2 for _, noise in results])) * PERCENT
            print(
                f"| {way} | {measure} | {spread[:, 0].mean():.2f} | {spread[:, 0].max():.2f} | "
                f"{(spread[:, 0] < 1).sum()} of {len(spread)} | {spread[:, 1].mean():.2f} | "
                f"{spread[:, 1].max():.2f} | {spread[:, 2].max():.2f} | {doubt:.2f} |"
            )
    print()


def spread_of(points: np.ndarray) -> tuple[float, float, float]:
    """(clips, eyes, 2) to the root mean square distance from an eye's mean place, the same per axis, the farthest."""
    distance = np.linalg.norm(points - np.nanmean(points, axis=0), axis=-1)
    whole = float(np.sqrt(np.nanmean(distance**2)))
    return whole, whole / 2**0.5, float(np.nanmax(distance))


def detections(crop: np.ndarray, detector: FaceDetector) -> np.ndarray:
    """(shifts, 2, 2): the eyes as one search finds them in each moved copy, moved back."""
    places = []
    for shift in SHIFTS:
        moved = warp_similarity(crop, np.array([[1, 0, shift[0]], [0, 1, shift[1]]]), SIZE)
        faces = detector.detect(moved)
        places.append(faces[0].landmarks[:2] - shift if faces else np.full((2, 2), np.nan))
    known = np.nanmean(places, axis=0)
    return np.where(np.isnan(places), known, places)


def registered_eyes(crops: list[np.ndarray], half: float) -> np.ndarray:
    """(clips, 2, 2): how far each eye's surroundings lie from those in the mean of all crops, by sub-pixel ECC.

    Args:
        crops: One subject's aligned onsets.
        half: Half the side of the square around an eye, in eye distances.

    Returns:
        In pixels; NaN where the eye does not match the mean of the others (it is shut, say).
    """
    greys = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32) for crop in crops]
    reach = round(EYE_DISTANCE * half)
    offsets = np.zeros((len(crops), 2, 2))
    for eye, (x, y) in enumerate(np.round(EYES).astype(int)):
        corner = np.array([x - reach, y - reach])
        reference = greys[0]
        for last in (False, False, True):  # first against one clip, then against the mean, which has less noise
            template = reference[y - reach : y + reach + 1, x - reach : x + reach + 1]
            for index, grey in enumerate(greys):
                place = offsets[index, eye] + corner
                found = registered(template, grey, place)
                if found is not None:
                    offsets[index, eye] = found - corner
                elif last:
                    offsets[index, eye] = np.nan
            shown = ~np.isnan(offsets[:, eye, 0])
            moved = [moved_back(greys[i], offsets[i, eye]) for i in np.flatnonzero(shown)]
            reference = np.mean(moved, axis=0, dtype=np.float32)
    return offsets


def registered(template: np.ndarray, grey: np.ndarray, place: np.ndarray) -> np.ndarray | None:
    """(2,) x and y at which `grey` matches `template` best, near `place`; None if nothing does."""
    everywhere = np.full(grey.shape, 255, np.uint8)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-5)
    for blur in (3, 9, 17):  # the sharp picture is the more exact, the blurred one finds its way from further off
        start = np.array([[1, 0, place[0]], [0, 1, place[1]]], np.float32)
        try:
            found = cv2.findTransformECC(template, grey, start, cv2.MOTION_TRANSLATION, stop, everywhere, blur)[1]
        except cv2.error:
            continue
        if np.abs(np.asarray(found)[:, 2] - place).max() < EYE_DISTANCE / 4:
            return np.asarray(found)[:, 2]
    return None


def moved_back(grey: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """A float32 picture, seen `offset` pixels further on."""
    matrix = np.array([[1, 0, -offset[0]], [0, 1, -offset[1]]])
    return cv2.warpAffine(grey, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE)


# --- motion within a clip ------------------------------------------------------------------------------------------


def report_motion(clips: list[Clip], aligner: FaceAligner, detector: FaceDetector) -> None:
    """What the whole face does from frame to frame, by the way frames are aligned, against the expression."""
    totals: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
    for clip in tqdm(clips, desc="motion", leave=False):
        try:
            fit = aligner.fit(clip.frames[0])
            once = [detector.detect(frame)[0].landmarks for frame in clip.frames]
        except (FaceNotFoundError, IndexError):
            print(f"- {clip.subject}: a frame without a face; the clip is left out")
            continue
        alone = [fit_similarity(points, TARGET, np.ones(5)) for points in once]
        ways = {
            "every frame by its own landmarks, found once": alone,
            "every frame by its own FaceAligner": [aligner.fit(frame).matrix for frame in clip.frames],
            "by the onset": [fit.matrix] * len(clip.frames),
            "by the onset, stabilised": [stabilised(fit, frame) for frame in clip.frames],
        }
        for way, matrices in ways.items():
            crops = [warp_similarity(frame, m, SIZE) for frame, m in zip(clip.frames, matrices, strict=True)]
            totals[way].append(motion_of(crops, clip.apex))
    print(f"{len(next(iter(totals.values())))} clips; root mean squares over clips, % of the eye distance.\n")
    print(
        "| frames aligned | shake: whole face, frame to frame | drift: whole face, onset to last frame | "
        "whole face, onset to apex | expression, onset to apex | expression / whole face |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for way, rows in totals.items():
        shake, drift, whole, expression = np.sqrt(np.nanmean(np.square(rows), axis=0)) * PERCENT
        print(f"| {way} | {shake:.2f} | {drift:.2f} | {whole:.2f} | {expression:.2f} | {expression / whole:.2f} |")
    print()


def stabilised(fit: OnsetAlignment, frame: np.ndarray) -> np.ndarray:
    """The matrix by which a stabilised alignment warps a frame."""
    return compose(fit.motion(warp_similarity(frame, fit.matrix, SIZE)), fit.matrix)


def report_known_motion(clips: list[Clip], aligner: FaceAligner) -> None:
    """How exactly stabilising finds a small motion of the head that was added to a frame."""
    chance = np.random.default_rng(0)
    errors = []
    for clip in clips:
        try:
            fit = aligner.fit(clip.frames[0])
        except FaceNotFoundError:
            continue
        for frame in clip.frames[len(clip.frames) // 3 :: max(1, len(clip.frames) // 6)]:
            added = small_motion(chance)
            crop, moved = (warp_similarity(frame, m, SIZE) for m in (fit.matrix, compose(added, fit.matrix)))
            found = transform_points(compose(fit.motion(moved), added), EYES) - transform_points(
                fit.motion(crop), EYES
            )
            errors.append(float(np.linalg.norm(found, axis=1).mean()))
    print(
        f"A known motion of about a pixel, added to {len(errors)} frames: undone at the eyes to within "
        f"{np.mean(errors):.3f} pixels of {SIZE} in the mean, {np.percentile(errors, 95):.3f} at the 95th percentile\n"
    )


def small_motion(chance: np.random.Generator) -> np.ndarray:
    """(2, 3): a move by about a pixel, a turn by about 0.2 degrees and a zoom by about 0.3 per cent, of a crop."""
    turn = (1 + 0.003 * chance.normal()) * np.exp(0.004j * chance.normal())
    matrix = np.array([[turn.real, -turn.imag, 0.0], [turn.imag, turn.real, 0.0]])
    middle = np.full(2, SIZE / 2)
    matrix[:, 2] = middle - matrix[:, :2] @ middle + chance.normal(size=2)
    return matrix


def motion_of(crops: list[np.ndarray], apex: int | None) -> tuple[float, float, float, float]:
    """In pixels: shake, drift, the whole face's motion from onset to apex, and the expression's.

    The whole face's motion is what most of the face shares (a robust affine fit), root mean square over the face. Its
    change from one frame to the next, less the steady part, is shake. The expression is the 95th percentile of what
    is left of the flow from onset to apex; the middle frame stands for an unknown apex.
    """
    middle = len(crops) // 2 if apex is None else apex
    shared = []
    expression = float("nan")
    for index, crop in enumerate(crops[1:], 1):
        flow = face_part(optical_flow(crops[0], crop))
        whole = head_motion(flow)
        shared.append(whole)
        if index == middle:
            expression = float(np.percentile(np.linalg.norm(flow - whole, axis=-1), 95))
    path = np.array([np.zeros_like(shared[0]), *shared])
    steps = np.diff(path, axis=0)
    shake = rms(np.diff(steps, axis=0)) / 6**0.5 if len(steps) > 1 else float("nan")
    return shake, rms(path[-1]), rms(path[middle]), expression


def face_part(flow: np.ndarray) -> np.ndarray:
    """The middle of a crop's flow, which is face in any case."""
    return flow[round(0.2 * SIZE) : round(0.85 * SIZE), round(0.2 * SIZE) : round(0.8 * SIZE)]


def rms(flow: np.ndarray) -> float:
    """Root mean square length of a flow's vectors."""
    return float(np.sqrt((flow.astype(np.float64) ** 2).sum(axis=-1).mean()))


# --- no faces ------------------------------------------------------------------------------------------------------


def report_faceless(path: Path, weights: Path | None, detector: FaceDetector) -> None:
    """What is taken for a face in a video without faces."""
    doubtful = FaceDetector(weights, score_threshold=0.1)
    frames = read_video(path)
    scores = [max((face.score for face in doubtful.detect(frame)), default=0.0) for frame in frames]
    wrong = sum(bool(detector.detect(frame)) for frame in frames)
    print(
        f"# {path.name}: {len(frames)} frames, {wrong} with a face at the threshold {detector.score_threshold:g}; "
        f"highest score of what is none {max(scores):.2f} (0: below 0.1)\n"
    )


if __name__ == "__main__":
    main()
