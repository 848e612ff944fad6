"""What a package's manifest states about the training and the scores of its network.

Knows:   the keys that `foveate release` writes.
Ignores: every other key. Packages are made by other recipes, too: what is missing, or is something else, is
         left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from foveate.paths import nfc


@dataclass(frozen=True, kw_only=True, slots=True)
class StatedScore:
    """Average precision of a lesion on photographs that the scored network was not trained on."""

    average_precision: float
    """From 0 to 1."""
    interval: tuple[float, float] | None
    """Its 95 % interval over photographs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingStatement:
    """What a manifest states; names and texts are empty where it states nothing.

    Names of photographs are in the Unicode form NFC, so that equal names compare equal.
    """

    recipe: str
    """Name of the recipe."""
    start: str
    """Name and version of the package that training started from."""
    photographs: tuple[str, ...]
    """Names of the photographs with masks that the network was trained on."""
    healthy: tuple[str, ...]
    """Names of the healthy eyes that it was trained on."""
    scored_package: str
    """Name and version of the package that stated the scores first, if training went on from it."""
    scored: tuple[str, ...]
    """Names of the photographs that the scores are for, and that thresholds were chosen on."""
    scored_and_learned: tuple[str, ...]
    """Those of them that the network was trained on after it had been scored."""
    scores: Mapping[str, StatedScore]
    """Lesion -> score of the fused network."""

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Names of all photographs that the network was trained on, those of healthy eyes included."""
        return (*self.photographs, *self.healthy)


def read(training: object) -> TrainingStatement:
    """Return what the value of 'training' in a manifest states."""
    rows = _at(training, "validation", "rows", "fused")
    scores = {code: _score(row) for code, row in rows.items()} if isinstance(rows, Mapping) else {}
    return TrainingStatement(
        recipe=_text(_at(training, "recipe", "name")),
        start=_package(_at(training, "start")),
        photographs=_names(_at(training, "photographs")),
        healthy=_names(_at(training, "healthy")),
        scored_package=_package(_at(training, "validation", "network")),
        scored=_names(_at(training, "validation", "photographs")),
        scored_and_learned=_names(_at(training, "validation", "learned_from_them")),
        scores={code: score for code, score in scores.items() if score is not None},
    )


def _at(value: object, *keys: str) -> object:
    """Return what nested objects hold under keys; None where one is missing."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _package(value: object) -> str:
    """Return the name and version of the package that a statement names."""
    return f"{_text(_at(value, 'name'))} {_text(_at(value, 'version'))}".strip()


def _names(value: object) -> tuple[str, ...]:
    names = value if isinstance(value, list) else []
    return tuple(nfc(name) for name in names if isinstance(name, str))


def _score(row: object) -> StatedScore | None:
    average_precision, interval = _at(row, "average_precision"), _at(row, "interval")
    if not isinstance(average_precision, float):
        return None
    ends = [end for end in interval if isinstance(end, float)] if isinstance(interval, list) else []
    return StatedScore(
        average_precision=average_precision, interval=(ends[0], ends[1]) if len(ends) == 2 else None
    )
