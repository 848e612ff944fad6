"""What a step learns from is a pure function of (seed, stage, step), whoever draws it and however shared."""

import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import tiny_set
from hypothesis import given
from hypothesis import strategies as st

from foveate.errors import SettingError
from foveate.geometry import canvas, tiling
from foveate.training import sampler, trainer
from foveate.training.distributed import LOCAL, Machine
from foveate.training.recipe import ALONE_STAGES, STAGES, steps_per_epoch

SIDE = tiny_set.CONTRACT.window_side


@pytest.fixture(scope="module")
def cached_cases(tmp_path_factory):
    return tiny_set.cached_cases(tmp_path_factory.mktemp("draws"))


def dealt(**changes):
    """Return a recipe that deals windows of a grid, as the paper's are 'cropped uniformly'."""
    return tiny_set.recipe(sampling="dealt", lesion_share=0.0, **changes)


def same(one, other):
    """Whether two draws hold the same pixels, truths and sights."""
    pairs = zip((*one.windows, one.view), (*other.windows, other.view), strict=True)
    pixels = all(
        a is b is None or (np.array_equal(a.pixels, b.pixels) and np.array_equal(a.truth, b.truth))
        for a, b in pairs
    )
    sights = zip(one.samplings, other.samplings, strict=True)
    return pixels and all(a.corner == b.corner and np.array_equal(a.rows, b.rows) for a, b in sights)


@pytest.mark.parametrize("make", [tiny_set.recipe, dealt])
@pytest.mark.parametrize("stage", STAGES)
def test_a_draw_is_a_pure_function_of_seed_stage_and_step(cached_cases, stage, make):
    steps = sampler.StepDataset(cached_cases, make(), stage, LOCAL)
    there = [steps[step] for step in range(3)]
    back = [steps[step] for step in (2, 1, 0)][::-1]
    other = sampler.StepDataset(cached_cases, make(seed=1), stage, LOCAL)[0]

    for one, again in zip(there, back, strict=True):
        assert all(same(a, b) for a, b in zip(one, again, strict=True))
    assert not all(same(a, b) for a, b in zip(there[0], other, strict=True))
    assert not all(same(a, b) for a, b in zip(there[0], there[1], strict=True))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("ranks", [2, 3])
def test_the_shares_of_all_processes_are_the_step(cached_cases, stage, ranks):
    whole = tiny_set.recipe()
    recipe = replace(whole, stages={n: replace(s, photographs=3) for n, s in whole.stages.items()})
    together = sampler.StepDataset(cached_cases, recipe, stage, LOCAL)[4]

    shares = [sampler.StepDataset(cached_cases, recipe, stage, Machine(rank=r, world_size=ranks))[4] for r in range(ranks)]

    apart = [one for share in shares for one in share]
    assert min(map(len, shares)) > 0
    assert all(same(a, b) for a, b in zip(together, apart, strict=True))


@given(st.integers(1, 40), st.integers(1, 12))
def test_parts_are_even_and_keep_the_order(count, parts):
    items = list(range(count))
    if parts > count:
        with pytest.raises(SettingError, match=f"{count} photographs a step cannot be divided into {parts}"):
            sampler.split_evenly(items, parts)
        return
    found = sampler.split_evenly(items, parts)

    assert [item for part in found for item in part] == items
    assert max(map(len, found)) - min(map(len, found)) <= 1


def test_steps_travel_to_other_processes_as_the_names_of_their_files(cached_cases):
    steps = sampler.StepDataset(cached_cases, tiny_set.recipe(), "joint", LOCAL)

    packed = pickle.dumps(steps)

    assert len(packed) < 20_000
    assert all(same(a, b) for a, b in zip(steps[1], pickle.loads(packed)[1], strict=True))


def test_processes_that_draw_ahead_change_no_loss(cached_cases, tmp_path):
    """Bit for bit: the log and the weights of a stage are the same files."""
    for workers in (0, 2):
        list(
            trainer.train_stage(
                tiny_set.recipe(), cached_cases, tmp_path / f"{workers}", "local", machine=Machine(workers=workers)
            )
        )

    for name in ("local.csv", "local.safetensors"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


# dealt: the paper's 'cropped uniformly'


def steps_an_epoch(recipe, stage, count):
    found = steps_per_epoch(recipe, stage, count)
    assert found == int(found)
    return int(found)


def test_an_epoch_of_the_global_stage_sees_every_photograph_once(cached_cases):
    recipe = dealt()
    recipe = replace(
        recipe, stages=recipe.stages | {"global": replace(recipe.stages["global"], photographs=1)}
    )

    seen = [sampler.sample_specs(cached_cases, recipe, "global", step)[0].case.name for step in range(6)]

    assert sorted(seen[:3]) == sorted(seen[3:]) == [cached_case.name for cached_case in cached_cases]


@pytest.mark.parametrize(("stage", "numbers"), [("local", (3, 1)), ("fusion", (1, 4)), ("joint", (1, 4))])
def test_an_epoch_sees_every_window_of_the_grid_once(cached_cases, stage, numbers):
    """As many patches as the grid has: each photograph's are all there, none twice."""
    grid = tiling.regular_grid(cached_cases[0].bits.shape, SIDE, 0)
    alike = [replace(cached_cases[0], name=f"{n}") for n in range(3)]
    recipe = dealt(patches=len(grid) - len(grid) % 4)
    photographs, windows = numbers
    each = replace(recipe.stages[stage], photographs=photographs, windows=windows)
    recipe = replace(recipe, stages=recipe.stages | {stage: each})
    count = steps_an_epoch(recipe, stage, 3)
    offset = SIDE // 2 if stage == "local" else 0

    for first in (0, count):
        choices = [
            c for step in range(first, first + count) for c in sampler.sample_specs(alike, recipe, stage, step)
        ]
        seen = Counter((spec.case.name, place) for c in choices for place in spec.positions)
        assert set(seen.values()) == {1}
        assert len(seen) == 3 * recipe.patches
        assert {(row - offset, column - offset) for _, (row, column) in seen} <= set(
            map(tuple, grid.tolist())
        )
    assert len(choices[0].positions) == windows


def test_windows_that_are_seen_together_are_others_in_the_next_epoch(cached_cases):
    recipe = dealt(patches=8)
    each = replace(recipe.stages["joint"], photographs=1, windows=4)
    recipe = replace(recipe, stages=recipe.stages | {"joint": each})

    groups = [frozenset(sampler.sample_specs(cached_cases[:1], recipe, "joint", step)[0].positions) for step in range(8)]

    assert len(set(groups)) > 4  # four epochs of two groups each


def test_the_papers_crop_is_dealt_as_its_143_patches():
    grid = tiling.regular_grid(canvas.PAPER_CROP, 256, 0)

    assert len(grid) == 143 == dealt().patches
    assert len(np.unique(grid[:, 0])) == 11
    assert len(np.unique(grid[:, 1])) == 13


def test_fewer_windows_than_patches_are_dealt_again(cached_cases):
    recipe = dealt(patches=100)

    places = {
        place
        for step in range(99)
        for c in sampler.sample_specs(cached_cases[:1], recipe, "local", step)
        for place in spec.positions
    }

    assert len(places) == len(tiling.regular_grid(cached_cases[0].bits.shape, SIDE, 0))


# healthy eyes


@pytest.fixture(scope="module")
def beside(cached_cases):
    """The set's cached_cases, and two of them once more as healthy eyes."""
    healthy = [
        replace(cached_case, name=f"healthy-{cached_case.name}", is_healthy=True, lesion_pixels={}) for cached_case in cached_cases[:2]
    ]
    return [*cached_cases, *healthy]


def chosen(cached_cases, recipe, stage, steps):
    return [choice for step in range(steps) for choice in sampler.sample_specs(cached_cases, recipe, stage, step)]


@pytest.mark.parametrize("stage", ["fusion", "joint"])
def test_so_many_photographs_of_the_fused_stages_are_healthy_eyes(beside, stage):
    choices = chosen(beside, tiny_set.recipe(healthy_share=0.25), stage, 600)

    share = np.mean([spec.case.is_healthy for choice in choices])
    assert share == pytest.approx(0.25, abs=0.05)  # 4 standard errors of 1200 draws
    assert {spec.case.name for choice in choices} == {cached_case.name for cached_case in beside}
    assert {len(spec.positions) for choice in choices} == {2}


@pytest.mark.parametrize("make", [tiny_set.recipe, dealt])
@pytest.mark.parametrize("stage", ["global", "local"])
def test_a_streams_own_stage_draws_as_if_there_were_no_healthy_eyes(cached_cases, beside, stage, make):
    share = {} if make is dealt else {"healthy_share": 0.9}

    assert chosen_as(beside, make(**share), stage) == chosen_as(cached_cases, make(), stage)


@pytest.mark.parametrize("stage", ["fusion", "joint"])
def test_healthy_eyes_are_left_out_where_the_recipe_has_no_share_or_deals(cached_cases, beside, stage):
    for recipe in (tiny_set.recipe(), dealt()):
        assert chosen_as(beside, recipe, stage) == chosen_as(cached_cases, recipe, stage)


@pytest.mark.parametrize("stage", STAGES)
def test_a_share_without_any_healthy_eye_changes_no_draw(cached_cases, stage):
    assert chosen_as(cached_cases, tiny_set.recipe(healthy_share=0.5), stage) == chosen_as(
        cached_cases, tiny_set.recipe(), stage
    )


@pytest.mark.parametrize("stage", ALONE_STAGES)
def test_a_stream_alone_has_the_joint_stages_healthy_eyes(beside, stage):
    recipe = tiny_set.recipe(healthy_share=0.5)

    assert chosen_as(beside, recipe, stage) == chosen_as(beside, recipe, "joint")


def chosen_as(cached_cases, recipe, stage):
    """Return which photographs and places some steps have, and how they are turned."""
    choices = chosen(cached_cases, recipe, stage, 20)
    return [(one.case.name, one.positions, one.warp.quarters, one.warp.noise_seed) for one in choices]


def test_healthy_eyes_are_still_known_as_such_in_other_processes(beside):
    steps = sampler.StepDataset(beside, tiny_set.recipe(healthy_share=0.5), "joint", LOCAL)

    there = pickle.loads(pickle.dumps(steps))

    assert [cached_case.is_healthy for cached_case in there.cached_cases] == [False, False, False, True, True]
