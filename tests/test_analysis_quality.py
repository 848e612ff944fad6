"""What must hold for the reasons to doubt a photograph."""

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

CODES = {"blur", "cut", "exposure", "small"}

DIAMETER = 1240
"""Of the fields made here, px; close above the smallest that is not 'small', to be quick."""


def texture(side, seed=0):
    """Detail that fades as it gets finer about as fast as in retinas: octaves of noise, in levels."""
    rng = np.random.default_rng(seed)
    widths = (2, 4, 8, 16, 32, 64)  # px
    octaves = (rng.normal(0, width**0.5, (-(-side // width),) * 2).astype(np.float32) for width in widths)
    return sum(cv2.resize(octave, (side, side), interpolation=cv2.INTER_CUBIC) for octave in octaves)


TEXTURE = texture(2 * DIAMETER)


def eye(diameter=DIAMETER, light=1.0, blur=0.0, contrast=1.0):
    """A disc like a fundus in a frame that cuts it at top and bottom, as cameras do, and its field.

    Args:
        diameter: of the disc, px.
        light: what levels are multiplied with.
        blur: sigma, px of a disc of 3450 px.
        contrast: what details are multiplied with.
    """
    height, width = round(diameter * 0.83), round(diameter * 1.2)
    detail = cv2.resize(TEXTURE, (width, width), interpolation=cv2.INTER_AREA)[:height, :, None]
    levels = (np.array([170.0, 80.0, 30.0], np.float32) + detail * contrast) * light
    rows, columns = np.ogrid[:height, :width]
    lit = np.hypot(rows + 0.5 - height / 2, columns + 0.5 - width / 2) <= diameter / 2
    pixels = np.where(lit[..., None], levels.clip(0, 255), 0).astype(np.uint8)
    if blur:
        pixels = cv2.GaussianBlur(pixels, (0, 0), blur * diameter / 3450)
    left = round((width - diameter) / 2)
    seen = Field(
        centre=(height / 2, width / 2),
        radius=diameter / 2,
        box=Box(top=0, left=left, bottom=height, right=left + diameter),
    )
    return pixels, seen


def codes(pixels, seen):
    pixels.flags.writeable = False
    return quality.assess(Photograph(pixels=pixels, source="eye", digest=""), seen)


def box_moved(seen, **sides):
    return replace(seen, box=replace(seen.box, **sides))


def test_a_sound_photograph_has_no_code():
    assert codes(*eye()) == ()


@settings(max_examples=20)
@given(st.integers(700, 1500), st.sampled_from([0.05, 0.3, 1.0, 2.5]), st.sampled_from([0.0, 4.0, 12.0]))
def test_codes_are_of_the_known_ones_sorted_and_each_by_its_own_cause(diameter, light, blur):
    found = codes(*eye(diameter, light, blur))

    assert list(found) == sorted(set(found) & CODES)
    assert ("small" in found) == (diameter < quality.DIAMETER)
    assert ("exposure" in found) == (light != 1.0)
    assert "cut" not in found
    if blur == 12:
        assert "blur" in found


@pytest.mark.parametrize("diameter", [1000, 1240, 2000])
def test_blur_is_told_at_every_size(diameter):
    assert codes(*eye(diameter)) == ()
    assert codes(*eye(diameter, blur=6)) == ("blur",)


def test_noise_does_not_pass_for_sharpness_where_everything_else_is_hazy():
    pixels, seen = eye()
    hazy = cv2.GaussianBlur(pixels, (0, 0), 40).astype(np.float32)
    noisy = hazy + np.random.default_rng(0).normal(0, 1.5, hazy.shape)

    assert codes(noisy.clip(0, 255).astype(np.uint8), seen) == ("blur",)


@pytest.mark.parametrize(("contrast", "expected"), [(0.5, ()), (0.2, ("blur",))])
def test_detail_too_faint_for_its_noise_is_blurred_however_sharp(contrast, expected):
    assert codes(*eye(contrast=contrast)) == expected


def test_the_rim_does_not_count():
    pixels, seen = eye(blur=6)
    rows, columns = np.ogrid[: pixels.shape[0], : pixels.shape[1]]
    distance = np.hypot(rows + 0.5 - seen.centre[0], columns + 0.5 - seen.centre[1]) / seen.radius
    rim = (distance > 0.98) & (distance < 1)
    pixels[rim] = np.random.default_rng(0).integers(0, 256, pixels[rim].shape)

    assert codes(pixels, seen) == ("blur",)


def test_a_field_without_any_detail_is_blurred():
    pixels, seen = eye()
    pixels[:] = (170, 80, 30)

    assert codes(pixels, seen) == ("blur",)


@pytest.mark.parametrize("lost", [0, 255])
def test_a_fifth_of_the_field_in_black_or_white_is_bad_exposure_a_twentieth_is_none(lost):
    pixels, seen = eye()
    few, many = pixels.copy(), pixels.copy()
    few[: pixels.shape[0] // 20] = lost
    many[: pixels.shape[0] // 4] = lost

    assert codes(few, seen) == ()
    assert codes(many, seen) == ("exposure",)


def test_the_surround_does_not_count():
    pixels, seen = eye()
    lit = field_of_view.mask(seen, Box(top=0, left=0, bottom=pixels.shape[0], right=pixels.shape[1]))

    for level in (0, 255):
        assert codes(np.where(lit[..., None], pixels, level).astype(np.uint8), seen) == ()


@pytest.mark.parametrize("turn", [np.flipud, np.fliplr, np.rot90])
def test_a_turned_photograph_has_the_same_codes(turn):
    for blur in (0.0, 6.0):
        pixels, seen = eye(blur=blur)
        turned = np.ascontiguousarray(turn(pixels))
        box, centre = seen.box, seen.centre
        if turn is np.rot90:
            box = Box(
                top=pixels.shape[1] - box.right,
                left=box.top,
                bottom=pixels.shape[1] - box.left,
                right=box.bottom,
            )
            centre = (pixels.shape[1] - centre[1], centre[0])

        assert codes(turned, replace(seen, box=box, centre=centre)) == codes(pixels, seen)


def test_black_borders_change_nothing():
    pixels, seen = eye(blur=6)
    wider = np.pad(pixels, ((30, 50), (70, 10), (0, 0)))
    box = Box(
        top=seen.box.top + 30,
        left=seen.box.left + 70,
        bottom=seen.box.bottom + 30,
        right=seen.box.right + 70,
    )
    moved = Field(centre=(seen.centre[0] + 30, seen.centre[1] + 70), radius=seen.radius, box=box)

    assert codes(wider, moved) == codes(pixels, seen) == ("blur",)


@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
def test_a_crop_on_one_side_is_told_from_the_cameras_cut(side):
    pixels, seen = eye()
    sign = 1 if side in ("top", "left") else -1
    edge = getattr(seen.box, side)

    assert codes(pixels, box_moved(seen, **{side: edge + sign * round(0.04 * seen.radius)})) == ()
    assert codes(pixels, box_moved(seen, **{side: edge + sign * round(0.12 * seen.radius)})) == ("cut",)


@pytest.mark.parametrize(("reach", "expected"), [(0.645, ()), (0.615, ("cut",))])
def test_a_band_of_the_disc_is_cut_when_it_shows_less_than_three_quarters(reach, expected):
    """Of a disc, the band that reaches .625 of its radius up and down is three quarters."""
    pixels, seen = eye()
    middle, half = seen.centre[0], round(reach * seen.radius)

    assert codes(pixels, box_moved(seen, top=round(middle) - half, bottom=round(middle) + half)) == expected


def test_a_field_given_as_full_is_always_cut():
    pixels, _ = eye()

    assert "cut" in codes(pixels, field_of_view.full(pixels.shape[:2]))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.jpg")), ids=lambda path: path.stem)
def test_the_examples_are_sound_and_their_blurred_and_dark_copies_are_not(path):
    photograph = photographs.read(path)
    seen = field_of_view.find(photograph.pixels)
    soft = cv2.GaussianBlur(photograph.pixels, (0, 0), 6 * seen.diameter / 3450)

    assert quality.assess(photograph, seen) == ()
    assert quality.assess(replace(photograph, pixels=soft), seen) == ("blur",)
    assert "exposure" in quality.assess(replace(photograph, pixels=photograph.pixels // 4), seen)


@pytest.mark.parametrize("name", ["hrf_01_h.jpg", "sk_retina.jpg"])
def test_photographs_of_other_cameras_are_sound(shared_data, name):
    photograph = photographs.read(shared_data / "other" / name)

    assert quality.assess(photograph, field_of_view.find(photograph.pixels)) == ()
