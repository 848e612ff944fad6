"""One frame of a DICOM object -> 8-bit RGB levels.

Knows:   transfer syntaxes, photometric interpretations, stored bits, and what JPEG streams say of themselves.
Ignores: what the picture shows. Needs the extra `dicom`.

| stored as                                         | what becomes of it                                  |
|---------------------------------------------------|-----------------------------------------------------|
| RGB, 8 bits                                       | as it is                                            |
| RGB, 9 to 16 bits stored                          | level / (2 ** BitsStored - 1) x 255, rounded        |
| PALETTE COLOR, 8- or 16-bit entries               | looked up; 16-bit entries rounded                   |
| YBR_FULL, YBR_FULL_422                            | to RGB by PS3.3 C.7.6.3.1.2                         |
| YBR_RCT, YBR_ICT (JPEG 2000)                      | to RGB by the codec                                 |
| JPEG baseline                                     | as the same JPEG file would be read, bit for bit    |
| JPEG whose stream and header disagree on colours  | the stream's own marks (JFIF, Adobe, R G B) decide  |
| planar configuration 0 and 1                      | alike                                               |
| signed levels, other photometric interpretations  | refused                                             |
| a transfer syntax for which no codec is installed | refused by its name                                 |

Shape letters: H W photograph, P planes: 1 or 3.
"""

from io import BytesIO

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL.JpegImagePlugin import JpegImageFile
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from foveate.errors import PhotographError

_ROWS = 256
"""How many rows are rescaled at a time: bounds the memory for 32-bit numbers."""

_YBR = ("YBR_FULL", "YBR_FULL_422")

_RGB_BY_CODEC = ("YBR_RCT", "YBR_ICT")

_J2K = frozenset({JPEG2000, JPEG2000Lossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL})

_JLS = frozenset({JPEGLSLossless, JPEGLSNearLossless})

Stored = UInt8[np.ndarray, "H W *P"] | UInt16[np.ndarray, "H W *P"]


def levels(held: Dataset, index: int, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """Return a frame's RGB levels, contiguous.

    Args:
        held: the object.
        index: of the frame, from 0.
        name: for messages.

    Raises:
        PhotographError: what is stored is refused by the table above. What codecs raise, the caller sees.
    """
    _require_known(held, name)
    if held.file_meta.TransferSyntaxUID == JPEGBaseline8Bit and held.SamplesPerPixel == 3:
        return _jpeg(held, index, name)
    stored = _decoded(held, index, name)
    bits = int(held.BitsStored)
    if held.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, held)
        bits = 8 * stored.dtype.itemsize
    if stored.dtype.itemsize not in (1, 2) or stored.shape != (held.Rows, held.Columns, 3):
        raise PhotographError(
            f"{name}: decodes to {stored.dtype} levels of shape {stored.shape}, its header says "
            f"{held.Rows} x {held.Columns} colours; fetch it again from its source"
        )
    return _rescaled(stored, bits)


def _require_known(held: Dataset, name: str) -> None:
    """Raise PhotographError for pixels that are stored in a way that is not read."""
    colours, planes = str(held.PhotometricInterpretation), int(held.SamplesPerPixel)
    wanted = 1 if colours == "PALETTE COLOR" else 3
    if colours not in ("RGB", "PALETTE COLOR", *_YBR, *_RGB_BY_CODEC) or planes != wanted:
        raise PhotographError(
            f"{name}: holds {planes} samples a pixel as {colours}, which is not read; export it as 8-bit RGB"
        )
    allocated, bits, high = int(held.BitsAllocated), int(held.BitsStored), int(held.HighBit)
    if int(held.PixelRepresentation) != 0:
        raise PhotographError(f"{name}: its levels are signed; export it as 8-bit RGB")
    if allocated not in (8, 16) or not 8 <= bits <= allocated or high != bits - 1:
        raise PhotographError(
            f"{name}: {bits} bits up to bit {high} of {allocated} are not read; export it as 8-bit RGB"
        )
    if colours in _YBR and bits > 8:
        raise PhotographError(f"{name}: {bits} bits of {colours} are not read; export it as 8-bit RGB")


def _decoded(held: Dataset, index: int, name: str) -> Stored:
    """Return a frame as pydicom and its codecs decode it: RGB, or indices into a palette."""
    syntax = UID(held.file_meta.TransferSyntaxUID)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise PhotographError(
            f"{name}: is stored as {syntax.name}, which holds no still photograph"
        ) from None
    if not decoder.is_available:
        raise PhotographError(
            f"{name}: is stored as {syntax.name}, for which no codec is installed; ask the archive for "
            "another transfer syntax, or pip install python-gdcm"
        )
    if syntax in _J2K or syntax in _JLS:
        _require_size(held, _frame(held, index), name)
    stored: Stored = decoder.as_array(held, index=index, raw=False)[0]
    bits = int(held.BitsStored)
    if int(stored.max()) >> bits:  # unused bits are gone here: it is the stream that has more
        raise PhotographError(
            f"{name}: its levels reach {stored.max()}, its header says {bits} bits; fetch it again"
        )
    return stored


def _frame(held: Dataset, index: int) -> bytes:
    """Return the stream of one frame."""
    count = int(held.get("NumberOfFrames", 1) or 1)
    return get_frame(held.PixelData, index, number_of_frames=count)


def _require_size(held: Dataset, stream: bytes, name: str) -> None:
    """Raise PhotographError where a stream is of another size than its object says: it could be any size."""
    found = _j2k_size(stream) if stream.find(b"\xff\x4f\xff\x51") >= 0 else _jls_size(stream)
    _require_equal(found, (int(held.Rows), int(held.Columns)), name)


def _require_equal(found: tuple[int, int], wanted: tuple[int, int], name: str) -> None:
    if found != wanted:
        raise PhotographError(
            f"{name}: its compressed picture has {found[0]} rows of {found[1]}, its header says "
            f"{wanted[0]} of {wanted[1]}; fetch it again from its source"
        )


def _j2k_size(stream: bytes) -> tuple[int, int]:
    """Return rows and columns of a JPEG 2000 stream, by its SIZ marker (ISO 15444-1, A.5.1)."""
    at = stream.index(b"\xff\x4f\xff\x51") + 8
    right, bottom, left, top = (int.from_bytes(stream[at + 4 * n : at + 4 * n + 4]) for n in range(4))
    return bottom - top, right - left


def _jls_size(stream: bytes) -> tuple[int, int]:
    """Return rows and columns of a JPEG-LS stream, by its frame header (ISO 14495-1, C.2.2)."""
    at = 2
    while at + 9 <= len(stream) and stream[at] == 0xFF:
        if stream[at + 1] == 0xF7:
            return int.from_bytes(stream[at + 5 : at + 7]), int.from_bytes(stream[at + 7 : at + 9])
        at += 2 + int.from_bytes(stream[at + 2 : at + 4])
    raise ValueError("no frame header of JPEG-LS")


def _jpeg(held: Dataset, index: int, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """Return the levels of a JPEG frame, as the same JPEG would be read from a file.

    Where the stream does not say whether it holds RGB or YCbCr, libjpeg supposes YCbCr; there the header
    decides.
    """
    stream = _frame(held, index).rstrip(b"\0")
    image = JpegImageFile(BytesIO(stream))
    _require_equal((image.height, image.width), (int(held.Rows), int(held.Columns)), name)
    if image.mode != "RGB":
        raise PhotographError(
            f"{name}: its JPEG is {image.mode}, its header says 3 colours; export it as RGB"
        )
    if not stream.endswith(b"\xff\xd9"):
        raise PhotographError(f"{name}: the end of the JPEG is missing; fetch it again from its source")
    if held.PhotometricInterpretation == "RGB" and _says_nothing(image):
        image.draft("YCbCr", image.size)  # the three planes as they are
    image.load()
    return np.array(image, order="C")


def _says_nothing(image: JpegImageFile) -> bool:
    """Whether a JPEG stream bears no mark of the colours that it holds."""
    marked = "jfif" in image.info or "adobe" in image.info
    return not marked and [layer[0] for layer in image.layer] not in ([82, 71, 66], [114, 103, 98])


def _rescaled(stored: Stored, bits: int) -> UInt8[np.ndarray, "H W 3"]:
    """Return levels of 0 to 2 ** bits - 1 as 0 to 255, rounded to the nearest."""
    if bits == 8:
        return np.ascontiguousarray(stored.astype(np.uint8, copy=False))
    top = (1 << bits) - 1
    found = np.empty(stored.shape, np.uint8)
    for row in range(0, len(stored), _ROWS):
        found[row : row + _ROWS] = (stored[row : row + _ROWS].astype(np.uint32) * 255 + top // 2) // top
    return found
