"""`hsta predict`: classify videos with a trained model.

hsta predict runs/demo clip.mp4
hsta predict runs/demo/folds/fold-00-seed-42/model one.mp4 two.mp4 --top_k 3
hsta predict runs/demo recordings/ --output predictions.parquet     # every video below a folder; resumable
hsta predict runs/demo clips.csv 'more/**/*.avi' --output predictions.csv --workers 4
hsta predict runs/demo recordings/ --output predictions.jsonl --runner ray --ray_address auto

An input is a video file, a folder of frames, a folder in which videos are searched at any depth, a pattern, a URL, or
a CSV of clips with the column path (relative to the CSV) and, where they are known, onset, apex and offset: indices of
frames, from 0. Faces are aligned as they were in the model's training, by the model's own processor configuration.
What cannot be read is reported and skipped; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hsta_hf.prediction import ClipRequest, Prediction, Predictor

_LINES = 20  # of failures on the error stream, where a table has them all


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add `hsta predict` to the command line."""
    parser = subparsers.add_parser(
        "predict",
        help="classify videos with a trained model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", help="model folder, run folder, or Hub name")
    add("inputs", nargs="+", metavar="INPUT", help="video, folder, CSV of clips, pattern or URL")
    add("--top_k", "--top-k", type=int, default=3, help="classes to print for each video")
    add("--json", action="store_true", help="print JSON, one line a video")
    add("--output", type=Path, help="write a table in place of printing: .parquet, .csv or .jsonl")
    add("--overwrite", action="store_true", help="replace the table if it is there")
    add(
        "--faces",
        choices=("auto", "align", "keep"),
        default="auto",
        help="auto: align as in training; keep: frames as they are; align",
    )
    add("--face_detector", "--face-detector", help="the face detector's ONNX file; by default the Hub's")
    add("--batch_size", "--batch-size", type=int, default=8, help="clips that the model takes at once")
    add("--workers", type=int, help="processes that read and align clips; by default as many as CPUs, up to 8, and "
        "none for fewer than 64 clips")  # fmt: skip
    add("--device", help="where the model runs: cpu, cuda, cuda:1, …; by default a GPU where there is one")
    add(
        "--dtype",
        choices=("auto", "fp32", "bf16", "fp16"),
        default="auto",
        help="of matrix products; auto: half on GPUs only",
    )
    add("--num_threads", "--num-threads", type=int, help="threads that the model computes with")
    add("--revision", help="of a Hub repository")
    add("--runner", choices=("local", "ray"), default="local", help="where clips are classified")
    add("--ray_address", "--ray-address", help="of a Ray cluster; by default this machine alone")
    add("--ray_workers", "--ray-workers", type=int, help="Ray workers; by default as many as there is room for")
    add("--ray_cpus", "--ray-cpus", type=float, help="CPUs of each Ray worker")
    add("--ray_gpus", "--ray-gpus", type=float, help="GPUs of each Ray worker")


def run(args: argparse.Namespace) -> int:
    """Print or write what the model says; 0 when done, 1 when something cannot be read, 2 for wrong usage."""
    from hsta_hf.prediction.inputs import InputError, requests_of
    from hsta_hf.prediction.parts import PartStore
    from hsta_hf.prediction.results import OutputError, check_output, failures_file

    wrong = _wrong_usage(args)
    if wrong is not None:
        return _complain(wrong, 2)
    try:
        if args.output is not None:
            check_output(args.output)
            if args.output.exists() and not args.overwrite:
                return _complain(f"{args.output} is there already; --overwrite replaces it", 1)
            beside = failures_file(args.output)
            if beside.exists() and not args.overwrite and not PartStore.folder_of(args.output).exists():
                return _complain(f"{beside}, of another table, is there already; --overwrite replaces it", 1)
        requests = requests_of(args.inputs)
    except OutputError as error:
        return _complain(str(error), 2)
    except InputError as error:
        return _complain(str(error), 1)
    import torch
    from transformers.utils import logging as hf_logging

    from hsta_hf.prediction import Predictor
    from hsta_hf.training.finished_model import about_model

    hf_logging.disable_progress_bar()
    if args.num_threads is not None:
        torch.set_num_threads(args.num_threads)
    options = {
        "model": args.model,
        "face_detector": args.face_detector,
        "device": args.device,
        "dtype": args.dtype,
        "faces": args.faces,
        "batch_size": args.batch_size,
        "revision": args.revision,
    }
    try:
        # Workers of a cluster have the GPUs; this machine only asks the model who it is.
        here = {"device": "cpu", "dtype": "fp32"} if args.runner == "ray" else {}
        predictor = Predictor.from_pretrained(**{**options, **here})
    except (OSError, ValueError) as error:
        return _complain(about_model(args.model, error), 1)
    if predictor.note is not None:
        _say(predictor.note)
    if args.output is None:
        return _print_all(args, predictor, requests)
    return _write(args, predictor, requests, options)


def _wrong_usage(args: argparse.Namespace) -> str | None:
    for name, least in (("top_k", 1), ("batch_size", 1), ("workers", 0), ("num_threads", 1), ("ray_workers", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            return f"--{name} is {value}; it must be {least} or more"
    if args.runner == "ray" and args.output is None:
        return "--runner ray needs --output: what comes back from a cluster goes into a table"
    return None


def _print_all(args: argparse.Namespace, predictor: Predictor, requests: list[ClipRequest]) -> int:
    """The most likely classes of each video, as they are found."""
    failed = False
    for found in predictor.predict(requests, _workers(args, requests)):
        if found.error is not None:
            _say(found.error)
            failed = True
            continue
        if found.warning is not None:
            _say(found.warning)
        best = sorted(found.scores.items(), key=lambda entry: -entry[1])[: args.top_k]
        if args.json:
            scores = [{"score": score, "label": label} for label, score in best]
            print(json.dumps({"video": found.name, "scores": scores}), flush=True)
        else:
            lines = "".join(f"\n  {label:<16}{score:.3f}" for label, score in best)
            print(f"{found.name}{lines}", flush=True)
    return int(failed)


def _write(
    args: argparse.Namespace, predictor: Predictor, requests: list[ClipRequest], options: dict[str, Any]
) -> int:
    """The table, and how it went."""
    from hsta_hf.prediction.job import local_runner, predict_to_file
    from hsta_hf.prediction.results import OutputError, failures_file
    from hsta_hf.training.recipe import RecipeError

    tell = _Teller(failures_file(args.output))
    settings = {**predictor.fingerprint(), **({"dtype": args.dtype} if args.runner == "ray" else {})}
    run_shares = local_runner(predictor, _workers(args, requests))
    errors: tuple[type[Exception], ...] = (OSError, OutputError, RecipeError)
    if args.runner == "ray":
        import torch

        from hsta_hf.prediction import runner_ray

        plan = runner_ray.WorkerPlan(options, settings, args.workers or 0, torch.get_num_threads())
        where = runner_ray.RayOptions(args.ray_address, args.ray_workers, args.ray_cpus, args.ray_gpus)
        errors = (*errors, runner_ray.RayPredictionError)
        run_shares = lambda shares: runner_ray.predict_on_ray(plan, shares, where)  # noqa: E731
    try:
        failures, taken_over = predict_to_file(predictor, requests, args.output, run_shares, settings, tell)
    except errors as error:
        return _complain(str(error), 1)
    before = f", {taken_over} of them by an earlier run" if taken_over else ""
    print(f"{len(requests) - failures} of {len(requests)} clips classified{before}: {args.output}")
    if failures:
        _say(
            f"{failures} clip{'' if failures == 1 else 's'} could not be classified; see {failures_file(args.output)}"
        )
    return int(failures > 0)


def _workers(args: argparse.Namespace, requests: list[ClipRequest]) -> int:
    from hsta_hf.prediction.ahead import usual_workers

    return usual_workers(len(requests)) if args.workers is None else int(args.workers)


class _Teller:
    """Says on the error stream what is wrong with clips, up to some lines."""

    def __init__(self, table: Path) -> None:
        self._table, self._said = table, 0

    def __call__(self, found: Prediction) -> None:
        message = found.error or found.warning
        if message is None:
            return
        self._said += 1
        if self._said <= _LINES:
            _say(message)
        elif self._said == _LINES + 1:
            _say(f"more of the kind follow and are not shown; failures will be in {self._table}")


def _say(message: str) -> None:
    from tqdm.auto import tqdm

    tqdm.write(f"hsta predict: {message}", file=sys.stderr)  # which lets a progress bar stay where it is


def _complain(message: str, code: int) -> int:
    _say(message)
    return code
