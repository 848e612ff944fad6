"""Values are documented, compute their own arithmetic, and cannot be changed."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import boxes_in

from foveate import types
from foveate.types import Box, Field, Frame, Photograph, lowest_level, scaled_shape

VALUES = [
    value for value in vars(types).values() if isinstance(value, type) and dataclasses.is_dataclass(value)
]


@pytest.mark.parametrize("value_type", VALUES)
def test_every_type_is_frozen_keyword_only_and_documented(value_type):
    parameters = value_type.__dataclass_params__

    assert parameters.frozen
    assert all(field.kw_only for field in dataclasses.fields(value_type))
    assert hasattr(value_type, "__slots__")
    assert value_type.__doc__
    assert not value_type.__doc__.startswith(f"{value_type.__name__}(")  # the one that dataclass generates


def test_a_value_cannot_be_changed():
    box = Box(top=0, left=0, bottom=1, right=1)

    with pytest.raises(dataclasses.FrozenInstanceError):
        box.top = 1


@given(boxes_in())
def test_the_slices_of_a_box_crop_to_its_shape(photograph_and_box):
    shape, (top, left, bottom, right) = photograph_and_box
    picture = np.arange(shape[0] * shape[1]).reshape(shape)
    box = Box(top=top, left=left, bottom=bottom, right=right)

    crop = picture[box.slices]

    assert crop.shape == box.shape == (bottom - top, right - left)
    assert (crop[0, 0], crop[-1, -1]) == (picture[top, left], picture[bottom - 1, right - 1])


@given(boxes_in())
def test_a_box_is_made_from_its_corners_from_its_rectangle_and_from_a_whole_picture(photograph_and_box):
    shape, (top, left, bottom, right) = photograph_and_box
    box = Box(top=top, left=left, bottom=bottom, right=right)

    assert box.corners == (top, left, bottom, right)
    assert Box.from_corners(box.corners) == box
    assert Box.from_rectangle(np.array([left, top, right - left, bottom - top], np.int32)) == box
    assert Box.whole(shape).corners == (0, 0, *shape)


@pytest.mark.parametrize(
    ("factor", "expected"), [(1.0, (30, 401)), (0.5, (15, 200)), (0.01, (1, 4)), (2.5, (75, 1002))]
)
def test_a_scaled_shape_is_rounded_and_no_side_vanishes(factor, expected):
    assert scaled_shape((30, 401), factor) == expected


@given(st.floats(0, 1), st.sampled_from([1, 255, 65535]))
def test_the_lowest_level_reaches_the_threshold_and_the_one_below_does_not(threshold, highest):
    level = lowest_level(threshold, highest)

    assert level / highest >= threshold
    assert level == 0 or (level - 1) / highest < threshold


def test_a_photograph_has_a_shape_and_no_spacing_by_default():
    photograph = Photograph(pixels=np.zeros((4, 7, 3), np.uint8), source="eye.png", digest="0" * 64)

    assert photograph.shape == (4, 7)
    assert photograph.spacing is None


def test_a_field_is_twice_its_radius_wide():
    assert Field(centre=(1.0, 2.0), radius=3.5, box=Box(top=0, left=0, bottom=1, right=1)).diameter == 7


def test_the_scale_of_a_frame_is_canvas_pixels_per_photograph_pixel_along_each_axis():
    frame = Frame(box=Box(top=10, left=10, bottom=110, right=60), shape=(50, 100))

    assert frame.scale == (0.5, 2.0)
