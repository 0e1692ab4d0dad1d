"""HSTA: Hierarchical Space-Time Attention for micro-expression recognition (Hao et al.).

Two VideoMAE streams, one over a clip's frames and one over its special frames, fused layer by layer. The sequence of
a stream is [CLS] first, then its patches. Where the paper is silent the authors' released implementation decides;
where the two disagree, `HSTAConfig.block_style` chooses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, VideoMAEConfig
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.videomae.modeling_videomae import (
    VideoMAELayer,
    VideoMAEPatchEmbeddings,
    eager_attention_forward,
    get_sinusoid_encoding_table,
)
from transformers.utils import ModelOutput, logging
from transformers.utils.generic import can_return_tuple

from .configuration_hsta import HSTAConfig
from .token_reduction_hsta import TokenGroups, group_still_patches, temporal_change
from .videomae_checkpoint_hsta import read_videomae
from .videomae_start_hsta import VideoMAEReport, check_fields, load_videomae, stream_configs

logger = logging.get_logger(__name__)


@dataclass
class HSTAModelOutput(ModelOutput):
    """Output of [`HSTAModel`]. Fields of a stream that is off are `None`.

    Args:
        video_cls, special_cls (`(batch, hidden_size)`): the [CLS] of each stream after its final LayerNorm.
        video_hidden_states, special_hidden_states: tuple of M + 1 tensors `(batch, 1 + patches, hidden_size)`, the
            embeddings and then the stream after each HSTA layer, [CLS] first. On `output_hidden_states`.
        video_attentions, special_attentions: tuple of M * L tensors `(batch, heads, 1 + patches, 1 + patches)`, the
            USTA maps; layer l of HSTA layer m is entry `m * L + l`. On `output_attentions`.
        video_cross_attentions, special_cross_attentions: tuple of M tensors `(batch, heads, 1, 1 + patches of the
            other stream)`, the CSTA maps of this stream's [CLS]. On `output_attentions`.
    """

    video_cls: torch.Tensor | None = None
    special_cls: torch.Tensor | None = None
    video_hidden_states: tuple[torch.Tensor, ...] | None = None
    special_hidden_states: tuple[torch.Tensor, ...] | None = None
    video_attentions: tuple[torch.Tensor, ...] | None = None
    special_attentions: tuple[torch.Tensor, ...] | None = None
    video_cross_attentions: tuple[torch.Tensor, ...] | None = None
    special_cross_attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class HSTAClassifierOutput(HSTAModelOutput):
    """Output of [`HSTAForMicroExpressionClassification`]: [`HSTAModelOutput`] with `loss` (a scalar, when labels were
    given) and `logits` (`(batch, num_labels)`, before softmax or sigmoid)."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None


class HSTADropPath(nn.Module):
    """Stochastic depth: drops a residual branch for whole samples during training (Huang et al., 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        if self.rate == 0.0 or not self.training:
            return hidden_states
        keep = 1.0 - self.rate
        shape = (hidden_states.shape[0],) + (1,) * (hidden_states.ndim - 1)
        mask = torch.rand(shape, dtype=hidden_states.dtype, device=hidden_states.device) < keep
        return hidden_states * mask / keep

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    config: VideoMAEConfig,
    num_heads: int,
    output_attentions: bool,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attention of `(batch, queries, width)` over `(batch, keys, width)` with the configured implementation.

    Maps exist only in the eager implementation, so asking for them computes this call eagerly.
    """
    batch, _, width = query.shape
    query, key, value = (x.view(batch, -1, num_heads, width // num_heads).transpose(1, 2) for x in (query, key, value))
    implementation: Callable[..., Any] = eager_attention_forward
    if not output_attentions:
        implementation = ALL_ATTENTION_FUNCTIONS.get_interface(config._attn_implementation, eager_attention_forward)
    context, weights = implementation(
        module,
        query,
        key,
        value,
        None,
        is_causal=False,
        scaling=(width // num_heads) ** -0.5,
        dropout=config.attention_probs_dropout_prob if module.training else 0.0,
    )
    return context.reshape(batch, -1, width), weights if output_attentions else None


class HSTAReleasedUSTA(VideoMAELayer):
    """USTA of the released implementation: a pre-norm VideoMAE encoder layer, with stochastic depth.

    Its parameters carry VideoMAE's names, so that a pretrained encoder layer loads into it as it is.
    """

    def __init__(self, config: VideoMAEConfig, drop_path_rate: float = 0.0) -> None:
        super().__init__(config)
        self.drop_path = HSTADropPath(drop_path_rate)

    def forward(  # type: ignore[override]  # VideoMAE's layer returns no map
        self, hidden_states: torch.Tensor, output_attentions: bool = False, cls_only: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`(batch, 1 + patches, width)` to the same shape, and the map `(batch, heads, 1 + patches, 1 + patches)`;
        with `cls_only`, the [CLS] and its row of the map alone."""
        attention = self.attention.attention
        normed = self.layernorm_before(hidden_states)
        if cls_only:
            hidden_states = hidden_states[:, :1]
        context, weights = _attend(
            attention,
            attention.query(normed[:, :1] if cls_only else normed),
            attention.key(normed),
            attention.value(normed),
            attention.config,
            attention.num_attention_heads,
            output_attentions,
        )
        hidden_states = hidden_states + self.drop_path(self.attention.output(context, hidden_states))
        branch = self.output.dense(self.intermediate(self.layernorm_after(hidden_states)))
        return hidden_states + self.drop_path(self.output.dropout(branch)), weights


class HSTAPaperUSTA(GradientCheckpointingLayer):
    """USTA of the paper, eqs. 2-4: LayerNorm(z + softmax(q k^T / sqrt(d)) v), one head and no MLP."""

    def __init__(self, config: VideoMAEConfig, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.query = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.key = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.value = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.drop_path = HSTADropPath(drop_path_rate)

    def forward(
        self, hidden_states: torch.Tensor, output_attentions: bool = False, cls_only: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`(batch, 1 + patches, width)` to the same shape, and the map `(batch, 1, 1 + patches, 1 + patches)`; with
        `cls_only`, the [CLS] and its row of the map alone."""
        key, value = self.key(hidden_states), self.value(hidden_states)
        if cls_only:
            hidden_states = hidden_states[:, :1]
        context, weights = _attend(self, self.query(hidden_states), key, value, self.config, 1, output_attentions)
        return self.layernorm(hidden_states + self.drop_path(self.dropout(context))), weights


class HSTACrossAttention(GradientCheckpointingLayer):
    """One direction of CSTA (eqs. 8-11): a stream's [CLS] attends to the other stream's patches.

    MLP1 projects the [CLS] to the other stream's width, where it queries itself and the other's patches; MLP2
    projects it back. The released style adds a LayerNorm over the concatenation, heads, biases and an output
    projection.
    """

    def __init__(
        self, own: VideoMAEConfig, other: VideoMAEConfig, block_style: str, drop_path_rate: float = 0.0
    ) -> None:
        super().__init__()
        released = block_style == "released"
        width = other.hidden_size
        self.config = other
        self.num_heads = other.num_attention_heads if released else 1
        self.project = _projection(own.hidden_size, width, own.layer_norm_eps)
        self.layernorm = nn.LayerNorm(width, eps=other.layer_norm_eps) if released else nn.Identity()
        self.query = nn.Linear(width, width, bias=released)
        self.key = nn.Linear(width, width, bias=released)
        self.value = nn.Linear(width, width, bias=released)
        self.output = nn.Linear(width, width) if released else nn.Identity()
        self.dropout = nn.Dropout(other.hidden_dropout_prob)
        self.drop_path = HSTADropPath(drop_path_rate)
        self.revert = _projection(width, own.hidden_size, other.layer_norm_eps)

    def forward(
        self, cls: torch.Tensor, other_patches: torch.Tensor, output_attentions: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """[CLS] `(batch, 1, own width)` and patches `(batch, patches, other width)` to the new [CLS], and its map
        `(batch, heads, 1, 1 + patches)`."""
        projected = self.project(cls)
        tokens = self.layernorm(torch.cat((projected, other_patches), dim=1))
        query = self.query(tokens[:, :1])
        weights: torch.Tensor | None
        if type(self.key) is nn.Linear and type(self.value) is nn.Linear:
            context, weights = self._attend_with_one_query(query, tokens)
        else:  # adapters and quantised layers are more than their weight
            context, weights = _attend(
                self, query, self.key(tokens), self.value(tokens), self.config, self.num_heads, output_attentions
            )
        fused = projected + self.drop_path(self.dropout(self.output(context)))
        return self.revert(fused), weights if output_attentions else None

    def _attend_with_one_query(self, query: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Attention of one query `(batch, 1, width)` over tokens `(batch, tokens, width)` without their keys and
        values: q . (Wk x + bk) = (q Wk) . x + q . bk, and the mean of (Wv x + bv) is Wv (mean of x) + bv. The same
        numbers to rounding, for 2 % of the multiplications at base size."""
        batch, _, width = query.shape
        heads = self.num_heads
        query = query.view(batch, heads, width // heads)
        key_weight, value_weight = (layer.weight.view(heads, -1, width) for layer in (self.key, self.value))
        scores = torch.einsum("bhd,hdw->bhw", query, key_weight) @ tokens.transpose(1, 2)
        if self.key.bias is not None:
            scores = scores + (query * self.key.bias.view(heads, -1)).sum(dim=-1, keepdim=True)
        precise = torch.promote_types(query.dtype, torch.float32)  # half precision sums badly over many tokens
        weights = nn.functional.softmax(scores * (width // heads) ** -0.5, dim=-1, dtype=precise).to(query.dtype)
        weights = nn.functional.dropout(weights, self.config.attention_probs_dropout_prob, self.training)
        shown = weights[:, :, None]  # what is returned lies on the way to the output, so that it has a gradient
        weights = shown[:, :, 0]
        context = torch.einsum("bhw,hdw->bhd", weights @ tokens, value_weight)
        if self.value.bias is not None:  # the weights sum to 1, except under dropout
            context = context + weights.sum(dim=-1, keepdim=True) * self.value.bias.view(heads, -1)
        return context.reshape(batch, 1, width), shown


def _projection(width_in: int, width_out: int, eps: float) -> nn.Sequential:
    """MLP1 and MLP2 of eqs. 8 and 11: LayerNorm, GELU, Linear."""
    return nn.Sequential(nn.LayerNorm(width_in, eps=eps), nn.GELU(), nn.Linear(width_in, width_out))


class HSTAEmbeddings(nn.Module):
    """Tubelet embedding, [CLS] and fixed sinusoidal positions of one stream."""

    position_embeddings: torch.Tensor

    def __init__(self, config: VideoMAEConfig, first_patch_position: int) -> None:
        super().__init__()
        self.first_patch_position = first_patch_position
        self.num_frames = config.num_frames
        self.patch_embeddings = VideoMAEPatchEmbeddings(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        # The table is computed, not stored: a buffer that moves with the module and stays out of its weights, filled
        # by _init_weights, which runs after the module has left the meta device.
        shape = (1, 1 + self.patch_embeddings.num_patches, config.hidden_size)
        self.register_buffer("position_embeddings", torch.empty(shape), persistent=False)

    def position_table(self) -> torch.Tensor:
        """Positions `(1, 1 + patches, width)`, the [CLS]'s first: row 0 of the table, or zeros without a position."""
        patches, width = self.patch_embeddings.num_patches, self.cls_token.shape[-1]
        rows = get_sinusoid_encoding_table(patches + self.first_patch_position, width)
        return rows if self.first_patch_position == 1 else nn.functional.pad(rows, (0, 0, 1, 0))

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """`(batch, frames, channels, height, width)` to `(batch, 1 + patches, hidden_size)`."""
        if pixel_values.shape[1] != self.num_frames:  # the convolution would drop what does not fill a tubelet
            raise ValueError(
                f"The input has {pixel_values.shape[1]} frames; this stream's configuration has "
                f"num_frames={self.num_frames}. Sample as many frames as it says."
            )
        patches = self.patch_embeddings(pixel_values)
        tokens = torch.cat((self.cls_token.expand(patches.shape[0], -1, -1), patches), dim=1)
        return self.dropout(tokens + self.position_embeddings.to(tokens.dtype))


class HSTALayer(nn.Module):
    """One HSTA layer (eq. 14): L_v and L_s USTA layers on the two streams in parallel, then one CSTA."""

    def __init__(self, config: HSTAConfig, drop_path_rate: float) -> None:
        super().__init__()
        usta = HSTAReleasedUSTA if config.block_style == "released" else HSTAPaperUSTA
        video, special = config.stream("video"), config.stream("special")
        video_layers = config.num_video_layers if config.use_video_stream else 0
        special_layers = config.num_special_layers if config.use_special_stream else 0
        self.video = nn.ModuleList(usta(video, drop_path_rate) for _ in range(video_layers))
        self.special = nn.ModuleList(usta(special, drop_path_rate) for _ in range(special_layers))
        self.video_cross: HSTACrossAttention | None = None
        self.special_cross: HSTACrossAttention | None = None
        if config.crosses_streams:
            self.video_cross = HSTACrossAttention(video, special, config.block_style, drop_path_rate)
            self.special_cross = HSTACrossAttention(special, video, config.block_style, drop_path_rate)

    def forward(
        self,
        video: torch.Tensor | None,
        special: torch.Tensor | None,
        output_attentions: bool = False,
        cls_only: bool = False,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, dict[str, list[torch.Tensor]]]:
        """Both streams `(batch, 1 + patches, width)` to the same shapes, and the maps by stream and kind; with
        `cls_only`, for the last layer, only the [CLS] of each stream, and nothing that it does not need."""
        maps: dict[str, list[torch.Tensor]] = {
            "video": [],
            "special": [],
            "video_cross": [],
            "special_cross": [],
        }
        crosses = self.video_cross is not None and self.special_cross is not None
        streams = {"video": video, "special": special}
        for name, layers in (("video", self.video), ("special", self.special)):
            for number, layer in enumerate(layers, start=1):
                last = cls_only and not crosses and number == len(layers)
                streams[name], weights = layer(streams[name], output_attentions, last)
                maps[name].append(weights)
        video, special = streams["video"], streams["special"]
        if self.video_cross is not None and self.special_cross is not None:
            assert video is not None and special is not None
            # Both directions read the streams as they were before the CSTA.
            video_cls, weights = self.video_cross(video[:, :1], special[:, 1:], output_attentions)
            maps["video_cross"].append(weights)
            special_cls, weights = self.special_cross(special[:, :1], video[:, 1:], output_attentions)
            maps["special_cross"].append(weights)
            if cls_only:
                return video_cls, special_cls, maps
            video = torch.cat((video_cls, video[:, 1:]), dim=1)
            special = torch.cat((special_cls, special[:, 1:]), dim=1)
        return video, special, maps


class HSTAPreTrainedModel(PreTrainedModel):
    """Weight initialisation and what transformers has to know about HSTA."""

    config_class = HSTAConfig
    config: HSTAConfig
    base_model_prefix = "hsta"
    main_input_name = "pixel_values"
    input_modalities = "video"
    supports_gradient_checkpointing = True
    _no_split_modules = ["HSTAEmbeddings", "HSTAReleasedUSTA", "HSTAPaperUSTA", "HSTACrossAttention"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    def __init__(self, config: HSTAConfig) -> None:
        config.check_token_reduction()  # from_pretrained(…, token_reduction=…) sets it behind the configuration's back
        super().__init__(config)
        for stream in (config.stream("video"), config.stream("special")):
            if stream._attn_implementation is None:
                stream._attn_implementation_internal = config._attn_implementation

    def post_init(self) -> None:
        super().post_init()
        # FSDP wraps by class name and refuses the name of a class that this style or stream does not have.
        present = {type(module).__name__ for module in self.modules()}
        self._no_split_modules = sorted(present.intersection(self._no_split_modules or ()))

    def set_attn_implementation(self, attn_implementation: str | dict, *args: Any, **kwargs: Any) -> None:
        """As in transformers, `"eager"`, `"sdpa"`, …; the streams, which are no models of their own, follow."""
        if isinstance(attn_implementation, dict):
            super().set_attn_implementation(attn_implementation, *args, **kwargs)
            return
        super().set_attn_implementation({"": attn_implementation}, *args, **kwargs)
        for stream in (self.config.stream("video"), self.config.stream("special")):
            stream._attn_implementation_internal = self.config._attn_implementation

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, HSTAEmbeddings):
            init.normal_(module.cls_token, mean=0.0, std=self.config.initializer_range)
            init.copy_(module.position_embeddings, module.position_table())


class HSTAModel(HSTAPreTrainedModel):
    """The two streams and their HSTA layers, without a head.

    Args:
        config ([`HSTAConfig`]): geometry and style.
    """

    # AutoModel on a classifier's folder: its head is left out on purpose, which needs no report.
    _keys_to_ignore_on_load_unexpected = [r"^classifier\."]  # noqa: RUF012

    def __init__(self, config: HSTAConfig) -> None:
        super().__init__(config)
        self.video_embeddings: HSTAEmbeddings | None = None
        self.special_embeddings: HSTAEmbeddings | None = None
        self.video_layernorm: nn.LayerNorm | None = None
        self.special_layernorm: nn.LayerNorm | None = None
        if config.use_video_stream:
            self.video_embeddings = HSTAEmbeddings(config.stream("video"), config.first_patch_position)
            self.video_layernorm = _final_layernorm(config.stream("video"))
        if config.use_special_stream:
            self.special_embeddings = HSTAEmbeddings(config.stream("special"), config.first_patch_position)
            self.special_layernorm = _final_layernorm(config.stream("special"))
        deepest = max(config.num_hsta_layers - 1, 1)
        self.layers = nn.ModuleList(
            HSTALayer(config, config.drop_path_rate * m / deepest) for m in range(config.num_hsta_layers)
        )
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The tubelet embedding of the video stream, or of the special stream where it runs alone."""
        embeddings = self.video_embeddings if self.video_embeddings is not None else self.special_embeddings
        assert embeddings is not None
        return embeddings.patch_embeddings

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        special_pixel_values: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> HSTAModelOutput:
        """Run both streams.

        Args:
            pixel_values: `(batch, frames, channels, height, width)`, the frames of the clip. Not read, and may be
                `None`, where the video stream is off.
            special_pixel_values: `(batch, special frames, channels, height, width)`, onset and apex by default. Not
                read, and may be `None`, where the special stream is off.
            output_attentions: return the USTA and CSTA maps; this forward pass then attends eagerly.
            output_hidden_states: return the streams after the embeddings and after each HSTA layer.

        Raises:
            ValueError: if a stream that is on has no input, or its frames or pixels are not as configured.
        """
        output_attentions = self.config.output_attentions if output_attentions is None else output_attentions
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        video = self._embed("pixel_values", pixel_values, self.video_embeddings)
        special = self._embed("special_pixel_values", special_pixel_values, self.special_embeddings)
        groups = self._group_tokens(pixel_values)
        if groups is not None and video is not None:
            video = groups.merge(video)
        video_states, special_states = [video], [special]
        maps: dict[str, list[torch.Tensor]] = {}
        for number, layer in enumerate(self.layers, start=1):
            # Of the last layer only the [CLS] is read, unless hidden states or maps are to be shown.
            cls_only = number == len(self.layers) and not output_hidden_states and not output_attentions
            video, special, layer_maps = layer(video, special, bool(output_attentions), cls_only)
            video_states.append(video)
            special_states.append(special)
            for name, weights in layer_maps.items():
                maps.setdefault(name, []).extend(weights)
        if groups is not None and output_hidden_states:
            video_states = [groups.unmerge(state) for state in video_states if state is not None]
        if groups is not None and output_attentions:
            maps["video"] = [groups.unmerge_map(weights) for weights in maps["video"]]
            maps["special_cross"] = [groups.unmerge_keys(weights) for weights in maps["special_cross"]]

        def kept(values: list[Any], wanted: bool | None, stream: torch.Tensor | None) -> tuple[Any, ...] | None:
            return tuple(values) if wanted and stream is not None else None

        crossed = output_attentions and self.config.crosses_streams
        return HSTAModelOutput(
            video_cls=_final_cls(video, self.video_layernorm),
            special_cls=_final_cls(special, self.special_layernorm),
            video_hidden_states=kept(video_states, output_hidden_states, video),
            special_hidden_states=kept(special_states, output_hidden_states, special),
            video_attentions=kept(maps["video"], output_attentions, video),
            special_attentions=kept(maps["special"], output_attentions, special),
            video_cross_attentions=kept(maps["video_cross"], crossed, video),
            special_cross_attentions=kept(maps["special_cross"], crossed, special),
        )

    def _group_tokens(self, pixel_values: torch.Tensor | None) -> TokenGroups | None:
        """Which tokens of the video stream are merged, or `None` where `token_reduction` is off."""
        self.config.check_token_reduction()  # it may have been set after the model was made
        if not self.config.token_reduction or self.video_embeddings is None or pixel_values is None:
            return None
        patches = self.video_embeddings.patch_embeddings
        height, width = patches.patch_size
        change = temporal_change(pixel_values, patches.tubelet_size, (height, width))
        merged_away = min(int(self.config.token_reduction * patches.num_patches), change[0].numel())
        return group_still_patches(change, merged_away)

    @staticmethod
    def _embed(name: str, pixels: torch.Tensor | None, embeddings: HSTAEmbeddings | None) -> torch.Tensor | None:
        if embeddings is None:
            return None
        if pixels is None:
            raise ValueError(f"HSTA needs {name} of shape (batch, frames, channels, height, width); it got None.")
        if pixels.ndim != 5:
            raise ValueError(
                f"{name} has shape {tuple(pixels.shape)}; wanted (batch, frames, channels, height, width)."
            )
        return embeddings(pixels)


def _final_layernorm(config: VideoMAEConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)


def _final_cls(stream: torch.Tensor | None, layernorm: nn.LayerNorm | None) -> torch.Tensor | None:
    return None if stream is None or layernorm is None else layernorm(stream[:, 0])


class HSTAForMicroExpressionClassification(HSTAPreTrainedModel):
    """HSTA with a linear head over [special [CLS] ‖ video [CLS]], for emotions or action units.

    Args:
        config ([`HSTAConfig`]): `num_labels`, `id2label`, `problem_type` and `classification_loss` shape the head.

    Attributes:
        videomae_report ([`VideoMAEReport`] or `None`): what [`from_videomae`] loaded, skipped and initialised.
    """

    videomae_report: VideoMAEReport | None = None

    def __init__(self, config: HSTAConfig) -> None:
        super().__init__(config)
        self.num_labels = int(config.num_labels or 0)
        self.hsta = HSTAModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, self.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        special_pixel_values: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> HSTAClassifierOutput:
        """Classify clips.

        Args:
            pixel_values: `(batch, frames, channels, height, width)`, see [`HSTAModel`].
            special_pixel_values: `(batch, special frames, channels, height, width)`.
            labels: `(batch,)` class indices; for `problem_type="multi_label_classification"` a `(batch, num_labels)`
                tensor of zeros and ones.
            output_attentions, output_hidden_states: as in [`HSTAModel`].
        """
        outputs = self.hsta(
            pixel_values,
            special_pixel_values,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        cls = [x for x in (outputs.special_cls, outputs.video_cls) if x is not None]
        logits = self.classifier(self.dropout(torch.cat(cls, dim=-1)))
        loss = None if labels is None else self.classification_loss(logits, labels)
        return HSTAClassifierOutput(loss=loss, logits=logits, **outputs)

    def classification_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Loss of `(batch, num_labels)` logits as `config.classification_loss` and `config.problem_type` say (eq. 16).

        Raises:
            ValueError: for labels of the wrong shape, or a `problem_type` that is not classification.
        """
        problem = self.config.problem_type or "single_label_classification"
        cross_entropy = self.config.classification_loss == "cross_entropy"
        if problem == "single_label_classification":
            if labels.shape != logits.shape[:1]:
                raise ValueError(
                    f"labels have shape {tuple(labels.shape)}; wanted ({logits.shape[0]},) class indices."
                )
            if cross_entropy:
                return nn.functional.cross_entropy(logits, labels)
            target = nn.functional.one_hot(labels, self.num_labels).to(logits.dtype)
            return nn.functional.mse_loss(logits.softmax(-1), target)
        if problem == "multi_label_classification":
            if labels.shape != logits.shape:
                raise ValueError(f"labels have shape {tuple(labels.shape)}; wanted {tuple(logits.shape)} of 0 and 1.")
            target = labels.to(logits.dtype)
            if cross_entropy:
                return nn.functional.binary_cross_entropy_with_logits(logits, target)
            return nn.functional.mse_loss(logits.sigmoid(), target)
        raise ValueError(
            f"problem_type is {problem!r}; HSTA knows single_label_classification and multi_label_classification."
        )

    @classmethod
    def from_videomae(cls, path_or_repo: str, **config: Any) -> HSTAForMicroExpressionClassification:
        """Start both streams from a VideoMAE or VideoMAE v2 checkpoint.

        The first M * L_v encoder layers go to the video stream in order, the first M * L_s to the special stream, and
        the tubelet embedding to both. Positions are computed: a stream takes the first rows of the checkpoint's
        table, so 6 frames take the first 3 of its 8 tubelet slots. What was loaded, skipped and initialised is
        logged, and kept in `model.videomae_report` with the positions taken.

        Args:
            path_or_repo: a folder or Hub repository with a VideoMAE model of transformers or of VideoMAE v2 (no code
                of it is run), or one `.safetensors` or `.pth` file of the original layout.
            config: fields of [`HSTAConfig`]; `video_config` and `special_config` dictionaries are merged into the
                checkpoint's configuration, whose geometry both streams take otherwise. A single file does not tell
                its heads: `video_config={"num_attention_heads": 12}`.

        Raises:
            FileNotFoundError: if there is no such checkpoint; the files looked for are named.
            ValueError: if `config` names a field that [`HSTAConfig`] does not have; if `block_style="paper"`, whose
                layers cannot hold VideoMAE's; if the checkpoint is no VideoMAE, or has learned positions or other
                parts that the streams do not have.
        """
        check_fields(config, HSTAConfig)
        if config.get("block_style", "released") != "released":
            raise ValueError("Only block_style='released' can start from VideoMAE: the paper's USTA has no MLP.")
        source = read_videomae(path_or_repo)
        # A half-precision checkpoint starts a float32 model; cast afterwards if you want it smaller.
        model = cls(HSTAConfig(**{**config, **stream_configs(source, config)}))
        model.videomae_report = load_videomae(source, model)
        logger.info("%s", model.videomae_report)
        return model


__all__ = ["HSTAForMicroExpressionClassification", "HSTAModel", "HSTAPreTrainedModel"]
