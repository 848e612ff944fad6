"""A contact sheet shows every photograph and every lesion, however small."""

import numpy as np
import pytest

from foveate.datasets import contact
from foveate.datasets.contact import Thumbnail
from foveate.lesions import EX, MA, RETINOPATHY


def grey(shape):
    return np.full((*shape, 3), 90, np.uint8)


RARE = (91, 37, 201)
"""No text has this colour."""


@pytest.mark.parametrize("place", [(0, 0), (1999, 2999), (777, 1234)])
def test_a_lesion_of_one_pixel_gets_its_ring(place):
    mask = np.zeros((2000, 3000), bool)
    mask[place] = True

    small = contact.thumbnail(grey(mask.shape), {"MA": mask}, RETINOPATHY)

    assert small.shape == (213, 320, 3)
    ring = np.argwhere((small == MA.colour).all(axis=-1))
    assert 3 <= len(ring) <= 8
    middle = np.array(place) * 213 / 2000
    assert np.abs(ring - middle).max() <= 2.1


def test_a_lesion_is_outlined_and_not_painted_over():
    mask = np.zeros((320, 320), bool)
    mask[100:120, 50:80] = True

    small = contact.thumbnail(grey(mask.shape), {"EX": mask}, RETINOPATHY)

    assert (small[mask] == 90).all()
    assert (small[99, 50:80] == EX.colour).all()


@pytest.mark.parametrize(("count", "pages"), [(0, 0), (1, 1), (60, 1), (61, 2)])
def test_each_photograph_is_on_one_sheet(count, pages):
    thumbnails = (
        Thumbnail(name=f"photograph {n}", picture=np.full((20, 320, 3), RARE, np.uint8)) for n in range(count)
    )

    sheets = list(contact.contact_sheets(thumbnails, RETINOPATHY))

    assert len(sheets) == pages
    assert sum((sheet == RARE).all(axis=-1).sum() for sheet in sheets) == count * 20 * 320


def test_sheets_are_made_as_photographs_come():
    taken = []

    def thumbnails():
        for number in range(200):
            taken.append(number)
            yield Thumbnail(name=str(number), picture=grey((9, 16)))

    next(contact.contact_sheets(thumbnails(), RETINOPATHY))

    assert len(taken) == contact.COLUMNS * contact.ROWS


def test_names_are_shown_and_those_in_trouble_in_another_colour():
    def sheet(name, *, is_wrong=False):
        (page,) = contact.contact_sheets([Thumbnail(name=name, picture=grey((9, 16)), is_wrong=is_wrong)], ())
        return page

    plain, alarmed = sheet("a"), sheet("a", is_wrong=True)

    assert not np.array_equal(plain, sheet("b"))
    assert not np.array_equal(plain, alarmed)
    long = sheet("a" * 400)
    assert (long[:, contact.SIDE + contact.GAP + 4 :] == contact.BACKGROUND).all()
    assert contact.blank().shape[1] == contact.SIDE
