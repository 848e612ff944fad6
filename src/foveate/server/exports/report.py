"""The content of a report: all texts, tables and pictures of the page that a clinic files.

Knows:   what a report says, and in which words.
Ignores: how a page is laid out; `report_page` makes HTML from a report, and `report_pdf` a PDF.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from jaxtyping import UInt8

from foveate.server import errors, schemas
from foveate.server.errors import ServiceError
from foveate.server.exports import report_pictures
from foveate.server.review.checks import require_done
from foveate.server.review.corrections import Corrections
from foveate.server.review.edits import patch_of
from foveate.server.review.etdrs import GridBurden
from foveate.server.review.layers import changed_px
from foveate.server.review.measures import PhotographMeasures, field_of, placed_grid
from foveate.server.storage.data_dir import DataDir
from foveate.server.storage.database import Database, Record
from foveate.server.storage.facts import StrokeDetails, VerdictDetails
from foveate.server.storage.journal import Edit, corrected_lesions, edits_of, edits_with_pixels
from foveate.server.storage.tiles import Packs
from foveate.timestamps import utc_timestamp, utc_timestamp_of
from foveate.version import version
from foveate.wording import quantity
from foveate.writers import overlays
from foveate.writers.overlays import STYLES, Style
from foveate.writers.results import NOTICE
from foveate.writers.tables import percentage, square_millimetres

MOST_AT_ONCE = 100
"""Maximum number of photographs in a report that a request waits for: 12 megapixels take 2.5 s of processor
time (our choice)."""

AUTHORS = 5
"""Maximum number of people whose corrections are listed; more would not fit on the page."""

UNNAMED = "a person without a name"
"""Stands for whoever corrected or reviewed without a name."""

QUALITY = {
    "blur": "out of focus, or the lens was not clear",
    "colour": "blue or green is brighter than red: are channels swapped?",
    "cut": "more of the field of view is cut off than is usual for fundus cameras",
    "exposure": "too dark, too light, or much of it lost in black or white",
    "small": "the field is less than 1000 px wide: microaneurysms can hardly be distinguished from noise",
}
"""Code of a quality problem -> what it means."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LesionRow:
    """One lesion in the table, which is also the legend."""

    code: str
    name: str
    colour: tuple[int, int, int]
    """sRGB, 0 to 255."""
    style: Style
    """How its outlines are drawn."""
    count: int
    area: str
    """Area with its unit."""
    share: str
    """Share of the field of view."""
    threshold: str
    """The model's threshold, or the chosen one followed by the model's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GridTable:
    """The burden by subfield of the ETDRS grid."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """The subfield's name, then number of regions and area of each lesion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotographReport:
    """One page."""

    title: str
    """The photograph's name."""
    remark: str = ""
    """On the first page of several: how many photographs are missing, and why; empty if none are."""
    facts: tuple[str, ...]
    """When it was analysed, which eye, its size."""
    note: tuple[str, ...]
    """What a person wrote on the photograph, line by line; empty if nobody did."""
    plain: bytes
    """The photograph, JPEG."""
    annotated: bytes
    """The same with outlines, and with the grid if it was placed."""
    figures: str
    """Whose figures the table of lesions holds: the model's, or with corrections."""
    lesions: tuple[LesionRow, ...]
    quality: str
    doubtful: bool
    """Whether the quality may spoil the result."""
    reviewed: str
    """Who has looked through the result and when, or that nobody has."""
    corrections: tuple[str, ...]
    """Who corrected what, one line for each person; if nobody has, one line that says so."""
    grid: GridTable | None
    origin: str
    """Model, version, digests, smallest regions, and when the report was made."""
    notice: str


class Reports:
    """Collects the contents of reports."""

    def __init__(
        self,
        database: Database,
        data_dir: DataDir,
        packs: Packs,
        *,
        corrections: Corrections,
        measures: PhotographMeasures,
        describe: Callable[[Record], schemas.PhotographBody],
    ) -> None:
        self._database = database
        self._data_dir = data_dir
        self._packs = packs
        self._corrections = corrections
        self._measures = measures
        self._describe = describe

    def report(self, record: Record) -> PhotographReport:
        """Return the report of a photograph as it is now; all of it is of one moment.

        A page is made again if the photograph was changed meanwhile, and then nobody can change it.

        Raises:
            ServiceError: the photograph was deleted meanwhile, or is being analysed again.
        """
        present = self._present(record.id)
        with contextlib.suppress(ServiceError, FileNotFoundError):  # what it needs was replaced meanwhile
            page = self._page(present)
            if self._present(record.id) == present:
                return page
        with self._corrections.lock(record.id):
            made = self._database.unless_deleted(self._page, self._present(record.id))
        if made is None:
            raise errors.not_found("photograph")
        return made

    def _report_if_done(self, record: Record) -> PhotographReport | None:
        """Return a photograph's report; None if it was deleted meanwhile, or is being analysed again."""
        try:
            return self.report(record)
        except ServiceError:
            present = self._database.get(record.id)
            if present is not None and present.state == "done":
                raise
            return None

    def _present(self, identifier: str) -> Record:
        record = self._database.get(identifier)
        if record is None:
            raise errors.not_found("photograph")
        require_done(record)
        return record

    def _page(self, record: Record) -> PhotographReport:
        body = self._describe(record)
        result = body.result
        assert result is not None, "asked of a photograph that is not done"
        plain, annotated = self._pictures(record)
        edits = [edit for edit in edits_of(self._database, record.id) if not edit.undone]
        burden = None if record.grid is None else self._measures.grid_burden(record)
        return PhotographReport(
            title=record.name,
            facts=_facts(body, burden),
            note=tuple(line for line in record.note.splitlines() if line.strip()),
            plain=overlays.jpeg(plain),
            annotated=overlays.jpeg(annotated),
            figures="Figures with the corrections below" if result.corrected else "The model's own figures",
            lesions=tuple(
                _lesion_row(code, lesion, record.spacing_mm) for code, lesion in result.lesions.items()
            ),
            quality=_quality(result.quality),
            doubtful=bool(result.quality),
            reviewed=_reviewed(body),
            corrections=_corrections(edits, self._changed_px(record), record.spacing_mm),
            grid=None if burden is None else _grid_table(burden, result.lesions, record.spacing_mm),
            origin=_origin(body, result),
            notice=NOTICE,
        )

    def reports(self, records: Sequence[Record], without_result: int = 0) -> list[PhotographReport]:
        """Return the reports of several photographs, as `reports_of_done`.

        Raises:
            ServiceError: there are none, or more than `MOST_AT_ONCE`, or none is left.
        """
        if not records:
            raise errors.not_ready("no photograph of the batch is done yet; wait for the first")
        if len(records) > MOST_AT_ONCE:
            raise errors.invalid(
                f"{len(records)} photographs are done, but this report holds at most {MOST_AT_ONCE}; "
                "use POST /api/batches/ID/report-jobs, which takes more, or fetch them one by one"
            )
        return self.reports_of_done(records, without_result)

    def reports_of_done(
        self,
        records: Sequence[Record],
        without_result: int = 0,
        before_each: Callable[[int], None] = lambda made: None,
    ) -> list[PhotographReport]:
        """Return the reports of photographs, without those deleted meanwhile or being analysed again.

        The first page says how many photographs are missing because they had no result.

        Args:
            records: at least one photograph that was done.
            without_result: number of photographs of the same batch that were not done.
            before_each: called before each report with the number of those made; an error that it raises
                ends the work.

        Raises:
            ServiceError: no photograph is left.
        """
        made: list[PhotographReport] = []
        missing = 0
        for record in records:
            before_each(len(made))
            if page := self._report_if_done(record):
                made.append(page)
            elif self._database.get(record.id) is not None:
                missing += 1
        if not made and missing:
            raise errors.not_ready(
                "no photograph of the batch is done any more; wait until they are analysed"
            )
        if not made:
            raise errors.not_found("photograph")
        missing += without_result
        return [replace(made[0], remark=_remark(missing, missing + len(made))), *made[1:]]

    def _changed_px(self, record: Record) -> dict[int, tuple[int, int]]:
        """Return how many pixels each edit added to its mask, and how many it removed.

        Masks are those at the current thresholds. The keys are the numbers of the edits; edits that
        change no pixel of a layer are left out.
        """
        changed = {}
        for lesion in corrected_lesions(self._database, record.id):
            model = self._measures.stored_map(record, lesion, "model")
            level = record.level(lesion)
            for edit in edits_with_pixels(self._database, record.id, lesion):
                before, after = patch_of(edit, edit.before), patch_of(edit, edit.after)
                assert before is not None
                assert after is not None
                changed[edit.number] = changed_px(model[after.box.slices], before.pixels, after.pixels, level)
        return changed

    def _pictures(self, record: Record) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w 3"]]:
        """Return the plain and the annotated picture."""
        crop = report_pictures.crop_field((record.height, record.width), field_of(record).box)
        try:
            plain = report_pictures.photograph(self._packs, self._data_dir.photograph(record.id).tiles, crop)
        except FileNotFoundError:
            raise errors.not_found("photograph") from None
        masks = {
            lesion: report_pictures.reduce_mask(self._measures.traced(record, lesion).mask, crop)
            for lesion in record.lesions
        }
        annotated = report_pictures.outline(plain, masks)
        if record.grid is not None:
            annotated = report_pictures.draw_grid(annotated, placed_grid(record, record.grid), crop)
        return plain, annotated


def _remark(missing: int, total: int) -> str:
    """Return what a report says of the photographs that it lacks; '' if it lacks none."""
    if not missing:
        return ""
    verb = "is" if missing == 1 else "are"
    return (
        f"{missing} of {quantity(total, 'photograph')} had no result and {verb} not in this report; "
        "make the report again once all are analysed."
    )


def _facts(body: schemas.PhotographBody, burden: GridBurden | None) -> tuple[str, ...]:
    """Return the facts that the head of the page lists besides the name."""
    spacing = "scale not known" if body.spacing_mm is None else f"{body.spacing_mm:g} mm per pixel"
    unstated = ["eye not stated"] if burden is None else []
    stated = unstated if body.eye is None else [f"{body.eye} eye"]
    placed = [] if burden is None or burden.eye == body.eye else [f"{burden.eye} eye, by the placed disc"]
    return (
        f"analysed {_day(body.finished)}",
        *stated,
        *placed,
        f"{body.width} x {body.height} px",
        spacing,
    )


def _day(stamp: str | None) -> str:
    """Return a time as people write it, to the minute, UTC."""
    return "at an unknown time" if stamp is None else f"{stamp[:10]} {stamp[11:16]} UTC"


def _lesion_row(code: str, lesion: schemas.LesionResult, spacing: float | None) -> LesionRow:
    return LesionRow(
        code=code,
        name=lesion.name,
        colour=lesion.colour,
        style=STYLES.get(code, "line"),
        count=lesion.count,
        area=_area(lesion.area_px, spacing),
        share=percentage(lesion.area_fraction),
        threshold=_threshold(lesion),
    )


def _area(pixels: int, spacing: float | None) -> str:
    """Return the area of a number of pixels with its unit, in pixels if the spacing is not known."""
    return f"{pixels:,} px" if spacing is None else f"{square_millimetres(pixels * spacing**2, 3)} mm²"


def _threshold(lesion: schemas.LesionResult) -> str:
    """Return a lesion's threshold, and whether it is the model's or was chosen."""
    if lesion.threshold == lesion.model_threshold:
        return f"{lesion.threshold:.3f}, the model's"
    return f"{lesion.threshold:.3f}, chosen (model's: {lesion.model_threshold:.3f})"


def _quality(codes: Sequence[str]) -> str:
    if not codes:
        return "No quality problem was detected."
    line = "; ".join(QUALITY.get(code, code) for code in codes)
    return f"Doubtful: {line}."


def _reviewed(body: schemas.PhotographBody) -> str:
    """Return who marked a photograph as reviewed and when, or that nobody did."""
    if not (body.reviewed or body.reviewed_before_grading):
        return "Not marked as reviewed."
    before = ", before double grading; not adjudicated yet" if body.reviewed_before_grading else ""
    if body.reviewed_at is None:
        return f"Marked as reviewed{before}; by whom and when was not recorded."
    return f"Marked as reviewed by {body.reviewer or UNNAMED}, {_day(body.reviewed_at)}{before}."


def _corrections(
    edits: Sequence[Edit], changed: Mapping[int, tuple[int, int]], spacing: float | None
) -> tuple[str, ...]:
    """Return who corrected what, a line for each person.

    Args:
        edits: the edits that are not undone.
        changed: number of an edit -> pixels that it added to its lesion's mask, and that it removed.
        spacing: millimetres per pixel; None if not known.
    """
    if not edits:
        return ("Nobody has corrected this result; it is the model's.",)
    by_author: dict[str, list[Edit]] = {}
    for edit in edits:
        by_author.setdefault(edit.author or UNNAMED, []).append(edit)
    lines = [_author_line(author, own_edits, changed, spacing) for author, own_edits in by_author.items()]
    if len(lines) > AUTHORS:
        lines = [*lines[:AUTHORS], f"and {len(lines) - AUTHORS} more people; see the journal of corrections"]
    return tuple(lines)


def _author_line(
    author: str, edits: Sequence[Edit], changed: Mapping[int, tuple[int, int]], spacing: float | None
) -> str:
    by_action: dict[tuple[str, str, str], list[Edit]] = {}
    for edit in edits:
        by_action.setdefault((edit.lesion, *_action(edit)), []).append(edit)
    parts: dict[str, list[str]] = {}
    for (lesion, noun, verb), same in by_action.items():
        pixels = [changed[edit.number] for edit in same if edit.number in changed]
        action = f"{quantity(len(same), noun)} {verb}{_changed_area(pixels, spacing)}"
        parts.setdefault(lesion, []).append(action)
    actions = "; ".join(f"{lesion}: {', '.join(done)}" for lesion, done in parts.items())
    last = _day(utc_timestamp_of(max(edit.time for edit in edits)))
    return f"{author}, last {last}: {actions}."


def _action(edit: Edit) -> tuple[str, str]:
    """Return what was edited, a noun that can follow a number, and what was done with it."""
    match edit.details:
        case StrokeDetails():
            tools = {"brush": "painted", "eraser": "erased", "restore": "restored to the model's"}
            return "stroke", tools[edit.details.tool]
        case VerdictDetails():
            verdicts = {"questionable": "marked as questionable", "none": "restored to the model's"}
            return "region", verdicts.get(edit.details.verdict, edit.details.verdict)
        case _:
            return "whole mask", "replaced"


def _changed_area(changed: Sequence[tuple[int, int]], spacing: float | None) -> str:
    """Return the area that edits added and removed, in brackets; '' if no edit concerns pixels."""
    if not changed:
        return ""
    added, removed = (sum(pixels) for pixels in zip(*changed, strict=True))
    parts = [
        f"{_area(pixels, spacing)} {done}"
        for pixels, done in ((added, "added"), (removed, "removed"))
        if pixels
    ]
    return f" ({', '.join(parts) or 'no pixel changed'})"


def _grid_table(
    burden: GridBurden, lesions: Mapping[str, schemas.LesionResult], spacing: float | None
) -> GridTable:
    scale = (
        "scale from the photograph's pixel spacing"
        if burden.scale_from == "spacing"
        else "scale by a rule of thumb: 4.5 mm from fovea to disc"
    )
    rows = [
        (
            name.replace("_", " "),
            *(_cell(field.lesions[code].count, field.lesions[code].area_px, spacing) for code in lesions),
        )
        for name, field in burden.fields.items()
    ]
    return GridTable(
        caption=f"Burden by ETDRS subfield, {burden.eye} eye; {_placed(burden)}; {scale}",
        columns=("Subfield", *(lesion.name for lesion in lesions.values())),
        rows=tuple(rows),
    )


def _placed(burden: GridBurden) -> str:
    """Return who placed the grid's fovea and disc."""
    match burden.placed_by_program:
        case []:
            return "grid placed by hand"
        case [part]:
            return f"{part} placed by the program: to be checked"
        case _:
            return "fovea and disc placed by the program: to be checked"


def _cell(count: int, area_px: int, spacing: float | None) -> str:
    """Return the number of regions and the area of a lesion in a subfield."""
    if not count and not area_px:
        return "-"
    return f"{count} · {_area(area_px, spacing)}"


def _origin(body: schemas.PhotographBody, result: schemas.ResultBody) -> str:
    return (
        f"Foveate {version()}, model {result.model.name} {result.model.version} (SHA-256 "
        f"{result.model.sha256[:16]}). Photograph SHA-256 {body.sha256[:16]}. Smallest region counted: "
        + ", ".join(f"{code} {lesion.minimum_area_px} px" for code, lesion in result.lesions.items())
        + f". Made {_day(utc_timestamp(datetime.now(UTC)))}."
    )
