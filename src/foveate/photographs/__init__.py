"""Read photographs: JPEG, PNG, TIFF and DICOM; anything but a colour photograph is refused with a reason.

Knows:   file formats, their pixels, EXIF orientation, and which files below a folder are photographs.
Ignores: what the picture shows.

The content of a file decides its format, not its suffix: a PNG named `.jpg` is read as a PNG.

| in the file                         | result                                                           |
|-------------------------------------|------------------------------------------------------------------|
| 8-bit RGB                           | unchanged                                                        |
| 16-bit RGB (PNG, TIFF)              | level / 65535 x 255, rounded to the nearest                      |
| 16-bit, highest level below 16384   | refused: 14 bits or fewer, which would be nearly black           |
| palette                             | looked up: exact                                                 |
| transparency, 8-bit                 | blended on black, the camera's surround; if opaque, unchanged    |
| EXIF orientation, all eight         | applied; broken EXIF counts as upright, as in viewers            |
| ICC profile, gamma                  | ignored: networks are trained on the levels as stored            |
| resolution in dots per inch         | ignored: it is for paper, not for the retina; spacing is None    |
| grey, 1-bit, three equal colours,   | refused: infrared or red-free; lesions differ by colour          |
| two empty channels                  |                                                                  |
| CMYK, stored YCbCr, CIELAB          | refused: prepared for print; conversion to RGB would be a guess  |
| 16-bit with transparency, in planes | refused: no decoder is known to be correct for them              |
| several pages, animation            | refused: the sender must choose one                              |
| raw, with a reduced copy first      | refused: the copy is no photograph                               |
| a side under 256 px, or too large   | refused by the header, before decoding                           |
| damaged, or the end missing         | refused                                                          |

Of a JPEG with several pictures (MPO: a preview beside the photograph) the first is read. The rules for DICOM
are in `_dicom`.

Shape letters: H W photograph.
"""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from foveate.errors import PhotographError
from foveate.paths import display_path
from foveate.photographs._decoding import (
    SMALLEST_SIDE,
    decode,
    exif_orientation,
    require_colours,
    require_size,
    turn_upright,
)
from foveate.photographs._dicom_classes import FIRST_GROUP, MAX_FRAMES, PHOTOGRAPH_CLASSES
from foveate.photographs._dicom_loader import load_reader
from foveate.photographs._files import BIG_ENDIAN_BIGTIFF, open_photograph, reading_errors
from foveate.photographs._listing import (
    MANIFEST_FILE,
    RESULT_MARK_BYTES,
    RESULT_MARKS,
    PhotographFile,
    PhotographFiles,
    holds_results,
    is_hidden,
    is_result_file,
    is_result_mark,
    list_files,
)
from foveate.photographs._names import SUFFIXES, frame_name, shorten, without_suffix
from foveate.types import Photograph

__all__ = [
    "BIG_ENDIAN_BIGTIFF",
    "FIRST_GROUP",
    "LIMIT_PIXELS",
    "MANIFEST_FILE",
    "MAX_FRAMES",
    "PHOTOGRAPH_CLASSES",
    "RESULT_MARKS",
    "RESULT_MARK_BYTES",
    "SMALLEST_SIDE",
    "SUFFIXES",
    "PhotographFile",
    "PhotographFiles",
    "exif_orientation",
    "frame_name",
    "from_array",
    "holds_results",
    "is_hidden",
    "is_result_file",
    "is_result_mark",
    "list_files",
    "read",
    "shorten",
    "turn_upright",
    "without_suffix",
]

LIMIT_PIXELS = 120_000_000
"""Default limit, px: cameras sold as 100-megapixel ones record up to 105 million. Reading 100 million pixels
takes 0.8 GB at its peak, 1.6 GB where they have 16 bits."""


def read(path: Path | str, *, frame: int | None = None, limit: int = LIMIT_PIXELS) -> Photograph:
    """Read one photograph, upright, as an image viewer shows it.

    Args:
        path: path of a JPEG, PNG, TIFF or DICOM file with any suffix.
        frame: number of the photograph in a DICOM object that holds several, from 1; of any integer type.
        limit: largest number of pixels (rows times columns) that is decoded.

    Returns:
        The photograph. Its pixels are read-only, its digest is that of the file. Spacing and origin are None
        except for DICOM.

    Raises:
        PhotographError: the file cannot be opened, is no photograph, or is refused by the table above. The
            message is one line that names the file and the remedy.

    Source: the rules are our choice; orientation is Exif 2.32 (CIPA DC-008), tag 0x0112.
    """
    path = Path(path)
    with open_photograph(path) as (file, format_name):
        with reading_errors(path):
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if format_name == "DICOM":
            frame_read = load_reader(display_path(path)).decode(file, display_path(path), limit, frame)
            return Photograph(
                pixels=frame_read.pixels,
                source=str(path),
                digest=digest,
                spacing=frame_read.spacing,
                origin=frame_read.origin,
            )
        if frame is not None:
            raise PhotographError(
                f"{display_path(path)}: has no frame {frame}, because only DICOM objects have frames; leave "
                "out the frame"
            )
        pixels = decode(file, format_name, display_path(path), limit)
    return Photograph(pixels=pixels, source=str(path), digest=digest)


def from_array(
    pixels: Shaped[np.ndarray, "..."], *, source: str = "array", spacing: float | None = None
) -> Photograph:
    """Make a photograph from decoded pixels.

    Args:
        pixels: UInt8 'H W 3', sRGB levels, upright; copied.
        source: a name for messages and tables.
        spacing: millimetres on the retina that one pixel spans, where known.

    Returns:
        The photograph; its digest is that of 'H W' and the bytes of the pixels.

    Raises:
        PhotographError: wrong shape or type, a side below 256 px, no colour, or a spacing of 0 or less.
    """
    if not isinstance(pixels, np.ndarray):
        raise PhotographError(
            f"{display_path(source)}: the pixels are of type {type(pixels).__name__}; give a NumPy array, as "
            "by numpy.asarray(image)"
        )
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise PhotographError(
            f"{display_path(source)}: the pixels are {pixels.dtype} of shape {pixels.shape}; give uint8 of "
            "shape (rows, columns, 3)"
        )
    height, width, _ = pixels.shape
    require_size((height, width), source)
    if spacing is not None and not 0 < spacing < np.inf:
        raise PhotographError(
            f"{display_path(source)}: the pixel spacing is {spacing} mm; give a length above 0, or None"
        )
    copy = np.array(pixels, order="C")
    require_colours(copy, source)
    copy.flags.writeable = False
    digest = hashlib.sha256(f"{height} {width}\n".encode())
    digest.update(copy.data)
    spacing = None if spacing is None else float(spacing)  # NumPy's numbers cannot be written as JSON
    return Photograph(pixels=copy, source=source, digest=digest.hexdigest(), spacing=spacing)
