"""Errors of the disk and of the database as errors of the server.

Knows:   the error numbers of the operating system and of SQLite, and which error reports each of them.
Ignores: what was to be read or written, and HTTP.
"""

import errno
import os
import sqlite3

from foveate import atomic_files
from foveate.errors import OutputError
from foveate.server import errors
from foveate.server.errors import ServiceError
from foveate.server.storage.data_dir import DataDir

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""The disk is full, or the quota of whoever runs the server is used up."""

OPEN_FILES = frozenset({errno.EMFILE, errno.ENFILE})
"""Too many files are open at the moment."""


def disk_error(error: OSError | OutputError) -> ServiceError:
    """Return the error that reports a failed operation on a file.

    Returns:
        'no_space' (full disk or quota), 'busy' (too many open files), or 'storage' with the system's message.
    """
    number = error.errno
    if number in FULL:
        return errors.no_space()
    if number in OPEN_FILES:
        return errors.busy("open files")
    return errors.storage("a file cannot be read or written" if number is None else os.strerror(number))


def database_error(error: sqlite3.Error, data_dir: DataDir) -> ServiceError:
    """Return the error that reports a failed operation of the database.

    SQLite reports a used-up quota, and some writes to a full disk, as an input/output error without a cause.
    A file that is written beside the database then fails with the actual cause.

    Returns:
        As `disk_error`; 'busy' if another program holds the database; 'not_found' if what a new row
        belongs to was deleted since the request began.
    """
    if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
        return errors.not_found("photograph or batch")
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code; the rest is detail
    if code == sqlite3.SQLITE_FULL:
        return errors.no_space()
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:  # such as a backup
        line = "another program uses the server's database; try again in 2 s"
        return ServiceError("busy", line, retry_after=2)
    if code == sqlite3.SQLITE_IOERR:
        try:
            atomic_files.require_writable(data_dir.incoming)
        except OutputError as cause:
            return disk_error(cause)
    return errors.storage(str(error))
