"""What options say, as values.

Knows:   how lists, thresholds and fields are spelt on the command line.
Ignores: which values make sense; those who use them say so.
"""

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from foveate.errors import SettingError

if TYPE_CHECKING:
    from foveate.inference.pipeline import FieldChoice
    from foveate.writers import Objects

SHORTEST_SECRET = 16
"""Bytes: fewer could be guessed one by one."""


class UsageError(Exception):
    """An option is misspelt: exit code 2, as for an unknown option."""


def codes(text: str | None) -> tuple[str, ...] | None:
    """'EX,MA' -> ('EX', 'MA'); nothing stays None.

    Raises:
        UsageError: a code is empty.
    """
    if text is None:
        return None
    found = tuple(part.strip() for part in text.split(","))
    if "" in found:
        raise UsageError(f"--lesions {text!r}: give codes such as EX,MA.")
    return found


def thresholds(text: str | None) -> dict[str, float]:
    """'EX=0.4,MA=0.3' -> {'EX': 0.4, 'MA': 0.3}.

    Raises:
        UsageError: a part is no CODE=NUMBER, or a code comes twice.
    """
    found: dict[str, float] = {}
    for part in text.split(",") if text is not None else ():
        code, equals, number = (piece.strip() for piece in part.partition("="))
        if not code or not equals or code in found or not _is_number(number):
            raise UsageError(f"--threshold {text!r}: give each code once, such as EX=0.4,MA=0.3.")
        found[code] = float(number)
    return found


def field(text: str) -> "FieldChoice":
    """'auto', 'full', or 'ROW,COL,RADIUS' -> (row, column, radius) in px of the photograph.

    Raises:
        UsageError: it is none of these.
    """
    if text == "auto":
        return "auto"
    if text == "full":
        return "full"
    numbers = text.split(",")
    if len(numbers) != 3 or not all(_is_number(number) for number in numbers):
        raise UsageError(f"--field {text!r}: give auto, full, or ROW,COL,RADIUS in pixels of the photograph.")
    row, column, radius = (float(number) for number in numbers)
    return row, column, radius


def objects(text: str, deidentify: Path | None = None) -> "Objects":
    """'seg,sr' -> which DICOM objects are made, now; with the secret of a file, without the patient.

    Raises:
        UsageError: a part is no object, or the file holds no secret.
    """
    from foveate.writers.results import OBJECTS, Objects, kinds_of  # noqa: PLC0415, NumPy takes its time

    asked = [part.strip() for part in text.split(",")]
    if not set(asked) <= set(OBJECTS):
        raise UsageError(f"--dicom {text!r}: give some of {','.join(OBJECTS)}.")
    kinds = kinds_of([kind for kind in OBJECTS if kind in asked])
    secret = None if deidentify is None else _secret(deidentify)
    return Objects(kinds=kinds, made=datetime.now(), secret=secret)


def date(text: str | None) -> str | None:
    """'20260131', '20260101-20260131', '20260101-' or '-20260131', as DICOM has days and ranges of them.

    Raises:
        UsageError: it is none of these.
    """
    if text is None:
        return None
    ends = text.split("-")
    if len(ends) > 2 or not any(ends) or not all(_is_day(end) for end in ends if end):
        raise UsageError(
            f"--date {text!r}: give YYYYMMDD, or YYYYMMDD-YYYYMMDD, of which one may be left out."
        )
    return text


def _is_day(text: str) -> bool:
    try:
        return bool(re.fullmatch(r"\d{8}", text)) and datetime.strptime(text, "%Y%m%d").year > 0
    except ValueError:
        return False


def _secret(path: Path) -> bytes:
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise UsageError(
            f"--deidentify {path}: cannot be read ({error.strerror}); make one by foveate dicom key {path}."
        ) from None
    if len(secret) < SHORTEST_SECRET:
        raise UsageError(
            f"--deidentify {path}: holds {len(secret)} bytes; make one by foveate dicom key FILE."
        )
    return secret


def first_line(path: Path) -> str:
    """Return a file's first line: a password or token, which the command line would show to everyone.

    Raises:
        SettingError: the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: cannot be read ({error}); name a text file") from None


def _is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False
