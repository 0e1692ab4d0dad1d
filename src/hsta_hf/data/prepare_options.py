"""What `hsta prepare` can be told about the clips, on the command line or in a recipe's `prepare:` section."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from hsta_hf.data.databases import DATABASES
from hsta_hf.optical_flow_hsta import FLOW_METHODS

FACE_MODES = ("auto", "align", "keep")
ALIGNED_SIZE = 224
NO_FLOW = "none"
_SMALLEST_ALIGNED = 16


class PrepareError(ValueError):
    """A dataset cannot be prepared; the message says why and what to do."""


@dataclass(frozen=True)
class FlowOptions:
    """How the stored optical flow is computed; the fields are the processor's `flow_method`, `flow_size`, ...

    Attributes:
        method: "farneback", "dis" or "tvl1".
        height, width: Size in pixels at which flow is computed, and in whose pixels it counts.
        remove_head_motion: Subtract the affine motion that most of the picture shares.
    """

    method: str = "farneback"
    height: int = 224
    width: int = 224
    remove_head_motion: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be computed.

        Raises:
            PrepareError: the method is unknown or the size too small.
        """
        if self.method not in FLOW_METHODS:
            raise PrepareError(f"flow method is {self.method!r}; use one of {', '.join((*FLOW_METHODS, NO_FLOW))}")
        if not all(isinstance(side, int) and not isinstance(side, bool) for side in (self.height, self.width)):
            raise PrepareError(f"flow size must be whole pixels, got {self.height!r} x {self.width!r}")
        if min(self.height, self.width) < 2:
            raise PrepareError(f"flow size must be 2 pixels or more, got {self.height} x {self.width}")
        if not isinstance(self.remove_head_motion, bool):
            raise PrepareError(f"flow remove_head_motion must be true or false, got {self.remove_head_motion!r}")

    def as_dict(self) -> dict[str, Any]:
        """As the manifest has it: method, size {"height", "width"}, remove_head_motion."""
        return {
            "method": self.method,
            "size": {"height": self.height, "width": self.width},
            "remove_head_motion": self.remove_head_motion,
        }


@dataclass(frozen=True)
class PrepareOptions:
    """Options of `hsta prepare` that decide what the dataset holds.

    Attributes:
        variant: Which of the owner's versions of the frames ("raw", "cropped"); None is the database's choice.
        faces: "align" brings the face of each onset frame to one place and cuts all frames of the clip there;
            "keep" leaves frames as they are; "auto" aligns, except for variants that the owner already cropped.
        size: Side in pixels of the square that frames are aligned or resized to. None: 224 where faces are
            aligned, else the frames keep their size.
        max_frames: Cut clips to this many frames from the onset; None keeps all.
        flow: Store the optical flow from onset to apex and from apex to offset; None stores none.
        stabilise: Also undo the head's motion since the onset, frame by frame. None: where faces are aligned.
        face_detector: The detector's ONNX file; None takes the Hub's.
        spot_missing_apex: Spot the apex where it is unknown (`apex_source` is then "spotted"). If False it stays
            null.
    """

    variant: str | None = None
    faces: str = "auto"
    size: int | None = None
    max_frames: int | None = None
    flow: FlowOptions | None = None
    stabilise: bool | None = None
    face_detector: str | Path | None = None
    spot_missing_apex: bool = True

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            PrepareError: names the option and what it may be.
        """
        if self.faces not in FACE_MODES:
            raise PrepareError(f"faces is {self.faces!r}; use one of {', '.join(FACE_MODES)}")
        for name, least in (("size", 1), ("max_frames", 2)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
                raise PrepareError(f"{name} must be a whole number, got {value!r}")
            if value is not None and value < least:
                why = "a number of pixels of 1 or more" if name == "size" else "2 or more, a clip needs two frames"
                raise PrepareError(f"{name} must be {why}; got {value}")
        for name in ("stabilise", "spot_missing_apex"):
            value = getattr(self, name)
            if not isinstance(value, bool) and (name != "stabilise" or value is not None):
                raise PrepareError(f"{name} must be true or false, got {value!r}")
        if self.variant is not None and not isinstance(self.variant, str):
            raise PrepareError(f"variant must be a name, got {self.variant!r}")
        if self.faces == "keep" and self.stabilise:
            raise PrepareError("stabilise needs aligned faces, but faces is 'keep'; leave one of the two out")

    def settled(self, already_aligned: bool) -> PrepareOptions:
        """These options with "auto", the size and stabilising decided for the frames at hand.

        Args:
            already_aligned: Whether the owner has cropped and registered the faces.

        Raises:
            PrepareError: the size is too small for aligned faces, or `stabilise` is asked of frames that are kept.
        """
        faces = self.faces if self.faces != "auto" else "keep" if already_aligned else "align"
        if faces == "keep":
            if self.stabilise:
                raise PrepareError(
                    "stabilise needs aligned faces, but the owner has cropped these and they are kept; leave it out, "
                    "or set faces to 'align'"
                )
            return replace(self, faces=faces, stabilise=False)
        size = ALIGNED_SIZE if self.size is None else self.size
        if size < _SMALLEST_ALIGNED:
            raise PrepareError(f"size of aligned faces must be {_SMALLEST_ALIGNED} pixels or more, got {size}")
        return replace(self, faces=faces, size=size, stabilise=self.stabilise is not False)


# What a recipe's `prepare:` section may say: what belongs to the experiment, not to the machine.
_IN_RECIPES = ("variant", "faces", "size", "max_frames", "flow", "stabilise", "spot_missing_apex")
_FLOW_FIELDS = ("method", "size", "remove_head_motion")


def read_section(
    section: Mapping[str, Any] | None, flow_settings: Mapping[str, Any] | None = None
) -> tuple[str | None, PrepareOptions]:
    """The database and options that a recipe's `prepare:` section asks for.

    Args:
        section: The section; None and an empty one ask for nothing in particular.
        flow_settings: "method", "size" and "remove_head_motion" that `flow` takes where it has none of its own; with a
            recipe, its processor's `flow_settings()`.

    Raises:
        PrepareError: a field is unknown (names the nearest) or its value makes no sense.
    """
    if section is not None and not isinstance(section, Mapping):
        raise PrepareError(f"prepare must hold `field: value` lines, got {section!r}")
    values = dict(section or {})
    for name in values:
        _known(name, ("database", *_IN_RECIPES), "prepare")
    database = values.pop("database", None)
    if database is not None and database not in DATABASES:
        raise PrepareError(f"prepare.database is {database!r}; use one of {', '.join(DATABASES)}")
    if "flow" in values:
        values["flow"] = _read_flow(values["flow"], flow_settings or {})
    defaults = {field.name: field.default for field in fields(PrepareOptions)}
    return database, PrepareOptions(**{**defaults, **values})


def _read_flow(value: Any, settings: Mapping[str, Any]) -> FlowOptions | None:
    """`none`, a method's name, or a mapping; what it leaves out is taken from `settings`."""
    if value is None or value is False or value == NO_FLOW:
        return None
    entries = {} if value is True else {"method": value} if isinstance(value, str) else value
    if not isinstance(entries, Mapping):
        raise PrepareError(f"prepare.flow must be a mapping of {', '.join(_FLOW_FIELDS)}, or none; got {value!r}")
    for name in entries:
        _known(name, _FLOW_FIELDS, "prepare.flow")
    inherited = {name: settings.get(name) for name in _FLOW_FIELDS}
    merged = {k: v for k, v in {**inherited, **entries}.items() if v is not None}
    size = merged.pop("size", None)
    if isinstance(size, Mapping) and set(size) == {"height", "width"}:
        merged |= size
    elif size is not None:
        merged |= {"height": size, "width": size}
    return FlowOptions(**merged)


def _known(name: str, known: tuple[str, ...], where: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        raise PrepareError(f"{where} has no field {name!r}; {hint}")
