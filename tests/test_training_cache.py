"""Samples are what inference will see: the same canvas, view and windows, in register."""

import errno
import math
import os
import shutil
import threading
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tiny_set
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws, seeds

from foveate import photographs
from foveate.datasets import Case, truth
from foveate.errors import DatasetError, GeometryError, SettingError, TrainingError
from foveate.geometry import canvas, field_of_view, tiling
from foveate.training import augmentation, cache, sampler
from foveate.training.augmentation import LARGEST_ZOOM, AugmentationLimits
from foveate.training.sampler import SampleSpec

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


def unchanged():
    """Return the warp that changes nothing."""
    return next(w for w in map(warp, range(100)) if w.quarters == 0 and not w.mirror)


# the cache


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
    with pytest.raises(OSError, match="Cannot allocate memory"):
        cache.cache_case(cases[0], CONTRACT, tmp_path)


def test_a_file_that_is_damaged_after_its_case_was_opened_is_an_error_of_one_line(cases, tmp_path):
    cached_case = cache.cache_case(cases[0], CONTRACT, tmp_path)
    (cached_case.folder / "bits.npy").write_bytes(b"")

    with pytest.raises(TrainingError, match=r"IDRiD_01-\w*: cannot be read \(.*\); delete it and start"):
        cache.window_sample(cached_case, (80, 80), CONTRACT, warp(0))


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

    with pytest.raises(OSError, match="Cannot allocate memory"):
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

    assert cache.view_sample(cached_case, contract, warp(0)).truth.shape == (1, 32, 32)
    turned = cache.window_sample(
        cached_case, (80, 80), contract, warp(1, AugmentationLimits(turn=45, free_share=1.0))
    )
    assert turned.truth.shape == (1, 32, 32)


# views and windows


@pytest.mark.parametrize("seed", range(12))
def test_an_exact_view_is_inference_s_view_of_the_turned_canvas(cached_cases, seed):
    change = warp(seed)
    for cached_case in cached_cases:
        turned = np.ascontiguousarray(augmentation.turn(np.asarray(cached_case.pixels), change))
        bits = np.ascontiguousarray(augmentation.turn(np.asarray(cached_case.bits), change))

        sample = cache.view_sample(cached_case, CONTRACT, change)

        expected = canvas.global_view(turned, CONTRACT.view_side)
        assert np.abs(sample.pixels.astype(int) - expected).max() <= 1
        for k in range(
            len(CONTRACT.lesions) if cached_case is not cached_cases[2] else 0
        ):  # whose masks were resampled
            share = canvas.global_view((bits >> k & 1) * np.uint8(255), CONTRACT.view_side)
            assert np.abs(sample.truth[k] * 255 - share).max() <= 1.001


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("corner", [(0, 0), (37, 61), (100, 3)])
def test_an_exact_window_is_the_turned_crop(cached_cases, seed, corner):
    cached_case, change, side = cached_cases[0], warp(seed), CONTRACT.window_side
    cut = augmentation.turn(
        tiling.extract_windows(np.asarray(cached_case.pixels), np.array([corner]), side)[0], change
    )
    bits = augmentation.turn(
        tiling.extract_windows(np.asarray(cached_case.bits), np.array([corner]), side)[0], change
    )

    around = cache.window_sample(
        cached_case, (corner[0] + side // 2, corner[1] + side // 2), CONTRACT, change
    )
    registered, moved = cache.registered_window_sample(cached_case, corner, CONTRACT, change)

    assert moved == augmentation.turn_corner(corner, side, cached_case.bits.shape, change)
    for sample in (around, registered):
        np.testing.assert_array_equal(sample.pixels, cut)
        for k in range(len(CONTRACT.lesions)):
            np.testing.assert_array_equal(sample.truth[k], bits >> k & 1)


def smooth_case():
    """Return a case of 700 x 900 px whose colours say where a pixel lies, with one square lesion."""
    height, width = 700, 900
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([columns / width * 200 + 30, rows / height * 200 + 30, rows * 0 + 99], -1)
    pixels, bits = pixels.astype(np.uint8), np.zeros((height, width), np.uint8)
    bits[300:420, 500:640] = 1
    side = cache.VIEW_OVERSAMPLING * SMOOTH.view_side
    return tiny_set.CaseInMemory(
        name="smooth",
        shape=bits.shape,
        pixels=pixels,
        bits=bits,
        fine_view=canvas.global_view(pixels, side),
        fine_truth=canvas.global_view(bits * np.uint8(255), side)[..., None],
        lesion_pixels={"EX": np.argwhere(bits).astype(np.int32)},
    )


SMOOTH = replace(CONTRACT, lesions=("EX",), view_side=256, window_side=64)


@pytest.mark.parametrize("seed", range(20))
def test_freely_rotated_and_zoomed_windows_are_in_register_with_the_view(seed):
    case, generator = smooth_case(), np.random.default_rng(seed)
    change = warp(seed, AugmentationLimits(turn=45, zoom=LARGEST_ZOOM, free_share=1.0))
    side = SMOOTH.window_side
    drawn = [tuple(int(generator.integers(length - side)) for length in case.bits.shape) for _ in range(8)]
    spec = SampleSpec(case=case, warp=change, positions=tuple(drawn))

    item = sampler.materialise(spec, replace(tiny_set.recipe(), contract=SMOOTH), "joint")

    inside = 0
    for window, sampling in zip(item.windows, item.samplings, strict=True):
        piece = item.view.pixels[sampling.corner[0] :, sampling.corner[1] :]
        piece = piece[: sampling.rows.shape[1], : sampling.columns.shape[1]].astype(float)
        seen = np.einsum("sg,ghc,th->stc", sampling.rows, piece, sampling.columns)
        lit = (window.pixels[..., 2] == 99) & (seen[..., 2] > 98.9)  # off the canvas's edges
        inside += lit.sum()
        assert np.abs(seen - window.pixels)[lit].max(initial=0) < 2  # a pixel off is .3 levels, a turn 100
    assert inside > 8 * side * side / 4


@pytest.mark.parametrize("seed", range(20))
def test_a_freely_warped_window_keeps_the_middle_that_was_drawn_and_its_mask(seed):
    case, side = smooth_case(), SMOOTH.window_side
    change = warp(seed, AugmentationLimits(turn=45, zoom=LARGEST_ZOOM, free_share=1.0))
    drawn = (330, 400)  # near the canvas's middle: no warp moves it over an edge

    window, _ = cache.registered_window_sample(case, drawn, SMOOTH, change)

    middle = np.array(drawn) + (side - 1) / 2
    expected = middle[1] / 900 * 200 + 30, middle[0] / 700 * 200 + 30
    shown = window.pixels[side // 2 - 1 : side // 2 + 1, side // 2 - 1 : side // 2 + 1].mean(axis=(0, 1))
    assert shown[:2] == pytest.approx(expected, abs=1.2)
    lesion = case.bits[drawn[0] : drawn[0] + side, drawn[1] : drawn[1] + side]
    assert not lesion.any()
    red, green = window.pixels[..., 0].astype(float), window.pixels[..., 1].astype(float)
    columns, rows = (red - 30) / 200 * 900, (green - 30) / 200 * 700
    within = (rows > 305) & (rows < 415) & (columns > 506) & (columns < 634)
    beyond = (rows < 295) | (rows > 425) | (columns < 494) | (columns > 646)
    assert window.truth[0][within].all()
    assert not window.truth[0][beyond].any()


def test_a_window_is_black_and_without_lesions_where_it_leaves_the_canvas():
    white = replace(
        synthetic(np.full((160, 160), 255, np.uint8)),
        bits=np.full((160, 160), 15, np.uint8),
    )

    sample = cache.window_sample(white, (5, 80), CONTRACT, unchanged())

    assert (sample.pixels[:11] == 0).all()  # 16 px reach up from row 5
    assert (sample.pixels[11:] == 255).all()
    assert (sample.truth[:, :11] == 0).all()
    assert (sample.truth[:, 11:] == 1).all()


@pytest.mark.parametrize("centre", [(-16, 80), (-40, -40), (1000, 80), (80, 1000)])
def test_a_window_beyond_the_canvas_is_black_all_over(cached_cases, centre):
    sample = cache.window_sample(cached_cases[0], centre, CONTRACT, unchanged())

    assert not sample.pixels.any()
    assert not sample.truth.any()


@laws
@given(seeds)
def test_a_turned_and_shrunken_window_inside_the_canvas_shows_nothing_but_canvas(seed):
    limits = AugmentationLimits(turn=45, zoom=LARGEST_ZOOM, free_share=1.0)
    white = synthetic(np.full((128, 128), 255, np.uint8))

    sample = cache.window_sample(white, (64, 64), CONTRACT, warp(seed, limits))

    assert (sample.pixels == 255).all()


def synthetic(brightness):
    """Return a cached case of a grey picture whose first lesion is what is brighter than 150."""
    pixels = np.repeat(brightness[..., None], 3, axis=2)
    lesion = (brightness > 150).astype(np.uint8)
    side = cache.VIEW_OVERSAMPLING * CONTRACT.view_side
    shares = np.zeros((side, side, len(CONTRACT.lesions)), np.uint8)
    shares[..., 0] = canvas.global_view(lesion * 255, side)
    return tiny_set.CaseInMemory(
        name="synthetic",
        shape=lesion.shape,
        pixels=pixels,
        bits=lesion,
        fine_view=canvas.global_view(pixels, side),
        fine_truth=shares,
        lesion_pixels={"EX": np.argwhere(lesion).astype(np.int32)},
    )


def letter(place, size):
    """Return a picture of 60, 96 x 128 px, with an L of 240 about a place: no two of its turns agree."""
    picture, (row, column), thick = np.full((96, 128), 60, np.uint8), place, 2 * size // 5
    picture[row - size // 2 : row + size // 2, column - size // 2 : column - size // 2 + thick] = 240
    picture[row + size // 2 - thick : row + size // 2, column - size // 2 : column + size // 3] = 240
    return picture


def in_register(first, second):
    """Return whether two masks agree up to a pixel along their rims and have the same centre."""
    inner, core = (
        cv2.erode(mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
        for mask in (first, second)
    )
    agree = (inner <= second).all() and (core <= first).all()
    return agree and np.abs(np.argwhere(first).mean(axis=0) - np.argwhere(second).mean(axis=0)).max() < 0.5


@pytest.mark.parametrize("seed", range(100))  # fixed: one draw in 10,000 is a pixel off at a sharp corner
def test_photograph_and_masks_stay_in_register_under_any_warp(seed):
    change = warp(seed, AugmentationLimits(turn=45, zoom=0.3, free_share=0.7))
    row, column = np.random.default_rng(seed).integers(-6, 7, 2)
    far, near = synthetic(letter((48 + row, 64 + column), 50)), synthetic(letter((40 + row, 70 + column), 18))

    for sample in (
        cache.view_sample(far, CONTRACT, change),
        cache.window_sample(near, (40, 70), CONTRACT, change),
    ):
        # At .45 of the way from 60 to 240: half a pixel is common, and would fall to either side of .5.
        bright = (sample.pixels[..., 0] > 141).astype(np.uint8)
        lesion = (sample.truth[0] > 0.45).astype(np.uint8)
        assert lesion.sum() > 20
        assert in_register(lesion, bright)
        assert not sample.truth[1:].any()


def test_a_freely_turned_view_shows_the_photograph_turned_not_the_squeezed_square():
    """A disc of a wide canvas is an ellipse in the view; turned by any angle it is the same ellipse."""
    rows, columns = np.mgrid[:96, :192] + 0.5
    disc = np.where(np.hypot(rows - 48, columns - 96) < 30, 240, 60).astype(np.uint8)
    cached_case = synthetic(disc)
    levels = unchanged().levels
    for angle in np.linspace(-0.78, 0.78, 7):
        for quarters in range(4):
            change = augmentation.Warp(
                quarters=quarters,
                mirror=False,
                angle=float(angle),
                zoom=1.0,
                levels=levels,
                noise=0.0,
                noise_seed=0,
            )
            lesion = cache.view_sample(cached_case, CONTRACT, change).truth[0]
            tall, wide = lesion.max(axis=1).sum(), lesion.max(axis=0).sum()
            expected = (20, 10) if quarters % 2 == 0 else (10, 20)  # 60 px of 96 and of 192, in 32
            assert (tall, wide) == pytest.approx(expected, abs=1.1)


def test_masks_are_never_recoloured(cached_cases):
    change = warp(5, AugmentationLimits(colour=0.3, noise=30))

    sample = cache.window_sample(cached_cases[0], (80, 90), CONTRACT, change)

    assert set(np.unique(sample.truth)) <= {0.0, 1.0}
    registered, _ = cache.registered_window_sample(cached_cases[0], (64, 74), CONTRACT, change)
    np.testing.assert_array_equal(sample.truth, registered.truth)
    np.testing.assert_array_equal(sample.pixels, registered.pixels)


@given(st.integers(0, 255), st.integers(1, 8))
def test_bits_become_one_map_each(bits, lesions):
    maps = cache.unpack_bits(np.array([[bits]], np.uint8), lesions)

    assert maps.shape == (lesions, 1, 1)
    assert [int(value) for value in maps.ravel()] == [int(d) for d in f"{bits:08b}"[::-1]][:lesions]


# centres


def distance(point, cached_case, lesion):
    """Return how far a point is from the nearest pixel of a lesion, along the axis where it is further."""
    return np.abs(cached_case.lesion_pixels[lesion] - point).max(axis=1).min()


def centres_of(cached_cases, share, seed=0, count=200, reach=8):
    return cache.sample_centres(cached_cases, share, reach, count, np.random.default_rng(seed))


def test_with_a_share_of_1_every_window_is_near_a_lesion_and_no_lesion_is_forgotten(cached_cases):
    centres = centres_of(cached_cases, 1.0)

    nearest = [
        min((distance(point, cached_case, lesion), lesion) for lesion in cached_case.lesion_pixels)
        for cached_case, point in centres
    ]
    assert max(pixels for pixels, _ in nearest) <= 8
    counts = {lesion: sum(name == lesion for _, name in nearest) for lesion in CONTRACT.lesions}
    assert min(counts.values()) > 25  # a quarter of 200 each, SE of one photograph included


def test_with_a_share_of_0_windows_lie_anywhere(cached_cases):
    centres = centres_of(cached_cases, 0.0, count=400)

    for cached_case, (row, column) in centres:
        assert 0 <= row < cached_case.bits.shape[0]
        assert 0 <= column < cached_case.bits.shape[1]
    shares = np.array([[row / s.bits.shape[0], column / s.bits.shape[1]] for s, (row, column) in centres])
    assert (np.histogram2d(*shares.T, bins=3, range=[[0, 1]] * 2)[0] > 20).all()
    assert {cached_case.name for cached_case, _ in centres} == {
        cached_case.name for cached_case in cached_cases
    }


@given(seeds)
def test_centres_are_a_pure_function_of_the_generator(cached_cases, seed):
    first, second = (
        [(cached_case.name, point) for cached_case, point in centres_of(cached_cases, 0.5, seed, count=5)]
        for _ in range(2)
    )

    assert first == second


def test_windows_of_photographs_without_lesions_lie_anywhere(cached_cases):
    healthy = [replace(cached_case, lesion_pixels={}) for cached_case in cached_cases]

    assert len(centres_of(healthy, 1.0, count=7)) == 7


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_outside_0_to_1_is_refused(cached_cases, share):
    with pytest.raises(SettingError, match=f"lesion_share is {share}"):
        centres_of(cached_cases, share)


@given(
    st.integers(1, 20),
    st.integers(0, 30),
    st.integers(0, 30),
    st.tuples(st.integers(-99, 99), st.integers(-99, 99)),
)
def test_a_window_around_any_point_lies_within_the_canvas(side, tall, wide, place):
    shape = (side + tall, side + wide)

    corner = cache.window_corner(place, side, shape)

    assert all(0 <= start <= length - side for start, length in zip(corner, shape, strict=True))
    for start, centre, length in zip(corner, place, shape, strict=True):
        if side // 2 <= centre <= length - side + side // 2:
            assert start == centre - side // 2  # centred where there is room


def test_errors_name_the_case(tmp_path):
    case = Case(name="gone", photograph=tmp_path / "gone.jpg", masks={})

    with pytest.raises(DatasetError, match=r"gone\.jpg: cannot be read \(No such file"):
        cache.cache_case(case, CONTRACT, tmp_path)


def test_a_degree_is_a_degree():
    warps = [warp(seed, AugmentationLimits(turn=10, free_share=1.0)) for seed in range(300)]

    assert 9 < max(math.degrees(w.angle) for w in warps) <= 10
