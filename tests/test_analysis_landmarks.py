"""The optic disc and the fovea are found where they are, and nothing is claimed where there is none."""

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_eye import DIAMETER, DISC, FOVEA, SIDE, eye

from foveate import photographs
from foveate.analysis import fovea, landmarks, optic_disc, retinal_view
from foveate.geometry import field_of_view
from foveate.types import Box, DicomOrigin, Field, Photograph

EXAMPLES = Path(__file__).parent.parent / "examples"


def field_of(shape=(SIDE, SIDE)):
    height, width = shape
    box = Box(top=0, left=0, bottom=height, right=width)
    return Field(centre=(height / 2, width / 2), radius=(width - 20 * width / SIDE) / 2, box=box)


def place(pixels, field=None, laterality=None):
    origin = laterality and DicomOrigin(
        uid="1.2", frame=None, laterality=laterality, field_degrees=None, header=b""
    )
    photograph = Photograph(pixels=pixels, source="eye", digest="0" * 64, origin=origin)
    return landmarks.find(photograph, field or field_of(pixels.shape[:2]))


def test_disc_and_fovea_are_placed():
    placed = place(eye())

    assert math.dist(placed.disc.centre, DISC) < 0.1 * DIAMETER
    assert placed.disc.diameter == pytest.approx(DIAMETER, rel=0.1)
    assert optic_disc.LEAST_CONFIDENCE <= placed.disc.confidence <= 1
    assert math.dist(placed.fovea.centre, FOVEA) < 0.15 * DIAMETER
    assert (placed.fovea.laterality, placed.fovea.is_dark) == ("R", True)


def test_a_mirrored_photograph_is_the_other_eye():
    placed = place(np.ascontiguousarray(eye()[:, ::-1]))

    assert math.dist(placed.disc.centre, (DISC[0], SIDE - DISC[1])) < 0.1 * DIAMETER
    assert math.dist(placed.fovea.centre, (FOVEA[0], SIDE - FOVEA[1])) < 0.15 * DIAMETER
    assert placed.fovea.laterality == "L"


@pytest.mark.parametrize("ratio", [0.6, 3])
def test_places_grow_with_the_photograph(ratio):
    pixels = cv2.resize(eye(), None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)

    placed = place(pixels)

    assert math.dist(placed.disc.centre, tuple(ratio * x for x in DISC)) < 0.1 * ratio * DIAMETER
    assert placed.disc.diameter == pytest.approx(ratio * DIAMETER, rel=0.12)
    assert math.dist(placed.fovea.centre, tuple(ratio * x for x in FOVEA)) < 0.2 * ratio * DIAMETER


def test_a_black_border_moves_the_places_and_nothing_else():
    pixels, plain = eye(), place(eye())
    field = field_of()
    top, left = 70, 130
    moved = replace(
        field,
        centre=(field.centre[0] + top, field.centre[1] + left),
        box=Box(top=top, left=left, bottom=top + SIDE, right=left + SIDE),
    )

    placed = place(np.pad(pixels, ((top, 40), (left, 10), (0, 0))), moved)

    assert placed.disc.centre == pytest.approx((plain.disc.centre[0] + top, plain.disc.centre[1] + left))
    assert placed.fovea.centre == pytest.approx((plain.fovea.centre[0] + top, plain.fovea.centre[1] + left))


def test_vessels_tell_the_disc_from_a_patch_as_bright():
    placed = place(eye(decoy=True))

    assert placed.disc is not None
    assert math.dist(placed.disc.centre, DISC) < 0.1 * DIAMETER


def test_nothing_is_claimed_without_a_disc():
    assert place(eye(disc=False)) == landmarks.Landmarks(disc=None, fovea=None)
    assert place(np.full((SIDE, SIDE, 3), 120, np.uint8)) == landmarks.Landmarks(disc=None, fovea=None)


def test_without_a_dark_spot_the_usual_place_is_told_as_such():
    pixels = np.full((SIDE, SIDE, 3), 120, np.uint8)
    disc = optic_disc.OpticDisc(centre=DISC, diameter=DIAMETER, confidence=1.0)

    placed = fovea.find(retinal_view.make(pixels, field_of()), disc, "R")

    usual = (DISC[0] + fovea.BELOW * DIAMETER, DISC[1] - fovea.TEMPORAL * DIAMETER)
    assert placed.centre == pytest.approx(usual)
    assert not placed.is_dark


def test_the_stated_eye_decides_the_side():
    assert place(eye(), laterality="R").fovea == place(eye()).fovea
    assert place(eye(), laterality="L").fovea is None  # the fovea of a left eye would lie outside


@pytest.mark.parametrize(
    ("name", "disc", "fovea_centre", "diameter"),
    [  # read by eye from the photographs, px
        ("IDRiD_339", (1395, 800), (1600, 2050), 540),
        ("IDRiD_226", (1180, 1100), (1440, 2320), 560),
    ],
)
def test_the_examples_have_them_where_a_person_sees_them(name, disc, fovea_centre, diameter):
    photograph = photographs.read(EXAMPLES / f"{name}.jpg")

    placed = landmarks.find(photograph, field_of_view.find(photograph.pixels))

    assert math.dist(placed.disc.centre, disc) < 0.25 * diameter
    assert math.dist(placed.fovea.centre, fovea_centre) < 0.5 * diameter
    assert placed.fovea.laterality == "L"


@pytest.mark.parametrize("number", [4, 47, 48])  # near the centre, large, near the rim
def test_marked_discs_are_found_within_a_quarter_of_their_diameter(shared_data, number):
    name = f"IDRiD_{number:02}"
    photograph = photographs.read(next(shared_data.glob(f"idrid/**/{name}.jpg")))
    with Image.open(next(shared_data.glob(f"idrid/**/{name}_OD.tif"))) as mask:
        rows, columns = np.nonzero(np.asarray(mask))

    placed = landmarks.find(photograph, field_of_view.find(photograph.pixels))

    diameter = 2 * math.sqrt(len(rows) / math.pi)
    assert math.dist(placed.disc.centre, (rows.mean() + 0.5, columns.mean() + 0.5)) < 0.25 * diameter
    assert placed.disc.diameter == pytest.approx(diameter, rel=0.15)
