"""Options of commands as values: how they are spelt, and what each means.

Knows:   how lists, thresholds, fields and dates are spelt on the command line; options that commands share.
Ignores: which values make sense; the code that uses them says so.

The options of a command are a dataclass in a module of this package; the text below a field is its help. A
type that several commands share holds its help itself.
Nothing here imports modules that compute, so that `--help` responds at once.
"""

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

from cyclopts import Parameter, Token

from foveate.choices import LayoutName, ObjectKind, ProcessorEngine, ProcessorPrecision
from foveate.errors import SettingError
from foveate.paths import valid_path

if TYPE_CHECKING:
    from foveate.inference.settings import FieldChoice

Count = Annotated[int | None, Parameter(metavar="N")]

Flag = Annotated[bool, Parameter(negative="", show_default=False)]

Replace = Annotated[
    Flag,
    Parameter(help="Replace earlier results in --out; without it a folder that holds some is refused."),
]

Codes = Annotated[str | None, Parameter(metavar="EX,MA")]

Thresholds = Annotated[str | None, Parameter(metavar="EX=0.4,...")]

ModelOption = Annotated[
    str | None,
    Parameter(
        metavar="NAME|FOLDER",
        help="Model package to use: the name of one that comes with Foveate (`foveate models` lists them and "
        "marks the default), its folder, or a zip file of it.",
    ),
]

FieldOption = Annotated[
    str,
    Parameter(
        metavar="auto|full|ROW,COL,RADIUS",
        help="Field of view: detected (auto), the whole photograph (full), or a disc given by its centre and "
        "radius in pixels of the photograph.",
    ),
]

ObjectKinds = Annotated[str, Parameter(metavar=",".join(get_args(ObjectKind)))]

LayoutOption = Annotated[
    str,
    Parameter(
        metavar="NAME|FILE",
        help=f"Folder layout of the data set: {', '.join(get_args(LayoutName))}, or a .toml file that "
        "describes it.",
    ),
]

Threads = Annotated[
    int | None,
    Parameter(
        metavar="N",
        help="Number of threads to compute with; one for each available processor by default.",
    ),
]


class UsageError(Exception):
    """An option is misspelt, or options contradict each other: exit code 2, as for an unknown option."""


def require_named(name: str, path: str) -> None:
    """Check that a path is not empty: it would stand for the current folder.

    Args:
        name: the option that names the path.
        path: its text on the command line.

    Raises:
        UsageError: it is empty.
    """
    if not path:
        raise UsageError(f"{name} is empty, as from a variable that is not set; give a path.")


def named_path(type_: object, tokens: Sequence[Token]) -> Path:
    """Return a path that a command reads from; a converter of cyclopts.

    Raises:
        UsageError: the path is empty.
    """
    text = tokens[0].value
    require_named(tokens[0].keyword or "the path", text)
    return Path(text)


def local_path(type_: object, tokens: Sequence[Token]) -> Path:
    """Return the path that a command writes to on this machine; a converter of cyclopts.

    Raises:
        UsageError: the path is empty, or an address such as 's3://bucket/results'.
    """
    path = named_path(type_, tokens)
    text = tokens[0].value
    scheme, colon, rest = text.partition(":")
    if colon and re.fullmatch("[A-Za-z][A-Za-z0-9+.-]+", scheme) and rest[:1] in ("", "/"):
        raise UsageError(f"{text}: is not on this machine; give a path. Only predict --on uses buckets.")
    return path


InputFolder = Annotated[Path, Parameter(metavar="DIR", converter=named_path)]

InputFile = Annotated[Path, Parameter(metavar="FILE", converter=named_path)]

DataFolder = Annotated[InputFolder, Parameter(help="Folder that the data set was unpacked to.")]

OutputFolder = Annotated[Path, Parameter(metavar="DIR", converter=local_path)]

OutputFile = Annotated[Path, Parameter(metavar="FILE", converter=local_path)]

RunFolder = Annotated[Path, Parameter(metavar="RUN", converter=local_path)]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class EngineOptions:
    """What computes, for commands that need no GPU."""

    engine: ProcessorEngine | None = None
    """Library that runs the network: ONNX Runtime, or OpenVINO (pip install 'foveate[openvino]'). By default
    OpenVINO if it is installed and the processor has AVX2 or computes in bf16, ONNX Runtime otherwise."""
    precision: ProcessorPrecision | None = None
    """Number type of the network's arithmetic. By default the fastest: with OpenVINO int8 if the model holds
    int8 networks and the processor has AVX2, else bf16 if the processor computes in it, else float32."""
    threads: Threads = None


DEFAULT_ENGINE = EngineOptions()


def parse_codes(text: str | None) -> tuple[str, ...] | None:
    """Parse 'EX,MA' into ('EX', 'MA'); None stays None.

    Raises:
        UsageError: a code is empty.
    """
    if text is None:
        return None
    codes = tuple(part.strip() for part in text.split(","))
    if "" in codes:
        raise UsageError(f"--lesions {text!r}: give codes such as EX,MA.")
    return codes


def parse_thresholds(text: str | None) -> dict[str, float]:
    """Parse 'EX=0.4,MA=0.3' into {'EX': 0.4, 'MA': 0.3}.

    Raises:
        UsageError: a part is not CODE=NUMBER, or a code is repeated.
    """
    thresholds: dict[str, float] = {}
    for part in text.split(",") if text is not None else ():
        code, equals, number = (piece.strip() for piece in part.partition("="))
        if not code or not equals or code in thresholds or not _is_finite_number(number):
            raise UsageError(f"--threshold {text!r}: give each code once, such as EX=0.4,MA=0.3.")
        thresholds[code] = float(number)
    return thresholds


def parse_field(text: str) -> "FieldChoice":
    """Parse 'auto', 'full', or 'ROW,COL,RADIUS' into (row, column, radius) in px of the photograph.

    Raises:
        UsageError: it is none of these.
    """
    if text == "auto":
        return "auto"
    if text == "full":
        return "full"
    numbers = text.split(",")
    if len(numbers) != 3 or not all(_is_finite_number(number) for number in numbers):
        raise UsageError(f"--field {text!r}: give auto, full, or ROW,COL,RADIUS in pixels of the photograph.")
    row, column, radius = (float(number) for number in numbers)
    return row, column, radius


def parse_date(text: str | None) -> str | None:
    """Check '20260131', '20260101-20260131', '20260101-' or '-20260131': DICOM's days and ranges of days.

    Raises:
        UsageError: it is none of these.
    """
    if text is None:
        return None
    days = text.split("-")
    if len(days) > 2 or not any(days) or not all(_is_day(day) for day in days if day):
        raise UsageError(
            f"--date {text!r}: give YYYYMMDD, or YYYYMMDD-YYYYMMDD, of which one may be left out."
        )
    return text


def read_first_line(path: Path) -> str:
    """Return a file's first line: a password or token, which the command line would show to everyone.

    Raises:
        SettingError: the file cannot be read.
    """
    try:
        # editors on Windows begin files with a mark
        with valid_path(path).open(encoding="utf-8-sig") as file:
            return file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: cannot be read ({error}); name a text file") from None


def require_extra(extra: str, purpose: str, *modules: str) -> None:
    """Check that the modules of an optional extra are installed.

    Args:
        extra: name of the extra.
        purpose: what needs it, to begin the message with.
        modules: names of top-level modules that the extra brings.

    Raises:
        SettingError: one is missing.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise SettingError(
                f"{purpose} needs {module}, which is not installed; pip install 'foveate[{extra}]'"
            )


def _is_day(text: str) -> bool:
    try:
        return bool(re.fullmatch(r"\d{8}", text)) and datetime.strptime(text, "%Y%m%d").year > 0
    except ValueError:
        return False


def _is_finite_number(text: str) -> bool:
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False
