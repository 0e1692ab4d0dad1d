"""What a finished run's models score when the video stream's still patches are merged, without training again.

    python benchmarks/token_reduction.py runs/casme3_flow
    python benchmarks/token_reduction.py runs/casme3_flow --ratios 0 0.3 0.65

Each fold's model classifies the fold's test clips once per ratio of `HSTAConfig.token_reduction`; scores are pooled
over folds and averaged over seeds, as in the run's report, whose figures the ratio that it trained with repeats.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm
from transformers import AutoModelForVideoClassification
from transformers.utils import logging

import hsta_hf  # noqa: F401 - registers HSTA with the Auto classes
from hsta_hf.reporting.predictions import predictions_table, read_predictions, score_table
from hsta_hf.training.batch_finishing import BatchFinisher
from hsta_hf.training.clip_streams import STREAMS, ClipStreams
from hsta_hf.training.clips import LabelledClips, load_labelled_clips
from hsta_hf.training.dataset import ClipCollator, ClipDataset
from hsta_hf.training.model_factory import build_processor
from hsta_hf.training.recipe import Recipe, load_recipe
from hsta_hf.training.run_folder import RECIPE_FILE, RunFolder
from hsta_hf.training.tensor_cache import build_cache

BATCH = 32  # clips


def logits_of(model: torch.nn.Module, clips: ClipStreams, indices: list[int]) -> np.ndarray:
    """Logits of clips as evaluation sees them: (clips, classes)."""
    dataset = ClipDataset(clips, indices, [0] * len(indices), STREAMS)
    collate, finish = ClipCollator(), BatchFinisher(clips.processor, None, 1)
    parts = []
    for start in range(0, len(indices), BATCH):
        batch = finish(collate([dataset[i] for i in range(start, min(start + BATCH, len(indices)))]))
        with torch.inference_mode():
            parts.append(model(*(batch[name] for name in STREAMS)).logits.numpy())
    return np.concatenate(parts)


def scores(run: RunFolder, recipe: Recipe, ratios: list[float]) -> pd.DataFrame:
    """One row per ratio and seed, with the pooled scores of that seed's folds."""
    assert recipe.data.dataset is not None
    clips: LabelledClips = load_labelled_clips(recipe.data.dataset, recipe.data.label_scheme)
    directory = Path(recipe.data.cache_dir) if recipe.data.cache_dir else run.cache
    cache = build_cache(clips, build_processor(recipe.model), recipe.data, directory)
    position = {name: number for number, name in enumerate(clips.column("clip_id"))}
    predictions = read_predictions(run.path / "predictions.parquet")
    folds = [
        (int(rows["seed"].iloc[0]), int(rows["fold"].iloc[0]), rows)
        for _, rows in predictions.groupby(["seed", "fold"])
    ]
    tables: dict[tuple[float, int], list[pd.DataFrame]] = {}
    for seed, fold, rows in tqdm(folds, desc="folds"):
        model = AutoModelForVideoClassification.from_pretrained(run.fold(fold, seed) / "model").eval()
        indices = [position[name] for name in rows["clip"]]
        for ratio in ratios:
            model.config.token_reduction = ratio
            model.config.check_token_reduction()
            logits = logits_of(model, cache, indices)
            tables.setdefault((ratio, seed), []).append(predictions_table(clips, indices, logits, fold, seed))
    found = [
        {"ratio": ratio, "seed": seed, **score_table(pd.concat(parts, ignore_index=True)).summary}
        for (ratio, seed), parts in tables.items()
    ]
    return pd.DataFrame(found)


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run of `hsta train`")
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.0, 0.3, 0.5, 0.65], metavar="R")
    args = parser.parse_args(argv)
    if not (args.run / "predictions.parquet").is_file():
        parser.error(f"{args.run} is no folder of a finished run: it has no predictions.parquet")
    logging.disable_progress_bar()
    recipe = load_recipe(args.run / RECIPE_FILE)
    try:
        table = scores(RunFolder(args.run), recipe, args.ratios)
    except (OSError, ValueError) as error:
        print(f"{args.run}: {error}", file=sys.stderr)
        return 1
    names = [name for name in table.columns if name not in ("ratio", "seed")]
    print(
        f"{args.run}: {recipe.data.protocol}, seeds {', '.join(str(seed) for seed in sorted(table['seed'].unique()))}"
    )
    for ratio, rows in table.groupby("ratio"):
        means = "  ".join(f"{name} {rows[name].mean():.3f}" for name in names)
        single = ", ".join(f"{x:.3f}" for x in rows[names[0]])
        print(f"token_reduction {ratio:5.3f}  {means}  ({names[0]} by seed: {single})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
