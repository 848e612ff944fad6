"""Synthetic DICOM objects of fundus photographs, in any transfer syntax, for tests and benchmarks.

Patient, study and camera are invented. Needs the extra `dicom`.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import compress, convert_color_space
from pydicom.sr.codedict import codes
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

OP8 = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
OP16 = "1.2.840.10008.5.1.4.1.1.77.1.5.2"
VL = "1.2.840.10008.5.1.4.1.1.77.1.4"
SC = "1.2.840.10008.5.1.4.1.1.7"
SC_COLOUR = "1.2.840.10008.5.1.4.1.1.7.4"

UNPACKED = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)

LOSSLESS = (*UNPACKED, RLELossless, JPEGLSLossless, JPEG2000Lossless)

LOSSY = (JPEGBaseline8Bit, JPEGLSNearLossless, JPEG2000)


def coded(code) -> list[Dataset]:
    """Return a sequence of one code."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = (
        code.value,
        code.scheme_designator,
        code.meaning,
    )
    return [item]


def op(pixels: np.ndarray, number: int = 0, *, study: int = 0, **changes) -> Dataset:
    """Return an Ophthalmic Photography object of one photograph, uncompressed.

    Args:
        pixels: uint8 or uint16, rows x columns x 3, or frames before that.
        number: makes its UIDs.
        study: the same.
        changes: attributes to set, or to remove where the value is ....
    """
    made = Dataset()
    deep = pixels.dtype == np.uint16
    _identify(made, number, study)
    made.SOPClassUID = OP16 if deep else OP8
    made.Modality = "OP"
    made.ImageType = ["ORIGINAL", "PRIMARY", "", "COLOR"]
    made.ImageLaterality = "R"
    made.AnatomicRegionSequence = coded(codes.SCT.Retina)
    made.PixelSpacing = [0.005, 0.005]
    made.HorizontalFieldOfView = 50.0
    _acquire(made)
    put(made, pixels)
    for keyword, value in changes.items():
        if value is ...:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


def put(made: Dataset, pixels: np.ndarray, *, bits: int | None = None) -> None:
    """Put pixels into an object, uncompressed."""
    frames = pixels if pixels.ndim == 4 else pixels[np.newaxis]
    count, rows, columns, planes = frames.shape
    made.NumberOfFrames = count
    made.Rows, made.Columns, made.SamplesPerPixel = rows, columns, planes
    made.PlanarConfiguration = 0
    made.PhotometricInterpretation = "RGB"
    made.BitsAllocated = 8 * pixels.dtype.itemsize
    made.BitsStored = bits or made.BitsAllocated
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = 0
    made.PixelData = frames.tobytes() + b"\0" * (frames.nbytes % 2)
    made["PixelData"].VR = "OW" if pixels.dtype == np.uint16 else "OB"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def encoded(made: Dataset, syntax: str) -> Dataset:
    """Return an object in another transfer syntax."""
    if syntax in UNPACKED:
        made.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian and made.BitsAllocated == 16:
            made.PixelData = np.frombuffer(made.PixelData, "<u2").byteswap().tobytes()
        return made
    if syntax == JPEGBaseline8Bit:
        return as_jpeg(made, jpeg(made.pixel_array))
    options = {JPEG2000: {"j2k_cr": [10]}, JPEGLSNearLossless: {"jls_error": 2}}.get(syntax, {})
    pixels = made.pixel_array
    colours = {JPEG2000: "YBR_ICT", JPEG2000Lossless: "YBR_RCT"}
    made.PhotometricInterpretation = colours.get(syntax, "RGB")
    compress(made, syntax, pixels, generate_instance_uid=False, **options)
    return made


def jpeg(pixels: np.ndarray, **options) -> bytes:
    """Return a JPEG stream."""
    content = BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", **{"quality": 90} | options)
    return content.getvalue()


def as_jpeg(made: Dataset, stream: bytes, colours: str = "YBR_FULL_422") -> Dataset:
    """Put a JPEG stream into an object as it is."""
    made.PixelData = encapsulate([stream])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    made.PhotometricInterpretation = colours
    made.PlanarConfiguration = 0
    made.LossyImageCompression = "01"
    made.LossyImageCompressionRatio = 10
    made.LossyImageCompressionMethod = "ISO_10918_1"
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return made


def as_ybr(made: Dataset, pixels: np.ndarray) -> Dataset:
    """Put pixels into an object as uncompressed YBR_FULL."""
    put(made, convert_color_space(pixels, "RGB", "YBR_FULL"))
    made.PhotometricInterpretation = "YBR_FULL"
    return made


def as_palette(made: Dataset, indices: np.ndarray, table: np.ndarray) -> Dataset:
    """Put a picture of indices and a palette of 256 x 3 levels of 16 bits into an object."""
    put(made, indices[..., np.newaxis])
    made.PhotometricInterpretation = "PALETTE COLOR"
    del made.PlanarConfiguration
    for place, colour in enumerate(("Red", "Green", "Blue")):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(made, f"{colour}PaletteColorLookupTableData", table[:, place].astype("<u2").tobytes())
    return made


def save(made: Dataset, path: Path) -> Path:
    """Write an object as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path


def _identify(made: Dataset, number: int, study: int) -> None:
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.1.{study}.{number}"
    made.StudyInstanceUID = f"1.2.826.0.1.3680043.8.498.2.{study}"
    made.SeriesInstanceUID = f"1.2.826.0.1.3680043.8.498.3.{study}.{number}"
    made.PatientName, made.PatientID = "Müster^Erika", "PAT-4711"
    made.PatientBirthDate, made.PatientSex = "19600102", "F"
    made.StudyDate, made.StudyTime, made.StudyID = "20260102", "101500", "S1"
    made.SeriesDate, made.SeriesTime = "20260102", "101501"
    made.AccessionNumber, made.ReferringPhysicianName = "ACC-1", "Ärztin^Anna"
    made.StudyDescription, made.InstitutionName = "Screening of Erika", "Clinic at the Lake"
    made.SeriesNumber, made.InstanceNumber = number + 1, number + 1
    made.ContentDate, made.ContentTime = "20260102", "101502"
    made.AcquisitionDateTime = "20260102101502"
    made.Manufacturer, made.ManufacturerModelName = "Nobody", "Camera"
    made.DeviceSerialNumber, made.SoftwareVersions = "SN-1", "1"


def _acquire(made: Dataset) -> None:
    """State how it was taken, as the information object definition asks for."""
    made.PatientOrientation = ["L", "F"]
    made.BurnedInAnnotation = "NO"
    made.LossyImageCompression = "00"
    made.SynchronizationFrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.4"
    made.SynchronizationTrigger = "NO TRIGGER"
    made.AcquisitionTimeSynchronized = "N"
    made.FrameIncrementPointer, made.FrameTime = 0x00181063, 0
    made.PatientEyeMovementCommanded = ""
    made.EmmetropicMagnification = None
    made.IntraOcularPressure = None
    made.PupilDilated = "NO"
    made.RefractiveStateSequence = []
    made.DetectorType = "CMOS"
    made.AcquisitionDeviceTypeCodeSequence = coded(codes.SCT.FundusCamera)
    made.IlluminationTypeCodeSequence = []
    made.LightPathFilterTypeStackCodeSequence = []
    made.ImagePathFilterTypeStackCodeSequence = []
    made.LensesCodeSequence = []
