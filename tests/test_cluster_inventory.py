"""The photographs of a store: the same photographs, order and names as in a run on one machine."""

import os
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveate import photographs
from foveate.cluster.inventory import Inventory, Share
from foveate.cluster.stores import FolderStore, StoredFile
from foveate.errors import OutputError, PhotographError

STEMS = ("a", "A", "a.jpg", "a~2", "b", "...", "é", "e\u0301", ".hidden")
"""Names that some disk takes for the same, that are equal without their suffixes, or that are only dots."""

SUFFIXES = (".jpg", ".png", ".JPG", ".txt", "")

FOLDERS = ("", "a", "A", "a.jpg", "a/a", "é", ".hidden")

trees = st.lists(
    st.tuples(st.sampled_from(FOLDERS), st.sampled_from(STEMS), st.sampled_from(SUFFIXES), st.integers(0, 9)),
    min_size=1,
    max_size=12,
)


def stored_file(path, size=10, stamp="s"):
    return StoredFile(path=path, size=size, stamp=stamp)


def inventory_of(*paths, share=None):
    return Inventory((stored_file(path) for path in paths), Share() if share is None else share)


def write_tree(root, tree):
    """Write the files of a tree: some are links to the first or to themselves, some mark results."""
    paths = []
    for folder, stem, suffix, kind in tree:
        path = root / folder / f"{stem}{suffix}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() or path.is_symlink():
                continue
            if kind == 0 and paths:
                path.symlink_to(paths[0])
            elif kind == 1:
                path.symlink_to(path)
            elif kind == 2:
                (path.parent / "run.json").write_text('{"foveate": "1.0"}')
            else:
                path.write_bytes(b"x")
        except OSError:  # a file is in the way of a folder
            continue
        paths.append(path)


def test_a_folder_that_cannot_be_listed_keeps_the_whole_of_its_name():
    folder = StoredFile(path="a/1.2.840.5", size=0, stamp="", is_unlisted_folder=True)

    with Inventory([folder], Share()) as inventory:
        assert [item.name for item in inventory.pending()] == ["a/1.2.840.5"]


@given(trees)
def test_photographs_names_and_order_are_those_of_a_run_on_one_machine(tmp_path_factory, tree):
    root = tmp_path_factory.mktemp("tree")
    write_tree(root, tree)
    try:
        expected = photographs.list_files([str(root)])
    except PhotographError:
        with Inventory(FolderStore(root).list_files(without_results=True), Share()) as inventory:
            assert inventory.is_empty()
        return

    with Inventory(FolderStore(root).list_files(without_results=True), Share()) as inventory:
        items = list(inventory.pending())
        assert [(str(root / item.path), item.name) for item in items] == [
            (str(source.path), source.name) for source in expected.photographs
        ]
        assert inventory.skipped == expected.skipped


@given(st.lists(st.text("abc/", min_size=1, max_size=6), unique=True), st.integers(1, 5))
def test_shares_are_a_partition_by_path_alone(stems, count):
    paths = [f"{stem.strip('/') or 'x'}{number}.png" for number, stem in enumerate(stems)]
    all_paths = []
    for index in range(1, count + 1):
        with inventory_of(*paths, share=Share(index=index, of=count)) as inventory:
            share_paths = [item.path for item in inventory.pending()]
            assert inventory.total()[0] == inventory.remaining()[0] == len(share_paths)
        assert all(Share(index=index, of=count).contains(path) for path in share_paths)
        all_paths += share_paths

    assert sorted(all_paths) == sorted(paths)


def test_done_photographs_are_not_pending_and_their_lines_are_in_order():
    with inventory_of("c.png", "a.png", "b/z.png", "b.png") as inventory:
        assert inventory.total() == (4, 40)
        inventory.set_line("b", "B")
        inventory.set_line("b/z", "Z")
        assert [item.name for item in inventory.pending()] == ["a", "c"]
        assert inventory.remaining() == (2, 20)
        inventory.set_line("a", "A")
        assert list(inventory.lines()) == ["A", "B", "Z"]


def test_lines_may_be_set_while_photographs_are_listed():
    with inventory_of(*(f"{number:05}.png" for number in range(2500))) as inventory:
        names = []
        for item in inventory.pending():
            inventory.set_line(item.name, "done")
            names.append(item.name)

        assert names == [f"{number:05}" for number in range(2500)]
        assert inventory.remaining()[0] == 0
        assert len(list(inventory.lines())) == 2500


@pytest.mark.parametrize(
    ("stamp", "has_result", "is_done"), [("s", True, True), ("other", True, False), ("s", False, False)]
)
def test_an_earlier_line_counts_if_the_file_is_the_same_and_the_result_exists(stamp, has_result, is_done):
    with inventory_of("a.png") as inventory:
        if has_result:
            assert inventory.mark_result("a")

        assert inventory.mark_done("a", stamp, "line") is is_done
        assert [item.has_result for item in inventory.pending()] == ([] if is_done else [has_result])


def test_a_file_without_a_stamp_never_counts_as_the_same():
    with Inventory([stored_file("a.png", stamp="")], Share()) as inventory:
        inventory.mark_result("a")
        assert not inventory.mark_done("a", "", "line")


def test_a_result_without_a_photograph_is_reported():
    with inventory_of("a.png") as inventory:
        assert not inventory.mark_result("b")
        assert not inventory.mark_done("b", "s", "line")


def test_a_sample_is_spread_evenly_over_the_remaining_photographs():
    with inventory_of(*(f"{number:02}.png" for number in range(20))) as inventory:
        assert [item.name for item in inventory.sample(4)] == ["02", "07", "12", "17"]
        assert len(inventory.sample(50)) == 20
        for number in range(19):
            inventory.set_line(f"{number:02}", "done")
        assert [item.name for item in inventory.sample(4)] == ["19"]


def test_names_with_undecodable_bytes_survive():
    name = os.fsdecode(b"caf\xe9")
    with inventory_of(f"{name}.png") as inventory:
        (item,) = inventory.pending()
        inventory.set_line(item.name, "line")

        assert (item.name, item.path) == (name, f"{name}.png")
        assert list(inventory.lines()) == ["line"]


def test_closing_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with inventory_of("a.png"):
        assert any(tmp_path.iterdir())

    assert not any(tmp_path.iterdir())


def test_a_full_scratch_disk_is_an_error_of_one_line(monkeypatch):
    connect = sqlite3.connect

    def connect_small(*arguments, **options):
        database = connect(*arguments, **options)
        database.execute("PRAGMA max_page_count=20")
        return database

    monkeypatch.setattr(sqlite3, "connect", connect_small)
    with pytest.raises(
        OutputError, match=r"list of photographs cannot be kept there \(database or disk is full"
    ):
        inventory_of(*(f"{'long' * 20}/{number}.png" for number in range(2000)))
