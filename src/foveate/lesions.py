"""The vocabulary: which lesions there are, what they are called and how they are drawn.

Knows:   codes, names, colours.
Ignores: how a lesion is found, and which model knows which.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from foveate.errors import LesionError


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesion:
    """One kind of lesion."""

    code: str
    """Two to eight capitals, as in file names and tables: 'EX'."""
    name: str
    """What a clinician calls it, in lower case."""
    colour: tuple[int, int, int]
    """sRGB, 0 to 255, from the palette of Okabe and Ito (2008): told apart by colour-blind readers."""


EX = Lesion(code="EX", name="hard exudates", colour=(240, 228, 66))
MA = Lesion(code="MA", name="microaneurysms", colour=(86, 180, 233))
HE = Lesion(code="HE", name="haemorrhages", colour=(0, 158, 115))
SE = Lesion(code="SE", name="soft exudates", colour=(255, 255, 255))

RETINOPATHY = (EX, MA, HE, SE)
"""The paper's four lesions in the order of its Table 1 (Yan et al., ISBI 2019)."""

SPARE_COLOURS = ((204, 121, 167), (213, 94, 0), (0, 114, 178), (230, 159, 0))
"""The rest of the palette, for lesions that a model brings along and we have no name for."""


def of(codes: Sequence[str]) -> tuple[Lesion, ...]:
    """Return the lesion for each code; a code that we have no name for is named by its code.

    Raises:
        LesionError: a code is empty, repeated, or holds other letters than A-Z and digits.
    """
    known = {lesion.code: lesion for lesion in RETINOPATHY}
    spare = iter(SPARE_COLOURS * len(codes))
    found = []
    for code in codes:
        if not (code.isascii() and code.isalnum() and code.isupper()) or codes.count(code) > 1:
            raise LesionError(f"lesion code {code!r} in {list(codes)}: use each code once, in capitals")
        if code not in known:
            known[code] = Lesion(code=code, name=code, colour=next(spare))
        found.append(known[code])
    return tuple(found)


def chosen(wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the wanted codes in the model's order.

    Raises:
        LesionError: a wanted code is not among the known ones.
    """
    for code in wanted:
        if code not in known:
            raise LesionError(f"lesion {code!r} is unknown to this model; it knows {', '.join(known)}")
    return tuple(code for code in known if code in wanted)
