"""Tables of predictions: whole, in order, without the bad clips, and resumed after a kill."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd
import pytest
from prediction_helpers import BrightFace, crash_on_request, moving_clip, write_video

from hsta_hf.cli.main import main
from hsta_hf.prediction import ClipRequest, Prediction, Predictor
from hsta_hf.prediction.ahead import prepared_ahead
from hsta_hf.prediction.inputs import requests_of
from hsta_hf.prediction.job import local_runner, predict_to_file
from hsta_hf.prediction.parts import PartStore, Share
from hsta_hf.prediction.results import OutputError

needs_sigkill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")


def spoil(folder: Path, source: Path) -> list[Path]:
    """Files that look like videos: empty, text, cut off, damaged in the middle, and a picture."""
    data = source.read_bytes()
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "empty.mp4": b"",
        "text.mp4": b"no video at all\n" * 50,
        "cut.mp4": data[: len(data) // 2],
        "headless.mp4": data[200:],
        "noise.mp4": random.Random(1).randbytes(3000),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def test_bad_files_among_others_are_listed_apart_and_the_rest_is_unharmed(
    plain_model: Path, videos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = spoil(tmp_path / "bad", videos[0])
    mixed = [path for pair in zip(videos, bad, strict=False) for path in pair] + videos[len(bad) :]
    assert main(["predict", str(plain_model), *map(str, mixed), "--output", str(tmp_path / "all.csv")]) == 1
    printed = capsys.readouterr()
    assert all(path.name in printed.err for path in bad) and "7 of 12 clips classified" in printed.out
    failures = pd.read_csv(tmp_path / "all_failures.csv")
    assert failures["path"].tolist() == [str(path) for path in mixed if path in bad]
    assert all(Path(row.path).name in row.error for row in failures.itertuples())
    assert main(["predict", str(plain_model), *map(str, videos), "--output", str(tmp_path / "good.csv")]) == 0
    assert not (tmp_path / "good_failures.csv").exists()
    with_bad, alone = (pd.read_csv(tmp_path / name) for name in ("all.csv", "good.csv"))
    pd.testing.assert_frame_equal(with_bad, alone)
    assert alone["path"].tolist() == [str(video) for video in videos]


def test_the_three_formats_say_the_same_as_the_python_api(
    aligned_model: Path, videos: list[Path], tmp_path: Path, bright_face: Callable[[], BrightFace]
) -> None:
    for name in ("out.parquet", "out.csv", "out.jsonl"):
        assert main(["predict", str(aligned_model), str(videos[0].parent), "--output", str(tmp_path / name)]) == 0
    parquet = pd.read_parquet(tmp_path / "out.parquet")
    from_csv, from_lines = pd.read_csv(tmp_path / "out.csv"), pd.read_json(tmp_path / "out.jsonl", lines=True)
    for other in (from_csv, from_lines):
        pd.testing.assert_frame_equal(parquet, other, check_dtype=False, rtol=1e-12)
    found = Predictor.from_pretrained(aligned_model)([str(video) for video in videos])
    for one, row in zip(found, parquet.to_dict("records"), strict=True):
        assert (one.name, one.prediction, one.onset, one.apex, one.offset) == (
            *(row["path"], row["prediction"], row["onset"], row["apex"], row["offset"]),
        )
        assert row["aligned"] and row["num_faces"] == 1 and row["apex_source"] == "spotted"
        assert {f"score_{label}": score for label, score in one.scores.items()}.items() <= row.items()


def test_all_clips_bad_still_gives_a_table(plain_model: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_text("no video")
    for name in ("one.parquet", "two.csv", "three.jsonl"):
        output = tmp_path / name
        assert main(["predict", str(plain_model), str(tmp_path / "bad.mp4"), "--output", str(output)]) == 1
        assert output.exists() and len(pd.read_csv(tmp_path / f"{output.stem}_failures.csv")) == 1
    assert list(pd.read_parquet(tmp_path / "one.parquet").columns)[-3:] == [
        "score_happy",
        "score_sad",
        "score_surprise",
    ]


def test_a_table_that_is_there_is_not_replaced_unasked(
    plain_model: Path, videos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.csv"
    output.write_text("mine")
    command = ["predict", str(plain_model), str(videos[0]), "--output", str(output)]
    assert main(command) == 1 and output.read_text() == "mine"
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0 and output.read_text() != "mine"
    assert main(["predict", str(plain_model), str(videos[0]), "--output", str(tmp_path / "out.xlsx")]) == 2
    assert main(["predict", str(plain_model), str(videos[0]), "--runner", "ray"]) == 2


class Counted:
    """A local runner that notes what it is asked for, and stops after some shares."""

    def __init__(self, predictor: Predictor, stop_after: int | None = None) -> None:
        self.run, self.stop_after, self.asked = local_runner(predictor, 0), stop_after, 0

    def __call__(self, shares: Sequence[Share]) -> Iterator[tuple[Share, list[Prediction]]]:
        self.asked += sum(len(share.requests) for share in shares)
        for number, done in enumerate(self.run(shares)):
            if number == self.stop_after:
                raise KeyboardInterrupt
            yield done


@pytest.fixture
def many(videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[ClipRequest]:
    """Twenty clips in shares of four, of the same few videos, with a bad one in the second share."""
    monkeypatch.setattr("hsta_hf.prediction.predictor.SHARE", 4)
    (tmp_path / "bad.mp4").write_text("no video")
    requests = [ClipRequest(str(videos[n % 7]), str(videos[n % 7]), 0, 1 + n % 3, 3 + n // 7) for n in range(20)]
    requests[5] = ClipRequest(str(tmp_path / "bad.mp4"), str(tmp_path / "bad.mp4"))
    return requests


def test_what_was_done_before_a_kill_is_taken_over(
    plain_model: Path, many: list[ClipRequest], tmp_path: Path, videos: list[Path]
) -> None:
    predictor = Predictor.from_pretrained(plain_model, device="cpu", batch_size=3)
    whole = tmp_path / "whole.parquet"
    assert predict_to_file(predictor, many, whole, Counted(predictor)) == (1, 0)
    output = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        predict_to_file(predictor, many, output, Counted(predictor, stop_after=2))
    assert not output.exists() and (tmp_path / "out.parquet.partial").is_dir()
    again = Counted(predictor)
    assert predict_to_file(predictor, many, output, again) == (1, 8)
    assert again.asked == 12
    assert output.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "out.parquet.partial").exists()
    assert pd.read_parquet(output)["path"].tolist() == [r.name for n, r in enumerate(many) if n != 5]


def test_other_clips_settings_or_files_take_nothing_over(
    plain_model: Path, many: list[ClipRequest], tmp_path: Path
) -> None:
    predictor = Predictor.from_pretrained(plain_model, device="cpu")
    output = tmp_path / "out.csv"
    with pytest.raises(KeyboardInterrupt):
        predict_to_file(predictor, many, output, Counted(predictor, stop_after=3))
    write_video(tmp_path / "bad.mp4", moving_clip(3))  # the bad file is replaced: its share is done again
    changed = Counted(predictor)
    with pytest.raises(KeyboardInterrupt):
        changed.stop_after = 0
        predict_to_file(predictor, many, output, changed)
    assert changed.asked == 12
    other = Predictor.from_pretrained(plain_model, device="cpu", dtype="bf16")
    everything = Counted(other)
    assert predict_to_file(other, many, output, everything) == (0, 0)
    assert everything.asked == 20


def test_two_commands_do_not_write_one_table(tmp_path: Path) -> None:
    first = PartStore(tmp_path / "out.csv")
    with pytest.raises(OutputError, match="another command is writing it"):
        PartStore(tmp_path / "out.csv")
    first.release()
    PartStore(tmp_path / "out.csv").release()


@pytest.mark.slow
@needs_sigkill
@pytest.mark.parametrize("in_turns", [False, True])
def test_a_clip_that_ends_its_process_costs_no_other(in_turns: bool) -> None:
    requests = [ClipRequest(None, "crash" if number in (3, 11) else str(number)) for number in range(14)]
    found = list(prepared_ahead(crash_on_request, requests, workers=2, ahead=4, in_turns=in_turns))
    assert [one.name for one in found] == [request.name for request in requests]
    for one in found:
        assert isinstance(one, Prediction) and one.error is not None
        assert ("ended the process" in one.error) == (one.name == "crash")


@pytest.mark.slow
@pytest.mark.parametrize(("in_turns", "asked"), [(False, [6, 7, 8, 9]), (True, [6, 6, 6, 6])])
def test_in_turns_no_clip_is_asked_for_while_prepared_ones_are_left(in_turns: bool, asked: list[int]) -> None:
    number_asked = 0

    def requests() -> Iterator[ClipRequest]:
        nonlocal number_asked
        for number in range(20):
            number_asked += 1
            yield ClipRequest(None, str(number))

    found = prepared_ahead(crash_on_request, requests(), workers=2, ahead=4, in_turns=in_turns)
    seen = []
    for number in range(20):
        assert next(found).name == str(number)
        seen.append(number_asked)
    assert seen[:4] == asked and seen[-1] == 20
    assert next(found, None) is None


@pytest.mark.slow
def test_worker_processes_change_nothing(plain_model: Path, videos: list[Path], tmp_path: Path) -> None:
    command = ["predict", str(plain_model), str(videos[0].parent), "--device", "cpu", "--output"]
    for workers in ("0", "2"):
        assert main([*command, str(tmp_path / f"{workers}.parquet"), "--workers", workers]) == 0
    assert (tmp_path / "0.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


@pytest.mark.slow
@needs_sigkill
def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    plain_model: Path, videos: list[Path], tmp_path: Path
) -> None:
    """The command itself, killed again and again, in shares of five clips so that there is something to lose."""
    table = tmp_path / "clips.csv"
    bad = spoil(tmp_path / "bad", videos[0])
    rows = [f"{videos[n % 7]},0,{1 + n % 3},{3 + n % 2}" if n % 9 else f"{bad[n // 9 % 5]},,," for n in range(120)]
    table.write_text("\n".join(["path,onset,apex,offset", *rows]))
    assert len(requests_of([str(table)])) < 120  # some are named twice
    program = tmp_path / "predict.py"
    program.write_text(
        "import sys, time\n"
        "from hsta_hf.cli.main import main\n"
        "import hsta_hf.prediction.predictor as predictor\n"
        "if __name__ == '__main__':\n"
        "    predictor.SHARE = 5\n"
        "    classify = predictor.Predictor.classify\n"
        "    predictor.Predictor.classify = lambda self, clips: (time.sleep(0.1), classify(self, clips))[1]\n"
        "    sys.exit(main(sys.argv[1:]))\n"
    )

    def command(output: Path) -> subprocess.Popen[bytes]:
        words = ["predict", str(plain_model), str(table), "--device", "cpu", "--workers", "0", "--output", str(output)]
        return subprocess.Popen(
            [sys.executable, str(program), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    whole, output = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    assert command(whole).wait(timeout=600) == 1
    chance, kills = random.Random(7), 0
    parts = tmp_path / "out.jsonl.partial"
    for _ in range(4):
        process = command(output)
        wanted = len(list(parts.glob("[0-9]*"))) + 1 if parts.is_dir() else 1
        deadline = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < deadline:
            if parts.is_dir() and len(list(parts.glob("[0-9]*"))) >= wanted:
                break
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.4))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait(timeout=60)
    assert kills >= 3
    if not output.exists():
        assert command(output).wait(timeout=600) == 1
    assert output.read_bytes() == whole.read_bytes()
    assert (tmp_path / "out_failures.csv").read_bytes() == (tmp_path / "whole_failures.csv").read_bytes()
    names = [json.loads(line)["path"] for line in output.read_text().splitlines()]
    failures = pd.read_csv(tmp_path / "out_failures.csv")["path"].tolist()
    requests = requests_of([str(table)])
    assert sorted(names + failures) == sorted(request.name for request in requests)
    assert not parts.exists()
