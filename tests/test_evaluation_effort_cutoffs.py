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
from foveate.evaluation import effort_cutoffs as choosing
from foveate.evaluation.effort_cutoffs import Glimpsed, Limit
from foveate.types import Interest

CODES = ("EX", "MA")


def counts(rng, cells, area, *, sharp):
    """Pixels of each cell by level: lesion above, the rest below; the sharper, the further apart."""
    found = np.zeros((cells, 2, 256), np.int64)
    for cell in range(cells):
        high = rng.integers(100 + sharp, 200 + sharp, area[cell])
        low = rng.integers(0, 180 - sharp, 400 - area[cell])
        np.add.at(found[cell, 0], high, 1)
        np.add.at(found[cell, 1], low, 1)
    return found


def drawn(seed, cells=40, name="eye"):
    """A photograph held back whose cells with much lesion GlobalNet sees surely, and the others hardly."""
    rng = np.random.default_rng(seed)
    area = {code: np.where(rng.random(cells) < 0.3, rng.integers(0, 60, cells), 0) for code in CODES}
    coarse = {
        code: np.clip(area[code] / 80 + rng.normal(0, 0.02, cells), 0, 1).astype(np.float32) for code in CODES
    }
    looked = {code: counts(rng, cells, area[code], sharp=50) for code in CODES}
    return Glimpsed(
        name=name,
        coarse=coarse,
        standing_out=rng.random((cells, 2)).astype(np.float32),
        area=area,
        looked=looked,
        glanced={code: counts(rng, cells, area[code], sharp=30) for code in CODES},
        full={code: each.sum(axis=0) for code, each in looked.items()},
    )


@laws
@given(seeds, st.sampled_from(choosing.SHARES))
def test_the_cells_looked_at_hold_the_share_of_every_lesion_that_was_asked_for(seed, share):
    seen = [drawn(seed), drawn(seed + 1)]

    outcome = choosing.outcome(seen, choosing.cutoffs(seen, share))

    assert all(kept >= share for kept in outcome.kept.values())
    assert 0 < outcome.share <= 1


def test_no_cell_more_than_needed_is_called_by_a_lesion_alone():
    seen = [replace(drawn(3), coarse={"EX": drawn(3).coarse["EX"]})]
    (interest,) = choosing.cutoffs(seen, 0.9).values()
    (one,) = seen
    called = window_selection.interest(one.coarse["EX"], one.standing_out, interest.spots)
    weakest = called[called >= interest.cutoff].min()

    held = one.area["EX"][called > weakest].sum() / one.area["EX"].sum()

    assert held < 0.9


def test_spots_count_where_they_save_cells():
    one = drawn(0)
    area = one.area["MA"]
    seen = [
        replace(
            one,
            coarse={**one.coarse, "MA": np.full(len(area), 0.1, np.float32)},  # blind to them
            standing_out=np.stack([np.where(area > 0, 0.9, 0.1), np.full(len(area), 0.5)], 1).astype("f4"),
        )
    ]

    interests = choosing.cutoffs(seen, 0.95)

    assert interests["MA"].spots == "dark"
    assert choosing.outcome(seen, {"MA": interests["MA"]}).share <= (area > 0).mean()


def test_looking_everywhere_loses_nothing_and_nowhere_what_the_glance_lacks():
    seen = [drawn(5)]
    everywhere, nowhere = (
        {code: Interest(cutoff=cutoff) for code in CODES} for cutoff in (choosing.NEVER, -choosing.NEVER)
    )

    assert choosing.outcome(seen, everywhere).losses == {"EX": 0.0, "MA": 0.0}
    lost = choosing.outcome(seen, nowhere)
    assert lost.share == 0
    assert min(lost.losses.values()) > 0.02


def test_the_smallest_share_within_the_limit_is_chosen():
    seen = [drawn(seed) for seed in range(3)]

    gazes = choosing.chosen(seen, 4)

    assert set(gazes) == {"balanced", "fast"}
    shares = {}
    for effort, chosen in gazes.items():
        outcome = choosing.outcome(seen, chosen.interests)
        assert choosing.LIMITS[effort].met(outcome.losses)
        shares[effort] = outcome.share
        assert chosen.glances == 4
        smaller = [
            share
            for share in choosing.SHARES
            if choosing.outcome(seen, choosing.cutoffs(seen, share)).share < outcome.share
        ]
        for share in smaller:
            losses = choosing.outcome(seen, choosing.cutoffs(seen, share)).losses
            assert not choosing.LIMITS[effort].met(losses)
    assert shares["fast"] <= shares["balanced"]


def test_an_effort_that_cannot_keep_within_its_limit_is_not_offered(monkeypatch):
    monkeypatch.setattr(choosing, "LIMITS", {"fast": Limit(most=-1.0, of={})})

    assert choosing.chosen([drawn(0)], 4) == {}


def test_crossed_figures_are_of_cutoffs_that_never_saw_their_photograph():
    seen = [drawn(seed, name=str(seed)) for seed in range(4)]

    outcome = choosing.crossed(seen, "balanced")

    assert outcome is not None
    strange = replace(seen[0], coarse={code: np.zeros_like(each) for code, each in seen[0].coarse.items()})
    other = choosing.crossed([strange, *seen[1:]], "balanced")
    assert other is not None
    assert other.kept["EX"] < outcome.kept["EX"]  # nothing of it was called for, though its own would call


def test_a_lesion_that_nobody_drew_calls_for_nothing():
    one = drawn(1)
    seen = [replace(one, area={**one.area, "MA": np.zeros_like(one.area["MA"])})]

    interests = choosing.cutoffs(seen, 0.9)

    assert not window_selection.worth(seen[0].coarse, seen[0].standing_out, {"MA": interests["MA"]}).any()
    assert set(choosing.outcome(seen, interests).losses) == {"EX"}


def test_no_photograph_is_no_choice():
    with pytest.raises(DatasetError, match="no photograph held back to choose where to look on"):
        choosing.chosen([], 4)


class Sharp(Red):
    """An engine whose close look is its red level, and whose glance is the mean of its surroundings."""

    def glance(self, view):
        glance = super().glance(view)
        red = view[0, :1] * self.contract.std[0] + self.contract.mean[0]
        return replace(glance, probabilities=np.repeat(red / 255, 2, axis=0).clip(0, 1).astype(np.float32))


@pytest.fixture
def case(tmp_path):
    path = tiny_package.photograph(tmp_path / "eye.png", diameter=300)
    pixels = np.asarray(Image.open(path))
    Image.fromarray(((pixels[..., 0] > 200) * 255).astype(np.uint8)).save(tmp_path / "EX.png")
    return Case(name="eye", photograph=path, masks={"EX": tmp_path / "EX.png"}, annotated=CODES)


def test_every_pixel_of_a_photograph_is_counted_once_and_a_choice_is_kept_by_the_package(case):
    package = fake(field_diameter=300.0, step=8)
    told = []

    (seen,) = choosing.glimpses(package, Sharp(), [case], told.append)
    gazes = choosing.choose(package, Sharp(), [case])

    assert told == ["eye"]
    pixels = seen.full["EX"].sum()
    for each in (seen.looked["EX"], seen.glanced["EX"]):
        assert each.sum() == pixels
        np.testing.assert_array_equal(each[:, 0].sum(axis=1), seen.area["EX"])
    np.testing.assert_array_equal(
        seen.looked["EX"].sum(axis=0), seen.full["EX"]
    )  # Red is the same everywhere
    assert not np.array_equal(seen.glanced["EX"].sum(axis=0), seen.full["EX"])
    assert gazes["balanced"].glances == 1  # the package glances once
    assert choosing.outcome([seen], gazes["balanced"].interests).share < 1
