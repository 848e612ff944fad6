"""A mask means the same in every type of file; a wrong mask is refused by name."""

import errno
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foveate.datasets import LARGEST_SHARE, Case, annotated, digest, read_mask, truth
from foveate.errors import DatasetError

SHAPE = (20, 30)


def lesion():
    mask = np.zeros(SHAPE, bool)
    mask[3:8, 10:14] = True
    mask[15, 2] = True
    return mask


def palette(mask):
    image = Image.fromarray(mask.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0])  # index 1 is dark red, as in the official files
    return image


def coloured(mask, colour=(128, 0, 0), ground=(0, 0, 0)):
    return Image.fromarray(np.where(mask[..., None], colour, ground).astype(np.uint8))


def with_alpha(mask):
    image = coloured(mask)
    image.putalpha(255)
    return image


def grey_with_alpha(mask):
    image = Image.fromarray(mask.astype(np.uint8) * 76).convert("LA")
    image.putalpha(255)
    return image


KINDS = {
    "palette": palette,
    "grey of 0 and 76": lambda mask: Image.fromarray(mask.astype(np.uint8) * 76),
    "grey of 0 and 255": lambda mask: Image.fromarray(mask.astype(np.uint8) * 255),
    "grey of 16 bits": lambda mask: Image.fromarray(mask.astype(np.uint16) * 40_000),
    "one bit": Image.fromarray,
    "RGB": coloured,
    "RGB, blue alone": lambda mask: coloured(mask, (0, 0, 1)),
    "RGBA, opaque all over": with_alpha,
    "grey with alpha": grey_with_alpha,
}


@pytest.mark.parametrize("ending", ["tif", "png"])
@pytest.mark.parametrize("kind", KINDS)
def test_lesion_is_where_there_is_any_colour(tmp_path, kind, ending):
    path = tmp_path / f"mask.{ending}"
    KINDS[kind](lesion()).save(path)

    np.testing.assert_array_equal(read_mask(path, SHAPE), lesion())


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_lesion_that_is_in_the_transparency_alone_is_not_taken_for_absent(tmp_path, mode):
    image = Image.new("RGBA", SHAPE[::-1], (0, 0, 0, 0))
    image.convert(mode).save(tmp_path / "empty.png")
    image.putalpha(Image.fromarray(lesion().astype(np.uint8) * 255))
    image.convert(mode).save(tmp_path / "mask.png")

    with pytest.raises(DatasetError, match=r"mask.png: is black and partly transparent, .* of 0 and 255"):
        read_mask(tmp_path / "mask.png", SHAPE)
    assert not read_mask(tmp_path / "empty.png", SHAPE).any()


def test_an_empty_mask_is_a_mask(tmp_path):
    palette(np.zeros(SHAPE, bool)).save(tmp_path / "mask.tif")

    assert not read_mask(tmp_path / "mask.tif", SHAPE).any()


def test_a_mask_of_another_size_is_refused(tmp_path):
    palette(lesion()).save(tmp_path / "mask.tif")

    with pytest.raises(DatasetError, match=r"mask.tif: the mask has 20 x 30 px, its photograph 30 x 20 px"):
        read_mask(tmp_path / "mask.tif", (30, 20))


def test_a_mask_of_nearly_everything_is_refused(tmp_path):
    most = np.zeros((10, 10), bool)
    most[:3] = True
    Image.fromarray(most).save(tmp_path / "just.png")
    most[3, 0] = True
    Image.fromarray(most).save(tmp_path / "most.png")

    assert read_mask(tmp_path / "just.png", (10, 10)).mean() == LARGEST_SHARE
    with pytest.raises(
        DatasetError, match=r"most.png: the mask covers 31% of the photograph, more than the 30% .* inverted"
    ):
        read_mask(tmp_path / "most.png", (10, 10))


def test_a_missing_mask_file_is_refused(tmp_path):
    with pytest.raises(
        DatasetError, match=r"gone.tif: unreadable mask .*; restore the file, or save it as PNG"
    ):
        read_mask(tmp_path / "gone.tif", SHAPE)


def test_memory_that_runs_out_is_no_damaged_file(tmp_path, monkeypatch):
    palette(lesion()).save(tmp_path / "mask.png")

    def run_out(*_, **__):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(Path, "open", run_out)
    for read in (lambda: read_mask(tmp_path / "mask.png", SHAPE), lambda: digest(tmp_path / "mask.png")):
        with pytest.raises(OSError, match="Cannot allocate memory"):
            read()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow's word on the third
@pytest.mark.parametrize("content", [b"", b"a text", b"II*\0\x08\0\0\0"])
def test_what_is_no_picture_is_refused(tmp_path, content):
    (tmp_path / "mask.tif").write_bytes(content)

    with pytest.raises(DatasetError, match=r"mask.tif: unreadable mask"):
        read_mask(tmp_path / "mask.tif", SHAPE)


def test_a_damaged_mask_is_refused_or_read_but_nothing_else(tmp_path):
    path, generator = tmp_path / "mask.png", np.random.default_rng(0)
    palette(lesion()).save(path)
    whole = path.read_bytes()

    for _ in range(300):
        damaged = np.frombuffer(whole, np.uint8)[: generator.integers(len(whole) + 1)].copy()
        where = generator.integers(0, max(1, len(damaged)), 3 if len(damaged) else 0)
        damaged[where] = generator.integers(0, 256, len(where))
        path.write_bytes(damaged.tobytes())
        try:
            assert read_mask(path, SHAPE).shape == SHAPE
        except DatasetError as error:
            assert "mask.png" in str(error)  # noqa: PT017 - either is right


def test_a_truncated_gif_is_refused(tmp_path):
    Image.fromarray(lesion()).save(tmp_path / "whole.gif")
    (tmp_path / "mask.gif").write_bytes((tmp_path / "whole.gif").read_bytes()[:-1] + b",")

    with pytest.raises(DatasetError, match=r"mask.gif: unreadable mask"):
        read_mask(tmp_path / "mask.gif", SHAPE)


def test_a_lesion_without_a_file_is_absent(tmp_path):
    palette(lesion()).save(tmp_path / "ex.tif")
    case = Case(name="one", photograph=tmp_path / "one.jpg", masks={"EX": tmp_path / "ex.tif"})

    masks = truth(case, ("SE", "EX"), SHAPE)

    assert not masks[0].any()
    np.testing.assert_array_equal(masks[1], lesion())


def test_a_lesion_that_was_not_looked_for_is_refused_not_absent(tmp_path):
    case = Case(name="one", photograph=tmp_path / "one.jpg", masks={}, annotated=("MA",))

    assert not truth(case, ("MA",), SHAPE).any()
    with pytest.raises(
        DatasetError, match=r"one\.jpg: not annotated for EX, only for MA; choose other lesions"
    ):
        truth(case, ("MA", "EX"), SHAPE)


def test_cases_that_were_looked_through_for_all_of_some_lesions(tmp_path):
    def case(name, lesions):
        return Case(name=name, photograph=tmp_path / name, masks={}, annotated=lesions)

    cases = [case("a", ("EX",)), case("b", ("EX", "MA")), case("c", None), case("d", ())]

    assert [case.name for case in annotated(cases, ("EX",))] == ["a", "b", "c"]
    assert [case.name for case in annotated(cases, ("EX", "MA"))] == ["b", "c"]
    assert [case.name for case in annotated(cases, ())] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("kind", ["grey of 0 and 255", "grey of 16 bits", "RGB", "palette", "one bit"])
def test_a_soft_edge_counts_from_the_share_that_the_layout_says(tmp_path, kind):
    KINDS[kind](lesion()).save(tmp_path / "mask.png")
    full = {"grey of 16 bits": 40_000 / 65_535, "RGB": 128 / 255}.get(kind, 1.0)

    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", SHAPE, full - 1e-6), lesion())
    if kind in ("grey of 16 bits", "RGB"):
        assert not read_mask(tmp_path / "mask.png", SHAPE, full + 1e-6).any()


def test_a_share_of_levels_without_a_full_one_is_refused(tmp_path):
    Image.fromarray(lesion().astype(np.float32)).save(tmp_path / "mask.tif")

    np.testing.assert_array_equal(read_mask(tmp_path / "mask.tif", SHAPE), lesion())
    with pytest.raises(DatasetError, match=r"mask\.tif: has float32 levels, whose largest value is unknown"):
        read_mask(tmp_path / "mask.tif", SHAPE, 0.5)


def test_a_jpeg_is_no_mask_unless_its_smear_is_cut_off(tmp_path):
    Image.fromarray(lesion().astype(np.uint8) * 255).save(tmp_path / "mask.jpg", quality=95)

    with pytest.raises(DatasetError, match=r"mask\.jpg: JPEG blurs the edges of a mask; save it as PNG"):
        read_mask(tmp_path / "mask.jpg", SHAPE)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.jpg", SHAPE, 0.5), lesion())


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"format": "TIFF", "compression": "jpeg"}, "JPEG"),
        ({"format": "WEBP", "quality": 80}, "WebP"),
        ({"format": "PNG"}, None),
        ({"format": "TIFF", "compression": "tiff_lzw"}, None),
    ],
)
def test_the_compression_decides_and_not_the_ending(tmp_path, options, name):
    Image.fromarray(lesion().astype(np.uint8) * 255).save(tmp_path / "mask.png", **options)

    if name is None:
        np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", SHAPE), lesion())
    else:
        with pytest.raises(DatasetError, match=rf"mask\.png: {name} blurs the edges of a mask; save it as"):
            read_mask(tmp_path / "mask.png", SHAPE)
        np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", SHAPE, 0.5), lesion())


def test_the_highest_level_of_32_bits_is_lesion(tmp_path):
    Image.fromarray(lesion().astype(np.int32) * -1).save(tmp_path / "mask.tif")  # 4294967295 without sign

    np.testing.assert_array_equal(read_mask(tmp_path / "mask.tif", SHAPE), lesion())


@pytest.mark.parametrize("level", [-1.0, np.nan])
def test_floats_that_are_no_levels_are_refused(tmp_path, level):
    Image.fromarray(np.where(lesion(), level, 0).astype(np.float32)).save(tmp_path / "mask.tif")

    with pytest.raises(DatasetError, match=r"mask\.tif: has levels that are negative or no numbers; save it"):
        read_mask(tmp_path / "mask.tif", SHAPE)
