"""The command line: arguments -> calls -> exit codes.

Knows:   commands, exit codes, and that an error is one line.
Ignores: how anything is done; a library user misses nothing that stands here.

Each command lies in a module of its own and is added to `app` below. What computes is imported inside the
commands, so that `foveate --help` answers at once; nothing else justifies an import that waits.

| exit code | means                                                             |
|-----------|-------------------------------------------------------------------|
| 0         | all well                                                          |
| 1         | some photographs failed, or nothing could be done; stderr says why |
| 2         | the command line makes no sense                                   |
| 130, 143  | interrupted (Ctrl-C), terminated; what was complete is kept       |
"""

import io
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from cyclopts import App, CycloptsError

from foveate.cli.compare import compare
from foveate.cli.data import data
from foveate.cli.dicom import dicom
from foveate.cli.evaluate import evaluate
from foveate.cli.models import models
from foveate.cli.options import UsageError
from foveate.cli.predict import predict
from foveate.cli.serve import serve
from foveate.cli.train import programme, release, train
from foveate.errors import FoveateError
from foveate.version import version

FAILED, USAGE = 1, 2
"""Exit codes. A process ended by a signal has 128 and the signal's number, as shells have it."""

app = App(
    name="foveate",
    help="Find the lesions of diabetic retinopathy in fundus photographs at native resolution. "
    "Research software, not a medical device.",
    version=f"foveate {version()}",
    print_error=False,
    exit_on_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
app.command(predict, usage="Usage: foveate predict PATH... --out DIR [OPTIONS]")
app.command(models)
app.command(evaluate, usage="Usage: foveate evaluate --data DIR --out DIR [OPTIONS]")
app.command(data)
app.command(dicom)
app.command(train)
app.command(release)
app.command(programme)
app.command(compare)
app.command(serve)


class _Terminated(BaseException):
    """SIGTERM: not an error, but the wish of whoever runs us; no `except Exception` may swallow it."""


def main() -> None:
    """Run the command line of this process and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors become one line on stderr."""
    _survive_names()
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        code = app(list(arguments))
    except (CycloptsError, UsageError) as error:
        return _complain(f"{_line(error)} See foveate --help.", USAGE)
    except FoveateError as error:
        return _complain(_line(error), FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted; --resume goes on with a run", 128 + signal.SIGINT)
    except _Terminated:
        return _complain("terminated; --resume goes on with a run", 128 + signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    return code if isinstance(code, int) else 0


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _Terminated


def _complain(line: str, code: int) -> int:
    print(f"foveate: {line}", file=sys.stderr)
    return code


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _survive_names() -> None:
    """Print what a terminal cannot show, as some file names, with escapes rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
