"""DICOM objects become the photographs that they hold, or are refused by name."""

import contextlib
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tiny_dicom
import tiny_package
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    OphthalmicTomographyImageStorage,
    RLELossless,
)

from foveate.errors import PhotographError
from foveate.photographs import _dicom_loader, list_files, read

EXAMPLE = Path(__file__).parent.parent / "examples" / "IDRiD_376_small.jpg"

FUNDUS = tiny_package.fundus()


@pytest.fixture(scope="module")
def example():
    """A part of a real photograph, with odd sides."""
    return np.asarray(Image.open(EXAMPLE).convert("RGB"))[200:631, 300:901]


def read_object(tmp_path, made, **options):
    return read(tiny_dicom.save(made, tmp_path / "eye.dcm"), **options)


def refused(tmp_path, made, **options):
    with pytest.raises(PhotographError) as error:
        read_object(tmp_path, made, **options)
    line = str(error.value)
    assert "\n" not in line
    assert line.startswith(str(tmp_path / "eye.dcm"))
    return line


# ---- pixels


@pytest.mark.parametrize("syntax", tiny_dicom.LOSSLESS, ids=lambda uid: UID(uid).name)
def test_lossless_objects_come_back_pixel_by_pixel(tmp_path, example, syntax):
    got = read_object(tmp_path, tiny_dicom.encoded(tiny_dicom.op(example), syntax))

    np.testing.assert_array_equal(got.pixels, example)
    assert not got.pixels.flags.writeable


@pytest.mark.parametrize("syntax", tiny_dicom.LOSSLESS, ids=lambda uid: UID(uid).name)
def test_16_bit_objects_are_scaled_by_the_bits_that_are_stored(tmp_path, example, syntax):
    deep = example.astype(np.uint16) * 16 + 7  # 12 bits: 16 levels for each of ours
    made = tiny_dicom.op(deep)
    tiny_dicom.put(made, deep, bits=12)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID

    got = read_object(tmp_path, tiny_dicom.encoded(made, syntax))

    np.testing.assert_array_equal(got.pixels, np.rint(deep * 255.0 / 4095).astype(np.uint8))


def test_a_jpeg_from_a_camera_has_the_levels_of_the_same_jpeg_as_a_file(tmp_path):
    stream = EXAMPLE.read_bytes()
    made = tiny_dicom.as_jpeg(tiny_dicom.op(np.asarray(Image.open(EXAMPLE))), stream)

    np.testing.assert_array_equal(read_object(tmp_path, made).pixels, read(EXAMPLE).pixels)


@pytest.mark.parametrize("syntax", tiny_dicom.LOSSY, ids=lambda uid: UID(uid).name)
def test_what_is_stored_with_loss_is_near(tmp_path, example, syntax):
    got = read_object(tmp_path, tiny_dicom.encoded(tiny_dicom.op(example), syntax))

    assert np.abs(got.pixels.astype(int) - example).mean() < 3


@pytest.mark.parametrize("colours", ["RGB", "YBR_FULL_422"])
def test_a_jpeg_says_itself_which_colours_it_holds(tmp_path, example, colours):
    stream = tiny_dicom.jpeg(example)
    made = tiny_dicom.as_jpeg(tiny_dicom.op(example), stream, colours)

    np.testing.assert_array_equal(
        read_object(tmp_path, made).pixels, np.asarray(Image.open(BytesIO(stream)).convert("RGB"))
    )


def test_where_a_jpeg_says_nothing_of_its_colours_the_header_does(tmp_path, example):
    stream = tiny_dicom.jpeg(example, subsampling=0)
    unmarked = stream[:2] + stream[4 + int.from_bytes(stream[4:6]) :]  # without JFIF
    assert b"JFIF" not in unmarked
    as_rgb = read_object(tmp_path, tiny_dicom.as_jpeg(tiny_dicom.op(example), unmarked, "RGB")).pixels
    as_ybr = read_object(tmp_path, tiny_dicom.as_jpeg(tiny_dicom.op(example), unmarked, "YBR_FULL")).pixels

    picture = Image.open(BytesIO(stream))
    picture.draft("YCbCr", picture.size)
    np.testing.assert_array_equal(as_rgb, np.asarray(picture))
    np.testing.assert_array_equal(as_ybr, np.asarray(Image.open(BytesIO(stream))))


@pytest.mark.parametrize("syntax", [tiny_dicom.UNPACKED[0], RLELossless, JPEGLSLossless])
def test_ybr_is_brought_to_rgb(tmp_path, example, syntax):
    made = tiny_dicom.as_ybr(tiny_dicom.op(example), example)
    if syntax in (RLELossless, JPEGLSLossless):
        pydicom.pixels.compress(made, syntax, generate_instance_uid=False)
        made.PhotometricInterpretation = "YBR_FULL"

    got = read_object(tmp_path, made)

    assert np.abs(got.pixels.astype(int) - example).max() <= 2, "rounding twice"


def test_ybr_with_half_the_colour_is_brought_to_rgb(tmp_path):
    flat = np.zeros((256, 300, 3), np.uint8)
    flat[:] = (200, 90, 40)
    flat[128:] = (30, 120, 60)
    ybr = pydicom.pixels.convert_color_space(flat, "RGB", "YBR_FULL")
    halved = np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], axis=-1)
    made = tiny_dicom.op(flat)
    made.PixelData = halved.tobytes()
    made.PhotometricInterpretation = "YBR_FULL_422"

    assert np.abs(read_object(tmp_path, made).pixels.astype(int) - flat).max() <= 2


def test_planes_are_put_together(tmp_path, example):
    made = tiny_dicom.op(example)
    made.PlanarConfiguration = 1
    made.PixelData = np.moveaxis(example, -1, 0).tobytes() + b"\0"

    np.testing.assert_array_equal(read_object(tmp_path, made).pixels, example)


def test_a_palette_is_looked_up(tmp_path):
    indices = np.random.default_rng(0).integers(0, 256, (260, 300), np.uint8)
    table = np.random.default_rng(1).integers(0, 65536, (256, 3), np.uint16)

    got = read_object(tmp_path, tiny_dicom.as_palette(tiny_dicom.op(FUNDUS), indices, table))

    np.testing.assert_array_equal(got.pixels, np.rint(table[indices] / 257.0).astype(np.uint8))


def test_bits_above_those_stored_do_not_count(tmp_path, example):
    deep = example.astype(np.uint16) << 2
    made = tiny_dicom.op(deep)
    tiny_dicom.put(made, deep | np.uint16(0xF000), bits=10)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID

    np.testing.assert_array_equal(
        read_object(tmp_path, made).pixels, np.rint(deep * 255.0 / 1023).astype(np.uint8)
    )


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_a_stream_of_more_bits_than_its_header_is_refused(tmp_path, example, syntax):
    deep = example.astype(np.uint16) * 16
    made = tiny_dicom.op(deep)
    tiny_dicom.put(made, deep, bits=12)
    tiny_dicom.encoded(made, syntax)
    made.BitsStored, made.HighBit = 10, 9
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID

    assert re.search(r"its levels reach 40\d\d, but its header says 10 bits", refused(tmp_path, made))


@pytest.mark.parametrize(("fewer", "bits"), [(12, 16), (14, 16), (10, 12)])
def test_levels_of_fewer_bits_than_the_header_says_are_refused(tmp_path, example, fewer, bits):
    deep = example.astype(np.uint16) << (fewer - 8)
    made = tiny_dicom.op(deep)
    tiny_dicom.put(made, deep, bits=bits)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID

    assert f"its {bits}-bit levels reach only {deep.max()}, as if they had" in refused(tmp_path, made)


@pytest.mark.parametrize("more", [b"\0", b"\xff", b"appended by a camera"])
def test_what_follows_a_jpeg_in_an_object_does_no_harm(tmp_path, more):
    stream, pixels = EXAMPLE.read_bytes(), np.asarray(Image.open(EXAMPLE))
    made = tiny_dicom.as_jpeg(tiny_dicom.op(pixels), stream + more)

    np.testing.assert_array_equal(read_object(tmp_path, made).pixels, read(EXAMPLE).pixels)
    made = tiny_dicom.as_jpeg(tiny_dicom.op(pixels), stream[:-2] + more)
    assert "the end of the JPEG is missing" in refused(tmp_path, made)


# ---- frames


@pytest.mark.parametrize("syntax", [*tiny_dicom.UNPACKED, JPEGLSLossless])
def test_each_frame_is_a_photograph_of_its_own(tmp_path, syntax):
    frames = np.stack([tiny_package.fundus(seed=seed) for seed in range(3)])
    path = tiny_dicom.save(tiny_dicom.encoded(tiny_dicom.op(frames), syntax), tmp_path / "eyes" / "pair.dcm")

    listed = list_files([str(tmp_path / "eyes")]).photographs

    assert [(photograph.name, photograph.frame) for photograph in listed] == [
        ("pair_frame-1", 1),
        ("pair_frame-2", 2),
        ("pair_frame-3", 3),
    ]
    for photograph, expected in zip(listed, frames, strict=True):
        got = read(path, frame=photograph.frame)
        np.testing.assert_array_equal(got.pixels, expected)
        assert got.origin.frame == photograph.frame


def test_which_frame_is_meant_must_be_said(tmp_path):
    made = tiny_dicom.op(np.stack([FUNDUS, FUNDUS]))

    assert "holds 2 photographs; choose one with frame=1 to 2" in refused(tmp_path, made)
    assert "has no frame 3; it has frames 1 to 2" in refused(tmp_path, made, frame=3)
    path = tiny_package.photograph(tmp_path / "eye.png")
    with pytest.raises(PhotographError, match="has no frame 1"):
        read(path, frame=1)


FRAMES = """
import json
import sys
import numpy as np
from foveate.errors import PhotographError
from foveate.photographs import read

print(json.dumps(read(sys.argv[1], frame=np.int64(2)).origin.frame))
for frame in ("2", 1.5):
    try:
        print("done:", read(sys.argv[1], frame=frame))
    except PhotographError as error:
        print(error)
"""


def test_a_frame_is_a_number_of_any_integer_type(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_dicom.save(tiny_dicom.op(np.stack([FUNDUS, FUNDUS])), tmp_path / "pair.dcm")

    done = subprocess.run(  # without the type checks that the tests add
        [sys.executable, "-c", FRAMES, "pair.dcm"], capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines() == [
        "2",
        "pair.dcm: frame is '2'; give its number, from 1",
        "pair.dcm: frame is 1.5; give its number, from 1",
    ]


def test_the_only_frame_of_an_object_is_named(tmp_path):
    assert "has no frame 2; it has only frame 1" in refused(tmp_path, tiny_dicom.op(FUNDUS), frame=2)


def test_an_object_of_one_frame_is_one_photograph_of_its_own_name(tmp_path):
    tiny_dicom.save(tiny_dicom.op(FUNDUS), tmp_path / "eye.DCM")

    (photograph,) = list_files([str(tmp_path)]).photographs

    assert (photograph.name, photograph.frame) == ("eye", None)


def test_a_file_without_ending_is_known_by_its_content(tmp_path):
    tiny_dicom.save(tiny_dicom.op(np.stack([FUNDUS, FUNDUS])), tmp_path / "IM0001")

    listed = list_files([str(tmp_path / "IM0001")]).photographs

    assert [photograph.name for photograph in listed] == ["IM0001_frame-1", "IM0001_frame-2"]


def test_a_file_named_by_its_uid_keeps_the_whole_of_it_in_the_names_of_its_frames(tmp_path):
    for name in ("1.2.840.5", "1.2.840.6"):
        tiny_dicom.save(tiny_dicom.op(np.stack([FUNDUS, FUNDUS])), tmp_path / name)

    listed = list_files([str(tmp_path / "1.2.840.5"), str(tmp_path / "1.2.840.6")]).photographs

    assert [photograph.name for photograph in listed] == [
        f"1.2.840.{number}_frame-{frame}" for number in (5, 6) for frame in (1, 2)
    ]


# ---- what is stated beside the pixels


def test_laterality_spacing_and_field_of_view_are_kept(tmp_path):
    got = read_object(tmp_path, tiny_dicom.op(FUNDUS, ImageLaterality="L", PixelSpacing=[0.004, 0.004]))

    assert got.spacing == pytest.approx(0.004)
    assert (got.origin.laterality, got.origin.field_degrees) == ("L", 50.0)
    assert got.origin.uid == "1.2.826.0.1.3680043.8.498.1.0.0"
    header = pydicom.dcmread(BytesIO(got.origin.header))
    assert str(header.PatientName) == "Müster^Erika"
    assert "PixelData" not in header


@pytest.mark.parametrize(
    "changes",
    [
        {"PixelSpacing": ...},
        {"PixelSpacing": None},
        {"PixelSpacing": [1.0, 1.0]},  # no eye is a quarter of a metre wide
        {"PixelSpacing": [0.0, 0.0]},
        {"PixelSpacing": [1e-8, 1e-8]},  # no light shows anything so small
        {"SOPClassUID": tiny_dicom.SC},  # of a scanned slide or a screen, for all that is message
        {"SOPClassUID": tiny_dicom.VL},
    ],
)
def test_no_millimetre_is_invented(tmp_path, changes):
    made = tiny_dicom.op(FUNDUS)
    made.NominalScannedPixelSpacing = [0.1, 0.1]
    for keyword, value in changes.items():
        if value is ...:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)

    assert read_object(tmp_path, made).spacing is None


def test_a_calibrated_secondary_capture_states_its_spacing(tmp_path):
    made = tiny_dicom.op(FUNDUS, SOPClassUID=tiny_dicom.SC, PixelSpacingCalibrationType="GEOMETRY")

    assert read_object(tmp_path, made).spacing == pytest.approx(0.005)


def test_pixels_that_are_not_square_are_refused(tmp_path):
    assert "not square (0.005 x 0.01 mm)" in refused(
        tmp_path, tiny_dicom.op(FUNDUS, PixelSpacing=[0.005, 0.01])
    )
    assert "not square (4 x 3)" in refused(tmp_path, tiny_dicom.op(FUNDUS, PixelAspectRatio=[4, 3]))


def test_private_and_large_elements_do_not_travel(tmp_path):
    made = tiny_dicom.op(FUNDUS)
    made.private_block(0x0011, "CAMERA", create=True).add_new(1, "LO", "Erika's second name")
    made.ICCProfile = bytes(100_000)

    header = pydicom.dcmread(BytesIO(read_object(tmp_path, made).origin.header))

    assert "ICCProfile" not in header
    assert not [element for element in header if element.tag.is_private]


def test_a_false_number_of_frames_makes_one_photograph_that_is_refused(tmp_path):
    made = tiny_dicom.op(FUNDUS)
    made.NumberOfFrames = 200_000
    path = tiny_dicom.save(made, tmp_path / "eye.dcm")

    (listed,) = list_files([str(path)]).photographs

    assert (listed.name, listed.frame) == ("eye", None)
    for frame in (None, 1):
        with pytest.raises(PhotographError, match=r"eye\.dcm: states 200,000 frames, more than it can hold"):
            read(path, frame=frame)


def test_an_object_that_is_no_photograph_is_listed_once_and_not_for_each_frame(tmp_path):
    volume = tiny_dicom.op(np.stack([FUNDUS] * 3), SOPClassUID=OphthalmicTomographyImageStorage)
    path = tiny_dicom.save(volume, tmp_path / "oct.dcm")

    (listed,) = list_files([str(path)]).photographs

    assert (listed.name, listed.frame) == ("oct", None)
    with pytest.raises(
        PhotographError, match=r"oct\.dcm: is DICOM Ophthalmic Tomography Image, which is not"
    ):
        read(path)


# ---- refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "", "FA"]}, "a fluorescein angiogram"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "", "ICG"]}, "an indocyanine green angiogram"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "", "REDFREE"]}, "a red-free photograph"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "", "IR"]}, "an infrared photograph"),
        ({"ContrastBolusAgent": "Fluorescein"}, "an angiogram (a contrast agent is stated)"),
        (
            {"LightPathFilterTypeStackCodeSequence": tiny_dicom.coded(codes.SCT.GreenOpticalFilter)},
            "through a filter (green)",
        ),
        (
            {"ImagePathFilterTypeStackCodeSequence": tiny_dicom.coded(codes.SCT.InfraredOpticalFilter)},
            "through a filter (infrared)",
        ),
        (
            {"ChannelDescriptionCodeSequence": tiny_dicom.coded(codes.SCT.Infrared)},
            "a photograph of one channel (infrared)",
        ),
        (
            {"AcquisitionDeviceTypeCodeSequence": tiny_dicom.coded(codes.SCT.ExternalCamera)},
            "was taken by an external camera",
        ),
        ({"AnatomicRegionSequence": tiny_dicom.coded(codes.SCT.Cornea)}, "shows the cornea"),
        (
            {"AnatomicRegionSequence": tiny_dicom.coded(Code("T-AA200", "SRT", "Cornea"))},
            "shows the cornea",
        ),
        ({"Modality": "OPT"}, "has the modality OPT"),
        (
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.5.4"},
            "is DICOM Ophthalmic Tomography Image, which is not supported",
        ),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "is DICOM CT Image, which is not supported"),
        ({"PixelData": ...}, "has no pixels"),
        ({"PhotometricInterpretation": "CMYK"}, "3 samples per pixel as CMYK"),
        ({"PixelRepresentation": 1}, "its levels are signed"),
        ({"BitsStored": 7, "HighBit": 6}, "7 bits up to bit 6 of 8 are not supported"),
        ({"Rows": 100}, "256 x 100 px, but a photograph needs at least 256"),
        ({"Rows": 60000, "Columns": 60000}, "more than the limit of 120,000,000"),
    ],
)
def test_what_is_no_colour_photograph_of_a_fundus_is_refused_by_name(tmp_path, changes, message):
    assert message in refused(tmp_path, tiny_dicom.op(FUNDUS, **changes))


@pytest.mark.parametrize("colours", ["MONOCHROME1", "MONOCHROME2"])
def test_grey_is_refused(tmp_path, colours):
    made = tiny_dicom.op(FUNDUS)
    made.PhotometricInterpretation, made.SamplesPerPixel = colours, 1
    made.PixelData = FUNDUS[..., 0].tobytes()

    assert "is grey: infrared, red-free, autofluorescence or an angiogram" in refused(tmp_path, made)


def test_three_equal_colours_are_refused(tmp_path):
    assert "red, green and blue are equal" in refused(tmp_path, tiny_dicom.op(FUNDUS[..., [0, 0, 0]]))


def test_filters_that_are_none_do_no_harm(tmp_path):
    filters = tiny_dicom.coded(codes.DCM.NoFilter) + tiny_dicom.coded(codes.SCT.PolarizingOpticalFilter)

    assert read_object(tmp_path, tiny_dicom.op(FUNDUS, LightPathFilterTypeStackCodeSequence=filters)).origin


def test_a_codec_that_is_missing_is_named(tmp_path):
    made = tiny_dicom.op(FUNDUS)
    made.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    if pydicom.pixels.get_decoder(JPEGLosslessSV1).is_available:
        pytest.skip("a codec for lossless JPEG is installed")

    assert "JPEG Lossless" in refused(tmp_path, made)


def test_what_reading_needs_is_named_where_it_is_missing(tmp_path, monkeypatch):
    path = tiny_dicom.save(tiny_dicom.op(FUNDUS), tmp_path / "eye.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    for name in [name for name in sys.modules if name.startswith("foveate.photographs._dicom")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("foveate.photographs._dicom", raising=False)

    with pytest.raises(
        PhotographError, match=r"is DICOM, which needs the extra 'dicom'; pip install 'foveate\[dicom\]'"
    ):
        read(path)
    assert _dicom_loader.count_frames(path) == 1


# ---- damage


@pytest.mark.parametrize(
    "syntax",
    [*tiny_dicom.UNPACKED, RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGBaseline8Bit],
    ids=lambda uid: UID(uid).name,
)
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_an_object_whose_end_is_missing_is_refused(tmp_path, syntax, share):
    path = tiny_dicom.save(tiny_dicom.encoded(tiny_dicom.op(FUNDUS), syntax), tmp_path / "eye.dcm")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])

    with pytest.raises(PhotographError, match=r"eye\.dcm: "):
        read(path)


@pytest.mark.parametrize("syntax", [*tiny_dicom.UNPACKED, JPEGBaseline8Bit], ids=lambda uid: UID(uid).name)
@pytest.mark.parametrize("zeros", [8, 16, 512, 1000])
def test_zeros_after_the_data_set_do_no_harm(tmp_path, syntax, zeros):
    path = tiny_dicom.save(tiny_dicom.encoded(tiny_dicom.op(FUNDUS), syntax), tmp_path / "eye.dcm")
    expected = read(path)
    path.write_bytes(path.read_bytes() + bytes(zeros))

    padded = read(path)

    np.testing.assert_array_equal(padded.pixels, expected.pixels)
    assert padded.origin == expected.origin


@pytest.mark.parametrize(
    "syntax", [tiny_dicom.UNPACKED[0], JPEGLSLossless, JPEG2000Lossless, JPEGBaseline8Bit]
)
def test_a_damaged_object_is_read_or_refused_and_nothing_else(tmp_path, syntax):
    path = tiny_dicom.save(tiny_dicom.encoded(tiny_dicom.op(FUNDUS), syntax), tmp_path / "eye.dcm")
    whole, rng = path.read_bytes(), np.random.default_rng(3)
    for _ in range(25):
        damaged = bytearray(whole)
        for place in rng.integers(132, min(len(whole), 4000), 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(PhotographError):
            assert read(path).pixels.dtype == np.uint8


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, JPEGBaseline8Bit])
def test_a_stream_of_another_size_than_its_header_is_refused_before_it_is_decoded(tmp_path, syntax):
    made = tiny_dicom.encoded(tiny_dicom.op(FUNDUS), syntax)
    made.Rows = 300

    assert "its compressed picture has 256 rows of 256, but its header says 300 of 256" in refused(
        tmp_path, made
    )


def test_a_deflated_object_that_would_unpack_without_end_is_refused(tmp_path):
    made = tiny_dicom.op(FUNDUS, Rows=400, Columns=400)
    made.PixelData = bytes(80_000_000)
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    assert _dicom_loader.count_frames(tiny_dicom.save(made, tmp_path / "eye.dcm")) == 1
    message = refused(tmp_path, made, limit=200_000)
    assert re.search(r"unpacks to more than 68 MB", message)
