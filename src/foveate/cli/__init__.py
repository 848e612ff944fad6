"""The command line: arguments -> calls -> exit codes.

Knows:   exit codes, and that an error is one line.
Ignores: which commands there are (`commands`), and how anything is done; library users do not need it.

| exit code | meaning                                                            |
|-----------|--------------------------------------------------------------------|
| 0         | all is well                                                        |
| 1         | some photographs failed, nothing could be done, or stdout could    |
|           | not be written; stderr says why                                    |
| 2         | the command line is invalid                                        |
| 130, 143, | interrupted (Ctrl-C), terminated, the terminal was closed; what    |
| 129       | was complete is kept                                               |
"""

import gc
import signal
import sys
from collections.abc import Sequence

from cyclopts import CycloptsError, MissingArgumentError

from foveate.cli.commands import app
from foveate.cli.options import UsageError
from foveate.cli.output import forgiving_streams, open_standard_descriptors
from foveate.cli.signals import SignalHandler, Terminated
from foveate.concurrency import limit_arenas
from foveate.errors import FoveateError, is_out_of_memory

FAILED, USAGE = 1, 2
"""Exit codes. A process that a signal ends has 128 plus the signal's number, as in shells."""


RESUMABLE = ("predict", "train")
"""Commands with an option --resume; others start anew, or continue without it."""


def main() -> None:
    """Run the command line of this process and exit with its exit code."""
    open_standard_descriptors()
    limit_arenas()
    handler = SignalHandler()
    handler.install()
    code = _run(sys.argv[1:], handler)
    gc.freeze()  # otherwise a last collection visits all objects: seconds on a busy machine
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; an error becomes one line on stderr."""
    handler = SignalHandler()
    with handler.installed():
        return _run(arguments, handler)


def _run(arguments: Sequence[str], handler: SignalHandler) -> int:
    """Run one command line; return its exit code, or `FAILED` instead of 0 if some of its output was lost."""
    with forgiving_streams() as stdout:
        code = _run_command(arguments, handler)
        stdout.flush()
        if stdout.loss is None:
            return code
        reason = stdout.loss.strerror or type(stdout.loss).__name__
        line = f"standard output cannot be written ({reason}); free some space, or send it elsewhere"
        return _fail(line, code or FAILED)


def _run_command(arguments: Sequence[str], handler: SignalHandler) -> int:
    """Run one command line, and return its exit code; signals do not disturb what follows."""
    try:
        code = app(list(arguments))
    except (CycloptsError, UsageError) as error:
        return _fail(f"{_usage_line(error)} See {_command(arguments)} --help.", USAGE)
    except FoveateError as error:
        return _fail(_single_line(error), FAILED)
    except Exception as error:
        if handler.received is not None:  # a library that was being imported made another error of it
            return _stopped(arguments, handler.received)
        if not is_out_of_memory(error):
            raise
        return _fail("not enough memory; free some, or use fewer workers or smaller photographs", FAILED)
    except (KeyboardInterrupt, Terminated):
        return _stopped(arguments, handler.received or signal.SIGINT)
    finally:
        handler.ignore_further()
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


def _stopped(arguments: Sequence[str], number: int) -> int:
    """Print that a signal has ended the command, and return its exit code."""
    word = "interrupted" if number == signal.SIGINT else "terminated"
    return _fail(f"{word}{_remedy(arguments)}", 128 + number)


def _remedy(arguments: Sequence[str]) -> str:
    """Return how a command that was stopped is continued, for those that can be."""
    return "; continue a run with --resume" if arguments and arguments[0] in RESUMABLE else ""


def _fail(line: str, code: int) -> int:
    print(f"foveate: {line}", file=sys.stderr)
    return code


def _single_line(error: Exception) -> str:
    return " ".join(str(error).split())
