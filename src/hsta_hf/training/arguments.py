# ruff: noqa: RUF009 - _field is dataclasses.field with a help text
"""What a recipe can say: four `HfArgumentParser` dataclasses whose defaults are the paper's settings.

`training/recipe.py` reads them from YAML and from the command line.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Any, Literal

from transformers import TrainingArguments

Protocol = Literal["kfold-clips", "kfold-subjects", "loso", "holdout", "leave-one-database-out", "kfold-clips-macro"]
Baseline = Literal["majority", "lbp-top", "hoof", "off-apexnet", "ststnet", "videomae"]


def _field(default: Any, help: str) -> Any:
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


@dataclass
class DataArguments:
    """Which clips, which labels, and how they are split into training and test clips."""

    dataset: str | None = _field(None, "Folder of a prepared dataset, as `hsta prepare` writes it.")
    more_datasets: list[str] | None = _field(
        None, "Prepared datasets whose clips are joined to those of `dataset`, to train and be tested like them."
    )
    macro_dataset: str | None = _field(
        None,
        "Prepared dataset of macro-expressions (database casme3_macro) whose clips are added to training and never "
        "tested; those of a fold's test subjects are left out of its training, but for kfold-clips-macro.",
    )
    label_scheme: str = _field("casme3_7", "Name of a label scheme, such as casme3_7 or three_class.")
    protocol: Protocol = _field(
        "kfold-subjects", "How clips are split; only the two protocols of kfold-clips let subjects overlap."
    )
    num_folds: int = _field(5, "Number of folds of kfold-clips and kfold-subjects.")
    split_seed: int = _field(42, "Seed of the split; the same for every training seed.")
    validation_share: float = _field(
        0.0,
        "Share of each training fold's subjects who do not train, but choose the epoch whose weights are used; 0: the "
        "last epoch's are. Test clips have no part in it.",
    )
    validate_every_epochs: int = _field(1, "Epochs between looks at the validation clips, where there are any.")
    folds: list[int] | None = _field(
        None,
        "Run only these folds (numbers from 0, and ranges such as 3-5, both ends included); by default all. One run "
        "folder may be filled by several commands.",
    )
    seeds: list[int] = _field([42], "Every fold is trained once with each of these seeds.")
    runner: Literal["local", "ray"] = _field(
        "local",
        "Where the folds are trained: one after the other in this process, or spread over a Ray cluster.",
    )
    ray_address: str | None = _field(
        None,
        "A running Ray cluster: auto (the one this machine is in), HOST:PORT, or ray://HOST:10001. By default the "
        "environment's RAY_ADDRESS, or else a cluster of this machine alone, which ends with the command.",
    )
    ray_workers: int | None = _field(
        None, "How many folds are trained at once; by default as many as the cluster has room for."
    )
    ray_gpus: float | None = _field(
        None, "GPUs of each worker; 0.5 puts two on a GPU. By default one where the cluster has any, unless use_cpu."
    )
    ray_cpus: float | None = _field(None, "CPUs of each worker; by default as many as it computes with threads.")
    ray_retries: int = _field(2, "How often a fold is tried again that failed or lost its worker.")
    num_threads: int | None = _field(
        None,
        "Threads that torch computes with on a CPU; by default as torch finds it. The order of sums depends on it, "
        "and so do the last digits of all results.",
    )
    apex: Literal["annotated", "spotted"] = _field(
        "annotated", "Apex of each clip: as annotated, or spotted by the processor as in the pipeline."
    )
    shuffle_train_labels: bool = _field(
        False, "Shuffle the training labels of each fold (not its test labels): a control that must stay at chance."
    )
    temporal_variants: int = _field(
        1,
        "Versions of each clip for training: the evaluation's choice of frames and N-1 drawn ones. Where a stream "
        "shows motion these are drawn once and kept; where all show pictures they are drawn anew every epoch.",
    )
    random_frames: bool = _field(
        False, "Drawn versions take sorted random video frames instead of uniform ones (needs temporal_variants > 1)."
    )
    apex_jitter: int = _field(
        0, "Drawn versions move the annotated apex by up to this many frames (needs temporal_variants > 1)."
    )
    cache_dir: str | None = _field(
        None, "Where streams of motion are kept; by default `cache/` in the run folder. Runs may share it."
    )
    drawn_dir: str | None = _field(
        None,
        "Where faces drawn for pre-training are kept, for other runs that draw the same; by default they are drawn in "
        "the run folder and deleted after use.",
    )
    cache_dtype: Literal["float16", "float32"] = _field("float16", "Number format of streams of motion on disk.")
    report_pictures: bool = _field(
        True,
        "Show the hardest clips' pictures in report.html. Faces fall under the licence of their database: false for a "
        "report to be handed on.",
    )

    def __post_init__(self) -> None:
        if (self.random_frames or self.apex_jitter) and self.temporal_variants < 2:
            raise ValueError(
                "random_frames and apex_jitter act on drawn versions of a clip, but temporal_variants is "
                f"{self.temporal_variants}; set it to 2 or more, say 8."
            )
        if self.temporal_variants < 1:
            raise ValueError(f"temporal_variants is {self.temporal_variants}; it must be 1 or more.")
        if self.apex_jitter and self.apex == "spotted":
            raise ValueError("apex_jitter moves annotated apexes, but apex is 'spotted'; set apex_jitter to 0.")
        if not 0 <= self.validation_share <= 0.5:
            raise ValueError(
                f"validation_share is {self.validation_share}; it must lie in 0..0.5, so that most subjects train."
            )
        if self.validate_every_epochs < 1:
            raise ValueError(f"validate_every_epochs is {self.validate_every_epochs}; it must be 1 or more.")
        if self.macro_dataset and self.protocol == "kfold-clips":
            raise ValueError(
                "macro_dataset is set and protocol is kfold-clips, whose folds test nearly everybody, so that "
                "macro-expressions are of test subjects. The published protocol that adds them all the same is "
                "kfold-clips-macro; one by subject, such as kfold-subjects or loso, leaves them out where they are of "
                "a test subject."
            )
        if not self.macro_dataset and self.protocol == "kfold-clips-macro":
            raise ValueError(
                "protocol is kfold-clips-macro, which adds macro-expressions to training; name their prepared dataset "
                "with macro_dataset, or use kfold-clips."
            )
        if self.num_threads is not None and self.num_threads < 1:
            raise ValueError(f"num_threads is {self.num_threads}; it must be 1 or more, or null to leave it to torch.")
        if not self.seeds:
            raise ValueError("seeds is empty; name at least one, for example [42].")
        if self.ray_retries < 0:
            raise ValueError(f"ray_retries is {self.ray_retries}; it must be 0 or more.")
        if self.ray_workers is not None and self.ray_workers < 1:
            raise ValueError(f"ray_workers is {self.ray_workers}; it must be 1 or more.")
        if self.ray_cpus is not None and self.ray_cpus <= 0:
            raise ValueError(f"ray_cpus is {self.ray_cpus}; it must be above 0.")
        if self.ray_gpus is not None and (self.ray_gpus < 0 or (self.ray_gpus > 1 and self.ray_gpus % 1)):
            raise ValueError(f"ray_gpus is {self.ray_gpus}; it must be a share from 0 to 1, or a whole number.")


@dataclass
class AugmentationArguments:
    """Augmentation of training clips, all off by default. One draw holds for all frames and both streams."""

    flip_probability: float = _field(
        0.0, "Mirror left and right; horizontal flow changes its sign, action units with a side change theirs."
    )
    crop_area: list[float] | None = _field(
        None, "Cut out a box with a share of the picture's area drawn from [low, high], and enlarge it to the picture."
    )
    translate: float = _field(0.0, "Shift by up to this share of the image, in each direction.")
    scale: float = _field(0.0, "Zoom by a factor from 1-scale to 1+scale; flow vectors grow alike.")
    rotate: float = _field(0.0, "Turn by up to this many degrees; flow vectors turn alike.")
    motion_amplitude: list[float] | None = _field(
        None, "Multiply difference and optical-flow inputs by a factor from [low, high], drawn log-uniformly."
    )
    noise_std: float = _field(0.0, "Standard deviation of Gaussian noise added to the processed inputs.")
    erase_probability: float = _field(0.0, "Blank one random rectangle, the same in all frames.")
    erase_area: float = _field(0.15, "Largest share of the image that such a rectangle covers.")
    colour_jitter: float = _field(
        0.0, "Brightness, contrast and saturation factors from 1±this, as torchvision has them; frames only."
    )
    mixup_alpha: float = _field(0.0, "Mix clips and labels in pairs, with weights from Beta(alpha, alpha).")

    def __post_init__(self) -> None:
        for name in ("flip_probability", "erase_probability", "erase_area"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must lie in 0..1.")
        for name in ("translate", "scale", "rotate", "noise_std", "colour_jitter", "mixup_alpha"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative.")
        if self.scale >= 1:
            raise ValueError(f"scale is {self.scale}; it must be below 1.")
        if self.crop_area is not None and not (
            len(self.crop_area) == 2 and 0 < self.crop_area[0] <= self.crop_area[1] <= 1
        ):
            raise ValueError(
                f"crop_area is {self.crop_area}; give [low, high] with 0 < low <= high <= 1, for example [0.8, 1.0]."
            )
        if self.motion_amplitude is not None and not (
            len(self.motion_amplitude) == 2 and 0 < self.motion_amplitude[0] <= self.motion_amplitude[1]
        ):
            raise ValueError(
                f"motion_amplitude is {self.motion_amplitude}; give [low, high] with 0 < low <= high, "
                "for example [0.7, 1.4]."
            )


LORA_TARGETS = ("query", "key", "value", "output", "mlp", "projection")
LORA_DEFAULTS: dict[str, Any] = {"r": 8, "alpha": 16, "dropout": 0.05, "targets": list(LORA_TARGETS[:4])}


def check_lora(fields: dict[str, Any]) -> None:
    """Raise ValueError if `lora` has a field that there is not, or an impossible value."""
    if unknown := sorted(set(fields) - set(LORA_DEFAULTS)):
        raise ValueError(f"lora has no field {', '.join(map(repr, unknown))}; it has {', '.join(LORA_DEFAULTS)}.")
    values = {**LORA_DEFAULTS, **fields}
    if not isinstance(values["r"], int) or values["r"] < 1:
        raise ValueError(f"lora.r is {values['r']!r}; it must be a whole number, 1 or more.")
    if not isinstance(values["alpha"], (int, float)) or values["alpha"] <= 0:
        raise ValueError(f"lora.alpha is {values['alpha']!r}; it must be a number above 0, say twice r.")
    if not isinstance(values["dropout"], (int, float)) or not 0 <= values["dropout"] < 1:
        raise ValueError(f"lora.dropout is {values['dropout']!r}; it must be a number in 0..1, below 1.")
    targets = values["targets"]
    if not isinstance(targets, (list, tuple)) or not targets or set(targets) - set(LORA_TARGETS):
        raise ValueError(f"lora.targets is {targets!r}; list one or more of {', '.join(LORA_TARGETS)}.")


@dataclass
class ModelArguments:
    """Which model is trained, from which weights, and how its processor looks at clips."""

    preset: str = _field("base", "Model size: tiny, small or base.")
    model: dict[str, Any] | None = _field(
        None, "HSTAConfig fields that differ from the preset; `stream: {…}` sets fields of both streams."
    )
    processor: dict[str, Any] | None = _field(None, "HSTAVideoProcessor fields that differ from its defaults.")
    pretrained: str | None = _field(None, "Folder or Hub name of an HSTA model to start from.")
    videomae: str | None = _field(
        None, "Folder, Hub name or weight file of a VideoMAE or VideoMAE v2 checkpoint to start both streams from."
    )
    tuning: Literal["full", "frozen", "lora"] = _field(
        "full",
        "What the folds train: the whole model, the head alone on features that a frozen backbone computes once, or "
        "low-rank adapters (LoRA, needs peft) with the head and [CLS].",
    )
    feature_versions: int = _field(
        8,
        "With tuning frozen: versions of each clip whose features are kept for training, evaluation's and N-1 drawn "
        "and augmented ones. One is enough, and made, where the recipe neither draws versions nor augments.",
    )
    lora: dict[str, Any] | None = _field(
        None, "With tuning lora: r, alpha, dropout and targets that differ from 8, 16, 0.05 and the attention."
    )
    pretrain_dataset: str | None = _field(
        None, "Prepared dataset to train on once, before the folds start from its result."
    )
    pretrain_synthetic: dict[str, Any] | None = _field(
        None, "Draw faces with `hsta synthesize`'s fields and train on them once, before the folds."
    )
    pretrain: dict[str, Any] | None = _field(
        None, "Training and augmentation fields that differ while pre-training, such as num_train_epochs."
    )
    baseline: Baseline | None = _field(
        None,
        "Run a baseline in place of HSTA, on the same clips and folds: majority, lbp-top, hoof, off-apexnet, ststnet "
        "or videomae.",
    )
    baseline_options: dict[str, Any] | None = _field(
        None, "Settings of the baseline that differ from the published ones; docs/baselines.md lists them."
    )

    def __post_init__(self) -> None:
        if self.pretrained and self.videomae:
            raise ValueError("Both pretrained and videomae are set; a model starts from one of them.")
        if self.pretrain_dataset and self.pretrain_synthetic:
            raise ValueError("Both pretrain_dataset and pretrain_synthetic are set; name one of them.")
        if self.baseline_options and not self.baseline:
            raise ValueError(
                "baseline_options is set, but baseline does not say of which; name a baseline, or drop the options."
            )
        if self.pretrain and not self.pretrains:
            raise ValueError(
                "pretrain is set, but neither pretrain_dataset nor pretrain_synthetic says on what. To train without "
                "pre-training, take `pretrain` out of the recipe, or add --pretrain null."
            )

        if self.baseline and self.tuning != "full":
            raise ValueError(
                f"baseline is '{self.baseline}', but tuning is '{self.tuning}', which only HSTA knows; set tuning to "
                "full, or take the baseline out."
            )
        if self.feature_versions < 1:
            raise ValueError(f"feature_versions is {self.feature_versions}; it must be 1 or more.")
        if self.tuning != "full" and not (self.pretrained or self.videomae or self.pretrains):
            raise ValueError(
                f"tuning is '{self.tuning}', but nothing is pre-trained: the part of the model that stays as it is "
                "would be random. Set pretrained, videomae, pretrain_dataset or pretrain_synthetic, or tuning to full."
            )
        if self.lora is not None and self.tuning != "lora":
            raise ValueError(f"lora is set, but tuning is '{self.tuning}'; add --tuning lora or take lora out.")
        check_lora(self.lora or {})

    @property
    def pretrains(self) -> bool:
        """Whether a pre-training comes before the folds."""
        return bool(self.pretrain_dataset or self.pretrain_synthetic)


@dataclass
class HSTATrainingArguments(TrainingArguments):
    """`transformers.TrainingArguments` with the paper's schedule as defaults, and what HSTA's recipe adds."""

    output_dir: str | None = _field("runs/hsta", "The run folder.")
    per_device_train_batch_size: int = _field(32, "Clips in a training batch (paper: 32).")
    total_batch_size: int | None = _field(
        None,
        "Clips in a training batch over all processes together, of which each takes its share: so any number of "
        "processes computes the same. An epoch's last clips, where they do not fill a batch, are left out. By default "
        "each process takes per_device_train_batch_size, and more processes make larger batches.",
    )
    per_device_eval_batch_size: int = _field(32, "Clips in an evaluation batch.")
    num_train_epochs: float = _field(150, "Training epochs of each fold (paper: 150).")
    learning_rate: float = _field(5e-5, "Base learning rate of AdamW (paper: 5e-5).")
    weight_decay: float = _field(0.05, "Weight decay; none on biases, LayerNorms and [CLS] (paper: 0.05).")
    lr_scheduler_type: str = _field("cosine_warmup_with_min_lr", "Warm-up, then cosine to min_learning_rate.")
    warmup_epochs: float = _field(5, "Epochs of linear warm-up (paper: 5).")
    warmup_learning_rate: float = _field(1e-6, "Learning rate where warm-up starts (paper: 1e-6).")
    min_learning_rate: float = _field(1e-6, "Learning rate where the cosine ends (released code: 1e-6).")
    layer_decay: float = _field(
        1.0, "Learning rate is multiplied by this once per HSTA layer below the head (released code: 0.9)."
    )
    class_balanced: bool = _field(True, "Draw training clips so that classes come equally often (paper).")
    ema_decay: float = _field(0.0, "Keep a moving average of the weights with this decay and use it; 0: off.")
    save_every_epochs: int = _field(1, "Epochs between checkpoints; a killed run loses at most this many.")
    eval_every_epochs: int = _field(
        0, "Epochs between looks at the test clips for the learning curves; never used to choose weights. 0: off."
    )
    final_model: bool = _field(False, "After the folds, train one model on all clips and save it in `model/`.")
    keep_checkpoints: bool = _field(False, "Keep the checkpoints of finished folds.")
    overwrite_run: bool = _field(False, "Delete a run folder that was made with another recipe, and start anew.")
    save_strategy: str = _field("epoch", "When to checkpoint; see save_every_epochs.")
    logging_strategy: str = _field("epoch", "When to log the training loss.")
    save_total_limit: int | None = _field(2, "Checkpoints kept of a fold; two, so that a kill while writing is safe.")
    report_to: str | list[str] = _field(
        "tensorboard",
        "Where trainings are followed: tensorboard (files in the folds' folders), trackio, wandb, several of them, or "
        "none.",
    )
    dataloader_num_workers: int | None = _field(  # type: ignore[assignment]
        None,
        "Processes that read clips ahead; the results do not depend on it. By default one less than there are "
        "cores, 4 at most, where a GPU trains, and none where the cores themselves do.",
    )
    dataloader_pin_memory: bool = _field(False, "Page-locked batches; of use on a GPU.")
    remove_unused_columns: bool = _field(False, "Has no effect here: clips hold only what the model reads.")

    def __post_init__(self) -> None:
        workers = self.dataloader_num_workers
        self.dataloader_num_workers = 1 if workers is None else workers  # transformers compares numbers
        super().__post_init__()
        self.dataloader_num_workers = workers
        for name in ("warmup_epochs", "ema_decay", "eval_every_epochs"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative.")
        for name in ("num_train_epochs", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0.")
        for name in ("warmup_learning_rate", "min_learning_rate"):
            if not 0 <= getattr(self, name) <= self.learning_rate:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; it must lie between 0 and learning_rate, {self.learning_rate}."
                )
        if self.ema_decay >= 1:
            raise ValueError(f"ema_decay is {self.ema_decay}; it must be below 1, for example 0.99.")
        if self.save_every_epochs < 1:
            raise ValueError(f"save_every_epochs is {self.save_every_epochs}; it must be 1 or more.")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay is {self.layer_decay}; it must lie in (0, 1].")
        if self.save_total_limit is not None and self.save_total_limit < 2:
            raise ValueError(
                f"save_total_limit is {self.save_total_limit}; keep 2 or more, or a run that is killed while it "
                "writes a checkpoint has nothing to resume from."
            )

    def share_batches(self) -> None:
        """Set the batch of each process from `total_batch_size`, where that is set.

        Raises:
            ValueError: it cannot be shared equally.
        """
        if self.total_batch_size is None:
            return
        shares = self.world_size * max(1, self.n_gpu) * self.gradient_accumulation_steps
        share, rest = divmod(self.total_batch_size, shares)
        if rest or share < 1:
            raise ValueError(
                f"total_batch_size is {self.total_batch_size}, which {shares} shares (processes, times "
                f"gradient_accumulation_steps) do not divide; set it to a multiple of {shares}."
            )
        self.per_device_train_batch_size = share

    def num_workers(self) -> int:
        """Processes that read clips ahead: `dataloader_num_workers`, or as many as suit the device."""
        if self.dataloader_num_workers is not None:
            return self.dataloader_num_workers
        fewest = 0 if self.dataloader_prefetch_factor is None and not self.dataloader_persistent_workers else 1
        return fewest if self.device.type == "cpu" else max(fewest, min(4, (os.cpu_count() or 1) - 1))

    def get_warmup_steps(self, num_training_steps: int) -> int:
        """Steps of warm-up: `warmup_epochs` of all epochs, unless `warmup_steps` is set."""
        if self.warmup_steps or not self.warmup_epochs:
            return int(super().get_warmup_steps(num_training_steps))
        # Multiplied before divided: a rounded share of epochs makes one step too many (7 of 100 epochs, say).
        return min(num_training_steps, math.ceil(num_training_steps * self.warmup_epochs / self.num_train_epochs))


ALL_ARGUMENTS: tuple[Any, ...] = (DataArguments, AugmentationArguments, ModelArguments, HSTATrainingArguments)

# Fields that change where or how fast a run goes, not what it computes: a run may be resumed with others.
HARMLESS_FIELDS: frozenset[str] = frozenset(
    {
        "output_dir",
        "cache_dir",
        "drawn_dir",
        "folds",  # each fold has a folder of its own: any may be trained first, and the report takes all there are
        "runner",
        "ray_address",
        "ray_workers",
        "ray_gpus",
        "ray_cpus",
        "ray_retries",
        "report_pictures",
        "overwrite_run",
        "keep_checkpoints",
        "save_every_epochs",
        "save_total_limit",
        "report_to",
        "disable_tqdm",
        "log_level",
        "log_level_replica",
        "logging_dir",
        "dataloader_num_workers",
        "dataloader_pin_memory",
        "dataloader_prefetch_factor",
        "dataloader_persistent_workers",
        "run_name",
    }
)
