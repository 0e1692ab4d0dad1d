"""The MEGC 2019 composite on its three members in their owners' layouts."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from owners import casme2
from owners import megc2019 as writer
from owners.casme2 import Casme2Tree
from owners.samm import SammTree
from owners.smic import SmicTree

from hsta_hf.data.databases import DatabaseError, LoadReport, get_database
from hsta_hf.data.databases.megc2019 import MEMBERS, PUBLISHED_COUNTS, RULE
from hsta_hf.data.labels import get_label_scheme


def load(root: Path, **arguments: Any) -> LoadReport:
    return get_database("megc2019").load(root, **arguments)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole composite; tests leave it as it is."""
    return writer.write_published(tmp_path_factory.mktemp("megc"))


@pytest.fixture(scope="module")
def whole(published: Path) -> LoadReport:
    """What the loader makes of the whole composite."""
    return load(published)


@pytest.fixture(scope="module")
def members(published: Path) -> dict[str, LoadReport]:
    """What the members' own loaders make of it."""
    return {name: get_database(name).load(published / folder) for name, folder in writer.FOLDERS.items()}


@contextmanager
def moved_to(outside: Path, *folders: Path) -> Iterator[None]:
    """Folders that are elsewhere for a while."""
    with ExitStack() as stack:
        for number, folder in enumerate(folders):
            stack.callback(folder.rename(outside / str(number)).rename, folder)
        yield


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Path]:
    """Writes two clips per member: one that counts and, in CASME II and SAMM, one that does not."""

    def write(root: Path = tmp_path / "megc", folders: dict[str, str] | None = None, **cropped: bool) -> Path:
        names = writer.FOLDERS if folders is None else folders
        for variant in ("raw", "cropped") if cropped.get("smic") else ("raw",):
            tree = SmicTree(root / names["smic_hs"], variant)
            tree.clip(1, "negative", 1)
            tree.clip(2, "surprise", 1)
        casme2 = Casme2Tree(root / names["casme2"])
        for name, emotion in (("EP01_01", "happiness"), ("EP01_02", "others")):
            casme2.recording(1, name, range(10, 15), ("raw", "cropped") if cropped.get("casme2") else ("raw",))
            casme2.row(1, name, 10, 12, 14, emotion=emotion)
        casme2.save()
        samm = SammTree(root / names["samm"])
        for name, emotion in (("006_1_1", "Contempt"), ("006_1_2", "Other")):
            samm.recording(name, range(10, 15))
            samm.row(name, 10, 12, 14, emotion=emotion)
        samm.save()
        return root

    return write


def test_the_published_composite_arrives(whole: LoadReport):
    report = whole
    assert (len(report.clips), report.row_counts["subjects"]) == (442, {"all": 68})
    by_database = Counter(clip.database for clip in report.clips)
    assert by_database == {"casme2": 145, "smic_hs": 164, "samm": 133}
    assert Counter(clip.emotion for clip in report.clips) == {"negative": 250, "positive": 109, "surprise": 83}
    for name, (negative, positive, surprise, subjects) in writer.PUBLISHED.items():
        own = [clip for clip in report.clips if clip.database == name]
        classes = Counter(clip.emotion for clip in own)
        assert (classes["negative"], classes["positive"], classes["surprise"]) == (negative, positive, surprise)
        assert len({clip.subject for clip in own}) == subjects
    assert report.count_mismatches == () and report.published_counts == PUBLISHED_COUNTS
    assert report.annotation is None and not report.synthetic


def test_every_row_is_a_clip_or_counted_or_reported(whole: LoadReport):
    report = whole
    assert report.num_rows == 164 + 256 + 159
    assert report.left_out == {
        "smic_hs: clips without a micro-expression (non_micro)": 16,
        "casme2: others": 99,
        "casme2: sadness": 7,
        "casme2: fear": 2,
        f"casme2: sub04/EP12_01f, sub05/EP12_03f, sub24/EP02_07, {RULE}": 3,
        "samm: other": 26,
    }
    of_rows = sum(report.left_out.values()) - 16
    assert of_rows + len(report.clips) == report.num_rows


def test_both_versions_of_casme2s_table_arrive_at_145(published: Path, tmp_path: Path):
    casme2.write_published(tmp_path / "CASME2", version=255)
    file = tmp_path / "megc.yaml"
    others = {name: (published / writer.FOLDERS[name]).as_posix() for name in ("smic_hs", "samm")}
    file.write_text("casme2: CASME2\n" + "".join(f"{name}: {path}\n" for name, path in others.items()))
    report = load(file)
    assert (
        report.num_rows == 164 + 255 + 159 and report.left_out[f"casme2: sub04/EP12_01f, sub05/EP12_03f, {RULE}"] == 2
    )
    assert report.count_mismatches == ()


def test_the_three_clips_are_left_out_by_name_and_no_others(whole: LoadReport, members: dict[str, LoadReport]):
    mine = {(clip.subject, clip.filename) for clip in whole.clips if clip.database == "casme2"}
    of_a_class = {
        (clip.subject, clip.filename)
        for clip in members["casme2"].clips
        if clip.emotion in ("happiness", "disgust", "repression", "surprise")
    }
    assert of_a_class - mine == {("sub04", "EP12_01f"), ("sub05", "EP12_03f"), ("sub24", "EP02_07")}
    assert mine <= of_a_class


def test_clips_are_those_of_the_members_but_for_the_class(whole: LoadReport, members: dict[str, LoadReport]):
    own_clips = {clip.clip_id: clip for member in members.values() for clip in member.clips}
    report = whole
    assert len({clip.clip_id for clip in report.clips}) == 442
    for clip in report.clips:
        own = own_clips[clip.clip_id]
        assert (clip.database, clip.subject, clip.frame_paths) == (own.database, own.subject, own.frame_paths)
        assert (clip.onset, clip.apex, clip.offset, clip.fps) == (own.onset, own.apex, own.offset, own.fps)
        assert (clip.action_units, clip.corrections) == (own.action_units, own.corrections)
        assert clip.source == f"{clip.database}: {own.source}"
    scheme = get_label_scheme("three_class")
    labels = scheme.assign(report.clips).labels
    assert labels == scheme.assign([own_clips[clip.clip_id] for clip in report.clips]).labels
    assert Counter(labels) == {0: 250, 1: 109, 2: 83}


def test_no_two_members_share_a_subjects_name(whole: LoadReport):
    owners: dict[str, set[str]] = {}
    for clip in whole.clips:
        owners.setdefault(clip.subject, set()).add(clip.database)
    assert len(owners) == 68 and all(len(databases) == 1 for databases in owners.values())


def test_problems_and_corrections_name_the_member(whole: LoadReport, members: dict[str, LoadReport]):
    report, own = whole, members
    assert len(report.problems) == sum(len(member.problems) for member in own.values()) > 0
    assert len(report.corrections) == sum(len(member.corrections) for member in own.values()) > 0
    expected = [
        (f"{name}/{problem.clip}", f"{name}: {problem.source}", problem.message)
        for name in own
        for problem in own[name].problems
    ]
    assert [(p.clip, p.source, p.message) for p in report.problems] == expected
    assert {correction.clip.split("/")[0] for correction in report.corrections} == {"casme2", "samm"}


def test_published_counts_are_the_challenges():
    assert PUBLISHED_COUNTS["rows"] == {"all": 442} and PUBLISHED_COUNTS["subjects"] == {"all": 68}
    assert PUBLISHED_COUNTS["database"] == {"smic_hs": 164, "casme2": 145, "samm": 133}
    assert PUBLISHED_COUNTS["emotion"] == {"negative": 250, "positive": 109, "surprise": 83}
    for member in MEMBERS:
        names = ("negative", "positive", "surprise", "subjects")
        assert tuple(PUBLISHED_COUNTS[member.name][name] for name in names) == writer.PUBLISHED[member.name]


def test_counts_that_differ_are_said_by_database_and_class(published: Path, whole: LoadReport, tmp_path: Path):
    smiles = (clip for clip in whole.clips if (clip.database, clip.emotion) == ("samm", "positive"))
    lost = (
        published / "SMIC" / "SMIC_all_raw" / "HS" / "s20" / "micro" / "surprise" / "s20_sur_01",
        next(smiles).frame_paths[0].parent,
    )
    with moved_to(tmp_path, *lost):
        report = load(published)
    assert len(report.clips) == 440
    assert report.count_mismatches == (
        "rows all: 440 in the folders, 442 published",
        "database smic_hs: 163 in the folders, 164 published",
        "database samm: 132 in the folders, 133 published",
        "emotion positive: 108 in the folders, 109 published",
        "emotion surprise: 82 in the folders, 83 published",
        "smic_hs surprise: 42 in the folders, 43 published",
        "samm positive: 25 in the folders, 26 published",
    )


@pytest.mark.parametrize(
    "folders",
    [
        {"smic_hs": "smic", "casme2": "casme2", "samm": "samm"},
        {"smic_hs": "SMIC-HS", "casme2": "CASME II", "samm": "SAMM"},
        {"smic_hs": "SMIC_all_raw", "casme2": "CASME_II", "samm": "Samm"},
    ],
)
def test_members_are_found_by_their_folders_names(small: Callable[..., Path], folders: dict[str, str]):
    root = small(folders=folders)
    (root / "notes").mkdir()
    report = load(root)
    assert [clip.clip_id for clip in report.clips] == [
        "smic_hs/s1/s1_ne_01/123",
        "smic_hs/s2/s2_sur_01/123",
        "casme2/sub01/EP01_01/10",
        "samm/006/006_1_1/10",
    ]
    assert [clip.emotion for clip in report.clips] == ["negative", "surprise", "positive", "negative"]
    assert report.left_out == {"casme2: others": 1, "samm: other": 1}


def test_a_member_that_is_not_there_is_named(small: Callable[..., Path]):
    root = small()
    (root / "SAMM").rename(root / "other")
    with pytest.raises(
        DatabaseError, match=r"no folder of samm \(samm, case aside\); ROOT holds: CASME2, SMIC, other"
    ):
        load(root)


def test_two_folders_for_one_member_have_to_be_told_apart(small: Callable[..., Path]):
    root = small()
    (root / "CASMEII").mkdir()
    with pytest.raises(DatabaseError, match="CASME2, CASMEII may all be casme2; give as ROOT a YAML file"):
        load(root)


def test_what_a_members_loader_refuses_names_the_member(small: Callable[..., Path]):
    root = small()
    for table in (root / "CASME2").glob("*.xlsx"):
        table.unlink()
    with pytest.raises(DatabaseError, match=r"^casme2: .*no annotation table found"):
        load(root)


def test_a_yaml_file_says_where_the_members_are(small: Callable[..., Path], tmp_path: Path):
    root = small(folders={"smic_hs": "a/x", "casme2": "b", "samm": "c/d"})
    (root / "b" / "CASME2-coding-20140508.xlsx").rename(tmp_path / "labels.xlsx")
    file = root / "megc.yaml"
    casme2 = f"{{root: {(root / 'b').as_posix()}, annotation: ../labels.xlsx}}"
    file.write_text(f"smic_hs: a/x\ncasme2: {casme2}\nsamm:\n  root: ./c/d\n")
    report = load(file)
    assert [clip.database for clip in report.clips] == ["smic_hs", "smic_hs", "casme2", "samm"]
    assert report.root == root and "casme2: labels.xlsx row 2" in {clip.source for clip in report.clips}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("smic_hs: [", "cannot be read as YAML"),
        ("just text", "has to say where smic_hs, casme2, samm are, these and no others; it is a str"),
        ("{smic_hs: a, casme2: b}", "these and no others; missing: samm$"),
        ("{smic_hs: a, casme2: b, samm: c, other: d}", "no others; unknown: other$"),
        ("{smic_hs: a, casme2: b, sam: c}", r"no others; missing: samm; unknown: sam \(did you mean samm\?\)$"),
        ("{smic_hs: a, casme2: b, samm: 3}", "samm has to be a path, or text for root, annotation, variant"),
        ("{smic_hs: a, casme2: b, samm: {annotation: x}}", r"samm has to be .* it is {'annotation': 'x'}"),
        ("{smic_hs: a, casme2: b, samm: {root: c, labels: x}}", "samm has to be a path"),
        ("{smic_hs: a, casme2: b, samm: {root: 1}}", "samm has to be a path"),
        ("{smic_hs: a, casme2: b, samm: c}", "^smic_hs: .*a is not a folder"),
    ],
)
def test_a_yaml_file_that_does_not_say_it_is_refused(tmp_path: Path, text: str, said: str):
    file = tmp_path / "megc.yml"
    file.write_text(text)
    with pytest.raises(DatabaseError, match=said):
        load(file)


def test_other_roots_and_arguments_are_refused(small: Callable[..., Path], tmp_path: Path):
    for name in ("nowhere", "nowhere.yaml"):
        with pytest.raises(DatabaseError, match="is neither a folder nor a YAML file"):
            load(tmp_path / name)
    root = small()
    with pytest.raises(DatabaseError, match="has no annotation of its own; leave --annotation out"):
        load(root, annotation=root / "CASME2" / "CASME2-coding-20140508.xlsx")
    with pytest.raises(DatabaseError, match="no variant 'grey'; there are raw, cropped"):
        load(root, variant="grey")


def test_raw_frames_are_taken_where_all_members_have_them(small: Callable[..., Path]):
    report = load(small(smic=True, casme2=True))
    assert report.variant == "raw" and report.problems == ()
    assert {clip.variant for clip in report.clips if clip.database != "samm"} == {"raw"}


def test_cropped_frames_beside_whole_ones_are_said(small: Callable[..., Path]):
    root = small(smic=True, casme2=True)
    report = load(root, variant="cropped")
    assert {clip.database: clip.variant for clip in report.clips} == {
        "smic_hs": "cropped",
        "casme2": "cropped",
        "samm": get_database("samm").load(root / "SAMM").variant,
    }
    assert report.variant == "", "prepare has to look at the faces of all of them"
    (problem,) = report.problems
    assert (problem.clip, problem.field, problem.severity) == ("megc2019", "variant", "warning")
    assert problem.message.startswith("frames of smic_hs, casme2 are cropped by the owner, those of samm are not")


def test_a_member_without_raw_frames_is_read_as_it_is(small: Callable[..., Path]):
    root = small(smic=True)
    shutil.rmtree(root / "SMIC" / "SMIC_all_raw")
    report = load(root)
    assert {clip.database: clip.variant for clip in report.clips}["smic_hs"] == "cropped"
    assert {clip.database: clip.variant for clip in report.clips}["casme2"] == "raw"
    (problem,) = report.problems
    assert problem.message.startswith("frames of smic_hs are cropped by the owner, those of casme2, samm are not")


def test_a_member_of_a_yaml_file_may_have_a_variant_of_its_own(small: Callable[..., Path], tmp_path: Path):
    root = small(casme2=True)
    file = tmp_path / "megc.yaml"
    file.write_text("smic_hs: megc/SMIC\ncasme2: {root: megc/CASME2, variant: cropped}\nsamm: megc/SAMM\n")
    clips = load(file).clips
    assert {clip.variant for clip in clips if clip.database == "casme2"} == {"cropped"}
    assert root.is_dir() and len(clips) == 4


@pytest.mark.parametrize("readme", ["README.md", "SAMM/README.md"])
def test_one_synthetic_member_makes_the_composite_synthetic(small: Callable[..., Path], readme: str):
    root = small()
    assert not load(root).synthetic
    (root / readme).write_text("Synthetic, drawn.")
    assert load(root).synthetic and not load(root).published_counts
