"""Names of the protocols, and which of them share people between training and test."""

from __future__ import annotations

PROTOCOLS: tuple[str, ...] = (
    "kfold-clips",
    "kfold-subjects",
    "loso",
    "holdout",
    "leave-one-database-out",
    "kfold-clips-macro",
)
# Published for CASME3: folds of clips, so that a test subject's other clips are in training.
CLIP_LEVEL = "kfold-clips"
# Published for CASME3 as "macro-expressions added to training": the same folds, and the macro-expressions of
# everybody, test subjects included, in the training of each.
CLIP_LEVEL_MACRO = "kfold-clips-macro"
# The protocols whose numbers are on people already seen. No other may share a subject, under any circumstances.
SHARING_SUBJECTS: frozenset[str] = frozenset({CLIP_LEVEL, CLIP_LEVEL_MACRO})
BY_DATABASE = "leave-one-database-out"
