"""HSTA as one ONNX file: exported, labelled with what its user has to know, and checked against PyTorch.

The file needs neither this package nor PyTorch to run. Beside the weights it holds its labels and the settings of the
video processor, so that nothing else has to travel with it:

```python
import json, onnxruntime
from hsta_hf import HSTAVideoProcessor

session = onnxruntime.InferenceSession("hsta.onnx")
about = session.get_modelmeta().custom_metadata_map
inputs = HSTAVideoProcessor.from_dict(json.loads(about["processor"]))("clip.mp4", return_tensors="np")
logits = session.run(["logits"], {entry.name: inputs[entry.name] for entry in session.get_inputs()})[0]
print(json.loads(about["labels"])[logits[0].argmax()])
```
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

# 20 is the first opset with GELU as one operator, and old enough for ONNX Runtime 1.17 of January 2024. From 23 on
# attention is one operator as well, which many runtimes do not know yet and ONNX Runtime on a CPU runs no faster.
DEFAULT_OPSET = 20
OLDEST_OPSET = 18  # what PyTorch's exporter writes its operators in; it converts upwards only
CHECKED_BATCHES = (1, 3)
MAX_DIFFERENCE = 1e-4  # of a logit, between ONNX Runtime and PyTorch
# Protocol buffers end at 2 GiB. PyTorch keeps some of that for the graph, and so do we.
MAX_WEIGHT_BYTES = 1_932_735_283
_NEEDED = ("onnx", "onnxruntime", "onnxscript")


class OnnxExportError(RuntimeError):
    """The model could not be exported, or the file that came out does not compute what the model computes."""


@dataclass(frozen=True)
class OnnxExport:
    """What [`export_onnx`] wrote.

    Args:
        path: the file.
        opset: version of the ONNX operators in it.
        inputs: name to shape of each input without the batch dimension: `(frames, channels, height, width)`.
        num_labels: the output `logits` is `(batch, num_labels)`.
        differences: batch size to the largest |Δ| of a logit between ONNX Runtime and PyTorch on random pixels.
        num_bytes: size of the file.
    """

    path: Path
    opset: int
    inputs: dict[str, tuple[int, ...]]
    num_labels: int
    differences: dict[int, float]
    num_bytes: int

    def __str__(self) -> str:
        inputs = ", ".join(f"{name} (batch, {', '.join(map(str, shape))})" for name, shape in self.inputs.items())
        return (
            f"{self.path}: {self.num_bytes / 1e6:.1f} MB, opset {self.opset}; {inputs} to "
            f"logits (batch, {self.num_labels})"
        )


def export_onnx(
    model: HSTAForMicroExpressionClassification,
    output: str | Path,
    *,
    processor: HSTAVideoProcessor | None = None,
    opset: int = DEFAULT_OPSET,
    overwrite: bool = False,
    progress: Callable[[str], None] | None = None,
) -> OnnxExport:
    """Write the model as an ONNX file with a dynamic batch dimension, and check it in ONNX Runtime.

    Inputs are `pixel_values` and `special_pixel_values`, `(batch, frames, channels, height, width)` in float32; a
    stream that is off has none. The output is `logits`, `(batch, num_labels)`. The file appears whole or not at all,
    and only after its logits were found equal to PyTorch's.

    Args:
        model: a float32 classifier. It is exported as in `eval()`, and left as it was.
        output: the `.onnx` file to write; missing folders on the way are made.
        processor: its settings go into the file's metadata, key `processor`.
        opset: version of the ONNX operators, 18 or newer.
        overwrite: replace a file that exists.
        progress: called with a line of text before each step.

    Raises:
        ImportError: if onnx, onnxruntime or onnxscript is not installed.
        FileExistsError: if `output` exists and `overwrite` is not set.
        IsADirectoryError: if `output` is a folder.
        ValueError: if `output` is not named `.onnx`, or the opset is too old, or the weights are not float32 or do
            not fit into one file.
        OnnxExportError: if PyTorch cannot export the model, or the logits differ by more than 1e-4.
    """
    output = Path(output)
    say = progress if progress is not None else lambda line: None
    check_request(output, opset=opset, overwrite=overwrite)
    _check_weights(model)
    output.parent.mkdir(parents=True, exist_ok=True)
    # ".onnx" at the end too: beside the file it becomes, hidden, and of this process alone.
    temporary = output.with_name(f".{output.stem}.{os.getpid()}.onnx")
    try:
        with _as_for_inference(model):
            say(f"Exporting the model with opset {opset} (about a minute at base size) ...")
            _write(model, temporary, processor, opset)
            batches = " and ".join(map(str, CHECKED_BATCHES))
            say(f"Checking it in ONNX Runtime {_version('onnxruntime')} against PyTorch, batch {batches} ...")
            differences = _check(model, temporary)
        for batch, difference in differences.items():
            say(f"  batch {batch}: logits differ by {difference:.1e} at most")
        check_request(output, opset=opset, overwrite=overwrite)  # somebody may have written it meanwhile
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
    return OnnxExport(
        path=output,
        opset=opset,
        inputs=input_shapes(model),
        num_labels=model.num_labels,
        differences=differences,
        num_bytes=output.stat().st_size,
    )


def check_request(output: Path, *, opset: int = DEFAULT_OPSET, overwrite: bool = False) -> None:
    """Everything that can be refused before a model is loaded; errors as in [`export_onnx`]."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f'The ONNX export needs {", ".join(missing)}: pip install "hsta-hf[onnx]"')
    if output.is_dir():
        raise IsADirectoryError(f"{output} is a folder; name a file in it, such as {output / 'hsta.onnx'}.")
    if output.suffix != ".onnx":
        raise ValueError(f"{output} does not end in .onnx; name the file to write, such as {output.stem}.onnx.")
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} exists; choose another name, or replace it with --overwrite.")
    if opset < OLDEST_OPSET:
        raise ValueError(f"The opset is {opset}; PyTorch's exporter writes {OLDEST_OPSET} or newer.")


def input_shapes(model: HSTAForMicroExpressionClassification) -> dict[str, tuple[int, ...]]:
    """Name to `(frames, channels, height, width)` of each input that the model reads."""
    embeddings = {
        "pixel_values": model.hsta.video_embeddings,
        "special_pixel_values": model.hsta.special_embeddings,
    }
    return {
        name: (stream.num_frames, stream.patch_embeddings.num_channels, *stream.patch_embeddings.image_size)
        for name, stream in embeddings.items()
        if stream is not None
    }


def metadata(model: HSTAForMicroExpressionClassification, processor: HSTAVideoProcessor | None) -> dict[str, str]:
    """What the file says about itself: `model_type`, `hsta_hf_version`, `labels` (a JSON list in the order of the
    logits), `problem_type` (softmax for `single_label_classification`, sigmoid for `multi_label_classification`),
    `config` and, where one was given, `processor` (JSON)."""
    from hsta_hf import __version__

    config = model.config
    names: dict[Any, str] = config.id2label or {}
    about = {
        "model_type": config.model_type,
        "hsta_hf_version": __version__,
        "labels": json.dumps([names.get(i, f"LABEL_{i}") for i in range(model.num_labels)], ensure_ascii=False),
        "problem_type": config.problem_type or "single_label_classification",
        "config": config.to_json_string(use_diff=True),
    }
    if processor is not None:
        about["processor"] = processor.to_json_string()
    return about


class _Logits(nn.Module):
    """The model with positional inputs, in the order of `names`, and the logits as its only output."""

    def __init__(self, model: HSTAForMicroExpressionClassification, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.names = names
        self.training = model.training

    def forward(self, *pixels: torch.Tensor) -> torch.Tensor:
        return self.model(**dict(zip(self.names, pixels, strict=True))).logits


@contextmanager
def _as_for_inference(model: HSTAForMicroExpressionClassification) -> Iterator[None]:
    """In eval mode, without gradients, and with an attention that every machine can trace; afterwards as before."""
    training, attention = model.training, model.config._attn_implementation
    try:
        model.eval()
        model.set_attn_implementation("sdpa")
        with torch.no_grad():
            yield
    finally:
        model.train(training)
        if attention is not None:
            model.set_attn_implementation(attention)


def _check_weights(model: HSTAForMicroExpressionClassification) -> None:
    for name, parameter in model.named_parameters():
        if parameter.dtype != torch.float32:
            kind = str(parameter.dtype).removeprefix("torch.")
            raise ValueError(f"{name} is {kind}; the export is in float32: call model.float() first.")
    total = sum(parameter.nbytes for parameter in (*model.parameters(), *model.buffers()))
    if total > MAX_WEIGHT_BYTES:
        raise ValueError(
            f"The weights take {total / 1e9:.2f} GB; one ONNX file holds {MAX_WEIGHT_BYTES / 1e9:.2f} GB of them. "
            "Export a smaller model."
        )


def _random_pixels(model: HSTAForMicroExpressionClassification, batch: int) -> dict[str, torch.Tensor]:
    """Pixels as the processor would normalise them: zero mean, unit variance."""
    generator = torch.Generator().manual_seed(batch)
    return {
        name: torch.randn(batch, *shape, generator=generator).to(model.device)
        for name, shape in input_shapes(model).items()
    }


def _write(
    model: HSTAForMicroExpressionClassification, path: Path, processor: HSTAVideoProcessor | None, opset: int
) -> None:
    example = _random_pixels(model, 2)  # of 2: a batch of 1 would be taken for a constant
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*will not be used, since it shares the same shape constraints.*")
        try:
            program = torch.onnx.export(
                _Logits(model, tuple(example)),
                tuple(example.values()),
                dynamo=True,
                input_names=list(example),
                output_names=["logits"],
                dynamic_shapes={"pixels": tuple({0: batch} for _ in example)},
                opset_version=opset,
                verbose=False,
            )
        except (torch.onnx.OnnxExporterError, RuntimeError) as error:
            raise OnnxExportError(f"PyTorch {torch.__version__} could not export the model: {error}") from error
    assert program is not None, "torch.onnx.export(dynamo=True) returns the program"
    # The exporter leaves a model in the opset that it managed to reach, without an error.
    reached = program.model.opset_imports[""]
    if reached != opset:
        raise OnnxExportError(
            f"PyTorch {torch.__version__} with onnxscript {_version('onnxscript')} reached opset {reached} instead of "
            f"{opset}; ask for an older one, such as {DEFAULT_OPSET}."
        )
    _forget_the_machine(program.model)
    from hsta_hf import __version__

    program.model.producer_name, program.model.producer_version = "hsta-hf", __version__
    program.model.metadata_props.update(metadata(model, processor))
    program.save(path, external_data=False)


def _forget_the_machine(graph_model: Any) -> None:
    """Drop the exporter's notes: they hold stack traces with the folders of this machine, and help no runtime."""
    graph = graph_model.graph
    graph_model.metadata_props.clear()
    graph.metadata_props.clear()
    for value in (*graph.inputs, *graph.initializers.values()):
        value.metadata_props.clear()
    for node in graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()


def _check(model: HSTAForMicroExpressionClassification, path: Path) -> dict[int, float]:
    """Batch size to the largest |Δ| of a logit between the file in ONNX Runtime and the model."""
    import onnx
    import onnxruntime

    try:
        onnx.checker.check_model(str(path), full_check=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # both raise classes of their own, made in C++
        raise OnnxExportError(f"The exported file is not a model that can run: {error}") from error
    differences: dict[int, float] = {}
    for batch in CHECKED_BATCHES:
        pixels = _random_pixels(model, batch)
        expected = model(**pixels).logits.cpu()
        found = torch.from_numpy(session.run(["logits"], {name: x.cpu().numpy() for name, x in pixels.items()})[0])
        if found.shape != expected.shape:
            raise OnnxExportError(f"ONNX Runtime gave {tuple(found.shape)} logits for {tuple(expected.shape)}.")
        difference = (found - expected).abs().max().item()
        if not difference <= MAX_DIFFERENCE:  # `not`: NaN compares as false
            raise OnnxExportError(
                f"At batch {batch} a logit differs by {difference:.1e} between ONNX Runtime and PyTorch, more than "
                f"{MAX_DIFFERENCE:.0e}. Nothing was written; please report it with the model's config.json."
            )
        differences[batch] = difference
    return differences


def _version(package: str) -> str:
    return importlib.metadata.version(package)


__all__ = ["DEFAULT_OPSET", "OnnxExport", "OnnxExportError", "check_request", "export_onnx"]
