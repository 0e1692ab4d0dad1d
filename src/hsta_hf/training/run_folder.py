"""The run folder: what lies where, and the refusal to mix two recipes in one folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hsta_hf.reporting.files import write_atomically, write_json
from hsta_hf.training.locks import held, is_held
from hsta_hf.training.recipe import Recipe, differing_fields

LOCK_FOLDER = ".locks"
RECIPE_FILE = "recipe.yaml"
RUN_FILE = "run.json"
# All that a run writes into its folder, its mark of being one last: what overwrite_run deletes, and nothing else.
RUN_CONTENT = (
    "cache",
    "features",
    "folds",
    "final",
    "pretraining",
    "split.json",
    "predictions.parquet",
    "metrics.json",
    "confusion_matrix.png",
    "reliability.png",
    "learning_curves.png",
    "report.md",
    "report.html",
    "facts.json",
    RUN_FILE,
    RECIPE_FILE,
)


class RunFolderError(ValueError):
    """A run folder that cannot be used for the recipe asked for."""


@dataclass(frozen=True)
class RunFolder:
    """Names of files and folders in a run folder."""

    path: Path

    def fold(self, fold: int, seed: int) -> Path:
        """Folder of one fold trained with one seed."""
        return self.path / "folds" / f"fold-{fold:02d}-seed-{seed}"

    @property
    def pretraining(self) -> Path:
        """Folder of the pre-training that all folds start from."""
        return self.path / "pretraining"

    @property
    def final(self) -> Path:
        """Folder of the training on all clips."""
        return self.path / "final"

    @property
    def cache(self) -> Path:
        """Default folder of processed clips."""
        return self.path / "cache"

    @property
    def features(self) -> Path:
        """Folder of what a frozen backbone makes of the clips."""
        return self.path / "features"

    def lock(self, what: str) -> Path:
        """File of the lock that a command holds while it works on `what`, such as the name of a fold's folder."""
        return self.path / LOCK_FOLDER / f"{what}.lock"

    def open(self, recipe: Recipe, facts: dict[str, Any], overwrite: bool = False) -> bool:
        """Start a run in this folder, or continue the one that is there; other commands that do so wait meanwhile.

        Args:
            recipe: what is asked for; saved as `recipe.yaml`.
            facts: what else has to be the same when the run continues, such as the fingerprint of the clips.
            overwrite: delete a run of another recipe; files that no run writes stay.

        Returns:
            Whether a run is continued.

        Raises:
            RunFolderError: the folder holds something else, or a run of another recipe or of other data; the
                message names the fields that differ.
        """
        self._refuse_other_content()
        with held(self.lock("run"), f"Waiting for the other command that opens {self.path}.", together=False):
            return self._open(recipe, facts, overwrite)

    def _open(self, recipe: Recipe, facts: dict[str, Any], overwrite: bool) -> bool:
        saved_recipe = self.path / RECIPE_FILE
        if saved_recipe.is_file() and (self.path / RUN_FILE).is_file():
            different = self._differences(recipe, facts)
            if not different:
                return True
            if not overwrite:
                raise RunFolderError(
                    f"{self.path} holds a run of another recipe. Saved → asked for:\n  "
                    + "\n  ".join(different)
                    + "\nTo continue that run, ask for the same; to keep both, give another --output_dir; "
                    "to delete it, add --overwrite_run."
                )
            self._refuse_folds_in_training()
            print(f"Deleting the run in {self.path}, as overwrite_run says.")
            self._delete()
        else:
            self._refuse_other_content()
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / RUN_FILE, facts)
        # Without the folds of this start: others may train the rest, and a repetition means all of them.
        text = yaml.safe_dump(recipe.as_dict() | {"folds": None}, sort_keys=False, allow_unicode=True)
        write_atomically(saved_recipe, f"# The resolved recipe; repeat it with: hsta train recipe.yaml\n{text}")
        return False

    def _refuse_other_content(self) -> None:
        # In this order: what another command starts meanwhile is a run by the second look.
        if self._is_occupied() and not all((self.path / name).is_file() for name in (RECIPE_FILE, RUN_FILE)):
            raise RunFolderError(
                f"{self.path} is not empty and does not hold both {RECIPE_FILE} and {RUN_FILE}, so it is no run "
                "folder; give another --output_dir."
            )

    def _refuse_folds_in_training(self) -> None:
        own = self.lock("run")
        busy = [file.stem for file in sorted(own.parent.glob("*.lock")) if file != own and is_held(file)]
        if busy:
            raise RunFolderError(
                f"{self.path} cannot be deleted: another command is at work in it ({', '.join(busy)}). Stop that "
                "command first, or give another --output_dir."
            )

    def _is_occupied(self) -> bool:
        """Whether the folder holds anything but what a run leaves that was killed while it was started."""
        if not self.path.exists():
            return False
        unfinished = (RUN_FILE, f".{RUN_FILE}.", f".{RECIPE_FILE}.", LOCK_FOLDER)
        return any(not entry.name.startswith(unfinished) for entry in self.path.iterdir())

    def _delete(self) -> None:
        for name in RUN_CONTENT:
            entry = self.path / name
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)

    def _differences(self, recipe: Recipe, facts: dict[str, Any]) -> list[str]:
        saved = yaml.safe_load((self.path / RECIPE_FILE).read_text(encoding="utf-8")) or {}
        # Through YAML, so that both sides went the same way.
        asked = yaml.safe_load(yaml.safe_dump(recipe.as_dict(), allow_unicode=True))
        lines = differing_fields(saved, asked)
        noted = self.path / RUN_FILE
        before = json.loads(noted.read_text(encoding="utf-8")) if noted.is_file() else {}
        now = json.loads(json.dumps(facts))
        # What an earlier version did not note cannot be compared.
        changed = [name for name in now if before.get(name, now[name]) != now[name]]
        lines += [f"{name}: {before.get(name)!r} → {now[name]!r}" for name in changed]
        return lines
