"""One photograph's files are complete or count as missing, and are the same from run to run."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_result
from tiny_result import CODES, SHAPE, photograph_result, tree

from foveate import atomic_files, writers
from foveate.errors import LesionError, OutputError
from foveate.packed_maps import PackedMaps
from foveate.types import Box, Decision, Frame, Probabilities
from foveate.writers import maps, photograph_files

DIGEST = "cd" * 32


def write_all(out, **changes):
    """Write the tiny photograph's files and the summary."""
    writers.prepare(out)
    row = writers.write(out, photograph_result(**changes))
    writers.write_summary(out, [row], CODES, tiny_result.PROVENANCE)
    return row


def test_the_layout_is_as_documented(tmp_path):
    write_all(tmp_path)

    assert sorted(tree(tmp_path)) == sorted(
        [
            *(f"maps/clinic/left_{code}.png" for code in CODES),
            *(f"masks/clinic/left_{code}.png" for code in CODES),
            "overlays/clinic/left.jpg",
            "regions/clinic/left.csv",
            "regions/clinic/left.json",
            "page/clinic/left.js",
            "page/clinic/left_photo.jpg",
            "page/clinic/left_thumb.jpg",
            "summary.csv",
            "index.html",
        ]
    )


@pytest.mark.parametrize("format", maps.FORMATS)
def test_a_mask_is_the_stored_map_at_the_level_that_the_json_states(tmp_path, format):
    write_all(tmp_path, format=format)
    content = json.loads((tmp_path / "regions/clinic/left.json").read_bytes())

    for number, code in enumerate(CODES):
        entry = content["lesions"][code]
        stored = maps.decode((tmp_path / entry["map"]).read_bytes(), format)
        mask = maps.decode((tmp_path / entry["mask"]).read_bytes(), "png")
        np.testing.assert_array_equal(stored, maps.quantise(tiny_result.maps()[number], format))
        np.testing.assert_array_equal(mask == 255, stored >= entry["stored_level"])
        assert entry["mask_px"] == (mask == 255).sum()


@pytest.mark.parametrize("format", maps.FORMATS)
def test_every_file_is_the_same_from_run_to_run(tmp_path, format):
    for folder in ("first", "second"):
        write_all(tmp_path / folder, format=format)

    assert tree(tmp_path / "first") == tree(tmp_path / "second")


def test_writing_again_changes_nothing(tmp_path):
    write_all(tmp_path)
    before = tree(tmp_path)

    write_all(tmp_path)

    assert tree(tmp_path) == before


def test_only_lesions_with_a_decision_are_written(tmp_path):
    result = replace(photograph_result(), decisions={"HE": Decision(threshold=0.5, minimum_area=4)})

    row = writers.write(tmp_path, result)

    assert list(row.loads) == ["HE"]
    assert [path.name for path in (tmp_path / "maps").rglob("*.png")] == ["left_HE.png"]


def test_a_decision_without_a_map_is_refused():
    with pytest.raises(LesionError, match="'XX' has a threshold but no map"):
        replace(photograph_result(), decisions={"XX": Decision(threshold=0.5, minimum_area=4)})


def test_a_map_at_another_scale_is_written_in_the_photographs_pixels(tmp_path):
    small = np.zeros((1, 40, 50), np.uint16)
    small[0, 10:15, 20:30] = 60_000
    coarse = Probabilities(
        lesions=("EX",),
        maps=PackedMaps.pack(small),
        frame=Frame(box=Box(top=20, left=30, bottom=100, right=130), shape=(40, 50)),
        shape=SHAPE,
    )

    writers.write(
        tmp_path,
        replace(
            photograph_result(),
            probabilities=coarse,
            decisions={"EX": Decision(threshold=0.5, minimum_area=5)},
        ),
    )

    content = json.loads((tmp_path / "regions/clinic/left.json").read_bytes())
    (region,) = content["regions"]
    assert region["centroid"] == {"x": 30 + 2 * 25.0, "y": 20 + 2 * 12.5}
    assert content["lesions"]["EX"]["minimum_area_px"] == 20
    assert content["looked_at"]["model_px_per_px"] == {"x": 0.5, "y": 0.5}


def stops(monkeypatch, out, owner, name):
    """Write a result again and again; at each time a function fails one call later.

    Yields after each failure, until the result is complete.
    """
    real = getattr(owner, name)
    for stop in range(100):
        calls = iter(range(100))

        def call(*arguments, calls=calls, stop=stop):
            if next(calls) == stop:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, call)
            try:
                writers.write(out, photograph_result())
            except OutputError:
                pass
            else:
                return
        yield


FILES = 14
"""4 maps, 4 masks, overlay, 3 of the page, CSV, JSON."""


def test_wherever_writing_stops_the_earlier_result_stays(tmp_path, monkeypatch):
    writers.write(tmp_path / "whole", photograph_result())
    out = tmp_path / "out"
    writers.write(out, photograph_result(format="tiff"))
    earlier = tree(out)

    count = 0
    for _ in stops(monkeypatch, out, os, "fsync"):
        count += 1
        assert tree(out) == earlier

    assert count == FILES + 1  # the JSON is written twice, for the order of the names
    assert tree(out) == tree(tmp_path / "whole")


def test_wherever_naming_stops_nothing_passes_for_a_result(tmp_path, monkeypatch):
    writers.write(tmp_path / "whole", photograph_result())
    out = tmp_path / "out"
    writers.write(out, photograph_result(format="tiff"))

    count = 0
    for _ in stops(monkeypatch, out, Path, "replace"):
        count += 1
        assert tree(out) == {}

    assert count == FILES
    assert tree(out) == tree(tmp_path / "whole")


def test_no_file_of_an_earlier_format_or_lesion_stays(tmp_path):
    write_all(tmp_path, format="tiff")
    decisions = {"MA": Decision(threshold=0.5, minimum_area=4)}

    writers.write(tmp_path, replace(photograph_result(), decisions=decisions))

    assert sorted(name for name in tree(tmp_path) if name.startswith("ma")) == [
        "maps/clinic/left_MA.png",
        "masks/clinic/left_MA.png",
    ]


def test_clearing_removes_only_the_files_of_that_photograph(tmp_path):
    for name in ("clinic/left", "clinic/left_EX", "clinic/left2"):
        writers.write(tmp_path, photograph_result(name))
    remaining = {
        name for name in tree(tmp_path) if "left_EX_" in name or "left_EX." in name or "left2" in name
    }
    remaining -= {"maps/clinic/left_EX.png", "masks/clinic/left_EX.png"}

    writers.clear(tmp_path, "clinic/left")

    assert set(tree(tmp_path)) == remaining


def test_the_json_is_removed_before_the_other_files(tmp_path, monkeypatch):
    write_all(tmp_path)
    removed = []
    monkeypatch.setattr(atomic_files, "remove", removed.append)

    writers.clear(tmp_path, "clinic/left")

    assert removed[0] == tmp_path / "regions/clinic/left.json"
    assert tmp_path / "maps/clinic/left_EX.png" in removed


def test_clearing_after_a_kill_removes_the_named_lesions(tmp_path):
    write_all(tmp_path)
    (tmp_path / "regions/clinic/left.json").unlink()

    writers.clear(tmp_path, "clinic/left", CODES)

    assert sorted(tree(tmp_path)) == ["index.html", "summary.csv"]
    writers.clear(tmp_path / "nothing", "clinic/left", CODES)


@pytest.mark.parametrize("name", ["../out", "a/../../b"])
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    with pytest.raises(OutputError):
        writers.write(tmp_path / "out", photograph_result(name))

    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_preparing_removes_what_a_killed_run_left(tmp_path):
    leftovers = [
        tmp_path / folder / ".foveate-0123456789abcdef.part" for folder in ("", "maps/clinic", "page")
    ]
    foreign = tmp_path / "notes" / ".foveate-0123456789abcdef.part"
    for path in (*leftovers, foreign):
        atomic_files.write_file(path, b"")

    writers.prepare(tmp_path)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [foreign]


def test_preparing_names_a_folder_that_cannot_be_created(tmp_path):
    (tmp_path / "out").write_bytes(b"")

    with pytest.raises(OutputError, match="out"):
        writers.prepare(tmp_path / "out")


@pytest.mark.parametrize("failing", ["display_pictures", "photograph_script"])
def test_without_a_file_of_the_page_there_is_no_json(tmp_path, monkeypatch, failing):
    def refuse(*_):
        raise OutputError("no room")

    monkeypatch.setattr(photograph_files.page, failing, refuse)
    writers.prepare(tmp_path)

    with pytest.raises(OutputError, match="no room"):
        writers.write(tmp_path, photograph_result())

    assert not (tmp_path / "regions/clinic/left.json").exists()
