"""Do a run's explanations mean anything? The deletion test on every test clip of a finished run.

    python benchmarks/deletion_test.py runs/casme3_flow
    python benchmarks/deletion_test.py runs/casme3_flow --maps rollout gradient_attention --output deletion.csv

Each fold's model explains its own test clips, for the class that it predicts. Patches are taken away in the order of
each map, and the area under the curve of the predicted class's probability is compared, clip by clip, with that of
random orders, and with the order of another person's map of the same kind. Intervals are of the mean difference, over
people. `docs/explanation.md` says what the maps are and what takes the place of a patch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm
from transformers import AutoModelForVideoClassification
from transformers.utils import logging

import hsta_hf  # noqa: F401 - registers HSTA with the Auto classes
from hsta_hf.explanation.clip import still_streams
from hsta_hf.explanation.deletion import DeletionCurve, class_scores, deletion_scores, most_relevant_first
from hsta_hf.explanation.explain import METHODS, relevance_maps, usable_methods
from hsta_hf.explanation.maps import STREAM_INPUTS, RelevanceMap, patch_grids
from hsta_hf.explanation.rollout import model_inputs
from hsta_hf.metrics.tables import people_in
from hsta_hf.metrics.uncertainty import subject_mean_interval
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
from hsta_hf.reporting.predictions import read_predictions
from hsta_hf.training.batch_finishing import BatchFinisher
from hsta_hf.training.clip_streams import STREAMS, ClipStreams
from hsta_hf.training.clips import LabelledClips, load_labelled_clips
from hsta_hf.training.dataset import ClipCollator, ClipDataset
from hsta_hf.training.model_factory import build_processor
from hsta_hf.training.recipe import Recipe, load_recipe
from hsta_hf.training.run_folder import RECIPE_FILE, RunFolder
from hsta_hf.training.tensor_cache import build_cache

MOVEMENT = "movement"  # not an explanation: how much each patch differs from a still clip, whatever the model


def read_clip(clips: ClipStreams, index: int) -> dict[str, torch.Tensor]:
    """Both streams of a clip as evaluation sees them, by the names of the model's inputs."""
    dataset = ClipDataset(clips, [index], [0], STREAMS)
    batch = BatchFinisher(clips.processor, None, 1)(ClipCollator()([dataset[0]]))
    return {name: batch[name] for name in STREAMS}


def movement_map(
    streams: dict[str, torch.Tensor], still: dict[str, torch.Tensor], model: HSTAForMicroExpressionClassification
) -> RelevanceMap:
    """How much each patch differs from a still clip."""
    grids = patch_grids(model.config)
    moved = {name: grids[name].of_pixels((streams[name] - still[name]).abs()) for name in grids}
    return RelevanceMap(MOVEMENT, {name: values[0].double().numpy() for name, values in moved.items()})


def fold_rows(
    model: HSTAForMicroExpressionClassification,
    clips: LabelledClips,
    cache: ClipStreams,
    rows: pd.DataFrame,
    methods: Sequence[str],
    orders: int,
    steps: int,
) -> Iterator[dict[str, object]]:
    """One row per test clip of a fold and map, with the areas of its curves."""
    position = {name: number for number, name in enumerate(clips.column("clip_id"))}
    onsets = cache.key_frames[:, 0]
    explained = []
    for clip, subject in zip(rows["clip"], rows["subject"], strict=True):
        index = position[clip]
        read = read_clip(cache, index)
        streams = {name: read[STREAM_INPUTS[name]] for name in patch_grids(model.config)}
        still = still_streams(model.config, cache.processor, clips.frames(index)[onsets[index]])
        with torch.no_grad():
            label = int(class_scores(model, model(**model_inputs(streams)).logits)[0].argmax())
        maps = relevance_maps(model, streams, still, torch.tensor([label]), methods)[0]
        maps[MOVEMENT] = movement_map(streams, still, model)
        explained.append((clip, subject, streams, still, label, maps))
    for number, (clip, subject, streams, still, label, maps) in enumerate(explained):
        rng = np.random.default_rng(number)
        others = [maps_of for _, person, *_, maps_of in explained if person != subject]
        other = others[rng.integers(len(others))] if others else None
        flat = {name: found.flat() for name, found in maps.items()}
        tried = [most_relevant_first(values) for values in flat.values()]
        tried += [order[::-1] for order in tried]
        if other is not None:
            tried += [most_relevant_first(other[name].flat()) for name in flat]
        patches = len(tried[0])
        drawn = [rng.permutation(patches) for _ in range(orders)]
        shares, scores = deletion_scores(model, streams, still, np.stack([*tried, *drawn]), label, steps)
        areas = np.array([DeletionCurve(shares, curve).area for curve in scores])
        chance = areas[len(tried) :]
        for place, name in enumerate(flat):
            yield {
                "clip": clip,
                "subject": subject,
                "map": name,
                "score": scores[0, 0],
                "blank": scores[0, -1],
                "area": areas[place],
                "reversed": areas[len(flat) + place],
                "other": areas[2 * len(flat) + place] if other is not None else np.nan,
                "random": chance.mean(),
                "beaten": float((chance > areas[place]).mean()),
            }


def measure(
    run: RunFolder, recipe: Recipe, methods: Sequence[str], orders: int, steps: int, most: int | None
) -> pd.DataFrame:
    """Rows of `fold_rows` for every fold and seed of a run."""
    assert recipe.data.dataset is not None
    clips = load_labelled_clips(recipe.data.dataset, recipe.data.label_scheme)
    directory = Path(recipe.data.cache_dir) if recipe.data.cache_dir else run.cache
    cache = build_cache(clips, build_processor(recipe.model), recipe.data, directory)
    predictions = read_predictions(run.path / "predictions.parquet")
    found: list[dict[str, object]] = []
    keys: Any
    for keys, rows in predictions.groupby(["seed", "fold"]):
        seed, fold = (int(key) for key in keys)
        model = AutoModelForVideoClassification.from_pretrained(run.fold(fold, seed) / "model").eval()
        part = rows if most is None else rows.iloc[:: max(1, len(rows) // most)]
        part = part.assign(subject=people_in(part))
        total = len(part) * (len(methods) + 1)
        for row in tqdm(
            fold_rows(model, clips, cache, part, methods, orders, steps), desc=f"fold {fold}, seed {seed}", total=total
        ):
            found.append({"seed": seed, "fold": fold, **row})
    return pd.DataFrame(found)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row per map: mean areas, and mean differences with their intervals over people."""
    found = []
    for name, rows in table.groupby("map", sort=False):
        subjects = rows["subject"].tolist()
        row: dict[str, object] = {"map": METHODS.get(str(name), "control: amount of movement")}
        row["area"] = f"{rows['area'].mean():.3f}"
        for other in ("random", "other", "reversed"):
            row[other] = f"{rows[other].mean():.3f}"
            difference = rows[other] - rows["area"]
            row[f"{other} - area"] = "" if difference.isna().any() else _with_interval(difference.tolist(), subjects)
        row["better than random"] = f"{100 * (rows['random'] > rows['area']).mean():.0f} %"
        found.append(row)
    return pd.DataFrame(found)


def _with_interval(values: list[float], subjects: list[str]) -> str:
    interval = subject_mean_interval(values, subjects)
    within = "" if interval is None else f" ({interval[0]:.3f} to {interval[1]:.3f})"
    return f"{np.mean(values):.3f}{within}"


def print_table(table: pd.DataFrame) -> None:
    """A Markdown table."""
    print("| " + " | ".join(table.columns) + " |")
    print("| " + " | ".join("---" for _ in table.columns) + " |")
    for row in table.itertuples(index=False):
        print("| " + " | ".join(map(str, row)) + " |")


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run of `hsta train`")
    parser.add_argument("--maps", nargs="+", choices=list(METHODS), help="which maps; by default all that can be made")
    parser.add_argument("--random_orders", type=int, default=20, help="random orders for each clip (default: 20)")
    parser.add_argument("--steps", type=int, default=16, help="points of each curve after the first (default: 16)")
    parser.add_argument("--clips", type=int, help="about so many clips of each fold only")
    parser.add_argument("--output", type=Path, help="also write a CSV file with a row for each clip and map")
    args = parser.parse_args(argv)
    if not (args.run / "predictions.parquet").is_file():
        parser.error(f"{args.run} is no folder of a finished run: it has no predictions.parquet")
    if min(args.random_orders, args.steps) < 1:
        parser.error("--random_orders and --steps must be 1 or more")
    logging.disable_progress_bar()
    try:
        recipe = load_recipe(args.run / RECIPE_FILE)
        methods = args.maps or list(usable_methods())
        table = measure(RunFolder(args.run), recipe, methods, args.random_orders, args.steps, args.clips)
    except (ImportError, OSError, ValueError) as error:
        print(f"{args.run}: {error}", file=sys.stderr)
        return 1
    if args.output is not None:
        table.to_csv(args.output, index=False)
    clips, people = table["clip"].nunique(), table["subject"].nunique()
    scores, still = table["score"].mean(), table["blank"].mean()
    print(
        f"{args.run}: {recipe.data.protocol}, {clips} test clips of {people} people, {table['seed'].nunique()} seeds, "
        f"{args.random_orders} random orders a clip. Mean score of the predicted class {scores:.3f}, with all patches "
        f"still {still:.3f}."
    )
    print_table(summary(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
