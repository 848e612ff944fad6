"""Gradings and their agreement as CSV.

Knows:   the columns, which docs/grading.md specifies.
Ignores: how anything is counted.
"""

from collections.abc import Iterable, Iterator, Sequence

from foveate.server.review.agreement import LesionPair, PairSummary
from foveate.server.review.gradings import FinishedGrading
from foveate.timestamps import utc_timestamp_of
from foveate.writers import tables

GRADING_COLUMNS = (
    "photograph",
    "sha256",
    "grader",
    "role",
    "done",
    "lesion",
    "present",
    "regions",
    "area_px",
    "area_fraction",
    "threshold",
)

PAIR_COLUMNS = (
    "photograph",
    "sha256",
    "grader_1",
    "grader_2",
    "lesion",
    "present_1",
    "present_2",
    "regions_1",
    "regions_2",
    "area_px_1",
    "area_px_2",
    "both_px",
    "dice",
)

SUMMARY_COLUMNS = (
    "grader_1",
    "grader_2",
    "lesion",
    "photographs",
    "present_both",
    "present_1_only",
    "present_2_only",
    "present_neither",
    "kappa",
    "dice",
    "mean_dice",
)


def gradings_csv(gradings: Iterable[FinishedGrading]) -> bytes:
    """Return a row for each photograph, person and lesion."""
    return tables.csv_bytes([GRADING_COLUMNS, *(row for grading in gradings for row in _rows(grading))])


def _rows(grading: FinishedGrading) -> Iterator[Sequence[object]]:
    record = grading.record
    done = "" if grading.done is None else utc_timestamp_of(grading.done)
    person = (tables.without_formula(grading.name), grading.role, done)
    for lesion, counts in grading.counts.items():
        share = counts.area_px / record.predicted.field.area_px
        yield (
            *(tables.without_formula(record.name), record.sha256, *person, lesion),
            *(int(counts.count > 0), counts.count, counts.area_px),
            *(f"{share:.8f}", f"{record.threshold(lesion):.6f}"),
        )


def pairs_csv(pairs: Iterable[LesionPair]) -> bytes:
    """Return a row for each photograph, pair of its graders and lesion."""
    rows = (
        (
            *(tables.without_formula(pair.photograph.name), pair.photograph.sha256, *_names(pair.graders)),
            *(pair.lesion, *(int(is_present) for is_present in pair.present), *pair.regions, *pair.area_px),
            *(pair.both_px, _score(pair.dice)),
        )
        for pair in pairs
    )
    return tables.csv_bytes([PAIR_COLUMNS, *rows])


def summary_csv(summaries: Iterable[PairSummary]) -> bytes:
    """Return a row for each pair of graders and lesion."""
    rows = (
        (
            *(*_names(summary.graders), summary.lesion, summary.photographs),
            *(summary.present_both, summary.present_first, summary.present_second, summary.present_neither),
            *(_score(summary.kappa), _score(summary.dice), _score(summary.mean_dice)),
        )
        for summary in summaries
    )
    return tables.csv_bytes([SUMMARY_COLUMNS, *rows])


def _names(graders: tuple[str, str]) -> tuple[str, str]:
    return tables.without_formula(graders[0]), tables.without_formula(graders[1])


def _score(score: float | None) -> str:
    """Return a score with six decimals; an empty text if it is undefined."""
    return "" if score is None else f"{score:.6f}"
