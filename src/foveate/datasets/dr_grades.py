"""Read photographs with a grade of retinopathy but no masks, for training on healthy eyes and for testing.

Knows:   the published form of the grading part of IDRiD, and the purpose of each half of it.
Ignores: how training uses a healthy eye, and how a model is tested.
"""

import codecs
import csv
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Literal

from foveate import photographs
from foveate.datasets import SET_ASIDE, Case, splits
from foveate.datasets.folders import ENDINGS, folders_below, on_disk
from foveate.datasets.splits import PhotographGroup
from foveate.errors import DatasetError
from foveate.paths import display_path, exists, is_file, name_key, nfc, valid_path

LABELS = "labels.csv"
"""The table in a folder of graded photographs, with at least the columns 'file' and 'retinopathy_grade'."""

TRAIN_HALF, TEST_HALF = 0, 1
"""The halves of `splits/idrid-graded.json`."""

PREFIX = "healthy-"
"""Prefix of the case name of a healthy eye, which distinguishes it from the cases of the data set."""

GRADE_COLUMN = re.compile(r"grade|grading|level|diagnosis|severity", re.IGNORECASE)
"""Pattern for the name of the column of grades in the tables of published sets."""

GRADE = re.compile(r"([0-4])(?:\.0*)?")
"""A grade as it is written in a table; spreadsheets and pandas write '0.0' where another grade is missing."""

PICTURE_SUFFIXES = ENDINGS | {".jp2", ".ppm", ".webp"}
"""Suffixes, in lower case, with which tables list photographs, also those that were converted since."""

NAMING_ROWS = 5000
"""Rows of a table that are searched for the column of names. Our choice: a table may have millions."""

HEALTHY = 0
"""No apparent retinopathy, by the International Clinical Diabetic Retinopathy scale."""

ONE_EYE = (("IDRiD_043", "IDRiD_401"),)
"""Photographs of the same eye, according to the correlation of thumbnails (`likeness`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GradedPhotograph:
    """One photograph and its grade."""

    name: str
    """File name without suffix, in the Unicode form NFC."""
    photograph: Path
    grade: int
    """Grade of retinopathy, 0 (none apparent) to 4 (proliferative)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _LabelTable:
    """A form of the table of grades, and of the folder that it is in."""

    table: str
    """Path of the table in the folder."""
    photographs: str = "."
    """Path of the photographs' folder in it."""
    name_column: str
    grade_column: str
    suffix: str = ""
    """Suffix of the photographs' files, if the table gives their names without."""


OWN_TABLE = _LabelTable(table=LABELS, name_column="file", grade_column="retinopathy_grade")

PUBLISHED_TABLE = _LabelTable(
    table="2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv",
    photographs="1. Original Images/a. Training Set",
    name_column="Image name",
    grade_column="Retinopathy grade",
    suffix=".jpg",
)
"""That of the folder 'B. Disease Grading' as IDRiD is published: the 413 photographs of its training part."""


def _table_in(folder: Path) -> _LabelTable | None:
    """Return the form of a folder's table of grades; None if it has none of these."""
    return next((form for form in (OWN_TABLE, PUBLISHED_TABLE) if exists(folder / form.table)), None)


def list_photographs(folder: Path) -> list[GradedPhotograph]:
    """Return the graded photographs of a folder, sorted by name; a grade of '1.0' is grade 1.

    The table may spell a file's name in another Unicode form than the disk.

    Args:
        folder: it has a labels.csv, or is the folder 'B. Disease Grading' of IDRiD.

    Raises:
        DatasetError: the table, a column or a value is missing, a grade is not a number from 0 to 4, or a
            photograph is missing or listed twice.
    """
    form = _table_in(folder) or OWN_TABLE
    path = folder / form.table
    listed = [_read_row(path, row, form, folder) for row in _read_labels(path)]
    listed.sort(key=lambda photograph: photograph.name)
    _refuse_duplicates(path, [photograph.name for photograph in listed])
    return listed


def _read_labels(path: Path) -> list[dict[str, str | None]]:
    """Return the rows of a table: column -> entry; None where a short row has no entry.

    Raises:
        DatasetError: it is missing or cannot be read.
    """
    try:
        header, *rows = [row for row in _read_table(valid_path(path), errors="strict") if row] or [[]]
    except (OSError, UnicodeError, csv.Error) as error:
        raise DatasetError(f"{display_path(path)}: unreadable labels ({error}); restore the file") from error
    return [dict(itertools.zip_longest(header, row[: len(header)])) for row in rows]


def _refuse_duplicates(source: Path, names: Sequence[str]) -> None:
    if duplicates := [name for name, times in Counter(names).items() if times > 1]:
        raise DatasetError(
            f"{display_path(source)}: two photographs are called {duplicates[0]}; remove one, or rename it"
        )


def _read_row(path: Path, row: Mapping[str, str | None], form: _LabelTable, folder: Path) -> GradedPhotograph:
    try:
        file, grade = row[form.name_column], row[form.grade_column]
    except KeyError as error:
        raise DatasetError(
            f"{display_path(path)}: no column {error}; the table needs the columns {form.name_column} and "
            f"{form.grade_column}"
        ) from error
    number = _parse_grade(grade or "")
    if not file or number is None:
        raise DatasetError(
            f"{display_path(path)}: file {file!r} has grade {grade!r}; name a file, and give a grade of 0, "
            "1, 2, 3 or 4"
        )
    photograph = on_disk(Path(file + form.suffix), folder / form.photographs)
    if not is_file(photograph):
        raise DatasetError(
            f"{display_path(path)}: {display_path(photograph)} does not exist; unpack the set again, or "
            "remove the row"
        )
    return GradedPhotograph(name=nfc(photograph.stem), photograph=photograph, grade=number)


def _parse_grade(text: str) -> int | None:
    """Return the grade that an entry of a table states; None if it is not a grade from 0 to 4."""
    match = GRADE.fullmatch(text.strip())
    return int(match[1]) if match else None


def healthy_cases(folder: Path, split: Path | None) -> list[Case]:
    """Return eyes without any lesion as training cases: annotated for all lesions, without masks.

    Args:
        folder: if it has a labels.csv, or is the folder 'B. Disease Grading' of IDRiD, the photographs of
            grade 0 in the training half are used; otherwise all photographs in it and its subfolders.
        split: file of the halves TRAIN_HALF and TEST_HALF of the graded photographs; None takes all of them
            except those of `examples/`.

    Raises:
        DatasetError: as `list_photographs` and `splits.read`; a photograph of a labels.csv is in neither
            half, two have the same name, a table gives one a grade above 0, or there is no usable photograph.
        PhotographError: the folder does not exist, or contains no photograph.
    """
    if (form := _table_in(folder)) is not None:
        healthy = [photograph for photograph in list_photographs(folder) if photograph.grade == HEALTHY]
        halves = (
            splits.read(split)
            if split is not None
            else dict.fromkeys((photograph.name for photograph in healthy), TRAIN_HALF)
        )
        unlisted = [photograph.name for photograph in healthy if photograph.name not in halves]
        if unlisted and form is OWN_TABLE:
            raise DatasetError(
                f"{display_path(folder)}: {unlisted[0]} is in neither half of {display_path(str(split))}; "
                "add it to one of them"
            )
        candidates = [
            (photograph.name, photograph.photograph)
            for photograph in healthy
            if halves.get(photograph.name) == TRAIN_HALF
        ]
    else:
        _refuse_grades(folder)
        sources = photographs.list_files([str(folder)]).photographs
        _refuse_grades_beside(folder, [source.path for source in sources])
        candidates = [(nfc(source.name).replace("/", "-"), source.path) for source in sources]
    usable = sorted((name, path) for name, path in candidates if path.stem not in SET_ASIDE)
    if not usable:
        raise DatasetError(
            f"{display_path(folder)}: no photograph of a healthy eye to train on; name another folder"
        )
    _refuse_duplicates(folder, [name for name, _ in usable])
    return [Case(name=f"{PREFIX}{name}", photograph=path, masks={}) for name, path in usable]


def _refuse_grades(folder: Path) -> None:
    """Refuse a folder that contains a table of grades: not all eyes in it need be healthy.

    Raises:
        DatasetError: there is such a table.
    """
    for path in sorted(path for place in folders_below(folder) for path in _listed(place)):
        if path.suffix.lower() == ".csv" and not photographs.is_hidden(path.name) and _has_grades(path):
            raise DatasetError(
                f"{display_path(path)}: a table of grades, so some eyes in the folder may not be healthy; "
                f"name a folder of healthy eyes only, or save the table as {display_path(folder / LABELS)} "
                "with the columns file and retinopathy_grade"
            )


def _listed(folder: Path) -> list[Path]:
    """Return what is in a folder; nothing where it cannot be listed: listing photographs reports that."""
    with suppress(OSError):
        return list(folder.iterdir())
    return []


def _refuse_grades_beside(folder: Path, files: Sequence[Path]) -> None:
    """Refuse photographs to which a table beside their folder gives a grade above 0.

    IDRiD's tables are in a folder beside the parent of the photographs' folder. A table counts only if it
    names at least half of these photographs, so that a table of other photographs has no effect.

    Raises:
        DatasetError: there is such a table.
    """
    names = {key: path.stem for path in files for key in (name_key(path.stem), name_key(path.name))}
    parents = list(folder.resolve().parents)[:2]
    tables = {path for parent in parents for depth in ("*.csv", "*/*.csv") for path in parent.glob(depth)}
    for path in sorted(tables):
        if photographs.is_hidden(path.name) or not _has_grades(path):
            continue
        grades = _read_grades(path, names)
        ill = [name for name, grade in grades.items() if _is_above_0(grade)]
        if ill and 2 * len(grades) >= len(set(names.values())):
            raise DatasetError(
                f"{display_path(path)}: {ill[0]} of {display_path(folder)} has grade {grades[ill[0]]}, so "
                "not all eyes in that folder are healthy; name a folder of healthy eyes only"
            )


def _is_above_0(grade: str) -> bool:
    return bool(grade) and _parse_grade(grade) != HEALTHY


def _read_grades(path: Path, names: Mapping[str, str]) -> Mapping[str, str]:
    """Return the grades that a table gives to photographs.

    The column of names is the one that names most of the photographs in the first `NAMING_ROWS` rows, the
    first of several. Of several grades of one photograph, one above 0 counts.

    Args:
        path: the table.
        names: name of a photograph as `name_key` returns it, with and without suffix -> its name.
    """
    rows = _rows(path)
    header = next(rows, [])
    grade_column = next(place for place, name in enumerate(header) if GRADE_COLUMN.search(name))
    beginning = list(itertools.islice(rows, NAMING_ROWS))
    named: dict[int, set[str]] = defaultdict(set)
    for row in beginning:
        for place, entry in enumerate(row):
            if (name := _listed_name(entry, names)) is not None:
                named[place].add(name)
    name_column = max(sorted(named), key=lambda place: len(named[place]), default=0)
    grades: dict[str, str] = {}
    for row in itertools.chain(beginning, rows):
        if len(row) > max(name_column, grade_column):
            name, grade = _listed_name(row[name_column], names), row[grade_column].strip()
            if name is not None and not _is_above_0(grades.get(name, "")):
                grades[name] = grade
    return grades


def _listed_name(entry: str, names: Mapping[str, str]) -> str | None:
    """Return the name of the photograph that an entry of a table stands for; None if there is none."""
    return next((names[key] for key in _listed_keys(entry) if key in names), None)


def _listed_keys(entry: str) -> tuple[str, ...]:
    """Return the keys of the photographs that an entry of a table may stand for.

    An entry may have a suffix or not: '2019.05.03_left' has none. It may begin with folders.
    """
    listed = PureWindowsPath(entry.strip())  # it takes '/' as well
    has_suffix = listed.suffix.lower() in PICTURE_SUFFIXES
    return (name_key(listed.name), name_key(listed.stem)) if has_suffix else (name_key(listed.name),)


def _has_grades(path: Path) -> bool:
    """Return whether the first line of a table names a column of grades."""
    return any(GRADE_COLUMN.search(name) for name in next(_rows(path), []))


def _rows(path: Path) -> Iterator[list[str]]:
    """Yield the rows of a table; none if it cannot be read."""
    if not is_file(path):  # a pipe would be waited for
        return
    with suppress(OSError, csv.Error):
        yield from _read_table(path, errors="replace")


def _read_table(path: Path, errors: Literal["strict", "replace"]) -> Iterator[list[str]]:
    """Yield the rows of a table separated by commas, semicolons or tabs.

    It is read as UTF-16 if it begins with that encoding's byte order mark, otherwise as UTF-8.

    Args:
        path: the table.
        errors: whether other bytes are an error, or are replaced.

    Raises:
        OSError, UnicodeError, csv.Error: the file cannot be read.
    """
    with path.open("rb") as file:
        has_utf16_mark = file.read(2) in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}
    encoding = "utf-16" if has_utf16_mark else "utf-8-sig"
    with path.open(newline="", encoding=encoding, errors=errors) as file:
        header = file.readline()
        file.seek(0)
        yield from csv.reader(file, delimiter=max(",;\t", key=header.count))


def divide(listed: Sequence[GradedPhotograph], seed: int) -> dict[str, int]:
    """Divide graded photographs into TRAIN_HALF and TEST_HALF, with equal numbers of each grade.

    Photographs of the same eye stay together; those of `examples/` are in the test half.

    Args:
        listed: all photographs of the set.
        seed: seed of the division.
    """
    bound = [set(SET_ASIDE), *map(set, ONE_EYE)]
    groups = [[photograph for photograph in listed if photograph.name in names] for names in bound]
    groups += [[photograph] for photograph in listed if not any(photograph.name in names for names in bound)]
    dealt = splits.assign_folds([_group(group) for group in groups if group], 2, seed)
    example_half = next((dealt[name] for name in sorted(SET_ASIDE) if name in dealt), TEST_HALF)
    return {name: TEST_HALF if fold == example_half else TRAIN_HALF for name, fold in dealt.items()}


def _group(group: Sequence[GradedPhotograph]) -> PhotographGroup:
    grades = Counter(f"grade {photograph.grade}" for photograph in group)
    return PhotographGroup(
        names=tuple(sorted(photograph.name for photograph in group)), photographs=grades, areas=grades
    )
