"""The command line: arguments -> calls -> exit codes.

Knows:   exit codes, and that an error is one line.
Ignores: which commands there are (`commands`), and how anything is done; library users do not need it.

| exit code | meaning                                                            |
|-----------|--------------------------------------------------------------------|
| 0         | all is well                                                        |
| 1         | some photographs failed, or nothing could be done; stderr says why |
| 2         | the command line is invalid                                        |
| 130, 143  | interrupted (Ctrl-C), terminated; what was complete is kept        |
"""

import gc
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from cyclopts import CycloptsError, MissingArgumentError

from foveate.cli.commands import app
from foveate.cli.options import UsageError
from foveate.cli.output import forgiving_streams, open_standard_descriptors
from foveate.concurrency import limit_arenas
from foveate.errors import FoveateError, is_out_of_memory

FAILED, USAGE = 1, 2
"""Exit codes. A process that a signal ends has 128 plus the signal's number, as in shells."""


RESUMABLE = ("predict", "train")
"""Commands with an option --resume; others start anew, or continue without it."""


class _Terminated(BaseException):
    """SIGTERM arrived. Not an Exception, so that no `except Exception` swallows it."""


def main() -> None:
    """Run the command line of this process and exit with its exit code."""
    open_standard_descriptors()
    limit_arenas()
    code = run(sys.argv[1:])
    gc.freeze()  # otherwise a last collection visits all objects: seconds on a busy machine
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; an error becomes one line on stderr."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        with forgiving_streams():
            return _run(arguments)
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: Sequence[str]) -> int:
    try:
        code = app(list(arguments))
    except (CycloptsError, UsageError) as error:
        return _fail(f"{_usage_line(error)} See {_command(arguments)} --help.", USAGE)
    except FoveateError as error:
        return _fail(_single_line(error), FAILED)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return _fail("not enough memory; free some, or use fewer workers or smaller photographs", FAILED)
    except KeyboardInterrupt:
        return _fail(f"interrupted{_remedy(arguments)}", 128 + signal.SIGINT)
    except _Terminated:
        return _fail(f"terminated{_remedy(arguments)}", 128 + signal.SIGTERM)
    return code if isinstance(code, int) else 0


def _usage_line(error: CycloptsError | UsageError) -> str:
    """Return one line about a misspelt command line."""
    if isinstance(error, MissingArgumentError) and error.argument is not None and error.keyword is None:
        return f"{' '.join(error.command_chain or ())}: {error.argument.name} is missing."
    return _single_line(error)


def _command(arguments: Sequence[str]) -> str:
    """Return the command that a command line names, such as 'foveate dicom pull'."""
    words, command = ["foveate"], app
    for word in arguments:
        if word.startswith("-") or word not in command:
            break
        words.append(word)
        command = command[word]
    return " ".join(words)


def _remedy(arguments: Sequence[str]) -> str:
    """Return how a command that was stopped is continued, for those that can be."""
    return "; continue a run with --resume" if arguments and arguments[0] in RESUMABLE else ""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _Terminated


def _fail(line: str, code: int) -> int:
    print(f"foveate: {line}", file=sys.stderr)
    return code


def _single_line(error: Exception) -> str:
    return " ".join(str(error).split())
