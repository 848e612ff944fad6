"""The memory that a photograph takes beside its own pixels is bounded, for segmenting and for writing."""

import tracemalloc

import pytest
import tiny_package
from tiny_package import Red

from foveate import writers
from foveate.inference import photograph_job
from foveate.inference.pipeline import segment
from foveate.types import Photograph

SIDE = 2000


def traced(call):
    """Return the result of a call, and the most memory that was allocated in it, bytes per pixel."""
    tracemalloc.start()
    try:
        return call(), tracemalloc.get_traced_memory()[1] / SIDE**2
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def segmented():
    """Return the segmentation of a large photograph with four lesions, and the memory that it took."""
    package = tiny_package.fake(
        lesions=("EX", "MA", "HE", "SE"), window_side=256, overlap=32, field_diameter=float(SIDE - 16)
    )
    pixels = tiny_package.fundus(diameter=SIDE - 16)
    photograph = Photograph(pixels=pixels, source="drawn", digest="0" * 64)
    return traced(lambda: segment(photograph, package, Red(package.contract)))


def test_segmenting_holds_one_byte_for_each_map_and_no_copy_of_the_photograph(segmented):
    segmentation, peak = segmented

    assert segmentation.probabilities.frame.shape == segmentation.probabilities.frame.box.shape
    # 12: four maps, the mask of the field, and 7 of windows and sums, whose share falls with size.
    # With maps of two bytes it is 16, with a canvas that is a copy 15.
    assert peak < 14


def test_writing_holds_one_copy_of_the_photograph_and_no_map_of_two_bytes(segmented, tmp_path):
    segmentation, _ = segmented
    writers.prepare(tmp_path)

    _, peak = traced(lambda: photograph_job.save(segmentation, tmp_path, name="large"))

    # 5: the picture to draw on, the outlines' bits and distances; a second copy of the picture is 3 more.
    assert peak < 6.5
