"""One page about one photograph, to print.

Knows:   what stands on it.
Ignores: how its picture was drawn.

It holds its style and its picture, so that it can be kept as one file; it runs no script, and the policy that
it is sent with lets nothing else in. Whatever a person typed is escaped.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape

from foveate.server import schemas
from foveate.writers.results import NOTICE
from foveate.writers.tables import percentage

STYLE = """
@page { size: A4; margin: 14mm }
* { box-sizing: border-box }
body { font: 10.5pt/1.4 system-ui, sans-serif; color: #111; background: #fff }
body { max-width: 182mm; margin: 0 auto; padding: 4mm 0 }
header { display: flex; justify-content: space-between; align-items: baseline; gap: 1em }
header { border-bottom: 1px solid #111 }
h1 { font-size: 16pt; margin: 0 0 2mm; overflow-wrap: anywhere }
h2 { font-size: 11.5pt; margin: 4mm 0 1mm }
img { display: block; width: 100%; max-height: 92mm; object-fit: contain; background: #000; margin: 3mm 0 }
table { border-collapse: collapse; width: 100% }
th, td { text-align: right; padding: 0.5mm 2mm; border-bottom: 0.3pt solid #999 }
th:first-child, td:first-child { text-align: left }
thead th { border-bottom: 0.8pt solid #111; font-weight: 600 }
.notice { border: 0.8pt solid #111; padding: 1.5mm 2.5mm; margin: 3mm 0; font-weight: 600 }
.small { font-size: 8.5pt; color: #333; overflow-wrap: anywhere }
@media print { body { padding: 0 } }
"""

HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

POLICY = (
    f"default-src 'none'; style-src 'sha256-{HASH}'; img-src data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
"""Content security policy of this page."""

QUALITY = {
    "blur": "out of focus, or the lens was not clear",
    "colour": "blue is brighter than red: are they swapped?",
    "cut": "more of the field is missing than cameras leave out",
    "exposure": "too dark, too light, or much of it lost",
    "small": "the field is less than 1000 px wide: microaneurysms are hardly told from noise",
}


def html(
    photograph: schemas.PhotographBody,
    overlay: bytes,
    burdens: Mapping[str, schemas.FieldBurden],
    state: schemas.CorrectionState,
) -> str:
    """Return the page.

    Args:
        photograph: one that is done.
        overlay: its picture, JPEG.
        burdens: of the ETDRS grid's fields; empty where none was placed.
        state: of its corrections.
    """
    result = photograph.result
    assert result is not None
    picture = base64.b64encode(overlay).decode()
    parts = [
        f"<header><h1>{escape(photograph.name)}</h1>"
        f"<div>Foveate · {escape(photograph.finished or '')}</div></header>",
        f'<p class="notice">{escape(NOTICE)}</p>',
        f'<img alt="The photograph with outlines of what was found" src="data:image/jpeg;base64,{picture}">',
        _lesions(result.lesions),
        _quality(result.quality),
        _corrections(state),
        _grid(burdens, list(result.lesions)),
        _origin(photograph, result),
    ]
    head = f"<title>{escape(photograph.name)} · Foveate</title><style>{STYLE}</style>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width">{head}</head>'
        f"<body>{''.join(parts)}</body></html>"
    )


def _lesions(results: Mapping[str, schemas.LesionResult]) -> str:
    rows = [
        (
            result.name,
            str(result.count),
            f"{result.area_px:,}",
            "" if result.area_mm2 is None else f"{result.area_mm2:.3f}",
            percentage(result.area_fraction),
            f"{result.threshold:.3f}" + (" (chosen)" if result.level != result.model_level else ""),
        )
        for result in results.values()
    ]
    return _table(("Lesion", "Regions", "Area, px", "mm²", "Of the field", "Threshold"), rows)


def _quality(codes: Sequence[str]) -> str:
    if not codes:
        return "<p>Quality: nothing was found that may spoil the result.</p>"
    photograph = "; ".join(QUALITY.get(code, code) for code in codes)
    return f"<p><strong>Quality:</strong> {escape(photograph)}.</p>"


def _corrections(state: schemas.CorrectionState) -> str:
    if not state.edits:
        return "<p>Nobody has corrected this result.</p>"
    authors = ", ".join(author for author in state.authors if author) or "someone unnamed"
    line = f"Corrected by {authors}, last {state.last_edit or ''}, {state.edits} steps; figures include that."
    return f"<p><strong>{escape(line)}</strong></p>"


def _grid(burdens: Mapping[str, schemas.FieldBurden], codes: Sequence[str]) -> str:
    if not burdens:
        return ""
    rows = [
        (
            field.replace("_", " "),
            *(
                f"{result['count']} · {result['area_px']:,} px"
                for result in (burden.lesions[code] for code in codes)
            ),
        )
        for field, burden in burdens.items()
    ]
    return f"<h2>ETDRS grid, placed by hand</h2>{_table(('Field', *codes), rows)}"


def _origin(photograph: schemas.PhotographBody, result: schemas.ResultBody) -> str:
    spacing = (
        "spacing not known" if photograph.spacing_mm is None else f"{photograph.spacing_mm:g} mm a pixel"
    )
    line = (
        f"Model {result.model.name} {result.model.version}, SHA-256 {result.model.sha256[:16]}. Photograph "
        f"{photograph.width} x {photograph.height} px, {spacing}, SHA-256 {photograph.sha256[:16]}."
    )
    return f'<p class="small">{escape(line)}</p>'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
