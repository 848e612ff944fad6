"""The facts of a photograph are counted from one reading of its files."""

import hashlib

import cv2
import numpy as np
import pytest
import tiny_layouts
from PIL import Image

from foveate.datasets import Case, facts, layouts
from foveate.datasets.facts import LesionArea
from foveate.errors import DatasetError, PhotographError


def case(folder, **changes):
    photograph = tiny_layouts.photograph(folder / "one.png")
    masks = {"EX": tiny_layouts.mask(folder / "ex.png", ((100, 120), (106, 126), (180, 90)))}
    masks["SE"] = tiny_layouts.mask(folder / "se.png", ())
    return Case(**({"name": "one", "photograph": photograph, "masks": masks} | changes))


def test_regions_touch_by_their_corners_and_an_empty_mask_is_told_from_none(tmp_path):
    case_facts = facts.read(case(tmp_path), ("EX", "SE", "HE"))

    assert case_facts.areas == {
        "EX": LesionArea(pixels=108, regions=2, has_mask=True),
        "SE": LesionArea(pixels=0, regions=0, has_mask=True),
        "HE": LesionArea(pixels=0, regions=0, has_mask=False),
    }
    assert case_facts.shape == tiny_layouts.SHAPE
    assert case_facts.digest == hashlib.sha256((tmp_path / "one.png").read_bytes()).hexdigest()


def test_of_a_lesion_that_was_not_looked_for_nothing_is_known(tmp_path):
    assert set(facts.read(case(tmp_path, annotated=("EX",)), ("EX", "HE")).areas) == {"EX"}


def test_masks_of_lesions_that_nobody_asks_for_are_not_read(tmp_path):
    damaged = case(tmp_path)
    (tmp_path / "se.png").write_bytes(b"none")

    assert facts.read(damaged, ("EX",)).areas["EX"].pixels == 108
    with pytest.raises(DatasetError, match=r"se\.png: unreadable mask"):
        facts.read(damaged, ("EX", "SE"))


def test_the_same_pixels_in_another_file_are_known_again(tmp_path):
    png = case(tmp_path)
    with Image.open(png.photograph) as image:
        image.save(tmp_path / "two.tif")
    tiff = case(tmp_path, photograph=tmp_path / "two.tif")

    first, second = facts.read(png, ()), facts.read(tiff, ())

    assert first.digest != second.digest
    assert first.levels == second.levels


def test_turning_pixels_into_another_shape_makes_another_photograph(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    cv2.imwrite(str(tmp_path / "b.png"), pixels.reshape(400, 300, 3))
    first, second = (
        facts.read(Case(name=name, photograph=tmp_path / f"{name}.png", masks={}), ()) for name in "ab"
    )

    assert first.levels != second.levels


def test_files_that_cannot_be_used_are_refused(tmp_path):
    broken = case(tmp_path)
    (tmp_path / "ex.png").write_bytes(b"none")
    with pytest.raises(DatasetError, match=r"ex\.png: unreadable mask"):
        facts.read(broken, ("EX",))
    (tmp_path / "one.png").write_bytes(b"none")
    with pytest.raises(PhotographError, match=r"one\.png"):
        facts.read(broken, ("EX",))


def test_idrid_s_first_photograph_counts_as_measured_elsewhere(shared_data):
    first = layouts.cases(shared_data, layouts.IDRID, "train")[0]

    case_facts = facts.read(first, ("EX", "MA", "HE", "SE"))

    assert case_facts.shape == (2848, 4288)
    masks = {code: np.asarray(Image.open(path)) for code, path in first.masks.items()}
    for code, levels in masks.items():
        assert case_facts.areas[code].pixels == np.count_nonzero(levels)
        assert case_facts.areas[code].regions == cv2.connectedComponents(levels.astype(np.uint8))[0] - 1
    assert not case_facts.areas["SE"].has_mask
