"""What of a run is fit to be pushed: a card without an unfilled field, a whole model, no name of anybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from hsta_hf.hub.client import PublishError
from hsta_hf.hub.run_model import RunModel, run_model
from hsta_hf.reporting.publication import Publication, PublicationError
from hsta_hf.training.run_folder import RunFolderError

SAID = Publication("lab/hsta", "cc-by-nc-4.0")
FOLD = Path("folds") / "fold-00-seed-42"


def edit(path: Path, **changes: Any) -> None:
    """Change fields of a JSON file; None takes one out."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def card_of(model: RunModel) -> str:
    content = model.contents["README.md"]
    assert isinstance(content, bytes)
    return content.decode()


def test_the_run_notes_what_its_card_needs_but_for_the_licence(trained: Path) -> None:
    with pytest.raises(PublishError, match=r"unfilled field is not pushed, .* lacks license\.\n.*--license") as error:
        run_model(trained, Publication("lab/hsta"))
    assert "hardware" not in str(error.value)
    card = card_of(run_model(trained, SAID))
    hardware = json.loads((trained / FOLD / "metrics.json").read_text())["hardware"]
    assert f"Hardware: {hardware['device']} (" in card and hardware["device"].startswith("CPU, ")
    assert "| folds, all seeds | 2 |" in card and "**cc-by-nc-4.0**, as whoever published them decided" in card
    assert "not noted" not in card and "No licence" not in card


def test_every_field_that_is_missing_is_named(run: Path) -> None:
    for fold in ("fold-00-seed-42", "fold-01-seed-42"):
        edit(run / "folds" / fold / "metrics.json", hardware=None, parameters=None, seconds=None)
    with pytest.raises(PublishError) as error:
        run_model(run, SAID)
    message = str(error.value)
    assert "lacks hardware, training_times, parameters." in message and "license" not in message
    assert "--hardware" in message and "training_times, parameters: write it into" in message


def test_hardware_can_be_said_where_it_was_not_noted(run: Path) -> None:
    edit(run / FOLD / "metrics.json", hardware=None)
    with pytest.raises(PublishError, match="lacks hardware"):
        run_model(run, SAID)
    assert "Hardware: one old PC." in card_of(run_model(run, Publication("lab/hsta", "mit", hardware="one old PC")))


def test_a_licence_of_ones_own_has_a_name(trained: Path) -> None:
    with pytest.raises(PublicationError, match="--license-name"):
        Publication("lab/hsta", "other")
    with pytest.raises(PublicationError, match="--license other only"):
        Publication("lab/hsta", "mit", license_name="ours")
    own = Publication("lab/hsta", "other", "lab-terms", "https://example.org/terms")
    card = ModelCard(card_of(run_model(trained, own)))
    assert (card.data.license, card.data.license_name) == ("other", "lab-terms")
    assert "**[lab-terms](https://example.org/terms)**" in card.text


def test_an_edited_card_is_pushed_as_it_is_but_not_with_a_gap(run: Path) -> None:
    path = run / FOLD / "model" / "README.md"
    path.write_text(path.read_text() + "\nOur words.\n")
    with pytest.raises(PublishError, match=r"lacks license\.(.|\n)*where it says \"No licence is given here\""):
        run_model(run, SAID)
    path.write_text(path.read_text().replace("**No licence is given here for the weights**", "See the top"))
    card = card_of(run_model(run, SAID))
    assert "Our words." in card and ModelCard(card).data.license == "cc-by-nc-4.0"
    with pytest.raises(PublishError, match="lacks license"):
        run_model(run, Publication("lab/hsta"))
    path.write_text(card.replace("Our words.", "[More Information Needed]"))
    with pytest.raises(PublishError, match=r"lacks \[More Information Needed\]"):
        run_model(run, SAID)


def test_the_model_that_is_asked_for_is_the_one_that_the_card_is_about(trained: Path) -> None:
    model = run_model(trained, SAID, fold=1)
    assert model.folder.parent.name == "fold-01-seed-42" and "that of fold 1, seed 42" in card_of(model)
    assert "that of fold 0, seed 42" in card_of(run_model(trained, SAID, seed=42))
    with pytest.raises(PublishError, match=r"no finished model fold-07-seed-42; there are fold-00-seed-42, fold-01"):
        run_model(trained, SAID, fold=7)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("config.json", "the configuration"),
        ("video_preprocessor_config.json", "the video processor"),
        ("model.safetensors", "as safetensors only"),
        ("token_reduction_hsta.py", "only where hsta-hf is installed"),
    ],
)
def test_a_model_that_lacks_a_file_is_not_pushed(run: Path, name: str, said: str) -> None:
    (run / FOLD / "model" / name).unlink()
    with pytest.raises(PublishError, match=rf"has no {name}.*{said}"):
        run_model(run, SAID)


def test_torn_weights_and_a_configuration_without_code_are_noticed(run: Path) -> None:
    folder = run / FOLD / "model"
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PublishError, match=r"model\.safetensors is not whole"):
        run_model(run, SAID)
    (folder / "model.safetensors").write_bytes(whole)
    edit(folder / "config.json", auto_map=None)
    with pytest.raises(PublishError, match=r"does not say where the code is \(auto_map\)"):
        run_model(run, SAID)


def test_other_files_of_the_folder_stay(run: Path) -> None:
    for name in ("optimizer.pt", "notes.txt", "pytorch_model.bin"):
        (run / FOLD / "model" / name).write_bytes(b"x")
    assert not {"optimizer.pt", "notes.txt", "pytorch_model.bin"} & set(run_model(run, SAID).contents)


def test_folders_of_this_machine_are_not_told(run: Path) -> None:
    dataset = str(run.parent / "drawn")
    recipe = run / "recipe.yaml"
    lines = [
        f"dataset: {dataset}" if line.startswith("dataset:") else line for line in recipe.read_text().splitlines()
    ]
    recipe.write_text("\n".join(lines))
    edit(run / "facts.json", start=f"Training started from {dataset}/model.", warnings=[f"look into {dataset}"])
    card = card_of(run_model(run, SAID))
    assert dataset not in card and "started from drawn/model." in card and "look into drawn." in card


def test_what_is_no_reported_run_of_hsta_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is no run folder"):
        run_model(run / FOLD / "model", SAID)
    metrics = json.loads((run / "metrics.json").read_text())
    edit(run / "metrics.json", planned={**metrics["planned"], "finished": 1})
    with pytest.raises(PublishError, match=r"is about 1 trainings, but 2 are finished by now: .*hsta report"):
        run_model(run, SAID)
    edit(run / "facts.json", method="LBP-TOP")
    with pytest.raises(PublishError, match="a run of the baseline LBP-TOP"):
        run_model(run, SAID)
    (run / "metrics.json").unlink()
    with pytest.raises(RunFolderError, match="a run without a report; write it: hsta report"):
        run_model(run, SAID)
