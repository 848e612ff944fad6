"""Every error that Foveate raises on purpose.

Knows:   what can go wrong, as one tree.
Ignores: where it goes wrong, and who shows it.

Each message is one line: what was wrong (with both values), where, and what to do about it.

FoveateError
├── PhotographError        a file is no photograph that can be read
├── FieldError             no field of view, or one that makes no sense
├── GeometryError          windows, views or maps that do not fit together
├── PackageError           a model package is missing, altered or of another format
├── LesionError            a lesion code that nobody defined
├── SettingError           an option or recipe value outside its range
├── OutputError            results cannot be written
├── ArchiveError           a DICOM archive refuses
├── ArchiveAwayError       a DICOM archive does not answer
├── DatasetError           a set of photographs and masks does not lie as its layout says
├── TrainingError          a run cannot start, go on, or resume
├── ExportError            a trained network and its package disagree
├── ServerError            a Foveate server refuses, or cannot be reached
└── ClusterError           a cluster or a bucket cannot be reached, or its workers do not fit
"""


class FoveateError(Exception):
    """Base of all errors raised on purpose; the command line prints its message and exits with 1."""


class PhotographError(FoveateError):
    """A file is no photograph that can be read: empty, truncated, too large, of an unknown kind."""


class FieldError(FoveateError):
    """No round field of view was found, or the one given does not touch the photograph."""


class GeometryError(FoveateError):
    """Windows, views or maps do not fit together."""


class PackageError(FoveateError):
    """A model package is missing, altered, or written for another version."""


class LesionError(FoveateError):
    """A lesion code is unknown to the vocabulary or to the model."""


class SettingError(FoveateError):
    """A setting has a value outside its range, or two settings contradict each other."""


class OutputError(FoveateError):
    """Results cannot be written: no permission, no space, or the place is taken."""


class ArchiveError(FoveateError):
    """A DICOM archive refuses: another password, no room, no such service, nothing to store."""


class ArchiveAwayError(FoveateError):
    """A DICOM archive does not answer now; it may later."""


class DatasetError(FoveateError):
    """A set of photographs and masks does not lie on disk as its layout says."""


class TrainingError(FoveateError):
    """A training run cannot start, go on, or resume."""


class ExportError(FoveateError):
    """A trained network and the package made from it disagree."""


class ServerError(FoveateError):
    """A Foveate server refuses what a client asks of it, or cannot be reached."""

    def __init__(self, line: str, *, status: int = 0, code: str = "", retry_after: float = 1.0) -> None:
        super().__init__(line)
        self.status = status
        """Of HTTP; 0 where there was no answer."""
        self.code = code
        """As docs/http-api.md lists them."""
        self.retry_after = retry_after
        """Seconds after which to try again, where that makes sense."""


class ClusterError(FoveateError):
    """A cluster or a bucket cannot be reached, or the workers there do not fit what is asked for."""
