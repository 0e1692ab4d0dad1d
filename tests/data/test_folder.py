"""A folder of one's own: videos and folders of pictures, one table, and what people write into tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from owners.folder import COLUMNS, FolderTree, write_example

from hsta_hf.data.databases import DatabaseError, LoadReport, get_database
from hsta_hf.data.decode import DecodedClip, decode_clip
from hsta_hf.data.labels import get_label_scheme
from hsta_hf.data.prepare_report import report_lines
from hsta_hf.data.video_facts import video_facts
from hsta_hf.video_reading_hsta import VideoFileReader


def load(root: Path, **arguments: Any) -> LoadReport:
    return get_database("folder").load(root, **arguments)


def messages(report: LoadReport) -> list[tuple[str, str, str]]:
    return [(problem.field, problem.severity, problem.message) for problem in report.problems]


@pytest.fixture
def tree(tmp_path: Path) -> FolderTree:
    return FolderTree(tmp_path / "mine")


def test_a_sound_folder_gives_its_clips_and_no_problem(tmp_path: Path):
    report = load(write_example(tmp_path / "mine"))
    assert report.problems == () and report.corrections == () and report.count_mismatches == ()
    assert report.num_rows == 5 and report.subjects == ("anna", "ben", "carla")
    assert report.row_counts["emotion"] == {"disgust": 1, "happiness": 2, "sadness": 1, "surprise": 1}
    assert report.row_counts["objective_class"] == {"": 1, "I": 2, "II": 1, "III": 1}
    assert [clip.clip_id for clip in report.clips] == [
        "folder/anna/videos_anna/2",
        "folder/anna/videos_anna/10",
        "folder/ben/first/0",
        "folder/ben/ben_smile/8",
        "folder/carla/carla_1/2",
    ]
    assert [(clip.onset, clip.apex, clip.offset, clip.fps) for clip in report.clips] == [
        (2, 4, 8, 50.0),
        (10, 14, 19, 50.0),
        (0, None, 11, 100.0),
        (8, 10, 12, 200.0),
        (2, None, 6, 29.97),
    ]
    assert [clip.apex_source for clip in report.clips] == ["annotated", "annotated", "unknown", "annotated", "unknown"]
    assert [(clip.action_units, clip.objective_class) for clip in report.clips] == [
        (("1", "2"), "II"),
        (("4", "7"), "III"),
        ((), "I"),
        (("12",), "I"),
        ((), None),
    ]
    assert report.clips[1].action_units_raw == "L4+7" and report.clips[0].source == "clips.csv row 2"
    assert get_label_scheme("three_class").assign(report.clips).labels == (2, 0, 1, 1, 0)


def test_frames_are_the_ones_that_the_rows_name(tmp_path: Path):
    root = write_example(tmp_path / "mine")
    clips = load(root).clips
    decoded = [decode_clip(clip) for clip in clips]
    assert all(isinstance(clip, DecodedClip) and clip.problems == () for clip in decoded)
    frames = [clip.frames for clip in decoded if isinstance(clip, DecodedClip)]
    assert [len(shown) for shown in frames] == [7, 10, 12, 5, 5]
    whole = dict(VideoFileReader("anna", str(root / "videos/anna.mp4")).pictures(0, 19))
    assert np.array_equal(frames[0], np.stack([whole[number] for number in range(2, 9)]))
    assert np.array_equal(frames[1], np.stack([whole[number] for number in range(10, 20)]))
    assert [path.name for path in clips[3].frame_paths] == [f"frame_{number}.png" for number in range(8, 13)]
    assert clips[0].video_path == root / "videos/anna.mp4" and clips[0].frame_paths == ()


@pytest.mark.parametrize("name", ["clips.csv", "clips.xlsx", "my clips.xlsx", "Annotation.CSV.csv"])
def test_the_table_may_be_csv_or_xlsx_of_any_name(tree: FolderTree, name: str):
    tree.video("a.mp4")
    tree.row("a.mp4", 7, onset=3, offset=9, fps=30.0, action_units=4, emotion="Anger")
    report = load(tree.save(name))
    (clip,) = report.clips
    assert report.problems == () and report.annotation is not None and report.annotation.name == name
    assert (clip.subject, clip.onset, clip.offset, clip.fps) == ("7", 3, 9, 30.0)
    assert (clip.action_units, clip.emotion) == (("4",), "anger")


def test_the_table_may_lie_elsewhere(tree: FolderTree, tmp_path: Path):
    tree.video("a.mp4")
    tree.row("a.mp4", "x")
    (tree.save("clips.csv") / "clips.csv").rename(tmp_path / "elsewhere.csv")
    assert len(load(tree.root, annotation=tmp_path / "elsewhere.csv").clips) == 1


@pytest.mark.parametrize(("delimiter", "encoding"), [(";", "utf-8"), ("\t", "utf-8"), (";", "utf-8-sig")])
def test_semicolons_tabs_and_decimal_commas_are_read(tree: FolderTree, delimiter: str, encoding: str):
    tree.pictures("b", ["1.png", "2.png", "3.png"])
    tree.row("b", "Zoë", emotion="fear", fps="29,97", action_units="1+2")
    report = load(tree.save(delimiter=delimiter, encoding=encoding))
    (clip,) = report.clips
    assert report.problems == () and (clip.subject, clip.fps, clip.emotion) == ("Zoë", 29.97, "fear")


def test_a_table_that_is_not_utf_8_is_explained(tree: FolderTree):
    tree.row("b", "Zoë")
    with pytest.raises(DatabaseError, match=r"not UTF-8 text.*save it as CSV UTF-8, or as \.xlsx"):
        load(tree.save(delimiter=";", encoding="latin-1"))


def test_only_path_and_subject_are_needed(tree: FolderTree):
    tree.video("a.mp4", 9)
    tree.row("a.mp4", "x")
    report = load(tree.save(columns=("path", "subject")))
    (clip,) = report.clips
    assert report.problems == ()
    assert (clip.onset, clip.apex, clip.offset, clip.apex_source, clip.fps) == (0, None, 8, "unknown", 25.0)
    assert (clip.emotion, clip.objective_class, clip.action_units) == (None, None, ())
    assert report.row_counts == {"rows": {"all": 1}, "subjects": {"all": 1}}


@pytest.mark.parametrize("missing", ["path", "subject"])
def test_without_a_path_or_a_subject_column_the_table_is_refused(tree: FolderTree, missing: str):
    tree.row("a.mp4", "x")
    with pytest.raises(DatabaseError, match=f"missing: {missing}"):
        load(tree.save(columns=[column for column in COLUMNS if column != missing]))


def test_a_column_that_is_not_read_is_said(tree: FolderTree):
    tree.video("a.mp4")
    tree.row("a.mp4", "x", emotion="fear")
    report = load(tree.save(columns=("path", "subject", "Emotions", "notes")))
    assert report.clips[0].emotion is None
    ((field, severity, message),) = messages(report)
    assert (field, severity) == ("columns", "warning")
    assert message.startswith(
        "'Emotions' (did you mean emotion?), 'notes' are not read; the columns that are: path, subject, clip, onset"
    )


@pytest.mark.parametrize(
    ("column", "meant"),
    [("apx", "apex"), ("label", "emotion"), ("Class", "emotion"), ("onsett", "onset"), ("AUs ", "")],
)
def test_a_column_that_is_nearly_one_that_is_read_is_suggested(tree: FolderTree, column: str, meant: str):
    tree.video("a.mp4")
    tree.row("a.mp4", "x")
    report = load(tree.save(columns=("path", "subject", column)))
    said = [message.partition(";")[0] for _, _, message in messages(report)]
    assert said == ([f"{column!r} (did you mean {meant}?) is not read"] if meant else [])


def test_a_column_that_is_there_is_not_suggested(tree: FolderTree):
    tree.video("a.mp4")
    tree.row("a.mp4", "x", emotion="fear")
    ((_, _, message),) = messages(load(tree.save(columns=("path", "subject", "emotion", "emotions"))))
    assert message.startswith("'emotions' is not read;")


def test_an_emotion_that_no_label_scheme_knows_is_said_by_row(tree: FolderTree):
    tree.pictures("b", [f"{number}.png" for number in range(1, 30)])
    for place, emotion in enumerate(("hapiness", "Happiness", "xyzzy", "", "others")):
        tree.row("b", "x", onset=1 + 5 * place, offset=4 + 5 * place, fps=30, emotion=emotion)
    report = load(tree.save())
    assert len(report.clips) == 5 and report.clips[0].emotion == "hapiness"
    said = "is a class of no label scheme: each leaves the clip out"
    assert [(problem.source, problem.field, problem.severity, problem.message) for problem in report.problems] == [
        ("clips.csv row 2", "emotion", "warning", f"'hapiness' {said}; did you mean 'happiness'?"),
        ("clips.csv row 4", "emotion", "warning", f"'xyzzy' {said}"),
    ]


def test_no_emotion_at_all_is_a_line_of_the_report(tree: FolderTree):
    tree.video("a.mp4", 30)
    tree.row("a.mp4", "x", onset=0, offset=9)
    report = load(tree.save())
    assert any(line.startswith("No clip has an emotion:") for line in report_lines(report, report.clips, ()))
    tree.row("a.mp4", "x", onset=10, offset=19, emotion="fear")
    report = load(tree.save())
    assert not any(line.startswith("No clip has") for line in report_lines(report, report.clips, ()))


@pytest.mark.parametrize(
    "path",
    [
        "../outside.mp4",
        "videos/../../outside.mp4",
        "/etc/hostname",
        "//server/share/a.mp4",
        "C:/videos/a.mp4",
        "C:a.mp4",
        "videos\\a.mp4",
        "..\\outside.mp4",
        "a\x07.mp4",
        ".",
        "..",
        "",
    ],
)
def test_a_path_that_leads_out_of_the_folder_is_refused_by_name(tree: FolderTree, path: str):
    tree.video("a.mp4")
    tree.video("../outside.mp4")
    tree.row(path, "x")
    tree.row("a.mp4", "x")
    report = load(tree.save())
    assert [clip.filename for clip in report.clips] == ["a"] and report.num_rows == 2
    ((field, severity, message),) = messages(report)
    assert (field, severity) == ("path", "error")
    assert message == f"{path!r} is no path below ROOT with / between folders; it is refused; the clip is left out"
    assert report.problems[0].source == "clips.csv row 2"


@pytest.mark.parametrize("what", ["video", "folder", "picture", "parent"])
def test_a_link_out_of_the_folder_is_refused(tree: FolderTree, tmp_path: Path, what: str):
    outside = tmp_path / "outside"
    other = FolderTree(outside)
    tree.pictures("b", ["1.png", "2.png", "3.png"])
    path = {"video": "a.mp4", "folder": "c", "picture": "b", "parent": "d/e/a.mp4"}[what]
    if what == "video":
        (tree.root / path).symlink_to(other.video("a.mp4"))
    elif what == "folder":
        other.pictures("c", ["1.png", "2.png"])
        (tree.root / path).symlink_to(outside / "c")
    elif what == "picture":
        (picture,) = other.pictures("c", ["1.png"])
        (tree.root / "b" / "4.png").symlink_to(picture)
    else:
        other.video("e/a.mp4")
        (tree.root / "d").symlink_to(outside)
    tree.row(path, "x", fps=25)
    report = load(tree.save())
    assert report.clips == ()
    assert "is a link out of" in report.errors[0].message and "it is refused" in report.errors[0].message


@pytest.mark.parametrize("what", ["a.mp4", "b"])
def test_a_link_within_the_folder_is_followed(tree: FolderTree, what: str):
    tree.video("there/a.mp4")
    tree.pictures("there/b", ["1.png", "2.png"])
    (tree.root / what).symlink_to(tree.root / "there" / what)
    tree.row(what, "x", fps=25)
    report = load(tree.save())
    assert report.problems == () and len(report.clips) == 1


@pytest.mark.parametrize(
    ("cells", "field", "said"),
    [
        ({"subject": ""}, "subject", "empty; fill in who is seen"),
        ({"subject": "a/b"}, "subject/clip", "subject 'a/b' is not a plain folder name; it is refused"),
        ({"subject": "x", "clip": "../c"}, "subject/clip", "clip '../c' is not a plain folder name; it is refused"),
    ],
)
def test_names_that_are_no_names_are_refused(tree: FolderTree, cells: dict[str, str], field: str, said: str):
    tree.video("a.mp4")
    tree.row("a.mp4", **cells)
    report = load(tree.save())
    assert report.clips == () and messages(report) == [(field, "error", f"{said}; the clip is left out")]


def test_what_is_not_there_is_named(tree: FolderTree):
    tree.row("nothing.mp4", "x")
    tree.row("neither/here", "x")
    report = load(tree.save())
    assert report.clips == ()
    for problem, path in zip(report.problems, ("nothing.mp4", Path("neither") / "here"), strict=True):
        assert problem.message == f"there is no folder or video {tree.root / path}; the clip is left out"
        assert problem.field == "frames"


def test_files_that_are_no_videos_are_named_once_a_row(tree: FolderTree):
    tree.root.joinpath("words.mp4").write_text("this is no video")
    tree.root.joinpath("empty.mp4").write_bytes(b"")
    tree.pictures(".", ["face_1.png"])
    for path in ("words.mp4", "words.mp4", "empty.mp4", "face_1.png"):
        tree.row(path, "x")
    report = load(tree.save())
    assert report.clips == () and [problem.field for problem in report.errors] == ["frames"] * 4
    assert report.problems[0].message.startswith("words.mp4 ") and "not a video" in report.problems[1].message
    assert report.problems[2].message.startswith("empty.mp4 ")
    assert "is one picture; give the folder" in report.problems[3].message


def test_a_video_that_is_cut_off_is_named(tree: FolderTree):
    path = tree.video("a.avi", 200)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    tree.row("a.avi", "x")
    report = load(tree.save())
    assert report.clips == () and messages(report)[0][:2] == ("frames", "error")
    assert report.problems[0].message.startswith("a.avi ") and "cut off" in report.problems[0].message


@pytest.mark.parametrize("ending", [".mp4", ".avi", ".mkv"])
@pytest.mark.parametrize("count", [2, 13])
def test_frames_are_counted_as_they_are_decoded(tree: FolderTree, ending: str, count: int):
    path = tree.video(f"a{ending}", count, fps=50)
    facts = video_facts(path)
    assert (facts.num_frames, facts.fps) == (count, 50.0)
    assert sum(1 for _ in VideoFileReader("a", str(path)).pictures(0, 10**6)) == count


def test_a_video_that_says_its_length_is_listed_without_decoding(tree: FolderTree, monkeypatch: pytest.MonkeyPatch):
    mp4, mkv = tree.video("a.mp4"), tree.video("a.mkv")

    def refuse(self: VideoFileReader) -> Any:
        raise AssertionError("decoded")

    monkeypatch.setattr(VideoFileReader, "_decode", refuse)
    assert video_facts(mp4).num_frames == 12
    with pytest.raises(AssertionError, match="decoded"):
        video_facts(mkv)


def test_a_video_of_many_rows_is_looked_at_once(tree: FolderTree, monkeypatch: pytest.MonkeyPatch):
    from hsta_hf.data.databases import folder

    tree.video("a.mp4", 30)
    for onset in range(0, 30, 3):
        tree.row("a.mp4", "x", onset=onset, offset=onset + 2)
    looked: list[Path] = []
    monkeypatch.setattr(folder, "video_facts", lambda path: (looked.append(path), video_facts(path))[1])
    report = load(tree.save())
    assert len(report.clips) == 10 and report.problems == () and len(looked) == 1
    assert len({clip.clip_id for clip in report.clips}) == 10


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["9.jpg", "10.jpg", "11.jpg"], (9, 10, 11)),
        (["reg_img9.png", "reg_img10.png"], (9, 10)),
        (["cam2_0007_left.png", "cam2_0008_left.png"], (7, 8)),
        (["take 3 (1).bmp", "take 3 (2).bmp"], (1, 2)),
        (["A0.PNG", "a1.png"], (0, 1)),
    ],
)
def test_pictures_are_numbered_by_the_last_digits_in_natural_order(
    tree: FolderTree, names: list[str], numbers: tuple[int, ...]
):
    tree.pictures("b", names)
    tree.row("b", "x", fps=30)
    report = load(tree.save())
    assert report.problems == () and report.clips[0].frame_numbers == numbers
    assert [path.name for path in report.clips[0].frame_paths] == names


def test_gaps_in_the_numbers_are_reported_and_the_rest_kept(tree: FolderTree):
    tree.pictures("b", [f"{number}.png" for number in (1, 2, 5, 6, 8)])
    tree.row("b", "x", fps=30)
    report = load(tree.save())
    assert report.clips[0].frame_numbers == (1, 2, 5, 6, 8)
    assert messages(report) == [("frames", "error", "3 of 8 missing: 3-4, 7")]


def test_pictures_that_are_no_frames_are_said_once_a_folder(tree: FolderTree):
    tree.pictures("b", ["1.png", "01.png", "2.png", "3.png", "face.png"])
    (tree.root / "b" / "notes.txt").write_text("x")
    tree.row("b", "x", fps=30, offset=2)
    tree.row("b", "x", fps=30, onset=2)
    report = load(tree.save())
    assert len(report.clips) == 2
    assert messages(report) == [
        ("frames", "error", "1.png: a number that another picture of the folder has, too; left out"),
        ("frames", "warning", "face.png: no number in the name; not taken for frames"),
    ]


def test_a_folder_without_frames_is_named(tree: FolderTree):
    tree.pictures("b", ["face.png"])
    tree.row("b", "x", fps=30)
    report = load(tree.save())
    assert report.clips == ()
    assert report.problems[0].message.startswith(f"there is no frame in {tree.root / 'b'}: no picture (.bmp, .jpeg")


@pytest.mark.parametrize(
    ("path", "fps", "said"),
    [
        ("b", "", "empty, and pictures do not say: fill in the column"),
        ("b", "fast", "'fast' is not a number of frames per second"),
        ("b", "0", "'0' is not a number of frames per second"),
        ("a.mp4", "-25", "'-25' is not a number of frames per second"),
    ],
)
def test_a_rate_that_is_not_known_is_an_error(tree: FolderTree, path: str, fps: str, said: str):
    tree.video("a.mp4")
    tree.pictures("b", ["1.png", "2.png"])
    tree.row(path, "x", fps=fps)
    report = load(tree.save())
    assert report.clips == () and messages(report) == [("fps", "error", f"{said}; the clip is left out")]


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ({"onset": "x"}, [("onset", "error", "'x' is not a frame number; the clip is left out")]),
        ({"onset": 12}, [("Onset", "error", "there is no frame 12 on disk; the clip is left out")]),
        ({"offset": 15}, [("Offset", "error", "there is no frame 15 on disk; 11, the last before it, is used")]),
        ({"apex": "/"}, [("Apex", "warning", "not annotated; the apex is spotted instead")]),
        (
            {"onset": 3, "apex": 2},
            [("Apex", "warning", "2 is before the onset 3; the apex is spotted instead")],
        ),
        (
            {"onset": 5, "offset": 4},
            [("Offset", "warning", "4 is not after the onset 5; 11, the last frame of the unbroken run, is used")],
        ),
        ({"objective_class": "IX"}, [("objective_class", "error", "'IX' is none of I to VII; it is left out")]),
        (
            {"action_units": "4+brow"},
            [("action_units", "warning", "'brow' is no action unit; action units read: 4")],
        ),
        (
            {"action_units": "R12 or 15"},
            [("action_units", "warning", "of alternatives the first is used, not 15; action units read: 12")],
        ),
    ],
)
def test_cells_that_cannot_be_right_are_reported(tree: FolderTree, cells: dict[str, Any], found: list[Any]):
    tree.video("a.mp4", 12)
    tree.row("a.mp4", "x", **cells)
    assert messages(load(tree.save())) == found


def test_the_class_in_the_table_wins_over_the_action_units(tree: FolderTree):
    tree.video("a.mp4")
    tree.row("a.mp4", "x", objective_class="v", action_units="12")
    assert load(tree.save()).clips[0].objective_class == "V"


def test_rows_about_the_same_frames_are_one_clip(tree: FolderTree):
    tree.video("a.mp4")
    tree.row("a.mp4", "x", emotion="fear")
    tree.row("./a.mp4", "x", emotion="fear", onset=0)
    tree.row("a.mp4", "y", emotion="fear")
    report = load(tree.save())
    assert [clip.subject for clip in report.clips] == ["x"]
    assert messages(report) == [
        ("row", "warning", "repeats clips.csv row 2 about the same frames; this row is left out"),
        ("row", "error", "contradicts clips.csv row 2 about the same frames; this row is left out"),
    ]


def test_clips_of_one_name_have_ids_of_their_own(tree: FolderTree):
    for path in ("a.mp4", "b.mp4", "c.mp4"):
        tree.video(path)
        tree.row(path, "x", clip="take")
    tree.row("a.mp4", "x", clip="take", offset=5)
    report = load(tree.save())
    assert report.problems == ()
    assert [clip.clip_id for clip in report.clips] == [
        "folder/x/take/0",
        "folder/x/take/0-11",
        "folder/x/take/0-11-2",
        "folder/x/take/0-5",
    ]


def test_a_readme_that_calls_it_synthetic_marks_it_so(tmp_path: Path):
    root = write_example(tmp_path / "mine")
    assert not load(root).synthetic
    (root / "README.md").write_text("Synthetic faces, drawn.")
    assert load(root).synthetic


def test_errors_of_the_whole_folder_say_what_to_do(tree: FolderTree, tmp_path: Path):
    with pytest.raises(DatabaseError, match="is not a folder; give the folder that the paths"):
        load(tmp_path / "nowhere")
    with pytest.raises(DatabaseError, match=r"no annotation table found. Expected clips.csv .*path, subject"):
        load(tree.root)
    tree.save("clips.csv")
    with pytest.raises(DatabaseError, match="leave the variant 'raw' out"):
        load(tree.root, variant="raw")
    tree.row("a.mp4", "x")
    tree.save("clips.xlsx")
    with pytest.raises(DatabaseError, match=r"several annotation tables \(clips.csv, clips.xlsx\); name one"):
        load(tree.root)


def test_videos_of_the_reference_data_are_listed(shared_dir: Path, tmp_path: Path):
    table = tmp_path / "clips.csv"
    table.write_text("path;subject\nsingle_face.mp4;one\nno_face.mp4;none\n")
    report = load(shared_dir / "media", annotation=table)
    assert report.problems == () and len(report.clips) == 2
    for clip in report.clips:
        assert clip.video_path is not None
        read = sum(1 for _ in VideoFileReader(clip.filename, str(clip.video_path)).pictures(0, 10**6))
        assert clip.num_frames == read
