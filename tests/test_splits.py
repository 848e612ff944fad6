"""Photographs are held back by a saved, seeded deal that anybody can repeat."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws, seeds

from foveate import recipes
from foveate.datasets import idrid, read_mask, splits
from foveate.errors import DatasetError

IDRID = Path(recipes.__file__).parent / "splits" / "idrid.json"


@st.composite
def hands(draw):
    """Return (burdens, number of folds)."""
    count = draw(st.integers(2, 6))
    return draw(
        st.lists(
            st.tuples(st.sampled_from([0.0, 1.0]), st.integers(0, 9).map(float)), min_size=count, max_size=40
        )
    ), count


def named(burdens):
    return [f"p{number:02}" for number in range(len(burdens))]


@laws
@given(hands(), seeds)
def test_every_photograph_gets_one_fold_and_folds_differ_by_one_in_size(hand, seed):
    burdens, count = hand

    folds = splits.deal(named(burdens), burdens, count, seed)

    assert sorted(folds) == named(burdens)
    sizes = np.bincount(list(folds.values()), minlength=count)
    assert len(sizes) == count
    assert sizes.max() - sizes.min() <= 1


@laws
@given(hands(), seeds)
def test_neighbours_in_burden_go_to_different_folds(hand, seed):
    burdens, count = hand
    names = named(burdens)

    folds = splits.deal(names, burdens, count, seed)

    order = sorted(range(len(names)), key=lambda i: (burdens[i], names[i]))
    for start in range(0, len(order), count):
        dealt = [folds[names[i]] for i in order[start : start + count]]
        assert len(set(dealt)) == len(dealt)


@laws
@given(hands(), seeds)
def test_the_deal_depends_on_the_seed_alone_not_on_the_order_of_the_names(hand, seed):
    burdens, count = hand
    names = named(burdens)

    folds = splits.deal(names, burdens, count, seed)

    assert splits.deal(names, burdens, count, seed) == folds
    assert splits.deal(names[::-1], burdens[::-1], count, seed) == folds


def test_another_seed_deals_otherwise():
    burdens = [(float(number),) for number in range(20)]

    deals = [splits.deal(named(burdens), burdens, 5, seed) for seed in range(4)]

    assert any(deals[0] != other for other in deals[1:])


@pytest.mark.parametrize("count", [1, 4])
def test_too_few_folds_or_photographs_are_refused(count):
    with pytest.raises(DatasetError, match=f"3 photographs cannot be dealt to {count} folds"):
        splits.deal(["a", "b", "c"], [(0.0,)] * 3, count, 0)


def test_a_split_parts_the_photographs():
    folds = {"a": 0, "b": 1, "c": 0, "d": 2}

    assert splits.part(["d", "c", "a"], folds, 0) == (["d"], ["c", "a"])


def test_a_photograph_in_no_fold_and_an_empty_fold_are_refused():
    with pytest.raises(DatasetError, match=r"photograph x is in no fold of the split \(2 such\)"):
        splits.part(["a", "y", "x"], {"a": 0}, 0)
    with pytest.raises(DatasetError, match=r"fold 7 holds no photograph; there are folds \[0, 1\]"):
        splits.part(["a", "b"], {"a": 0, "b": 1}, 7)


def test_a_saved_split_is_read_back(tmp_path):
    (tmp_path / "folds.json").write_text(json.dumps({"about": "a test", "folds": {"a": 0, "b": 1}}))

    assert splits.read(tmp_path / "folds.json") == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    "text", ["", "[]", "3", '{"a": 0}', '{"folds": [1, 2]}', '{"folds": {"a": "0"}}', '{"folds": {"a": 0.5}}']
)
def test_a_file_without_folds_is_refused_by_name(tmp_path, text):
    path = tmp_path / "folds.json"
    path.write_text(text)

    with pytest.raises(DatasetError, match=r"folds\.json"):
        splits.read(path)


def test_a_missing_split_is_refused_by_name(tmp_path):
    with pytest.raises(DatasetError, match=r"gone\.json: no folds could be read"):
        splits.read(tmp_path / "gone.json")


def test_idrid_s_54_photographs_lie_each_in_one_of_five_folds():
    folds = splits.read(IDRID)

    assert sorted(folds) == [f"IDRiD_{number:02}" for number in range(1, 55)]
    assert sorted(np.bincount(list(folds.values())).tolist()) == [10, 11, 11, 11, 11]
    parts = [splits.part(list(folds), folds, held_back) for held_back in range(5)]
    assert sorted(name for _, held_back in parts for name in held_back) == sorted(folds)
    assert all(set(learned).isdisjoint(held_back) for learned, held_back in parts)


def test_idrid_s_folds_are_dealt_again_by_seed_2019(shared_data):
    cases = idrid.cases(shared_data, "train")
    burdens = []
    for case in cases:
        he = read_mask(case.masks["HE"], (2848, 4288)).sum() if "HE" in case.masks else 0
        burdens.append((float("SE" in case.masks), float(he)))

    assert splits.deal([case.name for case in cases], burdens, 5, 2019) == splits.read(IDRID)
