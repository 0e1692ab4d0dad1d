"""Prediction spread over Ray: the local runner's table, whichever worker is lost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ray_word import WORD

from hsta_hf.cli.main import main
from hsta_hf.prediction import runner_ray
from hsta_hf.prediction.clips import ClipRequest, Prediction
from hsta_hf.prediction.parts import make_shares
from hsta_hf.prediction.runner_ray import RayPredictionError, WorkerPlan, _Spread

SHARES = make_shares([ClipRequest(str(number), str(number)) for number in range(12)], None, 3)
PLAN = WorkerPlan({"model": "m"}, {}, 0, 1)


class Call:
    """A call of a stand-in actor: what it will answer or raise."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer


class Actor:
    """Stands in for a worker; answers as its cluster is told to."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.open, self.classify = cluster, self, self
        self.opened = False

    def remote(self, given: Any) -> Call:
        if not self.opened:
            self.opened = True
            return Call(self.cluster.starts.pop(0) if self.cluster.starts else "ready")
        first = given[0].name
        if self.cluster.losses.get(first, 0) > 0:
            self.cluster.losses[first] -= 1
            return Call(RuntimeError(f"lost with {first}"))
        return Call([Prediction(request.name, prediction="x") for request in given])


class Cluster:
    """Stands in for the module ray, so that its trouble can be chosen."""

    def __init__(self, starts: tuple[Any, ...] = (), losses: dict[str, int] | None = None) -> None:
        self.starts, self.losses = list(starts), losses or {}
        self.hired, self.killed = 0, 0

    def remote(self, kind: type) -> Any:
        return self

    def options(self, **fields: Any) -> Any:
        class Hire:
            @staticmethod
            def remote() -> Actor:
                self.hired += 1
                return Actor(self)

        return Hire

    def wait(self, calls: list[Call], num_returns: int) -> tuple[list[Call], list[Call]]:
        assert calls, "waiting for nothing, for ever"
        return calls[:1], calls[1:]

    def get(self, call: Call) -> Any:
        if isinstance(call.answer, Exception):
            raise call.answer
        return call.answer

    def kill(self, actor: Actor) -> None:
        self.killed += 1


def spread(cluster: Cluster, workers: int = 2) -> Iterator[tuple[Any, list[Prediction]]]:
    return _Spread(cluster, PLAN, SHARES, workers, 1, 0).run()


def test_every_share_comes_back_once_and_workers_are_dismissed() -> None:
    cluster = Cluster()
    found = list(spread(cluster))
    assert sorted(share.number for share, _ in found) == [0, 1, 2, 3]
    for share, predictions in found:
        assert [one.name for one in predictions] == [request.name for request in share.requests]
    assert cluster.hired == cluster.killed == 2


def test_a_lost_worker_costs_its_share_only_a_second_try() -> None:
    cluster = Cluster(losses={"3": 2})
    assert sorted(share.number for share, _ in spread(cluster)) == [0, 1, 2, 3]
    assert cluster.hired == 4


def test_a_share_that_fails_again_and_again_is_named_after_the_others_are_done() -> None:
    done = []
    with pytest.raises(RayPredictionError, match="lost with 3"):
        for share, _ in spread(Cluster(losses={"3": 9})):
            done.append(share.number)
    assert sorted(done) == [0, 2, 3]


def test_workers_that_cannot_start_end_it() -> None:
    with pytest.raises(RayPredictionError, match="no worker can start: wrong version"):
        list(spread(Cluster(starts=[RuntimeError("wrong version")] * 9)))
    assert len(list(spread(Cluster(starts=[RuntimeError("once")])))) == 4


def test_without_ray_the_remedy_is_named(
    plain_model: Path,
    videos: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    output = tmp_path / "out.csv"
    assert main(["predict", str(plain_model), str(videos[0]), "--runner", "ray", "--output", str(output)]) == 1
    assert "ray is not installed" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.slow
def test_a_cluster_writes_the_table_that_this_process_would(
    plain_model: Path, videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install 'hsta-hf[ray]'")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", WORD)  # else Ray would write one into the home folder
    (tmp_path / "bad.mp4").write_text("no video")
    table = tmp_path / "clips.csv"
    rows = [f"{videos[n % 7]},0,{n % 4},{4 + n % 2}" for n in range(150)]
    table.write_text("\n".join(["path,onset,apex,offset", *rows[:70], "bad.mp4,,,", *rows[70:]]))
    command = ["predict", str(plain_model), str(table), "--device", "cpu", "--num_threads", "1", "--output"]
    assert main([*command, str(tmp_path / "here.parquet")]) == 1
    spread_out = ["--runner", "ray", "--ray_workers", "2", "--ray_cpus", "1"]
    assert main([*command, str(tmp_path / "there.parquet"), *spread_out]) == 1
    here, there = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("here", "there"))
    pd.testing.assert_frame_equal(here, there)
    assert (tmp_path / "here_failures.csv").read_text() == (tmp_path / "there_failures.csv").read_text()


@pytest.mark.slow
def test_a_worker_with_another_model_is_refused(plain_model: Path) -> None:
    options = {"model": str(plain_model), "device": "cpu"}
    with pytest.raises(RuntimeError, match="finds another model"):
        runner_ray.ShareWorker().open(WorkerPlan(options, {"weights": "other"}, 0, 1))
    with pytest.raises(RuntimeError, match=r"has hsta-hf .* has 0\.0"):
        runner_ray.ShareWorker().open(WorkerPlan(options, {}, 0, 1, version="0.0"))
