"""How fast HSTA runs on this machine, beside VideoMAE and beside what the machine's matrix products give.

    python benchmarks/model_speed.py --json speed.json                  # all rows; do nothing else meanwhile
    python benchmarks/model_speed.py --json speed.json                  # again: goes on where it was interrupted
    python benchmarks/model_speed.py --configs 'inference/b1/*/eager'   # some rows
    python benchmarks/model_speed.py --quick                            # a smoke test with toy models, some minutes

Prints Markdown: the machine, a table with a row for each step, batch size, model, dtype and compile state, and the
project's targets beside what was measured. What each column means is in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from model_speed_report import Cell, report

EVENT = "@model_speed "
WORKER = Path(__file__).with_name("model_speed_worker.py")
# These must be equal for two parts of one file to be one run.
SETTINGS = ("device", "threads", "size", "token_reduction", "tf32", "compile_mode", "rounds", "seconds")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Options; what depends on the device or on --quick is filled in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="cpu, cuda or cuda:N; by default cuda where there is one")
    parser.add_argument("--threads", type=int, help="CPU threads; by default the CPUs that this process may use")
    parser.add_argument("--batches", help="batch sizes, as 1,8; by default 1,8 and on a GPU 1,8,32")
    parser.add_argument("--rounds", type=int, help="at most so many rounds; by default 9, with --quick 2")
    parser.add_argument(
        "--seconds",
        type=float,
        default=6.0,
        help="a row leaves the rounds after so many seconds of calls (2 rounds at least)",
    )
    parser.add_argument(
        "--configs", default="*", help="rows to run, by name: 'inference/b8/hsta*/bf16/*,*/videomae/*' (comma: or)"
    )
    parser.add_argument(
        "--token_reduction", type=float, default=0.65, help="HSTAConfig.token_reduction when efficient"
    )
    parser.add_argument("--compile_mode", default="default", help="mode of torch.compile")
    parser.add_argument("--tf32", action="store_true", help="let fp32 products and convolutions of a GPU use TF32")
    parser.add_argument("--all", action="store_true", help="on a CPU, VideoMAE's slowest rows too (see the README)")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="start no new group after so many minutes; 0: no limit"
    )
    parser.add_argument("--json", type=Path, help="raw numbers; a file that exists is gone on with")
    parser.add_argument(
        "--quick", action="store_true", help="toy models, batch 1: shows that it runs, measures nothing"
    )
    args = parser.parse_args(argv)
    if args.device is None:
        import torch  # only to look for a GPU: this process measures nothing

        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.device != "cpu" and not args.device.startswith("cuda"):
        parser.error(f"--device {args.device}: use cpu, cuda or cuda:N")
    if args.threads is None:
        args.threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if args.threads < 1:
        parser.error(f"--threads {args.threads}: use 1 or more")
    if args.rounds is None:
        args.rounds = 2 if args.quick else 9
    if args.rounds < 1:
        parser.error(f"--rounds {args.rounds}: use 1 or more")
    default = "1" if args.quick else "1,8" if args.device == "cpu" else "1,8,32"
    try:
        args.batches = sorted({int(batch) for batch in (args.batches or default).split(",")})
    except ValueError:
        parser.error(f"--batches {args.batches}: use whole numbers and commas, as 1,8")
    if args.batches[0] < 1:
        parser.error(f"--batches {args.batches}: batch sizes start at 1")
    args.size = "smoke" if args.quick else "base"
    return args


def plan(args: argparse.Namespace) -> list[Cell]:
    """The rows of a run, in the order of the table, which is that of the groups."""
    every = [
        Cell(step, batch, model, dtype, compiled)
        for step, batch, model, dtype, compiled in product(
            ("inference", "training"),
            args.batches,
            ("hsta", "hsta-efficient", "videomae"),
            ("fp32", "bf16"),
            (False, True),
        )
    ]
    patterns = [pattern.strip() for pattern in args.configs.split(",")]
    return [cell for cell in every if any(fnmatch.fnmatch(cell.name, pattern) for pattern in patterns)]


def left_out(cell: Cell, args: argparse.Namespace) -> str | None:
    """Why a CPU run leaves a row out unless asked, or `None`: VideoMAE's take most of the time and tell least."""
    slow = cell.compiled or (cell.step == "training" and cell.batch > 1)
    if args.device == "cpu" and not (args.all or args.quick) and cell.model == "videomae" and slow:
        return "left out on a CPU; --all runs it"
    return None


def load(args: argparse.Namespace) -> dict[str, Any]:
    """The run so far: an empty one, or what `--json` holds if it was measured with the same settings.

    Raises:
        SystemExit: if the file is no such run, or one with other settings; it is left as it is.
    """
    settings = {name: getattr(args, name) for name in SETTINGS}
    fresh: dict[str, Any] = {"settings": settings, "machine": None, "flops": {}, "rows": {}, "stretch": 0}
    if args.json is None or not args.json.exists():
        return fresh
    try:
        run = json.loads(args.json.read_text())
        differing = [name for name in SETTINGS if run["settings"].get(name) != settings[name]]
        complete = all(isinstance(run[key], type(value)) for key, value in fresh.items() if key != "machine")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SystemExit(f"{args.json} is no file of this script ({error!r}); name another --json.") from None
    if differing or not complete:
        said = ", ".join(f"{n}={run['settings'].get(n)!r} there and {settings[n]!r} here" for n in differing)
        raise SystemExit(f"{args.json} holds a run that this one cannot go on with: {said}. Name another --json.")
    return run


def save(run: dict[str, Any], path: Path | None) -> None:
    """Write the run so that an interrupt leaves the old file or the new one."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(run, indent=1) + "\n")
    part.replace(path)


def work(task: dict[str, Any], handle: Callable[[dict[str, Any]], None]) -> int:
    """Run the worker on a task, each event to `handle`; its exit status (negative: the signal that killed it)."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(task["threads"]), "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [sys.executable, str(WORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )  # a session of its own: an interrupt from the keyboard is for this process, which ends the worker below
    try:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(task))
        process.stdin.close()
        for line in process.stdout:
            if line.startswith(EVENT):
                handle(json.loads(line[len(EVENT) :]))
            else:
                sys.stderr.write(line)
        return process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def run_group(cells: list[Cell], task: dict[str, Any], run: dict[str, Any], path: Path | None) -> None:
    """Measure the cells of one group in one process; if it is killed, once more without the cell that it was at."""
    started = time.monotonic()
    remaining = list(cells)
    while remaining:
        for cell in remaining:  # what an interrupted run measured is not mixed with later rounds
            run["rows"][cell.name] = {}
        run["stretch"] += 1
        at: list[str] = []

        def handle(event: dict[str, Any], at: list[str] = at) -> None:
            row = run["rows"][event["cell"]]
            if event["event"] == "at":
                at[:] = [event["cell"]]
                print(f"[{time.monotonic() - started:4.0f} s] {event['cell']} {event['what']}", file=sys.stderr)
                return
            if event["event"] == "failed":
                row["failed"] = event["reason"]
                print(f"         {event['cell']} failed: {event['reason']}", file=sys.stderr)
            elif event["event"] == "memory":
                row["memory"], row["first_call_s"] = event["bytes"], event["first_call_s"]
            elif event["event"] == "sample":
                row["product_shape"] = event["product_shape"]
                row.setdefault("samples", []).append({k: event[k] for k in ("seconds", "product", "given")})
                # Rounds of two stretches of time are not the same rounds: no ratio is taken between them.
                row["samples"][-1]["round"] = f"{run['stretch']}.{event['round']}"
            save(run, path)

        status = work({**task, "kind": "group", "cells": [asdict(cell) for cell in remaining]}, handle)
        if status == 0:
            break
        why = f"was killed by signal {-status}, out of memory perhaps" if status < 0 else f"ended with status {status}"
        blamed = at[0] if at else None
        for cell in list(remaining):
            if blamed in (None, cell.name):  # before any cell began there is nothing to go on with
                run["rows"][cell.name] = {"failed": f"its process {why}"}
                remaining.remove(cell)
            elif run["rows"][cell.name].get("failed"):
                remaining.remove(cell)
        print(f"the process {why} at {blamed or 'its start'}", file=sys.stderr)
    for cell in cells:
        run["rows"][cell.name]["done"] = True
    save(run, path)


def measure(cells: list[Cell], run: dict[str, Any], args: argparse.Namespace) -> None:
    """Count FLOPs, then measure group by group whatever the run does not have yet."""
    task = {name: getattr(args, name) for name in (*SETTINGS, "quick")}
    models = sorted({cell.model for cell in cells} - run["flops"].keys())

    def handle(event: dict[str, Any]) -> None:
        if event.pop("event") == "machine":
            if run["machine"] not in (None, event):
                raise SystemExit(f"{args.json} was measured on another machine or version; name another --json.")
            run["machine"] = event
        elif "counts" in event:
            run["flops"][event["model"]] = event["counts"]
        elif "reason" in event:
            print(f"No FLOP count for {event['model']}: {event['reason']}", file=sys.stderr)
        save(run, args.json)

    print("counting FLOPs ...", file=sys.stderr)
    if work({**task, "kind": "flops", "models": models, "steps": ["inference", "training"]}, handle) != 0:
        print("FLOPs could not be counted; their columns stay empty.", file=sys.stderr)
    started = time.monotonic()
    for group in dict.fromkeys(cell.group for cell in cells):
        here = [cell for cell in cells if cell.group == group]
        for cell in here:
            reason = left_out(cell, args)
            if reason and not run["rows"].get(cell.name, {}).get("samples"):
                run["rows"][cell.name] = {"left_out": reason}
        wanted = [cell for cell in here if not left_out(cell, args)]
        if not wanted:
            continue
        if all(run["rows"].get(cell.name, {}).get("done") for cell in wanted):
            print(f"{group}: already in {args.json}", file=sys.stderr)
        elif args.minutes and time.monotonic() - started > 60 * args.minutes:
            print(f"{group}: not started, {args.minutes:g} minutes are over; the same --json goes on", file=sys.stderr)
        else:
            run_group(wanted, task, run, args.json)


def main(argv: list[str] | None = None) -> int:
    """Measure and print; 130 after an interrupt, which prints what there is."""
    args = parse(argv)
    cells = plan(args)
    if not cells:
        print(f"--configs {args.configs!r} fits no row; names are like inference/b1/hsta/fp32/eager.", file=sys.stderr)
        return 2
    run, status = load(args), 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the worker ends, too
    try:
        measure(cells, run, args)
    except KeyboardInterrupt:
        print("interrupted; the same --json goes on", file=sys.stderr)
        save(run, args.json)
        status = 130
    print(report(cells, run))
    return status


if __name__ == "__main__":
    sys.exit(main())
