"""What `hsta predict` takes for clips."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from hsta_hf.prediction.clips import ClipRequest
from hsta_hf.prediction.inputs import InputError, requests_of


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Videos at several depths and folders of frames; the current folder is above."""
    for name in ("videos/b.mp4", "videos/a.AVI", "videos/deep/er/c.mkv", "videos/.hidden.mp4", "videos/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("frames/one/1.png", "frames/one/2.png", "frames/two/1.jpg", "videos/thumbs/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*inputs: str) -> list[str]:
    return [request.name for request in requests_of(inputs)]


def test_files_urls_and_missing_files_are_clips(tree: Path) -> None:
    given = ["videos/b.mp4", "https://example.org/clip.mp4?x=[1]", "none.mp4", "videos/notes.txt"]
    assert names(*given) == given  # whether they can be read shows when they are


def test_a_folder_is_searched_for_videos_at_any_depth(tree: Path) -> None:
    assert names("videos") == ["videos/a.AVI", "videos/b.mp4", "videos/deep/er/c.mkv"]


def test_a_folder_of_frames_is_a_clip_and_so_are_those_in_a_folder_without_videos(tree: Path) -> None:
    assert names("frames/one") == ["frames/one"]
    assert names("frames") == ["frames/one", "frames/two"]


def test_patterns_are_sorted_and_their_folders_do_not_count_beside_files(tree: Path) -> None:
    assert names("videos/*.[mA]*") == ["videos/a.AVI", "videos/b.mp4"]
    assert names("videos/**/*.mkv") == ["videos/deep/er/c.mkv"]
    assert names("frames/*") == ["frames/one", "frames/two"]


def test_a_name_with_brackets_is_a_name(tree: Path) -> None:
    (tree / "odd[1].mp4").touch()
    assert names("odd[1].mp4") == ["odd[1].mp4"]


def test_what_is_named_twice_counts_once(tree: Path) -> None:
    assert names("videos/b.mp4", "videos", "videos/*.mp4") == ["videos/b.mp4", "videos/a.AVI", "videos/deep/er/c.mkv"]


@pytest.mark.parametrize("text", ["none/*.mp4", "empty"])
def test_what_names_no_clips_is_refused(tree: Path, text: str) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(InputError, match=r"no file or folder matches|holds no videos"):
        requests_of([text])


def test_a_table_names_clips_beside_it_and_their_key_frames(tree: Path) -> None:
    (tree / "videos" / "clips.csv").write_text(
        "path,onset,apex,offset,note\nb.mp4,1,4,9,x\nb.mp4,20,,30.0,\ndeep/er/c.mkv,,,,\n"
    )
    assert requests_of(["videos/clips.csv"]) == [
        ClipRequest("videos/b.mp4", "videos/b.mp4", 1, 4, 9),
        ClipRequest("videos/b.mp4", "videos/b.mp4", 20, None, 30),
        ClipRequest("videos/deep/er/c.mkv", "videos/deep/er/c.mkv"),
    ]


def test_wrong_rows_are_named_and_the_others_stay(tree: Path) -> None:
    (tree / "clips.csv").write_text(
        "path;onset;apex;offset\nvideos/b.mp4;1;2;3\nvideos/b.mp4;one;2;3\n;1;2;3\nvideos/a.AVI;5;4;\nx.mp4;-1;;1.5\n"
    )
    errors = [request.error for request in requests_of(["clips.csv"])]
    assert errors[0] is None
    assert "clips.csv row 3: onset is 'one', not the index of a frame" in str(errors[1])
    assert "clips.csv row 4: its path is empty" in str(errors[2])
    assert "clips.csv row 5: onset 5, apex 4 are not in order" in str(errors[3])
    assert "onset is '-1'" in str(errors[4]) and "offset is '1.5'" in str(errors[4])


@pytest.mark.parametrize("text", ["", "onset,apex\n1,2\n", "path,onset\n", "path\n\xff"])
def test_a_table_that_is_none_is_refused(tree: Path, text: str) -> None:
    (tree / "clips.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"clips\.csv"):
        requests_of(["clips.csv"])
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        requests_of(["none.csv"])
