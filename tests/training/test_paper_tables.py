"""Every row of the paper's tables 1 to 4 builds from the one-line override that docs/paper_tables.md gives for it.

The overrides, the command around them and the rows are read from that page, which tests/ablation/test_transcription.py
holds to the package's data file, so that page, data and test cannot drift apart.
Full-size models are built on the meta device, as the recipe says but for its VideoMAE, which is on the Hub; models of
small width run forward and backward, some started from a VideoMAE of 12 small layers in a local folder.
"""

from __future__ import annotations

import argparse
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import VideoMAEConfig, VideoMAEModel

from hsta_hf.cli import train as train_command
from hsta_hf.data.labels import get_label_scheme
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
from hsta_hf.training.model_factory import build_model, build_processor
from hsta_hf.training.recipe import Recipe, load_recipe, parse_overrides

ABLATIONS = ("1", "2", "3", "4")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "paper_tables.md"
ABLATED = {"num_hsta_layers", "num_video_layers", "num_special_layers", "use_csta"} | {
    "use_video_stream",
    "use_special_stream",
}


class Row(NamedTuple):
    """One row of the page. L is None where the stream is off; the scores are the paper's ACC, UAR and UF1."""

    table: str
    name: str
    m: int
    l_v: int | None
    l_s: int | None
    csta: bool
    fresh_layers: int
    override: str
    scores: tuple[float, ...]

    @property
    def depth(self) -> tuple[int, int | None, int | None, bool]:
        return self.m, self.l_v, self.l_s, self.csta

    def layers(self, stream: str) -> int | None:
        return self.l_v if stream == "video" else self.l_s

    def reads(self, stream: str) -> bool:
        """Whether the stream's pixels can reach the head."""
        return self.layers(stream) is not None and (self.csta or self.layers(stream) != 0)


def read_page() -> list[Row]:
    rows, table = [], ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"## (?:Table (\d))?", line):
            table = heading[1] or ""
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not (line.startswith("|") and table in ABLATIONS) or cells[0] in ("row", "---"):
            continue
        name, m, l_v, l_s, csta, fresh, override, *scores = cells
        assert override.startswith("`--") and override.endswith("`"), line
        depths = [None if depth == "off" else int(depth) for depth in (l_v, l_s)]
        crossed = {"yes": True, "no": False}[csta]
        numbers = tuple(float(score) for score in scores)
        rows.append(Row(table, name, int(m), *depths, crossed, int(fresh), override.strip("`"), numbers))
    return rows


ROWS = read_page()
EVERY_ROW = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
DISTINCT = list({row.depth: row for row in ROWS}.values())
EVERY_DEPTH = pytest.mark.parametrize("row", DISTINCT, ids=[row.name for row in DISTINCT])


@cache
def command() -> list[str]:
    """Words after `hsta` of the command that the page gives, before OVERRIDE."""
    (line,) = re.findall(r"^hsta (train .*) OVERRIDE$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return shlex.split(line)


@cache
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    train_command.add_parser(parser.add_subparsers())
    return parser


def recipe_of(row: Row, more: str = "") -> Recipe:
    """What `hsta train` makes of the page's command with the row's override, and `more` after it."""
    words = [word.replace("ROW", row.name) for word in command()]
    arguments = parser().parse_args([*words, *shlex.split(row.override), *shlex.split(more)])
    return load_recipe(arguments.recipe, arguments.overrides)


def model_of(recipe: Recipe) -> HSTAForMicroExpressionClassification:
    """As cross-validation builds it: processor first, then the model that fits it."""
    processor = build_processor(recipe.model)
    return build_model(recipe.model, processor, get_label_scheme(recipe.data.label_scheme))


def check_structure(model: HSTAForMicroExpressionClassification, row: Row) -> None:
    """The model has the row's HSTA layers, streams, USTA layers and CSTA, and no other."""
    layers = model.hsta.layers
    assert len(layers) == row.m
    for layer in layers:
        assert (len(layer.video), len(layer.special)) == (row.l_v or 0, row.l_s or 0)
        assert (layer.video_cross is not None) == (layer.special_cross is not None) == row.csta
    names = [name for name, _ in model.named_parameters()]
    for stream in ("video", "special"):
        on, depth = row.layers(stream) is not None, row.layers(stream) or 0
        assert any(f"{stream}_embeddings." in name for name in names) == on
        assert any(f"{stream}_layernorm." in name for name in names) == on
        usta = {re.sub(rf"(.*\.{stream}\.\d+)\..*", r"\1", name) for name in names if f".{stream}." in name}
        assert len(usta) == row.m * depth
    assert any("_cross." in name for name in names) == row.csta


def test_the_page_has_every_table_and_each_row_once() -> None:
    assert {row.table for row in ROWS} == {"1", "2", "3", "4"}
    assert len({row.name for row in ROWS}) == len(ROWS) == 64
    by_depth: dict[Any, set[str]] = {}
    for row in ROWS:
        by_depth.setdefault(row.depth, set()).add(row.override)
    assert all(len(overrides) == 1 for overrides in by_depth.values()), "one model, one override"


def test_a_row_differs_from_the_recipe_in_its_own_fields_only() -> None:
    published = load_recipe("casme3_paper").as_dict()
    for row in ROWS:
        (field, changes), *others = parse_overrides(shlex.split(row.override)).items()
        assert field == "model" and not others, f"{row.name} overrides {others}"
        assert changes.keys() <= ABLATED, row.name
        assert recipe_of(row).model.model == {**published["model"], **changes}, row.name
    asked = recipe_of(ROWS[0]).as_dict()
    changed = {name for name in published.keys() | asked.keys() if published.get(name) != asked.get(name)}
    assert changed == {"model", "output_dir", "protocol"}
    assert (asked["protocol"], asked["num_folds"]) == ("kfold-clips", 5)
    assert asked["output_dir"] == f"runs/{ROWS[0].name}"


@EVERY_DEPTH
def test_a_row_builds_at_full_size(row: Row) -> None:
    with torch.device("meta"):  # the geometry without its 30 to 430 million numbers
        model = model_of(recipe_of(row, "--videomae null"))
    check_structure(model, row)
    assert model.config.num_labels == model.classifier.out_features == 7
    assert model.config.block_style == "released" and model.config.classification_loss == "mse"
    for stream, frames in (("video", 6), ("special", 2)):
        geometry = model.config.stream(stream)
        assert (geometry.hidden_size, geometry.num_attention_heads, geometry.intermediate_size) == (768, 12, 3072)
        assert (geometry.num_frames, geometry.image_size, geometry.patch_size) == (frames, 224, 16)
    assert model.classifier.in_features == 768 * ((row.l_v is not None) + (row.l_s is not None))


def run_forward_and_backward(model: HSTAForMicroExpressionClassification, row: Row) -> None:
    check_structure(model, row)
    torch.manual_seed(0)
    clips = {"pixel_values": torch.randn(2, 6, 3, 16, 16), "special_pixel_values": torch.randn(2, 2, 3, 16, 16)}
    out = model.train()(**clips, labels=torch.tensor([6, 1]))
    out.loss.backward()
    assert out.logits.shape == (2, 7) and torch.isfinite(out.loss)
    for stream in ("video", "special"):
        embeddings = getattr(model.hsta, f"{stream}_embeddings")
        gradient = None if embeddings is None else embeddings.patch_embeddings.projection.weight.grad
        reached = gradient is not None and bool(gradient.abs().sum() > 0)
        assert reached == row.reads(stream), f"{stream} pixels reach the loss: {reached}"
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


SMALL = (
    "--model.stream.hidden_size 16 --model.stream.num_attention_heads 2 --model.stream.intermediate_size 16 "
    "--model.stream.image_size 16 --model.stream.patch_size 8"
)


@EVERY_DEPTH
def test_a_row_runs_forward_and_backward_at_small_width(row: Row) -> None:
    torch.manual_seed(0)
    run_forward_and_backward(model_of(recipe_of(row, f"--videomae null {SMALL}")), row)


@pytest.fixture(scope="module")
def small_videomae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VideoMAE with the 12 layers of VideoMAE-base, 16 wide."""
    folder = tmp_path_factory.mktemp("videomae")
    torch.manual_seed(0)
    geometry: dict[str, Any] = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    config = VideoMAEConfig(**geometry, image_size=16, patch_size=8, num_hidden_layers=12, num_frames=16)
    VideoMAEModel(config).save_pretrained(folder)
    return folder


def check_start_from_videomae(row: Row, folder: Path) -> None:
    """The row's layers start from the checkpoint's 12, and those past the 12th, which the page counts, do not."""
    model = model_of(recipe_of(row, f"--videomae {shlex.quote(str(folder))} --model.stream.image_size 16"))
    report = model.videomae_report
    assert report is not None
    queries = [name for name in report.initialised if name.endswith("attention.query.weight")]
    fresh = 0
    for stream in ("video", "special"):
        numbers = [re.search(rf"layers\.(\d+)\.{stream}\.(\d+)\.", name) for name in queries]
        depth = row.layers(stream) or 0
        places = sorted(int(found[1]) * depth + int(found[2]) for found in numbers if found)
        assert places == list(range(12, row.m * depth))
        fresh += len(places)
    assert fresh == row.fresh_layers
    run_forward_and_backward(model, row)


DEEPEST = [row for row in ROWS if row.name in ("b7", "m12-2-1")]


@pytest.mark.parametrize("row", DEEPEST, ids=[row.name for row in DEEPEST])
def test_a_deep_row_starts_from_a_videomae_as_far_as_that_goes(row: Row, small_videomae: Path) -> None:
    assert row.fresh_layers > 0
    check_start_from_videomae(row, small_videomae)


@pytest.mark.slow
@EVERY_ROW
def test_every_row_starts_from_a_videomae(row: Row, small_videomae: Path) -> None:
    check_start_from_videomae(row, small_videomae)
