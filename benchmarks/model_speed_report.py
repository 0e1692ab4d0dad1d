"""The printing half of `model_speed.py`: the samples of a run to a Markdown table and a list of targets.

Needs nothing but the standard library, so that the numbers of a file can be read anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median
from typing import Any

MODEL_NAMES = {"hsta": "HSTA", "hsta-efficient": "HSTA efficient", "videomae": "VideoMAE, 16 frames"}
COLUMNS = (
    "step",
    "batch",
    "model",
    "dtype",
    "compiled",
    "clips/s (slowest-fastest)",
    "GFLOP/clip",
    "GFLOP/s",
    "product GFLOP/s",
    "share of product",
    "best/best",
    "peak memory",
    "rounds",
)


@dataclass(frozen=True)
class Cell:
    """One configuration, a row of the table: `step` is "inference" or "training", `dtype` "fp32" or "bf16", `model`
    "hsta", "hsta-efficient" or "videomae"."""

    step: str
    batch: int
    model: str
    dtype: str
    compiled: bool

    @property
    def name(self) -> str:
        return f"{self.step}/b{self.batch}/{self.model}/{self.dtype}/{'compiled' if self.compiled else 'eager'}"

    @property
    def group(self) -> str:
        return f"{self.step}/b{self.batch}"


def report(cells: list[Cell], run: dict[str, Any]) -> str:
    """The Markdown of a run: the machine, notes on the measurement, the table, the targets."""
    return "\n".join([machine_line(run), *notes(run), "", *table(cells, run), "", *targets(cells, run)])


def machine_line(run: dict[str, Any]) -> str:
    """One line: CPU, threads, versions and, where one was used, GPU."""
    machine, settings = run.get("machine"), run["settings"]
    if not machine:
        return "Machine: not known, the run stopped before it said."
    parts = [machine["cpu"], f"{machine['threads']} threads"]
    if machine["gpu"]:
        parts.append(f"GPU {machine['gpu']}, TF32 {'on' if machine['tf32'] else 'off'}")
    parts += [f"torch {machine['torch']}", f"transformers {machine['transformers']}"]
    parts += [f"{name}={value}" for name, value in machine.get("allocator", {}).items()]
    return f"Machine: {', '.join(parts)}. Size: {settings['size']}; token_reduction {settings['token_reduction']}."


def notes(run: dict[str, Any]) -> list[str]:
    """What a reader of the table has to know of this run: product sizes and rates, and whether the CPU was shared."""
    lines = []
    medians: dict[str, float] = {}
    for dtype in ("fp32", "bf16"):
        rows = [row for name, row in run["rows"].items() if f"/{dtype}/" in name and row.get("samples")]
        rates = [rate for row in rows for sample in row["samples"] for rate in sample["product"]]
        if not rates:
            continue
        medians[dtype] = median(rates)
        shapes = sorted({row["product_shape"] for row in rows})
        lines.append(
            f"Matrix product, {dtype}: median {_giga(medians[dtype])} GFLOP/s, "
            f"{_giga(min(rates))} to {_giga(max(rates))} in this run; sizes {', '.join(shapes)}."
        )
    if len(medians) == 2:
        lines.append(f"bf16 products run at {medians['bf16'] / medians['fp32']:.2f} times the rate of fp32 products.")
    given = [sample["given"] for row in run["rows"].values() for sample in row.get("samples", [])]
    if given and not (run.get("machine") or {}).get("gpu"):
        busy = median(given) < 0.95
        lines.append(
            f"The CPU gave the products {median(given):.0%} of the time they ran"
            + (": the machine was busy with other work, so read ratios, not rates." if busy else ".")
        )
    return lines


def _giga(rate: float) -> str:
    value = rate / 1e9
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def flops_per_clip(cell: Cell, run: dict[str, Any]) -> int | None:
    """Counted FLOPs of one clip of this row, or `None` where they could not be counted."""
    return run["flops"].get(cell.model, {}).get(cell.step)


def share(cell: Cell, run: dict[str, Any]) -> float | None:
    """The model's rate over the rate of the products right before and after it: the median over rounds."""
    row, flops = run["rows"].get(cell.name, {}), flops_per_clip(cell, run)
    if not row.get("samples") or not flops:
        return None
    return median(cell.batch * flops / s["seconds"] / (sum(s["product"]) / 2) for s in row["samples"])


def best_share(cell: Cell, run: dict[str, Any]) -> float | None:
    """The fastest call over the fastest product of this dtype in the group: stricter, for a noisy machine."""
    row, flops = run["rows"].get(cell.name, {}), flops_per_clip(cell, run)
    if not row.get("samples") or not flops:
        return None
    prefix, part = cell.group + "/", f"/{cell.dtype}/"
    rows = [other for name, other in run["rows"].items() if name.startswith(prefix) and part in name]
    fastest = max(rate for other in rows for s in other.get("samples", []) for rate in s["product"])
    return cell.batch * flops / min(s["seconds"] for s in row["samples"]) / fastest


def speed_ratio(cell: Cell, other: Cell, run: dict[str, Any]) -> float | None:
    """How many times the clips/s of `other` the `cell` makes: the median over rounds that both took part in."""
    times = []
    for one in (cell, other):
        row = run["rows"].get(one.name, {})
        if row.get("failed"):
            return None
        times.append({s["round"]: s["seconds"] / one.batch for s in row.get("samples", [])})
    common = times[0].keys() & times[1].keys()
    return median(times[1][r] / times[0][r] for r in common) if common else None


def table(cells: list[Cell], run: dict[str, Any]) -> list[str]:
    """Markdown lines, a row for each cell; what could not be measured says why in its row."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for cell in cells:
        row, flops = run["rows"].get(cell.name, {}), flops_per_clip(cell, run)
        values = [cell.step, str(cell.batch), MODEL_NAMES[cell.model], cell.dtype, "yes" if cell.compiled else "no"]
        gflop = f"{flops / 1e9:.4g}" if flops else "n/a"
        samples = row.get("samples", [])
        if row.get("failed") or not samples:
            why = row.get("failed") or row.get("left_out") or "not measured yet; the same --json goes on"
            values += [why.replace("|", "/"), gflop, *["-"] * (len(COLUMNS) - 7)]
        else:
            speeds = [cell.batch / s["seconds"] for s in samples]
            product = median(sum(s["product"]) / 2 for s in samples)
            peak, part, best = row.get("memory"), share(cell, run), best_share(cell, run)
            values += [
                f"{median(speeds):.3g} ({min(speeds):.3g}-{max(speeds):.3g})",
                gflop,
                _giga(median(speeds) * flops) if flops else "n/a",
                _giga(product),
                f"{part:.0%}" if part else "n/a",
                f"{best:.0%}" if best else "n/a",
                f"{peak / 2**20:.0f} MiB" if peak else "n/a",
                str(len(samples)),
            ]
        lines.append("| " + " | ".join(values) + " |")
    return lines


def targets(cells: list[Cell], run: dict[str, Any]) -> list[str]:
    """The project's targets for this device beside what the run measured; nothing is asserted."""
    if run["settings"]["size"] != "base":
        return [f"Targets are for the base size; this run has size {run['settings']['size']!r}: none is judged."]
    lines = ["| target | row | wanted | measured | |", "| --- | --- | --- | --- | --- |"]
    gpu = run["settings"]["device"].startswith("cuda")

    def judge(what: str, cell: Cell, wanted: float, value: float | None, unit: str) -> None:
        shown = "not measured" if value is None else f"{value:.0%}" if unit == "%" else f"{value:.2f}x"
        verdict = "" if value is None else "met" if value >= wanted else "not met"
        lines.append(
            f"| {what} | {cell.name} | {f'{wanted:.0%}' if unit == '%' else f'{wanted}x'} | {shown} | {verdict} |"
        )

    for cell in cells:
        if cell.model == "hsta-efficient" and cell.step == "inference":
            judge("efficient over full", cell, 2.0, speed_ratio(cell, replace(cell, model="hsta"), run), "x")
        if cell.model != "hsta":
            continue
        if gpu:
            if (cell.step, cell.batch, cell.dtype, cell.compiled) == ("training", 32, "bf16", True):
                judge("share of product", cell, 0.45, share(cell, run), "%")
        elif cell.step == "training":
            if cell.dtype == "fp32":
                judge("share of product", cell, 0.55, share(cell, run), "%")
        else:
            if cell.batch in (1, 8):
                judge("share of product", cell, 0.70 if cell.batch == 1 else 0.60, share(cell, run), "%")
            judge("over VideoMAE", cell, 3.5, speed_ratio(cell, replace(cell, model="videomae"), run), "x")
            if cell.dtype == "bf16":
                judge("bf16 over fp32", cell, 1.7, speed_ratio(cell, replace(cell, dtype="fp32"), run), "x")
    return lines if len(lines) > 2 else ["No target applies to the rows of this run."]
