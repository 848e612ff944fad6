"""The folder of a run: the names of its files, and how they are read and written.

Knows:   every file of a run, and in which state of the folder a file may be written.
Ignores: how a stage is trained, and what a model package needs.

recipe.json           all numbers of the recipe; a folder that holds this file holds a run
settings.json         the recipe's name and its overrides, so that the run can be loaded again
split.json            the folds, and the number of the fold that is held back
data.json             SHA-256 of every photograph (healthy eyes too) and of its masks of the recipe's lesions
starts/               a file for each start of the run: time, command, versions, machine
sheets/               the cached photographs, 50 MB each; may be deleted when the run is finished
false-pixels/         pixels that the network of the joint stage wrongly marked, a file per healthy eye
tensorboard/STAGE/    event files
running/STAGE/        empty; reserved while a process trains the stage
STAGE.csv             learning rate and loss of each step
STAGE-epochs.csv      learning rate and mean loss of each epoch
STAGE-validation.csv  average precision of each lesion during training, if the stage was validated
STAGE-samples.jpg     samples of the stage's first step
STAGE.checkpoint      everything that a stage needs to continue
STAGE.safetensors     the stage's result (`Stage.snapshots`); a stage that has it is finished

Several stages of one run may be trained in parallel. Files are written atomically (`foveate.atomic_files`).
Names in records are read and compared in the Unicode form NFC.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from foveate import atomic_files
from foveate.errors import OutputError, TrainingError, one_line, raise_if_out_of_memory
from foveate.paths import display_path, exists, nfc
from foveate.training import curves, run_record
from foveate.training import recipe as recipes
from foveate.training.curves import StepRecord, ValidationRecord
from foveate.training.damage import COPY_AGAIN, damage_errors
from foveate.training.recipe import Recipe, StageName
from foveate.training.run_record import RunSettings, RunSplit, RunStart

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder, which need not exist yet."""

    path: Path

    @property
    def cache(self) -> Path:
        """Return the folder of the cached photographs."""
        return self.path / "sheets"

    def tensorboard(self, stage: StageName) -> Path:
        """Return the folder of a stage's TensorBoard files."""
        return self.path / "tensorboard" / stage

    def reservation(self, stage: StageName) -> Path:
        """Return the folder that is reserved while a stage is trained."""
        return self.path / "running" / stage

    def false_pixels(self, name: str) -> Path:
        """Return the path of a healthy eye's wrongly marked pixels."""
        return self.path / "false-pixels" / f"{name}.npz"

    def has_run(self) -> bool:
        """Return whether the folder holds a run; False if it is unreadable: writing will fail later."""
        return exists(self._recipe)

    def remove_leftovers(self) -> None:
        """Remove unfinished files of killed processes; younger ones may belong to another stage's process."""
        atomic_files.remove_leftovers(self.path, deep=False, min_age=atomic_files.LEFTOVER_SECONDS)

    # How the run was begun

    def keep_recipe(self, recipe: Recipe) -> None:
        """Write the recipe, or check that the run was begun with it.

        Raises:
            TrainingError: the folder holds a run of another recipe.
        """
        content = recipes.describe(recipe)
        if not exists(self._recipe):
            atomic_files.write_file(self._recipe, _json(content).encode())
        elif self.read_recipe() != _in_nfc(content):
            raise TrainingError(
                f"{display_path(self._recipe)}: was written by another recipe or version; choose another "
                "--out"
            )

    def read_recipe(self) -> dict[str, Any] | None:
        """Return the recipe that the run was begun with, as `recipe.describe`; None if there is no run."""
        return _read_json(self._recipe)

    def keep_settings(self, settings: RunSettings) -> None:
        """Write the settings, or check that the run was begun with them; raises as `keep_split`."""
        self._keep(self.path / "settings.json", settings.to_json(), _if_unequal("other settings"))

    def keep_split(self, split: RunSplit) -> None:
        """Write the split, or check that the run was begun with it.

        Raises:
            TrainingError: the run was begun with another one.
        """
        self._keep(self.split, split.to_json(), _if_unequal("another split"))

    def keep_digests(self, digests: Json, lesions: Sequence[str]) -> None:
        """Write the digests of all photographs and masks, or check that the run was begun with them.

        Args:
            digests: from `run_record.file_digests`.
            lesions: lesions of the run's recipe; recorded masks of others do not matter.

        Raises:
            TrainingError: the run was begun with other files; the message names the first one.
        """

        def difference(recorded: Json, now: Json) -> str | None:
            first = run_record.first_difference(recorded, now, lesions)
            return None if first is None else f"other photographs or masks ({first})"

        self._keep(self.path / "data.json", digests, difference)

    def begin_as(self, other: "RunFolder", settings: RunSettings) -> None:
        """Write the split, the digests and the recipe of another run, with settings of this one.

        Raises:
            TrainingError: a record of the other run is missing or damaged.
        """
        records = {name: _read_json(other.path / name) for name in ("split.json", "data.json", "recipe.json")}
        if missing := [name for name, content in records.items() if content is None]:
            raise TrainingError(f"{display_path(other.path / missing[0])}: does not exist; {COPY_AGAIN}")
        for name, content in {"settings.json": settings.to_json(), **records}.items():  # the recipe last
            atomic_files.write_file(self.path / name, _json(content or {}).encode())

    def add_start(self, start: RunStart) -> None:
        """Write a file about this start of the run."""
        name = f"{start.time.replace(':', '-')}-{os.getpid()}.json"
        atomic_files.write_file(self.path / "starts" / name, _json(start.to_json()).encode())

    @property
    def split(self) -> Path:
        """Return the path of the file of folds, which other commands read as well."""
        return self.path / "split.json"

    def read_split(self) -> RunSplit | None:
        """Return the split; None if the run has none."""
        content = _read_json(self.split)
        return None if content is None else RunSplit.from_json(content)

    def read_settings(self) -> RunSettings | None:
        """Return the settings that the run was begun with; None if the run has no record of them."""
        content = _read_json(self.path / "settings.json")
        return None if content is None else RunSettings.from_json(content)

    def read_digests(self) -> Json:
        """Return name -> digests of all photographs; empty if the run is older than these records."""
        return _read_json(self.path / "data.json") or {}

    # Stages

    def weights(self, stage: StageName) -> Path:
        """Return the path of a stage's final weights."""
        return self.path / f"{stage}.safetensors"

    def is_finished(self, stage: StageName) -> bool:
        """Return whether a stage's final weights exist."""
        return exists(self.weights(stage))

    def read_weights(self, stage: StageName) -> dict[str, torch.Tensor]:
        """Return the final weights of a stage.

        Raises:
            TrainingError: the stage is not finished, or the file is damaged.
        """
        self.require_finished(stage)
        with damage_errors(self.weights(stage), COPY_AGAIN):
            return load_file(self.weights(stage))

    def require_finished(self, stage: StageName) -> None:
        """Raise TrainingError unless a stage's final weights exist."""
        if not self.is_finished(stage):
            raise TrainingError(
                f"{display_path(self.weights(stage))}: does not exist; finish stage '{stage}' first"
            )

    def write_weights(self, stage: StageName, weights: dict[str, torch.Tensor]) -> None:
        """Write the final weights of a stage, which finishes it."""
        atomic_files.write_file(self.weights(stage), save(weights))

    def has_checkpoint(self, stage: StageName) -> bool:
        """Return whether a stage was begun."""
        return exists(self._checkpoint(stage))

    def read_checkpoint(self, stage: StageName, device: str) -> dict[str, Any]:
        """Return a stage's checkpoint, with its tensors on a device.

        Raises:
            TrainingError: the file is damaged.
        """
        path = self._checkpoint(stage)
        with damage_errors(path, COPY_AGAIN):
            content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        return content

    def write_checkpoint(self, stage: StageName, content: Json) -> None:
        """Write everything that a stage needs to continue.

        Raises:
            OutputError: the file cannot be written; the last checkpoint stays.
            MemoryError: there is not enough memory; the last checkpoint stays.
        """
        path = self._checkpoint(stage)
        try:
            with atomic_files.replace_file(path) as temporary:
                torch.save(content, temporary)
        except RuntimeError as error:  # torch's error on a full disk
            raise_if_out_of_memory(error)
            reason = one_line(error)
            raise OutputError(
                f"{display_path(path)}: cannot be written ({reason}); free some space and start again"
            ) from error

    def read_steps(self, stage: StageName, last_step: int = sys.maxsize) -> list[StepRecord]:
        """Return the records of a stage's steps up to a step; an empty list if there is no log."""
        path = self.path / f"{stage}.csv"
        return curves.parse_steps(path.read_text(), last_step) if exists(path) else []

    def write_curves(self, stage: StageName, records: Sequence[StepRecord], epoch: float) -> None:
        """Write the records of a stage's steps, and of its epochs, each of `epoch` steps."""
        atomic_files.write_file(self.path / f"{stage}.csv", curves.steps_csv(records).encode())
        atomic_files.write_file(self.path / f"{stage}-epochs.csv", curves.epochs_csv(records, epoch).encode())

    def read_validations(self, stage: StageName, last_step: int = sys.maxsize) -> list[ValidationRecord]:
        """Return the records of a stage's validations up to a step; an empty list if there are none."""
        path = self.path / f"{stage}-validation.csv"
        return curves.parse_validations(path.read_text(), last_step) if exists(path) else []

    def write_validations(self, stage: StageName, records: Sequence[ValidationRecord]) -> None:
        """Write the records of a stage's validations, at least one."""
        path = self.path / f"{stage}-validation.csv"
        atomic_files.write_file(path, curves.validations_csv(records).encode())

    def step_count(self, stage: StageName) -> int:
        """Return how many steps a finished stage took.

        Raises:
            TrainingError: the stage is not finished, or its log is missing.
        """
        records = self.read_steps(stage) if self.is_finished(stage) else []
        if not records:
            path = self.path / f"{stage}.csv"
            raise TrainingError(f"{display_path(path)}: no steps are logged; finish stage '{stage}' first")
        return records[-1].step

    def write_samples(self, stage: StageName, jpeg: bytes) -> None:
        """Write the picture of the samples of a stage's first step."""
        atomic_files.write_file(self.path / f"{stage}-samples.jpg", jpeg)

    @property
    def _recipe(self) -> Path:
        return self.path / "recipe.json"

    def _checkpoint(self, stage: StageName) -> Path:
        return self.path / f"{stage}.checkpoint"

    def _keep(self, path: Path, content: Json, difference: Callable[[Json, Json], str | None]) -> None:
        """Write a file, or check its content once a stage has begun: before that, nothing depends on it.

        Args:
            path: path of the file.
            content: what it should hold.
            difference: returns what of the recorded content differs from the present one; None if nothing
                does.

        Raises:
            TrainingError: the contents differ.
        """
        if not exists(path) or not self.has_run():
            atomic_files.write_file(path, _json(content).encode())
        elif what := difference(_read_json(path) or {}, _in_nfc(content)):
            raise TrainingError(
                f"{display_path(path)}: the run was started with {what}; use the same again, or choose "
                "another --out"
            )


def _if_unequal(what: str) -> Callable[[Json, Json], str | None]:
    """Return the function that calls two records different unless they are equal, in any order of names."""
    return lambda recorded, now: None if recorded == now else what


def _json(content: Json) -> str:
    return json.dumps(content, indent=1) + "\n"


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return what a record holds, in NFC; None if there is none."""
    if not exists(path):
        return None
    with damage_errors(path, COPY_AGAIN):
        return _in_nfc(json.loads(path.read_text()))


def _in_nfc(content: Json) -> dict[str, Any]:
    """Return the values of a record with all names in one Unicode form: an older one may have another."""
    values: dict[str, Any] = json.loads(nfc(json.dumps(content, ensure_ascii=False)))
    return values
