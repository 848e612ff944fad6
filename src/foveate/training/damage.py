"""Say in one line that a file of a run is missing or damaged, and what to do about it.

Knows:   which errors say so, and that others say that memory ran out.
Ignores: what the files hold.
"""

import pickle
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from foveate.errors import TrainingError, is_out_of_memory, one_line
from foveate.paths import display_path

DAMAGED = (
    *(OSError, ValueError, EOFError, KeyError, RuntimeError),
    *(pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, SafetensorError),
)
"""What NumPy, torch, safetensors and JSON raise on files that are missing, altered or copied in part."""

MAKE_AGAIN = "delete it and start again"
"""What to do about files that a run makes again if they are missing."""

COPY_AGAIN = "copy the run again, or choose another --out"
"""What to do about files that cannot be made again."""

LONGEST_REASON = 200
"""Most characters of a library's own words: some errors fill pages."""


@contextmanager
def damage_errors(path: Path, remedy: str) -> Iterator[None]:
    """Turn the errors of missing and damaged files into a TrainingError of one line.

    Errors that say that memory ran out are raised as they are.

    Args:
        path: the file, or the folder of several, for the message.
        remedy: what to do about it: `MAKE_AGAIN` or `COPY_AGAIN`.

    Raises:
        TrainingError: a file cannot be read.
    """
    try:
        yield
    except DAMAGED as error:
        if is_out_of_memory(error):
            raise
        reason = one_line(error, LONGEST_REASON)
        raise TrainingError(f"{display_path(path)}: cannot be read ({reason}); {remedy}") from error
