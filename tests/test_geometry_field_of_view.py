"""The field is the lit disc, wherever it lies and however it is cut; other shapes are refused."""

import io
import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from strategies import eye, framed, laws, seeds

from foveate.errors import FieldError
from foveate.geometry import field_of_view
from foveate.types import Box, Field

RADIUS = 130.0
CENTRE = (150.0, 180.0)


def is_like(field, centre=CENTRE, radius=RADIUS):
    """Return whether a field contains the disc and little more: its margin is 1 %."""
    distance = math.dist(field.centre, centre)
    return (
        radius <= field.radius + distance and field.radius - distance <= radius * 1.02 + 1 and distance <= 1
    )


def as_jpeg(pixels, quality=50):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


# find


def test_a_full_disc_is_found_with_its_box():
    field = field_of_view.find(eye())

    assert is_like(field)
    assert field.box == Box(top=20, left=50, bottom=280, right=310)


@laws
@given(st.floats(80, 200), st.floats(0, 0.35), st.floats(0, 0.35), st.integers(0, 3))
def test_a_disc_cut_straight_on_two_sides_is_found_whole(radius, cut_above, cut_below, quarter):
    shape = (math.ceil((2 - cut_above - cut_below) * radius), math.ceil(2 * radius) + 40)
    centre = ((1 - cut_above) * radius, radius + 20)

    field = field_of_view.find(np.ascontiguousarray(np.rot90(eye(shape, centre, radius), quarter)))

    for _ in range(quarter):
        centre, shape = (shape[1] - centre[1], centre[0]), shape[::-1]
    assert is_like(field, centre, radius)


@pytest.mark.parametrize("centre", [(150.0, 40.0), (40.0, 180.0), (70.0, 70.0), (230.5, 290.25)])
def test_a_disc_that_leaves_the_photograph_on_one_side_or_two_is_found(centre):
    field = field_of_view.find(eye((300, 360), centre))

    assert is_like(field, centre)
    assert field.box.top >= 0
    assert field.box.right <= 360


def test_a_dim_rim_belongs_to_the_field():
    assert is_like(field_of_view.find(eye(dimming=0.85)))  # luma 14 of 97 is left


def test_a_dark_half_belongs_to_the_field():
    shade = np.linspace(1.4, 0.2, 360)[:, None]

    assert is_like(field_of_view.find((eye() * shade).clip(0, 255).astype(np.uint8)))


def test_dark_lesions_and_the_dark_macula_leave_no_holes():
    pixels = eye()
    cv2.circle(pixels, (150, 180), 50, (0, 0, 0), cv2.FILLED)  # more than a tenth of the disc
    cv2.circle(pixels, (250, 120), 9, (4, 2, 1), cv2.FILLED)

    assert is_like(field_of_view.find(pixels))


@pytest.mark.parametrize("quality", [30, 50, 95])
def test_jpeg_noise_on_black_changes_little(quality):
    assert is_like(field_of_view.find(as_jpeg(eye(), quality)))


def test_hot_pixels_and_a_stamped_text_beside_the_disc_change_nothing():
    pixels = eye()
    expected = field_of_view.find(pixels)
    rng = np.random.default_rng(0)
    for row, column in rng.integers(0, (300, 360), (400, 2)):
        if math.dist((row, column), CENTRE) > RADIUS + 3:
            pixels[row, column] = 255
    cv2.putText(pixels, "OD 2026", (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
    cv2.putText(pixels, "45", (330, 295), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 2)

    assert field_of_view.find(pixels) == expected


def test_noise_of_a_dark_sensor_around_the_disc_changes_little():
    pixels = eye()
    dark = np.random.default_rng(1).integers(0, 9, pixels.shape).astype(np.uint8)

    assert is_like(field_of_view.find(np.maximum(pixels, dark)))


@pytest.mark.parametrize("level", [11, 200])
def test_pixels_just_above_black_are_lit(level):
    pixels = np.full((300, 360, 3), 10, np.uint8)
    pixels[eye(noise=0).any(axis=2)] = level

    assert is_like(field_of_view.find(pixels))


@laws
@given(*[st.integers(0, 70)] * 4)
def test_black_added_around_moves_the_field_and_changes_nothing_else(top, left, bottom, right):
    pixels = as_jpeg(eye((220, 300), (110.0, 150.0), 120.0, dimming=0.5))
    plain, moved = field_of_view.find(pixels), field_of_view.find(framed(pixels, top, left, bottom, right))

    # JPEG noise on the borders stays below the threshold, so that even the box is the same
    box = plain.box
    assert moved.box == Box(
        top=box.top + top, left=box.left + left, bottom=box.bottom + top, right=box.right + left
    )
    assert moved.centre == pytest.approx((plain.centre[0] + top, plain.centre[1] + left), abs=1e-9)
    assert moved.radius == pytest.approx(plain.radius, abs=1e-9)


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_a_turned_or_mirrored_photograph_has_the_turned_or_mirrored_field(quarter):
    pixels = eye((300, 360), (140.0, 190.0), dimming=0.5)
    plain = field_of_view.find(pixels)

    turned = field_of_view.find(np.ascontiguousarray(np.rot90(pixels, quarter)))
    mirrored = field_of_view.find(np.ascontiguousarray(pixels[:, ::-1]))

    (row, column), (height, width) = plain.centre, (300, 360)
    for _ in range(quarter):
        row, column, height, width = width - column, row, width, height
    assert turned.centre == pytest.approx((row, column), abs=0.1)
    assert turned.radius == pytest.approx(plain.radius, abs=0.1)
    assert mirrored.centre == pytest.approx((plain.centre[0], 360 - plain.centre[1]), abs=0.1)


def test_the_photograph_is_not_written_into():
    pixels = eye()
    before = pixels.copy()

    field_of_view.find(pixels)

    np.testing.assert_array_equal(pixels, before)


def gradient():
    return np.tile(np.linspace(0, 255, 360).astype(np.uint8)[None, :, None], (300, 1, 3))


def noise():
    return np.random.default_rng(1).integers(0, 256, (300, 360, 3)).astype(np.uint8)


def rectangle():
    pixels = np.zeros((300, 360, 3), np.uint8)
    pixels[40:250, 70:300] = 120
    return pixels


def with_bay():
    pixels = eye(noise=0)
    cv2.circle(pixels, (269, 150), 44, (0, 0, 0), cv2.FILLED)  # a tenth of the disc, through a narrow mouth
    return pixels


def with_bud():
    pixels = eye((300, 460), (150.0, 140.0), noise=0)
    cv2.circle(pixels, (310, 150), 46, (120, 120, 120), cv2.FILLED)  # a tenth more, over a narrow neck
    return pixels


def ellipse():
    rows, columns = np.ogrid[:300, :360]
    inside = ((rows - 150) / 110) ** 2 + ((columns - 180) / 150) ** 2 <= 1
    return inside[..., None] * np.array([150, 80, 40], np.uint8)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.zeros((300, 360, 3), np.uint8), "the photograph is black"),
        (np.full((300, 360, 3), field_of_view.DARK, np.uint8), "the photograph is black"),
        (np.full((300, 360, 3), 255, np.uint8), "is a rectangle"),
        (gradient(), "is a rectangle"),
        (noise(), "is a rectangle"),
        (rectangle(), "is a rectangle"),
        (ellipse(), "deviates from a circle by"),
        (with_bud(), "not a filled disc"),
        (eye((190, 190), (95.0, 95.0)), "is a rectangle"),  # cropped so closely that hardly a rim is left
        (eye(radius=40.0), "radius 40 px"),
        (eye(radius=25.0), "largest lit patch is 50 x 50 px"),
        (np.full((1, 1, 3), 255, np.uint8), "largest lit patch is 1 x 1 px"),
    ],
)
def test_a_photograph_without_a_disc_is_refused_with_advice(pixels, reason):
    with pytest.raises(
        FieldError, match=rf"no round field of view: .*{reason}.*--field ROW,COL,RADIUS"
    ) as error:
        field_of_view.find(pixels)

    assert "\n" not in str(error.value)


@laws
@given(seeds, st.floats(0, 90), st.floats(0, 3), st.floats(0, 6.3), st.floats(60, 260))
def test_a_sky_over_any_skyline_is_no_field(seed, hill, rough, phase, height):
    rng = np.random.default_rng(seed)
    line = height + hill * np.sin(np.linspace(0, 3.1, 500) + phase) + np.cumsum(rng.normal(0, rough, 500))
    pixels = np.zeros((400, 500, 3), np.uint8)
    pixels[np.arange(400)[:, None] < line] = (120, 150, 200)

    with pytest.raises(FieldError):
        field_of_view.find(pixels)


# the lit rim


def in_shadow(pixels, rows, columns, light=0.05):
    """Return a photograph in which a part, given by two slices, has a share of its light."""
    result = pixels.astype(np.float32)
    result[rows, columns] *= light
    return cv2.GaussianBlur(result, (0, 0), 1).round().astype(np.uint8)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 0), (0, 1), (0, 0)])
def test_a_disc_with_a_dark_quarter_is_found_from_the_rest_of_its_rim(rows, columns):
    halves = slice(0, 450), slice(450, None)
    pixels = eye((900, 1100), (450.0, 550.0), 400.0)
    field = field_of_view.find(in_shadow(pixels, halves[rows], slice(550 * columns, 550 * (columns + 1))))

    assert is_like(field, (450.0, 550.0), 400.0)
    assert field.box.top <= 52
    assert field.box.left <= 152
    assert field.box.bottom >= 848
    assert field.box.right >= 948


def test_a_disc_that_the_camera_cuts_is_cut_there_although_a_quarter_is_dark():
    pixels = framed(eye((640, 1100), (320.0, 550.0), 400.0), top=60, bottom=60)

    field = field_of_view.find(in_shadow(pixels, slice(380, None), slice(550, None)))

    assert is_like(field, (380.0, 550.0), 400.0)
    assert abs(field.box.top - 60) <= 3
    assert abs(field.box.bottom - 700) <= 3


@pytest.mark.parametrize("light", [1 / 5, 1 / 8])
def test_a_dim_disc_is_found(light):
    pixels = eye((900, 1100), (450.0, 550.0), 400.0, dimming=0.6, noise=2.0)

    field = field_of_view.find((pixels * light).round().astype(np.uint8))

    assert is_like(field, (450.0, 550.0), 400.0)


def test_glow_around_a_disc_does_not_belong_to_the_field():
    pixels = eye((900, 1100), (450.0, 550.0), 400.0)
    rows, columns = np.ogrid[:900, :1100]
    near = np.hypot(rows - 450, columns - 570) < 430
    pixels[near & ~pixels.any(axis=2)] = (24, 20, 18)

    assert is_like(field_of_view.find(pixels), (450.0, 550.0), 400.0)


def test_a_disc_with_a_dark_bay_is_found_whole():
    assert is_like(field_of_view.find(with_bay()))


def test_a_disc_of_which_less_than_a_third_is_lit_is_refused():
    pixels = eye((900, 1100), (450.0, 550.0), 400.0)
    pixels[:, :400] = 0
    pixels[420:] = 0

    with pytest.raises(FieldError):
        field_of_view.find(pixels)


def test_the_box_of_a_bright_photograph_is_that_of_its_lit_patch():
    pixels = eye((900, 1100), (450.0, 550.0), 400.0)

    assert field_of_view.find(pixels) == field_of_view._disc_of_patch(pixels)


@pytest.mark.parametrize("number", ["002", "164", "312"])
def test_darkened_photographs_have_the_field_of_the_original(shared_data, number):
    pixels = np.asarray(Image.open(shared_data / "graded" / f"IDRiD_{number}.jpg"))
    original = field_of_view.find(pixels)
    height, width = (length // 2 for length in pixels.shape[:2])

    for dark in (in_shadow(pixels, slice(height, None), slice(width, None)), pixels // 5):
        field = field_of_view.find(dark)
        assert math.dist(field.centre, original.centre) <= 0.01 * original.radius
        assert abs(field.radius - original.radius) <= 0.01 * original.radius


@pytest.mark.parametrize("level", [145, 177, 209, 241])
def test_a_photograph_of_one_level_has_no_field_and_no_warning(level):
    with pytest.raises(FieldError, match="no round field of view"):
        field_of_view.find(np.full((1000, 1003, 3), level, np.uint8))  # the mean is rounded up


# full_frame, from_circle


def test_a_full_field_is_the_disc_through_the_corners():
    whole = field_of_view.full_frame((300, 400))

    assert whole == Field(centre=(150.0, 200.0), radius=250.0, box=Box(top=0, left=0, bottom=300, right=400))
    assert field_of_view.mask(whole, whole.box).all()


@pytest.mark.parametrize("shape", [(127, 400), (400, 127)])
def test_a_photograph_smaller_than_any_field_has_no_full_field(shape):
    with pytest.raises(
        FieldError, match=f"{shape[0]} x {shape[1]} px, but a field of view needs at least 128 px"
    ):
        field_of_view.full_frame(shape)


def test_a_given_field_is_clipped_to_the_photograph():
    given_field = field_of_view.from_circle((100.0, 350.5), 120.25, (300, 400))

    assert (given_field.centre, given_field.radius) == ((100.0, 350.5), 120.25)
    assert given_field.box == Box(top=0, left=230, bottom=221, right=400)


@pytest.mark.parametrize(
    ("centre", "radius"),
    [
        ((150.0, 150.0), 63.9),
        ((-100.0, 150.0), 130.0),
        ((150.0, 500.0), 130.0),
        ((1000.0, 1000.0), 200.0),
        ((-800.0, -800.0), 1000.0),  # its square box reaches into the photograph, the disc does not
    ],
)
def test_a_given_field_that_is_tiny_or_outside_is_refused(centre, radius):
    with pytest.raises(
        FieldError, match=r"covers too little of the 300 x 400\s*px photograph; give ROW,COL,RADIUS"
    ):
        field_of_view.from_circle(centre, radius, (300, 400))


@pytest.mark.parametrize(
    ("centre", "radius"),
    [
        ((150.0, 150.0), 1e300),
        ((150.0, 150.0), math.inf),
        ((150.0, 150.0), math.nan),
        ((math.nan, 150.0), 150.0),
    ],
)
def test_a_given_field_that_is_endless_or_no_number_is_refused(centre, radius):
    with pytest.raises(FieldError, match=r"is no disc .* with a radius of at most 40000"):
        field_of_view.from_circle(centre, radius, (300, 400))


# mask


@laws
@given(
    st.tuples(st.floats(-5, 30), st.floats(-5, 30)),
    st.floats(1, 25),
    st.tuples(*[st.integers(0, 12)] * 4),
    st.tuples(*[st.integers(0, 12)] * 4),
)
def test_a_pixel_is_in_the_field_when_its_centre_is_in_the_disc_and_the_box(
    centre, radius, lit_corner, box_corner
):
    lit_box = Box(
        top=lit_corner[0],
        left=lit_corner[1],
        bottom=lit_corner[0] + lit_corner[2],
        right=lit_corner[1] + lit_corner[3],
    )
    box = Box(
        top=box_corner[0],
        left=box_corner[1],
        bottom=box_corner[0] + box_corner[2],
        right=box_corner[1] + box_corner[3],
    )

    inside = field_of_view.mask(Field(centre=centre, radius=radius, box=lit_box), box)

    assert inside.shape == box.shape
    for row in range(box.top, box.bottom):
        for column in range(box.left, box.right):
            lies_in = (
                (row + 0.5 - centre[0]) ** 2 + (column + 0.5 - centre[1]) ** 2 <= radius**2
                and lit_box.top <= row < lit_box.bottom
                and lit_box.left <= column < lit_box.right
            )
            assert inside[row - box.top, column - box.left] == lies_in


@laws
@given(st.integers(0, 700), st.integers(1, 90), st.floats(70, 400))
def test_the_area_is_the_number_of_pixels_in_the_mask(top, height, radius):
    box = Box(top=top, left=3, bottom=top + height * 8, right=300)
    field = Field(centre=(top + 20.0, 150.0), radius=radius, box=box)

    assert field_of_view.area(field) == field_of_view.mask(field, box).sum()


def test_a_pixel_whose_centre_lies_on_the_disc_s_edge_is_in_the_field():
    field = Field(centre=(2.5, 2.5), radius=2.0, box=Box(top=0, left=0, bottom=5, right=5))

    np.testing.assert_array_equal(
        field_of_view.mask(field, field.box),
        np.array([[0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]]) == 1,
    )


def patches_by_flood_fill(lit):
    """Return the 4-connected patches, each as a mask."""
    patches, left = [], lit.copy()
    for place in np.argwhere(lit):
        if not left[tuple(place)]:
            continue
        patch, stack = np.zeros_like(lit), [tuple(place)]
        while stack:
            row, column = stack.pop()
            if 0 <= row < len(lit) and 0 <= column < lit.shape[1] and left[row, column]:
                left[row, column], patch[row, column] = False, True
                stack += [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        patches.append(patch)
    return patches


@laws
@given(st.integers(2, 16), st.integers(2, 16), st.floats(0.1, 0.95), seeds)
def test_the_largest_lit_patch_is_found_wherever_it_lies(height, width, share, seed):
    lit = np.random.default_rng(seed).random((height, width)) < share
    pixels = np.repeat((lit * np.uint8(200))[:, :, np.newaxis], 3, axis=2)
    largest = max(patches_by_flood_fill(lit), key=np.count_nonzero, default=lit)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(field_of_view, "SMALLEST", 2)
        if not lit.any():
            with pytest.raises(FieldError, match="black"):
                field_of_view._largest_lit_patch(pixels)
            return
        filled, box = field_of_view._largest_lit_patch(pixels)

    rows, columns = np.nonzero(largest)
    assert (box.top, box.left) == (rows.min(), columns.min())
    assert filled.shape == box.shape == (np.ptp(rows) + 1, np.ptp(columns) + 1)
    assert filled[rows - box.top, columns - box.left].all()


def test_a_small_lit_patch_in_the_middle_does_not_hide_the_disc():
    pixels = np.zeros((900, 500, 3), np.uint8)
    pixels[:300, :360] = eye()
    expected = field_of_view.find(pixels)
    pixels[445:455, 245:255] = 255

    assert field_of_view.find(pixels) == expected


# real photographs


@pytest.mark.parametrize("number", [4, 6, 12, 17, 43, 54])
def test_at_most_one_lesion_pixel_in_a_thousand_of_a_real_photograph_lies_outside(shared_data, number):
    part = shared_data / "idrid" / "A. Segmentation"
    pixels = np.asarray(Image.open(next(part.glob(f"1. *Images/**/IDRiD_{number:02}.jpg"))))
    inside = field_of_view.mask(
        field_of_view.find(pixels), Box(top=0, left=0, bottom=pixels.shape[0], right=pixels.shape[1])
    )

    lost = total = 0
    for path in part.glob(f"2. All*/**/IDRiD_{number:02}_*.tif"):
        if path.stem.endswith(("_EX", "_MA", "_HE", "_SE")):
            lesion = np.asarray(Image.open(path)) > 0  # the palette's index
            lost += np.count_nonzero(lesion & ~inside)
            total += np.count_nonzero(lesion)

    assert total > 0
    assert lost <= total / 1000
