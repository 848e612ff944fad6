"""Correct the values of a photograph's header that violate the standard, before results copy them.

Knows:   which values are invalid, and what they mean where that is certain.
Ignores: pixels, and attributes that results do not copy.

| in the photograph                                       | in the results                              |
|---------------------------------------------------------|---------------------------------------------|
| one valid character set                                 | unchanged                                   |
| several character sets, as ['', 'ISO 2022 IR 87'], or a | the texts, in UTF-8 (ISO_IR 192)            |
| misspelt one, as 'ISO-IR 100', 'UTF-8'                  |                                             |
| a date with separators, as 1960-01-02                   | 19600102                                    |
| not a date, as 1960, 19600000, 20261305                 | empty                                       |
| a time with separators, as 10:10:10                     | 101010                                      |
| not a time, as 256060                                   | empty                                       |
| sex f, m, female, male, other                           | F, M, O                                     |
| any other sex                                           | empty                                       |
| UIDs with leading zeros in a part                       | unchanged: references must match the object |
| a UID of other characters or of more than 64            | refused                                     |

Source: PS3.5 table 6.2-1 (value representations), PS3.3 C.12.1.1.2 (character sets), C.7.1.1 (sex).
"""

import re
from collections.abc import Mapping
from datetime import date

from highdicom.enum import SpecificCharacterSetValues
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from foveate.errors import PhotographError

UTF_8 = "ISO_IR 192"

CHARACTER_SETS = frozenset(
    character_set.value
    for character_set in SpecificCharacterSetValues
    if not character_set.value.startswith("ISO 2022")
)
"""Character sets that may be the only one of an object."""

UID = re.compile(r"[0-9]+(\.[0-9]+)*")
"""Form of the UIDs that archives handle, although a part may begin with a zero."""

UID_LENGTH = 64

_DATE = re.compile(r"(\d{4})[-./ ]?(\d{2})[-./ ]?(\d{2})")

_TIME = re.compile(r"([01]\d|2[0-3])(?::?([0-5]\d)(?::?([0-5]\d)(?:[.,](\d{1,6})\d*)?)?)?")

_ESCAPE = re.compile(r"\x1b[ -/]+[0-~]")
"""Escape sequence that switches the character set within a text (ISO 2022)."""

_SEXES: Mapping[str, str] = {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F", "O": "O", "OTHER": "O"}
"""Code or name of a sex, in capitals -> code."""


def require_uids(header: Dataset, keywords: tuple[str, ...], name: str) -> None:
    """Check that results can refer to an object.

    Args:
        header: the object's header.
        keywords: attributes that hold the UIDs.
        name: the photograph's name, for messages.

    Raises:
        PhotographError: a UID is absent or invalid.
    """
    for keyword in keywords:
        uid = str(header.get(keyword) or "")
        if not uid:
            raise PhotographError(
                f"{name}: has no {keyword}, so DICOM results cannot refer to it; leave out --dicom"
            )
        if not UID.fullmatch(uid) or len(uid) > UID_LENGTH:
            raise PhotographError(
                f"{name}: its {keyword} is not a valid UID, so DICOM results cannot refer to it; correct it, "
                "or leave out --dicom"
            )


def correct(header: Dataset) -> tuple[str, ...]:
    """Correct a header in place by the table above, and return the keywords of the corrected attributes."""
    header.decode()
    return (*_correct_character_set(header), *_correct_values(header))


def _correct_character_set(header: Dataset) -> list[str]:
    stated = header.get("SpecificCharacterSet")
    if stated is None or (isinstance(stated, str) and stated in CHARACTER_SETS):
        return []
    header.SpecificCharacterSet = UTF_8
    return ["SpecificCharacterSet"]


def _correct_values(header: Dataset) -> list[str]:
    corrected = []
    for element in header:
        value = _correct_value(element)
        if value != str(element.value or ""):
            element.value = value
            corrected.append(element.keyword)
    return corrected


def _correct_value(element: DataElement) -> str:
    """Return the value of a date, a time or a sex in the standard's form, or '' if it is not one.

    Other values only lose escape sequences, which pydicom 3.0 leaves in Chinese texts.
    """
    text = str(element.value or "")
    if element.VR == "DA":
        return _correct_date(text)
    if element.VR == "TM":
        return _correct_time(text)
    if element.keyword == "PatientSex":
        return _SEXES.get(text.strip().upper(), "")
    return _ESCAPE.sub("", text)


def _correct_date(text: str) -> str:
    """Return a date as YYYYMMDD, or '' if it is not a date."""
    match = _DATE.fullmatch(text.strip())
    if match is None:
        return ""
    try:
        return f"{date(*map(int, match.groups())):%Y%m%d}"
    except ValueError:
        return ""


def _correct_time(text: str) -> str:
    """Return a time as HH, HHMM, HHMMSS or HHMMSS.FFFFFF, or '' if it is not a time."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return ""
    hours, minutes, seconds, fraction = match.groups("")
    return f"{hours}{minutes}{seconds}" + (f".{fraction}" if fraction else "")
