"""A comparison as text: Table 1 with intervals, the gains of fusion, all of it as JSON.

Knows:   how figures are spelt.
Ignores: how they were computed.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence

from foveate.evaluation.networks import ROWS, Row
from foveate.evaluation.html_report import PAPER
from foveate.metrics import Estimate
from foveate.metrics.froc import DIAMETERS
from foveate.training.comparison import OTHERS, RATE, LesionComparison

CAPTIONS = "patch, truth, LocalNet, GlobalNet, fused"
"""Of a figure's pictures, in the paper's order."""

NAMES: Mapping[Row, str] = {
    "GlobalNet": "GlobalNet",
    "LocalNet": "LocalNet",
    "fused": "Our fused model",
}
"""Rows as the paper calls them."""


def table_1(found: Mapping[str, LesionComparison]) -> str:
    """Return the paper's Table 1 as Markdown: average precision, intervals, the paper's own figures below."""
    rows: list[Sequence[str]] = [(row, *(_figure(one.areas[row]) for one in found.values())) for row in ROWS]
    rows += [(f"fused - {row}", *(_difference(one.gains[row]) for one in found.values())) for row in OTHERS]
    rows += [(f"paper, {row}", *(_paper(NAMES[row], lesion) for lesion in found)) for row in ROWS]
    return _markdown(("average precision", *found), rows)


def by_diameter(found: Mapping[str, LesionComparison]) -> str:
    """Return what fusion finds more, by the lesions' diameters, as Markdown."""
    edges = (0.0, *DIAMETERS, None)
    head = ("lesion", "diameter, px", "drawn", *ROWS, *(f"fused - {row}" for row in OTHERS))
    rows = [
        (
            lesion,
            f"from {edges[stratum]:g}"
            if edges[stratum + 1] is None
            else f"{edges[stratum]:g} to {edges[stratum + 1]:g}",
            str(one.lesions[stratum]),
            *(_figure(one.found[row][stratum]) for row in ROWS),
            *(_difference(one.found_gains[row][stratum]) for row in OTHERS),
        )
        for lesion, one in found.items()
        for stratum in range(len(DIAMETERS) + 1)
    ]
    return _markdown(head, rows)


def page(found: Mapping[str, LesionComparison], about: Mapping[str, object]) -> str:
    """Return comparison.md."""
    told = "\n".join(f"- {name}: {_told(value)}" for name, value in about.items())
    figures = "\n".join(
        f"![{lesion} in {one.patch.photograph}: {CAPTIONS}](figure-2-{lesion}.png)"
        for lesion, one in found.items()
        if one.patch
    )
    return f"""# GlobalNet, LocalNet, and both fused

{told}

Exact average precision, pixels pooled at native resolution; in brackets 95 % intervals from a bootstrap over
photographs. Differences are paired: both rows on the same photographs in every draw; a star where the
interval leaves 0 out. The paper's figures are those of its Table 1, measured on IDRiD's 27 test photographs.

{table_1(found)}
## Gain of fusion by diameter

Share of the lesions found at {RATE:g} false regions a photograph; a lesion is found where one of its pixels
is marked.

{by_diameter(found)}
## Patches

For each lesion the patch with most of it, in the photograph on which the fused network has its median score.

{figures}
"""


def record(found: Mapping[str, LesionComparison], about: Mapping[str, object]) -> str:
    """Return comparison.json."""
    lesions = {
        lesion: {
            "aupr_exact": {
                row: _plain(one.areas[row]) | {"interval_deviation": one.deviations[row]} for row in ROWS
            },
            "fused_minus": {row: _plain(one.gains[row]) for row in OTHERS},
            "by_diameter": [
                {
                    "from_px": low,
                    "to_px": high,
                    "lesions": one.lesions[stratum],
                    "found": {row: _plain(one.found[row][stratum]) for row in ROWS},
                    "fused_minus": {row: _plain(one.found_gains[row][stratum]) for row in OTHERS},
                }
                for stratum, (low, high) in enumerate(zip((0.0, *DIAMETERS), (*DIAMETERS, None), strict=True))
            ],
        }
        for lesion, one in found.items()
    }
    return json.dumps({**about, "false_regions_a_photograph": RATE, "lesions": lesions}, indent=1) + "\n"


def _told(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {number}" for key, number in value.items())
    return str(value)


def _plain(estimate: Estimate) -> dict[str, object]:
    return {key: value for key, value in dataclasses.asdict(estimate).items() if key != "reason" or value}


def _figure(estimate: Estimate) -> str:
    if estimate.value is None:
        return "-"
    ends = "" if estimate.low is None else f" ({estimate.low:.3f} to {estimate.high:.3f})"
    return f"{estimate.value:.3f}{ends}"


def _difference(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "-"
    star = " *" if estimate.low > 0 or estimate.high < 0 else ""
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f}){star}"


def _paper(name: str, lesion: str) -> str:
    known = PAPER[name].get(lesion)
    return "-" if known is None else f"{known:.3f}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
