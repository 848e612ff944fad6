"""One photograph's files are complete or count as missing, and are the same from run to run."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_result
from tiny_result import CODES, SHAPE, photograph_result, predict_request, tree

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


def test_the_reusable_row_is_the_row_that_was_written(tmp_path):
    row = write_all(tmp_path)

    assert writers.reusable_row(tmp_path, predict_request(), DIGEST) == row


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "right"},
        {"settings": {"region": "whole", "thresholds": {"EX": 0.5}}},
        {"format": "png16"},
        {"provenance": replace(tiny_result.PROVENANCE, digest="ff" * 32)},
        {"provenance": replace(tiny_result.PROVENANCE, version="2")},
    ],
)
def test_a_result_of_another_request_is_not_reusable(tmp_path, changes):
    write_all(tmp_path)

    assert writers.reusable_row(tmp_path, predict_request(**changes), DIGEST) is None


def test_a_result_of_another_photograph_or_version_is_not_reusable(tmp_path, monkeypatch):
    write_all(tmp_path)

    assert writers.reusable_row(tmp_path, predict_request(), "00" * 32) is None
    assert writers.reusable_row(tmp_path, predict_request("clinic/right"), DIGEST) is None
    monkeypatch.setattr(photograph_files, "version", lambda: "99")
    assert writers.reusable_row(tmp_path, predict_request(), DIGEST) is None


def test_a_result_that_lacks_any_file_is_not_reusable(tmp_path):
    write_all(tmp_path)
    for path in [name for name in tree(tmp_path) if "/" in name]:
        content = (tmp_path / path).read_bytes()
        (tmp_path / path).unlink()
        assert writers.reusable_row(tmp_path, predict_request(), DIGEST) is None, path
        (tmp_path / path).write_bytes(content)

    assert writers.reusable_row(tmp_path, predict_request(), DIGEST) is not None


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"3", b"{}", b'{"lesions": 3}', b'{"photograph": {}}', b"\xff"]
)
def test_a_foreign_json_file_counts_as_no_result(tmp_path, content):
    atomic_files.write_file(tmp_path / "regions" / "clinic" / "left.json", content)

    assert writers.reusable_row(tmp_path, predict_request(), DIGEST) is None
    assert writers.existing_rows(tmp_path, predict_request("x"), DIGEST) == ()
    writers.write(tmp_path, photograph_result())
    assert writers.reusable_row(tmp_path, predict_request(), DIGEST) is not None


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
    for key in ("clinic/left", "clinic/left_EX", "clinic/left2"):
        writers.write(tmp_path, photograph_result(key))
    remaining = {
        name for name in tree(tmp_path) if "left_EX_" in name or "left_EX." in name or "left2" in name
    }
    remaining -= {"maps/clinic/left_EX.png", "masks/clinic/left_EX.png"}

    writers.clear(tmp_path, "clinic/left")

    assert set(tree(tmp_path)) == remaining
    assert writers.reusable_row(tmp_path, predict_request("clinic/left_EX"), DIGEST) is not None


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


def test_the_existing_rows_are_those_of_all_other_photographs(tmp_path):
    rows = [writers.write(tmp_path, photograph_result(key)) for key in ("b", "a.jpg", "clinic/c")]

    assert writers.existing_rows(tmp_path, predict_request("b"), DIGEST) == (rows[1], rows[2])
    assert writers.existing_rows(tmp_path, predict_request("new"), DIGEST) == (rows[1], rows[0], rows[2])
    assert writers.existing_rows(tmp_path / "nothing", predict_request("new"), DIGEST) == ()


def test_an_existing_result_is_read_again_only_if_its_file_has_changed(tmp_path, monkeypatch):
    first, second = (writers.write(tmp_path, photograph_result(key)) for key in ("a", "b"))
    assert writers.existing_rows(tmp_path, predict_request("c"), DIGEST) == (first, second)
    parse, parsed = photograph_files._parse_json, []
    monkeypatch.setattr(photograph_files, "_parse_json", lambda text: parsed.append(text) or parse(text))

    assert writers.existing_rows(tmp_path, predict_request("c"), DIGEST) == (first, second)
    assert parsed == []

    path = tmp_path / "regions" / "b.json"
    atomic_files.write_file(path, path.read_bytes().replace(DIGEST.encode(), b"ef" * 32))
    changed = replace(second, digest="ef" * 32)
    assert writers.existing_rows(tmp_path, predict_request("c"), DIGEST) == (first, changed)
    assert parsed == [path.read_bytes()]


def test_results_that_do_not_belong_into_one_table_are_refused(tmp_path):
    writers.write(tmp_path, photograph_result("a"))

    with pytest.raises(OutputError, match=r"a\.json: was made by another model or with other settings"):
        writers.existing_rows(tmp_path, predict_request("b", format="npz"), DIGEST)
    with pytest.raises(OutputError, match=r"a\.json: belongs to another photograph"):
        writers.existing_rows(tmp_path, predict_request("a"), "00" * 32)
    assert (
        writers.existing_rows(tmp_path, predict_request("a", format="npz"), DIGEST) == ()
    )  # about to be replaced


@pytest.mark.parametrize("key", ["../out", "a/../../b"])
def test_no_name_leads_out_of_the_folder(tmp_path, key):
    with pytest.raises(OutputError):
        writers.write(tmp_path / "out", photograph_result(key))

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
