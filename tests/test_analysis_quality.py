"""Quality codes have the right causes, at every size and orientation."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveate import photographs
from foveate.analysis import quality
from foveate.geometry import field_of_view
from foveate.types import Box, Field, Photograph

EXAMPLES = Path(__file__).parent.parent / "examples"

CODES = {"blur", "colour", "cut", "exposure", "small"}

DIAMETER = 1240
"""Diameter of the synthetic fields, px: just above the limit of 'small', to be quick."""


def texture(side, seed=0):
    """Return octaves of noise whose fine detail fades about as fast as in retinas, in levels."""
    rng = np.random.default_rng(seed)
    widths = (2, 4, 8, 16, 32, 64)  # px
    octaves = (rng.normal(0, width**0.5, (-(-side // width),) * 2).astype(np.float32) for width in widths)
    return sum(cv2.resize(octave, (side, side), interpolation=cv2.INTER_CUBIC) for octave in octaves)


TEXTURE = texture(2 * DIAMETER)


def eye(diameter=DIAMETER, light=1.0, blur=0.0, contrast=1.0):
    """Return a disc like a fundus, cut at top and bottom as by a camera, and its field.

    Args:
        diameter: diameter of the disc, px.
        light: factor of the levels.
        blur: sigma of the blur, px at a diameter of 3450 px.
        contrast: factor of the detail.
    """
    height, width = round(diameter * 0.83), round(diameter * 1.2)
    detail = cv2.resize(TEXTURE, (width, width), interpolation=cv2.INTER_AREA)[:height, :, None]
    levels = (np.array([170.0, 80.0, 30.0], np.float32) + detail * contrast) * light
    rows, columns = np.ogrid[:height, :width]
    inside = np.hypot(rows + 0.5 - height / 2, columns + 0.5 - width / 2) <= diameter / 2
    pixels = np.where(inside[..., None], levels.clip(0, 255), 0).astype(np.uint8)
    if blur:
        pixels = cv2.GaussianBlur(pixels, (0, 0), blur * diameter / 3450)
    left = round((width - diameter) / 2)
    field = Field(
        centre=(height / 2, width / 2),
        radius=diameter / 2,
        box=Box(top=0, left=left, bottom=height, right=left + diameter),
    )
    return pixels, field


def codes(pixels, field):
    pixels.flags.writeable = False
    return quality.assess(Photograph(pixels=pixels, source="eye", digest=""), field)


def box_moved(field, **sides):
    return replace(field, box=replace(field.box, **sides))


def test_a_good_photograph_has_no_code():
    assert codes(*eye()) == ()


@settings(max_examples=20)
@given(st.integers(700, 1500), st.sampled_from([0.05, 0.3, 1.0, 2.5]), st.sampled_from([0.0, 4.0, 12.0]))
def test_codes_are_valid_sorted_and_each_has_its_own_cause(diameter, light, blur):
    result = codes(*eye(diameter, light, blur))

    assert list(result) == sorted(set(result) & CODES)
    assert ("small" in result) == (diameter < quality.DIAMETER)
    assert ("exposure" in result) == (light != 1.0)
    assert "cut" not in result
    if blur == 12:
        assert "blur" in result


@pytest.mark.parametrize("diameter", [1000, 1240, 2000])
def test_blur_is_recognised_at_every_size(diameter):
    assert codes(*eye(diameter)) == ()
    assert codes(*eye(diameter, blur=6)) == ("blur",)


def test_noise_in_a_hazy_photograph_does_not_count_as_sharpness():
    pixels, field = eye()
    hazy = cv2.GaussianBlur(pixels, (0, 0), 40).astype(np.float32)
    noisy = hazy + np.random.default_rng(0).normal(0, 1.5, hazy.shape)

    assert codes(noisy.clip(0, 255).astype(np.uint8), field) == ("blur",)


@pytest.mark.parametrize(("contrast", "expected"), [(0.5, ()), (0.2, ("blur",))])
def test_detail_that_is_too_faint_is_blurred_even_if_sharp(contrast, expected):
    assert codes(*eye(contrast=contrast)) == expected


@pytest.mark.parametrize(("channels", "expected"), [([1, 0, 2], ("colour",)), ([2, 1, 0], ("colour",))])
def test_a_field_greener_or_bluer_than_red_is_oddly_coloured(channels, expected):
    pixels, field = eye()

    assert codes(np.ascontiguousarray(pixels[..., channels]), field) == expected


def test_the_rim_does_not_count():
    pixels, field = eye(blur=6)
    rows, columns = np.ogrid[: pixels.shape[0], : pixels.shape[1]]
    distance = np.hypot(rows + 0.5 - field.centre[0], columns + 0.5 - field.centre[1]) / field.radius
    rim = (distance > 0.98) & (distance < 1)
    pixels[rim] = np.random.default_rng(0).integers(0, 256, pixels[rim].shape)

    assert codes(pixels, field) == ("blur",)


def test_a_field_without_any_detail_is_blurred():
    pixels, field = eye()
    pixels[:] = (170, 80, 30)

    assert codes(pixels, field) == ("blur",)


@pytest.mark.parametrize("level", [0, 255])
def test_a_fifth_of_the_field_in_black_or_white_is_bad_exposure_but_a_twentieth_is_not(level):
    pixels, field = eye()
    slightly_lost, largely_lost = pixels.copy(), pixels.copy()
    slightly_lost[: pixels.shape[0] // 20] = level
    largely_lost[: pixels.shape[0] // 4] = level

    assert codes(slightly_lost, field) == ()
    assert codes(largely_lost, field) == ("exposure",)


def test_the_surround_does_not_count():
    pixels, field = eye()
    inside = field_of_view.mask(field, Box(top=0, left=0, bottom=pixels.shape[0], right=pixels.shape[1]))

    for level in (0, 255):
        assert codes(np.where(inside[..., None], pixels, level).astype(np.uint8), field) == ()


@pytest.mark.parametrize("turn", [np.flipud, np.fliplr, np.rot90])
def test_a_turned_photograph_has_the_same_codes(turn):
    for blur in (0.0, 6.0):
        pixels, field = eye(blur=blur)
        turned = np.ascontiguousarray(turn(pixels))
        box, centre = field.box, field.centre
        if turn is np.rot90:
            box = Box(
                top=pixels.shape[1] - box.right,
                left=box.top,
                bottom=pixels.shape[1] - box.left,
                right=box.bottom,
            )
            centre = (pixels.shape[1] - centre[1], centre[0])

        assert codes(turned, replace(field, box=box, centre=centre)) == codes(pixels, field)


def test_black_borders_change_nothing():
    pixels, field = eye(blur=6)
    wider = np.pad(pixels, ((30, 50), (70, 10), (0, 0)))
    box = Box(
        top=field.box.top + 30,
        left=field.box.left + 70,
        bottom=field.box.bottom + 30,
        right=field.box.right + 70,
    )
    moved = Field(centre=(field.centre[0] + 30, field.centre[1] + 70), radius=field.radius, box=box)

    assert codes(wider, moved) == codes(pixels, field) == ("blur",)


@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
def test_a_crop_on_one_side_is_distinguished_from_the_cameras_cut(side):
    pixels, field = eye()
    sign = 1 if side in ("top", "left") else -1
    edge = getattr(field.box, side)

    assert codes(pixels, box_moved(field, **{side: edge + sign * round(0.04 * field.radius)})) == ()
    assert codes(pixels, box_moved(field, **{side: edge + sign * round(0.12 * field.radius)})) == ("cut",)


@pytest.mark.parametrize(("reach", "expected"), [(0.645, ()), (0.615, ("cut",))])
def test_a_band_of_the_disc_is_cut_when_it_shows_less_than_three_quarters(reach, expected):
    """The band of a disc that reaches .625 of its radius up and down is three quarters of it."""
    pixels, field = eye()
    middle, half = field.centre[0], round(reach * field.radius)

    assert codes(pixels, box_moved(field, top=round(middle) - half, bottom=round(middle) + half)) == expected


def test_a_given_field_that_shows_its_rim_only_has_codes_too():
    field = field_of_view.from_circle((-1936.0, 150.0), 2000.0, (249, 360))

    assert "cut" in codes(eye(300)[0].copy(), field)


def test_a_field_given_as_full_is_always_cut():
    pixels, _ = eye()

    assert "cut" in codes(pixels, field_of_view.full_frame(pixels.shape[:2]))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.jpg")), ids=lambda path: path.stem)
def test_the_examples_have_no_code_and_their_blurred_and_dark_copies_have(path):
    photograph = photographs.read(path)
    field = field_of_view.find(photograph.pixels)
    soft = cv2.GaussianBlur(photograph.pixels, (0, 0), 6 * field.diameter / 3450)

    assert quality.assess(photograph, field) == ()
    assert quality.assess(replace(photograph, pixels=soft), field) == ("blur",)
    assert "exposure" in quality.assess(replace(photograph, pixels=photograph.pixels // 4), field)


@pytest.mark.parametrize("name", ["hrf_01_h.jpg", "sk_retina.jpg"])
def test_photographs_of_other_cameras_have_no_code(shared_data, name):
    photograph = photographs.read(shared_data / "other" / name)

    assert quality.assess(photograph, field_of_view.find(photograph.pixels)) == ()
