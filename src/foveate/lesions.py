"""The lesions: their codes, names and colours.

Knows:   codes, names, colours.
Ignores: how a lesion is segmented, and which lesions a model segments.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from foveate.errors import LesionError


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesion:
    """A type of lesion."""

    code: str
    """Capitals and digits, as in file names and tables: 'EX'."""
    name: str
    """Name that clinicians use, in lower case."""
    colour: tuple[int, int, int]
    """sRGB, 0 to 255, from the palette of Okabe and Ito (2008), which colour-blind readers can
    distinguish."""


EX = Lesion(code="EX", name="hard exudates", colour=(240, 228, 66))
MA = Lesion(code="MA", name="microaneurysms", colour=(86, 180, 233))
HE = Lesion(code="HE", name="haemorrhages", colour=(0, 158, 115))
SE = Lesion(code="SE", name="soft exudates", colour=(255, 255, 255))

RETINOPATHY = (EX, MA, HE, SE)
"""The paper's four lesions, in the order of its Table 1 (Yan et al., ISBI 2019)."""

KNOWN = RETINOPATHY
"""Every lesion with a name and colour of its own, by whatever set or model. What a set was annotated for is
stated in its layout (`datasets.layouts`), so that a lesion added here is not taken for absent there."""

SPARE_COLOURS = ((204, 121, 167), (213, 94, 0), (0, 114, 178), (230, 159, 0))
"""The rest of the palette, for the other lesions of a model."""


def of(codes: Sequence[str]) -> tuple[Lesion, ...]:
    """Return the lesion of each code; an unknown lesion gets its code as its name, and a spare colour.

    Raises:
        LesionError: a code is empty, repeated, or holds other letters than A-Z and digits.
    """
    by_code = {lesion.code: lesion for lesion in KNOWN}
    spare = iter(SPARE_COLOURS * len(codes))
    result = []
    for code in codes:
        if not (code.isascii() and code.isalnum() and code.isupper()) or codes.count(code) > 1:
            raise LesionError(f"lesion code {code!r} in {list(codes)}: use each code once, in capitals")
        if code not in by_code:
            by_code[code] = Lesion(code=code, name=code, colour=next(spare))
        result.append(by_code[code])
    return tuple(result)


def select(codes: Sequence[str], available: Sequence[str]) -> tuple[str, ...]:
    """Return some of a model's codes, in the model's order.

    Args:
        codes: the codes to select.
        available: all codes of the model.

    Raises:
        LesionError: the model does not have one of the codes.
    """
    for code in codes:
        if code not in available:
            raise LesionError(f"lesion {code!r} is unknown to this model; it knows {', '.join(available)}")
    return tuple(code for code in available if code in codes)
