"""benchmarks/model_speed.py: rows and columns, FLOPs against formulas, going on from a file. Not its times."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The script's modules, imported as when it runs: with its folder on the path."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    names = ("model_speed", "model_speed_report", "model_speed_worker")
    return {name: importlib.import_module(name) for name in names}


def run_script(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "model_speed.py"), "--device", "cpu", "--threads", "1", *options]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def rows_of(markdown: str, first: str) -> list[dict[str, str]]:
    """The table whose first column is called `first`."""
    lines = markdown.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    cells = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        cells.append([value.strip() for value in line.strip("|").split("|")])
    assert all(len(row) == len(cells[0]) for row in cells)
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


# ---- FLOPs, for the toy size: width 64, 2 heads, 128 between, 64 pixels (4 x 4 patches of 16), tubelets of 2 frames

WIDTH, HEADS, BETWEEN, PLACES, PATCH, LABELS = 64, 2, 128, 16, 2 * 16 * 16 * 3, 7


def convolution(tubelets: int) -> int:
    return 2 * tubelets * PLACES * PATCH * WIDTH


def encoder_layer(tokens: int) -> int:
    linears = 4 * WIDTH * WIDTH + 2 * WIDTH * BETWEEN  # query, key, value, output, and the two of the MLP
    return 2 * tokens * linears + 2 * 2 * tokens * tokens * WIDTH


def one_way_crossing(tokens: int) -> int:
    """One [CLS] over `tokens`: MLP1, query, key, value, output and MLP2 once each; scores and mean per head."""
    return 2 * 6 * WIDTH * WIDTH + 2 * 2 * HEADS * tokens * WIDTH


def test_videomae_flops_follow_the_formula(benchmark: dict[str, Any]) -> None:
    worker = benchmark["model_speed_worker"]
    model = worker.build_model("videomae", "smoke", 0.0)
    inputs = worker.make_inputs(model, 3, torch.device("cpu"), torch.float32)
    rest = 2 * encoder_layer(8 * PLACES) + 2 * WIDTH * LABELS
    assert worker.count_flops(model, inputs, training=False) == 3 * (convolution(8) + rest)
    # Backward: products twice more, the convolution once (nothing needs the gradient of the pixels).
    assert worker.count_flops(model, inputs, training=True) == 3 * (2 * convolution(8) + 3 * rest)


@pytest.mark.parametrize("reduction", [0.0, 0.5])
def test_hsta_flops_follow_the_formula_with_and_without_merged_tokens(
    benchmark: dict[str, Any], reduction: float
) -> None:
    worker = benchmark["model_speed_worker"]
    model = worker.build_model("hsta-efficient" if reduction else "hsta", "smoke", reduction)
    inputs = worker.make_inputs(model, 1, torch.device("cpu"), torch.float32)
    all_video, special = 1 + 3 * PLACES, 1 + PLACES
    video = all_video - int(reduction * 3 * PLACES)
    merging = 2 * video * all_video * WIDTH if reduction else 0
    # Two HSTA layers with one USTA layer a stream.
    layers = encoder_layer(video) + encoder_layer(special) + one_way_crossing(video) + one_way_crossing(special)
    rest = 2 * layers + 2 * 2 * WIDTH * LABELS
    images = convolution(3) + convolution(1)
    assert worker.count_flops(model, inputs, training=False) == images + merging + rest
    assert worker.count_flops(model, inputs, training=True) == 2 * (images + merging) + 3 * rest


# ---- the report, from numbers made up here


def made_up_run(benchmark: dict[str, Any], seconds: dict[str, list[float]]) -> dict[str, Any]:
    """A run with 100 GFLOP a clip for all, products of 100 and 300 GFLOP/s around each call, rounds 1.0, 1.1, …"""
    rows = {}
    for name, times in seconds.items():
        samples = [
            {"round": f"1.{i}", "seconds": s, "product": [1e11, 3e11], "given": 1.0} for i, s in enumerate(times)
        ]
        rows[name] = {"samples": samples, "product_shape": "2 x 2 x 2", "memory": 2**30, "done": True}
    flops = {m: {"inference": 10**11, "training": 3 * 10**11} for m in ("hsta", "hsta-efficient", "videomae")}
    settings = {"size": "base", "device": "cpu", "token_reduction": 0.5}
    machine = {"cpu": "a CPU", "threads": 2, "torch": "2", "transformers": "5", "gpu": None, "tf32": None}
    return {"settings": settings, "machine": machine, "flops": flops, "rows": rows, "stretch": 1}


def test_report_takes_shares_and_ratios_within_rounds(benchmark: dict[str, Any]) -> None:
    report = benchmark["model_speed_report"]
    times = {
        "inference/b1/hsta/fp32/eager": [1.0, 2.0, 0.5],
        "inference/b1/hsta/bf16/eager": [0.5, 1.0, 0.5],
        "inference/b1/hsta-efficient/fp32/eager": [0.25, 0.5],
        "inference/b1/videomae/fp32/eager": [4.0, 6.0, 2.0],
    }
    run = made_up_run(benchmark, times)
    args = benchmark["model_speed"].parse(["--device", "cpu", "--batches", "1", "--configs", "inference/*/eager"])
    cells = benchmark["model_speed"].plan(args)
    assert [c.name for c in cells if c.name in times] == list(times)  # fp32 before bf16, in the order of the models
    markdown = report.report(cells, run)
    full = rows_of(markdown, "step")[0]
    assert full["share of product"] == "50%"  # 100 GFLOP in 1 s, the products' mean is 200
    assert full["best/best"] == "67%"  # 100 GFLOP in 0.5 s over the fastest product, 300
    assert full["clips/s (slowest-fastest)"] == "1 (0.5-2)"
    assert full["peak memory"] == "1024 MiB"
    assert rows_of(markdown, "step")[5]["clips/s (slowest-fastest)"].startswith("not measured yet")
    judged = {(row["target"], row["row"]): row for row in rows_of(markdown, "target")}
    assert judged["share of product", "inference/b1/hsta/fp32/eager"]["measured"] == "50%"
    assert "not met" in judged["share of product", "inference/b1/hsta/fp32/eager"].values()
    assert judged["efficient over full", "inference/b1/hsta-efficient/fp32/eager"]["measured"] == "4.00x"
    assert judged["over VideoMAE", "inference/b1/hsta/fp32/eager"]["measured"] == "4.00x"
    assert "met" in judged["over VideoMAE", "inference/b1/hsta/fp32/eager"].values()
    assert judged["bf16 over fp32", "inference/b1/hsta/bf16/eager"]["measured"] == "2.00x"
    assert judged["over VideoMAE", "inference/b1/hsta/bf16/eager"]["measured"] == "not measured"


def test_no_ratio_between_rounds_of_two_stretches(benchmark: dict[str, Any]) -> None:
    run = made_up_run(benchmark, {"inference/b1/hsta/fp32/eager": [1.0], "inference/b1/hsta/bf16/eager": [1.0]})
    cell = benchmark["model_speed_report"].Cell
    fp32, bf16 = cell("inference", 1, "hsta", "fp32", False), cell("inference", 1, "hsta", "bf16", False)
    ratio = benchmark["model_speed_report"].speed_ratio
    assert ratio(bf16, fp32, run) == 1.0
    run["rows"][fp32.name]["samples"][0]["round"] = "2.0"
    assert ratio(bf16, fp32, run) is None


def test_a_busy_cpu_is_said_to_be_busy(benchmark: dict[str, Any]) -> None:
    run = made_up_run(benchmark, {"inference/b1/hsta/fp32/eager": [1.0]})
    assert "busy" not in " ".join(benchmark["model_speed_report"].notes(run))
    run["rows"]["inference/b1/hsta/fp32/eager"]["samples"][0]["given"] = 0.5
    assert "machine was busy" in " ".join(benchmark["model_speed_report"].notes(run))


# ---- options and the file


def test_videomae_rows_left_out_on_a_cpu_say_how_to_run_them(benchmark: dict[str, Any]) -> None:
    script = benchmark["model_speed"]
    args = script.parse(["--device", "cpu"])
    names = {cell.name for cell in script.plan(args) if script.left_out(cell, args)}
    assert names == {c.name for c in script.plan(args) if "videomae" in c.name and c.compiled} | {
        f"training/b8/videomae/{dtype}/eager" for dtype in ("fp32", "bf16")
    }
    every = script.parse(["--device", "cpu", "--all"])
    assert not [cell for cell in script.plan(every) if script.left_out(cell, every)]
    assert "--all" in script.left_out(next(c for c in script.plan(args) if c.name in names), args)


def test_gpu_runs_batch_32_too(benchmark: dict[str, Any]) -> None:
    script = benchmark["model_speed"]
    assert {cell.batch for cell in script.plan(script.parse(["--device", "cuda"]))} == {1, 8, 32}
    assert {cell.batch for cell in script.plan(script.parse(["--device", "cpu"]))} == {1, 8}


def test_a_file_of_other_settings_is_left_alone(benchmark: dict[str, Any], tmp_path: Path) -> None:
    script, path = benchmark["model_speed"], tmp_path / "speed.json"
    options = ["--device", "cpu", "--threads", "1", "--json", str(path)]
    script.save(script.load(script.parse(options)), path)
    before = path.read_text()
    assert script.load(script.parse(options)) == json.loads(before)
    with pytest.raises(SystemExit, match=r"threads=1 there and 2 here.*another --json"):
        script.load(script.parse([*options, "--threads", "2"]))
    assert path.read_text() == before
    path.write_text("[]")
    with pytest.raises(SystemExit, match="no file of this script"):
        script.load(script.parse(options))


def test_configs_that_fit_no_row_are_refused() -> None:
    result = run_script("--quick", "--configs", "inference/b7/*")
    assert result.returncode == 2
    assert "fits no row" in result.stderr


@pytest.mark.slow  # two workers import torch and transformers
def test_a_row_that_fails_says_why_and_the_rest_goes_on(tmp_path: Path) -> None:
    result = run_script("--quick", "--configs", "inference/*/hsta*/fp32/eager", "--token_reduction", "7")
    assert result.returncode == 0, result.stderr
    full, efficient = rows_of(result.stdout, "step")
    assert "token_reduction" in efficient["clips/s (slowest-fastest)"]
    assert efficient["GFLOP/clip"] == "n/a"
    assert full["rounds"] == "2"


@pytest.mark.slow
def test_quick_run_has_its_rows_and_columns_and_goes_on_from_its_file(
    benchmark: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "speed.json"
    options = ("--quick", "--configs", "*/eager,inference/*/hsta/fp32/compiled", "--json", str(path))
    result = run_script(*options)
    assert result.returncode == 0, result.stderr
    rows = rows_of(result.stdout, "step")
    assert tuple(rows[0]) == benchmark["model_speed_report"].COLUMNS
    assert [(r["step"], r["model"], r["dtype"], r["compiled"]) for r in rows] == [
        ("inference", "HSTA", "fp32", "no"),
        ("inference", "HSTA", "fp32", "yes"),
        ("inference", "HSTA", "bf16", "no"),
        *(
            (step, model, dtype, "no")
            for step in ("inference", "training")
            for model in ("HSTA", "HSTA efficient", "VideoMAE, 16 frames")
            for dtype in ("fp32", "bf16")
            if (step, model) != ("inference", "HSTA")
        ),
    ]
    eager = [row for row in rows if row["compiled"] == "no"]
    assert [row["rounds"] for row in eager] == ["2"] * len(eager), result.stdout  # compiling needs a C++ compiler
    assert all(float(row["GFLOP/clip"]) > 0 and float(row["product GFLOP/s"]) > 0 for row in eager)
    full = {row["step"]: float(row["GFLOP/clip"]) for row in eager if row["model"] == "HSTA"}
    efficient = {row["step"]: float(row["GFLOP/clip"]) for row in eager if row["model"] == "HSTA efficient"}
    assert all(efficient[step] < full[step] for step in full)
    assert "Matrix product, bf16" in result.stdout and "Machine: " in result.stdout

    # As if the training group had been interrupted: only it is measured again.
    run = json.loads(path.read_text())
    kept = {name: row for name, row in run["rows"].items() if name.startswith("inference")}
    for name, row in run["rows"].items():
        if name.startswith("training"):
            row.pop("done")
            row["samples"] = row["samples"][:1]
    path.write_text(json.dumps(run))
    again = run_script(*options)
    assert again.returncode == 0, again.stderr
    assert "inference/b1: already in" in again.stderr
    after = json.loads(path.read_text())["rows"]
    assert {name: after[name] for name in kept} == kept
    assert all(len(row["samples"]) == 2 and row["done"] for name, row in after.items() if name.startswith("training"))


@pytest.mark.slow
def test_ending_it_ends_its_worker_and_prints_what_there_is(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "model_speed.py"), "--device", "cpu", "--threads", "1", "--quick"]
    process = subprocess.Popen(
        [
            *command,
            "--json",
            str(tmp_path / "run.json"),
            "--configs",
            "inference/b1/hsta/fp32/eager",
            "--rounds",
            "9999",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "round 2" in line:
            break
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.terminate()
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "| inference | 1 | HSTA | fp32 | no |" in printed
    assert len(workers) == 1 and not Path(f"/proc/{workers[0]}").exists()
