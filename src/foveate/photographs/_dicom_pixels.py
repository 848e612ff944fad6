"""Decode one frame of a DICOM object to 8-bit RGB levels.

Knows:   transfer syntaxes, photometric interpretations, stored bits, and the colour marks of JPEG streams.
Ignores: what the picture shows. Needs the extra `dicom`.

| stored as                                         | result                                              |
|---------------------------------------------------|-----------------------------------------------------|
| RGB, 8 bits                                       | unchanged                                           |
| RGB, 9 to 16 bits stored                          | level / (2 ** BitsStored - 1) x 255, rounded        |
| the same, highest level below a quarter           | refused: fewer bits than BitsStored says            |
| PALETTE COLOR, 8- or 16-bit entries               | looked up; 16-bit entries rounded                   |
| PALETTE COLOR, 8-bit entries in 16-bit words      | looked up; the words are the levels                 |
| YBR_FULL, YBR_FULL_422                            | to RGB by PS3.3 C.7.6.3.1.2                         |
| YBR_FULL_422 of odd width, rows padded to pairs   | the padding is cut off                              |
| YBR_RCT, YBR_ICT (JPEG 2000)                      | to RGB by the codec                                 |
| JPEG baseline                                     | equal to the same JPEG in a file, bit for bit       |
| JPEG whose stream and header disagree on colours  | the marks in the stream (JFIF, Adobe, R G B) decide |
| planar configuration 0 and 1                      | both read                                           |
| signed levels, other photometric interpretations  | refused                                             |
| a transfer syntax for which no codec is installed | refused by name                                     |

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
from foveate.photographs._decoding import require_end, require_full_range, require_undamaged

_ROWS = 256
"""Number of rows that are rescaled at a time: bounds the memory for 32-bit numbers."""

_YBR = ("YBR_FULL", "YBR_FULL_422")

_PALETTE_COLOURS = ("Red", "Green", "Blue")

_RGB_BY_CODEC = ("YBR_RCT", "YBR_ICT")

_J2K = frozenset({JPEG2000, JPEG2000Lossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL})

_JLS = frozenset({JPEGLSLossless, JPEGLSNearLossless})

Stored = UInt8[np.ndarray, "H W *P"] | UInt16[np.ndarray, "H W *P"]


Indices = UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"]
"""Indices into a palette."""


def decode_frame(dataset: Dataset, index: int, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """Return the RGB levels of a frame, contiguous.

    Args:
        dataset: the object.
        index: index of the frame, from 0.
        name: name of the file, for messages.

    Raises:
        PhotographError: the pixels are refused by the table above. Exceptions of codecs are not converted.
    """
    _require_supported(dataset, name)
    if dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit and dataset.SamplesPerPixel == 3:
        return _decode_jpeg(dataset, index, name)
    stored = _decode(dataset, index, name)
    bits = int(dataset.BitsStored)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        stored = _look_up(stored, dataset, name)
        bits = 8 * stored.dtype.itemsize
    if stored.dtype.itemsize not in (1, 2) or stored.shape != (dataset.Rows, dataset.Columns, 3):
        raise PhotographError(
            f"{name}: decodes to {stored.dtype} levels of shape {stored.shape}, but its header says "
            f"{dataset.Rows} x {dataset.Columns} colours; fetch it again from its source"
        )
    if bits > 8:
        require_full_range(int(stored.max()), bits, name)
    return _to_8_bits(stored, bits)


def _require_supported(dataset: Dataset, name: str) -> None:
    """Raise PhotographError for pixels in an unsupported format."""
    colours, planes = str(dataset.PhotometricInterpretation), int(dataset.SamplesPerPixel)
    expected = 1 if colours == "PALETTE COLOR" else 3
    if colours not in ("RGB", "PALETTE COLOR", *_YBR, *_RGB_BY_CODEC) or planes != expected:
        raise PhotographError(
            f"{name}: has {planes} samples per pixel as {colours}, which is not supported; export it as "
            "8-bit RGB"
        )
    allocated, bits, high = int(dataset.BitsAllocated), int(dataset.BitsStored), int(dataset.HighBit)
    if int(dataset.PixelRepresentation) != 0:
        raise PhotographError(f"{name}: its levels are signed; export it as 8-bit RGB")
    if allocated not in (8, 16) or not 8 <= bits <= allocated or high != bits - 1:
        raise PhotographError(
            f"{name}: {bits} bits up to bit {high} of {allocated} are not supported; export it as 8-bit RGB"
        )
    if colours in _YBR and bits > 8:
        raise PhotographError(f"{name}: {bits} bits of {colours} are not supported; export it as 8-bit RGB")


def _decode(dataset: Dataset, index: int, name: str) -> Stored:
    """Return a frame decoded by pydicom and its codecs: RGB, or indices into a palette."""
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise PhotographError(
            f"{name}: is stored as {syntax.name}, which is not a still photograph; export a still photograph"
        ) from None
    if not decoder.is_available:
        raise PhotographError(
            f"{name}: is stored as {syntax.name}, for which no codec is installed; request "
            "another transfer syntax from the archive, or pip install python-gdcm"
        )
    if syntax in _J2K or syntax in _JLS:
        _require_size(dataset, _frame_stream(dataset, index), name)
    columns = int(dataset.Columns)
    if _has_padded_rows(dataset, syntax):
        stored: Stored = decoder.as_array(_widened(dataset), index=index, raw=False)[0][:, :columns]
    else:
        stored = decoder.as_array(dataset, index=index, raw=False)[0]
    bits = int(dataset.BitsStored)
    if int(stored.max()) >> bits:  # pydicom has cleared unused bits: the stream itself has more
        raise PhotographError(
            f"{name}: its levels reach {stored.max()}, but its header says {bits} bits; fetch it again"
        )
    return stored


def _has_padded_rows(dataset: Dataset, syntax: UID) -> bool:
    """Return whether the rows of an uncompressed YBR_FULL_422 object of odd width end with a padding pixel.

    Two neighbours share their colour samples, so such a row is incomplete without it (PS3.3 C.7.6.3.1.2).
    """
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if dataset.PhotometricInterpretation != "YBR_FULL_422" or syntax.is_compressed or columns % 2 == 0:
        return False
    return len(dataset.PixelData) >= int(dataset.get("NumberOfFrames", 1) or 1) * rows * (columns + 1) * 2


def _widened(dataset: Dataset) -> Dataset:
    """Return a shallow copy of an object with one more column."""
    wide = Dataset(dict(dataset.items()))
    wide.file_meta = dataset.file_meta
    wide.add_new("Columns", "US", int(dataset.Columns) + 1)  # setting the attribute would change the original
    return wide


def _look_up(indices: Indices, dataset: Dataset, name: str) -> Stored:
    """Return the colours of indices into a palette: 8-bit levels, or 16-bit levels up to 65535.

    A 16-bit palette without a level above 255 holds 8-bit levels, whatever its descriptor says: as 16-bit
    levels they would all be black.

    Source: PS3.3 C.7.6.3.1.5 and C.7.6.3.1.6.
    """
    if "RedPaletteColorLookupTableData" not in dataset:
        return apply_color_lut(indices, dataset)
    entries, first, _ = dataset.RedPaletteColorLookupTableDescriptor
    count = entries or 1 << 16
    tables = np.stack([_palette_levels(dataset, colour, count, name) for colour in _PALETTE_COLOURS], axis=-1)
    if tables.max() <= 255:
        tables = tables.astype(np.uint8)
    levels: Stored = tables[np.clip(indices.astype(np.int32) - int(first), 0, count - 1)]
    return levels


def _palette_levels(dataset: Dataset, colour: str, count: int, name: str) -> UInt16[np.ndarray, " N"]:
    """Return the levels of one colour of a palette, stored as bytes or as 16-bit words."""
    content = dataset[f"{colour}PaletteColorLookupTableData"].value
    if not isinstance(content, bytes):
        return np.asarray(content, np.uint16)
    if len(content) >= 2 * count:
        order = "<" if UID(dataset.file_meta.TransferSyntaxUID).is_little_endian else ">"
        return np.frombuffer(content, f"{order}u2", count).astype(np.uint16)
    if len(content) < count:
        raise PhotographError(f"{name}: its palette is too short; fetch it again from its source")
    return np.frombuffer(content, np.uint8, count).astype(np.uint16)


def _frame_stream(dataset: Dataset, index: int) -> bytes:
    """Return the stream of one frame."""
    count = int(dataset.get("NumberOfFrames", 1) or 1)
    return get_frame(dataset.PixelData, index, number_of_frames=count)


def _require_size(dataset: Dataset, stream: bytes, name: str) -> None:
    """Raise PhotographError where a stream's size differs from the header's: it could be any size."""
    size = _j2k_size(stream) if stream.find(b"\xff\x4f\xff\x51") >= 0 else _jls_size(stream)
    _require_equal(size, (int(dataset.Rows), int(dataset.Columns)), name)


def _require_equal(size: tuple[int, int], expected: tuple[int, int], name: str) -> None:
    if size != expected:
        raise PhotographError(
            f"{name}: its compressed picture has {size[0]} rows of {size[1]}, but its header says "
            f"{expected[0]} of {expected[1]}; fetch it again from its source"
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


def _decode_jpeg(dataset: Dataset, index: int, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """Return the levels of a JPEG frame, equal to those of the same JPEG in a file.

    Where the stream has no mark of RGB or YCbCr, libjpeg assumes YCbCr; then the header decides.
    """
    stream = _frame_stream(dataset, index)
    file = BytesIO(stream)
    image = JpegImageFile(file)
    _require_equal((image.height, image.width), (int(dataset.Rows), int(dataset.Columns)), name)
    if image.mode != "RGB":
        raise PhotographError(
            f"{name}: its JPEG is {image.mode}, but its header says 3 colours; export it as RGB"
        )
    require_end(stream, file.tell(), "JPEG", name)
    require_undamaged(stream, "JPEG", name)
    if dataset.PhotometricInterpretation == "RGB" and _has_no_colour_mark(image):
        image.draft("YCbCr", image.size)  # the three planes without conversion
    image.load()
    return np.array(image, order="C")


def _has_no_colour_mark(image: JpegImageFile) -> bool:
    """Return whether a JPEG stream has no mark of its colour space."""
    is_marked = "jfif" in image.info or "adobe" in image.info
    return not is_marked and [layer[0] for layer in image.layer] not in ([82, 71, 66], [114, 103, 98])


def _to_8_bits(stored: Stored, bits: int) -> UInt8[np.ndarray, "H W 3"]:
    """Return levels of 0 to 2 ** bits - 1 scaled to 0 to 255, rounded to the nearest."""
    if bits == 8:
        return np.ascontiguousarray(stored.astype(np.uint8, copy=False))
    top = (1 << bits) - 1
    rescaled = np.empty(stored.shape, np.uint8)
    for row in range(0, len(stored), _ROWS):
        rescaled[row : row + _ROWS] = (stored[row : row + _ROWS].astype(np.uint32) * 255 + top // 2) // top
    return rescaled
