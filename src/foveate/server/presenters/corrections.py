"""Corrections and reference masks -> bodies of the API.

Knows:   which parts of an edit are shown.
Ignores: what an edit does.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int64

from foveate.server import schemas
from foveate.server.presenters.findings import rectangle
from foveate.server.review.corrections import CorrectedCounts, CorrectionState
from foveate.server.review.edits import EditResult
from foveate.server.review.references import ReferenceMask
from foveate.server.storage.database import Record
from foveate.server.storage.journal import Edit
from foveate.timestamps import utc_timestamp_of


def state(state: CorrectionState, edit: EditResult | None = None) -> schemas.CorrectionState:
    """Return the state of a photograph's corrections, after an edit with the box of the changed pixels."""
    edits = state.edits
    return schemas.CorrectionState(
        revision=state.revision,
        can_undo=bool(edits),
        can_redo=state.can_redo,
        edits=len(edits),
        changed=None if edit is None else _changed(edit),
        lesions={lesion: _lesion(counts) for lesion, counts in state.lesions.items()},
        verdicts=[_verdict(verdict) for verdict in state.verdicts],
        authors=sorted({edit.author for edit in edits}),
        last_edit=utc_timestamp_of(edits[-1].time) if edits else None,
    )


def _changed(edit: EditResult) -> schemas.ChangedBox | None:
    if edit.box is None or edit.lesion is None:
        return None
    return schemas.ChangedBox(lesion=edit.lesion, **rectangle(edit.box).model_dump())


def _lesion(counts: CorrectedCounts) -> schemas.CorrectedLesion:
    return schemas.CorrectedLesion(
        added_px=counts.added_px,
        erased_px=counts.erased_px,
        level=counts.current.level,
        count=counts.current.count,
        area_px=counts.current.area_px,
        mask_px=counts.current.mask_px,
    )


def _verdict(edit: Edit) -> schemas.GivenVerdict:
    return schemas.GivenVerdict(
        lesion=edit.lesion,
        level=edit.verdict.level,
        x=edit.verdict.x,
        y=edit.verdict.y,
        verdict=edit.verdict.verdict,
        note=edit.verdict.note,
        author=edit.author,
        time=utc_timestamp_of(edit.time),
    )


def references(listed: Mapping[str, Mapping[str, ReferenceMask]]) -> schemas.ReferencesBody:
    """Return the reference masks of a photograph, given as name -> lesion -> its size."""
    return schemas.ReferencesBody(
        references=[
            schemas.Reference(
                name=name,
                lesions={
                    lesion: schemas.ReferenceLesion(mask_px=size.mask_px, regions=size.regions)
                    for lesion, size in sizes.items()
                },
            )
            for name, sizes in listed.items()
        ]
    )


def agreement(
    record: Record,
    lesions: Mapping[
        str, tuple[Int64[np.ndarray, " 256"], Int64[np.ndarray, " 256"], Int64[np.ndarray, " 256"]]
    ],
) -> schemas.Agreement:
    """Return the agreement of each lesion with a mask, as `References.agreement` gives it."""
    return schemas.Agreement(
        revision=record.revision,
        lesions={
            lesion: schemas.LesionAgreement(
                true_px=true.tolist(), false_px=false.tolist(), missed_px=missed.tolist()
            )
            for lesion, (true, false, missed) in lesions.items()
        },
    )
