"""Samples are a pure function of (seed, stage, step), whichever processes prepare them."""

import errno
import pickle
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import tiny_set
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds

from foveate.errors import OutputError, SettingError, TrainingError
from foveate.geometry import canvas, tiling
from foveate.training import cache, sampler, trainer
from foveate.training.distributed import LOCAL, Machine, one_line_errors
from foveate.training.recipe import ALONE_STAGES, STAGES, steps_per_epoch
from foveate.training.run_folder import RunFolder
from foveate.wording import quantity

SIDE = tiny_set.CONTRACT.window_side


@pytest.fixture(scope="module")
def cached_cases(tmp_path_factory):
    return tiny_set.cached_cases(tmp_path_factory.mktemp("draws"))


def dealt(**changes):
    """Return a recipe whose epochs are permutations of a grid's windows: the paper's 'cropped uniformly'."""
    return tiny_set.recipe(sampling="dealt", lesion_share=0.0, **changes)


def same(first, second):
    """Return whether two items hold the same pixels, truths and samplings."""
    pairs = zip((*first.windows, first.view), (*second.windows, second.view), strict=True)
    pixels = all(
        a is b is None or (np.array_equal(a.pixels, b.pixels) and np.array_equal(a.truth, b.truth))
        for a, b in pairs
    )
    samplings = zip(first.samplings, second.samplings, strict=True)
    return pixels and all(a.corner == b.corner and np.array_equal(a.rows, b.rows) for a, b in samplings)


@pytest.mark.parametrize("make", [tiny_set.recipe, dealt])
@pytest.mark.parametrize("stage", STAGES)
def test_samples_are_a_pure_function_of_seed_stage_and_step(cached_cases, stage, make):
    steps = sampler.StepDataset(cached_cases, make(), stage, LOCAL)
    forwards = [steps[step] for step in range(3)]
    backwards = [steps[step] for step in (2, 1, 0)][::-1]
    other_seed = sampler.StepDataset(cached_cases, make(seed=1), stage, LOCAL)[0]

    for first, second in zip(forwards, backwards, strict=True):
        assert all(same(a, b) for a, b in zip(first, second, strict=True))
    assert not all(same(a, b) for a, b in zip(forwards[0], other_seed, strict=True))
    assert not all(same(a, b) for a, b in zip(forwards[0], forwards[1], strict=True))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("ranks", [2, 3])
def test_the_shares_of_all_processes_are_the_step(cached_cases, stage, ranks):
    whole = tiny_set.recipe()
    recipe = replace(whole, stages={n: replace(s, photographs=3) for n, s in whole.stages.items()})
    together = sampler.StepDataset(cached_cases, recipe, stage, LOCAL)[4]

    shares = [
        sampler.StepDataset(cached_cases, recipe, stage, Machine(rank=r, world_size=ranks))[4]
        for r in range(ranks)
    ]

    joined = [item for share in shares for item in share]
    assert min(map(len, shares)) > 0
    assert all(same(a, b) for a, b in zip(together, joined, strict=True))


@given(st.integers(1, 40), st.integers(1, 12))
def test_parts_are_even_and_keep_the_order(count, parts):
    items = list(range(count))
    if parts > count:
        with pytest.raises(
            SettingError, match=f"a step of {quantity(count, 'sample')} cannot be divided into {parts}"
        ):
            sampler.split_evenly(items, parts)
        return
    divided = sampler.split_evenly(items, parts)

    assert [item for part in divided for item in part] == items
    assert max(map(len, divided)) - min(map(len, divided)) <= 1


def test_a_pickled_dataset_holds_the_paths_of_its_files(cached_cases):
    steps = sampler.StepDataset(cached_cases, tiny_set.recipe(), "joint", LOCAL)

    packed = pickle.dumps(steps)

    assert len(packed) < 20_000
    assert all(same(a, b) for a, b in zip(steps[1], pickle.loads(packed)[1], strict=True))


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="the system does not list open files")
def test_many_photographs_keep_few_files_open_here_or_in_a_worker_process(cached_cases, tmp_path):
    """A process may have as few as 256 open files; sets have thousands of photographs."""
    folders = [shutil.copytree(cached_cases[0].folder, tmp_path / f"{number}") for number in range(40)]
    before = len(list(Path("/dev/fd").iterdir()))

    cases = [cache.open_case(folder, folder.name) for folder in folders]
    steps = sampler.StepDataset(cases, tiny_set.recipe(), "joint", LOCAL)
    worker_steps = pickle.loads(pickle.dumps(steps))
    opened = len(list(Path("/dev/fd").iterdir()))
    sizes = [getattr(case, name).size for case in cases for name in cache.ARRAYS]

    assert opened <= before
    assert len(sizes) > cache.MAX_MAPPED
    assert len(list(Path("/dev/fd").iterdir())) <= before + cache.MAX_MAPPED
    assert all(same(a, b) for a, b in zip(steps[0], worker_steps[0], strict=True))


def test_worker_processes_change_no_loss(cached_cases, tmp_path):
    """Bit for bit: the log and the weights of a stage are the same files."""
    for workers in (0, 2):
        list(
            trainer.train_stage(
                tiny_set.recipe(),
                cached_cases,
                RunFolder(tmp_path / f"{workers}"),
                "local",
                machine=Machine(workers=workers),
            )
        )

    for name in ("local.csv", "local.safetensors"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


class Failing(sampler.StepDataset):
    """Steps that all end with an error; a worker process imports this file for it."""

    def __init__(self, error):
        self.error, self.cases = error, ()

    def __getitem__(self, step):
        if self.error is MemoryError:
            np.empty(1 << 50)  # NumPy's own error, of another class
        raise self.error


NO_MEMORY_LEFT = OSError(errno.ENOMEM, "Cannot allocate memory")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("error", [MemoryError, NO_MEMORY_LEFT])
def test_memory_that_runs_out_in_a_worker_process_is_told_as_in_this_one(error, workers):
    expected = r"^stage local: the machine is out of memory; .*; otherwise use less$"
    with pytest.raises(TrainingError, match=expected), one_line_errors("stage local", "use less"):
        list(sampler.load_steps(Failing(error), range(2), workers))


def test_an_error_of_foveate_reaches_the_training_from_a_worker_process_as_it_is():
    error = OutputError("sheets: no space", errno=errno.ENOSPC)

    with pytest.raises(OutputError, match=r"^sheets: no space$") as caught:
        list(sampler.load_steps(Failing(error), range(2), 1))

    assert caught.value.errno == errno.ENOSPC


def test_a_bug_in_a_worker_process_keeps_its_traceback():
    with pytest.raises(
        ValueError, match=r"(?s)in DataLoader worker process 0.*in __getitem__.*shapes differ"
    ):
        list(sampler.load_steps(Failing(ValueError("shapes differ")), range(2), 1))


# sampling 'drawn': centres near lesions


def distance(point, cached_case, lesion):
    """Return how far a point is from the nearest pixel of a lesion, along the axis where it is further."""
    return np.abs(cached_case.lesion_pixels[lesion] - point).max(axis=1).min()


def centres_of(cached_cases, share, seed=0, count=200, reach=8):
    return sampler.sample_centres(cached_cases, share, reach, count, np.random.default_rng(seed))


def test_with_a_share_of_1_every_window_is_near_a_lesion_and_no_lesion_is_forgotten(cached_cases):
    centres = centres_of(cached_cases, 1.0)

    nearest = [
        min((distance(point, cached_case, lesion), lesion) for lesion in cached_case.lesion_pixels)
        for cached_case, point in centres
    ]
    assert max(pixels for pixels, _ in nearest) <= 8
    counts = {lesion: sum(name == lesion for _, name in nearest) for lesion in tiny_set.CONTRACT.lesions}
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


# sampling 'dealt': the paper's 'cropped uniformly'


def steps_an_epoch(recipe, stage, count):
    steps = steps_per_epoch(recipe, stage, count)
    assert steps == int(steps)
    return int(steps)


def test_an_epoch_of_the_global_stage_sees_every_photograph_once(cached_cases):
    recipe = dealt()
    recipe = replace(
        recipe, stages=recipe.stages | {"global": replace(recipe.stages["global"], photographs=1)}
    )

    names = [sampler.sample_specs(cached_cases, recipe, "global", step)[0].case.name for step in range(6)]

    assert sorted(names[:3]) == sorted(names[3:]) == [cached_case.name for cached_case in cached_cases]


@pytest.mark.parametrize(("stage", "numbers"), [("local", (3, 1)), ("fusion", (1, 4)), ("joint", (1, 4))])
def test_an_epoch_sees_every_window_of_the_grid_once(cached_cases, stage, numbers):
    """With as many patches as the grid has, each photograph's windows all occur, and none twice."""
    grid = tiling.regular_grid(cached_cases[0].bits.shape, SIDE, 0)
    alike = [replace(cached_cases[0], name=f"{n}") for n in range(3)]
    recipe = dealt(patches=len(grid) - len(grid) % 4)
    photographs, windows = numbers
    each = replace(recipe.stages[stage], photographs=photographs, windows=windows)
    recipe = replace(recipe, stages=recipe.stages | {stage: each})
    count = steps_an_epoch(recipe, stage, 3)
    offset = SIDE // 2 if stage == "local" else 0

    for first in (0, count):
        specs = [
            spec
            for step in range(first, first + count)
            for spec in sampler.sample_specs(alike, recipe, stage, step)
        ]
        counts = Counter((spec.case.name, position) for spec in specs for position in spec.positions)
        assert set(counts.values()) == {1}
        assert len(counts) == 3 * recipe.patches
        assert {(row - offset, column - offset) for _, (row, column) in counts} <= set(
            map(tuple, grid.tolist())
        )
    assert len(specs[0].positions) == windows


def test_each_epoch_groups_the_windows_differently(cached_cases):
    recipe = dealt(patches=8)
    each = replace(recipe.stages["joint"], photographs=1, windows=4)
    recipe = replace(recipe, stages=recipe.stages | {"joint": each})

    groups = [
        frozenset(sampler.sample_specs(cached_cases[:1], recipe, "joint", step)[0].positions)
        for step in range(8)
    ]

    assert len(set(groups)) > 4  # four epochs of two groups each


def test_an_epoch_of_the_papers_crop_has_its_143_patches():
    grid = tiling.regular_grid(canvas.PAPER_CROP, 256, 0)

    assert len(grid) == 143 == dealt().patches
    assert len(np.unique(grid[:, 0])) == 11
    assert len(np.unique(grid[:, 1])) == 13


def test_where_the_grid_has_fewer_windows_than_patches_windows_repeat(cached_cases):
    recipe = dealt(patches=100)

    positions = {
        position
        for step in range(99)
        for spec in sampler.sample_specs(cached_cases[:1], recipe, "local", step)
        for position in spec.positions
    }

    assert len(positions) == len(tiling.regular_grid(cached_cases[0].bits.shape, SIDE, 0))


# healthy eyes


@pytest.fixture(scope="module")
def beside(cached_cases):
    """Return the set's cases, and two of them once more as healthy eyes."""
    healthy = [
        replace(cached_case, name=f"healthy-{cached_case.name}", is_healthy=True, lesion_pixels={})
        for cached_case in cached_cases[:2]
    ]
    return [*cached_cases, *healthy]


def specs_of(cached_cases, recipe, stage, steps):
    return [spec for step in range(steps) for spec in sampler.sample_specs(cached_cases, recipe, stage, step)]


@pytest.mark.parametrize("stage", ["fusion", "joint"])
def test_the_recipes_share_of_the_fused_stages_photographs_are_healthy_eyes(beside, stage):
    specs = specs_of(beside, tiny_set.recipe(healthy_share=0.25), stage, 600)

    share = np.mean([spec.case.is_healthy for spec in specs])
    assert share == pytest.approx(0.25, abs=0.05)  # 4 standard errors of 1200 draws
    assert {spec.case.name for spec in specs} == {cached_case.name for cached_case in beside}
    assert {len(spec.positions) for spec in specs} == {2}


@pytest.mark.parametrize("make", [tiny_set.recipe, dealt])
@pytest.mark.parametrize("stage", ["global", "local"])
def test_a_streams_own_stage_ignores_healthy_eyes(cached_cases, beside, stage, make):
    share = {} if make is dealt else {"healthy_share": 0.9}

    assert described_specs(beside, make(**share), stage) == described_specs(cached_cases, make(), stage)


@pytest.mark.parametrize("stage", ["fusion", "joint"])
def test_healthy_eyes_are_left_out_without_a_share_and_in_permuted_epochs(cached_cases, beside, stage):
    for recipe in (tiny_set.recipe(), dealt()):
        assert described_specs(beside, recipe, stage) == described_specs(cached_cases, recipe, stage)


@pytest.mark.parametrize("stage", STAGES)
def test_a_share_without_any_healthy_eye_changes_no_sample(cached_cases, stage):
    assert described_specs(cached_cases, tiny_set.recipe(healthy_share=0.5), stage) == described_specs(
        cached_cases, tiny_set.recipe(), stage
    )


@pytest.mark.parametrize("stage", ALONE_STAGES)
def test_a_stream_alone_has_the_joint_stages_healthy_eyes(beside, stage):
    recipe = tiny_set.recipe(healthy_share=0.5)

    assert described_specs(beside, recipe, stage) == described_specs(beside, recipe, "joint")


def described_specs(cached_cases, recipe, stage):
    """Return the photographs, positions and turns of some steps."""
    specs = specs_of(cached_cases, recipe, stage, 20)
    return [(spec.case.name, spec.positions, spec.warp.quarters, spec.warp.noise_seed) for spec in specs]


def test_a_pickled_dataset_still_marks_its_healthy_eyes(beside):
    steps = sampler.StepDataset(beside, tiny_set.recipe(healthy_share=0.5), "joint", LOCAL)

    unpickled = pickle.loads(pickle.dumps(steps))

    assert [cached_case.is_healthy for cached_case in unpickled.cases] == [False, False, False, True, True]
