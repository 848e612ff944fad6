"""Reports as PDF, one page of A4 or Letter for each photograph.

Knows:   how a report is laid out on paper, and which font shows which letter.
Ignores: what a report says.

DejaVu Sans is embedded: Latin, Greek, Cyrillic, Armenian, Georgian, Hebrew and Arabic. Chinese, Japanese and
Korean are set in the standard fonts that PDF viewers provide. Any other letter is shown as a box,
and the page says that the HTML report shows it.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape

import arabic_reshaper
from bidi.algorithm import get_display
from reportlab.graphics.shapes import Circle, Drawing, Ellipse, Rect
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4, LETTER
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    HRFlowable,
    Image,
    KeepInFrame,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
)

from foveate.server.exports.report import GridTable, LesionRow, PhotographReport

Paper = Literal["a4", "letter"]

SIZES: Mapping[Paper, tuple[float, float]] = {"a4": A4, "letter": LETTER}
"""(width, height), points."""

MARGIN = 11 * mm

PICTURE_HEIGHT = 82 * mm
"""Maximum height of a picture; leaves room for four lesions and the grid on the shorter of the two papers."""

FONT, BOLD = "DejaVuSans", "DejaVuSans-Bold"

SCRIPTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]"), "HYSMyeongJo-Medium"),
    (re.compile("[\u3040-\u30ff\uff66-\uff9f]"), "HeiseiKakuGo-W5"),
    (re.compile("[\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uff65]"), "STSong-Light"),
)
"""Letters that DejaVu lacks -> the standard font of PDF viewers that has them."""

RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")

MISSING = "\u25a1"
"""Replaces a letter that no font contains."""

SWATCH_GROUND = colors.Color(58 / 255, 26 / 255, 18 / 255)
"""Colour of a retina, on which all outlines can be seen."""


def pdf(
    title: str,
    reports: Sequence[PhotographReport],
    paper: Paper,
    on_page: Callable[[], None] = lambda: None,
) -> bytes:
    """Return the document as the bytes of a PDF.

    Args:
        title: title of the document: the name of a photograph or of a batch.
        reports: one for each page.
        paper: size of the paper.
        on_page: called at the end of each page; an error that it raises ends the work.
    """
    _register_fonts()
    width, height = SIZES[paper]
    frame = Frame(
        MARGIN,
        MARGIN,
        width - 2 * MARGIN,
        height - 2 * MARGIN,
        leftPadding=0,
        rightPadding=0,
        topPadding=0,
        bottomPadding=0,
    )
    out = io.BytesIO()
    document = BaseDocTemplate(
        out, pagesize=(width, height), title=title, author="Foveate", lang="en", invariant=1
    )
    document.addPageTemplates([PageTemplate(frames=[frame], onPageEnd=lambda *_: on_page())])
    inner = width - 2 * MARGIN
    pages = [
        KeepInFrame(inner, height - 2 * MARGIN - 1, _page(report, inner), mode="shrink") for report in reports
    ]
    document.build([part for page in pages for part in (page, PageBreak())])
    return out.getvalue()


@cache
def _register_fonts() -> None:
    """Register our fonts with the library, once."""
    folder = Path(__file__).parent / "fonts"
    for name in (FONT, BOLD):
        pdfmetrics.registerFont(TTFont(name, folder / f"{name}.ttf"))
    pdfmetrics.registerFontFamily(FONT, normal=FONT, bold=BOLD, italic=FONT, boldItalic=BOLD)
    for _, name in SCRIPTS:
        pdfmetrics.registerFont(UnicodeCIDFont(name))


@cache
def _glyphs() -> frozenset[int]:
    """Return the code points that the embedded font has."""
    _register_fonts()
    return frozenset(pdfmetrics.getFont(FONT).face.charToGlyph)


# Text


def shows_all(text: str) -> bool:
    """Return whether every letter of a text can be shown."""
    return all(_font_of(letter) is not None for letter in text)


def _font_of(letter: str) -> str | None:
    """Return the font that shows a letter, or None if there is none."""
    if ord(letter) in _glyphs():
        return FONT
    return next((font for pattern, font in SCRIPTS if pattern.match(letter)), None)


def markup(text: str) -> str:
    """Return a text as the library's markup: escaped, in visual order, each letter in a font that has it."""
    if RIGHT_TO_LEFT.search(text):
        text = str(get_display(arabic_reshaper.reshape(text)))
    letters = (letter if _font_of(letter) else MISSING for letter in text)
    runs = ((font, escape("".join(run))) for font, run in groupby(letters, _font_of))
    return "".join(run if font == FONT else f'<font name="{font}">{run}</font>' for font, run in runs)


def _style(size: float, *, bold: bool = False, grey: bool = False, right: bool = False) -> ParagraphStyle:
    return ParagraphStyle(
        "text",
        fontName=BOLD if bold else FONT,
        fontSize=size,
        leading=size * 1.28,
        textColor=colors.Color(0.2, 0.2, 0.2) if grey else colors.black,
        alignment=2 if right else 0,
        splitLongWords=True,
    )


def _text(
    text: str, size: float, *, bold: bool = False, grey: bool = False, right: bool = False
) -> Paragraph:
    return Paragraph(markup(text), _style(size, bold=bold, grey=grey, right=right))


# The page


def _page(report: PhotographReport, width: float) -> list[Flowable]:
    """Return the content of a page, from top to bottom."""
    remark = [_text(report.remark, 8.5, bold=True)] if report.remark else []
    parts = [
        *remark,
        _head(report, width),
        HRFlowable(width="100%", thickness=1, color=colors.black, spaceBefore=1, spaceAfter=3),
        _text(" · ".join(report.facts), 8.5, grey=True),
        _notice(report.notice, width),
        _pictures(report, width),
        _text(report.figures, 8.5, bold=True),
        _lesion_table(report.lesions, width),
    ]
    if report.grid is not None:
        parts += [_text(report.grid.caption, 8.5, bold=True), _grid_table(report.grid, width)]
    parts += [_remarks(report, width), _signature(width), _text(report.origin, 6.8, grey=True)]
    if not shows_all("".join((report.title, *report.note, *report.corrections, report.reviewed))):
        line = f"{MISSING} stands for a letter that this document has no font for; the HTML report shows it."
        parts.append(_text(line, 6.8, grey=True))
    return [flowable for part in parts for flowable in (part, Spacer(0, 3))]


def _head(report: PhotographReport, width: float) -> Table:
    maker = _text("Foveate: lesions of diabetic retinopathy", 8.5, bold=True, right=True)
    return Table(
        [[_text(report.title, 13.0, bold=True), maker]],
        colWidths=[width * 0.62, width * 0.38],
        style=[*_PLAIN, ("VALIGN", (0, 0), (-1, -1), "BOTTOM")],
    )


def _notice(notice: str, width: float) -> Table:
    return Table(
        [[_text(notice, 8.0, bold=True)]],
        colWidths=[width],
        style=[("BOX", (0, 0), (-1, -1), 0.8, colors.black), ("TOPPADDING", (0, 0), (-1, -1), 2)],
    )


_PLAIN = [
    ("LEFTPADDING", (0, 0), (-1, -1), 0),
    ("RIGHTPADDING", (0, 0), (-1, -1), 0),
    ("TOPPADDING", (0, 0), (-1, -1), 0),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 0),
]
"""No space around a table's cells."""


def _pictures(report: PhotographReport, width: float) -> Table:
    gap = 2 * mm
    each = (width - gap) / 2
    captions = [
        "Photograph",
        "Outlines as in the table below" + (", ETDRS grid in grey" if report.grid else ""),
    ]
    return Table(
        [
            [_image(report.plain, each), "", _image(report.annotated, each)],
            [_text(captions[0], 7.5, grey=True), "", _text(captions[1], 7.5, grey=True)],
        ],
        colWidths=[each, gap, each],
        style=[
            *_PLAIN,
            ("ALIGN", (0, 0), (-1, 0), "CENTER"),
            ("BACKGROUND", (0, 0), (0, 0), colors.black),
            ("BACKGROUND", (2, 0), (2, 0), colors.black),
        ],
    )


def _image(content: bytes, width: float) -> Image:
    """Return a picture, embedded as the JPEG that it is, as large as fits."""
    return Image(io.BytesIO(content), width=width, height=PICTURE_HEIGHT, kind="proportional")


_TABLE = [
    ("LINEBELOW", (0, 0), (-1, 0), 0.8, colors.black),
    ("LINEBELOW", (0, 1), (-1, -1), 0.3, colors.Color(0.6, 0.6, 0.6)),
    ("VALIGN", (0, 0), (-1, 0), "BOTTOM"),
    ("VALIGN", (0, 1), (-1, -1), "MIDDLE"),
    ("TOPPADDING", (0, 0), (-1, -1), 1),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
    ("LEFTPADDING", (0, 0), (-1, -1), 3),
    ("RIGHTPADDING", (0, 0), (-1, -1), 3),
]
"""Lines and spaces of a table with a header row."""


def _lesion_table(lesions: Sequence[LesionRow], width: float) -> Table:
    heads = ("", "Lesion", "Regions", "Area", "Of the field", "Threshold")
    rows: list[list[object]] = [
        [_text(head, 8.5, bold=True, right=place > 1) for place, head in enumerate(heads)]
    ]
    for lesion in lesions:
        name = lesion.name if lesion.name == lesion.code else f"{lesion.name} ({lesion.code})"
        figures = (str(lesion.count), lesion.area, lesion.share, lesion.threshold)
        rows.append(
            [_swatch(lesion), _text(name, 8.5), *(_text(figure, 8.5, right=True) for figure in figures)]
        )
    widths = (0.08, 0.27, 0.1, 0.15, 0.13, 0.27)
    return Table(rows, colWidths=[share * width for share in widths], style=_TABLE)


def _swatch(lesion: LesionRow) -> Drawing:
    """Return a sample of a lesion's outline on the colour of a retina."""
    drawing = Drawing(31, 14)
    drawing.add(Rect(0, 0, 31, 14, rx=2, ry=2, fillColor=SWATCH_GROUND, strokeColor=None))
    line = {
        "fillColor": None,
        "strokeColor": colors.Color(*(value / 255 for value in lesion.colour)),
        "strokeWidth": 1.3,
    }
    if lesion.style == "rings":
        shapes = [Circle(10.5, 7, 3.5, **line), Circle(20.5, 7, 3.5, **line)]
    elif lesion.style == "double":
        shapes = [Ellipse(15.5, 7, 10.5, 5, **line), Ellipse(15.5, 7, 8, 3, **line)]
    else:
        shapes = [Ellipse(15.5, 7, 10.5, 4.7, **line)]
    for shape in shapes:
        drawing.add(shape)
    return drawing


def _grid_table(grid: GridTable, width: float) -> Table:
    rows = [[_text(head, 7.5, bold=True, right=place > 0) for place, head in enumerate(grid.columns)]]
    rows += [[_text(cell, 7.5, right=place > 0) for place, cell in enumerate(row)] for row in grid.rows]
    first = 0.2 * width
    others = (width - first) / max(1, len(grid.columns) - 1)
    return Table(rows, colWidths=[first, *[others] * (len(grid.columns) - 1)], style=_TABLE)


def _remarks(report: PhotographReport, width: float) -> Table:
    note = [[_text("Note", 8.5, bold=True), [_text(line, 8.5) for line in report.note]]]
    rows = [
        *(note if report.note else []),
        [_text("Quality", 8.5, bold=True), _text(report.quality, 8.5, bold=report.doubtful)],
        [_text("Corrections", 8.5, bold=True), [_text(line, 8.5) for line in report.corrections]],
        [_text("Review", 8.5, bold=True), _text(report.reviewed, 8.5)],
    ]
    first = 27 * mm
    return Table(rows, colWidths=[first, width - first], style=[*_PLAIN, ("VALIGN", (0, 0), (-1, -1), "TOP")])


def _signature(width: float) -> Table:
    """Return the lines on which a person signs."""
    gap = 6 * mm
    each = (width - 2 * gap) / 3
    lines = [("LINEABOVE", (place, 0), (place, 0), 0.5, colors.black) for place in (0, 2, 4)]
    cells = [_text("Read by", 7.5), "", _text("Signature", 7.5), "", _text("Date", 7.5)]
    return Table(
        [cells],
        colWidths=[each, gap, each, gap, each],
        spaceBefore=6 * mm,
        style=[*_PLAIN, ("TOPPADDING", (0, 0), (-1, -1), 1), *lines],
    )
