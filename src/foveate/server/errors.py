"""Errors of the server: each has a code for programs and one line of text for people.

Knows:   the codes, and after how many seconds another attempt may succeed.
Ignores: HTTP; `http.errors` says which status a code has.
"""

from foveate.errors import FoveateError

CRASHED = "an error in Foveate itself; see the server's log"
BELOW_THRESHOLD = "the threshold may have been raised, or the region erased, meanwhile"
"""Why there is no region where a client has seen one."""


class ServiceError(FoveateError):
    """The server cannot fulfil a request."""

    def __init__(self, code: str, message: str, *, retry_after: int | None = None) -> None:
        """Store the code, the one-line message, and the seconds after which to try again, if that helps."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after


def not_found(what: str, advice: str = "it may have been deleted, or have expired") -> ServiceError:
    """Return the error for something that does not exist, or no longer exists."""
    return ServiceError("not_found", f"no such {what}; {advice}")


def not_ready(message: str) -> ServiceError:
    """Return the error for something that does not exist yet."""
    return ServiceError("not_ready", message)


def invalid(message: str) -> ServiceError:
    """Return the error for a value outside its range."""
    return ServiceError("invalid", message)


def queue_full(waiting: int, seconds: int) -> ServiceError:
    """Return the error for a full queue."""
    line = f"the queue is full with {waiting} photographs; try again in {seconds} s"
    return ServiceError("queue_full", line, retry_after=seconds)


def busy(what: str, seconds: int = 2) -> ServiceError:
    """Return the error for too many simultaneous requests of one type."""
    return ServiceError("busy", f"too many {what} at once; try again in {seconds} s", retry_after=seconds)


def no_worker() -> ServiceError:
    """Return the error for a worker that was lost and cannot be replaced now."""
    line = (
        "the server cannot start the process that reads and writes files; try again in 5 s, and see its log"
    )
    return ServiceError("busy", line, retry_after=5)


def stopping() -> ServiceError:
    """Return the error of a server that is stopping."""
    return ServiceError("stopping", "the server is stopping; try again later", retry_after=5)


def internal() -> ServiceError:
    """Return the error for a bug. Only the log says where it occurred: a message might contain a name."""
    return ServiceError("internal", CRASHED)


def no_space() -> ServiceError:
    """Return the error for a full disk or a used-up quota."""
    return ServiceError("no_space", "the server's disk is full; delete photographs, or ask for more space")


def storage(reason: str) -> ServiceError:
    """Return the error for a failure of the disk or the database that is not a lack of space."""
    line = f"the server cannot use its data folder ({reason}); ask the person who runs the server"
    return ServiceError("storage", line)
