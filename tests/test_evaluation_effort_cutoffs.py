"""Cut-offs keep what they promise on the photographs they are chosen on, in as few cells as that takes."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_package
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from strategies import laws, seeds
from tiny_package import Red, fake

from foveate.analysis import window_selection
from foveate.datasets import Case
from foveate.errors import DatasetError
from foveate.evaluation import effort_cutoffs
from foveate.evaluation.effort_cutoffs import CoarseResult, Limit
from foveate.types import LesionCriterion

CODES = ("EX", "MA")


def counts(rng, cells, area, *, sharp):
    """Pixels of each cell by level: lesion above, the rest below; the sharper, the further apart."""
    counts_by_cell = np.zeros((cells, 2, 256), np.int64)
    for cell in range(cells):
        high = rng.integers(100 + sharp, 200 + sharp, area[cell])
        low = rng.integers(0, 180 - sharp, 400 - area[cell])
        np.add.at(counts_by_cell[cell, 0], high, 1)
        np.add.at(counts_by_cell[cell, 1], low, 1)
    return counts_by_cell


def synthetic_result(seed, cells=40, name="eye"):
    """A photograph held back whose cells with much lesion GlobalNet sees surely, and the others hardly."""
    rng = np.random.default_rng(seed)
    area = {code: np.where(rng.random(cells) < 0.3, rng.integers(0, 60, cells), 0) for code in CODES}
    coarse = {
        code: np.clip(area[code] / 80 + rng.normal(0, 0.02, cells), 0, 1).astype(np.float32) for code in CODES
    }
    local_counts = {code: counts(rng, cells, area[code], sharp=50) for code in CODES}
    return CoarseResult(
        name=name,
        coarse=coarse,
        blob_contrast=rng.random((cells, 2)).astype(np.float32),
        area=area,
        local_counts=local_counts,
        global_counts={code: counts(rng, cells, area[code], sharp=30) for code in CODES},
        full_counts={code: each.sum(axis=0) for code, each in local_counts.items()},
    )


@laws
@given(seeds, st.sampled_from(effort_cutoffs.SHARES))
def test_the_visited_cells_cover_the_requested_share_of_every_lesion(seed, share):
    results = [synthetic_result(seed), synthetic_result(seed + 1)]

    outcome = effort_cutoffs.outcome(results, effort_cutoffs.cutoffs(results, share))

    assert all(covered >= share for covered in outcome.covered.values())
    assert 0 < outcome.share <= 1


def test_a_single_lesion_selects_no_more_cells_than_needed():
    results = [replace(synthetic_result(3), coarse={"EX": synthetic_result(3).coarse["EX"]})]
    (criterion,) = effort_cutoffs.cutoffs(results, 0.9).values()
    (result,) = results
    scores = window_selection.selection_score(result.coarse["EX"], result.blob_contrast, criterion.blobs)
    weakest = scores[scores >= criterion.cutoff].min()

    held = result.area["EX"][scores > weakest].sum() / result.area["EX"].sum()

    assert held < 0.9


def test_spots_count_where_they_save_cells():
    result = synthetic_result(0)
    area = result.area["MA"]
    results = [
        replace(
            result,
            coarse={**result.coarse, "MA": np.full(len(area), 0.1, np.float32)},  # blind to them
            blob_contrast=np.stack([np.where(area > 0, 0.9, 0.1), np.full(len(area), 0.5)], 1).astype("f4"),
        )
    ]

    criteria = effort_cutoffs.cutoffs(results, 0.95)

    assert criteria["MA"].blobs == "dark"
    assert effort_cutoffs.outcome(results, {"MA": criteria["MA"]}).share <= (area > 0).mean()


def test_visiting_all_cells_loses_nothing_and_visiting_none_leaves_the_coarse_map():
    results = [synthetic_result(5)]
    all_windows, no_window = (
        {code: LesionCriterion(cutoff=cutoff) for code in CODES}
        for cutoff in (effort_cutoffs.LOWEST_CUTOFF, -effort_cutoffs.LOWEST_CUTOFF)
    )

    assert effort_cutoffs.outcome(results, all_windows).losses == {"EX": 0.0, "MA": 0.0}
    outcome = effort_cutoffs.outcome(results, no_window)
    assert outcome.share == 0
    assert min(outcome.losses.values()) > 0.02


def test_the_smallest_share_within_the_limit_is_chosen():
    results = [synthetic_result(seed) for seed in range(3)]

    selection_rules = effort_cutoffs.choose(results, 4)

    assert set(selection_rules) == {"balanced", "fast"}
    shares = {}
    for effort, rule in selection_rules.items():
        outcome = effort_cutoffs.outcome(results, rule.criteria)
        assert effort_cutoffs.LIMITS[effort].allows(outcome.losses)
        shares[effort] = outcome.share
        assert rule.tta_views == 4
        smaller = [
            share
            for share in effort_cutoffs.SHARES
            if effort_cutoffs.outcome(results, effort_cutoffs.cutoffs(results, share)).share < outcome.share
        ]
        for share in smaller:
            losses = effort_cutoffs.outcome(results, effort_cutoffs.cutoffs(results, share)).losses
            assert not effort_cutoffs.LIMITS[effort].allows(losses)
    assert shares["fast"] <= shares["balanced"]


def test_an_effort_that_cannot_keep_within_its_limit_is_not_offered(monkeypatch):
    monkeypatch.setattr(effort_cutoffs, "LIMITS", {"fast": Limit(default=-1.0, by_lesion={})})

    assert effort_cutoffs.choose([synthetic_result(0)], 4) == {}


def test_a_lesion_without_annotated_pixels_selects_no_cell():
    result = synthetic_result(1)
    results = [replace(result, area={**result.area, "MA": np.zeros_like(result.area["MA"])})]

    criteria = effort_cutoffs.cutoffs(results, 0.9)

    assert not window_selection.select_cells(
        results[0].coarse, results[0].blob_contrast, {"MA": criteria["MA"]}
    ).any()
    assert set(effort_cutoffs.outcome(results, criteria).losses) == {"EX"}


def test_choosing_without_a_photograph_is_refused():
    with pytest.raises(
        DatasetError, match="no photograph is held back to choose the windows of lower efforts on"
    ):
        effort_cutoffs.choose([], 4)


class Sharp(Red):
    """An engine whose close look is its red level, and whose glance is the mean of its surroundings."""

    def run_global(self, view):
        coarse = super().run_global(view)
        red = view[0, :1] * self.contract.std[0] + self.contract.mean[0]
        return replace(coarse, probabilities=np.repeat(red / 255, 2, axis=0).clip(0, 1).astype(np.float32))


@pytest.fixture
def case(tmp_path):
    path = tiny_package.photograph(tmp_path / "eye.png", diameter=300)
    pixels = np.asarray(Image.open(path))
    Image.fromarray(((pixels[..., 0] > 200) * 255).astype(np.uint8)).save(tmp_path / "EX.png")
    return Case(name="eye", photograph=path, masks={"EX": tmp_path / "EX.png"}, annotated=CODES)


def test_every_pixel_of_a_photograph_is_counted_once_and_the_chosen_rules_fit_the_package(case):
    package = fake(field_diameter=300.0, step=8)
    names = []

    (results,) = effort_cutoffs.coarse_results(package, Sharp(), [case], names.append)
    selection_rules = effort_cutoffs.choose([results], effort_cutoffs.reduced_tta_views(package))

    assert names == ["eye"]
    pixels = results.full_counts["EX"].sum()
    for each in (results.local_counts["EX"], results.global_counts["EX"]):
        assert each.sum() == pixels
        np.testing.assert_array_equal(each[:, 0].sum(axis=1), results.area["EX"])
    np.testing.assert_array_equal(
        results.local_counts["EX"].sum(axis=0), results.full_counts["EX"]
    )  # Red is the same everywhere
    assert not np.array_equal(results.global_counts["EX"].sum(axis=0), results.full_counts["EX"])
    assert selection_rules["balanced"].tta_views == 1  # the package glances once
    assert effort_cutoffs.outcome([results], selection_rules["balanced"].criteria).share < 1
