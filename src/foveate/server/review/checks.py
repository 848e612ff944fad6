"""What must hold of a photograph, a lesion or a mask before anything is done with it.

Knows:   when a request about a result makes no sense, and what to answer then.
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
    if record.state != "done":
        raise errors.not_ready("it has not been analysed yet; wait until its state is done")


def require_lesion(record: Record, lesion: str) -> None:
    """Require that the model of a photograph's result knows a lesion.

    Raises:
        ServiceError: 'invalid'.
    """
    if lesion not in record.predicted.lesions:
        lesions = ", ".join(record.predicted.lesions)
        raise errors.invalid(f"lesion {lesion!r} is unknown to the model; it knows {lesions}")


def require_size(mask: tuple[int, ...], photograph: tuple[int, int]) -> None:
    """Require that a mask has its photograph's size; both are (H, W), px.

    Raises:
        ServiceError: 'invalid'.
    """
    if mask != photograph:
        raise errors.invalid(
            f"the mask has {mask[1]} x {mask[0]} px, the photograph {photograph[1]} x {photograph[0]}"
        )
