"""Configuration of HSTA, the Hierarchical Space-Time Attention model for micro-expression recognition."""

from __future__ import annotations

import copy
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig, VideoMAEConfig
from transformers.configuration_utils import SubConfigSpec

# What a nested stream configuration takes where it says nothing: the paper's frame counts, and the released
# implementation's LayerNorm epsilon.
_STREAM_DEFAULTS: dict[str, dict[str, Any]] = {
    "video_config": {"num_frames": 6, "layer_norm_eps": 1e-6, "use_mean_pooling": False},
    "special_config": {"num_frames": 2, "layer_norm_eps": 1e-6, "use_mean_pooling": False},
}

# Model sizes as data: `HSTAConfig.from_preset(name)`. Every preset runs 6 video frames and 2 special frames; depth
# is the paper's choice (M=4, L_v=2, L_s=1) unless the preset says otherwise.
HSTA_PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "stream": {
            "hidden_size": 192,
            "num_attention_heads": 3,
            "intermediate_size": 768,
            "image_size": 112,
            "patch_size": 16,
        },
        "num_hsta_layers": 2,
        "num_video_layers": 1,
        "num_special_layers": 1,
    },
    "small": {"stream": {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}},
    "base": {"stream": {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}},
}

# Which class in which of the code files beside a saved model each Auto class loads, with `trust_remote_code=True`.
_AUTO_MAP = {
    "AutoConfig": "configuration_hsta.HSTAConfig",
    "AutoModel": "modeling_hsta.HSTAModel",
    "AutoModelForVideoClassification": "modeling_hsta.HSTAForMicroExpressionClassification",
}

_CHOICES: dict[str, tuple[str, ...]] = {
    "block_style": ("released", "paper"),
    "classification_loss": ("mse", "cross_entropy"),
}


@strict
class HSTAConfig(PreTrainedConfig):
    r"""Configuration of [`HSTAModel`] and [`HSTAForMicroExpressionClassification`].

    The defaults are the paper's choice at VideoMAE-base width: 6 video frames and 2 special frames (onset, apex) of
    224 x 224 pixels, M=4, L_v=2, L_s=1.

    Args:
        video_config (`dict` or `VideoMAEConfig`, *optional*):
            Geometry of the video stream: width, heads, patch, tubelet, image size and number of frames. Its
            `num_hidden_layers` is not read: the depth is `num_hsta_layers * num_video_layers`.
        special_config (`dict` or `VideoMAEConfig`, *optional*):
            Geometry of the special stream, likewise; its `num_frames` is the number of special frames.
        num_hsta_layers (`int`, defaults to 4):
            M, the number of HSTA layers (paper, eq. 15).
        num_video_layers (`int`, defaults to 2):
            L_v, the USTA layers that one HSTA layer has on the video stream (eq. 7). May be 0.
        num_special_layers (`int`, defaults to 1):
            L_s, likewise on the special stream. May be 0.
        use_video_stream, use_special_stream (`bool`, defaults to `True`):
            Switch one stream off for ablations; the other then runs alone, without CSTA.
        use_csta (`bool`, defaults to `True`):
            Whether each HSTA layer ends in crossmodal space-time attention (eqs. 8-13).
        block_style (`str`, defaults to `"released"`):
            `"released"`: pre-norm VideoMAE encoder layers and multi-head cross-attention, as the authors' released
            implementation. `"paper"`: eqs. 3 and 8-11 to the letter, single head and no MLP.
        first_patch_position (`int`, defaults to 0):
            Row of the sinusoid table that the first patch takes. 0: as VideoMAE checkpoints expect, the [CLS] has no
            position. 1: as the released implementation, where row 0 is added to the [CLS].
        token_reduction (`float`, defaults to 0.0):
            Share of the video stream's patches that are saved by merging tubelets that do not move into the one
            before them; 0 is off and exact. With t tubelets at most 1 - 1/t (2/3 for 6 frames), since every place
            keeps a token. May be changed on a trained model; hidden states and maps keep their shapes.
        classification_loss (`str`, defaults to `"mse"`):
            `"mse"`: mean squared error between softmax scores and the one-hot label (eq. 16). `"cross_entropy"`: as
            the released implementation. For `problem_type="multi_label_classification"` (action units) the scores
            are sigmoids and the cross-entropy is binary.
        drop_path_rate (`float`, defaults to 0.0):
            Stochastic depth of the last layer; the rate rises linearly from 0 with depth.
        classifier_dropout (`float`, defaults to 0.0):
            Dropout on the concatenated [CLS] before the head. Dropout inside the layers is set by
            `hidden_dropout_prob` and `attention_probs_dropout_prob` of the nested configurations.
        initializer_range (`float`, defaults to 0.02):
            Standard deviation of the normal initialisation of weights and [CLS].
        training_data (`dict`, *optional*):
            What the weights, and those that they started from, were trained on: databases, protocols and digests of
            the people. Training writes it, and refuses to test a model on people whom it has seen. It changes nothing
            in the model.

    Example:

    ```python
    >>> from hsta_hf import HSTAConfig, HSTAForMicroExpressionClassification

    >>> config = HSTAConfig.from_preset("tiny", num_labels=7)
    >>> model = HSTAForMicroExpressionClassification(config)
    ```
    """

    model_type = "hsta"
    sub_configs_defaults = {  # noqa: RUF012
        "video_config": SubConfigSpec(config_class=VideoMAEConfig),
        "special_config": SubConfigSpec(config_class=VideoMAEConfig),
    }

    # Dictionaries and None are taken too; __post_init__ turns them into VideoMAEConfigs.
    video_config: dict | VideoMAEConfig | None = None
    special_config: dict | VideoMAEConfig | None = None
    num_hsta_layers: int = 4
    num_video_layers: int = 2
    num_special_layers: int = 1
    use_video_stream: bool = True
    use_special_stream: bool = True
    use_csta: bool = True
    block_style: str = "released"
    first_patch_position: int = 0
    token_reduction: float | int = 0.0
    classification_loss: str = "mse"
    drop_path_rate: float | int = 0.0
    classifier_dropout: float | int = 0.0
    initializer_range: float = 0.02
    training_data: dict | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        for name, defaults in _STREAM_DEFAULTS.items():
            value = getattr(self, name)
            if value is None or isinstance(value, dict):
                setattr(self, name, {**defaults, **(value or {})})
        super().__post_init__(**kwargs)
        # Saving a model notes the class that was saved only; its folder serves the other Auto classes as well.
        self.auto_map = {**_AUTO_MAP, **(getattr(self, "auto_map", None) or {})}
        self._check()

    def _check(self) -> None:
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in choices:
                raise ValueError(f"HSTAConfig.{field} is {getattr(self, field)!r}; use one of {', '.join(choices)}.")
        if not (self.use_video_stream or self.use_special_stream):
            raise ValueError("HSTAConfig switches both streams off; leave use_video_stream or use_special_stream on.")
        if self.num_hsta_layers < 1:
            raise ValueError(f"HSTAConfig.num_hsta_layers (M) is {self.num_hsta_layers}; it must be at least 1.")
        for field in ("num_video_layers", "num_special_layers"):
            if getattr(self, field) < 0:
                raise ValueError(f"HSTAConfig.{field} is {getattr(self, field)}; it must be 0 or more.")
        if not 0 <= self.drop_path_rate < 1:
            raise ValueError(f"HSTAConfig.drop_path_rate is {self.drop_path_rate}; it must be 0 or more and below 1.")
        if self.first_patch_position not in (0, 1):
            raise ValueError(
                f"HSTAConfig.first_patch_position is {self.first_patch_position}; it is 0 (VideoMAE) or 1 (released)."
            )
        for name in _STREAM_DEFAULTS:
            stream = getattr(self, name)
            if stream.num_frames < 1:
                raise ValueError(f"HSTAConfig.{name}: num_frames is {stream.num_frames}; it must be at least 1.")
            if stream.num_frames % stream.tubelet_size:
                raise ValueError(
                    f"HSTAConfig.{name}: num_frames={stream.num_frames} is not a multiple of "
                    f"tubelet_size={stream.tubelet_size}; tubelet_size=1 takes any number of frames."
                )
            if stream.hidden_size % stream.num_attention_heads:
                raise ValueError(
                    f"HSTAConfig.{name}: hidden_size={stream.hidden_size} is not a multiple of "
                    f"num_attention_heads={stream.num_attention_heads}."
                )
        self.check_token_reduction()

    def check_token_reduction(self) -> None:
        """Raise ValueError if `token_reduction` is more than the video stream's frames allow; see the class."""
        tubelets = self.stream("video").num_frames // self.stream("video").tubelet_size
        most = round(1 - 1 / tubelets, 3)
        ratio: Any = self.token_reduction  # from_pretrained sets it without a look
        if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0 <= ratio <= most:
            raise ValueError(
                f"HSTAConfig.token_reduction is {ratio!r}; {tubelets} tubelets "
                f"({self.stream('video').num_frames} frames) allow a number from 0 to {most}."
            )

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> HSTAConfig:
        """A configuration of a named size (`"tiny"`, `"small"`, `"base"`), with any field overridden.

        `video_config` and `special_config` given as dictionaries are merged into the preset's; every other keyword
        replaces the preset's field.

        Raises:
            ValueError: if there is no preset of that name.
        """
        if name not in HSTA_PRESETS:
            raise ValueError(f"There is no preset {name!r}; use one of {', '.join(HSTA_PRESETS)}.")
        fields = copy.deepcopy(HSTA_PRESETS[name])
        stream = fields.pop("stream")
        for key in _STREAM_DEFAULTS:
            given = overrides.pop(key, None)
            if isinstance(given, PreTrainedConfig):
                fields[key] = given
            else:
                fields[key] = {**stream, **(given or {})}
        return cls(**{**fields, **overrides})

    def stream(self, name: str) -> VideoMAEConfig:
        """The configuration of the `"video"` or the `"special"` stream."""
        config = getattr(self, f"{name}_config")
        assert isinstance(config, VideoMAEConfig), f"{name}_config is {type(config)} after initialisation"
        return config

    @property
    def num_frames(self) -> int:
        """Frames of the video stream; transformers' video-classification pipeline asks for it."""
        return self.stream("video").num_frames

    @property
    def hidden_size(self) -> int:
        """Width of what the head reads: the [CLS] of the streams in use, side by side."""
        video = self.stream("video").hidden_size if self.use_video_stream else 0
        special = self.stream("special").hidden_size if self.use_special_stream else 0
        return video + special

    @property
    def crosses_streams(self) -> bool:
        """Whether the HSTA layers hold a CSTA: it is asked for and there are two streams to cross."""
        return self.use_csta and self.use_video_stream and self.use_special_stream


__all__ = ["HSTA_PRESETS", "HSTAConfig"]
