"""From a database on disk to clips, a prepared dataset, and folds."""

from hsta_hf.data.clip import MicroExpressionClip
from hsta_hf.data.labels import LABEL_SCHEMES, LabelScheme, get_label_scheme
from hsta_hf.data.prepared import clip_frames, frames_at, load_prepared
from hsta_hf.data.splits import Fold, FootageLeakError, Split, SplitError, SubjectLeakError, make_split

__all__ = [
    "LABEL_SCHEMES",
    "Fold",
    "FootageLeakError",
    "LabelScheme",
    "MicroExpressionClip",
    "Split",
    "SplitError",
    "SubjectLeakError",
    "clip_frames",
    "frames_at",
    "get_label_scheme",
    "load_prepared",
    "make_split",
]
