"""report.html: an evaluation to read in a browser, in one file that loads nothing from a network.

Knows:   which figures come first, how they are formatted, and the paper's Table 1.
Ignores: how figures are computed, and the page's markup: that is in templates/report.html.
"""

import base64
from collections.abc import Mapping, Sequence
from importlib import resources

from markupsafe import Markup

from foveate import templates
from foveate.evaluation import lesion_charts
from foveate.evaluation.evaluate import EvaluationSpec, LesionOutcome
from foveate.evaluation.gallery import Picture
from foveate.evaluation.lesion_charts import Figures
from foveate.evaluation.tables import EvaluationInfo, case_rows, to_json
from foveate.lesions import RETINOPATHY, Lesion
from foveate.version import version
from foveate.wording import quantity
from foveate.writers import NOTICE

PAPER: Mapping[str, Mapping[str, float]] = {
    "GlobalNet": {"EX": 0.849, "MA": 0.484, "HE": 0.711, "SE": 0.720},
    "LocalNet": {"EX": 0.845, "MA": 0.433, "HE": 0.696, "SE": 0.653},
    "Our fused model": {"EX": 0.889, "MA": 0.525, "HE": 0.703, "SE": 0.679},
}
"""Table 1 of Yan et al., ISBI 2019: AUPR on IDRiD's test part, rows as named there."""

TEST_PHOTOGRAPHS = 27
"""Number of photographs in IDRiD's test part."""

REGIONS = {
    "whole": "all pixels of each photograph",
    "paper": "the paper's centre crop of 2816 x 3328 px",
    "field": "the field of view",
}
"""How the report describes the pixels that are scored."""


def report(outcomes: Mapping[str, LesionOutcome], spec: EvaluationSpec, info: EvaluationInfo) -> bytes:
    """Return report.html."""
    figures: dict[str, Figures] = {lesion: to_json(outcome.figures) for lesion, outcome in outcomes.items()}
    described = {lesion.code: lesion for lesion in info.lesions}
    lesions = [described[code] for code in outcomes]
    previously_seen = info.previously_seen
    page = templates.render(
        "foveate.evaluation",
        "report.html",
        style=Markup(
            resources.files("foveate.evaluation").joinpath("assets", "report.css").read_text("utf-8")
        ),
        title=f"Evaluation of {info.system} on {quantity(len(spec.cases), 'photograph')}",
        region=REGIONS[spec.region],
        warning=previously_seen.warning(len(spec.cases)) if previously_seen else "",
        notice=NOTICE,
        version=version(),
        info=info,
        resamples=spec.resamples,
        seed=spec.seed,
        names={lesion.code: lesion.name for lesion in lesions},
        figures=figures,
        paper=_paper(lesions, spec, info),
        sections=[_section(lesion, figures[lesion.code], outcomes[lesion.code]) for lesion in lesions],
        photographs=[
            (name, [by_lesion.get(code) for code in outcomes])
            for name, by_lesion in case_rows(outcomes, spec)
        ],
        fixed=_fixed,
        quantity=quantity,
    )
    return page.encode("utf-8", "backslashreplace")


def _paper(lesions: Sequence[Lesion], spec: EvaluationSpec, info: EvaluationInfo) -> dict[str, object]:
    """Return which lesions the paper's Table 1 also has, and whether the photographs are the same.

    A lesion is the paper's if code and name are: a set of another task may use the same codes.
    """
    names = {lesion.code: lesion.name.casefold() for lesion in lesions}
    return {
        "lesions": [lesion.code for lesion in RETINOPATHY if names.get(lesion.code) == lesion.name],
        "rows": PAPER,
        "is_same_set": (info.layout, info.split, len(spec.cases)) == ("idrid", "test", TEST_PHOTOGRAPHS),
        "photographs": len(spec.cases),
    }


def _section(lesion: Lesion, figures: Figures, outcome: LesionOutcome) -> dict[str, object]:
    """Return the values that the report shows for one lesion."""
    return {
        "lesion": lesion,
        "figures": figures,
        "charts": {
            "precision_recall": Markup(lesion_charts.precision_recall(figures, outcome.pooled)),
            "froc": Markup(lesion_charts.froc(figures)),
            "by_diameter": Markup(lesion_charts.sensitivity_by_diameter(figures)),
            "reliability": Markup(lesion_charts.reliability(figures)),
        },
        "pictures": [
            *(_picture(picture, "best") for picture in outcome.gallery.best),
            *(_picture(picture, "worst") for picture in outcome.gallery.worst_only),
        ],
    }


def _picture(picture: Picture, rank: str) -> dict[str, object]:
    return {
        "name": picture.name,
        "rank": rank,
        "score": picture.score,
        "closeup": _data_url(picture.closeup),
        "overview": _data_url(picture.overview),
    }


def _data_url(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _fixed(value: float | None, places: int = 3) -> str:
    """Return a number with a fixed number of decimal places; a dash where there is none."""
    return "-" if value is None else f"{value:.{places}f}"
