"""The page as a Hugging Face Space: a folder that can be pushed as it is.

    hsta demo-app MODEL --export-space my_space
    hf upload --repo-type space NAME/my_space my_space .

It is written, and not kept as a folder of this repository, since it depends on the model and on the versions
installed. It holds a copy of this package, so that it runs the code that it was tried with, whether or not that is in
an index.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import sys
from pathlib import Path

import hsta_hf
from hsta_hf.app.limits import MEGABYTE, Limits
from hsta_hf.training.finished_model import model_folder

GRADIO = "gradio>=6.31,<7"
_HUB_NAME = re.compile(r"^[\w.-]+/[\w.-]+$")
_CPU_TORCH = "--extra-index-url https://download.pytorch.org/whl/cpu"
_LARGE = "*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.onnx filter=lfs diff=lfs merge=lfs -text\n"
_APP = '''"""The web page of {model}, made by `hsta demo-app --export-space` of hsta-hf {version}."""

from pathlib import Path

from hsta_hf.app.serving import serve

HERE = Path(__file__).resolve().parent
serve({source}, faces={faces!r}, face_detector={detector})
'''
_README = """---
title: {title}
emoji: 🙂
colorFrom: blue
colorTo: yellow
sdk: gradio
sdk_version: {gradio}
python_version: "{python}"
app_file: app.py
pinned: false
short_description: What moved in this face? Not a lie detector.
{models}tags:
- micro-expression-recognition
- hsta
---

# {title}

Give a short clip of a face: the page aligns the face, spots the frame at which a movement peaks, and shows what the
model `{model}` makes of it, frame by frame. Clips of up to {megabytes:.0f} MB and {seconds:.0f} s.

**What it is not for.** It is no lie detector: a micro-expression is a movement, not a proof of anything. Do not run it
on people without their informed consent. In the European Union, inferring emotions of people at work or in schools is
prohibited except for medical or safety reasons (Regulation (EU) 2024/1689, Article 5(1)(f)), and other emotion
recognition falls under that regulation's duties for high-risk systems and for transparency; other places have limits
of their own. Accuracy on one database says little about other people, cameras and cultures.

Uploads are deleted as soon as their frames are read; frames stay in memory while the page is open, for at most
{minutes:.0f} minutes after the last question. The app sends nothing on.

`hsta_hf/` is a copy of hsta-hf {version} (Apache-2.0).{weights}
"""


def export_space(model: str, out: Path, faces: str = "auto", face_detector: Path | None = None) -> str:
    """Write the Space.

    Args:
        model: a Hub name, which the Space then downloads; or a model or run folder, which is copied into it.
        out: the folder to write; must not exist, or be empty.
        faces: as in `Predictor.from_pretrained`.
        face_detector: the detector's file, which is copied; None: the Space downloads it from the Hub.

    Returns:
        What was written, and what to do with it, in words.

    Raises:
        FileExistsError: `out` holds something.
        FileNotFoundError: there is no such model or detector, or this package's requirements are not known.
        ValueError: `model` is neither a folder nor a Hub name.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not empty; name a new folder for the Space")
    if face_detector is not None and not face_detector.is_file():
        raise FileNotFoundError(f"face detector {face_detector} is no file")
    copied = Path(model).exists()
    if not copied and not _HUB_NAME.match(model):
        raise ValueError("is neither a folder nor the name of a Hub repository (owner/name)")
    requirements = _requirements()
    source = Path(model_folder(model)) if copied else None
    out.mkdir(parents=True, exist_ok=True)
    shutil.copytree(
        Path(hsta_hf.__file__).parent, out / "hsta_hf", ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )
    if source is not None:
        shutil.copytree(source, out / "model")
    if face_detector is not None:
        shutil.copyfile(face_detector, out / "face_detector.onnx")
    name = "model" if copied else model
    values = {
        "title": "Micro-expressions with HSTA",
        "model": name,
        "version": hsta_hf.__version__,
        "source": 'str(HERE / "model")' if copied else repr(model),
        "faces": faces,
        "detector": None if face_detector is None else 'HERE / "face_detector.onnx"',
    }
    limits = Limits()
    front = {
        "gradio": _gradio_version(),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "models": "" if copied else f"models:\n- {model}\n",
        "megabytes": limits.file_bytes / MEGABYTE,
        "seconds": limits.seconds,
        "minutes": limits.kept_seconds / 60,
        "weights": " Who may use the weights in `model/` depends on the data that they were trained on."
        if copied
        else "",
    }
    (out / "app.py").write_text(_APP.format(**values), encoding="utf-8")
    (out / "README.md").write_text(_README.format(**values, **front), encoding="utf-8")
    (out / "requirements.txt").write_text("\n".join([_CPU_TORCH, *requirements, ""]), encoding="utf-8")
    (out / ".gitattributes").write_text(_LARGE, encoding="utf-8")
    return (
        f"The Space is in {out}. To try it: python {out / 'app.py'}. To publish it: hf upload --repo-type space "
        f"OWNER/NAME {out} . (--private keeps it to yourself). Read its README.md first: whoever runs it answers "
        "for its use."
    )


def _requirements() -> list[str]:
    """What the copy of this package needs: its own requirements, without extras, and Gradio."""
    try:
        required = importlib.metadata.requires("hsta-hf") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise FileNotFoundError(
            "hsta-hf is not installed here, so what it requires is not known; install it (pip install .) first"
        ) from error
    return sorted([line for line in required if "extra ==" not in line] + [GRADIO])


def _gradio_version() -> str:
    """The Gradio that the page was tried with; where there is none here, the oldest that it works with."""
    try:
        return importlib.metadata.version("gradio")
    except importlib.metadata.PackageNotFoundError:
        return "6.0.0"
