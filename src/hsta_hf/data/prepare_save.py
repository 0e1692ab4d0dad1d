"""The last step of `hsta prepare`: joined files become a dataset with a report, a table of clips and pictures."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import datasets
import numpy as np

import hsta_hf
from hsta_hf.data.contact_sheet import FIELDS, ContactSheet, write_contact_sheets
from hsta_hf.data.databases.base import ERROR
from hsta_hf.data.databases.folder import NAME as OWN_FOOTAGE
from hsta_hf.data.disk_space import describe_bytes
from hsta_hf.data.face_detector import DETECTOR_REPOSITORY
from hsta_hf.data.prepare_parts import FinishedClip
from hsta_hf.data.prepare_report import report_lines
from hsta_hf.data.prepared import FEATURES, FORMAT_VERSION, MANIFEST, frames_at

if TYPE_CHECKING:
    from hsta_hf.data.prepare import PrepareReport

REPORT, CLIP_TABLE, SHEETS = "report.md", "clips.csv", "contact_sheets"


def fingerprint(clips: Sequence[FinishedClip]) -> str:
    """Digest of all rows, frames and flow included."""
    return hashlib.sha256("\n".join(clip.digest for clip in clips).encode()).hexdigest()[:16]


def save(folder: Path, files: Sequence[Path], clips: Sequence[FinishedClip], report: PrepareReport) -> None:
    """Make `folder`, which holds the joined files, a whole prepared dataset. What else lies there is replaced.

    Args:
        folder: `dataset` of OUT.partial.
        files: The joined files in it, in order.
        clips: Their rows, in order.
        report: What was done.
    """
    for entry in folder.iterdir():
        if entry not in files:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    _write_dataset_files(folder, files, report)
    dataset = datasets.load_from_disk(str(folder), keep_in_memory=False)
    assert isinstance(dataset, datasets.Dataset)
    load = report.load
    if load.synthetic:
        note = "Synthetic faces."
    elif load.database == OWN_FOOTAGE:
        note = "People's faces: not to be published without their consent."
    else:
        note = "Faces of a licensed database: not to be published."
    rows = [clip.row for clip in clips if clip.row is not None]
    frames_of = partial(frames_at, dataset)
    sheets = write_contact_sheets(folder / SHEETS, rows, frames_of, [clip.digest for clip in clips], note)
    del dataset, frames_of  # it maps the files, and Windows moves no mapped file
    (folder / CLIP_TABLE).write_bytes(_clip_table(clips, report).encode())
    size = sum(path.stat().st_size for path in files)
    lines = [*report_lines(load, report.clips, report.problems), *_way_lines(clips, report, sheets, size)]
    (folder / REPORT).write_bytes(("\n".join(lines).rstrip() + "\n").encode())
    # Last, since its presence is what says that the dataset is whole.
    manifest = json.dumps(_manifest(clips, report), indent=2, ensure_ascii=False)
    (folder / MANIFEST).write_bytes(f"{manifest}\n".encode())


def _write_dataset_files(folder: Path, files: Sequence[Path], report: PrepareReport) -> None:
    """state.json and dataset_info.json, in the words of the installed `datasets`."""
    load = report.load
    described = "synthetic, not people; " if load.synthetic else ""
    description = (
        f"{load.database} ({described}prepared by hsta-hf, format {FORMAT_VERSION}, fingerprint {report.fingerprint})"
    )
    info = datasets.DatasetInfo(description=description, features=FEATURES)
    empty = datasets.Dataset(FEATURES.arrow_schema.empty_table(), info=info, fingerprint=report.fingerprint)
    bars_were_on = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix="empty-") as scratch:
            empty.save_to_disk(scratch)
            state = json.loads((Path(scratch) / "state.json").read_text(encoding="utf-8"))
            state["_data_files"] = [{"filename": path.name} for path in files]
            (folder / "state.json").write_bytes(json.dumps(state, indent=2, sort_keys=True).encode())
            shutil.move(Path(scratch) / "dataset_info.json", folder / "dataset_info.json")
    finally:
        if bars_were_on:
            datasets.enable_progress_bars()


def _manifest(clips: Sequence[FinishedClip], report: PrepareReport) -> dict[str, Any]:
    load, options = report.load, report.options
    faces = None
    if options.faces == "align":
        faces = {
            "mode": "align",
            "size": options.size,
            "stabilise": options.stabilise,
            "detector": dict(report.detector or {}),
        }
    return {
        "format_version": FORMAT_VERSION,
        "fingerprint": report.fingerprint,
        "database": load.database,
        "databases": sorted({clip.database for clip in report.clips}),
        "variant": load.variant,
        "synthetic": load.synthetic,
        "annotation": load.annotation_name,
        "size": options.size,
        "max_frames": options.max_frames,
        "spot_missing_apex": options.spot_missing_apex,
        "faces": faces,
        "flow": None if options.flow is None else options.flow.as_dict(),
        "made_with": {"hsta-hf": hsta_hf.__version__, "opencv": cv2.__version__},
        "num_rows": load.num_rows,
        "num_clips": report.num_clips,
        "num_subjects": len({(clip.database, clip.subject) for clip in report.clips}),
        "apex_sources": dict(Counter(clip.apex_source for clip in report.clips)),
        "problems": [asdict(problem) for problem in report.problems],
        "corrections": [asdict(correction) for correction in report.corrections],
    }


def _way_lines(
    clips: Sequence[FinishedClip], report: PrepareReport, sheets: Sequence[ContactSheet], size: int
) -> list[str]:
    """report.md's second half: what happened to the frames on their way from the files to the dataset."""
    load, options = report.load, report.options
    rows = [clip.row for clip in clips if clip.row is not None]
    faceless = sum(p.field == "face" and p.severity == ERROR for p in report.problems)
    lines = ["## The way of the clips", ""]
    if load.num_rows:
        lines.append(f"- {load.num_rows} rows in the annotation ({load.annotation_name})")
    lines += [f"- {count} of them left out on purpose: {reason}" for reason, count in load.left_out.items()]
    lines.append(f"- {len(load.clips)} have frames on disk and an annotation that can be used")
    if options.max_frames is not None:
        cut = sum(clip.num_frames > options.max_frames for clip in load.clips)
        lines.append(f"- {cut} were cut to {options.max_frames} frames")
    if options.faces == "align":
        lines.append(f"- {faceless} left out since no face was found in the onset frame")
    lines.append(f"- {len(load.clips) - len(clips) - faceless} left out since their files cannot be read")
    lines += [f"- **{len(clips)} are in the dataset**; [{CLIP_TABLE}]({CLIP_TABLE}) has a line for each", ""]

    lines += ["## Faces", "", *_face_lines(rows, faceless, report), ""]
    lines += ["## Optical flow", ""]
    if options.flow is None:
        lines.append("None is stored (`--flow METHOD` stores it); training computes what its recipe asks for.")
    else:
        stored = sum(row["flow_height"] is not None for row in rows)
        head = "taken out" if options.flow.remove_head_motion else "left in"
        lines.append(
            f"Stored for {stored} of {len(rows)} clips, from onset to apex and from apex to offset: "
            f"{options.flow.method}, at {options.flow.height} x {options.flow.width} pixels (height x width), the "
            f"head's motion {head}."
        )
    shapes = Counter((row["height"], row["width"]) for row in rows)
    lines += ["", "## On disk", ""]
    lines.append(f"{describe_bytes(size)} for {sum(row['num_frames'] for row in rows)} frames, as uint8 RGB of")
    lines += [
        f"- {height} x {width} pixels (height x width): {n} clips" for (height, width), n in shapes.most_common()
    ]
    lines += ["", "## Contact sheets", ""]
    if load.database == OWN_FOOTAGE and not load.synthetic:
        lines += [
            "These pictures show people's faces. Without these people's consent (or the agreement of whoever owns the "
            "footage), keep them out of repositories, papers and slides.",
            "",
        ]
    elif not load.synthetic:
        lines += [
            "These pictures show people's faces from a licensed database. The licence does not allow them to be "
            "published: keep them out of repositories, papers and slides.",
            "",
        ]
    lines += [
        "Onset, apex, offset, and apex minus onset times 8 around grey, of a few clips of each class and as many "
        "subjects as possible. Look at them: a face that sits elsewhere, a grey picture where something should move, "
        "or a contour that glows all round (the head moved, or the faces are not aligned) is seen at once.",
        "",
    ]
    for sheet in sheets:
        link = f"[{sheet.value}]({SHEETS}/{sheet.path.name})"
        lines.append(f"- {FIELDS[sheet.field]} {link}: {len(sheet.shown)} of {sheet.num_clips} clips")
    if not sheets:
        lines.append("None: the clips have neither an emotion nor an objective class.")
    return lines


def _face_lines(rows: Sequence[Mapping[str, Any]], faceless: int, report: PrepareReport) -> list[str]:
    options = report.options
    if options.faces != "align":
        how = "as the owner has them" if options.size is None else f"resized to {options.size} x {options.size} pixels"
        why = ""
        if report.kept_since_aligned:
            variant = repr(report.load.variant)
            why = f" The owner has already cropped and registered variant {variant}; --faces align aligns anew."
        return [f"Kept {how}; no detector was used.{why}"]
    counts = Counter(min(row["num_faces"], 2) for row in rows)
    detector = report.detector or {}
    scales = sorted(math.hypot(row["face_matrix"][0], row["face_matrix"][3]) for row in rows)
    lines = [
        f"Aligned: the face of each onset frame was brought to one place in {options.size} x {options.size} pixels by "
        "a similarity (move, turn, scale) from five landmarks, and all frames of the clip were cut out there.",
        "",
        f"- Detector: YuNet, {detector.get('file')} (SHA-256 {detector.get('sha256')}); its home is the Hub "
        f"repository {DETECTOR_REPOSITORY}",
        f"- Stabilised against the head's motion within a clip: {'yes' if options.stabilise else 'no'}",
        f"- Onset frames with no face: {faceless} (left out), with one: {counts[1]}, with several: {counts[2]} "
        "(the largest was taken)",
    ]
    if scales:
        lines.append(
            f"- Scale from source to aligned pixels: {scales[0]:.2f} to {scales[-1]:.2f}, median "
            f"{scales[len(scales) // 2]:.2f} (above 1, faces were enlarged)"
        )
    return lines


def _clip_table(clips: Sequence[FinishedClip], report: PrepareReport) -> str:
    """clips.csv: one line for each clip of the dataset, how it came there."""
    by_source: dict[str, list[str]] = {}
    for problem in report.problems:
        by_source.setdefault(problem.source, []).append(f"{problem.severity}: {problem.field}: {problem.message}")
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
            *("clip_id", "source", "variant", "subject", "emotion", "objective_class", "action_units"),
            *("onset", "apex", "offset", "apex_source", "frames", "frames_missing", "source_width", "source_height"),
            *("faces_found", "face_scale", "face_turn_degrees", "width", "height", "flow", "corrections", "problems"),
        ]
    )
    for clip, record in zip(clips, report.clips, strict=True):
        row = clip.row
        assert row is not None
        scale: Any = ""
        turn: Any = ""
        if row["face_matrix"] is not None:
            matrix = np.reshape(row["face_matrix"], (2, 3))
            scale = f"{math.hypot(matrix[0, 0], matrix[1, 0]):.4f}"
            turn = f"{math.degrees(math.atan2(matrix[1, 0], matrix[0, 0])):.2f}"
        writer.writerow(
            [
                *(row["clip_id"], record.source, row["variant"], row["subject"], row["emotion"]),
                *(row["objective_class"], "+".join(row["action_units"]), row["onset"], row["apex"], row["offset"]),
                *(row["apex_source"], row["num_frames"], row["offset"] - row["onset"] + 1 - row["num_frames"]),
                *(row["source_width"], row["source_height"], row["num_faces"], scale, turn, row["width"]),
                *(row["height"], "yes" if row["flow_height"] is not None else "no", " | ".join(row["corrections"])),
                " | ".join(by_source.get(record.source, [])),
            ]
        )
    return out.getvalue()
