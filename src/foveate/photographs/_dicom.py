"""A DICOM object -> one upright photograph and what the object states beside its pixels.

Knows:   which objects are colour photographs of a fundus, what of their header is kept, and spacing.
Ignores: how pixels are packed, and what becomes of results. Needs the extra `dicom`.

| in the object                                    | what becomes of it                                   |
|--------------------------------------------------|------------------------------------------------------|
| Ophthalmic Photography 8 and 16 bit              | read                                                 |
| VL Photographic, Secondary Capture (also         | read, where nothing in them speaks of something else |
| multi-frame true colour)                         |                                                      |
| any other SOP class                              | refused by its name                                  |
| modality other than OP, XC, OT, SC               | refused                                              |
| infrared, red-free, one colour, angiography,     | refused: by ImageType, filters, channel, contrast    |
| autofluorescence                                 | agent, and as grey                                   |
| anterior segment, camera that sees no fundus     | refused: by AnatomicRegion, AcquisitionDeviceType    |
| MONOCHROME1, MONOCHROME2                         | refused: grey                                        |
| several frames                                   | each is a photograph of its own                      |
| PixelSpacing of Ophthalmic Photography           | millimetres on the retina, as its definition says    |
| PixelSpacing of the others                       | only with PixelSpacingCalibrationType beside it      |
| PixelSpacing by which the picture would span     | none: it speaks of a sensor, paper or a screen       |
| more than 100 mm                                 |                                                      |
| pixels that are not square                       | refused: a field of view would be no disc            |
| PatientOrientation, ICC profile, overlays        | ignored                                              |
| EXIF in an encapsulated JPEG                     | ignored: in DICOM rows and columns are as stored     |

Source: PS3.3 C.8.17 (Ophthalmic Photography), C.7.6.3 (Image Pixel), CID 4202 to 4209; the choice is ours.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, BytesIO

import numpy as np
import pydicom
from jaxtyping import UInt8
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.filewriter import dcmwrite
from pydicom.sr.coding import Code
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from foveate.errors import PhotographError
from foveate.photographs._decoding import quiet, require_colours, require_size
from foveate.photographs._dicom_pixels import levels
from foveate.photographs._extra import OPHTHALMIC, TAKEN
from foveate.types import Origin

MODALITIES = frozenset({"OP", "XC", "OT", "SC", ""})
"""Of what is read: ophthalmic, external camera, other, secondary capture (retired), not stated."""

LONGEST_SIDE_MM = 100
"""No photograph shows more of a retina, which lies in an eye 24 mm long."""

_NUMBER_OF_FRAMES = 0x00280008

_META = 4096
"""Bytes at the beginning in which the file meta information names the transfer syntax."""

BULK = 1 << 16
"""Bytes from which an element of the header is left out: profiles, icons, tables."""

_COLOUR = "give the colour photograph"

_TYPES: Mapping[str, str] = {
    "REDFREE": "a red-free photograph",
    "RED": "a photograph of the red channel alone",
    "GREEN": "a photograph of the green channel alone",
    "BLUE": "a photograph of the blue channel alone",
    "FA": "a fluorescein angiogram",
    "ICG": "an indocyanine green angiogram",
    "FAF": "an autofluorescence photograph",
    "AF": "an autofluorescence photograph",
    "AUTOFLUORESCENCE": "an autofluorescence photograph",
    "IR": "an infrared photograph",
    "INFRARED": "an infrared photograph",
}
"""Values of ImageType (PS3.3 C.8.17.2.1.1, and what cameras write beside it) -> what the picture is."""

_FILTERS: Mapping[str, str] = {
    "445169002": "infrared",
    "445465004": "green",
    "445279009": "red",
    "445084008": "blue",
    "445340000": "yellow-green",
    "422915004": "blue-green",
}
"""CID 4204 Ophthalmic Filter, SCT -> colour; no filter and polarising ones are left out."""

_CHANNELS: Mapping[str, str] = {
    "414497003": "infrared",
    "415770004": "ultraviolet",
    "371240000": "red alone",
    "371246006": "green alone",
    "405738005": "blue alone",
    "405739002": "red-free",
}
"""CID 4206 Ophthalmic Channel Description, SCT -> what was let through."""

_DEVICES: Mapping[str, str] = {
    "397247004": "a slit lamp",
    "397522002": "a keratoscope",
    "409903006": "an external camera",
    "420827006": "a pupillograph",
    "409899004": "a specular microscope",
    "102321001": "an operating microscope",
}
"""CID 4202 Ophthalmic Photography Acquisition Device, SCT -> those that do not photograph a fundus."""

_ELSEWHERE: Mapping[str, str] = {
    "31636006": "the anterior chamber",
    "29534007": "the ciliary body",
    "29445007": "the conjunctiva",
    "28726007": "the cornea",
    "80243003": "an eyelid",
    "62736007": "an eyelid",
    "38934000": "an eyelid",
    "41296002": "the iris",
    "43045000": "the lacrimal caruncle",
    "13561001": "the lacrimal gland",
    "3954005": "the lacrimal sac",
    "78076003": "the lens",
    "18619003": "the sclera",
}
"""CID 4209 Ophthalmic Anatomic Structure Imaged, SCT -> those that lie before the fundus."""

_DAMAGED = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError),
    *(NotImplementedError, OverflowError, RecursionError, LookupError, SyntaxError),
    *(struct.error, zlib.error, InvalidDicomError, BytesLengthException),
)
"""What pydicom and the codecs raise on objects that are not as the standard has them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """One frame of an object."""

    pixels: UInt8[np.ndarray, "H W 3"]
    spacing: float | None
    origin: Origin


def decode(file: BufferedReader, name: str, limit: int, frame: int | None) -> Taken:
    """Decode one photograph.

    Args:
        file: a DICOM file, open for reading.
        name: of the file, for messages.
        limit: most pixels that are decoded.
        frame: which one, from 1; None where the object holds only one.

    Raises:
        PhotographError: the object is refused by the table above, or cannot be decoded.
    """
    with _damage_named(name), quiet():
        held = _opened(file, name, limit)
        _require_photograph(held, name)
        spacing = _spacing(held, name)
        count = _frames(held)
        chosen = _chosen(count, frame, name)
        require_size((int(held.get("Rows", 0) or 0), int(held.get("Columns", 0) or 0)), name, limit)
        pixels = levels(held, chosen - 1, name)
        origin = _origin(held, chosen if count > 1 else None)
    require_colours(pixels, name)
    pixels.flags.writeable = False
    return Taken(pixels=pixels, spacing=spacing, origin=origin)


def frames(file: BufferedReader) -> int:
    """Return how many photographs an object holds by its header, 1 where that cannot be read."""
    head = file.read(_META)
    file.seek(0)
    try:
        with quiet():
            if DeflatedExplicitVRLittleEndian.encode() in head:
                return _frames(_beginning(file, head))
            return _frames(pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["NumberOfFrames"]))
    except _DAMAGED:
        return 1


def _beginning(file: BufferedReader, head: bytes) -> Dataset:
    """Return what a deflated object states up to its number of frames; no more of it is unpacked."""
    file.seek(_meta_end(head))
    unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(1 << 20), 1 << 24)
    return read_dataset(
        BytesIO(unpacked), False, True, stop_when=lambda tag, representation, length: tag > _NUMBER_OF_FRAMES
    )


def _meta_end(head: bytes) -> int:
    """Return where the data set begins: by the standard, the file meta information begins with its length."""
    (length,) = struct.unpack_from("<I", head, 140)
    return 144 + int(length)


def _opened(file: BufferedReader, name: str, limit: int) -> Dataset:
    """Return the object; its pixels stay as they are stored."""
    file.seek(0)
    head = file.read(_META)
    if DeflatedExplicitVRLittleEndian.encode() in head:
        _require_bounded(file, head, name, limit)
    file.seek(0)
    return pydicom.dcmread(file)


def _require_bounded(file: BufferedReader, head: bytes, name: str, limit: int) -> None:
    """Raise PhotographError where a deflated object would unpack to more than any photograph takes.

    Args:
        file: the object.
        head: its first bytes.
        name: for messages.
        limit: most pixels of a photograph.
    """
    most = 6 * limit + (1 << 26)  # three 16-bit levels a pixel, and a generous header
    file.seek(_meta_end(head))
    inflate, unpacked = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while piece := file.read(1 << 16):
        while piece and not inflate.eof:
            unpacked += len(inflate.decompress(piece, 1 << 22))
            piece = inflate.unconsumed_tail
            if unpacked > most:
                raise PhotographError(
                    f"{name}: unpacks to more than {most / 1e6:.0f} MB; ask the archive for it uncompressed"
                )


def _require_photograph(held: Dataset, name: str) -> None:
    """Raise PhotographError unless an object states a colour photograph and nothing against it."""
    kind = UID(str(held.get("SOPClassUID", "")))
    if kind not in TAKEN:
        what = kind.name.removesuffix(" Storage") if kind else "an object of no stated class"
        raise PhotographError(
            f"{name}: is DICOM {what}, which is not read; give Ophthalmic Photography, VL Photographic or "
            "Secondary Capture"
        )
    modality = str(held.get("Modality", "") or "")
    if modality not in MODALITIES:
        raise PhotographError(
            f"{name}: has the modality {modality}; give a colour photograph of the fundus (OP)"
        )
    if "PixelData" not in held:
        raise PhotographError(f"{name}: holds no pixels; ask the archive for the whole object")
    if (light := _other_light(held)) is not None:
        raise PhotographError(f"{name}: is {light}; lesions are told apart by colour: {_COLOUR}")
    if (scene := _other_scene(held)) is not None:
        raise PhotographError(f"{name}: {scene}; give a photograph of the fundus")


def _other_light(held: Dataset) -> str | None:
    """Say by what an object is no photograph in white light, or None."""
    for value in _values(held, "ImageType")[2:]:
        if value.upper() in _TYPES:
            return _TYPES[value.upper()]
    if held.get("ContrastBolusAgentSequence") or str(held.get("ContrastBolusAgent", "") or ""):
        return "an angiogram (a contrast agent is stated)"
    for sequence in ("LightPathFilterTypeStackCodeSequence", "ImagePathFilterTypeStackCodeSequence"):
        colour = _meaning(held, sequence, _FILTERS)
        if colour is not None:
            return f"a photograph through a filter ({colour})"
    if (channel := _meaning(held, "ChannelDescriptionCodeSequence", _CHANNELS)) is not None:
        return f"a photograph of one channel ({channel})"
    grey = str(held.get("PhotometricInterpretation", "")).startswith("MONOCHROME")
    return "grey: infrared, red-free, autofluorescence or an angiogram" if grey else None


def _other_scene(held: Dataset) -> str | None:
    """Say by what an object shows no fundus, or None."""
    if (device := _meaning(held, "AcquisitionDeviceTypeCodeSequence", _DEVICES)) is not None:
        return f"was taken by {device}"
    if (region := _meaning(held, "AnatomicRegionSequence", _ELSEWHERE)) is not None:
        return f"shows {region}"
    return None


def _values(held: Dataset, keyword: str) -> list[str]:
    """Return an attribute's values as texts; none where it is absent or empty."""
    value = held.get(keyword)
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(one) for one in value]


def _meaning(held: Dataset, keyword: str, known: Mapping[str, str]) -> str | None:
    """Return what a sequence's first known code means; older objects' codes of SNOMED RT are known too.

    Args:
        held: the object.
        keyword: of a sequence of codes.
        known: code of SNOMED CT -> meaning.
    """
    for item in held.get(keyword) or ():
        stated = Code(str(item.get("CodeValue", "")), str(item.get("CodingSchemeDesignator", "")), "")
        for value, meaning in known.items():
            if stated == Code(value, "SCT", ""):
                return meaning
    return None


def _frames(held: Dataset) -> int:
    return max(1, int(held.get("NumberOfFrames", 1) or 1))


def _chosen(count: int, frame: int | None, name: str) -> int:
    """Return which frame is meant, from 1."""
    if frame is None and count > 1:
        raise PhotographError(
            f"{name}: holds {count} photographs; say which by frame=1 to {count}, or let 'foveate predict', "
            "without --on, look at all"
        )
    chosen = 1 if frame is None else frame
    if not 1 <= chosen <= count:
        raise PhotographError(
            f"{name}: holds {count} photographs, and no frame {chosen}; choose 1 to {count}"
        )
    return chosen


def _spacing(held: Dataset, name: str) -> float | None:
    """Return the millimetres on the retina that a pixel spans, where the object states them.

    Rows and columns may differ by 1 %: their geometric mean then keeps areas as they are.
    """
    aspect = [float(value) for value in _values(held, "PixelAspectRatio")]
    spacing = [float(value) for value in _values(held, "PixelSpacing")]
    for pair, unit in ((aspect, ""), (spacing, " mm")):
        if len(pair) == 2 and min(pair) > 0 and max(pair) > 1.01 * min(pair):
            raise PhotographError(
                f"{name}: its pixels are not square ({pair[0]:g} x {pair[1]:g}{unit}); resample it"
            )
    if len(spacing) != 2 or min(spacing) <= 0:
        return None
    if held.SOPClassUID not in OPHTHALMIC and not held.get("PixelSpacingCalibrationType"):
        return None
    across = float(np.sqrt(spacing[0] * spacing[1]))
    longest = across * max(int(held.get("Rows", 0) or 0), int(held.get("Columns", 0) or 0))
    return across if longest <= LONGEST_SIDE_MM else None


def _origin(held: Dataset, frame: int | None) -> Origin:
    """Return what an object states beside its pixels."""
    side = str(held.get("ImageLaterality") or held.get("Laterality") or "")
    degrees = held.get("HorizontalFieldOfView")
    return Origin(
        uid=str(held.SOPInstanceUID),
        frame=frame,
        laterality="R" if side == "R" else "L" if side == "L" else None,
        field_degrees=None if degrees is None else float(degrees),
        header=_header(held),
    )


def _header(held: Dataset) -> bytes:
    """Return a header as a DICOM file without pixels, private elements, and whatever is large."""
    kept = Dataset()
    for element in held:
        small = not isinstance(element.value, bytes) or len(element.value) < BULK
        if not element.tag.is_private and element.tag.group < 0x5000 and small:
            kept.add(element)
    kept.remove_private_tags()
    kept.file_meta = pydicom.dataset.FileMetaDataset()
    kept.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    kept.file_meta.MediaStorageSOPClassUID = held.SOPClassUID
    kept.file_meta.MediaStorageSOPInstanceUID = held.SOPInstanceUID
    content = BytesIO()
    dcmwrite(content, kept, enforce_file_format=True)
    return content.getvalue()


@contextmanager
def _damage_named(name: str) -> Iterator[None]:
    """Turn what pydicom and codecs raise on a bad object into a PhotographError of one line."""
    try:
        yield
    except _DAMAGED as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise PhotographError(
            f"{name}: cannot be decoded as DICOM ({reason}); it is damaged, incomplete or of a rare kind: "
            "fetch it again, or export it as 8-bit RGB PNG"
        ) from None
