"""report.html: an evaluation to look at, in one file that asks nothing of any network.

Knows:   which figures are shown first, the curves, the paper's Table 1, how things are told to a reader.
Ignores: how figures are computed.

Every text that comes from outside, such as a photograph's name, is escaped.

Shape letter: T thresholds.
"""

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

from foveate import lesions, metrics
from foveate.evaluation.charts import UNIT, Axis, Chart, Point
from foveate.evaluation.evaluate import LesionOutcome, Trial
from foveate.evaluation.gallery import Picture
from foveate.evaluation.tables import About, own, plain
from foveate.metrics import Counts
from foveate.version import version
from foveate.writers import NOTICE

PAPER: Mapping[str, Mapping[str, float]] = {
    "GlobalNet": {"EX": 0.849, "MA": 0.484, "HE": 0.711, "SE": 0.720},
    "LocalNet": {"EX": 0.845, "MA": 0.433, "HE": 0.696, "SE": 0.653},
    "Our fused model": {"EX": 0.889, "MA": 0.525, "HE": 0.703, "SE": 0.679},
}
"""Table 1 of Yan et al., ISBI 2019: AUPR on IDRiD's 27 test photographs, rows as named there."""

TEST_PHOTOGRAPHS = 27
"""Of IDRiD's test part."""

DRAWN = 300
"""Points of a curve that are drawn, evenly along recall: more than a screen shows."""

Figures = Any
"""A branch of the plain tree of figures, as in metrics.json."""


def report(outcomes: Mapping[str, LesionOutcome], trial: Trial, about: About) -> bytes:
    """Return report.html."""
    plains: dict[str, Figures] = {lesion: plain(one.figures) for lesion, one in outcomes.items()}
    sections = "\n".join(_lesion(lesion, plains[lesion], outcomes[lesion]) for lesion in outcomes)
    title = f"Evaluation of {about.system} on {_photographs(len(trial.cases))}"
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_style()}</style></head><body><header><h1>{_text(title)}</h1>"
        f'<p class="faint">{_text(_subject(trial, about))}</p><p class="notice">{_text(NOTICE)}</p></header>'
        f"<main>{_familiar(trial, about)}{_headline(plains)}{_left_out(about)}"
        f"{_beside_the_paper(plains, trial, about)}{sections}"
        f"{_each(outcomes, trial)}{_definitions(trial)}</main>"
        f"<footer>Foveate {_text(version())}. {_text(NOTICE)}</footer></body></html>\n"
    )
    return page.encode("utf-8", "backslashreplace")


def _subject(trial: Trial, about: About) -> str:
    """Say which photographs and pixels were scored, by what."""
    pixels = {
        "whole": "all pixels of each photograph",
        "paper": "the paper's centre crop of 2816 x 3328 px",
        "field": "the field of view",
    }[trial.region]
    model = f"; model manifest SHA-256 {about.maker.digest[:12]}..." if about.maker else ""
    return (
        f"{about.layout}, {about.split}; {pixels}, native resolution, pooled over photographs; 95 % "
        f"intervals by drawing photographs anew {trial.resamples} times{model}"
    )


def _familiar(trial: Trial, about: About) -> str:
    """Warn of photographs that the model has met before."""
    told = about.familiar.told(len(trial.cases)) if about.familiar else ""
    return f'<p class="notice">{_text(told)}</p>' if told else ""


def _headline(plains: Mapping[str, Figures]) -> str:
    """The figures that are asked for first."""
    head = (
        "lesion",
        "AUPR exact",
        "official_33",
        "coarse_11",
        "mean of photographs",
        "Dice",
        "IoU",
        "lesions found",
        "false a photograph",
        "photograph AUC",
        "threshold",
    )
    rows = [
        [
            _name(lesion),
            *(_estimate(one["aupr"][key]) for key in ("exact", "official_33", "coarse_11")),
            _estimate(one["aupr_mean_over_photographs"]["exact"]),
            _estimate(one["dice"]),
            _estimate(one["iou"]),
            _estimate(one["detection"]["one_pixel"]["sensitivity"]),
            _estimate(one["detection"]["one_pixel"]["false_positives_per_photograph"], places=1),
            _estimate(one["image_auc"]),
            f"{one['threshold']:.3f}",
        ]
        for lesion, one in plains.items()
    ]
    return f"<h2>Figures</h2>{_table(head, rows)}"


def _left_out(about: About) -> str:
    told = "; ".join(f"{lesion}: {why}" for lesion, why in about.left_out.items())
    return f'<p class="faint">Not scored: {_text(told)}.</p>' if told else ""


def _beside_the_paper(plains: Mapping[str, Figures], trial: Trial, about: About) -> str:
    """The paper's Table 1 and ours, and whether they may be compared."""
    shared = [lesion for lesion in lesions_of(PAPER) if lesion in plains]
    if not shared:
        return ""
    same = about.layout == "idrid" and about.split == "test" and len(trial.cases) == TEST_PHOTOGRAPHS
    told = (
        "Both on IDRiD's 27 test photographs. The paper takes 'all the non-equal values' for thresholds, as "
        "our exact estimator does; how it computes the area between them is not stated."
        if same
        else "The photographs differ: the paper's figures are of IDRiD's 27 test photographs, ours of "
        f"{_photographs(len(trial.cases))} ({about.layout}, {about.split}). Side by side they do not prove "
        "which is better."
    )
    rows = [
        [_text(f"Yan et al. 2019, {row}"), *(f"{known[c]:.3f}" for c in shared)]
        for row, known in PAPER.items()
    ]
    ours = [
        [f"{_text(about.system)}, {key}", *(_estimate(plains[c]["aupr"][key]) for c in shared)]
        for key in ("exact", "official_33")
    ]
    return (
        f"<h2>Beside the paper's Table 1</h2><p>{_text(told)}</p>"
        f"{_table(('AUPR', *shared), rows + ours, marked=len(rows))}"
    )


def lesions_of(rows: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    """Return the lesions of a table's first row."""
    return tuple(next(iter(rows.values())))


def _lesion(lesion: str, one: Figures, outcome: LesionOutcome) -> str:
    """All that is shown of one lesion."""
    (known,) = lesions.of([lesion])
    colour = "#{:02x}{:02x}{:02x}".format(*known.colour)
    told = (
        f"{one['photographs_with_lesion']} of {_photographs(one['photographs'])} have it; "
        f"{one['lesion_pixels']:,} of {one['pixels']:,} pixels; "
        f"{one['detection']['one_pixel']['lesions']:,} lesions are drawn."
    )
    charts = "".join(
        f"<figure>{chart}<figcaption>{caption}</figcaption></figure>"
        for chart, caption in (
            _precision_recall(one, outcome.pooled),
            _froc(one),
            _by_diameter(one),
            _reliability(one),
        )
    )
    return (
        f'<section class="lesion"><h2><i class="swatch" style="background:{colour}"></i>{_text(known.name)} '
        f'<span class="faint">{_text(lesion)}</span></h2><p>{_text(told)} {_seams(one["seams"])}</p>'
        f'<div class="charts">{charts}</div>{_pictures(outcome)}</section>'
    )


def _seams(seams: Figures) -> str:
    ratio = seams["ratio"]
    if ratio["value"] is None:
        return ""
    return _text(
        f"Across the borders of windows the map jumps {ratio['value']:.2f} times ({ratio['low']:.2f} to "
        f"{ratio['high']:.2f}) as much as elsewhere in the field."
    )


def _precision_recall(one: Figures, pooled: Counts) -> tuple[str, str]:
    """The exact curve, the challenge's 33 points, and the threshold in use."""
    chart = Chart(x=Axis(title="recall", ticks=UNIT), y=Axis(title="precision", ticks=UNIT))
    caption = (
        '<b>Precision and recall</b> of pixels. <i class="key"></i>all thresholds; rings: the 33 of the '
        'challenge; <i class="key spot"></i>the threshold in use.'
    )
    if one["aupr"]["exact"]["value"] is None:
        return chart.drawn("no curve"), f"{caption} {_text(one['aupr']['exact']['reason'])}."
    points = _thinned(pooled)
    prevalence = points[-1][1]
    place = metrics.thresholds.place(one["threshold"])
    return (
        chart.drawn(
            "precision over recall",
            chart.line([(0.0, prevalence), (1.0, prevalence)], "ideal"),
            chart.line(points, "one"),
            chart.dots(_points(pooled, metrics.OFFICIAL.tolist()), "thin", 2.5),
            chart.dots(_points(pooled, [place]), "mark", 5.0),
        ),
        caption,
    )


def _thinned(pooled: Counts) -> list[Point]:
    """Return the exact curve at DRAWN recalls, from recall 0 on."""
    curve = metrics.precision_recall(pooled)
    assert curve is not None  # the caller has looked
    index = np.unique(np.searchsorted(curve.recall, np.linspace(0, 1, DRAWN)).clip(0, len(curve.recall) - 1))
    first = (0.0, float(curve.precision[index[0]]))
    return [first, *zip(curve.recall[index].tolist(), curve.precision[index].tolist(), strict=True)]


def _points(pooled: Counts, places: Sequence[int]) -> list[Point]:
    """Return (recall, precision) at some places of the ruler, those at which nothing is marked left out."""
    hits, others = pooled.reaching(np.array(places))
    lesion = int(pooled.positives.sum())
    return [(h / lesion, h / (h + o)) for h, o in zip(hits.tolist(), others.tolist(), strict=True) if h + o]


def _froc(one: Figures) -> tuple[str, str]:
    """Lesions found over false positives, by both ways to match."""
    ticks = [(0.125, "≤ ⅛"), (0.5, "½"), *((float(n), str(n)) for n in (1, 2, 4, 8, 16, 32)), (64.0, "≥ 64")]
    chart = Chart(
        x=Axis(title="false positives a photograph", ticks=ticks, scale=lambda x: math.log2(max(x, 0.125))),
        y=Axis(title="lesions found", ticks=UNIT),
    )
    parts = []
    for matching, style in (("one_pixel", "one"), ("iou_0.2", "two")):
        found = one["detection"][matching]
        curve = found["curve"]
        points = [
            (false, hit)
            for false, hit in zip(curve["false_positives_per_photograph"], curve["sensitivity"], strict=True)
            if hit is not None
        ]
        told = [f"from probability {threshold:.3f}" for threshold in curve["threshold"]]
        parts += [chart.line(points, style), chart.dots(points, f"dot-{style}", 2.0, told)]
        if found["sensitivity"]["value"] is not None:
            use = (found["false_positives_per_photograph"]["value"], found["sensitivity"]["value"])
            parts.append(chart.dots([use], "mark", 5.0))
    return (
        chart.drawn("share of lesions found over false positives", *parts),
        '<b>Lesions found</b> at falling thresholds (FROC). <i class="key"></i>matched by one pixel; '
        '<i class="key other"></i>by IoU 0.2; <i class="key spot"></i>the threshold in use.',
    )


def _by_diameter(one: Figures) -> tuple[str, str]:
    """Lesions found at the threshold, small ones apart from large ones."""
    strata = one["detection"]["one_pixel"]["by_diameter"]
    ticks = [(0.0, ""), *((k + 1.0, _stratum(s)) for k, s in enumerate(strata)), (len(strata) + 1.0, "")]
    chart = Chart(
        x=Axis(title="diameter of the lesion, px", ticks=ticks), y=Axis(title="lesions found", ticks=UNIT)
    )
    parts = []
    for matching, style, shift in (("one_pixel", "one", -0.12), ("iou_0.2", "two", 0.12)):
        for k, stratum in enumerate(one["detection"][matching]["by_diameter"]):
            found = stratum["sensitivity"]
            if found["value"] is None:
                continue
            told = f"{found['value']:.3f} of {stratum['lesions']} lesions"
            if found["low"] is not None:
                parts.append(chart.whisker(k + 1 + shift, (found["low"], found["high"]), f"range-{style}"))
            parts.append(chart.dots([(k + 1 + shift, found["value"])], f"dot-{style}", 4.5, [told]))
    counts = ", ".join(f"{s['lesions']:,}" for s in strata)
    return (
        chart.drawn("share of lesions found by diameter", *parts),
        '<b>Lesions found by size</b>, at the threshold in use. <i class="key"></i>one pixel; '
        f'<i class="key other"></i>IoU 0.2. Lesions drawn: {counts}.',
    )


def _stratum(stratum: Figures) -> str:
    if stratum["to_px"] is None:
        return f"{stratum['from_px']:g} on"
    return f"{stratum['from_px']:g}-{stratum['to_px']:g}"


def _reliability(one: Figures) -> tuple[str, str]:
    """Share of lesion among the pixels of each probability."""
    chart = Chart(x=Axis(title="probability", ticks=UNIT), y=Axis(title="share that is lesion", ticks=UNIT))
    bins = [b for b in one["calibration"]["reliability"] if b["pixels"]]
    points = [(b["mean_probability"], b["share_of_lesion"]) for b in bins]
    told = [f"{b['pixels']:,} pixels from {b['from']:g} to {b['to']:g}" for b in bins]
    error, above = one["calibration"]["ece"], one["calibration"]["ece_from_0.1"]
    return (
        chart.drawn(
            "share of lesion over probability",
            chart.line([(0.0, 0.0), (1.0, 1.0)], "ideal"),
            chart.line(points, "one"),
            chart.dots(points, "dot-one", 3.5, told),
        ),
        f"<b>Reliability</b> of probabilities; on the dotted line they mean what they say. Calibration error "
        f"{_short(error['value'], 4)}; of the pixels from 0.1 on {_short(above['value'], 3)}.",
    )


def _pictures(outcome: LesionOutcome) -> str:
    """The best and the worst photographs."""
    hung = [(picture, "best") for picture in outcome.gallery.best]
    hung += [(picture, "worst") for picture in outcome.gallery.low]
    if not hung:
        return ""
    figures = "".join(_picture(picture, which) for picture, which in hung)
    return (
        '<h3>Best and worst photographs</h3><p class="faint">Where most of the lesion lies, enlarged twice: '
        '<span class="truth">drawn by hand</span>, <span class="found">found from the threshold in use on'
        "</span>.</p>"
        f'<div class="gallery">{figures}</div>'
    )


def _picture(picture: Picture, which: str) -> str:
    images = "".join(
        f'<img alt="{alt}" src="data:image/jpeg;base64,{base64.b64encode(content).decode()}">'
        for content, alt in (
            (picture.closeup, f"{_text(picture.name)}, close-up with both outlines"),
            (picture.overview, "the whole photograph, the close-up framed"),
        )
    )
    return (
        f'<figure><div class="pair">{images}</div><figcaption><b>{_text(picture.name)}</b>, {which}: '
        f"AUPR exact {picture.score:.3f}</figcaption></figure>"
    )


def _each(outcomes: Mapping[str, LesionOutcome], trial: Trial) -> str:
    """Every photograph's own figures."""
    head = ("photograph", *(f"{lesion} {what}" for lesion in outcomes for what in ("AUPR", "Dice", "found")))
    by_name = {lesion: {one.photograph: one for one in outcome.each} for lesion, outcome in outcomes.items()}
    rows = []
    for case in trial.cases:
        row = [_text(case.name)]
        for lesion, known in by_name.items():
            if case.name not in known:
                row += ["not annotated", "", ""]
                continue
            figures: Figures = own(known[case.name], trial.thresholds[lesion])
            found = (
                f"{figures['found']} of {figures['lesions']}<small>{figures['false_positives']} false</small>"
            )
            row += [_short(figures["aupr"]["exact"], 3), _short(figures["dice"], 3), found]
        rows.append(row)
    return f"<details><summary>Each photograph</summary>{_table(head, rows)}</details>"


def _definitions(trial: Trial) -> str:
    """What the words mean."""
    told = {
        "AUPR exact": "Average precision over all distinct thresholds, pixels of all photographs pooled. A "
        "photograph without a mask of the lesion counts with all its pixels.",
        "official_33": "The IDRiD challenge's: 33 thresholds 0, 1/32 ... 1, p >= t; trapezoids, carried flat "
        "to recall 0.",
        "coarse_11": "Later papers': 11 thresholds, p > t, precision 1 where nothing is marked. Few "
        "thresholds inflate the area; it is here only to be compared with theirs.",
        "mean of photographs": "The exact area of each photograph that has the lesion, averaged: one large "
        "lesion cannot rule it.",
        "lesions found": "Share of the lesions drawn (8-connected) of which at least one pixel is marked; in "
        "the charts also those that a marked region overlaps with an IoU of at least 0.2.",
        "false a photograph": "Marked regions without a lesion pixel, a photograph; of every size.",
        "photograph AUC": "Chance that a photograph with the lesion has a higher maximum than one without.",
        "interval": f"95 %: photographs drawn anew {trial.resamples} times, seed {trial.seed}; percentiles.",
    }
    return (
        "<h2>What is what</h2><dl>"
        + "".join(f"<dt>{_text(word)}</dt><dd>{_text(meaning)}</dd>" for word, meaning in told.items())
        + "</dl>"
    )


def _table(head: Iterable[str], rows: Sequence[Sequence[str]], marked: int | None = None) -> str:
    """Return a table of cells that are HTML already; rows from `marked` on stand out."""
    first = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in head)
    body = "".join(
        f"<tr{' class=ours' if marked is not None and k >= marked else ''}>"
        f'<th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>'
        for k, row in enumerate(rows)
    )
    return f'<div class="scroll"><table><thead><tr>{first}</tr></thead><tbody>{body}</tbody></table></div>'


def _estimate(found: Figures, places: int = 3) -> str:
    """Return a figure with its interval below it; a dash that says why where there is none."""
    if found["value"] is None:
        return f'<span title="{_text(found["reason"])}">-</span>'
    ends = (
        ""
        if found["low"] is None
        else f"<small>{found['low']:.{places}f} to {found['high']:.{places}f}</small>"
    )
    return f"{found['value']:.{places}f}{ends}"


def _short(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:.{places}f}"


def _name(lesion: str) -> str:
    (known,) = lesions.of([lesion])
    told = "" if known.name == lesion else f" <small>{_text(known.name)}</small>"
    return f"{_text(lesion)}{told}"


def _photographs(count: int) -> str:
    return "1 photograph" if count == 1 else f"{count} photographs"


def _text(text: str) -> str:
    return html.escape(text)


def _style() -> str:
    return resources.files("foveate.evaluation").joinpath("assets", "report.css").read_text("utf-8")
