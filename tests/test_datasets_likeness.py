"""Shots of one eye are told from those of two by where their vessels run."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from strategies import laws

from foveate.datasets import likeness

SHAPE = (300, 360)


def draw_eye(seed, shift=(0, 0), turn=0.0, light=1.0):
    """Return a lit disc with dark vessels of its eye, moved and turned below the same rim."""
    generator = np.random.default_rng(seed)
    picture = np.full((*SHAPE, 3), (150, 90, 40), np.float32)
    for _ in range(14):
        points = np.cumsum(generator.normal(0, 22, (8, 2)), axis=0) + generator.uniform(60, 240, 2) + (30, 0)
        cv2.polylines(picture, [points.astype(np.int32)], False, (70, 25, 15), 3, cv2.LINE_AA)
    matrix = cv2.getRotationMatrix2D((180.0, 150.0), turn, 1.0)
    matrix[:, 2] += (shift[1], shift[0])
    picture = cv2.warpAffine(picture, matrix, SHAPE[::-1], borderMode=cv2.BORDER_REPLICATE) * light
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    picture[np.hypot(rows - 150, columns - 180) > 140] = 0
    return picture.clip(0, 255).astype(np.uint8)


def likeness_of(pixels, other_pixels):
    """Return the likeness of two photographs if they count as one eye, otherwise 0."""
    first, second = likeness.fingerprint(pixels), likeness.fingerprint(other_pixels)
    return next((like for _, _, like in likeness.pairs([first, second])), 0.0)


@pytest.mark.parametrize("seed", range(4))
def test_another_light_size_border_or_quality_changes_little(seed):
    eye = draw_eye(seed)
    half = cv2.resize(eye, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    coarse = cv2.imdecode(cv2.imencode(".jpg", eye, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR)

    for changed in (draw_eye(seed, light=0.6), half, np.pad(eye, ((9, 31), (50, 3), (0, 0))), coarse):
        assert likeness_of(eye, changed) > 0.85


@pytest.mark.parametrize("seed", range(4))
def test_another_shot_of_the_eye_is_alike_and_another_eye_is_not(seed):
    eye = draw_eye(seed)

    assert likeness_of(eye, draw_eye(seed, shift=(9, -7), turn=2.0)) > likeness.SAME_EYE
    assert likeness_of(eye, draw_eye(seed + 50)) == 0
    assert likeness_of(eye, np.ascontiguousarray(eye[:, ::-1])) == 0


def test_likeness_to_itself_is_one_and_does_not_depend_on_the_order():
    first, second = draw_eye(1), draw_eye(1, shift=(4, 4))

    assert likeness_of(first, first) == pytest.approx(1, abs=1e-5)
    assert 0.7 < likeness_of(first, second) < 0.999
    assert likeness_of(first, second) == pytest.approx(likeness_of(second, first), abs=1e-5)


def test_a_picture_without_a_field_or_without_anything_has_a_fingerprint():
    noise = np.random.default_rng(0).integers(0, 256, (300, 280, 3)).astype(np.uint8)
    flat = np.full((300, 280, 3), 100, np.uint8)

    assert np.linalg.norm(likeness.fingerprint(noise)) == pytest.approx(1, abs=1e-5)
    assert not likeness.fingerprint(flat).any()
    assert likeness.pairs([likeness.fingerprint(flat)] * 2) == []


def test_pairs_are_those_that_are_alike_each_once():
    prints = [
        likeness.fingerprint(picture)
        for picture in (draw_eye(1), draw_eye(2), draw_eye(1, shift=(4, 4)), draw_eye(3))
    ]

    assert [(low, high) for low, high, _ in likeness.pairs(prints)] == [(0, 2)]
    assert likeness.pairs([]) == []


@laws
@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=12),
    st.lists(st.sampled_from([None, "a", "b"]), min_size=12, max_size=12),
)
def test_groups_hold_all_once_and_nothing_tied_is_parted(count, tied, names):
    tied = [(a % count, b % count) for a, b in tied]

    groups = likeness.groups(count, tied, names[:count])

    assert sorted(index for group in groups for index in group) == list(range(count))
    of = {index: number for number, group in enumerate(groups) for index in group}
    assert all(of[a] == of[b] for a, b in tied)
    for name in ("a", "b"):
        assert len({of[index] for index in range(count) if names[index] == name}) <= 1
    links = len({frozenset(pair) for pair in tied if pair[0] != pair[1]})
    named = sum(max(0, names[:count].count(name) - 1) for name in ("a", "b"))
    assert len(groups) >= count - links - named


def test_two_real_shots_of_one_eye_are_found_among_other_eyes(shared_data):
    def pixels(name):
        with Image.open(shared_data / "graded" / f"{name}.jpg") as image:
            return np.asarray(image.reduce(4).convert("RGB"))

    names = ("IDRiD_043", "IDRiD_346", "IDRiD_401", "IDRiD_358", "IDRiD_331")
    prints = [likeness.fingerprint(pixels(name)) for name in names]

    assert [(names[low], names[high]) for low, high, _ in likeness.pairs(prints)] == [
        ("IDRiD_043", "IDRiD_401")
    ]
