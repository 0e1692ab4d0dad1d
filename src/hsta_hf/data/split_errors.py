"""Why a split cannot be made, or must not be."""

from __future__ import annotations

from collections.abc import Sequence

from hsta_hf.data.protocol_names import CLIP_LEVEL


class SplitError(ValueError):
    """A split cannot be made from these clips."""


class SubjectLeakError(SplitError):
    """A subject is in the training and in the test part of the same fold.

    Attributes:
        subjects: The subjects, in order.
    """

    def __init__(self, fold: int, subjects: Sequence[str], protocol: str) -> None:
        self.subjects = tuple(subjects)
        super().__init__(
            f"fold {fold} of a {protocol!r} split trains on subjects that it also tests: "
            f"{', '.join(self.subjects)}. Put all clips of a subject on one side, or use the protocol "
            f"{CLIP_LEVEL!r}, which says in every report that its folds share subjects."
        )


class DatabaseLeakError(SplitError):
    """A fold of a split that leaves databases out trains on clips of the database that it tests.

    Attributes:
        databases: The databases, by `hsta_hf.data.people.sources_of`.
    """

    def __init__(self, fold: int, protocol: str, databases: Sequence[str]) -> None:
        self.databases = tuple(databases)
        super().__init__(
            f"fold {fold} of a {protocol!r} split trains on clips of the database that it tests: "
            f"{', '.join(self.databases)}. Leave all clips of these people out of the fold's training, or use a "
            "protocol by subject."
        )


class FootageLeakError(SplitError):
    """A clip that a fold tests shows pictures that the same fold trains on.

    Attributes:
        test_clip: The tested clip: its id where ids are known, else its position (`clip 17`).
        train_clip: The training clip.
        num_frames: How many different pictures both show.
        num_pairs: How many pairs of clips leak in that fold.
    """

    def __init__(
        self, fold: int, protocol: str, test: tuple[str, str], train: tuple[str, str], num_frames: int, num_pairs: int
    ) -> None:
        (self.test_clip, test_subject), (self.train_clip, train_subject) = test, train
        self.num_frames, self.num_pairs = num_frames, num_pairs
        others = f" {num_pairs - 1} more pairs of clips do so in this fold." if num_pairs > 1 else ""
        super().__init__(
            f"fold {fold} of a {protocol!r} split tests footage that it also trains on: {self.test_clip} (subject "
            f"{test_subject}) and {self.train_clip} (subject {train_subject}) share {num_frames} identical "
            f"frame{'s' * (num_frames != 1)}.{others} Either one of the two is a copy under the wrong name: remove it "
            "from the database, or correct its subject, and prepare again. Or both are one person: give them one "
            f"subject name. Only the protocol {CLIP_LEVEL!r} may share footage, and its reports say how much."
        )
