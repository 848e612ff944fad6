"""The beginning of an adjudication: the masks of the graders become the photograph's own corrections.

Knows:   which masks an adjudicator begins with.
Ignores: HTTP, who may adjudicate (`gradings`), and how masks are stored (`corrections`).
"""

from collections.abc import Mapping, Sequence

from foveate.server.review.corrections import Corrections
from foveate.server.review.gradings import GradedCopies, Gradings, Mask, Store, starting_mask
from foveate.server.storage.database import Record
from foveate.server.storage.gradings import Grading


def begin(
    record: Record, adjudicator: str, source: str, *, gradings: Gradings, corrections: Corrections
) -> None:
    """Begin the adjudication of a photograph's gradings, in its own corrections.

    Args:
        record: the photograph, which is done; the caller holds the lock of its journal.
        adjudicator: name of the person who decides.
        source: the masks to begin with: 'agreed', 'either', 'model', or 'grader:NAME'.
        gradings: the gradings of all photographs.
        corrections: the corrections of all photographs; they are changed.

    Raises:
        ServiceError: as `Gradings.adjudicate`, or there is no such source.
    """

    def apply(graded: Sequence[Grading], store: Store) -> None:
        masks = _starting_masks(gradings.copies(record, graded), source, corrections)
        corrections.replace_masks(record.id, masks, adjudicator, store)

    gradings.adjudicate(record, adjudicator, source, apply)


def _starting_masks(graded: GradedCopies, source: str, corrections: Corrections) -> Mapping[str, Mask]:
    """Return lesion -> the mask that an adjudicator begins with."""
    record = graded.record
    if source == "model":
        return {lesion: corrections.model_mask(record, lesion) for lesion in record.lesions}
    return {
        lesion: starting_mask({name: corrections.mask(copy, lesion) for name, copy in graded.copies}, source)
        for lesion in record.lesions
    }
