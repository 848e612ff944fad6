"""Systems with a known answer get the figures that were worked out by hand; the report tells of them."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_package
from PIL import Image

from foveate import cli, evaluation, metrics
from foveate.datasets import Case
from foveate.errors import DatasetError, FieldError, LesionError
from foveate.evaluation import Trial, charts, gallery, measures, operating_points, page, results, tables
from foveate.evaluation.tables import About
from foveate.models import Package
from foveate.writers import Maker

SHAPE = (256, 300)
LESION = 1200
"""Pixels of EX in each photograph: 20 rows of 60."""


def write(root, number=3):
    """Write photographs with a square of exudate each, the last one healthy, and list them."""
    cases = []
    for k in range(number):
        path = root / "set" / f"eye{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
        disc = np.hypot(rows - 128, columns - 150) < 120
        Image.fromarray(np.where(disc[..., None], (150, 90, 40), 0).astype(np.uint8)).save(path)
        masks = {}
        if k < number - 1:
            mask = root / "set" / f"eye{k}_EX_mask.png"
            Image.fromarray(truth_of(k).astype(np.uint8) * np.uint8(255)).save(mask)
            masks["EX"] = mask
        cases.append(Case(name=f"eye{k}", photograph=path, masks=masks))
    return tuple(cases)


def truth_of(k, number=3):
    """The square of photograph k; none in the last."""
    truth = np.zeros(SHAPE, bool)
    if k < number - 1:
        truth[100 + 10 * k : 120 + 10 * k, 120:180] = True
    return truth


@pytest.fixture
def cases(tmp_path):
    return write(tmp_path)


def trial(tmp_path, cases, make, **changes):
    """Write a map for each photograph and return what is to be evaluated."""
    folder = tmp_path / "maps"
    folder.mkdir(exist_ok=True)
    for k, case in enumerate(cases):
        np.save(folder / f"{case.name}_EX.npy", make(k))
    asked = Trial(
        source=evaluation.of_folder(folder), cases=cases, thresholds={"EX": 0.5}, resamples=50, seed=0
    )
    return replace(asked, **changes)


def figures_of(tmp_path, cases, make, **changes):
    outcome = evaluation.evaluate(trial(tmp_path, cases, make, **changes))["EX"]
    return tables.plain(outcome.figures)


PREVALENCE = 2 * LESION / (3 * SHAPE[0] * SHAPE[1])


@pytest.mark.parametrize(
    ("stored", "level"),
    [(np.uint8(0), 0.0), (np.uint8(102), 0.4), (np.uint16(65535), 1.0)],
    ids=["zeros", "0.4", "ones"],
)
def test_a_constant_scores_the_prevalence(tmp_path, cases, stored, level):
    found = figures_of(tmp_path, cases, lambda k: np.full(SHAPE, stored))

    assert found["aupr"]["exact"]["value"] == pytest.approx(PREVALENCE, abs=1e-6)
    assert found["aupr"]["official_33"]["value"] == pytest.approx(PREVALENCE, abs=1e-6)
    assert found["aupr"]["exact"]["interval_deviation"] == pytest.approx(0, abs=1e-12)
    assert found["image_auc"]["value"] == 0.5
    marked = level >= 0.5
    assert found["dice"]["value"] == pytest.approx(2 * PREVALENCE / (1 + PREVALENCE) if marked else 0)
    assert found["detection"]["one_pixel"]["sensitivity"]["value"] == (1 if marked else 0)
    # all of the healthy photograph is one region without lesion
    false = found["detection"]["one_pixel"]["false_positives_per_photograph"]["value"]
    assert false == pytest.approx(1 / 3 if marked else 0)
    assert found["calibration"]["ece"]["value"] == pytest.approx(abs(level - PREVALENCE), abs=1e-6)


@pytest.mark.parametrize(
    ("region", "pixels"), [("whole", SHAPE[0] * SHAPE[1]), ("field", None)], ids=["whole", "field"]
)
def test_a_constant_scores_the_prevalence_of_the_region(tmp_path, cases, region, pixels):
    found = figures_of(tmp_path, cases, lambda k: np.full(SHAPE, 130, np.uint8), region=region)

    assert pixels is None or found["pixels"] == 3 * pixels
    assert found["pixels"] <= 3 * SHAPE[0] * SHAPE[1]
    assert found["lesion_pixels"] == 2 * LESION
    wanted = 2 * LESION / found["pixels"]
    assert found["aupr"]["exact"]["value"] == pytest.approx(wanted, abs=1e-6)
    assert region == "whole" or wanted > 1.5 * PREVALENCE


def test_the_truth_itself_is_found_whole(tmp_path, cases):
    found = figures_of(tmp_path, cases, truth_of)

    for key in ("exact", "official_33", "coarse_11"):
        assert found["aupr"][key]["value"] == 1
        assert found["aupr_mean_over_photographs"][key]["value"] == 1
    assert found["dice"] == {"value": 1, "low": 1, "high": 1}
    assert found["iou"]["value"] == found["image_auc"]["value"] == 1
    assert found["calibration"]["ece"]["value"] == 0
    for matching in ("one_pixel", "iou_0.2"):
        one = found["detection"][matching]
        assert (one["lesions"], one["sensitivity"]["value"]) == (2, 1)
        assert one["false_positives_per_photograph"]["value"] == 0
        assert {rate["value"] for rate in one["sensitivity_at_false_positives"].values()} == {1}
        assert [stratum["lesions"] for stratum in one["by_diameter"]] == [0, 0, 0, 2, 0]  # 39 px


def test_the_truth_shifted_by_a_pixel(tmp_path, cases):
    # 19 of 20 rows are right
    found = figures_of(tmp_path, cases, lambda k: np.roll(truth_of(k), 1, axis=0))

    assert found["dice"]["value"] == pytest.approx(19 / 20)
    assert found["iou"]["value"] == pytest.approx(19 / 21)
    assert found["aupr"]["exact"]["value"] == pytest.approx(0.95**2 + 0.05 * PREVALENCE)
    assert found["detection"]["iou_0.2"]["sensitivity"]["value"] == 1


def test_a_random_map_scores_as_scikit_learn_says(tmp_path, cases):
    reference = pytest.importorskip("sklearn.metrics")
    maps = [np.random.default_rng(k).integers(0, 65536, SHAPE).astype(np.uint16) for k in range(3)]
    truth = np.concatenate([truth_of(k).ravel() for k in range(3)])

    found = figures_of(tmp_path, cases, lambda k: maps[k])

    wanted = reference.average_precision_score(truth, np.concatenate([one.ravel() for one in maps]))
    assert found["aupr"]["exact"]["value"] == pytest.approx(wanted, abs=1e-6)
    own = [
        reference.average_precision_score(truth_of(k).ravel(), maps[k].ravel()) for k in range(2)
    ]  # the third has none
    mean = found["aupr_mean_over_photographs"]["exact"]
    assert mean["value"] == pytest.approx(np.mean(own), abs=1e-6)


def test_a_lesion_that_is_absent_from_the_split_is_null_with_a_reason_never_0_or_1(tmp_path, cases):
    found = figures_of(tmp_path, cases[2:], lambda k: truth_of(0))

    for key in ("exact", "official_33", "coarse_11"):
        assert found["aupr"][key]["value"] is None
        assert "no photograph" in found["aupr"][key]["reason"]
    assert found["image_auc"]["value"] is None
    assert found["detection"]["one_pixel"]["sensitivity"]["value"] is None
    assert found["detection"]["one_pixel"]["false_positives_per_photograph"]["value"] == 1


def test_image_auc_is_null_with_a_reason_where_every_photograph_has_the_lesion(tmp_path, cases):
    found = figures_of(tmp_path, cases[:2], truth_of)

    assert found["image_auc"]["value"] is None
    assert "every photograph has" in found["image_auc"]["reason"]


def test_a_photograph_that_was_not_looked_through_for_a_lesion_is_left_out_of_its_figures(tmp_path, cases):
    healthy = replace(cases[2], annotated=("MA",), photograph=tmp_path / "never read.png")
    found = figures_of(tmp_path, (*cases[:2], healthy), truth_of)

    assert found["photographs"] == 2


def test_an_error_names_its_photograph(tmp_path, cases):
    asked = trial(tmp_path, cases, truth_of)
    (tmp_path / "maps" / "eye1_EX.npy").unlink()

    with pytest.raises(DatasetError, match=r"^eye1: .*no map eye1_EX \(.png, "):
        evaluation.evaluate(asked)


def test_there_must_be_a_photograph_and_a_lesion(tmp_path, cases):
    with pytest.raises(DatasetError, match="no photograph to evaluate"):
        figures_of(tmp_path, (), truth_of)
    with pytest.raises(LesionError, match="no lesion to evaluate"):
        figures_of(tmp_path, cases, truth_of, thresholds={})


def test_a_field_that_is_not_found_stops_only_those_who_ask_for_it(tmp_path, cases):
    Image.new("RGB", SHAPE[::-1], (90, 60, 30)).save(cases[0].photograph)

    assert figures_of(tmp_path, cases, truth_of)["dice"]["value"] == 1
    with pytest.raises(FieldError, match=r"eye0: .*--field"):
        figures_of(tmp_path, cases, truth_of, region="field")


# what another system is compared by


def test_gains_by_diameter_come_from_the_same_rows(tmp_path, cases):
    one = evaluation.evaluate(trial(tmp_path, cases, truth_of))["EX"]
    other = evaluation.evaluate(trial(tmp_path, cases, lambda k: np.zeros(SHAPE, np.uint8)))["EX"]

    def table(outcome, stratum):
        return np.stack([each.detection["one_pixel"].row(stratum) for each in outcome.each])

    gain = metrics.paired_interval(table(one, 3), table(other, 3), metrics.froc.sensitivity_at(1.0), 50)
    nothing = metrics.paired_interval(table(one, 0), table(other, 0), metrics.froc.sensitivity_at(1.0), 50)

    assert (gain.value, gain.low, gain.high) == (1, 1, 1)
    assert nothing.value is None


# files


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """An evaluation and its words."""
    tmp_path = tmp_path_factory.mktemp("told")
    cases = write(tmp_path)
    asked = trial(tmp_path, cases, lambda k: (50 + 150 * np.roll(truth_of(k), 3, axis=1)).astype(np.uint8))
    about = About(maker=None, layout="idrid", split="test", left_out={"SE": "the <model> does not know it"})
    return evaluation.evaluate(asked), asked, about


def test_metrics_json_has_the_shape_that_is_promised(told, tmp_path):
    results.write(*told, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())

    assert found["region"] == "whole"
    assert found["photographs"] == 3
    for key in ("exact", "official_33", "coarse_11"):
        assert {"value", "low", "high"} <= set(found["lesions"]["EX"]["aupr"][key])
    assert {"value", "low", "high"} == set(found["lesions"]["EX"]["dice"])
    assert found["lesions"]["EX"]["seams"]["ratio"]["value"] is None
    assert found["intervals"] == {"coverage": 0.95, "resamples": 50, "seed": 0}
    assert [each["photograph"] for each in found["each"]] == ["eye0", "eye1", "eye2"]
    assert found["each"][2]["lesions"]["EX"]["aupr"]["exact"] is None


def test_results_are_the_same_from_run_to_run(told, tmp_path):
    for folder in ("one", "other"):
        results.write(*told, tmp_path / folder)

    for name in ("metrics.json", "metrics.csv", "report.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_the_table_has_a_row_for_every_figure_with_an_interval(told):
    rows = tables.table(told[0]).decode().split("\r\n")

    assert rows[0] == "lesion,figure,value,low,high,reason"
    names = [row.split(",")[1] for row in rows[1:-1]]
    assert {"aupr.exact", "dice", "image_auc", "calibration.ece", "seams.ratio"} <= set(names)
    assert "detection.one_pixel.by_diameter.32_px.sensitivity" in names
    assert len(names) == len(set(names))


def test_the_report_is_one_file_that_asks_for_nothing_and_says_what_it_is_not(told):
    text = page.report(*told).decode()

    assert "not a medical device" in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "the &lt;model&gt; does not know it" in text
    assert "The photographs differ" in text  # three of them, not the 27
    for drawn in ("precision over recall", "lesions found over false positives", "over probability"):
        assert drawn in text
    assert text.count("data:image/jpeg;base64,") == 4  # two photographs have the lesion


def test_the_report_of_a_lesion_that_is_nowhere_is_written_all_the_same(tmp_path, cases):
    asked = trial(tmp_path, cases[2:], lambda k: truth_of(0))
    about = About(maker=None, layout="own", split="test", left_out={})

    text = page.report(evaluation.evaluate(asked), asked, about).decode()

    assert "no photograph of the split has this lesion" in text


def test_only_the_27_photographs_of_the_test_part_stand_beside_the_paper_without_a_warning(told):
    outcomes, asked, about = told
    many = replace(asked, cases=asked.cases * 9)

    assert "The photographs differ" not in page.report(outcomes, many, about).decode()
    other = replace(about, split="train")
    assert "The photographs differ" in page.report(outcomes, many, other).decode()


def test_the_paper_s_table_is_that_of_the_paper():
    assert page.PAPER["Our fused model"] == {"EX": 0.889, "MA": 0.525, "HE": 0.703, "SE": 0.679}
    assert page.PAPER["GlobalNet"]["SE"] == 0.720
    assert page.PAPER["LocalNet"]["MA"] == 0.433


# pictures and charts


def test_the_close_up_shows_where_most_of_the_lesion_is():
    mask = np.zeros((1000, 1200), bool)
    mask[700:720, 900:930] = True
    mask[100, 100] = True

    box = gallery.busiest(mask)

    assert box.shape == (gallery.SIDE, gallery.SIDE)
    assert mask[box.slices].sum() == 20 * 30
    small = gallery.busiest(mask[:50, :2000])
    assert small.shape == (50, gallery.SIDE)


def test_the_gallery_keeps_the_best_and_the_worst_and_draws_no_other():
    drawn, shelf = [], gallery.Gallery()
    for score in (0.5, 0.6, 0.4, 0.45, 0.9, 0.1, 0.55):

        def draw(score=score):
            drawn.append(score)
            return gallery.Picture(name=f"{score}", score=score, overview=b"", closeup=b"")

        shelf = shelf.having(score, draw)

    assert [one.score for one in shelf.best] == [0.9, 0.6]
    assert [one.score for one in shelf.worst] == [0.1, 0.4]
    assert 0.55 not in drawn
    assert [one.score for one in shelf.low] == [0.1, 0.4]


def test_a_chart_puts_numbers_where_its_axes_say():
    unit = charts.Axis(title="x", ticks=charts.UNIT)
    chart = charts.Chart(x=unit, y=unit)

    assert chart.at((0.0, 0.0)) == f"{charts.LEFT:.1f},{charts.HEIGHT - charts.BOTTOM:.1f}"
    assert chart.at((1.0, 1.0)) == f"{charts.WIDTH - charts.RIGHT:.1f},{charts.TOP:.1f}"
    assert chart.at((7.0, 0.0)) == chart.at((1.0, 0.0))
    assert "&lt;b&gt;" in chart.drawn("<b>")


# the command


@pytest.fixture
def own_set(tmp_path):
    """A set of two photographs in a layout of its own, and a model that looks at them."""
    for k in range(2):
        tiny_package.photograph(tmp_path / "own" / "images" / f"eye{k}.png")
        pixels = np.asarray(Image.open(tmp_path / "own" / "images" / f"eye{k}.png"))
        mask = np.zeros(pixels.shape[:2], np.uint8)
        mask[110:140, 100 + 20 * k : 150] = 255
        for lesion in ("EX", "MA"):
            (tmp_path / "own" / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(tmp_path / "own" / "masks" / f"eye{k}_{lesion}.png")
    return tmp_path / "own"


def top(own_set):
    """Lay the set out as IDRiD is."""
    base = own_set.parent / "idrid" / "A. Segmentation"
    photographs = base / "1. Original Images" / "b. Testing Set"
    photographs.mkdir(parents=True)
    for k in range(2):
        Image.open(own_set / "images" / f"eye{k}.png").save(photographs / f"eye{k}.jpg", quality=95)
        for code, name in (("EX", "3. Hard Exudates"), ("MA", "1. Microaneurysms")):
            folder = base / "2. All Segmentation Groundtruths" / "b. Testing Set" / name
            folder.mkdir(parents=True, exist_ok=True)
            Image.open(own_set / "masks" / f"eye{k}_{code}.png").save(folder / f"eye{k}_{code}.tif")
    return base.parent


def test_a_model_and_the_maps_that_it_wrote_score_the_same(own_set, tmp_path, capsys):
    data, model = top(own_set), tiny_package.build(tmp_path / "tiny")
    pictures = sorted((data / "A. Segmentation" / "1. Original Images" / "b. Testing Set").iterdir())
    common = ["evaluate", "--data", str(data), "--lesions", "EX,MA", "--threshold", "EX=0.5,MA=0.5"]
    assert cli.run([*common, "--model", str(model), "--out", str(tmp_path / "m")]) == 0
    wanted = json.loads((tmp_path / "m" / "metrics.json").read_text())["lesions"]
    for format, tolerance in (("png16", 0), ("png", 0.02)):
        maps = tmp_path / format
        run = ["predict", *map(str, pictures), "--out", str(maps), "--model", str(model), "--format", format]
        assert cli.run(run) == 0
        assert cli.run([*common, "--predictions", str(maps / "maps"), "--out", str(tmp_path / "p")]) == 0
        found = json.loads((tmp_path / "p" / "metrics.json").read_text())["lesions"]
        for lesion, one in wanted.items():
            for key in ("dice", "iou", "image_auc"):
                assert found[lesion][key]["value"] == pytest.approx(one[key]["value"], abs=tolerance)
            for key, area in one["aupr"].items():
                assert found[lesion]["aupr"][key]["value"] == pytest.approx(area["value"], abs=tolerance)
            assert one["seams"]["ratio"]["value"] is not None
    out = capsys.readouterr()
    assert "AUPR" in out.out
    assert "[2/2] eye1" in out.err


def remember(model, learned, held_back):
    """Let a model's manifest say which photographs it learned from and was set by."""
    path = model / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["training"] = {"photographs": learned, "validation": {"photographs": held_back}}
    path.write_text(json.dumps(manifest))
    return model


def test_photographs_that_the_model_has_met_are_counted_and_told_of(own_set, tmp_path, capsys):
    line = ["evaluate", "--data", str(top(own_set)), "--lesions", "EX", "--out", str(tmp_path / "out")]
    model = remember(tiny_package.build(tmp_path / "tiny"), ["eye0", "other"], ["eye1", "another", "third"])

    assert cli.run([*line, "--model", str(model)]) == 0

    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (found["seen_in_training"], found["thresholds_chosen_on"]) == (1, 1)
    told = (
        "scored here (2) the model learned from 1 and its thresholds were chosen on 1: these figures do not"
    )
    assert told in capsys.readouterr().err
    assert told in (tmp_path / "out" / "report.html").read_text()


def test_nothing_is_told_of_photographs_that_are_new_to_the_model(own_set, tmp_path, capsys):
    line = ["evaluate", "--data", str(top(own_set)), "--lesions", "EX", "--out", str(tmp_path / "out")]
    model = remember(tiny_package.build(tmp_path / "tiny"), ["other"], ["another"])

    assert cli.run([*line, "--model", str(model)]) == 0

    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (found["seen_in_training"], found["thresholds_chosen_on"]) == (0, 0)
    assert "learned from" not in capsys.readouterr().err + (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("training", [None, [], {}, {"photographs": "all"}, {"validation": ["eye0"]}])
def test_where_nobody_says_what_was_seen_nothing_is_counted(training):
    manifest = {} if training is None else {"training": training}
    package = Package(
        folder=Path(),
        name="other",
        version="0",
        contract=tiny_package.CONTRACT,
        decisions={},
        digest="",
        manifest=manifest,
    )

    assert operating_points.familiar([], package) is None
    assert operating_points.familiar([], None) is None


def test_both_a_model_and_maps_make_no_sense(capsys):
    line = ["evaluate", "--data", "d", "--out", "o", "--model", "m", "--predictions", "p"]

    assert cli.run(line) == 2
    assert "not both" in capsys.readouterr().err


def test_evaluation_needs_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import foveate.evaluation.results, foveate.evaluation.operating_points, foveate.cli.evaluate\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_measures_search_at_the_lesion_s_own_threshold_too():
    found = measures.thresholds(0.123)

    assert 0.123 in found
    assert list(found) == sorted(found, reverse=True)
    assert operating_points.FOREIGN_THRESHOLD in measures.thresholds(0.5)


NESTED = """
[lesions]
EX = "exudates"
MA = "microaneurysms"

[splits.test]
photographs = "images/*/*"
masks = "masks/{folder}/{name}_{lesion}.png"
"""


@pytest.mark.parametrize("given", ["images", "image*"], ids=["their folder", "from above"])
def test_maps_that_predict_wrote_of_photographs_in_folders_are_scored(own_set, tmp_path, given):
    for kind in ("images", "masks"):
        (own_set / kind / "P1").mkdir()
        for path in list((own_set / kind).glob("*.png")):
            path.rename(own_set / kind / "P1" / path.name)
    (tmp_path / "nested.toml").write_text(NESTED)
    model, maps = tiny_package.build(tmp_path / "tiny"), tmp_path / "predicted"
    line = ["evaluate", "--data", str(own_set), "--layout", str(tmp_path / "nested.toml"), "--lesions", "EX"]

    assert cli.run(["predict", str(own_set / given), "--out", str(maps), "--model", str(model)]) == 0
    assert cli.run([*line, "--predictions", str(maps / "maps"), "--out", str(tmp_path / "out")]) == 0

    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert [one["photograph"] for one in found["each"]] == ["P1_eye0", "P1_eye1"]
    assert found["seen_in_training"] is None


@pytest.mark.parametrize(
    ("effort", "system"), [("full", "tiny 1.0"), ("fast", "tiny 1.0, effort fast"), (None, "tiny 1.0")]
)
def test_a_system_that_does_not_look_at_everything_says_so(effort, system):
    maker = Maker(name="tiny", version="1.0", digest="0" * 64)

    about = About(maker=maker, layout="own", split="test", left_out={}, engine="red", effort=effort)

    assert about.system == system
