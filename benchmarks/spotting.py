"""How well micro-expressions are spotted in recordings stitched from a database's clips.

    python benchmarks/spotting.py casme3 ROOT WORK --face-detector face_detection_yunet_2023mar.onnx
    python benchmarks/spotting.py casme3 ROOT WORK --run runs/casme3_flow      # and classified by the folds' models

Draws one recording a subject into the folder WORK (kept, with their curves, for the next time), spots in each, and
prints the MEGC metric for either half of the subjects: settings were chosen on the first half, in the database's
order, and the second is what counts. Then what is missed, what false alarms are, and how far onset, apex and offset
are off. It reads clips of picture files only. docs/spotting.md says what was found.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from tqdm import tqdm

from hsta_hf.data.databases import DATABASES, get_database
from hsta_hf.data.face_detector import FaceDetector
from hsta_hf.reporting.files import replacing
from hsta_hf.spotting.intervals import THRESHOLD, Interval, find_intervals
from hsta_hf.spotting.metric import SpottingScore, match, spotting_score
from hsta_hf.spotting.recording import movement_curve, open_recording
from hsta_hf.spotting.rows import MovementCurve
from hsta_hf.spotting.scan import Lengths
from hsta_hf.spotting.stitch import Placed, Plan, draw_recording, plan_recording, read_footage

_THRESHOLDS = (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0)


@dataclass(frozen=True)
class Result:
    """A recording, what is in it, and its curve."""

    subject: str
    video: Path
    plan: Plan
    curve: MovementCurve

    @property
    def truth(self) -> list[tuple[int, int]]:
        return [(item.onset, item.offset) for item in self.plan.placed]


def main() -> None:
    """Stitch, spot, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database", choices=DATABASES)
    parser.add_argument("root", type=Path, help="the database's folder")
    parser.add_argument("work", type=Path, help="folder for the recordings and their curves")
    parser.add_argument("--face-detector", type=Path, help="YuNet's file; default: as hsta prepare finds it")
    parser.add_argument("--subjects", type=int, help="only so many, evenly out of both halves")
    parser.add_argument("--seed", type=int, default=1000, help="of the recordings (%(default)s)")
    parser.add_argument("--threshold", type=float, default=THRESHOLD, help="(%(default)s)")
    parser.add_argument(
        "--blinks", type=float, default=0.5, help="share of still stretches that hold one (%(default)s)"
    )
    parser.add_argument("--run", type=Path, help="run folder: classify with the model that has not seen the subject")
    options = parser.parse_args()

    detector = FaceDetector(options.face_detector)
    clips = defaultdict(list)
    for clip in get_database(options.database).load(options.root).clips:
        clips[clip.subject].append(clip)
    names = list(clips)
    half = -(-len(names) // 2)
    if options.subjects is not None:
        part = max(1, options.subjects // 2)
        names = names[:half][:part] + names[half:][:part]
    results = {}
    for name in tqdm(names, desc="recordings"):
        seed = options.seed + list(clips).index(name)
        plan = plan_recording([read_footage(clip) for clip in clips[name]], seed, blinks=options.blinks)
        video = options.work / f"{name}-{seed}-{options.blinks:g}.mp4"
        if not video.is_file():
            write_recording(video, plan, detector)
        spotted = movement_curve(open_recording(video), detector, Lengths(), video.with_suffix(".curve.npz"))
        results[name] = Result(name, video, plan, spotted.curve)
    first = [results[name] for name in names if name in list(clips)[:half]]
    second = [results[name] for name in names if name in list(clips)[half:]]
    for title, part_results in (("first half (settings were chosen here)", first), ("second half", second)):
        print(f"\n# {title}: {describe(part_results)}\n")
        report_thresholds(part_results)
        report(part_results, options.threshold)
    if options.run is not None:
        report_classes(second, options.threshold, options.run, options.face_detector)


def write_recording(path: Path, plan: Plan, detector: FaceDetector) -> None:
    """Draw a recording and write it, whole or not at all.

    As H.264 that loses nothing: a lossy one takes more noise out of still stretches than out of clips.
    """

    def eyes(frame: np.ndarray) -> np.ndarray | None:
        faces = detector.detect(frame)
        return detector.refine(frame, faces[0]).landmarks[:2] if faces else None

    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=round(plan.fps), options={"qp": "0", "preset": "ultrafast"})
        stream.height, stream.width = plan.footage[0].frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in draw_recording(plan, eyes):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def describe(results: Sequence[Result]) -> str:
    """How much there is."""
    minutes = sum(item.plan.num_frames / item.plan.fps for item in results) / 60
    truth = sum(len(item.truth) for item in results)
    return (
        f"{len(results)} subjects, {minutes:.1f} minutes, {truth} micro-expressions, "
        f"{sum(len(item.plan.blinks) for item in results)} drawn blinks, "
        f"{sum(len(item.plan.turns) for item in results)} turns of the head"
    )


def score(results: Sequence[Result], spot: Callable[[Result], list[tuple[int, int]]]) -> SpottingScore:
    """The metric over recordings, for intervals that `spot` gives."""
    return spotting_score((spot(item), item.truth) for item in results)


def spans(intervals: Iterable[Interval]) -> list[tuple[int, int]]:
    """Onset and offset of each."""
    return [(item.onset, item.offset) for item in intervals]


def report_thresholds(results: Sequence[Result]) -> None:
    """The metric by threshold, and two references that know more or less than they should."""
    print("| intervals | F1 | precision | recall | true | spotted | there |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for threshold in _THRESHOLDS:
        found = score(results, lambda item, t=threshold: spans(find_intervals(item.curve, t)))  # type: ignore[misc]
        print_score(f"threshold {threshold:g}", found)
    print_score("every 0.4 s, whatever is there", score(results, lambda item: _everywhere(item)))
    print_score("random, as many as there are", score(results, lambda item: _random(item)))


def print_score(name: str, found: SpottingScore) -> None:
    """A row of the table."""
    print(
        f"| {name} | {found.f1:.3f} | {found.precision:.3f} | {found.recall:.3f} | {found.true} | {found.spotted} | "
        f"{found.truth} |"
    )


def _everywhere(item: Result) -> list[tuple[int, int]]:
    length = round(0.4 * item.curve.fps)
    return [(start, start + length - 1) for start in range(0, item.curve.num_frames - length, length)]


def _random(item: Result) -> list[tuple[int, int]]:
    rng = np.random.default_rng(item.plan.seed)
    length = round(0.4 * item.curve.fps)
    places = rng.choice(item.curve.num_frames // length, len(item.truth), replace=False)
    return [(int(place) * length, int(place) * length + length - 1) for place in places]


def interval_over_people(results: Sequence[Result], threshold: float, samples: int = 2000) -> tuple[float, float]:
    """95 % percentile bootstrap interval of F1: recordings, one a person, are drawn anew."""
    counts = []
    for item in results:
        found = score([item], lambda one: spans(find_intervals(one.curve, threshold)))
        counts.append((found.true, found.spotted, found.truth))
    drawn = np.random.default_rng(0).integers(len(counts), size=(samples, len(counts)))
    true, spotted, truth = np.array(counts)[drawn].sum(axis=1).T
    low, high = np.percentile(2 * true / (spotted + truth), [2.5, 97.5])
    return float(low), float(high)


def report(results: Sequence[Result], threshold: float) -> None:
    """What is missed, what false alarms are, and how exact the rest is."""
    missed: Counter[str] = Counter()
    there: Counter[str] = Counter()
    alarms: Counter[str] = Counter()
    regions: Counter[str] = Counter()
    off: dict[str, list[float]] = {"onset": [], "apex": [], "offset": []}
    near = still_frames = 0
    for item in results:
        found = find_intervals(item.curve, threshold)
        pairs = match(spans(found), item.truth)
        by_found, by_truth = dict(pairs), {j for _, j in pairs}
        for number, placed in enumerate(item.plan.placed):
            for name in _kinds(placed):
                there[name] += 1
                missed[name] += number not in by_truth
            near += number not in by_truth and any(_touch(s, item.truth[number]) for s in spans(found))
        for number, interval in enumerate(found):
            if number in by_found:
                placed = item.plan.placed[by_found[number]]
                off["onset"].append(interval.onset - placed.onset)
                off["offset"].append(interval.offset - placed.offset)
                if placed.apex is not None and placed.clip.apex_source == "annotated":
                    off["apex"].append(interval.apex - placed.apex)
            else:
                alarms[_alarm(interval, item)] += 1
                regions[interval.region] += 1
        still_frames += item.plan.num_frames - sum(last - first + 1 for first, last in item.truth)
    minutes = still_frames / results[0].plan.fps / 60
    low, high = interval_over_people(results, threshold)
    print(f"\nAt threshold {threshold:g} (F1's 95 % interval over people: {low:.3f} to {high:.3f}):\n")
    total, lost = there["all"], missed["all"]
    print(f"- missed: {lost} of {total}; {near} of these are touched by an interval that overlaps too little")
    for kind in ("class", "AU", "emotion"):
        names = sorted((n for n in there if n.startswith(kind)), key=lambda n: (-missed[n] / there[n], n))
        print(
            f"- missed by {kind}: " + ", ".join(f"{n.removeprefix(kind + ' ')} {missed[n]}/{there[n]}" for n in names)
        )
    said = ", ".join(f"{name} {number}" for name, number in alarms.most_common())
    print(f"- false alarms: {sum(alarms.values())}, {sum(alarms.values()) / minutes:.2f} a minute: {said}")
    print("- strongest region of these: " + ", ".join(f"{name} {number}" for name, number in regions.most_common()))
    for name, values in off.items():
        distance = np.abs(values or [np.nan])
        print(
            f"- {name}: {distance.mean():.2f} frames off on average, {np.mean(distance <= 1):.0%} within one, "
            f"bias {np.mean(values or [np.nan]):+.2f} ({len(values)} intervals)"
        )


def _kinds(placed: Placed) -> list[str]:
    """What a micro-expression counts under."""
    clip = placed.clip
    return ["all", f"class {clip.objective_class}", f"emotion {clip.emotion}", *(f"AU {u}" for u in clip.action_units)]


def _touch(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _alarm(interval: Interval, item: Result) -> str:
    """What is at a false alarm."""
    span = (interval.onset, interval.offset)
    if any(_touch(span, other) for other in item.truth):
        return "a micro-expression, overlapping too little or twice"
    if any(_touch(span, other) for other in item.plan.blinks):
        return "a drawn blink"
    if any(_touch(span, other) for other in item.plan.turns):
        return "a turn of the head"
    starts = item.plan.starts
    lasts = [start + len(footage.frames) for start, footage in zip(starts, item.plan.footage, strict=True)]
    if any(_touch(span, other) for other in zip(starts, lasts, strict=True)):
        return "a join of clip and still stretch"
    return "a still stretch"


def report_classes(results: Sequence[Result], threshold: float, run: Path, detector: Path | None) -> None:
    """How often the model names the class of the spotted intervals, beside the annotated ones of the same clips."""
    from hsta_hf.spotting.classify import classify_intervals, load_classifier

    folds = json.loads((run / "split.json").read_text(encoding="utf-8"))["folds"]
    right: Counter[str] = Counter()
    number = 0
    for item in tqdm(results, desc="classified"):
        fold = next(i for i, fold in enumerate(folds) if item.subject in fold["test_subjects"])
        model = next((run / "folds").glob(f"fold-{fold:02d}-*/model"))
        classifier = load_classifier(str(model), detector)
        found = find_intervals(item.curve, threshold)
        pairs = [(found[i], item.plan.placed[j]) for i, j in match(spans(found), item.truth)]
        known = [Interval(p.onset, p.apex, p.offset, 0.0, "") if p.apex is not None else i for i, p in pairs]
        for name, intervals in (("spotted", [i for i, _ in pairs]), ("annotated", known)):
            answers = list(classify_intervals(item.video, intervals, classifier))
            for answer, (_, placed) in zip(answers, pairs, strict=True):
                right[name] += answer.prediction == placed.clip.emotion
        number += len(pairs)
    print(f"\n# Emotion of the {number} true intervals of the second half, by models that never saw the subject\n")
    for name, count in right.items():
        print(f"- {name} onset, apex, offset: {count / max(number, 1):.3f} right")


if __name__ == "__main__":
    main()
