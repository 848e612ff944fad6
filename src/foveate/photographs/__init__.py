"""Bytes -> Photograph: JPEG, PNG, TIFF and DICOM; whatever is no colour photograph is refused by name.

Knows:   file formats, their pixels, EXIF orientation, and which files below a folder are photographs.
Ignores: what the picture shows, and who asks.

The content decides the format, never the ending: a PNG named `.jpg` is read as the PNG it is.

| in the file                         | what becomes of it                                               |
|-------------------------------------|------------------------------------------------------------------|
| 8-bit RGB                           | as it is                                                         |
| 16-bit RGB (PNG, TIFF)              | level / 65535 x 255, rounded to the nearest                      |
| palette                             | looked up: exact                                                 |
| transparency, 8-bit                 | laid on black, as the camera's surround; if opaque, as it is     |
| EXIF orientation, all eight         | applied; EXIF that is broken counts as upright, as viewers do    |
| ICC profile, gamma                  | ignored: networks are trained on the levels as stored            |
| resolution in dots per inch         | ignored: it speaks of paper, not of the retina; spacing is None  |
| grey, 1-bit, three equal colours    | refused: infrared or red-free; colour tells lesions apart        |
| CMYK, stored YCbCr, CIELAB          | refused: prepared for print; the way back would be a guess       |
| 16-bit with transparency, in planes | refused: no reader here is known to be right about them          |
| several pages, animation            | refused: which one is meant is the sender's to say               |
| raw, with a reduced copy first      | refused: the copy is no photograph                               |
| a side under 256 px, or too large   | refused by the header, before anything is decoded                |
| damaged, or the end missing         | refused                                                          |

Of a JPEG with several pictures (MPO: a preview beside the photograph) the first is read. What becomes of
DICOM stands in `_dicom`.

Shape letters: H W photograph.
"""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from foveate.errors import PhotographError
from foveate.photographs._decoding import SMALLEST_SIDE, decode, require_colours, require_size
from foveate.photographs._extra import TAKEN, dicom
from foveate.photographs._files import opened, said
from foveate.photographs._sources import SUFFIXES, Source, Sources, sources
from foveate.types import Photograph

__all__ = [
    "LIMIT_PIXELS",
    "SMALLEST_SIDE",
    "SUFFIXES",
    "TAKEN",
    "Source",
    "Sources",
    "from_array",
    "read",
    "sources",
]

LIMIT_PIXELS = 120_000_000
"""Largest photograph read unless the caller says otherwise, px: cameras sold as 100-megapixel ones make up to
105 million. Reading 100 million takes 0.8 GB at its peak, 1.6 GB where they have 16 bits."""


def read(path: Path | str, *, frame: int | None = None, limit: int = LIMIT_PIXELS) -> Photograph:
    """Read one photograph as its viewer shows it.

    Args:
        path: of a JPEG, PNG, TIFF or DICOM file, whatever its ending.
        frame: which photograph of a DICOM object that holds several, from 1.
        limit: most pixels (rows times columns) that are decoded.

    Returns:
        The photograph; its pixels cannot be written to, its digest is the file's. Spacing and origin are None
        but for DICOM.

    Raises:
        PhotographError: the file cannot be opened, is no photograph, or is refused by the table above; one
            line that names the file and the mend.

    Source: the rules are our choice; orientation is Exif 2.32 (CIPA DC-008), tag 0x0112.
    """
    path = Path(path)
    with opened(path) as (file, form):
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if form == "DICOM":
            taken = dicom(said(path)).decode(file, said(path), limit, frame)
            return Photograph(
                pixels=taken.pixels,
                source=str(path),
                digest=digest,
                spacing=taken.spacing,
                origin=taken.origin,
            )
        if frame is not None:
            raise PhotographError(f"{said(path)}: has no frame {frame}; only DICOM objects hold several")
        pixels = decode(file, form, said(path), limit)
    return Photograph(pixels=pixels, source=str(path), digest=digest)


def from_array(
    pixels: Shaped[np.ndarray, "..."], *, source: str = "array", spacing: float | None = None
) -> Photograph:
    """Take pixels that the caller has already decoded.

    Args:
        pixels: UInt8 'H W 3', sRGB levels, upright; copied.
        source: a name for messages and tables.
        spacing: millimetres on the retina that one pixel spans, where known.

    Returns:
        The photograph; its digest is that of 'H W' and the pixels' bytes.

    Raises:
        PhotographError: other shape or type, a side below 256 px, no colour, or a spacing that is no length.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise PhotographError(
            f"{source}: {pixels.dtype} pixels of shape {pixels.shape}; give uint8 levels, rows x columns x 3"
        )
    height, width, _ = pixels.shape
    require_size((height, width), source)
    if spacing is not None and not 0 < spacing < np.inf:
        raise PhotographError(f"{source}: a pixel spans {spacing} mm; give a length above 0, or None")
    own = np.array(pixels, order="C")
    require_colours(own, source)
    own.flags.writeable = False
    digest = hashlib.sha256(f"{height} {width}\n".encode())
    digest.update(own.data)
    return Photograph(pixels=own, source=source, digest=digest.hexdigest(), spacing=spacing)
