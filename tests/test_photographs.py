"""What must hold for any file that is handed in, and for any set of paths."""

import contextlib
import errno
import hashlib
import io
import os
import re
import struct
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from foveate import photographs
from foveate.errors import PhotographError
from foveate.photographs import LIMIT_PIXELS, SUFFIXES, from_array, list_files, read
from foveate.photographs._decoding import exif_orientation, turn_upright
from foveate.photographs._names import FileLocation, unique_names

EXAMPLES = Path(__file__).parent.parent / "examples"

seeds = st.integers(0, 2**32 - 1)
sides = st.integers(256, 270)  # px, from the smallest that is read
one_folder = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


def colours(height=256, width=260, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def smooth(height=256, width=260):
    """A picture that JPEG keeps well: a ramp a colour, none mirrored onto itself."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 0.8, columns * 0.7, (rows + columns) * 0.4], axis=-1).astype(np.uint8)


def encoded(picture, format, **options):
    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(
        buffer, format, **options
    )
    return buffer.getvalue()


def oriented(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def deep(levels, ending):
    """Encode 16-bit RGB."""
    return cv2.imencode(ending, levels[..., ::-1])[1].tobytes()


def tiff(pixels, *, order="<", planes=1, photometric=2, more=()):
    """Write an uncompressed TIFF by hand, with tags that no encoder here writes."""
    height, width, samples = pixels.shape
    parts = [pixels[..., i] for i in range(samples)] if planes == 2 else [pixels]
    strips = [part.astype(part.dtype.newbyteorder(order)).tobytes() for part in parts]
    starts = [8 + sum(map(len, strips[:i])) for i in range(len(strips))]
    tags = [
        (256, "H", [width]),
        (257, "H", [height]),
        (258, "H", [8 * pixels.itemsize] * samples),
        (259, "H", [1]),
        (262, "H", [photometric]),
        (273, "I", starts),
        (277, "H", [samples]),
        (278, "H", [height]),
        (279, "I", [len(strip) for strip in strips]),
        (284, "H", [planes]),
        *more,
    ]
    directory = 8 + sum(map(len, strips))
    spill, entries, outside = directory + 6 + 12 * len(tags), b"", b""
    for tag, kind, values in sorted(tags):
        value = struct.pack(order + kind * len(values), *values)
        where = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(order + "I", spill + len(outside))
        outside += value if len(value) > 4 else b""
        entries += struct.pack(order + "HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + where
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, directory)
    return b"".join([head, *strips, struct.pack(order + "H", len(tags)), entries, b"\0\0\0\0", outside])


def png_header(width, height, depth=8, kind=2):
    """A PNG that claims a size and holds next to nothing."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    rest = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rest


def write_file(folder, content, name="eye.jpg"):
    path = folder / name
    path.write_bytes(content)
    return path


def refusal(path, **options):
    """The message of the error that reading raises: one line that begins with the file."""
    with pytest.raises(PhotographError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message


# Pixels


@one_folder
@given(st.tuples(sides, sides), seeds, st.sampled_from(["PNG", "TIFF", "tiff_lzw", "packbits"]))
def test_lossless_files_come_back_bit_for_bit(tmp_path, shape, seed, form):
    pixels = colours(*shape, seed)
    kind = {"format": form} if form.isupper() else {"format": "TIFF", "compression": form}
    path = write_file(tmp_path, encoded(pixels, **kind))

    photograph = read(path)

    np.testing.assert_array_equal(photograph.pixels, pixels)
    assert photograph.shape == shape
    assert photograph.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert photograph.source == str(path)


def test_a_jpeg_has_the_levels_that_another_decoder_gives(tmp_path):
    path = write_file(tmp_path, encoded(smooth(), "JPEG", quality=90))

    np.testing.assert_array_equal(read(path).pixels, cv2.imread(str(path))[..., ::-1])


def test_a_photograph_larger_than_a_strip_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(photographs._decoding, "_STRIP", 260 * 50 + 7)
    pixels = colours()

    np.testing.assert_array_equal(read(write_file(tmp_path, encoded(pixels, "PNG"))).pixels, pixels)


def test_pixels_are_contiguous_read_only_and_fit_for_opencv(tmp_path):
    path = write_file(tmp_path, encoded(smooth(), "JPEG", exif=oriented(6)))

    pixels = read(path).pixels

    assert pixels.flags.c_contiguous
    assert not pixels.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        pixels[0, 0] = 0
    assert cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).shape == pixels.shape[:2]
    assert cv2.resize(pixels, (10, 10), interpolation=cv2.INTER_AREA).shape == (10, 10, 3)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("shape", [(256, 256), (301, 259), (263, 320)])
def test_a_jpeg_has_the_levels_that_pillow_decodes(tmp_path, subsampling, progressive, shape):
    rng = np.random.default_rng(subsampling)
    blocks = rng.integers(0, 256, (shape[0] // 5 + 1, shape[1] // 5 + 1, 3), np.uint8)
    picture = Image.fromarray(blocks.repeat(5, axis=0).repeat(5, axis=1)[: shape[0], : shape[1]])
    options = {"quality": 85, "subsampling": subsampling, "progressive": progressive}
    content = encoded(picture, "JPEG", **options)

    photograph = read(write_file(tmp_path, content))

    np.testing.assert_array_equal(photograph.pixels, np.asarray(Image.open(io.BytesIO(content))))


def test_a_jpeg_with_a_harmless_warning_is_still_read(tmp_path):
    content = encoded(smooth(), "JPEG")
    version = content.index(b"JFIF") + 5
    warned = content[:version] + b"\3" + content[version + 1 :]  # libjpeg: unknown JFIF revision number

    photograph = read(write_file(tmp_path, warned))

    np.testing.assert_array_equal(photograph.pixels, np.asarray(Image.open(io.BytesIO(content))))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_the_content_decides_the_format(tmp_path, form):
    content = encoded(smooth(), form)

    expected = read(write_file(tmp_path, content, f"eye.{form.lower()}"))

    for name in ("eye.jpg", "eye.png", "eye.tif", "eye", "eye.txt"):
        np.testing.assert_array_equal(read(write_file(tmp_path, content, name)).pixels, expected.pixels)


def test_resolution_in_dots_per_inch_is_no_spacing_on_the_retina(tmp_path):
    for form in ("JPEG", "PNG", "TIFF"):
        assert read(write_file(tmp_path, encoded(smooth(), form, dpi=(300, 300)))).spacing is None


def test_a_colour_profile_changes_nothing(tmp_path):
    profile = b"\0" * 128

    plain, tagged = (encoded(smooth(), "PNG", icc_profile=icc) for icc in (None, profile))

    assert plain != tagged
    np.testing.assert_array_equal(
        read(write_file(tmp_path, plain)).pixels, read(write_file(tmp_path, tagged, "tagged.png")).pixels
    )


def test_the_examples_are_read_as_another_decoder_has_them_and_are_what_their_page_says():
    page = (EXAMPLES / "README.md").read_text()

    for path in sorted(EXAMPLES.glob("*.jpg")):
        photograph = read(path)
        np.testing.assert_array_equal(photograph.pixels, cv2.imread(str(path))[..., ::-1])
        assert f"| `{path.name}` | `{photograph.digest}` |" in page


def test_the_examples_come_from_the_data_set_as_their_page_says(shared_data):
    page = (EXAMPLES / "README.md").read_text()

    for name, digest in re.findall(r"^\| `(\w+\.jpg)`.*\| `([0-9a-f]{64})` \|$", page, re.MULTILINE):
        if "_small" not in name:
            content = (shared_data / "graded" / name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == digest


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_every_orientation_is_applied_in_every_format(tmp_path, form, orientation):
    path = write_file(tmp_path, encoded(smooth(), form, exif=oriented(orientation)))

    with Image.open(path) as image:
        reference = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read(path).pixels, reference)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, ["ab", "cd", "ef"]),
        (2, ["ba", "dc", "fe"]),
        (3, ["fe", "dc", "ba"]),
        (4, ["ef", "cd", "ab"]),
        (5, ["ace", "bdf"]),
        (6, ["eca", "fdb"]),
        (7, ["fdb", "eca"]),
        (8, ["bdf", "ace"]),
    ],
)
def test_turning_six_pixels_by_hand(orientation, upright):
    def pixels(rows):
        return np.array([[[ord(letter)] * 3 for letter in row] for row in rows], np.uint8)

    np.testing.assert_array_equal(turn_upright(pixels(["ab", "cd", "ef"]), orientation), pixels(upright))


@given(st.binary(max_size=64), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"Exif\0\0MM\0*\0\0\0\x08"]))
def test_broken_exif_counts_as_upright_or_says_a_valid_orientation(junk, head):
    assert 1 <= exif_orientation(head + junk) <= 8


@pytest.mark.parametrize("order", ["<", ">"])
@given(value=st.integers(0, 9) | st.integers(0, 2**16 - 1), before=st.integers(0, 3))
def test_orientation_is_found_in_both_byte_orders_behind_other_tags(order, value, before):
    mark = b"II*\0" if order == "<" else b"MM\0*"
    others = struct.pack(order + "HHII", 0x010F, 2, 4, 0) * before
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, value, 0)
    exif = mark + struct.pack(order + "IH", 8, before + 1) + others + entry

    assert exif_orientation(b"Exif\0\0" + exif) == (value if 1 <= value <= 8 else 1)


def test_broken_exif_does_not_keep_a_photograph_from_being_read(tmp_path):
    exif = b"Exif\0\0II*\0\xff\xff\xff\xff junk"

    for form in ("JPEG", "PNG"):
        assert read(write_file(tmp_path, encoded(smooth(), form, exif=exif))).shape == (256, 260)


# Depth, transparency, palettes


@pytest.mark.parametrize("ending", [".png", ".tiff"])
def test_16_bit_levels_are_scaled_to_the_nearest_of_8_bits(tmp_path, ending):
    every = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    levels = np.stack([every, every.T, every[::-1]], axis=-1)

    pixels = read(write_file(tmp_path, deep(levels, ending))).pixels

    np.testing.assert_array_equal(pixels, np.rint(levels / 65535 * 255).astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_tiff_is_turned_upright_too(tmp_path, orientation, order):
    levels = smooth().astype(np.uint16) * 257

    path = write_file(tmp_path, tiff(levels, order=order, more=[(0x0112, "H", [orientation])]))

    np.testing.assert_array_equal(read(path).pixels, turn_upright(smooth(), orientation))


def test_16_bit_png_is_turned_upright_too(tmp_path):
    plain = deep(smooth().astype(np.uint16) * 257, ".png")
    exif = oriented(6).tobytes().removeprefix(b"Exif\0\0")
    path = write_file(tmp_path, with_chunk(plain, b"eXIf", exif))

    np.testing.assert_array_equal(read(path).pixels, turn_upright(smooth(), 6))


def with_chunk(png, name, body):
    """Put a chunk behind a PNG's header."""
    chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return png[:33] + chunk + png[33:]


def test_16_bits_with_a_colour_named_transparent_are_refused(tmp_path):
    png = with_chunk(deep(smooth().astype(np.uint16) * 257, ".png"), b"tRNS", bytes(6))

    assert "16-bit colours with transparency" in refusal(write_file(tmp_path, png))


@pytest.mark.parametrize("wrong", [None, np.zeros((256, 260, 3), np.uint16), np.zeros((256, 260), np.uint16)])
def test_16_bits_that_two_decoders_read_differently_are_refused(tmp_path, monkeypatch, wrong):
    path = write_file(tmp_path, deep(smooth().astype(np.uint16) * 257, ".png"))

    monkeypatch.setattr(cv2, "imdecode", lambda *_: wrong)
    assert "two decoders read its 16 bits differently" in refusal(path)


def test_tripwire_pillow_still_cuts_16_bits_to_8_without_a_word(tmp_path):
    """If this fails, Pillow has learnt to read 16-bit RGB and OpenCV's part can go."""
    levels = np.full((256, 256, 3), 0x01FF, np.uint16)

    with Image.open(write_file(tmp_path, deep(levels, ".png"))) as image:
        assert image.mode == "RGB"
        assert image.getpixel((0, 0)) == (1, 1, 1)


@pytest.mark.parametrize("pixels", [colours(), colours().astype(np.uint16) * 257])
def test_planes_are_put_together_or_refused(tmp_path, pixels):
    path = write_file(tmp_path, tiff(pixels, planes=2))

    if pixels.itemsize == 1:
        np.testing.assert_array_equal(read(path).pixels, pixels)
    else:
        assert "16-bit colours in planes are not supported" in refusal(path)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_what_is_transparent_lies_on_black(tmp_path, form):
    pixels, alpha = colours(seed=1), colours(seed=2)[..., :1]
    path = write_file(tmp_path, encoded(np.concatenate([pixels, alpha], axis=-1), form))

    np.testing.assert_array_equal(read(path).pixels, np.floor(pixels * (alpha / 255) + 0.5))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_an_opaque_alpha_changes_nothing(tmp_path, form):
    pixels = colours()
    opaque = np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], axis=-1)

    np.testing.assert_array_equal(read(write_file(tmp_path, encoded(opaque, form))).pixels, pixels)


def test_one_colour_named_transparent_becomes_black(tmp_path):
    pixels = smooth()
    pixels[:9] = (7, 8, 9)

    path = write_file(tmp_path, encoded(pixels, "PNG", transparency=(7, 8, 9)))

    pixels[:9] = 0
    np.testing.assert_array_equal(read(path).pixels, pixels)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_a_palette_is_looked_up_exactly(tmp_path, form):
    picture = Image.fromarray(smooth()).quantize(64)

    pixels = read(write_file(tmp_path, encoded(picture, form))).pixels

    np.testing.assert_array_equal(pixels, np.asarray(picture.convert("RGB")))


def test_a_palette_with_a_transparent_entry_lies_on_black(tmp_path):
    picture = Image.fromarray(smooth()).quantize(64)

    pixels = read(write_file(tmp_path, encoded(picture, "PNG", transparency=5))).pixels

    entries = np.asarray(picture)
    np.testing.assert_array_equal(pixels[entries == 5], 0)
    np.testing.assert_array_equal(pixels[entries != 5], np.asarray(picture.convert("RGB"))[entries != 5])


# Refusals by name

GREY = Image.fromarray(smooth()[..., 0])
ANY = Image.fromarray(smooth())
GREEN = np.array([0, 1, 0], np.uint8)
RGBA16 = cv2.imencode(".png", np.full((256, 256, 4), 300, np.uint16))[1].tobytes()

BY_NAME = {
    "8-bit grey JPEG": (lambda: encoded(GREY, "JPEG"), "infrared or red-free"),
    "8-bit grey PNG": (lambda: encoded(GREY, "PNG"), "infrared or red-free"),
    "grey with alpha": (lambda: encoded(GREY.convert("LA"), "PNG"), "infrared or red-free"),
    "16-bit grey PNG": (lambda: encoded(np.full((256, 256), 9999, np.uint16), "PNG"), "infrared or red-free"),
    "16-bit grey TIFF": (
        lambda: encoded(np.full((256, 256), 9999, np.uint16), "TIFF"),
        "infrared or red-free",
    ),
    "32-bit grey TIFF": (
        lambda: encoded(np.full((256, 256), 9999, np.int32), "TIFF"),
        "infrared or red-free",
    ),
    "float grey TIFF": (
        lambda: encoded(np.full((256, 256), 0.5, np.float32), "TIFF"),
        "infrared or red-free",
    ),
    "1-bit": (lambda: encoded(GREY.convert("1"), "PNG"), "black and white"),
    "three equal colours": (lambda: encoded(GREY.convert("RGB"), "JPEG"), "infrared or red-free"),
    "one channel, JPEG": (
        lambda: encoded(Image.fromarray(smooth()[..., :1] * GREEN), "JPEG"),
        "only its green channel holds a picture: a grey photograph, infrared or red-free",
    ),
    "14 bits in 16": (
        lambda: deep(smooth().astype(np.uint16) * 64, ".png"),
        "its 16-bit levels reach only",
    ),
    "CMYK JPEG": (lambda: encoded(ANY.convert("CMYK"), "JPEG"), "is CMYK"),
    "CMYK TIFF": (lambda: encoded(ANY.convert("CMYK"), "TIFF"), "is CMYK"),
    "CIELAB TIFF": (lambda: encoded(ANY.convert("LAB"), "TIFF"), "is CIELAB"),
    "YCbCr TIFF": (lambda: tiff(smooth(), photometric=6), "stored as YCbCr"),
    "16-bit RGBA PNG": (lambda: RGBA16, "16-bit colours with transparency"),
    "32-bit RGB TIFF": (lambda: tiff(smooth().astype(np.uint32)), "cannot be decoded as TIFF"),
    "two pages": (lambda: encoded(ANY, "TIFF", save_all=True, append_images=[ANY]), "holds several pictures"),
    "animation": (
        lambda: encoded(ANY, "PNG", save_all=True, append_images=[ANY.rotate(90)]),
        "holds several pictures",
    ),
    "reduced copy first": (lambda: tiff(smooth(), more=[(254, "I", [1])]), "a reduced copy"),
    "rows missing": (
        lambda: tiff(smooth()).replace(
            struct.pack("<HHIH", 257, 3, 1, 256), struct.pack("<HHIH", 257, 3, 1, 257)
        ),
        "rows of its picture are missing",
    ),
    "DNG": (lambda: tiff(smooth(), more=[(50706, "I", [0x01040000])]), "a reduced copy"),
    "Canon raw": (lambda: b"II*\0\x10\0\0\0CR\x02\0" + bytes(300), "a camera's raw file"),
    "GIF": (lambda: encoded(ANY, "GIF"), "is a GIF"),
    "BMP": (lambda: encoded(ANY, "BMP"), "is a BMP"),
    "WebP": (lambda: b"RIFF\0\0\0\0WEBPVP8 " + bytes(200), "is a WebP"),
    "HEIC": (lambda: b"\0\0\0\x18ftypheic" + bytes(200), "is a HEIC"),
    "AVIF": (lambda: b"\0\0\0\x18ftypavif" + bytes(200), "is an AVIF"),
    "film": (lambda: b"\0\0\0\x18ftypmp42" + bytes(200), "is a video"),
    "JPEG 2000": (lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(200), "is a JPEG 2000"),
    "DICOM": (lambda: bytes(128) + b"DICM" + bytes(200), "is DICOM"),
    "DICOM and TIFF": (lambda: b"II*\0" + bytes(124) + b"DICM" + bytes(200), "is DICOM"),
    "DICOM without its preamble": (
        lambda: b"\x02\0\0\0UL\4\0" + bytes(200),
        "is DICOM without its preamble, which is not supported; request it again",
    ),
    "PDF": (lambda: b"%PDF-1.7\n" + bytes(200), "is a PDF"),
    "ZIP": (lambda: b"PK\x03\x04" + bytes(200), "is a ZIP archive"),
    "text": (lambda: "Auge, rechts: größer.\n".encode() * 9, "is text"),
    "text, a letter torn": (lambda: b"a" + "ö".encode() * 99, "is text"),
    "text, not Unicode": (lambda: "größer".encode("latin-1") * 99, "of an unknown type"),
    "junk": (lambda: b"\x01\x02\x03\x04" + bytes(200), "unknown type (begins with 01 02 03 04)"),
    "empty": (lambda: b"", "the file is empty"),
    "one byte": (lambda: b"\xff", "unknown type (begins with ff)"),
    "one pixel": (lambda: encoded(colours(1, 1), "PNG"), "1 x 1 px, but a photograph needs at least 256"),
    "narrow": (
        lambda: encoded(colours(300, 255), "JPEG"),
        "255 x 300 px, but a photograph needs at least 256",
    ),
    "flat": (lambda: encoded(colours(255, 300), "TIFF"), "300 x 255 px, but a photograph needs at least 256"),
    "bomb": (lambda: png_header(60_000, 60_000), "60000 x 60000 px, 3,600,000,000 in all"),
    "tile bomb": (
        lambda: tiff(smooth(), more=[(322, "I", [2**15]), (323, "I", [2**15]), (324, "I", [8])]),
        "tiles are larger",
    ),
}


@pytest.mark.parametrize("case", BY_NAME)
def test_what_is_no_photograph_is_refused_by_name(tmp_path, case):
    content, message = BY_NAME[case]

    assert message in refusal(write_file(tmp_path, content()))


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_frame_of_one_level_is_left_to_whoever_looks_for_the_field(tmp_path, level):
    pixels = np.full((256, 256, 3), level, np.uint8)

    assert read(write_file(tmp_path, encoded(pixels, "PNG"))).pixels.max() == level


@pytest.mark.parametrize(("rows", "is_read"), [(4, False), (8, True)], ids=["1.6 %", "3.1 %"])
def test_colour_in_more_than_a_few_pixels_makes_a_colour_photograph(tmp_path, rows, is_read):
    pixels = np.full((256, 260, 3), 90, np.uint8)
    pixels[1 : 1 + rows, :, 1] = 200

    path = write_file(tmp_path, encoded(pixels, "PNG"))

    if is_read:
        assert read(path).shape == (256, 260)
    else:
        assert "equal nearly everywhere" in refusal(path)


def test_the_limit_is_the_largest_that_is_read(tmp_path):
    path = write_file(tmp_path, encoded(colours(256, 260), "PNG"))

    assert read(path, limit=256 * 260).shape == (256, 260)
    assert "more than the limit of 66,559" in refusal(path, limit=256 * 260 - 1)


def test_100_megapixels_are_within_the_limit(tmp_path):
    """Nothing but the header is looked at; then the pixels turn out to be missing. No warning of Pillow's."""
    assert LIMIT_PIXELS >= 100_000_000
    assert "cannot be decoded as PNG" in refusal(write_file(tmp_path, png_header(12_000, 8_400)))
    assert "more than the limit of 120,000,000" in refusal(write_file(tmp_path, png_header(12_000, 10_001)))


# Damage

WHOLE = {
    "JPEG": encoded(smooth(), "JPEG"),
    "progressive JPEG": encoded(smooth(), "JPEG", progressive=True),
    "PNG": encoded(smooth(), "PNG"),
    "16-bit PNG": deep(smooth().astype(np.uint16) * 200, ".png"),
    "TIFF": encoded(smooth(), "TIFF"),
    "TIFF, Deflate": encoded(smooth(), "TIFF", compression="tiff_adobe_deflate"),
    "16-bit TIFF": tiff(smooth().astype(np.uint16) * 200),
}


@one_folder
@given(st.sampled_from(sorted(WHOLE)), st.floats(0, 1, exclude_max=True))
def test_a_file_whose_end_is_missing_is_refused(tmp_path, form, share):
    whole = WHOLE[form]

    refusal(write_file(tmp_path, whole[: int(share * len(whole))]))


@pytest.mark.parametrize("form", sorted(WHOLE))
@pytest.mark.parametrize("missing", [1, 2, 3, 4, 8, 12])
def test_a_file_that_lacks_its_last_bytes_is_refused(tmp_path, form, missing):
    refusal(write_file(tmp_path, WHOLE[form][:-missing]))


@pytest.mark.parametrize("form", ["JPEG", "progressive JPEG", "PNG", "16-bit PNG"])
@pytest.mark.parametrize("missing", [1, 2, 3, 8, 400])
def test_a_file_whose_end_was_never_copied_is_refused(tmp_path, form, missing):
    refusal(write_file(tmp_path, WHOLE[form][:-missing] + bytes(missing)))


def test_what_follows_the_picture_does_no_harm(tmp_path):
    for form in ("JPEG", "PNG"):
        assert read(write_file(tmp_path, WHOLE[form] + b"appended by a camera" * 9)).shape == (256, 260)


@one_folder
@given(st.sampled_from(sorted(WHOLE)), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path, form, blows):
    content = bytearray(WHOLE[form])
    for share, byte in blows:
        content[int(share**3 * (len(content) - 1))] = byte  # mostly in the header
    path = write_file(tmp_path, bytes(content))

    with contextlib.suppress(PhotographError):
        assert read(path).pixels.dtype == np.uint8


# Paths that are no files


def test_a_missing_file_is_named(tmp_path):
    assert "no such file" in refusal(tmp_path / "gone.jpg")


def test_a_folder_is_no_photograph(tmp_path):
    assert "is a folder" in refusal(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")

    assert "is not a regular file" in refusal(tmp_path / "pipe.jpg")


@pytest.mark.parametrize("pipe", ["pipe", "pipe.dcm", "eyes/run.json"])
def test_a_pipe_is_listed_without_waiting_for_it(tmp_path, pipe):
    (tmp_path / "eyes").mkdir()
    write_file(tmp_path / "eyes", WHOLE["PNG"])
    os.mkfifo(tmp_path / pipe)
    given = str(tmp_path / pipe.partition("/")[0])
    listed = []
    thread = threading.Thread(target=lambda: listed.append(list_files([given]).photographs), daemon=True)

    thread.start()
    thread.join(timeout=20)

    ((photograph,),) = listed
    assert photograph.name == ("eye" if pipe == "eyes/run.json" else "pipe")


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    path = write_file(tmp_path, WHOLE["PNG"])

    def forbid(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbid)  # permissions do not bind root, who may run this
    assert "cannot be read; ask for permission" in refusal(path)


@pytest.mark.parametrize("failing", ["pathlib.Path.open", "hashlib.file_digest", "mmap.mmap"])
def test_memory_that_runs_out_is_no_damaged_file(tmp_path, monkeypatch, failing):
    path = write_file(tmp_path, WHOLE["PNG"])

    def run_out(*_, **__):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(failing, run_out)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        read(path)


def test_a_name_too_long_for_the_disk_is_an_error_of_one_line(tmp_path):
    assert "cannot be opened" in refusal(tmp_path / ("e" * 300))


def test_a_line_break_in_a_name_is_escaped(tmp_path):
    path = write_file(tmp_path, b"text", "eye\n.jpg")

    with pytest.raises(PhotographError) as caught:
        read(path)
    assert "eye\\n.jpg" in str(caught.value)
    assert str(caught.value).isprintable()


# Arrays


def test_an_array_becomes_a_photograph_of_its_own():
    pixels = colours()

    photograph = from_array(pixels, source="camera", spacing=0.004)
    before = pixels.copy()
    pixels[:] = 0

    np.testing.assert_array_equal(photograph.pixels, before)
    assert not photograph.pixels.flags.writeable
    assert pixels.flags.writeable
    assert (photograph.source, photograph.spacing) == ("camera", 0.004)


def test_an_arrays_digest_tells_pixels_and_shapes_apart():
    tall, wide = colours(260, 300), colours(260, 300).reshape(300, 260, 3)
    altered = tall.copy()
    altered[259, 299, 2] ^= 1

    assert len({from_array(pixels).digest for pixels in (tall, wide, altered)}) == 3
    assert from_array(tall).digest == from_array(np.asfortranarray(tall)).digest


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((300, 300, 3), np.float32), r"the pixels are float32 of shape \(300, 300, 3\)"),
        (np.zeros((300, 300), np.uint8), r"the pixels are uint8 of shape \(300, 300\)"),
        (np.zeros((3, 300, 300), np.uint8), r"give uint8 of shape \(rows, columns, 3\)"),
        (np.zeros((255, 300, 3), np.uint8), "300 x 255 px"),
        (np.repeat(smooth()[..., :1], 3, axis=-1), "infrared or red-free"),
    ],
)
def test_an_array_that_is_no_photograph_is_refused(pixels, message):
    with pytest.raises(PhotographError, match=message):
        from_array(pixels)


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan"), float("inf")])
def test_a_spacing_that_is_no_length_is_refused(spacing):
    with pytest.raises(PhotographError, match="give a length above 0"):
        from_array(colours(), spacing=spacing)


# Lists of files


@pytest.fixture
def clinic(tmp_path, monkeypatch):
    """Photographs of two patients among other files. The files are empty, because none is opened."""
    for name in (
        "ann/left.jpg",
        "ann/right.JPG",
        "ann/2024/left.png",
        "bob/left.tiff",
        "bob/notes.txt",
        "bob/scan.pdf",
        ".cache/left.jpg",
        "ann/._left.jpg",
    ):
        path = tmp_path / "clinic" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "clinic"


def named(paths, **options):
    return [source.name for source in list_files([str(path) for path in paths], **options).photographs]


def test_a_folder_gives_its_photographs_in_order_without_what_is_hidden(clinic):
    listed = list_files([str(clinic)])

    assert [photograph.name for photograph in listed.photographs] == [
        "ann/left",
        "ann/right",
        "ann/2024/left",
        "bob/left",
    ]
    assert listed.photographs[0].path == clinic / "ann" / "left.jpg"
    assert listed.skipped == 2


def test_every_ending_of_the_set_is_found_in_either_case(tmp_path):
    for ending in SUFFIXES:
        (tmp_path / f"a{ending[1:]}{ending}").touch()
        (tmp_path / f"b{ending[1:]}{ending.upper()}").touch()

    assert len(named([tmp_path])) == 2 * len(SUFFIXES)


def test_a_file_given_by_itself_is_meant_whatever_its_ending(clinic):
    listed = list_files(["clinic/bob/scan.pdf"])

    assert [(photograph.name, photograph.path) for photograph in listed.photographs] == [
        ("scan.pdf", Path("clinic/bob/scan.pdf"))
    ]
    assert listed.skipped == 0


@pytest.mark.parametrize(
    ("pattern", "expected", "skipped"),
    [
        ("clinic/*/left.*", ["ann/left", "bob/left"], 0),
        ("clinic/**/left.*", ["ann/2024/left", "ann/left", "bob/left"], 0),
        ("clinic/b*", ["bob/left"], 2),
        ("clinic/bob/*", ["left"], 2),
        ("clinic/**", ["ann/left", "ann/right", "ann/2024/left", "bob/left"], 2),
        ("**/left.*", ["clinic/ann/2024/left", "clinic/ann/left", "clinic/bob/left"], 0),
        ("clinic/**/2024/**/*.png", ["ann/2024/left"], 0),
        ("c*/**/[a]??/*.jpg", ["clinic/ann/left"], 0),
        ("clinic/ann/[lr]*.[jJ]*", ["left", "right"], 0),
        ("cl?nic/ann/*.jpg", ["clinic/ann/left"], 0),
        ("clinic/ann/../bob/*.tiff", ["left"], 0),
        ("clinic/*/../bob/*.tiff", ["ann/bob/left"], 0),
    ],
)
def test_globs_match_as_a_shell_has_them(clinic, pattern, expected, skipped):
    for given_as in (pattern, f"{clinic.parent}/{pattern}"):
        listed = list_files([given_as])
        assert [photograph.name for photograph in listed.photographs] == expected
        assert listed.skipped == skipped


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path):
    (tmp_path / "eye[1].jpg").touch()
    (tmp_path / "eye1.jpg").touch()

    assert named([tmp_path / "eye[1].jpg"]) == ["eye[1]"]


def test_a_file_reached_twice_is_taken_once(clinic):
    left = "clinic/ann/left.jpg"

    assert named([left, f"{clinic}/ann/left.jpg", "clinic/ann/../ann/*.jpg"]) == ["left"]
    assert named(["clinic/bob", "clinic/bob/left.tiff", "clinic"])[0] == "left"
    assert len(named(["clinic/bob", "clinic"])) == 4


def test_a_file_named_after_it_was_skipped_is_not_counted_as_skipped(clinic):
    listed = list_files(["clinic/bob", "clinic/bob/scan.pdf"])

    assert [photograph.name for photograph in listed.photographs] == ["left", "scan.pdf"]
    assert listed.skipped == 1


@pytest.mark.parametrize("pattern", ["clinic/**", "clinic/**/*", "clinic/**/*.jpg", "clinic/**/ann/**/*.jpg"])
def test_globs_end_where_links_lead_round_in_circles(clinic, pattern):
    for number in range(4):  # with two links, Python's glob takes as long as the universe
        (clinic / f"loop{number}").symlink_to(clinic, target_is_directory=True)
        (clinic / "ann" / f"loop{number}").symlink_to(clinic / "ann", target_is_directory=True)

    photographs = {os.path.realpath(file.path) for file in list_files([pattern]).photographs}

    assert str(clinic / "ann" / "left.jpg") in photographs
    assert len(photographs) == (1 if pattern.endswith("jpg") else 4)


def test_links_are_followed_and_loops_end(clinic):
    (clinic / "bob" / "again").symlink_to(clinic, target_is_directory=True)
    elsewhere = clinic.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "eye.jpg").touch()
    (clinic / "linked").symlink_to(elsewhere, target_is_directory=True)

    assert named(["clinic"]) == ["ann/left", "ann/right", "ann/2024/left", "bob/left", "linked/eye"]


def test_two_links_to_one_file_are_two_photographs(clinic):
    store = clinic.parent / "store.jpg"
    store.touch()
    for name in ("ann/eye.jpg", "bob/eye.jpg"):
        (clinic / name).symlink_to(store)
    (clinic / "bob" / "again").symlink_to(clinic / "ann", target_is_directory=True)

    assert [name for name in named(["clinic", "clinic/bob/eye.jpg"]) if "eye" in name] == [
        "ann/eye",
        "bob/eye",
    ]
    assert named(["clinic/ann/eye.jpg", "clinic/bob/eye.jpg"]) == ["ann/eye", "bob/eye"]
    assert named(["clinic/ann/eye.jpg", "clinic/bob/again/eye.jpg"]) == ["eye"]


def test_a_link_to_nowhere_is_not_passed_over(clinic):
    (clinic / "bob" / "lost.jpg").symlink_to("gone.jpg")

    assert "bob/lost" in named(["clinic"])
    assert named(["clinic/bob/lost.jpg"]) == ["lost"]


def test_the_folder_of_results_is_not_looked_into(clinic):
    for name in ("out/maps/left_EX.png", "out/overlays/left.jpg"):
        (clinic / name).parent.mkdir(parents=True)
        (clinic / name).touch()

    for given_as in ("clinic", "clinic/**", "clinic/*"):
        assert not any("out" in name for name in named([given_as], without=Path("clinic/out")))
    assert len(named(["clinic"])) == 6


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("clinic/gone.jpg", "clinic/gone.jpg: no such file or folder"),
        ("clinic/*.gif", "clinic/[*].gif: matches nothing"),
        ("empty", "empty: holds no photograph, 0 other files"),
        (
            "clinic/bob/*.txt",
            "holds no photograph, 1 other file; photographs end in .dcm, .dicom, .jfif, .jpe",
        ),
    ],
)
def test_a_path_that_matches_nothing_is_an_error_even_beside_others(clinic, path, message):
    (clinic.parent / "empty").mkdir()

    with pytest.raises(PhotographError, match=message):
        list_files(["clinic", path])


def test_a_folder_that_may_not_be_listed_is_an_error(clinic, monkeypatch):
    def forbid(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", forbid)
    with pytest.raises(PhotographError, match="clinic: the folder cannot be listed"):
        list_files(["clinic"])


# Names


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["r/a.jpg"], ["a"]),
        (["r/x/a.jpg", "r/y/a.jpg"], ["x/a", "y/a"]),
        (["r/a.jpg", "r/a.png"], ["a.jpg", "a.png"]),
        (["r/a.jpg", "r/a.png", "r/b.png"], ["a.jpg", "a.png", "b"]),
        (["r/a.jpg", "r/a.png", "r/a.jpg.png"], ["a.jpg", "a.png", "a.jpg.png"]),
        (["l/a.jpg", "r/a.jpg"], ["l/a", "r/a"]),
        (["l/a.jpg", "r/a.jpg", "r/b.jpg"], ["l/a", "r/a", "b"]),
        (["l/a.jpg", "r/a.jpg", "r/a.png"], ["a", "a.jpg", "a.png"]),
        (["r/A.jpg", "r/a.jpg"], ["A.jpg", "a.jpg~2"]),
        (["r/A.jpg", "r/a.jpg", "r/a.jpg~2.png"], ["A.jpg", "a.jpg~3", "a.jpg~2"]),
        (["r/é.jpg", "l/e\u0301.jpg"], ["r/é", "l/e\u0301"]),
        (["r/...jpg"], ["...jpg"]),
        (["r/.jpg"], [".jpg"]),
        (["r/1.2.840.5"], ["1.2.840.5"]),
        (["r/1.2.840.5", "r/1.2.840.6.DCM", "r/P12.OD.jpg"], ["1.2.840.5", "1.2.840.6", "P12.OD"]),
        (["r/1.2.840.5", "r/1.2.840.5.dcm"], ["1.2.840.5", "1.2.840.5.dcm"]),
    ],
)
def test_names_are_lengthened_only_where_they_are_equal(files, expected):
    places = [FileLocation(root=Path("/") / file[0], relative=Path(file[2:])) for file in files]

    assert list(unique_names(places)) == expected


def test_roots_of_equal_names_are_told_apart_by_those_above_them():
    places = [
        FileLocation(root=Path(root), relative=Path("a.jpg"))
        for root in ("/x/day/od", "/y/day/od", "/y/day/os")
    ]

    assert unique_names(places) == ("x/day/od/a", "y/day/od/a", "os/a")


parts = st.text("aA.é~2", min_size=1, max_size=3).filter(lambda part: part.strip("."))
files = st.lists(parts, min_size=2, max_size=4).map(tuple)


@given(st.lists(st.tuples(files, st.integers(1, 3)), max_size=9, unique_by=lambda item: item[0]))
def test_names_are_unique_relative_and_repeatable(items):
    places = [
        FileLocation(
            root=Path("/", *file[: min(cut, len(file) - 1)]), relative=Path(*file[cut:] or file[-1:])
        )
        for file, cut in items
    ]

    names = unique_names(places)

    assert len({name.casefold() for name in names}) == len(places)
    for name in names:
        assert not Path(name).is_absolute()
        assert ".." not in Path(name).parts
        assert Path(name).parts
    assert unique_names(places) == names
