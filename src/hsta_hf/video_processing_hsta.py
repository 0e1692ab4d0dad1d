"""HSTAVideoProcessor: a clip in, `pixel_values` and `special_pixel_values` out.

The file is copied into saved model folders, so it imports nothing of this package but its neighbours.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling
from transformers.models.auto.modeling_auto import MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES
from transformers.processing_utils import VideosKwargs
from transformers.video_processing_utils import BaseVideoProcessor

from .clip_arguments_hsta import as_clips, as_face_alignment, as_size, clip_name, per_clip, size_dict
from .frame_selection import sample_uniform, special_frame_indices, spot_apex_in_small
from .optical_flow_hsta import FLOW_METHODS, flow_channels, head_motion, optical_flow, warp
from .video_reading_hsta import ClipReader, open_clip

STREAM_INPUTS = ("frames", "difference", "optical_flow")
_SIZE = {"height": 224, "width": 224}
_SPECIAL_FRAMES = ["onset", "apex"]
_UNSUPPORTED = ("do_center_crop", "do_pad", "crop_size", "fps", "video_metadata", "return_metadata", "data_format")


class HSTAVideoProcessorKwargs(VideosKwargs, total=False):
    """Fields of `HSTAVideoProcessor`; its docstring says what they mean."""

    special_frames: list[str]
    special_size: dict[str, int] | int | None
    video_input: str
    special_input: str
    difference_scale: float
    flow_scale: float
    strain_scale: float
    flow_method: str
    flow_size: dict[str, int] | int | None
    remove_head_motion: bool
    face_alignment: dict[str, Any] | None


class HSTAVideoProcessor(BaseVideoProcessor):
    """Turns clips into the two streams of HSTA. All fields are saved with the model.

    Args:
        size: {"height", "width"} of the video stream's pictures, in pixels; the whole picture is resized to it.
        special_size: the same for the special stream; None takes `size`.
        num_frames: frames of the video stream, sampled uniformly from onset to offset.
        special_frames: frames of the special stream, names out of "onset", "apex", "offset".
        do_sample_frames: False takes every frame from onset to offset into the video stream instead.
        do_resize, do_rescale, rescale_factor, do_normalize, image_mean, image_std, resample: as in other video
            processors; ImageNet's mean and standard deviation, as the released implementation has them.
        video_input, special_input: what a stream shows.
            "frames": RGB pictures, rescaled and normalised.
            "difference": each frame minus the onset frame, on a 0..1 scale, times `difference_scale`.
            "optical_flow": (u, v, strain) in place of RGB. In the video stream, the flow from the onset to each
            frame. In the special stream, the flow that leaves the named frame: "onset" is the flow from onset to
            apex, "apex" from apex to offset, "offset" (which nothing leaves) the whole way from onset to offset.
        difference_scale: factor on differences.
        flow_scale: u and v are divided by this many pixels.
        strain_scale: strain is divided by this many pixels per pixel.
        flow_method: "farneback", "dis" or "tvl1" (which needs opencv-contrib-python-headless).
        flow_size: {"height", "width"} at which flow is computed, in whose pixels it counts, before it is resized
            to the stream; None is the stream's own size. Small streams (28x28) need a larger one.
        remove_head_motion: take out the affine motion shared by the whole picture: subtracted from flows, and
            undone before a difference is taken. "frames" stay as they are.
        face_alignment: how faces were aligned in the clips that the model was trained on: {"size": side of the
            aligned square in pixels, "stabilise": whether the head's motion since the onset was undone as well}.
            None: they were taken as they came, or the model is older than this field. It is a note for whoever
            makes clips: the processor, which has no face detector, aligns nothing and takes frames as they are given.
            `hsta predict` and `hsta_hf.prediction.Predictor` align as it says before they call the processor.
    """

    resample = PILImageResampling.BILINEAR
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    size = _SIZE
    default_to_square = True
    do_resize = True
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    do_convert_rgb = True
    do_sample_frames = True
    num_frames = 6
    special_frames = _SPECIAL_FRAMES
    special_size = None
    video_input = "frames"
    special_input = "frames"
    difference_scale = 10.0
    flow_scale = 1.0
    strain_scale = 0.1
    flow_method = "farneback"
    flow_size = None
    remove_head_motion = False
    face_alignment = None
    valid_kwargs = HSTAVideoProcessorKwargs  # type: ignore[assignment]
    model_input_names = ["pixel_values", "special_pixel_values"]  # noqa: RUF012 - transformers' own convention

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.special_size = as_size(self.special_size, "special_size")
        self.flow_size = as_size(self.flow_size, "flow_size")
        as_size(self.size, "size")
        self.face_alignment = as_face_alignment(self.face_alignment)
        for field in ("video_input", "special_input"):
            if getattr(self, field) not in STREAM_INPUTS:
                raise ValueError(f"{field} is {getattr(self, field)!r}; it must be one of {STREAM_INPUTS}")
        if self.flow_method not in FLOW_METHODS:
            raise ValueError(f"flow_method is {self.flow_method!r}; it must be one of {FLOW_METHODS}")
        for field in ("difference_scale", "flow_scale", "strain_scale", "num_frames"):
            if not getattr(self, field) > 0:
                raise ValueError(f"{field} is {getattr(self, field)!r}; it must be above 0")
        self.special_frames = list(self.special_frames)
        special_frame_indices(0, 0, 0, self.special_frames)  # names the unknown ones
        for field in _UNSUPPORTED:
            if getattr(self, field, None):
                raise ValueError(f"HSTAVideoProcessor does not support {field} (given: {getattr(self, field)!r})")

    def preprocess(
        self,
        videos: Any,
        onset: int | Sequence[int | None] | None = None,
        apex: int | Sequence[int | None] | None = None,
        offset: int | Sequence[int | None] | None = None,
        num_frames: int | None = None,
        return_tensors: str | None = "pt",
        return_frame_indices: bool = False,
        **overrides: Any,
    ) -> BatchFeature:
        """Decode, choose frames, and prepare both streams. Also what calling the processor does.

        Args:
            videos: one clip or a list of clips. A clip is the path of a video file or of a folder of frames, an
                http(s) URL, the bytes of a video file, an array or tensor (T, H, W), (T, H, W, C) or (T, C, H, W)
                with 1, 3 or 4 channels (alpha is dropped), or a list of frames (arrays, tensors, PIL images, paths
                of picture files), or a `ClipReader`. A five-dimensional array is a batch. In a list, arrays of three
                dimensions with 1, 3 or 4 channels first or last are frames of one clip; give greyscale clips of 1, 3
                or 4 frames as (T, H, W, 1).
            onset, apex, offset: indices, from 0, of frames in the clip; for several clips, lists with one entry (or
                None) each. Missing: the first frame, `frame_selection.spot_apex`, the last frame.
            num_frames: frames of the video stream, in place of the processor's own.
            return_tensors: "pt", "np", or None for lists of tensors, one a clip.
            return_frame_indices: also return `frame_indices`: per clip a dict of onset, apex, offset (int) and
                video (list of int).
            overrides: any field of the processor, for this call only; `device` to put the result on. None leaves a
                field as it is, but for `special_size` and `flow_size`, where None is a value.

        Returns:
            BatchFeature with `pixel_values` (B, num_frames, 3, H, W) and `special_pixel_values`
            (B, len(special_frames), 3, H', W'), float32.

        Raises:
            FileNotFoundError, VideoReadError (a ValueError): the source cannot be read; the message names it.
            ValueError: if onset, apex and offset do not lie in order inside the clip; names clip and values.
            TypeError: if an override is not a field of the processor.
        """
        device = overrides.pop("device", None)
        input_data_format = overrides.pop("input_data_format", None)
        processor = self._overridden(num_frames=num_frames, **overrides)
        clips = as_clips(videos)
        onsets = per_clip(onset, len(clips), "onset")
        apexes = per_clip(apex, len(clips), "apex")
        offsets = per_clip(offset, len(clips), "offset")
        video, special, indices = [], [], []
        for number, clip in enumerate(clips):
            reader = open_clip(clip, clip_name(number, len(clips)), input_data_format)
            try:
                streams = processor._prepare_clip(reader, onsets[number], apexes[number], offsets[number])
            finally:
                reader.close()
            video.append(processor.finish(streams[0], processor.video_input))
            special.append(processor.finish(streams[1], processor.special_input))
            indices.append(streams[2])
        batch = BatchFeature(
            {
                "pixel_values": _collate(video, return_tensors, device),
                "special_pixel_values": _collate(special, return_tensors, device),
            }
        )
        if return_frame_indices:
            batch["frame_indices"] = indices
        return batch

    def select_and_prepare(
        self,
        frames: np.ndarray,
        onset: int = 0,
        apex: int | None = None,
        offset: int | None = None,
        video_indices: Sequence[int] | np.ndarray | None = None,
        flows: np.ndarray | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One clip in memory to both streams, as `preprocess` gives them.

        Args and errors are those of `prepare_unnormalised`, whose streams this passes through `finish`.

        Returns:
            (F, 3, H, W) and (S, 3, H', W') float32 tensors.
        """
        video, special = self.prepare_unnormalised(frames, onset, apex, offset, video_indices, flows)
        return self.finish(video, self.video_input), self.finish(special, self.special_input)

    def prepare_unnormalised(
        self,
        frames: np.ndarray,
        onset: int = 0,
        apex: int | None = None,
        offset: int | None = None,
        video_indices: Sequence[int] | np.ndarray | None = None,
        flows: np.ndarray | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One clip in memory to both streams, short of `finish`, so that pictures stay small until the device.

        Args:
            frames: (T, H, W, 3) uint8 RGB, or anything else that `preprocess` takes as one clip.
            onset, apex, offset: indices into `frames`; apex None is spotted, offset None is the last frame.
            video_indices: frames of the video stream in place of the uniform ones (train-time augmentation).
            flows: (2, H'', W'', 3) float32, what `optical_flow_hsta.special_flows` gave for this onset, apex and
                offset with this processor's `flow_settings()`: taken into the special stream in place of computing
                them. The caller sees to it that settings and frames are those; only the shape can be checked here.
                Unused where `special_input` is not "optical_flow".

        Returns:
            The video stream (F, 3, H, W) and the special stream (S, 3, H', W'): uint8 pictures where the stream's
            input is "frames", otherwise float32 and finished.

        Raises:
            ValueError: if onset, apex and offset do not lie in order inside the clip, or `flows` have the shape of
                another flow size.
        """
        reader = open_clip(frames, "the clip")
        try:
            video, special, _ = self._prepare_clip(reader, onset, apex, offset, video_indices, flows)
        finally:
            reader.close()
        return video, special

    def finish(self, stream: torch.Tensor, kind: str) -> torch.Tensor:
        """The last step of a stream, on whatever device it is: pictures are rescaled and normalised.

        Args:
            stream: (..., 3, H, W), of `prepare_unnormalised`; batches of it, too. It is not changed.
            kind: `video_input` or `special_input`, whichever stream it is.

        Returns:
            The same shape, float32; streams that are not "frames" are returned as they are.

        Raises:
            ValueError: if `kind` is unknown.
        """
        if kind not in STREAM_INPUTS:
            raise ValueError(f"a stream's input is {kind!r}; it must be one of {STREAM_INPUTS}")
        if kind != "frames":
            return stream.float()
        return self.rescale_and_normalize(
            stream, self.do_rescale, self.rescale_factor, self.do_normalize, self.image_mean, self.image_std
        ).float()

    def flow_settings(self) -> dict[str, Any]:
        """How the special stream's flow is computed: arguments of `special_flows`, and fit for JSON.

        Flow stored with equal settings may be given as `flows`. "size" is {"height", "width"} in pixels, or None for
        the frames' own (`do_resize` False). Where `resample` is not bilinear, "resample" is in it too, so that
        the settings equal no stored ones: `special_flows` resizes bilinearly.
        """
        size = dict(size_dict(self.flow_size or self.special_size or self.size)) if self.do_resize else None
        settings: dict[str, Any] = {
            "method": self.flow_method,
            "size": None if size is None else {"height": int(size["height"]), "width": int(size["width"])},
            "remove_head_motion": bool(self.remove_head_motion),
        }
        if self.do_resize and self.resample not in (None, PILImageResampling.BILINEAR):
            settings["resample"] = str(self.resample)
        return settings

    def _overridden(self, **overrides: Any) -> "HSTAVideoProcessor":
        """This processor, or a copy with other fields."""
        known = self.valid_kwargs.__annotations__
        unknown = sorted(set(overrides) - set(known))
        if unknown:
            raise TypeError(f"HSTAVideoProcessor has no field {unknown}; its fields are {sorted(known)}")
        values = {k: v.tolist() if isinstance(v, (np.ndarray, torch.Tensor)) else v for k, v in overrides.items()}
        given = {k: v for k, v in values.items() if v is not None or k in ("special_size", "flow_size")}
        changed = {k: v for k, v in given.items() if v != getattr(self, k, None)}
        if not changed:
            return self
        fields = {k: v for k, v in self.to_dict().items() if k in known}
        return type(self)(**{**fields, **changed})

    def _prepare_clip(
        self,
        reader: ClipReader,
        onset: int | None,
        apex: int | None,
        offset: int | None,
        video_indices: Sequence[int] | np.ndarray | None = None,
        flows: np.ndarray | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Both streams of a clip, short of `finish`, and the indices that were chosen."""
        onset, apex, offset = locate(reader, onset, apex, offset)
        if video_indices is None:
            video_indices = (
                sample_uniform(onset, offset, self.num_frames)
                if self.do_sample_frames
                else np.arange(onset, offset + 1, dtype=np.int64)
            )
        chosen = [int(index) for index in video_indices]
        special = special_frame_indices(onset, apex, offset, self.special_frames).tolist()
        frames = reader.read([onset, apex, offset, *chosen])
        special_size = self.special_size or self.size
        pairs, stored = [(onset, index) for index in special], {}
        if self.special_input == "optical_flow":
            leaving = {"onset": (onset, apex), "apex": (apex, offset), "offset": (onset, offset)}
            pairs = [leaving[name] for name in self.special_frames]
            if flows is not None:
                self._check_flows(flows, frames[onset].shape, reader.name)
                stored = {leaving["onset"]: np.asarray(flows[0]), leaving["apex"]: np.asarray(flows[1])}
        streams = (
            self._stream(frames, self.video_input, [(onset, index) for index in chosen], chosen, self.size, {}),
            self._stream(frames, self.special_input, pairs, special, special_size, stored),
        )
        return *streams, {"onset": onset, "apex": apex, "offset": offset, "video": chosen}

    def _stream(
        self,
        frames: dict[int, np.ndarray],
        kind: str,
        pairs: list[tuple[int, int]],
        indices: list[int],
        size: Any,
        stored: dict[tuple[int, int], np.ndarray],
    ) -> torch.Tensor:
        """One stream, (n, 3, H, W): uint8 pictures of `indices`, or float32 movement between the frames of `pairs`."""
        if kind == "frames":
            return self._resized([frames[i] for i in indices], size)
        if kind == "difference":
            used = sorted({i for pair in pairs for i in pair})
            pictures = self._resized([frames[i].astype(np.float32) for i in used], size)
            resized = dict(zip(used, pictures, strict=True))
            factor = (self.rescale_factor if self.do_rescale else 1.0) * self.difference_scale
            return torch.stack([self._difference(resized[a], resized[b]) for a, b in pairs]) * factor
        flows = self._flows(frames, pairs, self.flow_size or size, stored)
        if self.flow_size and self.do_resize:
            flows = self.resize(flows, size=size_dict(size), resample=PILImageResampling.BILINEAR)
        return flows / torch.tensor([self.flow_scale, self.flow_scale, self.strain_scale])[:, None, None]

    def _difference(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """`second` minus `first`, (3, H, W) on a 0..255 scale."""
        if self.remove_head_motion and first is not second:
            before, after = (picture.permute(1, 2, 0).numpy() for picture in (first, second))
            flow = optical_flow(_as_uint8(before), _as_uint8(after), self.flow_method)
            second = torch.from_numpy(warp(np.ascontiguousarray(after), head_motion(flow))).permute(2, 0, 1)
        return second - first

    def _flows(
        self,
        frames: dict[int, np.ndarray],
        pairs: list[tuple[int, int]],
        size: Any,
        stored: dict[tuple[int, int], np.ndarray],
    ) -> torch.Tensor:
        """(n, 3, H, W) float32: u, v in pixels and strain between the frames of each pair, if it is not `stored`."""
        done = dict(stored)
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in done]
        if missing:
            used = sorted({i for pair in missing for i in pair})
            pictures = self._resized([frames[i] for i in used], size).permute(0, 2, 3, 1).numpy()
            resized = dict(zip(used, pictures, strict=True))
            for first, second in missing:
                done[first, second] = flow_channels(
                    resized[first], resized[second], self.flow_method, self.remove_head_motion
                )
        return torch.from_numpy(np.stack([done[pair] for pair in pairs])).permute(0, 3, 1, 2).contiguous()

    def _check_flows(self, flows: np.ndarray, frame_shape: tuple[int, ...], name: str) -> None:
        """Refuse stored flows that were computed at another size than this processor's."""
        size = self.flow_settings()["size"]
        height, width = frame_shape[:2] if size is None else (size["height"], size["width"])
        given = (str(flows.dtype).removeprefix("torch."), tuple(flows.shape))
        if given != ("float32", (2, height, width, 3)):
            raise ValueError(
                f"{name}: stored flows are {given[0]} of shape {given[1]}, but this processor takes its flow at "
                f"{width}x{height}: float32 of shape {(2, height, width, 3)}; compute them with its flow_settings()"
            )

    def _resized(self, pictures: list[np.ndarray], size: Any) -> torch.Tensor:
        """(H, W, 3) pictures to a tensor (n, 3, H', W') of the same kind of numbers."""
        stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
        return self.resize(stacked, size=size_dict(size), resample=self.resample) if self.do_resize else stacked


def allow_in_video_classification_pipeline() -> None:
    """Name HSTA's classifier among the models that `pipeline("video-classification")` takes.

    The pipeline checks the class name against this mapping alone and logs an error for any other, whether
    the class is registered with the Auto classes or comes from a saved folder's code.
    """
    MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES.setdefault("hsta", "HSTAForMicroExpressionClassification")


allow_in_video_classification_pipeline()  # here too, for folders loaded without the package


def locate(reader: ClipReader, onset: int | None, apex: int | None, offset: int | None) -> tuple[int, int, int]:
    """Onset, apex and offset of a clip, the missing ones found, in order and inside the clip.

    Where all three are given, the clip's length is left to whoever reads the frames.

    Raises:
        ValueError: they are not in order, or lie past the last frame; names clip and values.
    """
    onset = 0 if onset is None else onset
    given = {"onset": onset, "apex": apex, "offset": offset}
    said = ", ".join(f"{name} {value}" for name, value in given.items() if value is not None)
    known = [value for value in given.values() if value is not None]
    if known != sorted(known) or known[0] < 0:
        raise ValueError(f"{reader.name}: {said} are not in order; needed is 0 <= onset <= apex <= offset")
    if apex is not None and offset is not None:
        return onset, apex, offset  # reading the frames finds out whether the clip is long enough
    survey = reader.survey(onset, offset, spot=apex is None)
    if known[-1] >= survey.num_frames:
        raise ValueError(
            f"{reader.name} has {survey.num_frames} frames, 0 to {survey.num_frames - 1}, but {said} was given"
        )
    offset = survey.num_frames - 1 if offset is None else offset
    if apex is None:
        assert survey.small is not None  # the onset lies inside the clip
        apex = min(onset + survey.stride * spot_apex_in_small(survey.small), offset)
    return onset, apex, offset


def _collate(streams: list[torch.Tensor], return_tensors: str | None, device: Any) -> Any:
    if device is not None:
        streams = [stream.to(device) for stream in streams]
    if return_tensors is None:
        return streams
    shapes = {tuple(stream.shape) for stream in streams}
    if len(shapes) > 1:
        raise ValueError(
            f"clips of different shapes {sorted(shapes)} do not make a batch; leave do_resize and "
            "do_sample_frames on, or pass return_tensors=None"
        )
    stacked = torch.stack(streams)
    kind = str(getattr(return_tensors, "value", return_tensors))
    if kind not in ("pt", "np"):
        raise ValueError(f'return_tensors is {kind!r}; it must be "pt", "np" or None')
    return stacked if kind == "pt" else stacked.cpu().numpy()


def _as_uint8(picture: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
