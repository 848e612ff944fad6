"""The photographs of a store: the same, in the same order, by the same names as for a run on one machine."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveate import photographs
from foveate.cluster.inventory import Inventory, Share
from foveate.cluster.stores import Folder, Found
from foveate.errors import PhotographError

STEMS = ("a", "A", "a.jpg", "a~2", "b", "...", "é", "e\u0301", ".hidden")
"""Names that some disk takes for one, that end up alike without their endings, or that are no names."""

ENDINGS = (".jpg", ".png", ".JPG", ".txt", "")

FOLDERS = ("", "a", "A", "a.jpg", "a/a", "é", ".hidden")

trees = st.lists(
    st.tuples(st.sampled_from(FOLDERS), st.sampled_from(STEMS), st.sampled_from(ENDINGS), st.integers(0, 9)),
    min_size=1,
    max_size=12,
)


def found(path, size=10, stamp="s"):
    return Found(path=path, size=size, stamp=stamp, real=path)


def listed(*paths, share=None):
    return Inventory((found(path) for path in paths), Share() if share is None else share)


def grow(root, tree):
    """Write the files of a tree; some are links to one before them."""
    made = []
    for folder, stem, ending, link in tree:
        path = root / folder / f"{stem}{ending}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() or path.is_symlink():
                continue
            if link == 0 and made:
                path.symlink_to(made[0])
            else:
                path.write_bytes(b"x")
        except OSError:  # a file where a folder is wanted
            continue
        made.append(path)


@given(trees)
def test_photographs_names_and_order_are_those_of_a_run_on_one_machine(tmp_path_factory, tree):
    root = tmp_path_factory.mktemp("tree")
    grow(root, tree)
    try:
        wanted = photographs.sources([str(root)])
    except PhotographError:
        with Inventory(Folder(root).listing(), Share()) as inventory:
            assert inventory.is_empty()
        return

    with Inventory(Folder(root).listing(), Share()) as inventory:
        items = list(inventory.waiting())
        assert [(str(root / item.path), item.name) for item in items] == [
            (str(source.path), source.name) for source in wanted.photographs
        ]
        assert inventory.skipped == wanted.skipped


@given(st.lists(st.text("abc/", min_size=1, max_size=6), unique=True), st.integers(1, 5))
def test_shares_are_a_partition_that_does_not_depend_on_what_else_there_is(stems, count):
    paths = [f"{stem.strip('/') or 'x'}{number}.png" for number, stem in enumerate(stems)]
    whole = []
    for index in range(1, count + 1):
        with listed(*paths, share=Share(index=index, of=count)) as inventory:
            own = [item.path for item in inventory.waiting()]
            assert inventory.total()[0] == inventory.left()[0] == len(own)
        assert all(Share(index=index, of=count).holds(path) for path in own)
        whole += own

    assert sorted(whole) == sorted(paths)


def test_what_is_done_waits_no_longer_and_is_told_in_order():
    with listed("c.png", "a.png", "b/z.png", "b.png") as inventory:
        assert inventory.total() == (4, 40)
        inventory.put("b", "B")
        inventory.put("b/z", "Z")
        assert [item.name for item in inventory.waiting()] == ["a", "c"]
        assert inventory.left() == (2, 20)
        inventory.put("a", "A")
        assert list(inventory.lines()) == ["A", "B", "Z"]


def test_lines_may_be_put_while_photographs_are_handed_out():
    with listed(*(f"{number:05}.png" for number in range(2500))) as inventory:
        seen = []
        for item in inventory.waiting():
            inventory.put(item.name, "done")
            seen.append(item.name)

        assert seen == [f"{number:05}" for number in range(2500)]
        assert inventory.left()[0] == 0
        assert len(list(inventory.lines())) == 2500


@pytest.mark.parametrize(
    ("stamp", "lies", "kept"), [("s", True, True), ("other", True, False), ("s", False, False)]
)
def test_an_earlier_line_holds_where_file_and_result_are_as_it_says(stamp, lies, kept):
    with listed("a.png") as inventory:
        if lies:
            assert inventory.lies("a")

        assert inventory.kept("a", stamp, "line") is kept
        assert [item.lies for item in inventory.waiting()] == ([] if kept else [lies])


def test_a_file_whose_stamp_is_unknown_is_never_taken_for_the_same():
    with Inventory([found("a.png", stamp="")], Share()) as inventory:
        inventory.lies("a")
        assert not inventory.kept("a", "", "line")


def test_a_result_of_no_photograph_is_none():
    with listed("a.png") as inventory:
        assert not inventory.lies("b")
        assert not inventory.kept("b", "s", "line")


def test_a_sample_is_spread_evenly_over_what_is_left():
    with listed(*(f"{number:02}.png" for number in range(20))) as inventory:
        assert [item.name for item in inventory.sample(4)] == ["02", "07", "12", "17"]
        assert len(inventory.sample(50)) == 20
        for number in range(19):
            inventory.put(f"{number:02}", "done")
        assert [item.name for item in inventory.sample(4)] == ["19"]


def test_names_with_undecodable_bytes_survive():
    name = os.fsdecode(b"caf\xe9")
    with listed(f"{name}.png") as inventory:
        (item,) = inventory.waiting()
        inventory.put(item.name, "line")

        assert (item.name, item.path) == (name, f"{name}.png")
        assert list(inventory.lines()) == ["line"]


def test_at_its_end_nothing_is_left_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with listed("a.png"):
        assert any(tmp_path.iterdir())

    assert not any(tmp_path.iterdir())
