"""What a run records about itself: its settings, its split, its data, and each of its starts.

Knows:   what these records hold and how they become JSON.
Ignores: in which files they are stored (`run_folder`), and how anything is trained.
"""

import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from foveate.datasets import Case, digest, dr_grades
from foveate.paths import display_path, nfc
from foveate.timestamps import utc_timestamp
from foveate.training import distributed
from foveate.training.distributed import Machine
from foveate.types import FieldRule
from foveate.version import version

PACKAGES = ("torch", "numpy", "opencv-python-headless", "pillow", "safetensors", "timm")
"""Packages whose versions may change the results."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StartPackage:
    """The model package that a run started from, identified to the last bit."""

    name: str
    version: str
    digest: str
    photographs: tuple[str, ...]
    """Names of the photographs that it was trained on."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return asdict(self) | {"photographs": list(self.photographs)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "StartPackage":
        """Return the record from the values that `to_json` returned."""
        return cls(**{**content, "photographs": tuple(content["photographs"])})


@dataclass(frozen=True, kw_only=True, slots=True)
class AveragedRun:
    """One of the runs whose weights a run is the mean of."""

    overrides: Mapping[str, str]
    """Dotted name -> value, as --set gave them."""
    weights: str
    """SHA-256 of the file of its weights."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return {"set": dict(self.overrides), "weights": self.weights}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "AveragedRun":
        """Return the record from the values that `to_json` returned."""
        return cls(overrides=content["set"], weights=content["weights"])


@dataclass(frozen=True, kw_only=True, slots=True)
class ContinuedRun:
    """The run whose joint stage another run continues."""

    name: str
    """Name of its folder."""
    weights: str
    """SHA-256 of the file of the joint stage's weights."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "ContinuedRun":
        """Return the record from the values that `to_json` returned."""
        return cls(**content)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """What a run was begun with, so that its recipe can be restored."""

    recipe: str
    """Name of the published recipe."""
    overrides: Mapping[str, str]
    """Dotted name -> value, as --set gave them."""
    lesions: tuple[str, ...]
    field: FieldRule
    start: StartPackage | None = None
    """Absent from the file if the run did not start from a package."""
    averaged: tuple[AveragedRun, ...] = ()
    """The runs that the weights are the mean of; absent from the file if the run was trained."""
    continued: ContinuedRun | None = None
    """Absent from the file if the run trained its joint stage itself."""

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        start = {} if self.start is None else {"start": self.start.to_json()}
        averaged = {"averaged": [run.to_json() for run in self.averaged]} if self.averaged else {}
        continued = {} if self.continued is None else {"continued": self.continued.to_json()}
        return (
            {
                "recipe": self.recipe,
                "set": dict(self.overrides),
                "lesions": list(self.lesions),
                "field": self.field,
            }
            | start
            | averaged
            | continued
        )

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "RunSettings":
        """Return the settings from the values that `to_json` returned."""
        start, continued = content.get("start"), content.get("continued")
        return cls(
            recipe=content["recipe"],
            overrides=content["set"],
            lesions=tuple(content["lesions"]),
            field=content["field"],
            start=None if start is None else StartPackage.from_json(start),
            averaged=tuple(map(AveragedRun.from_json, content.get("averaged", ()))),
            continued=None if continued is None else ContinuedRun.from_json(continued),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSplit:
    """The folds of a run."""

    about: str
    """Where the folds come from."""
    folds: Mapping[str, int]
    """Photograph -> fold."""
    held_back: int | None
    """The fold that is not trained on, if any."""

    def to_json(self) -> dict[str, Any]:
        """Return the split as JSON values."""
        return {"about": self.about, "folds": dict(self.folds), "held_back": self.held_back}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "RunSplit":
        """Return the split from the values that `to_json` returned."""
        return cls(about=content["about"], folds=content["folds"], held_back=content["held_back"])


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStart:
    """When, with which software and on which machine a run was started."""

    time: str
    """ISO 8601, UTC."""
    command: tuple[str, ...]
    machine: Mapping[str, str | int | None]
    validation: tuple[str, ...] = ()
    """Names of the photographs that validate the stages; absent from the file where there are none."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values, with the versions of all software that affects the results."""
        validation = {"validation": list(self.validation)} if self.validation else {}
        return {
            "time": self.time,
            "command": list(self.command),
            "foveate": version(),
            "python": sys.version.split()[0],
            "system": platform.platform(),
            "packages": dict(_versions(PACKAGES)),
            "machine": dict(self.machine),
        } | validation


def start_now(command: Sequence[str], machine: Machine, validation: Sequence[str] = ()) -> RunStart:
    """Return the record of a start at this moment.

    Args:
        command: the command line.
        machine: where the run computes.
        validation: names of the photographs that validate its stages.
    """
    return RunStart(
        time=utc_timestamp(datetime.now(UTC)),
        command=tuple(command),
        machine=distributed.describe(machine),
        validation=tuple(validation),
    )


def file_digests(cases: Sequence[Case], lesions: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the SHA-256 of each case's photograph and masks, 64 hex digits each.

    Args:
        cases: photographs of the run, healthy eyes included.
        lesions: lesions of the run's recipe; masks of others do not matter.

    Raises:
        DatasetError: a file cannot be read.
    """
    return {
        case.name: {
            "photograph": digest(case.photograph),
            "masks": {
                lesion: digest(case.masks[lesion]) for lesion in sorted(lesions) if lesion in case.masks
            },
        }
        for case in cases
    }


def first_difference(
    recorded: Mapping[str, Any], present: Mapping[str, Any], lesions: Sequence[str]
) -> str | None:
    """Return which file differs first between two records of `file_digests`, and how; None if none does.

    Args:
        recorded: what a run was begun with; it may hold masks of other lesions, as earlier versions wrote it.
        present: what the set holds now.
        lesions: lesions of the run's recipe; masks of others do not matter.
    """
    before, now = (_digests_by_file(digests, lesions) for digests in (recorded, present))
    for file in {**before, **now}:
        if file not in now:
            return f"{file} is missing"
        if file not in before:
            return f"{file} is new"
        if before[file] != now[file]:
            return f"{file} has changed"
    return None


def _digests_by_file(digests: Mapping[str, Any], lesions: Sequence[str]) -> dict[str, str]:
    """Return what each file is -> its digest."""
    by_file = {}
    for name, record in digests.items():
        by_file[f"photograph {display_path(name)}"] = record["photograph"]
        for lesion, mask_digest in record["masks"].items():
            if lesion in lesions:
                by_file[f"the {lesion} mask of {display_path(name)}"] = mask_digest
    return by_file


def healthy_names(digests: Mapping[str, Any], cases: Sequence[Case]) -> tuple[str, ...]:
    """Return the names of the healthy eyes that a run was trained on, as in their file names.

    Args:
        digests: name -> digests of the run's files; empty for runs from before healthy eyes were supported.
        cases: all photographs of the run's data set.
    """
    set_names = {nfc(case.name) for case in cases}
    healthy = [name for name in digests if name.startswith(dr_grades.PREFIX) and name not in set_names]
    return tuple(name.removeprefix(dr_grades.PREFIX) for name in healthy)


def _versions(packages: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Yield the name and version of each package that is installed."""
    for package in packages:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
