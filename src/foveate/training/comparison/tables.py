"""A comparison as text: Table 1 with intervals, the gains of fusion, and all results as JSON.

Knows:   how numbers are formatted.
Ignores: how they were computed.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence

from foveate.evaluation.html_report import PAPER
from foveate.evaluation.networks import ROW_ENGINES, Row
from foveate.metrics import Estimate
from foveate.metrics.froc import DIAMETERS
from foveate.training.comparison import FALSE_REGIONS, STREAM_ROWS, LesionComparison

CAPTIONS = "patch, truth, LocalNet, GlobalNet, fused"
"""The pictures of a figure, in the paper's order."""

PAPER_NAMES: Mapping[Row, str] = {
    "GlobalNet": "GlobalNet",
    "LocalNet": "LocalNet",
    "fused": "Our fused model",
}
"""Row -> its name in the paper."""


def table_1(comparisons: Mapping[str, LesionComparison]) -> str:
    """Return the paper's Table 1 as Markdown: average precision, intervals, and the paper's figures below."""
    columns = comparisons.values()
    rows: list[Sequence[str]] = [
        (row, *(_figure(column.areas[row]) for column in columns)) for row in ROW_ENGINES
    ]
    rows += [
        (f"fused - {row}", *(_difference(column.gains[row]) for column in columns)) for row in STREAM_ROWS
    ]
    rows += [
        (f"paper, {row}", *(_paper_figure(PAPER_NAMES[row], lesion) for lesion in comparisons))
        for row in ROW_ENGINES
    ]
    return _markdown(("average precision", *comparisons), rows)


def by_diameter(comparisons: Mapping[str, LesionComparison]) -> str:
    """Return the lesions that each row detects, and the gain of fusion, by diameter, as Markdown."""
    edges = (0.0, *DIAMETERS, None)
    head = ("lesion", "diameter, px", "annotated", *ROW_ENGINES, *(f"fused - {row}" for row in STREAM_ROWS))
    rows = [
        (
            lesion,
            f"from {edges[stratum]:g}"
            if edges[stratum + 1] is None
            else f"{edges[stratum]:g} to {edges[stratum + 1]:g}",
            str(column.lesion_counts[stratum]),
            *(_figure(column.detected[row][stratum]) for row in ROW_ENGINES),
            *(_difference(column.detection_gains[row][stratum]) for row in STREAM_ROWS),
        )
        for lesion, column in comparisons.items()
        for stratum in range(len(DIAMETERS) + 1)
    ]
    return _markdown(head, rows)


def page(comparisons: Mapping[str, LesionComparison], about: Mapping[str, object]) -> str:
    """Return the text of comparison.md."""
    facts = "\n".join(f"- {name}: {_fact(value)}" for name, value in about.items())
    figures = "\n".join(
        f"![{lesion} in {column.patch.photograph}: {CAPTIONS}](figure-2-{lesion}.png)"
        for lesion, column in comparisons.items()
        if column.patch
    )
    rate = f"{FALSE_REGIONS:g}"
    return f"""# GlobalNet, LocalNet, and both fused

{facts}

Exact average precision, pixels pooled at native resolution; in brackets 95 % intervals from a bootstrap over
photographs. Differences are paired: both rows on the same photographs in every sample; a star marks an
interval without 0. The paper's figures are those of its Table 1, measured on IDRiD's test part. The paper
seems to leave out photographs without the lesion, which count with all their pixels here.

{table_1(comparisons)}
## Gain of fusion by diameter

Share of the lesions found at {rate} false regions per photograph; a lesion counts as found if at least one
of its pixels is marked. A dash: no lesion is annotated, or even at the highest level of the maps there are
more false regions, so that the maps cannot tell. No interval: the figure depends on a single photograph, or
the maps cannot tell in more than 2.5 % of the samples.

{by_diameter(comparisons)}
## Patches

For each lesion, the patch with most of it, in the photograph on which the fused network has its median score.

{figures}
"""


def record(comparisons: Mapping[str, LesionComparison], about: Mapping[str, object]) -> str:
    """Return the text of comparison.json."""
    lesions = {
        lesion: {
            "aupr_exact": {
                row: _json(column.areas[row]) | {"interval_deviation": column.deviations[row]}
                for row in ROW_ENGINES
            },
            "fused_minus": {row: _json(column.gains[row]) for row in STREAM_ROWS},
            "by_diameter": [
                {
                    "from_px": low,
                    "to_px": high,
                    "lesions": column.lesion_counts[stratum],
                    "found": {row: _json(column.detected[row][stratum]) for row in ROW_ENGINES},
                    "fused_minus": {row: _json(column.detection_gains[row][stratum]) for row in STREAM_ROWS},
                }
                for stratum, (low, high) in enumerate(zip((0.0, *DIAMETERS), (*DIAMETERS, None), strict=True))
            ],
        }
        for lesion, column in comparisons.items()
    }
    return (
        json.dumps({**about, "false_regions_a_photograph": FALSE_REGIONS, "lesions": lesions}, indent=1)
        + "\n"
    )


def _fact(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {number}" for key, number in value.items())
    return str(value)


def _json(estimate: Estimate) -> dict[str, object]:
    return {key: value for key, value in dataclasses.asdict(estimate).items() if key != "reason" or value}


def _figure(estimate: Estimate) -> str:
    if estimate.value is None:
        return "-"
    interval = "" if estimate.low is None else f" ({estimate.low:.3f} to {estimate.high:.3f})"
    return f"{estimate.value:.3f}{interval}"


def _difference(estimate: Estimate) -> str:
    if estimate.value is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:+.3f}"
    star = " *" if estimate.low > 0 or estimate.high < 0 else ""
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f}){star}"


def _paper_figure(name: str, lesion: str) -> str:
    figure = PAPER[name].get(lesion)
    return "-" if figure is None else f"{figure:.3f}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
