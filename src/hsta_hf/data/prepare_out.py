"""Where `hsta prepare` may write, and how what is there already was made."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hsta_hf.data.databases.base import Database
from hsta_hf.data.prepare_options import PrepareError, PrepareOptions
from hsta_hf.data.prepared import MANIFEST


def check_place(root: Path, out: Path) -> Path:
    """Refuse an OUT that cannot be put in place by a rename, or whose replacement would harm ROOT.

    Returns:
        OUT, with a name of its own.

    Raises:
        PrepareError: OUT is the current folder or one that it is in, OUT is in ROOT, or ROOT in OUT.
    """
    place, here, source = out.resolve(), Path.cwd().resolve(), root.resolve()
    if here.is_relative_to(place):
        what = "the folder that you are in" if here == place else "a folder that you are in"
        raise PrepareError(f"OUT {str(out)!r} is {what} ({place}); name a new folder, as in data/NAME")
    if place == source:
        raise PrepareError(f"OUT is ROOT ({source}), which is only read; name a folder elsewhere")
    if place.is_relative_to(source):
        raise PrepareError(f"OUT {out} is in ROOT {root}, which is only read; name a folder elsewhere")
    if source.is_relative_to(place):
        raise PrepareError(
            f"ROOT {root} is in OUT {out}, and would go when OUT is replaced; name a folder elsewhere for OUT"
        )
    return place if out.name in ("", "..") else out


def compare_settings(
    out: Path, database: Database, options: PrepareOptions, annotation: str | Path | None = None
) -> str:
    """Say whether a finished dataset was made with the settings that are asked for.

    Args:
        out: The prepared dataset.
        database: The database that is asked for.
        options: The options that are asked for, not settled yet.
        annotation: The annotation file that is asked for; None leaves it to the database.

    Returns:
        A sentence after a space: that they are the same, or those that differ, on either side. What was left to the
        database (variant, annotation) counts as the same. "" for a manifest that does not say.
    """
    try:
        manifest: dict[str, Any] = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        variant = str(manifest["variant"]) if options.variant is None else options.variant
        options = options.settled(variant in database.aligned_variants)
        faces = manifest["faces"]
        made = {
            "database": str(manifest["database"]),
            "variant": str(manifest["variant"]),
            **_words(
                size=manifest["size"],
                faces="keep" if faces is None else "align",
                stabilise=faces is not None and bool(faces["stabilise"]),
                max_frames=manifest["max_frames"],
                spotting=bool(manifest["spot_missing_apex"]),
                flow=manifest["flow"],
            ),
        }
        asked = {
            "database": database.name,
            "variant": variant,
            **_words(
                size=options.size,
                faces=options.faces,
                stabilise=bool(options.stabilise),
                max_frames=options.max_frames,
                spotting=options.spot_missing_apex,
                flow=None if options.flow is None else options.flow.as_dict(),
            ),
        }
        if annotation is not None and made["database"] == asked["database"]:
            made["annotation"], asked["annotation"] = str(manifest["annotation"]), Path(annotation).name
        if options.face_detector is not None and faces is not None and Path(options.face_detector).is_file():
            asked["face detector"] = hashlib.sha256(Path(options.face_detector).read_bytes()).hexdigest()[:12]
            made["face detector"] = str(faces["detector"]["sha256"])[:12]
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, PrepareError):
            raise
        return ""
    differ = [name for name in made if made[name] != asked[name]]
    if not differ:
        return " It was made with the settings that you ask for."
    was, wanted = (", ".join(f"{name} {words[name] or '(none)'}" for name in differ) for words in (made, asked))
    return f" It was made with {was}; you ask for {wanted}."


def _words(
    *, size: int | None, faces: str, stabilise: bool, max_frames: int | None, spotting: bool, flow: Any
) -> dict[str, str]:
    """Settings by the names that the command line has for them."""
    words = "none"
    if flow is not None:
        head = "" if flow["remove_head_motion"] else ", head motion kept"
        words = f"{flow['method']} ({flow['size']['height']} x {flow['size']['width']} pixels{head})"
    return {
        "size": "as is" if size is None else str(size),
        "faces": faces,
        "stabilise": "on" if stabilise else "off",
        "max-frames": "none" if max_frames is None else str(max_frames),
        "spotting": "on" if spotting else "off",
        "flow": words,
    }
