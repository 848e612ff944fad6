"""Maps of any system are read as they are, or refused in one line; what is scored is what was asked for."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_package
from PIL import Image

from foveate import photographs
from foveate.datasets import Case, layouts
from foveate.errors import DatasetError, LesionError, SettingError
from foveate.evaluation import selection, sources
from foveate.evaluation.selection import Selection
from foveate.inference.prepared_canvas import prepare_canvas
from foveate.inference.settings import DEFAULTS
from foveate.models import Package
from foveate.types import Decision
from foveate.writers import maps

SHAPE = (5, 7)

STORED = {
    "map.png": np.arange(35, dtype=np.uint8).reshape(SHAPE),
    "map16.png": 1000 * np.arange(35, dtype=np.uint16).reshape(SHAPE),
    "map.tif": 1000 * np.arange(35, dtype=np.uint16).reshape(SHAPE),
    "float.tiff": np.arange(35, dtype=np.float32).reshape(SHAPE) / 34,
    "map.npy": np.arange(35, dtype=np.float64).reshape(SHAPE) / 34,
    "mask.npy": np.eye(5, 7, dtype=bool),
    "map.npz": np.arange(35, dtype=np.uint16).reshape(SHAPE),
}


def save(path, array):
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, probability=array)
    else:
        assert cv2.imwrite(str(path), array)
    return path


@pytest.mark.parametrize("name", STORED)
def test_a_map_of_every_kind_is_read_as_it_was_written(tmp_path, name):
    stored = sources.read_map(save(tmp_path / name, STORED[name]), SHAPE)

    assert stored.dtype == STORED[name].dtype
    np.testing.assert_array_equal(stored, STORED[name])


def test_16_bit_levels_of_which_0_is_white_are_inverted(tmp_path):
    for name, meaning in (("white.tif", 0), ("black.tif", 1)):
        stored = Image.fromarray(STORED["map.tif"])  # Pillow writes 16 bits as they are
        stored.save(tmp_path / name, tiffinfo={sources.PHOTOMETRIC: meaning})

    white, black = (sources.read_map(tmp_path / name, SHAPE) for name in ("white.tif", "black.tif"))

    np.testing.assert_array_equal(black, STORED["map.tif"])
    np.testing.assert_array_equal(white, 65535 - STORED["map.tif"])


@pytest.mark.parametrize("format", maps.FORMATS)
def test_maps_that_predict_wrote_are_read_unchanged(tmp_path, format):
    stored = maps.quantise(1000 * np.arange(35, dtype=np.uint16).reshape(SHAPE), format)
    path = tmp_path / f"map{maps.SUFFIX[format]}"
    path.write_bytes(maps.encode(stored, format))

    np.testing.assert_array_equal(sources.read_map(path, SHAPE), stored)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("a.npy", np.full(SHAPE, np.nan), "has values from nan to nan"),
        ("a.npy", np.full(SHAPE, 1.5), r"has values from 1\.5 to 1\.5"),
        ("a.npy", np.full(SHAPE, -0.1), r"has values from -0\.1"),
        (
            "a.npy",
            np.nextafter(np.full(SHAPE, 1, np.float32), np.float32(2)),
            r"to 1\.0000001; .*clipped to 0 to 1",
        ),
        ("a.npy", np.zeros(SHAPE, np.int64), "the map is int64"),
        ("a.npy", np.zeros((4, 7)), "the map has 4 x 7 px, its photograph 5 x 7 px"),
        ("a.png", np.zeros((*SHAPE, 3), np.uint8), "the map has 5 x 7 x 3 px"),
    ],
)
def test_what_is_no_map_of_the_photograph_is_refused_by_name(tmp_path, name, array, message):
    path = save(tmp_path / name, array)

    with pytest.raises(DatasetError, match=message) as raised:
        sources.read_map(path, SHAPE)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy", "a.npz"])
@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_damaged_map_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DatasetError, match="unreadable map"):
        sources.read_map(tmp_path / name, SHAPE)


def damaged_archives(folder):
    """Return a content for each exception that damaged NumPy files raise beside those of Python's files."""
    np.savez(folder / "empty.npz")
    np.savez_compressed(folder / "whole.npz", probability=np.random.default_rng(0).random(SHAPE))
    whole = (folder / "whole.npz").read_bytes()
    directory = whole.index(b"PK\1\2")
    start = whole.index(b"probability.npy") + len(b"probability.npy") + 20  # after zip64's extra field
    yield "empty.npz", (folder / "empty.npz").read_bytes()  # IndexError
    yield "deflate.npz", whole[:start] + b"\xff" * 20 + whole[start + 20 :]  # zlib.error
    yield "method.npz", whole[: directory + 10] + b"\x63" + whole[directory + 11 :]  # NotImplementedError
    yield "encrypted.npz", whole[: directory + 8] + b"\1" + whole[directory + 9 :]  # RuntimeError
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (5, 7"
    yield "header.npy", b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header  # TokenError
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999, 99999, 999), }\n"
    yield "huge.npy", b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + bytes(99)  # MemoryError


def test_a_damaged_archive_is_refused(tmp_path):
    for name, content in damaged_archives(tmp_path):
        (tmp_path / name).write_bytes(content)

        with pytest.raises(DatasetError, match=f"{name}: unreadable map"):
            sources.read_map(tmp_path / name, SHAPE)


def test_memory_that_runs_out_is_said_of_the_map_that_it_was_too_small_for(tmp_path, monkeypatch):
    save(tmp_path / "a.npy", np.zeros(SHAPE, np.uint8))

    def run_out(*_, **__):
        raise MemoryError

    monkeypatch.setattr(np, "load", run_out)
    with pytest.raises(
        DatasetError, match=r"a\.npy: unreadable map \(MemoryError\); free some memory, or wr"
    ):
        sources.read_map(tmp_path / "a.npy", SHAPE)


def test_an_npz_of_several_arrays_needs_one_called_probability(tmp_path):
    np.savez(tmp_path / "a.npz", one=np.zeros(SHAPE), other=np.zeros(SHAPE))

    with pytest.raises(DatasetError, match="unreadable map"):
        sources.read_map(tmp_path / "a.npz", SHAPE)


def test_two_maps_of_one_name_are_refused(tmp_path):
    for name in ("eye_EX.png", "eye_EX.npy"):
        save(tmp_path / name, np.zeros(SHAPE, np.uint8))
    with pytest.raises(DatasetError, match=r"eye_EX\.png and eye_EX\.npy are maps of the same"):
        sources.require_maps(tmp_path, [case("eye")], ["EX"])


def test_maps_are_required_of_each_photograph_and_of_what_it_was_annotated_for(tmp_path):
    cases = [case("first"), case("second", ("EX",))]
    for name in ("first_EX", "first_MA", "second_EX"):
        save(tmp_path / f"{name}.png", np.zeros(SHAPE, np.uint8))

    sources.require_maps(tmp_path, cases, ["EX", "MA"])
    with pytest.raises(DatasetError, match=r"there is no map second_MA \(\.png, "):
        sources.require_maps(tmp_path, [cases[0], case("second")], ["EX", "MA"])


def test_a_folder_of_maps_is_listed_once(tmp_path, monkeypatch):
    cases = [case(f"eye{number}") for number in range(3)]
    for each in cases:
        save(tmp_path / f"{each.name}_EX.png", np.zeros(SHAPE, np.uint8))
    listed = []
    real = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: listed.append(path) or real(path))

    sources.require_maps(tmp_path, cases, ["EX"])

    assert listed == [tmp_path]


WHOLE = (256, 260)
"""Of a photograph: smaller ones are refused."""


@pytest.fixture
def nested(tmp_path):
    """One case of a photograph in a folder of its own, P1/p_0, as layouts with such folders list it."""
    path = tmp_path / "set" / "images" / "P1" / "p_0.png"
    path.parent.mkdir(parents=True)
    assert cv2.imwrite(str(path), np.zeros((*WHOLE, 3), np.uint8))
    return Case(name="P1_p_0", photograph=path, masks={})


@pytest.mark.parametrize("name", ["P1_p_0_EX.npy", "P1/p_0_EX.npy", "images/P1/p_0_EX.npy"])
def test_maps_of_a_photograph_in_a_folder_are_found_flat_and_as_predict_writes_them(tmp_path, nested, name):
    (tmp_path / "maps" / name).parent.mkdir(parents=True)
    save(tmp_path / "maps" / name, np.eye(*WHOLE))

    maps_of_case = sources.maps_from_folder(tmp_path / "maps")(nested)

    np.testing.assert_array_equal(maps_of_case.load_map("EX"), np.eye(*WHOLE))


def test_a_map_that_is_there_both_flat_and_in_a_folder_is_refused(tmp_path, nested):
    (tmp_path / "maps" / "P1").mkdir(parents=True)
    for name in ("P1_p_0_EX.npy", "P1/p_0_EX.png"):
        save(tmp_path / "maps" / name, np.zeros(WHOLE, np.uint8))
    maps_of_case = sources.maps_from_folder(tmp_path / "maps")(nested)

    with pytest.raises(DatasetError, match=r"P1_p_0_EX\.npy and P1/p_0_EX\.png are maps of the same"):
        maps_of_case.load_map("EX")
    save(tmp_path / "maps" / "p_0_MA.npy", np.zeros(WHOLE))  # whose p_0?
    with pytest.raises(DatasetError, match=r"no map P1_p_0_MA or P1/p_0_MA \("):
        maps_of_case.load_map("MA")


def test_seams_are_measured_exactly_where_the_canvas_is_inside_the_field(tmp_path):
    path = tiny_package.photograph(tmp_path / "eye.png", diameter=170, border=60)
    model = tiny_package.fake()  # of a field of 240 px: the canvas is resampled
    canvas = prepare_canvas(photographs.read(path), model.contract)

    source = sources.maps_from_model(model, tiny_package.Red(), DEFAULTS)
    _, border_pairs, _, other_pairs = source(Case(name="eye", photograph=path, masks={})).measure_seams("EX")

    assert canvas.frame.shape != canvas.frame.box.shape
    pairs = sum((inside[1:] & inside[:-1]).sum() for inside in (canvas.inside, canvas.inside.T))
    assert border_pairs + other_pairs == pairs


# selection of lesions and photographs


def case(name, annotated=None):
    return Case(name=name, photograph=Path(__file__), masks={}, annotated=annotated)


def package(*lesions):
    return Package(
        folder=Path(),
        name="tiny",
        version="0",
        contract=replace(tiny_package.CONTRACT, lesions=lesions),
        decisions={code: Decision(threshold=0.3, minimum_area=1) for code in lesions},
        digest="",
        manifest={},
    )


def test_maps_are_scored_for_all_lesions_of_the_set_from_one_half_on():
    scored = selection.select_lesions(layouts.IDRID, [case("a")], None, Selection(thresholds={"MA": 0.2}))

    assert scored.thresholds == {"EX": 0.5, "MA": 0.2, "HE": 0.5, "SE": 0.5}
    assert not scored.left_out


def test_a_model_has_its_own_thresholds_and_what_only_one_side_knows_is_left_out():
    scored = selection.select_lesions(
        layouts.IDRID, [case("a")], package("MA", "XY", "EX"), Selection(thresholds={})
    )

    assert scored.thresholds == {"MA": 0.3, "EX": 0.3}
    assert list(scored.thresholds) == ["MA", "EX"]
    assert set(scored.left_out) == {"HE", "SE", "XY"}
    with pytest.raises(LesionError, match="the set is not annotated for it"):
        selection.select_lesions(
            layouts.IDRID, [case("a")], package("XY", "EX"), Selection(lesions=("XY",), thresholds={})
        )


def test_lesions_that_no_photograph_was_looked_through_for_are_not_scored():
    scored = selection.select_lesions(layouts.IDRID, [case("a", ("MA",))], None, Selection(thresholds={}))

    assert list(scored.thresholds) == ["MA"]


@pytest.mark.parametrize(
    ("choice", "error", "message"),
    [
        (Selection(lesions=("XX",), thresholds={}), LesionError, "XX"),
        (
            Selection(lesions=("EX",), thresholds={"MA": 0.5}),
            SettingError,
            "MA, which is not among the scored lesions: EX",
        ),
        (Selection(thresholds={"MA": 0.0}), SettingError, "MA=0"),
    ],
)
def test_a_selection_that_cannot_be_scored_is_refused_by_name(choice, error, message):
    with pytest.raises(error, match=message):
        selection.select_lesions(layouts.IDRID, [case("a")], None, choice)


@pytest.fixture
def data(tmp_path):
    """A set of three photographs, names only."""
    base = tmp_path / "A. Segmentation"
    for part, names in (("a. Training Set", ("e1", "e2")), ("b. Testing Set", ("e3",))):
        folder = base / "1. Original Images" / part
        folder.mkdir(parents=True)
        for name in names:
            (folder / f"{name}.jpg").write_bytes(b"")
        (base / "2. All Segmentation Groundtruths" / part / "3. Hard Exudates").mkdir(parents=True)
    return tmp_path


def test_a_split_is_named_or_a_file_or_a_fold_of_one(data, tmp_path):
    file = tmp_path / "folds.json"
    file.write_text(json.dumps({"folds": {"e1": 0, "e3": 1}}))

    def names(split):
        return [one.name for one in selection.select_cases(data, layouts.IDRID, split)]

    assert names("train") == ["e1", "e2"]
    assert names("test") == ["e3"]
    assert names(str(file)) == ["e1", "e3"]
    assert names(f"{file}:1") == ["e3"]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("nope", "split 'nope' is neither a split of idrid nor a file; choose one of train, test"),
        ("FILE:7", "fold 7 has no photograph"),
    ],
)
def test_a_split_that_is_not_there_is_named(data, tmp_path, split, message):
    file = tmp_path / "folds.json"
    file.write_text(json.dumps({"folds": {"e1": 0}}))

    with pytest.raises(DatasetError, match=message):
        selection.select_cases(data, layouts.IDRID, split.replace("FILE", str(file)))


def test_a_photograph_of_the_file_that_the_set_has_not_is_named(data, tmp_path):
    file = tmp_path / "folds.json"
    file.write_text(json.dumps({"folds": {"gone": 0}}))

    with pytest.raises(DatasetError, match="photograph gone of the split is not in the set"):
        selection.select_cases(data, layouts.IDRID, str(file))
