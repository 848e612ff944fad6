"""Whole photographs are counted pixel by pixel against their masks."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_set
from PIL import Image

from foveate import evaluation, photographs
from foveate.engines import GlobalOutput
from foveate.errors import DatasetError
from foveate.geometry import stitching
from foveate.inference.pipeline import segment
from foveate.inference.settings import Settings


class Bright:
    """An engine that answers with a window's own levels: red, green, blue and their mean, one a lesion."""

    label = "bright"

    def run_global(self, view):
        return GlobalOutput(probabilities=np.zeros((4, *view.shape[2:]), np.float32), features=view[0])

    def run_local(self, batch):
        share = (batch.windows + 1) / 2  # of the contract's range
        return np.concatenate([share, share.mean(axis=1, keepdims=True)], axis=1).clip(0, 1)

    def release_memory(self):
        pass


@pytest.fixture
def cases(tmp_path):
    return tiny_set.write(tmp_path / "set")


def drawn(case, lesion, shape):
    """A case's mask, read by palette index; none where there is no file."""
    if lesion not in case.masks:
        return np.zeros(shape, bool)
    with Image.open(case.masks[lesion]) as image:
        return np.asarray(image) == 1


def test_counts_are_those_of_the_native_maps_against_the_masks(cases):
    counted = list(evaluation.count_pixels(cases, tiny_set.package(), Bright()))

    assert [one.name for one in counted] == [case.name for case in cases]
    for case, one in zip(cases, counted, strict=True):
        photograph = photographs.read(case.photograph)
        seen = segment(photograph, tiny_set.package(), Bright())
        assert tuple(one.counts) == tiny_set.CONTRACT.lesions
        for lesion, counts in one.counts.items():
            stored = stitching.native_map(seen.probabilities, lesion)
            mask = drawn(case, lesion, photograph.shape)
            for found, pixels in ((counts.positives, stored[mask]), (counts.negatives, stored[~mask])):
                wanted = np.zeros(stitching.LEVELS + 1, np.int64)
                np.add.at(wanted, pixels, 1)
                np.testing.assert_array_equal(found, wanted)


def test_a_lesion_without_a_mask_has_no_pixel_and_all_others_are_counted(cases):
    case = next(case for case in cases if set(case.masks) == {"EX", "MA"})
    (one,) = evaluation.count_pixels([case], tiny_set.package(), Bright())
    height, width = photographs.read(case.photograph).shape

    for lesion, counts in one.counts.items():
        assert bool(counts.positives.sum()) is (lesion in case.masks)
        assert counts.positives.sum() + counts.negatives.sum() == height * width


def test_settings_choose_what_is_counted(cases):
    (one,) = evaluation.count_pixels(cases[:1], tiny_set.package(), Bright(), Settings(lesions=("MA",)))
    (all_four,) = evaluation.count_pixels(cases[:1], tiny_set.package(), Bright())

    assert list(one.counts) == ["MA"]
    np.testing.assert_array_equal(one.counts["MA"].positives, all_four.counts["MA"].positives)


def test_a_photograph_is_opened_only_when_its_turn_comes(cases):
    gone = replace(cases[1], photograph=cases[1].photograph.with_name("gone.jpg"))

    assert next(evaluation.count_pixels([cases[0], gone], tiny_set.package(), Bright())).name == cases[0].name


def test_a_mask_of_another_size_is_named(cases):
    path = cases[0].masks["HE"]
    tiny_set.palette_mask(np.eye(40, 50, dtype=bool)).save(path)

    with pytest.raises(DatasetError, match=rf"{path.name}.*40 x 50 px"):
        list(evaluation.count_pixels(cases, tiny_set.package(), Bright()))
