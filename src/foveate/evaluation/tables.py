"""What came of an evaluation, for programs: metrics.json and metrics.csv.

Knows:   how figures are spelt there.
Ignores: how they were computed.

Both are the same, byte for byte, for the same maps, masks and settings: they hold no times and no paths.
"""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from foveate import metrics
from foveate.evaluation.evaluate import LesionOutcome, Trial
from foveate.evaluation.figures import Tree
from foveate.evaluation.measures import Measures, thresholds
from foveate.evaluation.operating_points import Familiar
from foveate.metrics import Estimate
from foveate.metrics.bootstrap import COVERAGE
from foveate.types import Effort
from foveate.version import version
from foveate.writers import NOTICE, Maker


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What was evaluated, in words."""

    maker: Maker | None
    """The model; None where maps were read."""
    layout: str
    """Of the set."""
    split: str
    """Which photographs of it, as asked."""
    left_out: Mapping[str, str]
    """Lesion -> why it is not scored."""
    familiar: Familiar | None = None
    """What the model has met before; None where maps were read, or its manifest names no photographs."""

    engine: str | None = None
    """What computed, and how precisely; None where maps were read."""
    effort: Effort | None = None
    """At which the model looked; None where maps were read."""

    @property
    def system(self) -> str:
        """The model's name and version, and its effort where it is not full; or that maps were read."""
        if self.maker is None:
            return "maps that were read"
        effort = "" if self.effort in (None, "full") else f", effort {self.effort}"
        return f"{self.maker.name} {self.maker.version}{effort}"


def metrics_json(outcomes: Mapping[str, LesionOutcome], trial: Trial, about: About) -> bytes:
    """Return metrics.json."""
    maker = about.maker
    document = {
        "foveate": version(),
        "notice": NOTICE,
        "system": about.system,
        "model": maker and {"name": maker.name, "version": maker.version, "sha256": maker.digest},
        "engine": about.engine,
        "effort": about.effort,
        "layout": about.layout,
        "split": about.split,
        "region": trial.region,
        "photographs": len(trial.cases),
        "seen_in_training": about.familiar and about.familiar.seen_in_training,
        "thresholds_chosen_on": about.familiar and about.familiar.thresholds_chosen_on,
        "intervals": {"coverage": COVERAGE, "resamples": trial.resamples, "seed": trial.seed},
        "places": metrics.thresholds.TOP + 1,
        "lesions": {lesion: plain(outcome.figures) for lesion, outcome in outcomes.items()},
        "left_out": dict(about.left_out),
        "each": [
            {
                "photograph": case.name,
                "lesions": {
                    lesion: own(one, trial.thresholds[lesion])
                    for lesion, outcome in outcomes.items()
                    for one in outcome.each
                    if one.photograph == case.name
                },
            }
            for case in trial.cases
        ],
    }
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def own(one: Measures, threshold: float) -> dict[str, object]:
    """Return one photograph's own figures of a lesion."""
    detected = one.detection["one_pixel"]
    index = thresholds(threshold).index(threshold)
    dice, iou = (_number(of(one.confusion[None])[0]) for of in (metrics.dices, metrics.ious))
    return {
        "lesion_pixels": one.lesion_pixels,
        "aupr": dict(one.areas),
        "dice": dice,
        "iou": iou,
        "lesions": int(detected.lesions.sum()),
        "found": int(detected.hits[index].sum()),
        "false_positives": int(detected.false[index]),
        "highest": one.highest,
    }


def plain(value: object) -> object:
    """Return a tree of figures as JSON can hold it; an estimate without a value says why."""
    if isinstance(value, Estimate):
        found: dict[str, object] = {"value": value.value, "low": value.low, "high": value.high}
        return found | ({"reason": value.reason} if value.value is None else {})
    if isinstance(value, Mapping):
        return {name: plain(branch) for name, branch in value.items()}
    return [plain(branch) for branch in value] if isinstance(value, list) else value


def table(outcomes: Mapping[str, LesionOutcome]) -> bytes:
    """Return metrics.csv: a row for each figure that has an interval."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")  # RFC 4180
    writer.writerow(["lesion", "figure", "value", "low", "high", "reason"])
    for lesion, outcome in outcomes.items():
        for name, leaf in _leaves(plain(outcome.figures), ""):
            writer.writerow([lesion, name, *(leaf.get(key) for key in ("value", "low", "high", "reason"))])
    return text.getvalue().encode()


def _leaves(value: object, name: str) -> Iterator[tuple[str, Tree]]:
    """Yield every estimate of a plain tree by its path, such as 'aupr.exact'."""
    if isinstance(value, Mapping) and "value" in value:
        yield name, value
    elif isinstance(value, Mapping):
        for key, branch in value.items():
            yield from _leaves(branch, f"{name}.{key}".removeprefix("."))
    elif isinstance(value, list):
        for branch in value:
            if isinstance(branch, Mapping) and "from_px" in branch:
                yield from _leaves(branch, f"{name}.{branch['from_px']:g}_px")


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def brief(lesion: str, outcome: LesionOutcome) -> tuple[str, dict[str, str]]:
    """Return a lesion and its first figures as text, for a terminal: name -> value and interval."""
    told = json.loads(json.dumps(plain(outcome.figures)))
    detected = told["detection"]["one_pixel"]
    return lesion, {
        "AUPR exact": _told(told["aupr"]["exact"]),
        "official_33": _told(told["aupr"]["official_33"]),
        "coarse_11": _told(told["aupr"]["coarse_11"]),
        "Dice": _told(told["dice"]),
        "lesions found": _told(detected["sensitivity"]),
        "false a photograph": _told(detected["false_positives_per_photograph"]),
    }


def _told(found: Mapping[str, float | None]) -> str:
    """A value and its interval below it; a dash where there is no value."""
    if found["value"] is None:
        return "-"
    ends = "" if found["low"] is None else f"\n{found['low']:.3f} to {found['high']:.3f}"
    return f"{found['value']:.3f}{ends}"
