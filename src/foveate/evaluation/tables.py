"""The machine-readable results of an evaluation: metrics.json and metrics.csv.

Knows:   the keys and columns of both files.
Ignores: how figures were computed.

The same maps, masks and settings give the same files, byte for byte: the files hold no times and no
paths.
"""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from foveate import metrics
from foveate.choices import Effort
from foveate.evaluation.evaluate import EvaluationSpec, LesionOutcome
from foveate.evaluation.lesion_metrics import Tree
from foveate.evaluation.measures import Measures, search_thresholds
from foveate.evaluation.selection import PreviouslySeen
from foveate.lesions import Lesion
from foveate.metrics import Estimate
from foveate.metrics.bootstrap import COVERAGE
from foveate.version import version
from foveate.writers import NOTICE, Provenance
from foveate.writers.tables import utf8


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationInfo:
    """What was evaluated, for the reader of the results."""

    provenance: Provenance | None
    """The model; None where maps were read."""
    layout: str
    """Name of the layout of the set."""
    split: str
    """Name of the split, as the user gave it."""
    left_out: Mapping[str, str]
    """Lesion -> why it is not scored."""
    lesions: Sequence[Lesion]
    """All lesions of the layout, with its names and colours for them."""
    previously_seen: PreviouslySeen | None = None
    """Scored photographs used to make the model; None for maps, or if its manifest names no photographs."""
    engine: str | None = None
    """Name and precision of the engine; None where maps were read."""
    effort: Effort | None = None
    """Effort at which the model ran; None where maps were read."""

    @property
    def system(self) -> str:
        """Name and version of the model, and its effort unless it is full; or that maps were read."""
        if self.provenance is None:
            return "maps that were read"
        effort = "" if self.effort in (None, "full") else f", effort {self.effort}"
        return f"{self.provenance.name} {self.provenance.version}{effort}"


def metrics_json(outcomes: Mapping[str, LesionOutcome], spec: EvaluationSpec, info: EvaluationInfo) -> bytes:
    """Return metrics.json."""
    provenance = info.provenance
    document = {
        "foveate": version(),
        "notice": NOTICE,
        "system": info.system,
        "model": provenance
        and {"name": provenance.name, "version": provenance.version, "sha256": provenance.digest},
        "engine": info.engine,
        "effort": info.effort,
        "layout": info.layout,
        "split": info.split,
        "region": spec.region,
        "photographs": len(spec.cases),
        "seen_in_training": info.previously_seen and info.previously_seen.in_training,
        "thresholds_chosen_on": info.previously_seen and info.previously_seen.in_threshold_selection,
        "intervals": {"coverage": COVERAGE, "resamples": spec.resamples, "seed": spec.seed},
        "places": metrics.thresholds.MAX_INDEX + 1,
        "lesions": {lesion: to_json(outcome.figures) for lesion, outcome in outcomes.items()},
        "left_out": dict(info.left_out),
        "each": [{"photograph": name, "lesions": figures} for name, figures in case_rows(outcomes, spec)],
    }
    return utf8(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def case_rows(
    outcomes: Mapping[str, LesionOutcome], spec: EvaluationSpec
) -> list[tuple[str, dict[str, dict[str, object]]]]:
    """Return each photograph's name and its own figures, for the lesions that it was annotated for."""
    figures: dict[str, dict[str, dict[str, object]]] = {case.name: {} for case in spec.cases}
    for lesion, outcome in outcomes.items():
        for measures in outcome.each:
            figures[measures.photograph][lesion] = _case_figures(measures, spec.thresholds[lesion])
    return [(case.name, figures[case.name]) for case in spec.cases]


def _case_figures(measures: Measures, threshold: float) -> dict[str, object]:
    """Return the figures of a lesion in one photograph."""
    detection = measures.detection["one_pixel"]
    index = search_thresholds(threshold).index(threshold)
    dice, iou = (
        _number(metric(measures.confusion[None])[0]) for metric in (metrics.dice_scores, metrics.iou_scores)
    )
    return {
        "lesion_pixels": measures.lesion_pixels,
        "aupr": dict(measures.areas),
        "dice": dice,
        "iou": iou,
        "lesions": int(detection.lesions.sum()),
        "found": int(detection.true_positives[index].sum()),
        "false_positives": int(detection.false_positives[index]),
        "highest": measures.highest,
    }


def to_json(value: object) -> object:
    """Return a tree of figures as JSON values; an estimate without a value states the reason."""
    if isinstance(value, Estimate):
        estimate: dict[str, object] = {"value": value.value, "low": value.low, "high": value.high}
        return estimate | ({"reason": value.reason} if value.value is None else {})
    if isinstance(value, Mapping):
        return {name: to_json(branch) for name, branch in value.items()}
    return [to_json(branch) for branch in value] if isinstance(value, list) else value


def metrics_csv(outcomes: Mapping[str, LesionOutcome]) -> bytes:
    """Return metrics.csv: a row for each figure with an interval."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")  # RFC 4180
    writer.writerow(["lesion", "figure", "value", "low", "high", "reason"])
    for lesion, outcome in outcomes.items():
        for name, leaf in _leaves(to_json(outcome.figures), ""):
            writer.writerow([lesion, name, *(leaf.get(key) for key in ("value", "low", "high", "reason"))])
    return text.getvalue().encode()


def _leaves(value: object, name: str) -> Iterator[tuple[str, Tree]]:
    """Yield every estimate of a tree with its path, such as 'aupr.exact'."""
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


def headline(outcome: LesionOutcome) -> dict[str, str]:
    """Return the main figures of a lesion as text for a terminal: name -> value and interval."""
    figures = json.loads(json.dumps(to_json(outcome.figures)))
    detection = figures["detection"]["one_pixel"]
    return {
        "AUPR exact": _format_estimate(figures["aupr"]["exact"]),
        "official_33": _format_estimate(figures["aupr"]["official_33"]),
        "coarse_11": _format_estimate(figures["aupr"]["coarse_11"]),
        "Dice": _format_estimate(figures["dice"]),
        "lesions found": _format_estimate(detection["sensitivity"]),
        "false regions\nper photograph": _format_estimate(detection["false_positives_per_photograph"]),
    }


def _format_estimate(estimate: Mapping[str, float | None]) -> str:
    """Return a value with its interval on the next line; a dash where there is no value."""
    if estimate["value"] is None:
        return "-"
    interval = "" if estimate["low"] is None else f"\n{estimate['low']:.3f} to {estimate['high']:.3f}"
    return f"{estimate['value']:.3f}{interval}"
