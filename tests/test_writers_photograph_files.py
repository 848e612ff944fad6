"""One photograph's files belong together: complete or not there, and the same from run to run."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny_finding
from tiny_finding import CODES, SHAPE, finding, order, tree

from foveate import writers
from foveate.errors import LesionError, OutputError
from foveate.types import Box, Decision, Frame, Probabilities
from foveate.writers import files, maps, photograph_files

DIGEST = "cd" * 32


def lay(out, **changes):
    """Write the tiny photograph and the tables over it."""
    writers.prepare(out)
    row = writers.write(out, finding(**changes))
    writers.finish(out, [row], CODES, tiny_finding.MAKER)
    return row


def test_the_layout_is_the_documented_one(tmp_path):
    lay(tmp_path)

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
    lay(tmp_path, format=format)
    content = json.loads((tmp_path / "regions/clinic/left.json").read_bytes())

    for number, code in enumerate(CODES):
        entry = content["lesions"][code]
        stored = maps.decode((tmp_path / entry["map"]).read_bytes(), format)
        mask = maps.decode((tmp_path / entry["mask"]).read_bytes(), "png")
        np.testing.assert_array_equal(stored, maps.quantise(tiny_finding.maps()[number], format))
        np.testing.assert_array_equal(mask == 255, stored >= entry["stored_level"])
        assert entry["mask_px"] == (mask == 255).sum()


@pytest.mark.parametrize("format", maps.FORMATS)
def test_every_file_is_the_same_from_run_to_run(tmp_path, format):
    for folder in ("one", "two"):
        lay(tmp_path / folder, format=format)

    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_writing_again_changes_nothing(tmp_path):
    lay(tmp_path)
    before = tree(tmp_path)

    lay(tmp_path)

    assert tree(tmp_path) == before


def test_only_the_lesions_decided_on_are_written(tmp_path):
    chosen = replace(finding(), decisions={"HE": Decision(threshold=0.5, minimum_area=4)})

    row = writers.write(tmp_path, chosen)

    assert list(row.burdens) == ["HE"]
    assert [path.name for path in (tmp_path / "maps").rglob("*.png")] == ["left_HE.png"]


def test_a_decision_without_a_map_is_refused():
    with pytest.raises(LesionError, match="'XX' but no map"):
        replace(finding(), decisions={"XX": Decision(threshold=0.5, minimum_area=4)})


def test_a_map_at_another_scale_lands_where_the_photograph_shows_it(tmp_path):
    small = np.zeros((1, 40, 50), np.uint16)
    small[0, 10:15, 20:30] = 60_000
    coarse = Probabilities(
        lesions=("EX",),
        maps=small,
        frame=Frame(box=Box(top=20, left=30, bottom=100, right=130), shape=(40, 50)),
        shape=SHAPE,
    )

    writers.write(
        tmp_path,
        replace(finding(), probabilities=coarse, decisions={"EX": Decision(threshold=0.5, minimum_area=5)}),
    )

    content = json.loads((tmp_path / "regions/clinic/left.json").read_bytes())
    (region,) = content["regions"]
    assert region["centroid"] == {"x": 30 + 2 * 25.0, "y": 20 + 2 * 12.5}
    assert content["lesions"]["EX"]["minimum_area_px"] == 20
    assert content["looked_at"]["model_px_per_px"] == {"x": 0.5, "y": 0.5}


def test_the_earlier_row_is_the_one_that_was_written(tmp_path):
    row = lay(tmp_path)

    assert writers.earlier(tmp_path, order(), DIGEST) == row


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "right"},
        {"settings": {"region": "whole", "thresholds": {"EX": 0.5}}},
        {"format": "png16"},
        {"maker": replace(tiny_finding.MAKER, digest="ff" * 32)},
        {"maker": replace(tiny_finding.MAKER, version="2")},
    ],
)
def test_another_order_is_not_done_yet(tmp_path, changes):
    lay(tmp_path)

    assert writers.earlier(tmp_path, order(**changes), DIGEST) is None


def test_another_photograph_or_version_is_not_done_yet(tmp_path, monkeypatch):
    lay(tmp_path)

    assert writers.earlier(tmp_path, order(), "00" * 32) is None
    assert writers.earlier(tmp_path, order("clinic/right"), DIGEST) is None
    monkeypatch.setattr(photograph_files, "version", lambda: "99")
    assert writers.earlier(tmp_path, order(), DIGEST) is None


def test_a_result_that_lacks_any_file_is_not_done(tmp_path):
    lay(tmp_path)
    for path in [name for name in tree(tmp_path) if "/" in name]:
        kept = (tmp_path / path).read_bytes()
        (tmp_path / path).unlink()
        assert writers.earlier(tmp_path, order(), DIGEST) is None, path
        (tmp_path / path).write_bytes(kept)

    assert writers.earlier(tmp_path, order(), DIGEST) is not None


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"3", b"{}", b'{"lesions": 3}', b'{"photograph": {}}', b"\xff"]
)
def test_a_json_that_is_none_of_ours_counts_as_none(tmp_path, content):
    files.write(tmp_path / "regions" / "clinic" / "left.json", content)

    assert writers.earlier(tmp_path, order(), DIGEST) is None
    assert writers.others(tmp_path, order("x"), DIGEST) == ()
    writers.write(tmp_path, finding())
    assert writers.earlier(tmp_path, order(), DIGEST) is not None


def test_wherever_writing_stops_the_result_is_not_complete_and_the_next_run_mends_it(tmp_path, monkeypatch):
    lay(tmp_path / "whole")
    whole = tree(tmp_path / "whole")
    out = tmp_path / "out"
    count = 0
    lay(out)  # what is there already must not pass for the new one
    for stop in range(100):
        calls = iter(range(100))

        def write(path, content, calls=calls, stop=stop, real=files.write):
            if next(calls) == stop:
                raise OutputError("stop")
            real(path, content)

        with monkeypatch.context() as patch:
            patch.setattr(files, "write", write)
            try:
                writers.write(out, finding())
            except OutputError:
                count += 1
            else:
                break
        assert writers.earlier(out, order(), DIGEST) is None
        assert tree(out).items() <= whole.items()  # no part of a file, and none of another

    assert count == 14  # 4 maps, 4 masks, overlay, 3 of the page, CSV, JSON
    assert tree(out) == whole


def test_a_format_or_lesion_that_is_no_longer_wanted_leaves_no_file(tmp_path):
    lay(tmp_path, format="tiff")
    fewer = {"MA": Decision(threshold=0.5, minimum_area=4)}

    writers.write(tmp_path, replace(finding(), decisions=fewer))

    assert sorted(name for name in tree(tmp_path) if name.startswith("ma")) == [
        "maps/clinic/left_MA.png",
        "masks/clinic/left_MA.png",
    ]


def test_clearing_removes_one_photograph_and_no_other(tmp_path):
    for key in ("clinic/left", "clinic/left_EX", "clinic/left2"):
        writers.write(tmp_path, finding(key))
    others = {name for name in tree(tmp_path) if "left_EX_" in name or "left_EX." in name or "left2" in name}
    others -= {"maps/clinic/left_EX.png", "masks/clinic/left_EX.png"}

    writers.clear(tmp_path, "clinic/left")

    assert set(tree(tmp_path)) == others
    assert writers.earlier(tmp_path, order("clinic/left_EX"), DIGEST) is not None


def test_the_json_goes_before_what_it_vouches_for(tmp_path, monkeypatch):
    lay(tmp_path)
    gone = []
    monkeypatch.setattr(files, "remove", gone.append)

    writers.clear(tmp_path, "clinic/left")

    assert gone[0] == tmp_path / "regions/clinic/left.json"
    assert tmp_path / "maps/clinic/left_EX.png" in gone


def test_clearing_after_a_kill_takes_the_lesions_named(tmp_path):
    lay(tmp_path)
    (tmp_path / "regions/clinic/left.json").unlink()

    writers.clear(tmp_path, "clinic/left", CODES)

    assert sorted(tree(tmp_path)) == ["index.html", "summary.csv"]
    writers.clear(tmp_path / "nothing", "clinic/left", CODES)


def test_the_others_are_all_but_this_one(tmp_path):
    rows = [writers.write(tmp_path, finding(key)) for key in ("b", "a.jpg", "clinic/c")]

    assert writers.others(tmp_path, order("b"), DIGEST) == (rows[1], rows[2])
    assert writers.others(tmp_path, order("new"), DIGEST) == (rows[1], rows[0], rows[2])
    assert writers.others(tmp_path / "nothing", order("new"), DIGEST) == ()


def test_results_that_do_not_belong_into_one_table_are_refused(tmp_path):
    writers.write(tmp_path, finding("a"))

    with pytest.raises(OutputError, match=r"a\.json: made by another model or with other settings"):
        writers.others(tmp_path, order("b", format="npz"), DIGEST)
    with pytest.raises(OutputError, match=r"a\.json: belongs to another photograph"):
        writers.others(tmp_path, order("a"), "00" * 32)
    assert writers.others(tmp_path, order("a", format="npz"), DIGEST) == ()  # about to be replaced


@pytest.mark.parametrize("key", ["../out", "a/../../b"])
def test_no_name_leads_out_of_the_folder(tmp_path, key):
    with pytest.raises(OutputError):
        writers.write(tmp_path / "out", finding(key))

    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_preparing_sweeps_what_a_killed_run_left(tmp_path):
    left = [tmp_path / folder / ".foveate-0123456789abcdef.part" for folder in ("", "maps/clinic", "page")]
    theirs = tmp_path / "notes" / ".foveate-0123456789abcdef.part"
    for path in (*left, theirs):
        files.write(path, b"")

    writers.prepare(tmp_path)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [theirs]


def test_preparing_names_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "out").write_bytes(b"")

    with pytest.raises(OutputError, match="out"):
        writers.prepare(tmp_path / "out")
