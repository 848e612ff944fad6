"""The contact sheet shows every view and window, with the truth outlined where it lies."""

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

import tiny_set

from foveate import lesions
from foveate.training import sample_pictures, sampler
from foveate.training.distributed import LOCAL
from foveate.training.sample_pictures import GAP, TILE
from foveate.training.samples import Sample

CODES = tiny_set.CONTRACT.lesions


def grey(lesion=None):
    """Return a grey sample of 64 px; the third lesion may be a square in its middle."""
    truth = np.zeros((4, 64, 64), np.float32)
    if lesion is not None:
        truth[2][lesion] = 1
    return Sample(pixels=np.full((64, 64, 3), 100, np.uint8), truth=truth)


def test_lesions_are_outlined_in_their_colour_where_they_lie():
    picture = sample_pictures.tile(grey(np.s_[16:32, 16:32]), CODES)

    rows, columns = np.nonzero((picture == lesions.HE.colour).all(axis=-1))
    factor = TILE // 64
    assert (rows.min(), columns.min()) == pytest.approx((16 * factor, 16 * factor), abs=factor)
    assert (rows.max(), columns.max()) == pytest.approx((32 * factor, 32 * factor), abs=factor)
    assert (picture[24 * factor, 24 * factor] == 100).all()  # within, the photograph is seen


def test_without_lesions_the_photograph_is_all_there_is():
    assert (sample_pictures.tile(grey(), CODES) == 100).all()


@pytest.mark.parametrize(("stage", "tiles"), [("global", 2), ("local", 3), ("fusion", 6), ("joint", 6)])
def test_a_sheet_has_a_tile_for_each_view_and_window(tmp_path, stage, tiles):
    items = sampler.StepDataset(tiny_set.cached_cases(tmp_path), tiny_set.recipe(), stage, LOCAL)[0]

    picture = sample_pictures.contact_sheet(items, CODES)

    samples = [sample for item in items for sample in (item.view, *item.windows) if sample is not None]
    assert len(samples) == tiles
    assert picture.shape == (TILE, tiles * (TILE + GAP) - GAP, 3)
    for number, sample in enumerate(samples):
        left = number * (TILE + GAP)
        np.testing.assert_array_equal(picture[:, left : left + TILE], sample_pictures.tile(sample, CODES))


def test_tiles_go_on_in_a_second_row():
    item = sampler.TrainingItem(view=None, windows=tuple(grey() for _ in range(7)), samplings=())

    assert sample_pictures.contact_sheet([item], CODES).shape[0] == 2 * (TILE + GAP) - GAP


def test_the_file_is_a_jpeg_in_the_right_colours():
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[..., 0] = 200

    read = cv2.imdecode(np.frombuffer(sample_pictures.jpeg(picture), np.uint8), cv2.IMREAD_COLOR)

    assert read[..., ::-1][16, 16] == pytest.approx((200, 0, 0), abs=6)
