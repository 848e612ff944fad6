"""Read a DICOM object as an upright photograph with the facts of its header.

Knows:   which objects are colour photographs of a fundus, which parts of the header are kept, and spacing.
Ignores: how pixels are stored, and the results. Needs the extra `dicom`.

| in the object                                    | result                                               |
|--------------------------------------------------|------------------------------------------------------|
| Ophthalmic Photography 8 and 16 bit              | read                                                 |
| VL Photographic, Secondary Capture (also         | read, unless the header describes something else     |
| multi-frame true colour)                         |                                                      |
| any other SOP class                              | refused by name                                      |
| modality other than OP, XC, OT, SC               | refused                                              |
| infrared, red-free, one colour, angiography,     | refused: by ImageType, filters, channel, contrast    |
| autofluorescence                                 | agent, and as grey                                   |
| anterior segment, camera that sees no fundus     | refused: by AnatomicRegion, AcquisitionDeviceType    |
| MONOCHROME1, MONOCHROME2                         | refused: grey                                        |
| several frames                                   | each is a separate photograph                        |
| PixelSpacing of Ophthalmic Photography           | millimetres on the retina, as its definition says    |
| PixelSpacing of the others                       | only together with PixelSpacingCalibrationType       |
| PixelSpacing by which the picture would span     | none: it describes a sensor, paper or a screen       |
| more than 100 mm                                 |                                                      |
| pixels that are not square                       | refused: a field of view would be no disc            |
| PatientOrientation, ICC profile, overlays        | ignored                                              |
| EXIF in an encapsulated JPEG                     | ignored: in DICOM rows and columns are as stored     |

Source: PS3.3 C.8.17 (Ophthalmic Photography), C.7.6.3 (Image Pixel), CID 4202 to 4209; the choice is ours.
"""

import operator
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader, BytesIO

import numpy as np
import pydicom
from jaxtyping import UInt8
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.filewriter import dcmwrite
from pydicom.multival import MultiValue
from pydicom.sr.coding import Code
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from foveate.errors import PhotographError, one_line
from foveate.photographs._decoding import require_colours, require_size
from foveate.photographs._dicom_classes import (
    FIRST_GROUP,
    OPHTHALMIC_CLASSES,
    PHOTOGRAPH_CLASSES,
    is_plausible,
)
from foveate.photographs._dicom_pixels import decode_frame
from foveate.types import SMALLEST_PIXEL_MM, DicomOrigin
from foveate.warning_filter import suppress_warnings

MODALITIES = frozenset({"OP", "XC", "OT", "SC", ""})
"""Modalities that are read: ophthalmic, external camera, other, secondary capture (retired), not stated."""

LONGEST_SIDE_MM = 100
"""Largest extent of a photograph on the retina: an eye is 24 mm long."""

_NUMBER_OF_FRAMES = 0x00280008

_HEAD_BYTES = 4096
"""Number of bytes at the beginning of a file that contain the transfer syntax."""

LARGE_ELEMENT = 1 << 16
"""Size from which an element of the header is left out, bytes: profiles, icons, tables."""

_COLOUR = "give the colour photograph, since lesions differ in colour"

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
"""Values of ImageType (PS3.3 C.8.17.2.1.1, and other values that cameras write) -> what the picture is."""

_FILTERS: Mapping[str, str] = {
    "445169002": "infrared",
    "445465004": "green",
    "445279009": "red",
    "445084008": "blue",
    "445340000": "yellow-green",
    "422915004": "blue-green",
}
"""CID 4204 Ophthalmic Filter, SCT -> colour; no filter and polarising filters are left out."""

_CHANNELS: Mapping[str, str] = {
    "414497003": "infrared",
    "415770004": "ultraviolet",
    "371240000": "red alone",
    "371246006": "green alone",
    "405738005": "blue alone",
    "405739002": "red-free",
}
"""CID 4206 Ophthalmic Channel Description, SCT -> the light that the channel records."""

_DEVICES: Mapping[str, str] = {
    "397247004": "a slit lamp",
    "397522002": "a keratoscope",
    "409903006": "an external camera",
    "420827006": "a pupillograph",
    "409899004": "a specular microscope",
    "102321001": "an operating microscope",
}
"""CID 4202 Ophthalmic Photography Acquisition Device, SCT -> devices that do not photograph a fundus."""

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
"""CID 4209 Ophthalmic Anatomic Structure Imaged, SCT -> structures in front of the fundus."""

_DAMAGED = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError),
    *(NotImplementedError, OverflowError, RecursionError, LookupError, SyntaxError),
    *(struct.error, zlib.error, InvalidDicomError, BytesLengthException),
)
"""What pydicom and the codecs raise on objects that violate the standard."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomFrame:
    """One decoded frame of an object."""

    pixels: UInt8[np.ndarray, "H W 3"]
    """sRGB levels, read-only."""
    spacing: float | None
    """Millimetres on the retina that one pixel spans, where the object states it."""
    origin: DicomOrigin


def decode(file: BufferedReader, name: str, limit: int, frame: int | None) -> DicomFrame:
    """Decode one photograph.

    Args:
        file: a DICOM file, open for reading.
        name: name of the file, for messages.
        limit: largest number of pixels that is decoded.
        frame: number of the frame, from 1; None where the object holds only one.

    Raises:
        PhotographError: the object is refused by the table above, or cannot be decoded.
    """
    with _damage_as_photograph_error(name), suppress_warnings():
        dataset = _read_dataset(file, name, limit)
        _require_photograph(dataset, name)
        spacing = _pixel_spacing(dataset, name)
        count = _frame_count(dataset)
        if not is_plausible(count, file):
            raise PhotographError(
                f"{name}: states {count:,} frames, more than it can hold; request it again from its source"
            )
        number = _select_frame(count, frame, name)
        require_size((int(dataset.get("Rows", 0) or 0), int(dataset.get("Columns", 0) or 0)), name, limit)
        pixels = decode_frame(dataset, number - 1, name)
        origin = _origin(dataset, number if count > 1 else None)
    require_colours(pixels, name)
    pixels.flags.writeable = False
    return DicomFrame(pixels=pixels, spacing=spacing, origin=origin)


def count_frames(file: BufferedReader) -> int:
    """Return the number of photographs that an object's header states.

    It is 1 where the header cannot be read, or states another class: the object is refused once, not for each
    of its frames.
    """
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    try:
        with suppress_warnings():
            if DeflatedExplicitVRLittleEndian.encode() in head:
                return _photograph_count(_read_deflated_head(file, head))
            tags = ["NumberOfFrames", "SOPClassUID"]
            return _photograph_count(pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags))
    except _DAMAGED:
        return 1


def _read_deflated_head(file: BufferedReader, head: bytes) -> Dataset:
    """Return the header of a deflated object up to its number of frames, without unpacking the rest."""
    file.seek(_dataset_start(head))
    unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(1 << 20), 1 << 24)
    return read_dataset(
        BytesIO(unpacked), False, True, stop_when=lambda tag, representation, length: tag > _NUMBER_OF_FRAMES
    )


def _dataset_start(head: bytes) -> int:
    """Return the offset of the data set: the file meta information begins with its own length."""
    (length,) = struct.unpack_from("<I", head, 140)
    return 144 + int(length)


def _read_dataset(file: BufferedReader, name: str, limit: int) -> Dataset:
    """Return the object without decoding its pixels."""
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    if DeflatedExplicitVRLittleEndian.encode() in head:
        _require_bounded(file, head, name, limit)
    file.seek(0)
    return pydicom.dcmread(file)


def _require_bounded(file: BufferedReader, head: bytes, name: str, limit: int) -> None:
    """Raise PhotographError where a deflated object would unpack to more bytes than any photograph takes.

    Args:
        file: the object.
        head: its first bytes.
        name: name of the file, for messages.
        limit: largest number of pixels of a photograph.
    """
    most = 6 * limit + (1 << 26)  # three 16-bit levels for each pixel, and a large header
    file.seek(_dataset_start(head))
    inflate, unpacked = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while piece := file.read(1 << 16):
        while piece and not inflate.eof:
            unpacked += len(inflate.decompress(piece, 1 << 22))
            piece = inflate.unconsumed_tail
            if unpacked > most:
                raise PhotographError(
                    f"{name}: unpacks to more than {most / 1e6:.0f} MB; request it uncompressed from the "
                    "archive"
                )


def _require_photograph(dataset: Dataset, name: str) -> None:
    """Raise PhotographError unless the header describes a colour photograph of a fundus."""
    sop_class = UID(str(dataset.get("SOPClassUID", "")))
    if sop_class not in PHOTOGRAPH_CLASSES:
        what = sop_class.name.removesuffix(" Storage") if sop_class else "an object of no stated class"
        raise PhotographError(
            f"{name}: is DICOM {what}, which is not supported; give Ophthalmic Photography, VL Photographic "
            "or Secondary Capture"
        )
    modality = str(dataset.get("Modality", "") or "")
    if modality not in MODALITIES:
        raise PhotographError(
            f"{name}: has the modality {modality}; give a colour photograph of the fundus (OP)"
        )
    if "PixelData" not in dataset:
        raise PhotographError(f"{name}: has no pixels; request the whole object from the archive")
    if (reason := _unsuitable_light(dataset)) is not None:
        raise PhotographError(f"{name}: is {reason}; {_COLOUR}")
    if (reason := _unsuitable_scene(dataset)) is not None:
        raise PhotographError(f"{name}: {reason}; give a photograph of the fundus")


def _unsuitable_light(dataset: Dataset) -> str | None:
    """Return why an object is no photograph in white light; None where it is one."""
    for value in _values(dataset, "ImageType")[2:]:
        if value.upper() in _TYPES:
            return _TYPES[value.upper()]
    if dataset.get("ContrastBolusAgentSequence") or str(dataset.get("ContrastBolusAgent", "") or ""):
        return "an angiogram (a contrast agent is stated)"
    for sequence in ("LightPathFilterTypeStackCodeSequence", "ImagePathFilterTypeStackCodeSequence"):
        colour = _meaning(dataset, sequence, _FILTERS)
        if colour is not None:
            return f"a photograph through a filter ({colour})"
    if (channel := _meaning(dataset, "ChannelDescriptionCodeSequence", _CHANNELS)) is not None:
        return f"a photograph of one channel ({channel})"
    grey = str(dataset.get("PhotometricInterpretation", "")).startswith("MONOCHROME")
    return "grey: infrared, red-free, autofluorescence or an angiogram" if grey else None


def _unsuitable_scene(dataset: Dataset) -> str | None:
    """Return why an object shows no fundus; None where it may show one."""
    if (device := _meaning(dataset, "AcquisitionDeviceTypeCodeSequence", _DEVICES)) is not None:
        return f"was taken by {device}"
    if (region := _meaning(dataset, "AnatomicRegionSequence", _ELSEWHERE)) is not None:
        return f"shows {region}"
    return None


def _values(dataset: Dataset, keyword: str) -> list[str]:
    """Return the values of an attribute as texts; an empty list where it is absent or empty."""
    value = dataset.get(keyword)
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(item) for item in value]


def _numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Return the values of an attribute as numbers; an empty list if it is absent, empty or not numeric."""
    try:
        values = dataset.get(keyword)
        if values is None or values == "":
            return []
        return [float(value) for value in (values if isinstance(values, MultiValue | list) else [values])]
    except _DAMAGED:
        return []


def _meaning(dataset: Dataset, keyword: str, meanings: Mapping[str, str]) -> str | None:
    """Return the meaning of the first known code of a sequence, in SNOMED CT or, in older objects, SNOMED RT.

    Args:
        dataset: the object.
        keyword: keyword of a sequence of codes.
        meanings: code of SNOMED CT -> meaning.
    """
    for item in dataset.get(keyword) or ():
        stated = Code(str(item.get("CodeValue", "")), str(item.get("CodingSchemeDesignator", "")), "")
        for value, meaning in meanings.items():
            if stated == Code(value, "SCT", ""):
                return meaning
    return None


def _frame_count(dataset: Dataset) -> int:
    return max(1, int(dataset.get("NumberOfFrames", 1) or 1))


def _photograph_count(header: Dataset) -> int:
    is_photograph = str(header.get("SOPClassUID", "")) in PHOTOGRAPH_CLASSES
    return _frame_count(header) if is_photograph else 1


def _select_frame(count: int, frame: int | None, name: str) -> int:
    """Return the number of the requested frame, from 1, as Python's own type."""
    if frame is None and count > 1:
        raise PhotographError(
            f"{name}: holds {count} photographs; choose one with frame=1 to {count}, or process all of them "
            "with 'foveate predict' without --on"
        )
    try:
        number = 1 if frame is None else int(operator.index(frame))
    except TypeError:
        raise PhotographError(f"{name}: frame is {frame!r}; give its number, from 1") from None
    if not 1 <= number <= count:
        frames = "only frame 1" if count == 1 else f"frames 1 to {count}"
        raise PhotographError(f"{name}: has no frame {number}; it has {frames}")
    return number


def _pixel_spacing(dataset: Dataset, name: str) -> float | None:
    """Return the millimetres on the retina that one pixel spans, where the object states them.

    Rows and columns may differ by 1 %: their geometric mean preserves areas.
    """
    aspect, spacing = _numbers(dataset, "PixelAspectRatio"), _numbers(dataset, "PixelSpacing")
    for pair, unit in ((aspect, ""), (spacing, " mm")):
        if len(pair) == 2 and min(pair) > 0 and max(pair) > 1.01 * min(pair):
            raise PhotographError(
                f"{name}: its pixels are not square ({pair[0]:g} x {pair[1]:g}{unit}); resample it"
            )
    if len(spacing) != 2 or min(spacing) <= 0:
        return None
    if dataset.SOPClassUID not in OPHTHALMIC_CLASSES and not dataset.get("PixelSpacingCalibrationType"):
        return None
    across = float(np.sqrt(spacing[0] * spacing[1]))
    longest = across * max(int(dataset.get("Rows", 0) or 0), int(dataset.get("Columns", 0) or 0))
    return across if across >= SMALLEST_PIXEL_MM and longest <= LONGEST_SIDE_MM else None


def _origin(dataset: Dataset, frame: int | None) -> DicomOrigin:
    """Return the facts of the header that identify and locate the photograph."""
    side = str(dataset.get("ImageLaterality") or dataset.get("Laterality") or "")
    degrees = _numbers(dataset, "HorizontalFieldOfView")
    return DicomOrigin(
        uid=str(dataset.SOPInstanceUID),
        frame=frame,
        laterality="R" if side == "R" else "L" if side == "L" else None,
        field_degrees=degrees[0] if degrees and 0 < degrees[0] <= 360 else None,
        header=_header(dataset),
    )


def _header(dataset: Dataset) -> bytes:
    """Return the header as a DICOM file without pixels and without private, large or unreadable elements."""
    header = Dataset()
    for tag in sorted(dataset.keys()):
        if tag.group < FIRST_GROUP or tag.is_private or tag.group >= 0x5000:
            continue
        with suppress(*_DAMAGED):
            element = dataset[tag]
            if not isinstance(element.value, bytes) or len(element.value) < LARGE_ELEMENT:
                header.add(element)
    header.remove_private_tags()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    content = BytesIO()
    dcmwrite(content, header, enforce_file_format=True)
    return content.getvalue()


@contextmanager
def _damage_as_photograph_error(name: str) -> Iterator[None]:
    """Turn the exceptions of pydicom and codecs on a bad object into a PhotographError of one line."""
    try:
        yield
    except _DAMAGED as error:
        reason = one_line(error, 200)
        raise PhotographError(
            f"{name}: cannot be decoded as DICOM ({reason}), because it is damaged, incomplete or of a rare "
            "type; fetch it again, or export it as 8-bit RGB PNG"
        ) from None
