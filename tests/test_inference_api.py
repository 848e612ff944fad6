"""Three lines of Python give the same results as the command line, bit for bit."""

import base64
import csv
import importlib.util
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_package

import foveate
from foveate import photographs
from foveate.errors import LesionError, OutputError, PackageError, SettingError
from foveate.inference import photograph_job
from foveate.inference.settings import Settings
from foveate.writers import tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_package.build(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def model(folder):
    return foveate.load(folder, threads=1)


@pytest.fixture(scope="module")
def eye(tmp_path_factory):
    return tiny_package.photograph(tmp_path_factory.mktemp("photographs") / "eye.png", seed=3)


@pytest.fixture(scope="module")
def result(model, eye):
    return model.segment(foveate.read(eye))


def files_of(out):
    """Return every file of a folder, by its relative path, and its bytes."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_three_lines_write_what_predict_writes(folder, eye, tmp_path):
    model = foveate.load(folder, threads=1)
    result = model.segment(foveate.read(eye))
    result.save(tmp_path / "out")

    model.predict([eye], tmp_path / "predicted")

    predicted = files_of(tmp_path / "predicted")
    del predicted["run.json"]  # times; there was no run
    assert files_of(tmp_path / "out") == predicted


@pytest.mark.parametrize(
    ("format", "suffix"), [("png", "png"), ("png16", "png"), ("tiff", "tiff"), ("npz", "npz")]
)
def test_maps_and_masks_are_those_of_the_files(result, tmp_path, format, suffix):
    result.save(tmp_path, format=format)

    for code in result.lesions:
        path = tmp_path / f"maps/eye_{code}.{suffix}"
        if format == "npz":
            stored = np.load(path)["probability"]
        else:
            stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        probabilities = result.map(code, format=format)
        np.testing.assert_array_equal(probabilities, stored / np.float32(np.iinfo(stored.dtype).max))
        mask = cv2.imread(str(tmp_path / f"masks/eye_{code}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(result.mask(code, format=format), mask == 255)
        np.testing.assert_array_equal(result.mask(code, format=format), probabilities >= 0.5)


def test_a_pixel_exactly_at_the_threshold_is_lesion(model, eye, result):
    levels, counts = np.unique(np.round(result.map("EX") * 255).astype(int), return_counts=True)
    level = int(levels[np.argmax(np.where(levels > 0, counts, 0))])  # the most frequent level

    at = model.segment(foveate.read(eye), thresholds={"EX": level / 255})
    above = model.segment(foveate.read(eye), thresholds={"EX": (level + 0.5) / 255})

    assert at.mask("EX").sum() - above.mask("EX").sum() == counts.max(where=levels > 0, initial=0) > 0
    assert sum(region.area_px for region in at.regions if region.lesion == "EX") <= at.mask("EX").sum()


def test_regions_are_those_of_the_table(result, tmp_path):
    result.save(tmp_path)

    with (tmp_path / "regions/eye.csv").open(newline="") as file:
        listed = [(row["lesion"], int(row["id"]), int(row["area_px"])) for row in csv.DictReader(file)]
    assert [(region.lesion, region.id, region.area_px) for region in result.regions] == listed
    assert {"EX"} <= {lesion for lesion, _, _ in listed}
    assert result.regions is result.regions  # computed once


def test_chosen_settings_take_effect(model, eye):
    chosen = model.segment(foveate.read(eye), part="whole", lesions=["EX"], thresholds={"EX": 0.9})

    assert chosen.lesions == ("EX",)
    assert chosen.decisions["EX"].threshold == 0.9
    assert chosen.segmentation.settings == Settings(part="whole", lesions=("EX",), thresholds={"EX": 0.9})
    assert chosen.mask("EX").sum() <= model.segment(foveate.read(eye)).mask("EX").sum()
    with pytest.raises(LesionError, match="'MA' has no map"):
        chosen.map("MA")
    with pytest.raises(LesionError, match="'MA' has no map"):
        chosen.mask("MA")


def test_a_given_field_is_used(model, eye):
    result = model.segment(foveate.read(eye), field=(128.0, 128.0, 100.0))

    assert (result.field.centre, result.field.radius) == ((128.0, 128.0), 100.0)
    assert not result.map("EX")[:27].any()
    assert result.quality == result.segmentation.quality


def test_results_of_one_model_and_setting_may_share_a_folder(model, eye, tmp_path):
    for seed, name in ((5, "b"), (6, "a")):
        path = tiny_package.photograph(tmp_path / f"{name}.png", seed=seed)
        model.segment(foveate.read(path)).save(tmp_path / "out")

    with (tmp_path / "out" / "summary.csv").open(newline="") as file:
        assert [row["photograph"] for row in csv.DictReader(file)] == ["a", "b"]


def test_saved_results_are_not_listed_as_photographs(result, tmp_path):
    clinic = tmp_path / "clinic"
    tiny_package.photograph(clinic / "left.png", seed=1)
    (clinic / "index.html").write_text("<title>My clinic</title>")  # not ours
    result.save(clinic / "out")

    listed = photographs.list_files([str(clinic)])

    assert [file.name for file in listed.photographs] == ["left"]
    assert listed.result_folders == 1


def test_saving_twice_gives_the_same_files_as_saving_once(result, tmp_path):
    result.save(tmp_path)
    before = files_of(tmp_path)

    result.save(tmp_path)

    assert files_of(tmp_path) == before


def make_at_once(monkeypatch, count):
    """Let each of several threads wait until all have made their files, before one has been renamed."""
    all_made = threading.Barrier(count, timeout=60)
    to_json = tables.to_json

    def make(content):
        all_made.wait()
        return to_json(content)

    monkeypatch.setattr(tables, "to_json", make)


def test_several_threads_may_save_into_one_folder(model, tmp_path, monkeypatch):
    results = [model.segment(foveate.from_array(tiny_package.fundus(seed=seed))) for seed in range(3)]
    names = ("a", "b", "c")
    make_at_once(monkeypatch, 3)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda result, name: result.save(tmp_path, name=name), results, names))

    with (tmp_path / "summary.csv").open(newline="") as file:
        assert [row["photograph"] for row in csv.DictReader(file)] == list(names)
    assert all(f"overlays/{name}.jpg" in (tmp_path / "index.html").read_text() for name in names)


def test_two_photographs_of_one_name_saved_at_the_same_time_do_not_mix(model, tmp_path, monkeypatch):
    results = [model.segment(foveate.from_array(tiny_package.fundus(seed=seed))) for seed in range(2)]
    for number, result in enumerate(results):
        result.save(tmp_path / f"{number}", name="eye")

    def save(result):
        try:
            return result.save(tmp_path / "both", name="eye").digest
        except OutputError as error:
            return str(error)

    with monkeypatch.context() as patch, ThreadPoolExecutor(2) as pool:
        make_at_once(patch, 2)
        outcomes = list(pool.map(save, results))

    (saved,) = (
        number for number in range(2) if outcomes[number] == results[number].segmentation.photograph.digest
    )
    assert "eye.json: belongs to another photograph; choose another name" in outcomes[1 - saved]
    assert files_of(tmp_path / "both") == files_of(tmp_path / f"{saved}")


def test_a_result_that_cannot_be_made_leaves_the_files_that_another_is_naming(model, tmp_path, monkeypatch):
    first, second = (model.segment(foveate.from_array(tiny_package.fundus(seed=seed))) for seed in range(2))
    first.save(tmp_path / "alone", name="eye")
    replace = Path.replace

    def refuse(content):
        raise OutputError("the disk is full; free some space")

    def replace_after_another_failed(path, target):
        if Path(target).name == "eye.json":  # all other files of the first have their names
            with monkeypatch.context() as patch:
                patch.setattr(tables, "to_csv", refuse)
                with pytest.raises(OutputError, match="the disk is full"):
                    second.save(tmp_path / "out", name="eye")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", replace_after_another_failed)
    first.save(tmp_path / "out", name="eye")

    assert files_of(tmp_path / "out") == files_of(tmp_path / "alone")


def test_a_result_with_other_settings_saved_meanwhile_is_not_mixed_in(
    model, eye, result, tmp_path, monkeypatch
):
    other = model.segment(foveate.read(eye), thresholds={"MA": 0.25})
    save = photograph_job.save

    def save_after_another(*arguments, **settings):
        monkeypatch.undo()
        other.save(tmp_path, name="b")
        return save(*arguments, **settings)

    monkeypatch.setattr(photograph_job, "save", save_after_another)
    with pytest.raises(OutputError, match="with other settings"):
        result.save(tmp_path, name="a")

    assert not list(tmp_path.rglob("a*.json"))
    assert not list(tmp_path.rglob("a_*"))
    assert "b,ok" in (tmp_path / "summary.csv").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks of folders")
def test_several_processes_may_save_into_one_folder(result, tmp_path):
    result.save(tmp_path, name="a")
    code = (
        "import sys, time, pathlib\nfrom foveate import atomic_files\n"
        "with atomic_files.exclusive(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with ThreadPoolExecutor(1) as pool:
            saving = pool.submit(result.save, tmp_path, name="b")
            deadline = time.monotonic() + 60
            while not any(tmp_path.rglob(".foveate-*.part")) and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.5)
            present = (tmp_path / "regions/b.json").exists()
            summary = (tmp_path / "summary.csv").read_text()
            other.stdin.close()
            saving.result(60)

    assert not present  # it waits for the other process
    assert "b," not in summary
    assert "b,ok" in (tmp_path / "summary.csv").read_text()


def test_saving_removes_unfinished_files_only_if_they_are_old(result, tmp_path):
    fresh, old = (tmp_path / "maps" / f".foveate-{digit * 16}.part" for digit in "ab")
    fresh.parent.mkdir()
    for path in (fresh, old):
        path.write_bytes(b"")
    os.utime(old, (1, 1))

    result.save(tmp_path)

    assert fresh.exists()  # another process may be writing it
    assert not old.exists()


def test_a_result_that_cannot_be_saved_again_stays_as_it_is(result, tmp_path, monkeypatch):
    result.save(tmp_path)
    before = files_of(tmp_path)

    def refuse(content):
        raise OutputError("the disk is full; free some space")

    monkeypatch.setattr(tables, "to_csv", refuse)
    with pytest.raises(OutputError, match="the disk is full"):
        result.save(tmp_path)

    assert files_of(tmp_path) == before


@pytest.mark.parametrize("stem", ["x" * 246, "ü" * 122])
def test_a_long_name_is_shortened_as_predict_shortens_it(model, eye, tmp_path, stem):
    path = tmp_path / "in" / f"{stem}.png"
    path.parent.mkdir()
    path.write_bytes(eye.read_bytes())

    model.segment(foveate.read(path)).save(tmp_path / "out")

    model.predict(path, tmp_path / "predicted")
    assert files_of(tmp_path / "out").keys() == files_of(tmp_path / "predicted").keys() - {"run.json"}


def test_a_file_of_any_suffix_has_the_name_that_predict_gives_it(model, eye, tmp_path):
    path = tmp_path / "1.2.840.5"
    path.write_bytes(eye.read_bytes())

    row = model.segment(foveate.read(path)).save(tmp_path / "out")

    assert row.name == model.predict(path, tmp_path / "predicted").rows[0].name == "1.2.840.5"


@pytest.mark.parametrize(
    ("source", "name"), [("visit 1.1", "visit 1.1"), ("OD/2024.05", "2024.05"), ("left.JPG", "left")]
)
def test_only_the_suffix_of_a_photograph_is_left_out_of_its_name(model, result, tmp_path, source, name):
    pixels = result.segmentation.photograph.pixels

    row = model.segment(foveate.from_array(pixels, source=source)).save(tmp_path)

    assert row.name == name


def test_nothing_is_saved_into_the_folder_of_a_run(model, result, eye, tmp_path):
    model.predict(eye, tmp_path)
    before = files_of(tmp_path)

    with pytest.raises(
        OutputError, match=r"holds a run of predict, which --resume continues; choose another"
    ):
        result.save(tmp_path, name="other")

    assert files_of(tmp_path) == before


def test_nothing_is_written_into_the_folder_of_a_run_of_workers(model, result, eye, tmp_path):
    (tmp_path / "manifest").mkdir()
    (tmp_path / "manifest" / "order.json").write_text('{"foveate": "0.1.0"}')
    before = files_of(tmp_path)

    with pytest.raises(OutputError, match="holds a run of predict, which --resume continues; choose another"):
        result.save(tmp_path)
    for resume in (False, True):
        with pytest.raises(OutputError, match="holds an unfinished run of workers; resume it with --on"):
            model.predict(eye, tmp_path, resume=resume)

    assert files_of(tmp_path) == before


def test_a_run_that_begins_while_a_result_is_made_is_not_mixed_with_it(result, tmp_path, monkeypatch):
    real = tables.to_json

    def to_json(content):
        (tmp_path / "run.json").write_text('{"foveate": "0.1.0"}')
        return real(content)

    monkeypatch.setattr(tables, "to_json", to_json)
    with pytest.raises(OutputError, match="holds a run of predict, which --resume continues; choose another"):
        result.save(tmp_path)

    assert set(files_of(tmp_path)) == {"run.json"}


def test_photographs_are_listed_once_for_a_single_worker(model, eye, tmp_path, monkeypatch):
    list_files, listed = photographs.list_files, []

    def count(paths, **options):
        listed.append(paths)
        return list_files(paths, **options)

    monkeypatch.setattr(photographs, "list_files", count)
    model.predict(eye, tmp_path)

    assert listed == [[str(eye)]]


def test_results_that_do_not_belong_together_are_not_mixed(model, result, eye, tmp_path):
    result.save(tmp_path / "out")
    before = files_of(tmp_path / "out")
    path = tiny_package.photograph(tmp_path / "other" / "eye.png", seed=8)

    with pytest.raises(OutputError, match="belongs to another photograph"):
        model.segment(foveate.read(path)).save(tmp_path / "out")
    with pytest.raises(OutputError, match="by another model or with other settings"):
        model.segment(foveate.read(path), lesions=["EX"]).save(tmp_path / "out", name="other")

    assert files_of(tmp_path / "out") == before
    model.segment(foveate.read(path)).save(tmp_path / "out", name="clinic/eye")
    assert files_of(tmp_path / "out").keys() > before.keys()


def test_the_frames_of_a_dicom_object_are_saved_side_by_side_as_predict_names_them(model, tmp_path):
    tiny_dicom = pytest.importorskip("tiny_dicom", reason="needs foveate[dicom]")
    frames = np.stack([tiny_package.fundus(seed=1), tiny_package.fundus(seed=2)])
    path = tiny_dicom.save(tiny_dicom.op(frames), tmp_path / "pair.dcm")
    results = [model.segment(foveate.read(path, frame=frame)) for frame in (1, 2)]

    rows = [result.save(tmp_path / "out") for result in results]

    assert [row.name for row in rows] == ["pair_frame-1", "pair_frame-2"]
    with (tmp_path / "out" / "summary.csv").open(newline="") as file:
        areas = [int(row["EX_area_px"]) for row in csv.DictReader(file)]
    assert areas == [row.loads["EX"].area_px for row in rows]
    results[0].save(tmp_path / "named", name="eye")
    with pytest.raises(OutputError, match="belongs to another photograph"):
        results[1].save(tmp_path / "named", name="eye")


def test_a_single_path_and_a_single_lesion_need_no_list(model, eye, tmp_path):
    report = model.predict(eye, tmp_path / "out")

    assert [row.name for row in report.rows] == [eye.stem]
    assert model.segment(foveate.read(eye), lesions="MA").lesions == ("MA",)
    assert Settings(lesions="MA").lesions == Settings(lesions=["MA"]).lesions == ("MA",)


def test_predict_reports_its_progress(model, eye, tmp_path):
    reported = []
    report = model.predict(eye, tmp_path / "out", progress=reported.append)

    assert (reported[-1].done, reported[-1].total, reported[-1].row) == (1, 1, report.rows[0])


UNKNOWN = """
import sys
from datetime import datetime
from PIL import Image
import foveate
from foveate.errors import FoveateError
from foveate.writers import DicomRequest

model, eye = foveate.load(sys.argv[1]), foveate.read(sys.argv[2])
result = model.segment(eye)
for call in (
    lambda: foveate.load(sys.argv[1], engine="tensorrt"),
    lambda: foveate.load(sys.argv[1], device="gpu"),
    lambda: foveate.load(sys.argv[1], precision="fp16"),
    lambda: model.segment(eye, part="fied"),
    lambda: model.segment(eye, effort="fulll"),
    lambda: model.segment(eye, field="none"),
    lambda: model.segment(eye, field=(128, 128)),
    lambda: model.segment(eye, field=(128, 128, float("nan"))),
    lambda: model.segment(eye, field=None),
    lambda: model.segment(eye, thresholds={"EX": "0.4"}),
    lambda: model.segment(eye, thresholds=None),
    lambda: foveate.from_array(Image.fromarray(eye.pixels), source="left eye"),
    lambda: foveate.from_array(eye.pixels.tolist()),
    lambda: result.map("EX", format="jpg"),
    lambda: result.save(sys.argv[3], format="jpg"),
    lambda: model.predict([sys.argv[2]], sys.argv[3], format="jpg"),
    lambda: DicomRequest(kinds=("SEG",), created=datetime.now()),
    lambda: DicomRequest(kinds=["seg"], created=datetime.now(), secret="0123456789abcdef"),
    lambda: model.segment(sys.argv[2]),
    lambda: model.segment(eye.pixels),
    lambda: result.save(sys.argv[3], name=5),
    lambda: result.save(sys.argv[3], name="left\\ud800"),
    lambda: result.save("out\\ud800"),
    lambda: result.save(""),
    lambda: result.save(5),
    lambda: model.predict([sys.argv[2]], ""),
    lambda: model.predict([], sys.argv[3]),
    lambda: model.predict([], sys.argv[3], workers=2),
    lambda: model.predict(["", sys.argv[2]], sys.argv[3]),
):
    try:
        print("done:", call())
    except FoveateError as error:
        print(type(error).__name__, error)
"""


def test_a_word_that_is_no_choice_is_refused_and_no_other_is_taken_for_it(folder, eye, tmp_path):
    done = subprocess.run(  # without the type checks that the tests add
        [sys.executable, "-c", UNKNOWN, folder, eye, tmp_path / "out"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )

    assert done.stdout.splitlines() == [
        "SettingError engine 'tensorrt' is unknown; choose one of onnx, openvino, torch",
        "SettingError device 'gpu' is unknown; choose one of cpu, cuda",
        "SettingError precision 'fp16' is unknown; choose one of float32, bf16, int8, float16",
        "SettingError part 'fied' is unknown; choose one of field, paper, whole",
        "SettingError effort 'fulll' is unknown; choose one of best, full, balanced, fast",
        "SettingError field 'none' is unknown; choose one of auto, full",
        "SettingError field is (128, 128); give 'auto', 'full' or (row, column, radius)",
        "SettingError field is nan; give a finite number",
        "SettingError field is None; give 'auto', 'full' or (row, column, radius)",
        "SettingError threshold EX is '0.4'; give a finite number",
        "SettingError thresholds is None; give a mapping such as {'EX': 0.4}",
        "PhotographError left eye: the pixels are of type Image; "
        "give a NumPy array, as by numpy.asarray(image)",
        "PhotographError array: the pixels are of type list; give a NumPy array, as by numpy.asarray(image)",
        *["SettingError format 'jpg' is unknown; choose one of png, png16, tiff, npz"] * 3,
        "SettingError DICOM object 'SEG' is unknown; choose one of seg, sr, prob",
        "SettingError the secret must be bytes, at least 16; make one with foveate dicom key FILE",
        *[
            f"PhotographError the photograph is of type {name}; give what foveate.read(path) or "
            "foveate.from_array(pixels) returns"
            for name in ("str", "ndarray")
        ],
        *[
            f"OutputError {name} is not a valid name for results; give a relative path such as "
            "name='clinic/left'"
            for name in ("5", r"'left\ud800'")
        ],
        r"OutputError 'out\ud800': cannot be written (it holds half a character): "
        "the disk does not allow such a name; choose another one",
        *[
            f"OutputError {out} is no folder for results; give a path, such as 'out'"
            for out in ("''", "5", "''")
        ],
        *["PhotographError the list of paths is empty; name at least one photograph, folder or glob"] * 2,
        "PhotographError '' is no path; name a photograph, folder or glob ('.' is the current folder)",
    ]
    assert list(tmp_path.iterdir()) == []


NUMPY = """
import sys
import numpy as np
import foveate

model, eye = foveate.load(sys.argv[1]), foveate.read(sys.argv[2])
pixels = foveate.from_array(eye.pixels, spacing=np.float32(0.005))
disc = tuple(np.array([128, 128, 120]))
row = model.segment(pixels, field=disc, thresholds={"EX": np.float32(0.5)}).save(sys.argv[3])
print(row.loads["EX"].area_mm2)
"""


def test_numbers_of_numpy_are_as_good_as_pythons(folder, eye, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", NUMPY, folder, eye, tmp_path / "out"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert float(done.stdout) > 0


@pytest.mark.parametrize("name", ["", "/eye", "../eye", "a/../../eye", "a\0b"])
def test_a_name_that_leads_out_of_the_folder_is_refused(result, tmp_path, name):
    with pytest.raises(OutputError, match="is not a valid name for results"):
        result.save(tmp_path / "out", name=name)

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["s3://bucket/out", Path("s3://bucket/out"), "file:///somewhere/out"])
def test_an_address_is_no_folder_for_results(model, result, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)

    for write in (result.save, lambda out: model.predict("eye.png", out)):
        with pytest.raises(OutputError, match=rf"^{out}: is no folder of this machine; give a path"):
            write(out)

    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_a_colon_is_no_address(result, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    result.save("visit 1:2/left")

    assert (tmp_path / "visit 1:2/left/regions/eye.json").is_file()


def test_an_array_of_pixels_is_a_photograph(model, tmp_path):
    pixels = tiny_package.fundus(seed=4)

    row = model.segment(foveate.from_array(pixels, source="left eye")).save(tmp_path)

    assert row.name == "left eye"
    assert (tmp_path / "maps" / "left eye_EX.png").is_file()


@pytest.mark.parametrize(
    "engine",
    [
        "onnx",
        pytest.param(
            "openvino",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("openvino") is None, reason="the extra openvino is not installed"
            ),
        ),
    ],
)
def test_several_threads_may_use_one_model(folder, tmp_path, engine):
    model = foveate.load(folder, engine=engine, threads=1)
    paths = [tiny_package.photograph(tmp_path / f"{seed}.png", diameter=600, seed=seed) for seed in range(3)]
    eyes = [foveate.read(path) for path in paths]
    expected = [model.segment(eye).segmentation.probabilities.maps for eye in eyes]

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(model.segment, eyes * 4))

    for result, maps in zip(results, expected * 4, strict=True):
        np.testing.assert_array_equal(result.segmentation.probabilities.maps, maps)


def test_a_missing_package_and_zero_threads_are_refused(folder, tmp_path):
    with pytest.raises(PackageError, match="no such model package"):
        foveate.load(tmp_path / "nothing")
    with pytest.raises(SettingError, match="threads is 0"):
        foveate.load(folder, threads=0)


def test_the_overlay_is_that_of_the_files_without_the_legend(result, tmp_path):
    result.save(tmp_path)
    saved = cv2.imread(str(tmp_path / "overlays/eye.jpg"))[..., ::-1]
    height, width = result.segmentation.photograph.shape

    overlay = result.overlay()

    assert overlay.shape == (height, width, 3)
    assert overlay.dtype == np.uint8
    assert np.abs(saved[:height].astype(int) - overlay).mean() < 2  # JPEG
    assert (overlay != result.segmentation.photograph.pixels).any()


def test_a_figure_has_the_photograph_beside_its_overlay_and_a_legend_below(result):
    photograph = result.segmentation.photograph
    height = round(164 * photograph.shape[0] / photograph.shape[1])

    figure = result.figure(width=331)

    assert figure.shape[1] == 331
    assert len(figure) > height  # the legend
    plain, outlined = figure[:height, :164].astype(int), figure[:height, -164:].astype(int)
    small = cv2.resize(photograph.pixels, (164, height), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(plain - small).max() <= 1
    assert np.abs(outlined - small).max() > 50
    assert len(np.unique(figure[height:])) > 2  # text


def test_pictures_leave_the_photograph_as_it_is(result):
    before = result.segmentation.photograph.pixels.copy()

    result.overlay()[:] = 0
    result.figure(width=400)[:] = 0

    np.testing.assert_array_equal(result.segmentation.photograph.pixels, before)


def test_a_figure_without_room_for_its_legend_is_refused(result):
    with pytest.raises(SettingError, match="319 px is too narrow"):
        result.figure(width=319)


def test_a_notebook_shows_the_overlay_and_the_numbers_of_the_tables(result, tmp_path):
    row = result.save(tmp_path)

    shown = result._repr_html_()

    picture = re.search(r'src="data:image/jpeg;base64,([^"]+)"', shown)[1]
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), cv2.IMREAD_COLOR)
    assert max(decoded.shape) == min(960, max(result.segmentation.photograph.shape))
    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", shown)
    assert len(rows) == len(result.lesions)
    for text, load in zip(rows, row.loads.values(), strict=True):
        assert f"<td>{load.count}</td><td>{load.area_px}</td>" in text


def test_a_notebook_gets_no_markup_from_a_file_name(model, tmp_path):
    path = tiny_package.photograph(tmp_path / "<b>eye&.png", seed=3)

    shown = model.segment(foveate.read(path))._repr_html_()

    assert "<b>" not in shown
    assert "&lt;b&gt;eye&amp;" in shown


def test_a_result_is_named_in_one_line(result):
    assert repr(result) == f"<foveate.Result of {result.segmentation.photograph.source}: EX, MA>"


def test_values_that_hold_pixels_are_compared_as_objects(result, eye):
    photograph, same = foveate.read(eye), foveate.read(eye)

    assert (photograph == same) is False
    assert {photograph, same, photograph} == {same, photograph}
    segmentation = result.segmentation
    assert len({result, segmentation, segmentation.tiling, segmentation.probabilities}) == 4
