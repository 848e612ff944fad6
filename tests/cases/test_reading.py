"""Files that were read wrongly without a word, or ended a run: each row is one report, and what is right.

A new report becomes a row: a name, a function that makes its files, and the right message or result.
"""

import errno
import io
import json
import re
import struct
import sys
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

import tiny_layouts
import tiny_package

from foveate import cli, evaluation, photographs
from foveate.analysis import quality
from foveate.datasets import Case, checks, descriptions, dr_grades, layouts, likeness, read_mask, splits
from foveate.errors import DatasetError, FieldError, FoveateError, PhotographError
from foveate.evaluation import EvaluationSpec, selection, sources
from foveate.geometry import field_of_view

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "IDRiD_376_small.jpg"

SHAPE = tiny_layouts.SHAPE
NAMES = ("eye_01", "eye_02", "eye_03")

OWN = """
field = "whole"
{more}
[lesions]
EX = "exudates"
[splits.train]
photographs = "images/*"
masks = "masks/{{name}}_{{lesion}}"
"""


def lesion(number):
    """The truth of a photograph of the set: a square."""
    truth = np.zeros(SHAPE, bool)
    truth[60 + 20 * number : 90 + 20 * number, 80:130] = True
    return truth


def picture(number):
    """A photograph with smooth colours and some texture, as uint8."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    texture = np.random.default_rng(number).integers(0, 30, SHAPE)
    return np.stack([120 + rows // 4 + texture, 60 + columns // 5 + texture, 20 + texture], -1).astype(
        np.uint8
    )


def own_set(root, more=""):
    """Write a set of three photographs with perfect masks and maps; return its layout."""
    for folder in ("images", "masks", "maps"):
        (root / folder).mkdir()
    for number, name in enumerate(NAMES):
        Image.fromarray(picture(number)).save(root / "images" / f"{name}.jpg", quality=92)
        for folder in ("masks", "maps"):
            save_levels(root / folder / f"{name}_EX.png", lesion(number) * np.uint8(255))
    (root / "own.toml").write_text(OWN.format(more=more))
    return layouts.named(str(root / "own.toml"))


def save_levels(path, levels):
    Image.fromarray(levels).save(path)
    return path


def score(root, layout):
    """Return the exact area of EX by the set's maps."""
    cases = selection.select_cases(root, layout, "train")
    spec = EvaluationSpec(
        source=evaluation.maps_from_folder(root / "maps", rule="whole"),
        cases=cases,
        thresholds={"EX": 0.5},
        resamples=2,
    )
    return evaluation.evaluate(spec)["EX"].figures["aupr"]["exact"]["value"]


def problems(root, layout):
    """Return what `data check` prints, each line with 'wrong' or 'look' before it."""
    report = checks.check(root, layout)
    return [f"{'wrong' if problem.is_wrong else 'look'}: {problem.message}" for problem in report.problems]


def test_the_set_itself_is_sound_and_scores_one(tmp_path):
    layout = own_set(tmp_path)

    assert problems(tmp_path, layout) == []
    assert selection.warnings(tmp_path, layout, "train", ("EX",)) == ()
    assert score(tmp_path, layout) == 1


# ---- A, J: photographs


def jpeg(**options):
    buffer = io.BytesIO()
    Image.fromarray(picture(0)).save(buffer, "JPEG", quality=92, **options)
    return buffer.getvalue()


def overwritten(content, share, length):
    start = int(share * len(content))
    return content[:start] + bytes(length) + content[start + length :]


def png_of_wrong_levels():
    """A PNG of other pixels below the checksum of the right ones."""
    buffer = io.BytesIO()
    Image.fromarray(picture(0)).save(buffer, "PNG", compress_level=0)
    content = bytearray(buffer.getvalue())
    content[content.index(b"IDAT") + 5000] ^= 0x40
    return bytes(content)


def grey(noise=0, text=False):
    levels = np.repeat(picture(0)[..., :1], 3, axis=-1).astype(int)
    levels += np.random.default_rng(0).integers(-noise, noise + 1, levels.shape)
    if text:
        levels[4:12, 4:40] = (0, 255, 0)
    buffer = io.BytesIO()
    Image.fromarray(levels.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def sixteen_bits(highest):
    levels = picture(0).astype(np.uint16) * (highest // 255)
    return cv2.imencode(".png", levels[..., ::-1])[1].tobytes()


REFUSED_PHOTOGRAPHS = {
    "A zeros in a JPEG": (lambda: overwritten(jpeg(), 0.5, 4096), "the JPEG is damaged"),
    "A zeros in a progressive JPEG": (
        lambda: overwritten(jpeg(progressive=True), 0.4, 2000),
        "the JPEG is damaged",
    ),
    "A zeros in a JPEG with restarts": (
        lambda: overwritten(jpeg(restart_marker_rows=1), 0.5, 500),
        "JPEG is damaged",
    ),
    "A a lost piece of a JPEG": (lambda: jpeg()[:20000] + jpeg()[24000:], "the JPEG is damaged"),
    "A a flipped bit in a PNG": (png_of_wrong_levels, "the PNG is damaged"),
    "J grey with noise": (lambda: grey(noise=1), "red, green and blue are equal nearly everywhere"),
    "J grey with green text": (lambda: grey(text=True), "red, green and blue are equal nearly everywhere"),
    "K BigTIFF big-endian": (
        lambda: tiff(picture(0)[..., 0], is_big=True),
        "is a big-endian BigTIFF, which is not supported",
    ),
    "J 12 bits in 16": (lambda: sixteen_bits(4095), "its 16-bit levels reach only"),
}


@pytest.mark.parametrize("case", REFUSED_PHOTOGRAPHS)
def test_a_photograph_that_would_be_read_wrongly_is_refused(tmp_path, case):
    make, message = REFUSED_PHOTOGRAPHS[case]
    path = tmp_path / "eye.jpg"
    path.write_bytes(make())

    with pytest.raises(PhotographError, match=message) as error:
        photographs.read(path)
    assert str(path) in str(error.value)


READ_PHOTOGRAPHS = {
    "A a sound JPEG": jpeg,
    "A a sound progressive JPEG": lambda: jpeg(progressive=True),
    "A a sound JPEG with restarts": lambda: jpeg(restart_marker_rows=1),
    "A bytes behind a JPEG": lambda: jpeg() + b"maker's notes" * 50,
    "J full 16 bits": lambda: sixteen_bits(65535),
}


@pytest.mark.parametrize("case", READ_PHOTOGRAPHS)
def test_a_sound_photograph_is_read(tmp_path, case):
    path = tmp_path / "eye.jpg"
    path.write_bytes(READ_PHOTOGRAPHS[case]())

    assert np.abs(photographs.read(path).pixels.astype(int) - picture(0)).mean() < 8


def two_eyes(second=1.0, gap=20):
    """Return two fundi side by side; the second may be smaller."""
    left = tiny_package.fundus(diameter=400)
    right = tiny_package.fundus(diameter=round(400 * second), seed=1)
    canvas = np.zeros((left.shape[0], left.shape[1] + gap + right.shape[1], 3), np.uint8)
    canvas[:, : left.shape[1]] = left
    canvas[: right.shape[0], -right.shape[1] :] = right
    return canvas


@pytest.mark.parametrize("gap", [-16, 20, 300])
@pytest.mark.parametrize("second", [0.7, 1.0])
@pytest.mark.parametrize("quarter", [0, 1])
def test_j_two_eyes_in_one_picture_are_refused_by_name(second, gap, quarter):
    pixels = np.ascontiguousarray(np.rot90(two_eyes(second, gap), quarter))

    with pytest.raises(
        FieldError, match=r"two fields of view: discs around .*save each eye as a photograph of its own"
    ):
        field_of_view.find(pixels)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("quarter", [0, 1])
def test_j_photographs_of_cut_fields_that_touch_are_refused_by_name(count, quarter):
    cut = [tiny_package.fundus(diameter=400, seed=seed)[40:-40] for seed in range(count)]
    pixels = np.ascontiguousarray(np.rot90(np.concatenate(cut), quarter))

    with pytest.raises(FieldError, match=r"two fields of view: discs around"):
        field_of_view.find(pixels)


def test_j_a_small_second_disc_is_no_second_eye():
    field = field_of_view.find(two_eyes(second=0.5))

    assert field.radius == pytest.approx(200, rel=0.02)


@pytest.mark.parametrize("level", [12, 20, 40])
def test_j_a_bright_surround_is_no_second_eye(level):
    pixels = np.pad(tiny_package.fundus(diameter=400), ((60, 60), (700, 60), (0, 0)))

    field = field_of_view.find(np.maximum(pixels, np.uint8(level)))

    assert field.radius == pytest.approx(200, rel=0.02)


def test_j_red_and_blue_swapped_give_a_quality_code():
    pixels = np.asarray(Image.open(EXAMPLE))
    for levels, is_swapped in ((pixels, False), (np.ascontiguousarray(pixels[..., ::-1]), True)):
        photograph = photographs.from_array(levels)
        field = field_of_view.find(levels)
        assert ("colour" in quality.assess(photograph, field)) == is_swapped


# ---- B, C, E, F, K, N, O: what `data check` says


def rename(before, after):
    return lambda root: (root / before).rename(root / after)


def change_masks(change):
    """Return a maker that replaces each mask by what `change` makes of its levels."""

    def make(root):
        for number in range(len(NAMES)):
            change(root / "masks" / f"{NAMES[number]}_EX.png", lesion(number) * np.uint8(255))

    return make


def as_jpeg_and_back(path, levels):
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", quality=60)
    Image.open(buffer).save(path)


def as_bilinear(path, levels):
    small = Image.fromarray(levels).resize((77, 59))
    small.resize(SHAPE[::-1], Image.Resampling.BILINEAR).save(path)


def as_classes(path, levels):
    classes = (levels > 0).astype(np.uint8)
    classes[:5, :5], classes[:5, 10:15] = 2, 3
    Image.fromarray(classes).save(path)


def as_colours(path, levels):
    colours = np.zeros((*SHAPE, 3), np.uint8)
    colours[levels > 0] = (255, 0, 0)
    colours[:5, :5] = (0, 255, 0)
    Image.fromarray(colours).save(path)


def as_palette_classes(path, levels):
    image = Image.fromarray((levels > 0).astype(np.uint8), "P")
    image.putpixel((0, 0), 2)
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image.save(path)


def as_two_pages(path, levels):
    image = Image.fromarray(levels)
    image.save(path.with_suffix(".tif"), save_all=True, append_images=[image])
    path.unlink()


def as_npy(path, levels):
    np.save(path.with_suffix(".npy"), levels)
    path.unlink()


def as_two_blacks(path, levels):
    image = Image.fromarray((levels > 0).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 0, 0, 0])
    image.save(path)


CHECKED = {
    "B a copy's name": (
        rename("masks/eye_01_EX.png", "masks/eye_01_EX (1).png"),
        "wrong: .*eye_01_EX \\(1\\).*restore",
    ),
    "B a code in lower case": (rename("masks/eye_01_EX.png", "masks/eye_01_ex.png"), "wrong: .*eye_01_ex"),
    "B one mask as an array": (
        lambda root: as_npy(root / "masks/eye_01_EX.png", lesion(0) * np.uint8(255)),
        "wrong: .*eye_01_EX.npy",
    ),
    "B a mask of WebP": (
        lambda root: (
            save_levels(root / "masks/eye_01_EX.webp", lesion(0) * np.uint8(255)),
            (root / "masks/eye_01_EX.png").unlink(),
        ),
        "wrong: .*eye_01_EX.webp",
    ),
    "B a photograph that is gone": (
        lambda root: (root / "images/eye_01.jpg").unlink(),
        "wrong: .*eye_01_EX.png",
    ),
    "B another file": (lambda root: (root / "masks/overview.png").write_bytes(b""), "look: .*overview.png"),
    "C saved as JPEG and back": (change_masks(as_jpeg_and_back), "look: .*levels from .*lesion_from = 0.5"),
    "C bilinear": (change_masks(as_bilinear), "look: .*levels from .*lesion_from = 0.5"),
    "C class indices": (change_masks(as_classes), "look: .*levels 1, 2, 3 all count as this lesion"),
    "C colours": (change_masks(as_colours), "look: .*several colours all count as this lesion"),
    "C colours of a palette": (
        change_masks(as_palette_classes),
        "look: .*2 colours all count as this lesion",
    ),
    "E two pages": (change_masks(as_two_pages), "wrong: .*holds 2 pictures"),
    "K two blacks": (change_masks(as_two_blacks), r"wrong: .*its palette that it uses \(0, 1\) are black"),
}


@pytest.mark.parametrize("case", CHECKED)
def test_data_check_names_what_would_be_read_wrongly(tmp_path, case):
    layout = own_set(tmp_path)
    make, message = CHECKED[case]
    make(tmp_path)

    lines = problems(tmp_path, layout)

    assert any(re.match(message, line) for line in lines), lines


@pytest.mark.parametrize("suffix", [".npy", ".webp"])
def test_b_masks_that_are_all_of_another_format_are_refused(tmp_path, suffix):
    layout = own_set(tmp_path)
    for name in NAMES:
        (tmp_path / "masks" / f"{name}_EX.png").rename(tmp_path / "masks" / f"{name}_EX{suffix}")

    with pytest.raises(
        DatasetError, match=rf"eye_01_EX\{suffix}: neither this file nor any other in its folder"
    ):
        layouts.cases(tmp_path, layout, "train")


@pytest.mark.parametrize("spelling", ["2. Hemorrhages", None], ids=["misspelt", "absent"])
def test_b_a_missing_folder_of_a_lesion_is_wrong_and_named_by_evaluate_and_train(tmp_path, spelling):
    tiny_layouts.idrid(tmp_path)
    folder = tmp_path / "A. Segmentation/2. All Segmentation Groundtruths/a. Training Set/2. Haemorrhages"
    folder.rename(folder.with_name(spelling)) if spelling else folder.rmdir()

    (line,) = [line for line in problems(tmp_path, layouts.IDRID) if line.startswith("wrong")]

    assert "2. Haemorrhages: no such folder" in line
    assert (spelling is None) or f"but '{spelling}' exists" in line
    assert layouts.warnings(tmp_path, layouts.IDRID, "train", ("EX", "HE")) == (line.removeprefix("wrong: "),)
    assert layouts.warnings(tmp_path, layouts.IDRID, "train", ("EX",)) == ()


def test_b_evaluate_and_train_are_warned_of_masks_that_fit_no_photograph(tmp_path):
    layout = own_set(tmp_path)
    rename("masks/eye_01_EX.png", "masks/eye_01_EX (1).png")(tmp_path)
    rename("masks/eye_02_EX.png", "masks/eye_02_ex.png")(tmp_path)

    (line,) = selection.warnings(tmp_path, layout, "train", ("EX",))

    assert re.search(r"eye_01_EX \(1\)\.png and 1 more file there: in folders of masks", line)


def test_b_the_command_evaluate_prints_the_warning_and_goes_on(tmp_path, capsys):
    own_set(tmp_path)
    rename("masks/eye_01_EX.png", "masks/eye_01_EX (1).png")(tmp_path)
    line = ["evaluate", "--data", tmp_path, "--layout", tmp_path / "own.toml", "--split", "train"]

    assert (
        cli.run([*map(str, line), "--predictions", str(tmp_path / "maps"), "--out", str(tmp_path / "out")])
        == 0
    )

    assert (
        "eye_01_EX (1).png: in a folder of masks, but its name is that of no photograph"
        in capsys.readouterr().err
    )


def test_b_masks_of_another_split_in_the_same_folder_are_no_problem(tmp_path):
    own_set(tmp_path)
    text = OWN.format(more="").replace('"images/*"', '"images/*1.jpg"') + OWN[
        OWN.index("[splits") :
    ].format().replace("splits.train", "splits.test").replace('"images/*"', '"images/*[23].jpg"')
    (tmp_path / "own.toml").write_text(text)

    assert problems(tmp_path, layouts.named(str(tmp_path / "own.toml"))) == []


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("what", ["masks", "maps"])
def test_b_names_are_equal_in_every_unicode_form(tmp_path, what, form):
    layout = own_set(tmp_path)
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    for folder in ("images", "masks", "maps"):
        for path in list((tmp_path / folder).iterdir()):
            name = path.name.replace("eye", "œil-é")
            path.rename(path.with_name(unicodedata.normalize(form if folder == what else other, name)))

    assert problems(tmp_path, layout) == []
    assert score(tmp_path, layout) == 1


def test_b_a_file_of_folds_may_have_another_unicode_form(tmp_path):
    layout = own_set(tmp_path)
    rename("images/eye_01.jpg", "images/é.jpg")(tmp_path)
    splits.write(tmp_path / "folds.json", {unicodedata.normalize("NFD", "é"): 0, "eye_02": 0}, "a test")

    cases = selection.select_cases(tmp_path, layout, f"{tmp_path / 'folds.json'}:0")

    assert [case.photograph.name for case in cases] == ["eye_02.jpg", "é.jpg"]


def test_c_a_table_that_names_one_file_for_two_lesions_is_refused(tmp_path):
    (tmp_path / "own.toml").write_text(
        '[lesions]\nEX = "x"\nMA = "y"\n[splits.train]\nphotographs = "images/*"\n'
        '[splits.train.masks]\nEX = "masks/{name}"\nMA = "masks/{name}"\n'
    )

    with pytest.raises(DatasetError, match=r"splits\.train\.masks gives EX and MA the same masks"):
        descriptions.read(tmp_path / "own.toml")


# ---- D, E, F, K: masks and maps


def turned(path, levels):
    """Write levels turned by half, with the EXIF orientation that turns them upright."""
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(np.ascontiguousarray(levels[::-1, ::-1])).save(path, exif=exif)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_d_photographs_masks_and_maps_are_turned_by_their_own_orientation(tmp_path, suffix):
    layout = own_set(tmp_path)
    for number, name in enumerate(NAMES):
        (tmp_path / "images" / f"{name}.jpg").unlink()
        turned(tmp_path / "images" / f"{name}{suffix}", picture(number))
        for folder in ("masks", "maps"):
            (tmp_path / folder / f"{name}_EX.png").unlink()
            turned(tmp_path / folder / f"{name}_EX{suffix}", lesion(number) * np.uint8(255))

    assert score(tmp_path, layout) == 1
    assert np.abs(photographs.read(tmp_path / "images" / f"eye_01{suffix}").pixels - picture(0)).max() == 0
    np.testing.assert_array_equal(read_mask(tmp_path / "masks" / f"eye_01_EX{suffix}", SHAPE), lesion(0))


def white_first(path, levels):
    Image.fromarray(levels).convert("RGB").quantize(2).save(path)


def palette_of_white_first(path, levels):
    image = Image.fromarray((levels == 0).astype(np.uint8), "P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(path)


def dark_red(path, levels):
    image = Image.fromarray((levels > 0).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 60, 0, 0])
    image.save(path)


def white_ground(path, levels):
    image = Image.fromarray((levels > 0).astype(np.uint8), "P")
    image.putpalette([255, 255, 255, 255, 0, 0])
    image.save(path)


def big_endian(path, levels):
    path.write_bytes(tiff(levels.astype(np.uint16) * 257))


def big_tiff(path, levels):
    path.write_bytes(tiff(levels, is_big=True))


def tiff(levels, is_big=False):
    """Return a big-endian TIFF or BigTIFF of grey levels."""
    data = levels.astype(levels.dtype.newbyteorder(">")).tobytes()
    width, height = levels.shape[::-1]
    bits = 8 * levels.dtype.itemsize
    entry, count = (">HHQ", ">Q") if is_big else (">HHI", ">H")
    start = 16 if is_big else 8
    rows = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, 1), (273, 4, start)]
    rows += [(277, 3, 1), (278, 4, height), (279, 4, len(data))]
    size = 8 if is_big else 4
    body = struct.pack(count, len(rows))
    for tag, kind, value in rows:
        packed = struct.pack(">H" if kind == 3 else ">I", value).ljust(size, b"\0")
        body += struct.pack(entry, tag, kind, 1) + packed
    place = start + len(data)
    if is_big:
        return b"MM\0+" + struct.pack(">HHQ", 8, 0, place) + data + body + bytes(8)
    return b"MM\0*" + struct.pack(">I", place) + data + body + bytes(4)


READ_MASKS = {
    "K quantised": (white_first, ".png", 0.0),
    "K white first in the palette": (palette_of_white_first, ".png", 0.0),
    "K dark red in the palette": (dark_red, ".png", 0.0),
    "K a palette without black": (white_ground, ".png", 0.0),
    "K 16 bits big-endian": (big_endian, ".tif", 0.5),
}


@pytest.mark.parametrize("case", READ_MASKS)
def test_a_mask_of_every_type_is_read(tmp_path, case):
    save, suffix, lesion_from = READ_MASKS[case]
    path = tmp_path / f"mask{suffix}"
    save(path, lesion(0) * np.uint8(255))

    np.testing.assert_array_equal(read_mask(path, SHAPE, lesion_from), lesion(0))


def test_k_a_mask_of_big_endian_bigtiff_is_refused_for_the_true_reason(tmp_path):
    big_tiff(tmp_path / "mask.tif", lesion(0) * np.uint8(255))

    with pytest.raises(DatasetError, match="a big-endian BigTIFF, which is not supported"):
        read_mask(tmp_path / "mask.tif", SHAPE)


def test_f_a_mask_of_0_and_1_is_not_emptied_by_lesion_from(tmp_path):
    path = save_levels(tmp_path / "mask.png", lesion(0).astype(np.uint8))

    with pytest.raises(
        DatasetError, match=r"mask\.png: its largest level is 1 of 255, below lesion_from = 0\.5"
    ):
        read_mask(path, SHAPE, 0.5)
    np.testing.assert_array_equal(read_mask(path, SHAPE), lesion(0))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_f_maps_of_0_and_1_are_refused(tmp_path, dtype):
    layout = own_set(tmp_path)
    for number, name in enumerate(NAMES):
        save_levels(tmp_path / "maps" / f"{name}_EX.png", lesion(number).astype(dtype))

    with pytest.raises(DatasetError, match="the maps of EX contain only the levels 0 and 1"):
        score(tmp_path, layout)


def test_f_a_map_of_an_eye_without_lesions_may_stay_near_0(tmp_path):
    layout = own_set(tmp_path)
    save_levels(tmp_path / "maps/eye_03_EX.png", lesion(2).astype(np.uint8))

    assert score(tmp_path, layout) == pytest.approx(1)


def npy(levels):
    buffer = io.BytesIO()
    np.save(buffer, levels)
    return buffer.getvalue()


READ_MAPS = {
    "K an array big-endian": (
        "map_EX.npy",
        lambda path, levels: np.save(path, (levels.astype(np.uint16) * 257).astype(">u2")),
    ),
    "K BigTIFF big-endian": ("map_EX.tif", big_tiff),
    "K a suffix in capitals": ("map_EX.PNG", save_levels),
    "K an array's suffix in capitals": ("map_EX.NPY", lambda path, levels: path.write_bytes(npy(levels))),
}


@pytest.mark.parametrize("case", READ_MAPS)
def test_a_map_of_every_type_is_found_and_read(tmp_path, case):
    name, save = READ_MAPS[case]
    save(tmp_path / name, lesion(0) * np.uint8(255))
    photograph = tmp_path / "map.jpg"
    cv2.imwrite(str(photograph), np.full((*SHAPE, 3), 90, np.uint8))

    levels = sources.maps_from_folder(tmp_path)(Case(name="map", photograph=photograph, masks={})).load_map(
        "EX"
    )

    assert levels.dtype.isnative
    np.testing.assert_array_equal(levels > 0, lesion(0))


def two_pages(path, levels):
    image = Image.fromarray(levels)
    image.save(path, save_all=True, append_images=[image])


REFUSED_MAPS = {
    "E two pages": ("map.tif", two_pages, "holds 2 pictures"),
    "P an empty file": (
        "map.png",
        lambda path, levels: path.touch(),
        r"unreadable map \(the file is empty\)",
    ),
    "P text": ("map.png", lambda path, levels: path.write_text("x"), "unreadable map"),
}


@pytest.mark.parametrize("case", REFUSED_MAPS)
def test_a_map_that_would_be_read_wrongly_is_refused_in_one_line(tmp_path, case):
    name, save, message = REFUSED_MAPS[case]
    save(tmp_path / name, lesion(0) * np.uint8(255))

    with pytest.raises(DatasetError, match=message) as error:
        sources.read_map(tmp_path / name, SHAPE)
    assert "\n" not in str(error.value)
    assert "error:" not in str(error.value)


# ---- G: healthy eyes


@pytest.mark.parametrize(
    ("table", "header"),
    [
        ("2. Groundtruths/Disease Grading Labels.csv", "Image name,Retinopathy grade,Risk"),
        ("Labels.csv", "file,retinopathy_grade"),
        ("train.csv", "id_code,diagnosis"),
        ("trainLabels.csv", "\ufeffimage,level"),
    ],
)
def test_g_photographs_beside_a_table_of_grades_are_not_taken_for_healthy(tmp_path, table, header):
    tiny_layouts.photograph(tmp_path / "1. Original Images" / "a.jpg")
    (tmp_path / table).parent.mkdir(exist_ok=True)
    (tmp_path / table).write_text(f"{header}\na,4,1\n", encoding="utf-8")

    with pytest.raises(
        DatasetError, match=r"a table of grades, so some eyes in the folder may not be healthy"
    ):
        dr_grades.healthy_cases(tmp_path, None)


@pytest.mark.parametrize("name", ["a", "a.jpg"])
@pytest.mark.parametrize(
    ("photograph", "folder", "table"),
    [
        ("Images/Training/a.jpg", "Images/Training", "2. Groundtruths/Labels.csv"),
        ("Images/Training/a.jpg", "Images", "Labels.csv"),
        ("Images/Training/a.jpg", "Images/Training", "Images/train.csv"),
    ],
)
def test_g_a_grade_in_a_table_beside_the_folder_is_refused(tmp_path, photograph, folder, table, name):
    root = tmp_path / "published" / "set"
    tiny_layouts.photograph(root / photograph)
    (root / table).parent.mkdir(exist_ok=True)
    (root / table).write_text(f"Image name,Retinopathy grade\nother,3\n{name},2\n")

    with pytest.raises(
        DatasetError, match=r"\.csv: a of .* has grade 2, so not all eyes in that folder are healthy"
    ):
        dr_grades.healthy_cases(root / folder, None)


HARMLESS_TABLES = {
    "grade 0": "image,grade\na,0\nb,0\nother,4\n",
    "grade 0.0": "image,grade\na,0.0\nb,0.0\nother,4.0\n",
    "no grades": "image,camera\na,4\nb,4\n",
    "other photographs": "image,grade\nc,4\nd,4\n",
    "few of these": "image,grade\na,4\nother,4\n",
    "no rows": "image,grade\n",
    "empty": "",
    "a short row": "image,grade\na\n",
}


@pytest.mark.parametrize("table", HARMLESS_TABLES)
def test_g_a_table_beside_the_folder_that_gives_its_eyes_no_grade_does_no_harm(tmp_path, table):
    folder = tmp_path / "published" / "set" / "healthy"
    for name in "abx":
        tiny_layouts.photograph(folder / f"{name}.jpg", seed=ord(name))
    (folder.parent / "Labels.csv").write_text(HARMLESS_TABLES[table])

    assert len(dr_grades.healthy_cases(folder, None)) == 3


@pytest.mark.parametrize(
    ("file", "listed"),
    [
        (unicodedata.normalize("NFD", "é_01.jpg"), unicodedata.normalize("NFC", "é_01")),
        (unicodedata.normalize("NFC", "é_01.jpg"), unicodedata.normalize("NFD", "é_01.jpg")),
        ("2019.05.03_left.jpg", "2019.05.03_left"),
        ("2019.05.03_left.jpg", "2019.05.03_left.JPG"),
        ("IMG_1.jpg", "img_1"),
        ("img_1.JPG", "IMG_1.ppm"),
        ("a.jpg.png", "a.jpg"),
        ("a.jpg", "images/a.jpg"),
        ("a.jpg", "images\\a.jpg"),
    ],
)
@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_g_a_grade_counts_however_the_table_spells_the_name(tmp_path, file, listed, between):
    folder = tmp_path / "published" / "set" / "images"
    tiny_layouts.photograph(folder / file)
    rows = [("image", "level"), (listed, "4"), (listed, "0"), ("other", "0")]
    (folder.parent / "Labels.csv").write_text("\n".join(map(between.join, rows)), encoding="utf-8-sig")

    with pytest.raises(DatasetError, match=r"Labels\.csv: .* has grade 4, so not all eyes"):
        dr_grades.healthy_cases(folder, None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "rows", ["number,image,level\n7,0,0\n8,1,0\n9,3,4\n", "level,image\n0,0\n0,1\n0,2\n0,9\n4,3\n"]
)
def test_g_a_grade_counts_in_any_column_and_encoding(tmp_path, rows, encoding):
    folder = tmp_path / "published" / "set" / "images"
    for name in "0123":
        tiny_layouts.photograph(folder / f"{name}.jpg", seed=int(name))
    mark = "\ufeff" if encoding.startswith("utf-16") else ""
    (folder.parent / "Labels.csv").write_text(f"{mark}{rows}".replace(",", "\t"), encoding=encoding)

    with pytest.raises(DatasetError, match=r"Labels\.csv: 3 of .* has grade 4, so not all eyes"):
        dr_grades.healthy_cases(folder, None)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_g_a_table_and_a_split_may_spell_a_name_in_another_unicode_form(tmp_path, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    name = "ä_ô\u0323_01"  # neither form, as a set with files of two systems has
    tiny_layouts.photograph(tmp_path / unicodedata.normalize(form, "é.jpg"))
    tiny_layouts.photograph(tmp_path / f"{name}.jpg", seed=1)
    listed = [unicodedata.normalize(other, entry) for entry in ("é", name)]
    table = "".join(f"{entry}.jpg,0\n" for entry in listed)
    (tmp_path / "labels.csv").write_text(f"file,retinopathy_grade\n{table}", encoding="utf-8")
    halves = dict.fromkeys(listed, dr_grades.TRAIN_HALF)
    (tmp_path / "halves.json").write_text(json.dumps({"folds": halves}), encoding="utf-8")

    cases = dr_grades.healthy_cases(tmp_path, tmp_path / "halves.json")

    assert sorted(case.name for case in cases) == sorted(
        unicodedata.normalize("NFC", f"healthy-{entry}") for entry in listed
    )
    assert all(case.photograph.is_file() for case in cases)


def test_g_a_table_of_grades_in_a_linked_folder_is_found(tmp_path):
    tiny_layouts.photograph(tmp_path / "elsewhere" / "a.jpg")
    (tmp_path / "elsewhere" / "train.csv").write_text("image,level\nx,4\n")
    (tmp_path / "eyes").mkdir()
    (tmp_path / "eyes" / "more").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(DatasetError, match=r"train\.csv: a table of grades"):
        dr_grades.healthy_cases(tmp_path / "eyes", None)


def test_g_another_table_does_no_harm(tmp_path):
    folder = tmp_path / "published" / "set" / "healthy"
    tiny_layouts.photograph(folder / "a.jpg")
    (folder / "cameras.csv").write_text("file,camera\na,x\n")

    assert [case.name for case in dr_grades.healthy_cases(folder, None)] == ["healthy-a"]


# ---- H, N, O, P: folders


def run_folder(folder, mark="run.json"):
    """Write what a run of `foveate predict` leaves."""
    for name in ("overlays/a.jpg", "maps/a_EX.png", "page/a_photo.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / mark).write_text(json.dumps({"foveate": "0.1.0", "times": {}}, indent=2))


def listed(*paths, **options):
    files = photographs.list_files([str(path) for path in paths], **options)
    return [photograph.name for photograph in files.photographs], files


@pytest.mark.parametrize("mark", ["run.json", "metrics.json", "check.json"])
@pytest.mark.parametrize("pattern", ["", "*", "**/*.*"])
def test_h_results_of_an_earlier_run_are_left_out_and_counted(tmp_path, mark, pattern):
    for name in ("a.jpg", "monday/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    run_folder(tmp_path / "r1", mark)
    run_folder(tmp_path / "monday" / "r2", mark)

    names, files = listed(tmp_path / pattern)

    assert names == ["a", "monday/b"]
    assert files.result_folders == 2


def test_h_a_run_json_of_something_else_leaves_nothing_out(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "run.json").write_text('{"name": "treadmill"}')

    names, files = listed(tmp_path)

    assert names == ["a"]
    assert files.result_folders == 0


def test_h_a_folder_that_holds_only_results_is_refused(tmp_path):
    run_folder(tmp_path / "r1")

    with pytest.raises(PhotographError, match="holds no photograph, 0 other files and 1 folder with results"):
        listed(tmp_path)


def test_p_the_folder_of_results_is_no_input(tmp_path):
    (tmp_path / "a.jpg").touch()

    with pytest.raises(PhotographError, match="is in the output folder; choose another --out"):
        listed(tmp_path, without=tmp_path)


def test_n_a_loop_of_links_that_a_glob_matches_fails_by_name_and_the_others_are_listed(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")

    names, files = listed(tmp_path / "*.jpg", without=tmp_path / "out")

    assert names == ["a", "loop"]
    with pytest.raises(PhotographError, match=r"loop\.jpg: cannot be opened"):
        photographs.read(files.photographs[1].path)


def test_n_a_folder_without_rights_fails_by_name_and_the_others_are_listed(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "lost+found").mkdir()
    iterdir = Path.iterdir

    def forbid(folder):
        if folder.name == "lost+found":
            raise PermissionError(13, "Permission denied", str(folder))
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", forbid)
    monkeypatch.setattr("os.access", lambda path, mode: False)

    names, files = listed(tmp_path)

    assert names == ["a", "lost+found"]
    with pytest.raises(PhotographError, match=r"lost\+found: the folder cannot be listed"):
        photographs.read(files.photographs[1].path)


def test_n_a_folder_of_masks_without_rights_is_named_in_one_line(tmp_path, monkeypatch):
    layout = own_set(tmp_path)
    iterdir = Path.iterdir

    def forbid(folder):
        if folder.name == "masks":
            raise PermissionError(13, "Permission denied", str(folder))
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", forbid)

    with pytest.raises(FoveateError, match="masks: the folder cannot be listed"):
        layouts.cases(tmp_path, layout, "train")


@pytest.mark.parametrize(
    "name", ["images/._eye_01.jpg", "masks/._eye_01_EX.png", ".trash/eye_04.jpg", "images/.jpg"]
)
def test_o_hidden_files_are_left_out_everywhere(tmp_path, name):
    layout = own_set(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")

    assert problems(tmp_path, layout) == []
    assert [case.name for case in layouts.cases(tmp_path, layout, "train")] == list(NAMES)
    assert listed(tmp_path / "images")[0] == list(NAMES)


def test_p_a_byte_order_mark_does_no_harm(tmp_path):
    own_set(tmp_path)
    for name, text in (("own.toml", OWN.format(more="")), ("folds.json", '{"folds": {"eye_01": 0}}')):
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
    (tmp_path / "images/labels.csv").write_text(
        "file,retinopathy_grade\neye_01.jpg,0\n", encoding="utf-8-sig"
    )

    assert layouts.named(str(tmp_path / "own.toml")).lesions == ("EX",)
    assert splits.read(tmp_path / "folds.json") == {"eye_01": 0}
    assert [eye.name for eye in dr_grades.list_photographs(tmp_path / "images")] == ["eye_01"]


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_n_linked_folders_of_a_set_are_followed_and_loops_of_links_end(tmp_path, folder):
    root = tmp_path / "set"
    root.mkdir()
    own_set(root)
    layout = OWN.format(more="").replace("images/*", "images/**/*")
    (root / "own.toml").write_text(layout.replace("masks/", "masks/{folder}/"))
    for kind, number in (("images", 7), ("masks", 7)):
        place = (tmp_path if kind == folder else root / kind) / "s2"
        place.mkdir()
        if kind == folder:
            (root / kind / "s2").symlink_to(place)
        if kind == "images":
            Image.fromarray(picture(number)).save(place / "eye_07.png")
        else:
            save_levels(place / "eye_07_EX.png", lesion(0) * np.uint8(255))
            save_levels(place / "eye_08_EX.png", lesion(0) * np.uint8(255))
        (place / "up").symlink_to(root / kind)
    layout = layouts.named(str(root / "own.toml"))

    cases = layouts.cases(root, layout, "train")

    assert [case.name for case in cases] == ["eye_01", "eye_02", "eye_03", "s2_eye_07"]
    assert all(case.masks for case in cases)
    assert any("eye_08_EX.png: a mask without a photograph" in line for line in problems(root, layout))


# ---- E: a disk that fails

UNREADABLE = Path("/proc/self/mem")
"""A regular file that can be opened, but whose first bytes cannot be read."""

needs_unreadable = pytest.mark.skipif(not UNREADABLE.is_file(), reason="this system has no such file")

CANNOT_BE_READ = r"eye_02\.png: cannot be read \(Input/output error\); check the disk, or copy the file again"


def set_on_a_failing_disk(root):
    """The set, with a photograph that cannot be read."""
    own_set(root)
    (root / "images" / "eye_02.jpg").unlink()
    (root / "images" / "eye_02.png").symlink_to(UNREADABLE)
    return ["--layout", str(root / "own.toml")]


@needs_unreadable
def test_e_a_photograph_that_the_disk_cannot_read_is_refused_by_name(tmp_path, monkeypatch):
    set_on_a_failing_disk(tmp_path)
    with pytest.raises(PhotographError, match=CANNOT_BE_READ):
        photographs.read(tmp_path / "images" / "eye_02.png")

    def fail(file, name):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("hashlib.file_digest", fail)
    with pytest.raises(PhotographError, match=r"eye_01\.jpg: cannot be read \(Input/output error\)"):
        photographs.read(tmp_path / "images" / "eye_01.jpg")


@needs_unreadable
@pytest.mark.parametrize("out", [True, False])
def test_e_data_check_reports_it_and_checks_the_others(tmp_path, capsys, monkeypatch, out):
    monkeypatch.setenv("COLUMNS", "300")
    layout = set_on_a_failing_disk(tmp_path)
    target = ["--out", str(tmp_path / "check")] if out else []

    assert cli.run(["data", "check", str(tmp_path), *layout, *target]) == 1

    printed, errors = capsys.readouterr()
    assert errors == ""
    assert re.search(f"wrong: .*{CANNOT_BE_READ}", printed)
    assert "1 wrong" in printed
    assert out == (tmp_path / "check" / "check.csv").is_file()


@needs_unreadable
def test_e_data_split_names_it_in_one_line(tmp_path, capsys):
    layout = set_on_a_failing_disk(tmp_path)

    arguments = ["data", "split", str(tmp_path), *layout, "--folds", "2", "--out", str(tmp_path / "f.json")]
    assert cli.run(arguments) == 1

    error = capsys.readouterr().err
    assert re.search(CANNOT_BE_READ, error)
    assert error.count("\n") == 1


@needs_unreadable
def test_e_two_photographs_of_one_name_are_compared_only_where_they_can_be_read(tmp_path):
    tiny_layouts.e_ophtha(tmp_path)
    path = tmp_path / "e_optha_MA" / "MA" / "E0000001" / "C1.jpg"
    path.unlink()
    path.symlink_to(UNREADABLE)

    with pytest.raises(DatasetError, match=r"C1\.jpg: cannot be read \(Input/output error\)"):
        layouts.cases(tmp_path, layouts.E_OPHTHA, "train")


# ---- R: work


def test_r_each_photograph_is_transformed_once(monkeypatch):
    prints = [np.random.default_rng(seed).normal(size=(likeness.SIDE, likeness.SIDE)) for seed in range(30)]
    prints = [(levels / np.linalg.norm(levels)).astype(np.float32) for levels in prints]
    transform, calls = np.fft.rfft2, []
    monkeypatch.setattr(np.fft, "rfft2", lambda levels: calls.append(len(levels)) or transform(levels))

    pairs = likeness.pairs([*prints, np.roll(prints[7], (3, 5), (0, 1))])

    assert [(low, high) for low, high, _ in pairs] == [(7, 30)]
    assert len(calls) == 31
