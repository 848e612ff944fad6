"""The errors that Foveate raises on purpose, and how to read those of libraries.

Knows:   what can go wrong, as one tree; what an error says in one line, and whether memory ran out.
Ignores: where it goes wrong, and how it is shown.

Each message is one line: what was wrong (with both values), where, and what to do about it.

FoveateError
├── PhotographError        a file cannot be read as a photograph
├── FieldError             no field of view is found, or the given one is invalid
├── GeometryError          windows, views or maps do not fit together
├── PackageError           a model package is missing, altered, or of another format
├── LesionError            a lesion code is unknown
├── SettingError           an option or a recipe value is outside its range
├── OutputError            results cannot be written
├── ArchiveError           a DICOM archive refuses a request
├── ArchiveAwayError       a DICOM archive does not answer
├── ArchiveObjectError     a DICOM archive refuses or damages one object
├── DatasetError           a data set does not match its layout
├── TrainingError          a training run cannot start, continue or resume
├── ExportError            a trained network and its package give different results
├── ServerError            a Foveate server refuses a request, or cannot be reached
└── ClusterError           a cluster or a bucket cannot be reached, or its workers are unsuitable
"""

import errno
import re

_OUT_OF_MEMORY = re.compile(
    "bad_alloc|allocate memory|unable to allocate|insufficient memory|not enough memory|out of memory",
    re.IGNORECASE,
)
"""What libraries say when memory ran out: C++, ONNX Runtime, OpenCV, PyTorch on the CPU, CUDA, NumPy."""


class FoveateError(Exception):
    """Base of all errors raised on purpose; the command line prints its message and exits with 1."""


class PhotographError(FoveateError):
    """A file cannot be read as a photograph: it is empty, truncated, too large or of an unknown type."""


class FieldError(FoveateError):
    """No round field of view is found, or the given one lies outside the photograph."""


class GeometryError(FoveateError):
    """Windows, views or maps do not fit together."""


class PackageError(FoveateError):
    """A model package is missing, altered, or written for another version."""


class LesionError(FoveateError):
    """A lesion code is invalid, or unknown to the model."""


class SettingError(FoveateError):
    """A setting has a value outside its range, or two settings contradict each other."""


class OutputError(FoveateError):
    """Results cannot be written: no permission, no space, or the path exists already."""

    def __init__(self, line: str, *, errno: int | None = None) -> None:
        super().__init__(line)
        self.errno = errno
        """The operating system's error number; None if the error has another cause."""


class ArchiveError(FoveateError):
    """A DICOM archive refuses a request: wrong password, no space, no such service, nothing to store."""


class ArchiveAwayError(FoveateError):
    """A DICOM archive does not answer; a later attempt may succeed."""


class ArchiveObjectError(FoveateError):
    """A DICOM archive refuses or damages one object, such as one with an invalid UID; others may succeed."""

    def __init__(self, line: str, *, may_pass: bool = False) -> None:
        super().__init__(line)
        self.may_pass = may_pass
        """Whether a later attempt may succeed, such as when the archive is still storing the object."""


class DatasetError(FoveateError):
    """The files of a data set do not match its layout."""


class TrainingError(FoveateError):
    """A training run cannot start, continue or resume."""


class ExportError(FoveateError):
    """A trained network and the package made from it give different results."""


class ServerError(FoveateError):
    """A Foveate server refuses a request, or cannot be reached."""

    def __init__(self, line: str, *, status: int = 0, code: str = "", retry_after: float = 1.0) -> None:
        super().__init__(line)
        self.status = status
        """HTTP status code; 0 where there was no answer."""
        self.code = code
        """Error code, as listed in docs/http-api.md."""
        self.retry_after = retry_after
        """Seconds after which to try again, where another attempt may succeed."""


class ClusterError(FoveateError):
    """A cluster or a bucket cannot be reached, or its workers do not meet the requirements."""


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error says that memory ran out, on the machine or its GPU.

    Engines, OpenCV and Pillow raise errors of their own instead of MemoryError; they are told by their words.
    """
    if isinstance(error, FoveateError):  # it may quote anything
        return False
    if isinstance(error, OSError) and error.errno is not None:  # Pillow's codecs give no number
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)) is not None


def raise_if_out_of_memory(error: Exception) -> None:
    """Raise MemoryError if an error of any type says that memory ran out.

    For handlers that would call a file damaged, or a disk full. An OSError raised as it is would be taken for
    one of the disk by callers.
    """
    if is_out_of_memory(error):
        raise MemoryError(str(error)) from error


def one_line(error: BaseException, longest: int | None = None) -> str:
    """Return what an error says, for a message of one line; the name of its type if it says nothing.

    Args:
        error: any error.
        longest: number of characters after which the text is cut; None for all of it.
    """
    return " ".join(str(error).split())[:longest] or type(error).__name__
