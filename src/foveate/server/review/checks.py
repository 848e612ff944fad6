"""Checks of a photograph, a lesion or a mask before it is used.

Knows:   when a request about a result cannot be fulfilled, and which error reports it.
Ignores: what is done afterwards.
"""

from foveate.server import errors
from foveate.server.storage.database import Record


def require_done(record: Record) -> None:
    """Require that a photograph has a result.

    Raises:
        ServiceError: 'not_ready': its prediction failed, or has not ended yet.
    """
    if record.error is not None:
        raise errors.not_ready(f"its prediction failed: {record.error.message}")
    require_ended(record)


def require_ended(record: Record) -> None:
    """Require that a photograph's prediction has ended, whether with a result or not.

    Raises:
        ServiceError: 'not_ready'.
    """
    if record.state in {"queued", "running"}:
        raise errors.not_ready("it has not been analysed yet; wait until its state is done")


def require_grid(*records: Record) -> None:
    """Require that the ETDRS grid was placed on at least one of some photographs.

    Raises:
        ServiceError: 'not_ready'.
    """
    if all(record.grid is None for record in records):
        raise errors.not_ready("no grid was placed; send {'grid': {'fovea': ..., 'disc': ...}} with PATCH")


def require_lesion(record: Record, lesion: str) -> None:
    """Require that a lesion is one of those that the photograph's model detects.

    Raises:
        ServiceError: 'invalid'.
    """
    if lesion not in record.lesions:
        lesions = ", ".join(record.lesions)
        raise errors.invalid(f"lesion is {lesion!r}; the model detects {lesions}")


def require_size(mask: tuple[int, ...], photograph: tuple[int, int]) -> None:
    """Require that a mask has its photograph's size; both are (H, W), px.

    Raises:
        ServiceError: 'invalid'.
    """
    if mask != photograph:
        raise errors.invalid(
            f"the mask has {mask[1]} x {mask[0]} px, the photograph {photograph[1]} x {photograph[0]}; "
            "send a mask of the photograph's size"
        )
