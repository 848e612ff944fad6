"""What a package's manifest states about the training and the scores of its network.

Knows:   those of the keys that `foveate release` writes that others read.
Ignores: every other key. Packages are made by other recipes, too: what is missing, or is something else, is
         left out.
"""

import math
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
class StatedScaling:
    """Calibration of a lesion's maps: logits times `slope` plus `shift`; NaN where no number is stated."""

    slope: float
    shift: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingStatement:
    """What a manifest states; texts, tuples and mappings are empty where it states nothing.

    Names of photographs are in the Unicode form NFC, so that equal names compare equal.
    """

    recipe: str
    """Name of the recipe."""
    network: Mapping[str, object]
    """The network's numbers under their stored names, which `nets.NetworkPlan.from_stored` reads."""
    global_shares: tuple[float, ...]
    """Lesion by lesion, GlobalNet's share in the fused logits; NaN for what is no number."""
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
    calibration: Mapping[str, Mapping[str, StatedScaling]] | None
    """Row of Table 1 -> lesion -> calibration of its maps, for those that were calibrated; None where it is
    not stated which were."""
    validation: Mapping[str, object]
    """All that is stated under 'validation', as JSON values, for packages that state it again."""

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Names of all photographs that the network was trained on, those of healthy eyes included.

        A healthy eye whose name a photograph has that the network was scored on is another eye, and left out.
        """
        return (*self.photographs, *(name for name in self.healthy if name not in self.scored))


def read(training: Mapping[str, object]) -> TrainingStatement:
    """Return what a manifest states under 'training'."""
    rows = _mapping(_at(training, "validation", "rows", "fused"))
    scores = {code: _score(row) for code, row in rows.items()}
    return TrainingStatement(
        recipe=_text(_at(training, "recipe", "name")),
        network=_mapping(_at(training, "recipe", "network")),
        global_shares=_shares(_at(training, "recipe", "global_shares")),
        start=_package(_at(training, "start")),
        photographs=_names(_at(training, "photographs")),
        healthy=_names(_at(training, "healthy")),
        scored_package=_package(_at(training, "validation", "network")),
        scored=_names(_at(training, "validation", "photographs")),
        scored_and_learned=_names(_at(training, "validation", "learned_from_them")),
        scores={code: score for code, score in scores.items() if score is not None},
        calibration=_calibration(_at(training, "validation", "calibration")),
        validation=_mapping(_at(training, "validation")),
    )


def _at(value: object, *keys: str) -> object:
    """Return what nested objects hold under keys; None where one is missing."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> float:
    """Return a number, NaN for anything else, also for whole numbers that may be too large for a float."""
    if isinstance(value, float):
        return value
    return float(value) if type(value) is int and abs(value) < 1 << 63 else math.nan


def _package(value: object) -> str:
    """Return the name and version of the package that a statement names."""
    return f"{_text(_at(value, 'name'))} {_text(_at(value, 'version'))}".strip()


def _names(value: object) -> tuple[str, ...]:
    names = value if isinstance(value, list) else []
    return tuple(nfc(name) for name in names if isinstance(name, str))


def _shares(value: object) -> tuple[float, ...]:
    """Return the stated shares; a single NaN for anything but a list."""
    if value is None:
        return ()
    return tuple(map(_number, value)) if isinstance(value, list | tuple) else (math.nan,)


def _calibration(rows: object) -> Mapping[str, Mapping[str, StatedScaling]] | None:
    """Return the calibration of each row; lesions without a slope were not calibrated."""
    if not isinstance(rows, Mapping):
        return None
    return {
        row: {
            code: StatedScaling(slope=_number(_at(scaling, "slope")), shift=_number(_at(scaling, "shift")))
            for code, scaling in _mapping(lesions).items()
            if _at(scaling, "slope")
        }
        for row, lesions in rows.items()
    }


def _score(row: object) -> StatedScore | None:
    average_precision, interval = _at(row, "average_precision"), _at(row, "interval")
    if not isinstance(average_precision, float):
        return None
    ends = [end for end in interval if isinstance(end, float)] if isinstance(interval, list) else []
    return StatedScore(
        average_precision=average_precision, interval=(ends[0], ends[1]) if len(ends) == 2 else None
    )
