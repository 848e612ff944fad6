"""A scratch folder is gone at the end, whoever removes it."""

import os
import time

import pytest

from foveate.cluster import scratch
from foveate.cluster.scratch import ScratchFolder


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Make scratch folders in a folder of the test."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def make_old(folder):
    os.utime(folder, (time.time() - scratch.MIN_AGE_SECONDS - 60,) * 2)


def test_a_folder_is_removed_with_all_that_it_holds(place):
    with ScratchFolder() as folder:
        (folder / "results").mkdir()
        (folder / "photograph.png").write_bytes(b"eye")
        assert folder.parent == place

    assert list(place.iterdir()) == []


@pytest.mark.skipif(scratch.sys.platform == "win32", reason="Windows has no such locks")
def test_the_folder_of_a_killed_process_is_removed_by_the_next_one(place):
    killed = place / f"{scratch._prefix()}killed"  # its lock ended with the process
    killed.mkdir()
    (killed / "photograph.png").write_bytes(b"eye")
    make_old(killed)

    with ScratchFolder() as folder:
        assert list(place.iterdir()) == [folder]


def test_folders_of_living_processes_young_ones_and_those_of_others_stay(place):
    with ScratchFolder() as living:
        make_old(living)
        machine = f"foveate-{scratch.platform.node()}-2_abcdefgh"  # of another one
        others = [place / machine, place / "foveate-of-another-machine-x", place / "notes"]
        for folder in others:
            folder.mkdir()
            make_old(folder)
        young = place / f"{scratch._prefix()}young"
        young.mkdir()

        with ScratchFolder():
            assert {living, young, *others} < set(place.iterdir())
