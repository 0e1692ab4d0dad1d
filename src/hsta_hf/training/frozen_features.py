"""Features of clips under a frozen backbone, computed once for all folds and seeds of a run.

A feature is what the head of the model sees: the [CLS] of both streams after their final LayerNorms, as evaluation
computes them. A clip has several versions: version 0 is what evaluation and the pipeline see; the others are drawn
and augmented as the recipe asks, with the clip's name and the version as seed, and training picks among them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
from hsta_hf.reporting.files import write_json
from hsta_hf.training.arguments import AugmentationArguments
from hsta_hf.training.batch_finishing import BatchFinisher
from hsta_hf.training.clip_streams import ClipStreams
from hsta_hf.training.clips import LabelledClips
from hsta_hf.training.dataset import ClipCollator, ClipDataset
from hsta_hf.training.frozen_dataset import ClipFeatures
from hsta_hf.training.model_factory import streams_in_use
from hsta_hf.training.recipe import Recipe
from hsta_hf.training.samplers import Draw
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

HEAD = "classifier."
# What decides which versions of a clip there are and how they are read.
_DATA_FIELDS = ("apex", "temporal_variants", "random_frames", "apex_jitter", "cache_dtype")


def augments(arguments: AugmentationArguments) -> bool:
    """Whether anything is done to the inputs of the model; mixup, which also works on features, is not counted."""
    nothing = AugmentationArguments()
    return replace(arguments, mixup_alpha=nothing.mixup_alpha, erase_area=nothing.erase_area) != nothing


def versions_of(recipe: Recipe) -> int:
    """Versions of each clip whose features are worth keeping."""
    drawn = recipe.data.temporal_variants > 1 or augments(recipe.augmentation)
    return recipe.model.feature_versions if drawn else 1


def feature_settings(
    network: HSTAForMicroExpressionClassification, clips: LabelledClips, processor: HSTAVideoProcessor, recipe: Recipe
) -> dict[str, Any]:
    """All that decides what the features are, as plain values."""
    arguments, versions = recipe.training, versions_of(recipe)
    settings: dict[str, Any] = {
        "weights": _digest(network),
        "config": {k: v for k, v in network.config.to_dict().items() if k not in ("id2label", "label2id")},
        "clips": clips.fingerprint,
        "processor": {k: v for k, v in processor.to_dict().items() if k != "face_alignment"},  # decides nothing
        "versions": versions,
        "batch": arguments.per_device_eval_batch_size,  # rounding depends on it, and so does noise
        "precision": _precision(recipe),
    }
    for name in _DATA_FIELDS if versions > 1 else ("apex", "cache_dtype"):
        settings[name] = getattr(recipe.data, name)
    if versions > 1:
        settings["augmentation"] = asdict(replace(recipe.augmentation, mixup_alpha=0.0))
    return dict(json.loads(json.dumps(settings, sort_keys=True, default=str)))


def compute_features(
    network: HSTAForMicroExpressionClassification,
    clips: LabelledClips,
    streams: ClipStreams,
    processor: HSTAVideoProcessor,
    recipe: Recipe,
    directory: Path,
) -> ClipFeatures:
    """Open the features of all clips, computing what `directory` does not hold yet.

    A computation that was killed goes on where it stopped; a second process waits for the first.

    Args:
        network: the model; its head is left out. Is on the training's device meanwhile, and on the CPU afterwards.
        clips: the clips.
        streams: their streams.
        processor: makes the streams.
        recipe: versions, augmentation, batch size, precision and device.
        directory: where features of the run lie, each kind in a folder of its own.
    """
    settings = feature_settings(network, clips, processor, recipe)
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:20]
    folder = directory / key
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "complete").is_file():
            write_json(folder / "settings.json", settings)
            _fill(_Extractor(network, streams, processor, recipe), folder, settings["versions"])
    arrays = (np.load(folder / name, allow_pickle=False) for name in ("features.npy", "mirrored.npy"))
    values, mirrored = (torch.from_numpy(array) for array in arrays)
    return ClipFeatures(values, mirrored.bool())


def _digest(network: HSTAForMicroExpressionClassification) -> str:
    """Digest of all weights but the head's."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if not name.startswith(HEAD):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _precision(recipe: Recipe) -> str:
    return "bfloat16" if recipe.training.bf16 else "float16" if recipe.training.fp16 else "float32"


class _Extractor:
    """Runs the frozen model over batches of clips; to be used in a `with` statement."""

    def __init__(
        self,
        network: HSTAForMicroExpressionClassification,
        streams: ClipStreams,
        processor: HSTAVideoProcessor,
        recipe: Recipe,
    ) -> None:
        self.network, self.recipe = network, recipe
        self.seeds = streams.seeds
        self.width = network.classifier.in_features
        self.device = recipe.training.device
        self.dataset = ClipDataset(streams, range(len(streams)), [0] * len(streams), streams_in_use(network.config))
        # Labels stay as they are, whatever is drawn: which clips were mirrored is noted instead.
        self.finisher = BatchFinisher(processor, replace(recipe.augmentation, mixup_alpha=0.0), 1)

    def __enter__(self) -> _Extractor:
        self.head, self.training = self.network.classifier, self.network.training
        self.network.classifier = torch.nn.Identity()  # type: ignore[assignment]  # logits are then what a head sees
        torch.nn.Module.to(self.network, self.device).eval()
        return self

    def __exit__(self, *error: object) -> None:
        self.network.classifier = self.head
        self.network.cpu().train(self.training)

    def items(self, clips: Sequence[int], version: int) -> list[int | Draw]:
        """What to ask the dataset for."""
        if not version:
            return list(clips)
        return [Draw(clip, (int(self.seeds[clip] >> np.uint64(1)), version, 0)) for clip in clips]

    @torch.inference_mode()
    def __call__(self, batch: dict[str, torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
        """Features (batch, width) and whether each clip was mirrored (batch,)."""
        mirrored = np.zeros(len(batch["labels"]), dtype=np.uint8)
        if "keys" in batch and self.finisher.augmentation is not None:
            mirrored = self.finisher.augmentation.draw(batch["keys"].tolist()).flip.numpy().astype(np.uint8)
        inputs = self.finisher({name: x.to(self.device) for name, x in batch.items() if name != "labels"})
        precision = _precision(self.recipe)
        with torch.autocast(self.device.type, getattr(torch, precision), enabled=precision != "float32"):
            features = self.network(**inputs).logits
        return features.float().cpu().numpy(), mirrored


def _fill(extractor: _Extractor, folder: Path, versions: int) -> None:
    clips, size = len(extractor.dataset), extractor.recipe.training.per_device_eval_batch_size
    blocks = [range(start, min(start + size, clips)) for start in range(0, clips, size)]
    flags = folder / "done.npy"
    files = {"features": (np.float32, (clips, versions, extractor.width)), "mirrored": (np.uint8, (clips, versions))}
    if not flags.is_file():
        for name, (dtype, shape) in files.items():
            np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=shape).flush()
        # Last, under its final name at once: where this file is, the arrays are.
        np.save(folder / "new.npy", np.zeros((versions, len(blocks)), dtype=np.uint8), allow_pickle=False)
        os.replace(folder / "new.npy", flags)
    done = np.lib.format.open_memmap(flags, mode="r+")
    features, mirrored = (np.lib.format.open_memmap(folder / f"{name}.npy", mode="r+") for name in files)
    missing = [(int(version), int(block)) for version, block in np.argwhere(done == 0)]
    loader = DataLoader(
        extractor.dataset,
        batch_sampler=[extractor.items(blocks[block], version) for version, block in missing],
        collate_fn=ClipCollator(),
        num_workers=extractor.recipe.training.num_workers(),
    )
    quiet = extractor.recipe.training.disable_tqdm
    with extractor:
        for (version, block), batch in tqdm(
            zip(missing, loader, strict=True), total=len(missing), desc="features", unit="batch", disable=quiet
        ):
            rows = slice(blocks[block].start, blocks[block].stop)
            features[rows, version], mirrored[rows, version] = extractor(batch)
            done[version, block] = 1
    for array in (features, mirrored, done):
        array.flush()
    (folder / "complete").touch()
