"""What options say, as values.

Knows:   how lists, thresholds and fields are spelt on the command line.
Ignores: which values make sense; those who use them say so.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foveate.segment import FieldChoice


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


def torch_engine() -> ModuleType:
    """Return the module that runs models in PyTorch, which is an optional extra.

    Raises:
        SettingError: torch is not installed.
    """
    from foveate.errors import SettingError  # noqa: PLC0415  as heavy as the rest, if not yet imported

    try:
        return importlib.import_module("foveate.eager")
    except ImportError as error:
        raise SettingError(
            f"engine torch is not installed ({error}); pip install 'foveate[train]'"
        ) from error


def _is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False
