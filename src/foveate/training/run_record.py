"""What a run's folder says of how it came about: its split, its settings, its machine, its data.

Knows:   files of a run beside those of the stages, and what each must hold to be believed.
Ignores: how anything is trained.

split.json        which photographs were held back: the folds, and the number of the one held back
settings.json     the recipe's name and what was changed in it, so that the run can be loaded again
starts/           a file for each start of the run: time, command, versions, machine
data.json         SHA-256 of every photograph and mask, of healthy eyes too
"""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from foveate.datasets import Case, graded
from foveate.errors import TrainingError
from foveate.training import distributed as machines
from foveate.training.distributed import Machine
from foveate.training.trainer import RECIPE, write
from foveate.version import version

SPLIT, SETTINGS = "split.json", "settings.json"
STARTS, DATA = "starts", "data.json"

PACKAGES = ("torch", "numpy", "opencv-python-headless", "pillow", "safetensors", "timm")
"""Whose versions may change what is computed."""


def keep(folder: Path, name: str, content: Mapping[str, Any], what: str) -> None:
    """Write a file of a run, or see that the one there says the same, once a stage was begun.

    Raises:
        TrainingError: it says something else.
    """
    text = json.dumps(content, indent=1) + "\n"
    path = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists() or not (folder / RECIPE).exists():
        write(path, lambda temporary: temporary.write_text(text))
    elif path.read_text() != text:
        raise TrainingError(f"{path}: the run was begun with {what}; choose another --out, or give the same")


def add_start(folder: Path, command: Sequence[str], machine: Machine) -> None:
    """Write when, with what and where this start of a run is made, in a file of its own."""
    now = datetime.now(UTC).isoformat(timespec="seconds").replace(":", "-")
    path = folder / STARTS / f"{now}-{os.getpid()}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(environment(command, machine), indent=1) + "\n"
    write(path, lambda temporary: temporary.write_text(text))


def environment(command: Sequence[str], machine: Machine) -> dict[str, Any]:
    """Return when, with what and where a run is started."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(command),
        "foveate": version(),
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "machine": machines.describe(machine),
    }


def digests(cases: Sequence[Case]) -> dict[str, dict[str, Any]]:
    """Return SHA-256 of each case's photograph and masks, as 64 hex digits."""
    return {
        case.name: {
            "photograph": _digest(case.photograph),
            "masks": {lesion: _digest(path) for lesion, path in sorted(case.masks.items())},
        }
        for case in cases
    }


def healthy(folder: Path, cases: Sequence[Case]) -> tuple[str, ...]:
    """Return the names of the healthy eyes that a run learned from, as their files have them.

    Args:
        folder: of the run; one that keeps no digests is of before there were healthy eyes.
        cases: all of its data set, as they were when it was trained.
    """
    path = folder / DATA
    seen = json.loads(path.read_text()) if path.exists() else {}
    known = {case.name for case in cases}
    beside = [name for name in seen if name.startswith(graded.PREFIX) and name not in known]
    return tuple(name.removeprefix(graded.PREFIX) for name in beside)


def split(folder: Path) -> tuple[Path, int | None] | None:
    """Return a run's file of folds and the number of the one held back, if any; None if it keeps none."""
    path = folder / SPLIT
    return (path, json.loads(path.read_text())["held_back"]) if path.exists() else None


def settings(folder: Path) -> dict[str, Any] | None:
    """Return what a run was begun with: 'recipe', 'set', 'lesions', 'field'; None if it keeps nothing."""
    path = folder / SETTINGS
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
