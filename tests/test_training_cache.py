"""A cached case is the canvas and the masks that inference would see, complete or absent."""

import errno
import os
import shutil
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import tiny_set

from foveate import photographs
from foveate.datasets import Case, truth
from foveate.errors import DatasetError, GeometryError, SettingError, TrainingError
from foveate.geometry import canvas, field_of_view
from foveate.training import augmentation, cache, samples
from foveate.training.augmentation import AugmentationLimits

CONTRACT = tiny_set.CONTRACT


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("samples")


@pytest.fixture(scope="module")
def cached_cases(root):
    return tiny_set.cached_cases(root)


@pytest.fixture(scope="module")
def cases(root, cached_cases):
    return tiny_set.cases(root / "set")


def warp(seed, limits=None):
    return augmentation.sample_warp(np.random.default_rng(seed), limits or AugmentationLimits())


def test_a_photograph_that_is_smaller_than_a_window_is_refused_by_name(cases, tmp_path):
    contract = replace(CONTRACT, window_side=256)

    with pytest.raises(
        GeometryError, match=r"IDRiD_01\.jpg: its canvas of .* is smaller than a window of 256"
    ):
        cache.cache_case(cases[0], contract, tmp_path)


@pytest.mark.parametrize("name", ["pixels.npy", "places.npz"])
def test_a_damaged_cached_case_is_an_error_of_one_line(cases, tmp_path, name):
    cache.cache_case(cases[0], CONTRACT, tmp_path)
    (file,) = tmp_path.glob(f"*/{name}")
    content = file.read_bytes()

    for length in (0, 50, len(content) // 2):  # as a power cut leaves it
        file.write_bytes(content[:length])
        with pytest.raises(TrainingError, match=r"IDRiD_01-\w*: cannot be read \(.*\); delete it and start"):
            cache.cache_case(cases[0], CONTRACT, tmp_path)


def test_memory_that_runs_out_is_no_damaged_cached_case(cases, tmp_path, monkeypatch):
    cache.cache_case(cases[0], CONTRACT, tmp_path)

    def run_out(*_, **__):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(np, "load", run_out)
    with pytest.raises(MemoryError, match="Cannot allocate memory"):
        cache.cache_case(cases[0], CONTRACT, tmp_path)


def test_a_file_that_is_damaged_after_its_case_was_opened_is_an_error_of_one_line(cases, tmp_path):
    cached_case = cache.cache_case(cases[0], CONTRACT, tmp_path)
    (cached_case.folder / "bits.npy").write_bytes(b"")

    with pytest.raises(TrainingError, match=r"IDRiD_01-\w*: cannot be read \(.*\); delete it and start"):
        samples.window_sample(cached_case, (80, 80), CONTRACT, warp(0))


def test_a_case_that_was_cached_again_is_read_anew(cases, tmp_path):
    cached_case = cache.cache_case(cases[0], CONTRACT, tmp_path)
    first = cached_case.pixels.copy()
    shutil.rmtree(cached_case.folder)
    other = cache.cache_case(
        cases[0], replace(CONTRACT, field_diameter=CONTRACT.field_diameter / 2), tmp_path
    )
    other.folder.rename(cached_case.folder)  # as if the same photograph had been prepared otherwise

    again = cache.open_case(cached_case.folder, cached_case.name)

    assert again.pixels.shape[:2] == again.shape != first.shape[:2]


def test_a_cached_case_is_the_canvas_and_the_masks_that_inference_would_see(cases, cached_cases):
    assert [cached_case.name for cached_case in cached_cases] == [case.name for case in cases]
    resampled = []
    for case, cached_case in zip(cases, cached_cases, strict=True):
        photograph = photographs.read(case.photograph)
        field = field_of_view.find(photograph.pixels)
        frame = canvas.fit_frame(field.box, field, CONTRACT)
        resampled.append(frame.shape != field.box.shape)
        np.testing.assert_array_equal(cached_case.pixels, canvas.extract_canvas(photograph.pixels, frame))
        masks = truth(case, CONTRACT.lesions, photograph.shape)[:, *field.box.slices]
        for k, (mask, lesion) in enumerate(zip(masks, CONTRACT.lesions, strict=True)):
            share = canvas.resample(mask.astype(np.uint8) * 255, frame.shape)
            np.testing.assert_array_equal(cached_case.bits >> k & 1, share >= 128)
            assert (lesion in cached_case.lesion_pixels) == (lesion in case.masks)
        assert (cached_case.bits < 1 << len(CONTRACT.lesions)).all()
    assert resampled == [False, False, True]  # both ways are tried


def test_the_fine_view_is_the_view_at_twice_the_side(cached_cases):
    for cached_case in cached_cases:
        side = 2 * CONTRACT.view_side
        np.testing.assert_array_equal(
            cached_case.fine_view, canvas.global_view(np.asarray(cached_case.pixels), side)
        )
        assert cached_case.fine_truth.shape == (side, side, len(CONTRACT.lesions))
        shares = cached_case.fine_truth.mean(axis=(0, 1)) / 255
        drawn = [(cached_case.bits >> k & 1).mean() for k in range(len(CONTRACT.lesions))]
        np.testing.assert_allclose(shares, drawn, rtol=0.1, atol=1e-3)


def test_lesion_pixels_are_marked_pixels(cached_cases):
    for cached_case in cached_cases:
        for lesion, pixels in cached_case.lesion_pixels.items():
            k = CONTRACT.lesions.index(lesion)
            drawn = cached_case.bits >> k & 1
            assert drawn[pixels[:, 0], pixels[:, 1]].all()
            assert len(np.unique(pixels, axis=0)) == len(pixels) == drawn.sum()


def test_a_case_is_cached_once_and_then_read(cases, cached_cases, root, monkeypatch):
    def fail(*_):
        raise AssertionError("made again")

    monkeypatch.setattr(cache, "_write_arrays", fail)
    again = cache.cache_case(cases[0], CONTRACT, root / "sheets")

    np.testing.assert_array_equal(again.pixels, cached_cases[0].pixels)
    assert isinstance(again.pixels, np.memmap)
    assert again.shape == again.bits.shape
    with pytest.raises(AssertionError, match="made again"):
        cache.cache_case(cases[0], replace(CONTRACT, view_side=64), root / "sheets")


@pytest.mark.parametrize(
    ("change", "is_new"),
    [
        ({"window_side": 64, "overlap": 0, "tta_views": 8, "mean": (1.0, 2.0, 3.0)}, False),
        ({"view_side": 64}, True),
        ({"field_diameter": 300.0}, True),
        ({"scale_tolerance": 2.0}, True),
        ({"lesions": ("EX",)}, True),
        ({"field": "whole"}, True),
        ({"part": "whole"}, True),
    ],
)
def test_a_case_is_cached_anew_only_where_its_canvas_or_view_changes(cases, tmp_path, change, is_new):
    for contract in (tiny_set.CONTRACT, tiny_set.replace(tiny_set.CONTRACT, **change)):
        cache.cache_case(cases[0], contract, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1 + is_new


def test_another_mask_makes_another_cached_case(cases, tmp_path):
    less = replace(cases[0], masks={"EX": cases[0].masks["EX"]})

    whole, part = (cache.cache_case(case, CONTRACT, tmp_path) for case in (cases[0], less))

    assert sorted(part.lesion_pixels) == ["EX"]
    assert sorted(whole.lesion_pixels) == ["EX", "HE", "MA", "SE"]


def test_a_case_that_cannot_be_cached_leaves_nothing_behind(cases, tmp_path):
    broken = tmp_path / "mask.tif"
    broken.write_bytes(b"no mask")

    with pytest.raises(DatasetError, match=r"mask\.tif"):
        cache.cache_case(replace(cases[0], masks={"EX": broken}), CONTRACT, tmp_path / "sheets")

    assert list((tmp_path / "sheets").iterdir()) == []


@pytest.mark.parametrize("writer", ["save", "savez"])
def test_a_full_disk_is_an_error_of_one_line_and_leaves_no_draft(cases, tmp_path, monkeypatch, writer):
    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, writer, refuse)

    with pytest.raises(
        TrainingError, match=r"sheets: the cached copy of IDRiD_01 .*No space.*; free some"
    ) as caught:
        cache.cache_case(cases[0], CONTRACT, tmp_path / "sheets")

    assert "\n" not in str(caught.value)
    assert list((tmp_path / "sheets").iterdir()) == []


def test_memory_that_runs_out_is_no_full_disk(cases, tmp_path, monkeypatch):
    def run_out(*_, **__):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(np, "save", run_out)

    with pytest.raises(MemoryError, match="Cannot allocate memory"):
        cache.cache_case(cases[0], CONTRACT, tmp_path / "sheets")


def test_a_file_in_the_way_of_the_cache_is_an_error(cases, tmp_path):
    (tmp_path / "sheets").write_text("in the way")

    with pytest.raises(TrainingError, match="cannot be written"):
        cache.cache_case(cases[0], CONTRACT, tmp_path / "sheets")


def test_drafts_of_killed_processes_are_removed_and_younger_ones_are_not(cases, tmp_path):
    cached_case = cache.cache_case(cases[0], CONTRACT, tmp_path)
    for name, folder_age, file_age in (("old", 7200, 7200), ("young", 60, 60), ("slow", 7200, 60)):
        folder = tmp_path / f"{cache.DRAFT_PREFIX}{name}" / "sheet"
        folder.mkdir(parents=True)
        (folder / "pixels.npy").write_bytes(b"half")
        for path, age in (
            (folder / "pixels.npy", file_age),
            (folder, folder_age),
            (folder.parent, folder_age),
        ):
            os.utime(path, (time.time() - age,) * 2)

    cache.remove_drafts(tmp_path)
    cache.remove_drafts(tmp_path / "nowhere")

    assert {path.name for path in tmp_path.iterdir()} == {
        cached_case.folder.name,
        ".draft-young",
        ".draft-slow",
    }


def test_two_processes_can_cache_the_same_case_side_by_side(cases, tmp_path, monkeypatch):
    together, make = threading.Barrier(2), cache._write_arrays

    def write_together(*arguments):
        together.wait(60)  # both know that there is no cached case
        make(*arguments)
        together.wait(60)  # both have made one

    monkeypatch.setattr(cache, "_write_arrays", write_together)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(cache.cache_case(cases[0], CONTRACT, tmp_path)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(results) == 2
    np.testing.assert_array_equal(results[0].pixels, results[1].pixels)
    assert len(list(tmp_path.iterdir())) == 1


def test_more_lesions_than_a_byte_has_bits_are_refused(cases, tmp_path):
    many = replace(CONTRACT, lesions=tuple(f"L{number}" for number in range(9)))

    with pytest.raises(
        SettingError, match="the recipe has 9 lesions; the cache of photographs holds at most 8"
    ):
        cache.cache_case(cases[0], many, tmp_path)


def test_a_case_of_one_lesion_can_be_cached(cases, tmp_path):
    contract = replace(CONTRACT, lesions=("HE",))
    cached_case = cache.cache_case(cases[0], contract, tmp_path)

    assert samples.view_sample(cached_case, contract, warp(0)).truth.shape == (1, 32, 32)
    turned = samples.window_sample(
        cached_case, (80, 80), contract, warp(1, AugmentationLimits(turn=45, free_share=1.0))
    )
    assert turned.truth.shape == (1, 32, 32)


def test_errors_name_the_case(tmp_path):
    case = Case(name="gone", photograph=tmp_path / "gone.jpg", masks={})

    with pytest.raises(DatasetError, match=r"gone\.jpg: cannot be read \(No such file"):
        cache.cache_case(case, CONTRACT, tmp_path)
