"""The folder that documented commands run in: every name that the documents use, small.

What is laid out once (`lay_out`) is linked or copied into a folder of each page (`Workplace`), so that pages do not
see each other's results.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import yaml
from hub_server import TOKEN, HubServer
from owners.casme2 import Casme2Tree
from owners.casme3_macro import MacroTree
from owners.folder import write_example
from owners.samm import SammTree
from owners.smic import SmicTree

from documented_code import rules
from documented_code.blocks import ROOT

SIDE = 32
HUB_NAMES = {"org/hsta-casme3": "demo/run/folds/fold-00-seed-42/model", "MCG-NJU/videomae-base": "hub/videomae"}
# Runs that documents compare or report; all are the one in demo/run.
RUNS = ("hsta", "ststnet", "majority", "no_csta", "mine", "demo", "casme3", "casme3_flow")
_COPIED = {"demo", "runs", "models"}  # commands write into them
THREE_CLASSES = (("negative", "Anger"), ("positive", "Happiness"), ("surprise", "Surprise"))
EMOTIONS = ("disgust", "surprise", "fear", "anger", "sad", "happy", "others")


def lay_out(folder: Path, make_videomae: Callable[..., Any]) -> Path:
    """Write everything below `folder`: trees in the owners' layouts, prepared datasets, a finished run, files."""
    from hsta_hf.cli.main import main

    folder.mkdir(parents=True)
    _write_trees(folder / "trees")
    before = Path.cwd()
    os.chdir(folder)
    try:
        for database, out in (
            ("casme3", "data/casme3"),
            ("casme3", "data/casme3_flow"),
            ("casme3_macro", "data/casme3_macro"),
            ("casme2", "data/casme2"),
            ("megc2019", "data/megc2019"),
        ):
            _done(main(rules.made_small(["hsta", "prepare", database, f"trees/{database}", out])[1:]))
        _write_recipes()
        (folder / "demo").mkdir()
        for name in ("database", "prepared"):
            (folder / "demo" / name).symlink_to(folder / {"database": "trees/casme3", "prepared": "data/casme3"}[name])
        train = ["hsta", "train", "synthetic_demo", "--dataset", "data/casme3", "--output_dir", "demo/run"]
        _done(main(rules.made_small(train)[1:]))
        shutil.rmtree("demo/run/cache", ignore_errors=True)
        for name in RUNS:
            shutil.copytree("demo/run", f"runs/{name}")
        shutil.copy("demo/run/predictions.parquet", "predictions.parquet")
        _write_models(folder)
    finally:
        os.chdir(before)
    for name in ("recordings", "more"):
        (folder / name).mkdir()
    videos = ("clip.mp4", "one.mp4", "two.mp4", "a.mp4", "b.mp4", "recordings/c.mp4", "more/d.avi")
    for name in videos:
        write_video(folder / name)
    (folder / "clips.csv").write_text("path,onset,apex,offset\none.mp4,1,5,10\ntwo.mp4,,,\n", encoding="utf-8")
    make_videomae().save_pretrained(folder / "hub" / "videomae")
    for name in ("scripts", "benchmarks", "docs"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def _done(code: int) -> None:
    assert code == 0, f"a command that lays out the documents' folder ended with {code}"


def _write_trees(trees: Path) -> None:
    from hsta_hf.data.synthesize import synthesize

    synthesize(trees / "casme3", num_subjects=4, clips_per_subject=7, size=64, num_frames=(6, 7))
    macro = MacroTree(trees / "casme3_macro")
    for subject in range(1, 5):
        macro.recording(f"spNO.{subject}", "a", range(1, 40))
        for place, emotion in enumerate(EMOTIONS):
            first = 1 + 5 * place
            macro.row(f"spNO.{subject}", "a", first, first + 2, first + 4, emotion=emotion)
    macro.save()
    # Drawn micro-expressions do not train with recorded macro-expressions.
    (trees / "casme3_macro" / "README.txt").write_text("Synthetic: flat pictures.\n", encoding="utf-8")
    _write_casme2(trees / "casme2")
    _write_casme2(trees / "megc2019" / "CASME2", ("raw",))
    smic = SmicTree(trees / "megc2019" / "SMIC")
    samm = SammTree(trees / "megc2019" / "SAMM")
    for subject in (6, 7):
        for place, (label, emotion) in enumerate(THREE_CLASSES):
            smic.clip(subject, label, 1)
            samm.recording(f"{subject:03d}_1_{place + 1}", range(40, 46))
            samm.row(f"{subject:03d}_1_{place + 1}", 40, 42, 45, emotion=emotion)
    samm.save()
    write_example(trees / "folder")


def _write_casme2(root: Path, variants: tuple[str, ...] = ("raw", "cropped")) -> None:
    tree = Casme2Tree(root)
    for subject in (1, 2, 3):
        for place, emotion in enumerate(("disgust", "happiness", "others", "repression", "surprise")):
            tree.recording(subject, f"EP01_{place + 1:02d}", range(40, 46), variants)
            tree.row(subject, f"EP01_{place + 1:02d}", 40, 42, 45, emotion=emotion)
    tree.save()


def _write_recipes() -> None:
    """Recipes of the reader's own: my_recipe.yaml, and tiny.yaml, the paper's in small."""
    tiny = {"extends": "casme3_paper"}
    for name, values in rules.TINY.items():
        read = [yaml.safe_load(value) for value in values]
        section, _, field = name.partition(".")
        if field:
            tiny.setdefault(section, {})[field] = read[0]  # type: ignore[attr-defined]
        else:
            tiny[name] = read[0]
    del tiny["model"]["num_hsta_layers"]  # type: ignore[attr-defined]  # the rows set it
    Path("tiny.yaml").write_text(yaml.safe_dump(tiny), encoding="utf-8")
    own = {"extends": "casme3_flow", "dataset": "data/casme3", "output_dir": "runs/own"}
    Path("my_recipe.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")


def _write_models(folder: Path) -> None:
    """Models with random weights: checkpoint-149.pth, as the released implementation saves them (12 heads in both
    streams, two labels), and models/start, which folds may start from: it was trained on nobody."""
    from hsta_hf import HSTAConfig, HSTAForMicroExpressionClassification, HSTAVideoProcessor
    from hsta_hf.released_checkpoint import to_released
    from hsta_hf.released_checkpoint_files import write_released_checkpoint

    stream = {"hidden_size": 24, "num_attention_heads": 12, "intermediate_size": 24, "image_size": SIDE}
    config = HSTAConfig(
        video_config=stream, special_config=stream, num_hsta_layers=1, num_labels=2, first_patch_position=1
    )
    released = HSTAForMicroExpressionClassification(config)
    write_released_checkpoint(to_released(released), folder / "checkpoint-149.pth")
    stream = yaml.safe_load(rules.TINY["model.stream"][0])
    config = HSTAConfig(video_config=stream, special_config=stream, num_hsta_layers=1, num_labels=7)
    HSTAForMicroExpressionClassification(config).save_pretrained(folder / "models" / "start")
    HSTAVideoProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder / "models" / "start")


def write_video(path: Path, num_frames: int = 12) -> None:
    """A video of 0.4 s in which a patch of noise moves."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(num_frames):
            picture = np.ascontiguousarray(np.roll(noise, number // 3, axis=0))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


class Workplace:
    """One page's folder: what is laid out, as links, and as copies where commands write."""

    def __init__(self, laid_out: Path, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        for entry in laid_out.iterdir():
            if entry.name in _COPIED:
                shutil.copytree(entry, folder / entry.name, symlinks=True)
            elif entry.name == "data":
                (folder / "data").mkdir()
                for dataset in entry.iterdir():
                    (folder / "data" / dataset.name).symlink_to(dataset)
            else:
                (folder / entry.name).symlink_to(entry)
        self._laid_out = {path.relative_to(folder).as_posix() for part in _COPIED for path in folder.glob(f"{part}/*")}
        self._laid_out |= {path.relative_to(folder).as_posix() for path in folder.glob("data/*")}

    def make_room(self, output: str) -> None:
        """Take away what is laid out where a command is going to write; what this page made itself stays."""
        if output in self._laid_out:
            self._laid_out.discard(output)
            path = self.folder / output
            path.unlink() if path.is_symlink() else shutil.rmtree(path)


def fill_hub(hub: HubServer, laid_out: Path) -> None:
    """Put the models that documents load by a Hub name into the stand-in for the Hub."""
    from huggingface_hub import HfApi

    namespaces = {name.split("/")[0] for name in HUB_NAMES} | {"lab", "my-lab", "org"}
    hub.users[TOKEN] = (hub.users[TOKEN][0], tuple(sorted(namespaces)))
    for name, place in HUB_NAMES.items():
        HfApi().create_repo(name, exist_ok=True)
        HfApi().upload_folder(repo_id=name, folder_path=laid_out / place)
