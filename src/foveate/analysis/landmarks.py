"""Find the optic disc and the fovea of a photograph.

Knows:   that the fovea is placed relative to the disc.
Ignores: how each is detected.
"""

from dataclasses import dataclass

from foveate.analysis import fovea, optic_disc, retinal_view
from foveate.analysis.fovea import Fovea
from foveate.analysis.optic_disc import OpticDisc
from foveate.types import Field, Laterality, Photograph


@dataclass(frozen=True, kw_only=True, slots=True)
class Landmarks:
    """The landmarks that the program placed in a photograph; a person should check them."""

    disc: OpticDisc | None
    """None where no place stands out."""
    fovea: Fovea | None
    """None without a disc, or where the fovea's usual place lies outside the field."""


def find(photograph: Photograph, field: Field) -> Landmarks:
    """Find the optic disc and the fovea.

    If a DICOM header states which eye it is, the fovea is searched for only on that eye's temporal side of
    the disc.
    """
    view = retinal_view.make(photograph.pixels, field)
    disc = optic_disc.find(view)
    if disc is None:
        return Landmarks(disc=None, fovea=None)
    stated: Laterality | None = photograph.origin.laterality if photograph.origin else None
    return Landmarks(disc=disc, fovea=fovea.find(view, disc, stated))
