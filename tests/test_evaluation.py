"""Systems with a known answer get the figures that were computed by hand, and the report shows them."""

import errno
import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_layouts
import tiny_package
from PIL import Image

from foveate import atomic_files, cli, evaluation, lesions, metrics
from foveate.datasets import Case
from foveate.errors import DatasetError, FieldError, LesionError, OutputError, PhotographError
from foveate.evaluation import (
    EvaluationSpec,
    charts,
    gallery,
    html_report,
    measures,
    results,
    selection,
    tables,
)
from foveate.evaluation.tables import EvaluationInfo
from foveate.models import Package
from foveate.writers import Provenance

EVALUATION_PAGE = Path(__file__).parent.parent / "docs" / "evaluation.md"

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


def evaluation_spec(tmp_path, cases, make_map, **changes):
    """Write a map for each photograph and return the specification of their evaluation."""
    folder = tmp_path / "maps"
    folder.mkdir(exist_ok=True)
    for k, case in enumerate(cases):
        np.save(folder / f"{case.name}_EX.npy", make_map(k))
    spec = EvaluationSpec(
        source=evaluation.maps_from_folder(folder), cases=cases, thresholds={"EX": 0.5}, resamples=50, seed=0
    )
    return replace(spec, **changes)


def figures_of(tmp_path, cases, make_map, **changes):
    outcome = evaluation.evaluate(evaluation_spec(tmp_path, cases, make_map, **changes))["EX"]
    return tables.to_json(outcome.figures)


PREVALENCE = 2 * LESION / (3 * SHAPE[0] * SHAPE[1])


@pytest.mark.parametrize(
    ("stored", "level"),
    [(np.uint8(0), 0.0), (np.uint8(102), 0.4), (np.uint16(65535), 1.0)],
    ids=["zeros", "0.4", "ones"],
)
def test_a_constant_scores_the_prevalence(tmp_path, cases, stored, level):
    figures = figures_of(tmp_path, cases, lambda k: np.full(SHAPE, stored))

    assert figures["aupr"]["exact"]["value"] == pytest.approx(PREVALENCE, abs=1e-6)
    assert figures["aupr"]["official_33"]["value"] == pytest.approx(PREVALENCE, abs=1e-6)
    assert figures["aupr"]["exact"]["interval_deviation"] == pytest.approx(0, abs=1e-12)
    assert figures["image_auc"]["value"] == 0.5
    marked = level >= 0.5
    assert figures["dice"]["value"] == pytest.approx(2 * PREVALENCE / (1 + PREVALENCE) if marked else 0)
    assert figures["detection"]["one_pixel"]["sensitivity"]["value"] == (1 if marked else 0)
    # all of the healthy photograph is one region without lesion
    false = figures["detection"]["one_pixel"]["false_positives_per_photograph"]["value"]
    assert false == pytest.approx(1 / 3 if marked else 0)
    assert figures["calibration"]["ece"]["value"] == pytest.approx(abs(level - PREVALENCE), abs=1e-6)


@pytest.mark.parametrize(
    ("region", "pixels"), [("whole", SHAPE[0] * SHAPE[1]), ("field", None)], ids=["whole", "field"]
)
def test_a_constant_scores_the_prevalence_of_the_region(tmp_path, cases, region, pixels):
    figures = figures_of(tmp_path, cases, lambda k: np.full(SHAPE, 130, np.uint8), region=region)

    assert pixels is None or figures["pixels"] == 3 * pixels
    assert figures["pixels"] <= 3 * SHAPE[0] * SHAPE[1]
    assert figures["lesion_pixels"] == 2 * LESION
    expected = 2 * LESION / figures["pixels"]
    assert figures["aupr"]["exact"]["value"] == pytest.approx(expected, abs=1e-6)
    assert region == "whole" or expected > 1.5 * PREVALENCE


def test_the_truth_itself_gets_perfect_figures(tmp_path, cases):
    figures = figures_of(tmp_path, cases, truth_of)

    for key in ("exact", "official_33", "coarse_11"):
        assert figures["aupr"][key]["value"] == 1
        assert figures["aupr_mean_over_photographs"][key]["value"] == 1
    assert figures["dice"] == {"value": 1, "low": 1, "high": 1}
    assert figures["iou"]["value"] == figures["image_auc"]["value"] == 1
    assert figures["calibration"]["ece"]["value"] == 0
    for matching in ("one_pixel", "iou_0.2"):
        result = figures["detection"][matching]
        assert (result["lesions"], result["sensitivity"]["value"]) == (2, 1)
        assert result["false_positives_per_photograph"]["value"] == 0
        assert {rate["value"] for rate in result["sensitivity_at_false_positives"].values()} == {1}
        assert [stratum["lesions"] for stratum in result["by_diameter"]] == [0, 0, 0, 2, 0]  # 39 px


def test_the_truth_shifted_by_a_pixel(tmp_path, cases):
    # 19 of 20 rows are right
    figures = figures_of(tmp_path, cases, lambda k: np.roll(truth_of(k), 1, axis=0))

    assert figures["dice"]["value"] == pytest.approx(19 / 20)
    assert figures["iou"]["value"] == pytest.approx(19 / 21)
    assert figures["aupr"]["exact"]["value"] == pytest.approx(0.95**2 + 0.05 * PREVALENCE)
    assert figures["detection"]["iou_0.2"]["sensitivity"]["value"] == 1


def test_a_random_map_scores_as_scikit_learn_says(tmp_path, cases):
    reference = pytest.importorskip("sklearn.metrics")
    maps = [np.random.default_rng(k).integers(0, 65536, SHAPE).astype(np.uint16) for k in range(3)]
    truth = np.concatenate([truth_of(k).ravel() for k in range(3)])

    figures = figures_of(tmp_path, cases, lambda k: maps[k])

    expected = reference.average_precision_score(truth, np.concatenate([levels.ravel() for levels in maps]))
    assert figures["aupr"]["exact"]["value"] == pytest.approx(expected, abs=1e-6)
    own_scores = [
        reference.average_precision_score(truth_of(k).ravel(), maps[k].ravel()) for k in range(2)
    ]  # the third has none
    mean = figures["aupr_mean_over_photographs"]["exact"]
    assert mean["value"] == pytest.approx(np.mean(own_scores), abs=1e-6)


def test_a_lesion_that_is_absent_from_the_split_is_null_with_a_reason_never_0_or_1(tmp_path, cases):
    figures = figures_of(tmp_path, cases[2:], lambda k: truth_of(0))

    for key in ("exact", "official_33", "coarse_11"):
        assert figures["aupr"][key]["value"] is None
        assert "no photograph" in figures["aupr"][key]["reason"]
    assert figures["image_auc"]["value"] is None
    assert figures["detection"]["one_pixel"]["sensitivity"]["value"] is None
    assert figures["detection"]["one_pixel"]["false_positives_per_photograph"]["value"] == 1


def test_image_auc_is_null_with_a_reason_where_every_photograph_has_the_lesion(tmp_path, cases):
    figures = figures_of(tmp_path, cases[:2], truth_of)

    assert figures["image_auc"]["value"] is None
    assert "every photograph has" in figures["image_auc"]["reason"]


def test_a_photograph_that_was_not_looked_through_for_a_lesion_is_left_out_of_its_figures(tmp_path, cases):
    healthy = replace(cases[2], annotated=("MA",), photograph=tmp_path / "never read.png")
    figures = figures_of(tmp_path, (*cases[:2], healthy), truth_of)

    assert figures["photographs"] == 2


def test_an_error_names_its_photograph(tmp_path, cases):
    spec = evaluation_spec(tmp_path, cases, truth_of)
    (tmp_path / "maps" / "eye1_EX.npy").unlink()

    with pytest.raises(DatasetError, match=r"^eye1: .*no map eye1_EX \(.png, "):
        evaluation.evaluate(spec)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("std::bad_alloc")])
def test_memory_that_runs_out_is_said_of_its_photograph(tmp_path, cases, monkeypatch, error):
    spec = evaluation_spec(tmp_path, cases, truth_of)
    names = []

    def run_out(name, *rest):
        names.append(name)
        if name == "eye1":
            raise error
        return measure(name, *rest)

    measure = measures.measure
    monkeypatch.setattr(measures, "measure", run_out)
    with pytest.raises(PhotographError, match=r"^eye1: not enough memory to score it; free some"):
        evaluation.evaluate(spec)
    assert names == ["eye0", "eye1"]


def test_an_evaluation_needs_a_photograph_and_a_lesion(tmp_path, cases):
    with pytest.raises(DatasetError, match="no photograph to evaluate"):
        figures_of(tmp_path, (), truth_of)
    with pytest.raises(LesionError, match="no lesion to evaluate"):
        figures_of(tmp_path, cases, truth_of, thresholds={})


def test_a_field_that_is_not_found_stops_only_an_evaluation_inside_the_field(tmp_path, cases):
    Image.new("RGB", SHAPE[::-1], (90, 60, 30)).save(cases[0].photograph)

    assert figures_of(tmp_path, cases, truth_of)["dice"]["value"] == 1
    with pytest.raises(FieldError, match=r"eye0: .*--field"):
        figures_of(tmp_path, cases, truth_of, region="field")


# what another system is compared by


def test_the_page_s_lines_compare_two_systems(own_set, tmp_path, monkeypatch, capsys):
    (lines,) = re.findall(r"^```python\n(.*?)^```$", EVALUATION_PAGE.read_text(), re.MULTILINE | re.DOTALL)
    as_idrid(own_set).rename(tmp_path / "IDRID")
    rng = np.random.default_rng(0)
    for folder, sharpness in (("ours", 3), ("theirs", 1)):
        (tmp_path / folder).mkdir()
        for k in range(2):
            mask = np.asarray(Image.open(own_set / "masks" / f"eye{k}_EX.png")) > 0
            logits = rng.normal(sharpness * (mask - 0.5), 1)
            np.save(tmp_path / folder / f"eye{k}_EX.npy", (1 / (1 + np.exp(-logits))).astype(np.float32))
    monkeypatch.chdir(tmp_path)

    exec(compile(lines, str(EVALUATION_PAGE), "exec"), {})

    value, low, high = map(float, capsys.readouterr().out.split())
    assert 0 < low <= value <= high < 1


@pytest.mark.parametrize(("with_lesion", "has_interval"), [(1, False), (2, True)])
def test_pixel_overlap_on_a_single_photograph_with_the_lesion_has_no_interval(
    tmp_path, with_lesion, has_interval
):
    cases = write(tmp_path, number=4)
    cases = tuple(case if k < with_lesion else replace(case, masks={}) for k, case in enumerate(cases))

    figures = figures_of(tmp_path, cases, lambda k: np.roll(truth_of(0, 4), 5 * k, axis=1))

    for key in ("dice", "iou"):
        assert 0 < figures[key]["value"] < 1
        assert (figures[key]["low"] is not None) == (figures[key]["high"] is not None) == has_interval


@pytest.mark.parametrize("option", [("--effort", "best"), ("--engine", "onnx"), ("--threads", "1")])
def test_what_concerns_a_model_is_refused_with_maps_that_are_read(tmp_path, capsys, option):
    folders = ("--data", str(tmp_path), "--predictions", str(tmp_path), "--out", str(tmp_path / "out"))

    code = cli.run(["evaluate", *folders, *option])

    assert code == 2
    assert "leave them out with --predictions" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_gains_by_diameter_come_from_the_same_rows(tmp_path, cases):
    result = evaluation.evaluate(evaluation_spec(tmp_path, cases, truth_of))["EX"]
    second = evaluation.evaluate(evaluation_spec(tmp_path, cases, lambda k: np.zeros(SHAPE, np.uint8)))["EX"]

    def table(outcome, stratum):
        return np.stack([each.detection["one_pixel"].table_row(stratum) for each in outcome.each])

    gain = metrics.paired_interval(table(result, 3), table(second, 3), metrics.froc.sensitivity_at(1.0), 50)
    nothing = metrics.paired_interval(
        table(result, 0), table(second, 0), metrics.froc.sensitivity_at(1.0), 50
    )

    assert (gain.value, gain.low, gain.high) == (1, 1, 1)
    assert nothing.value is None


# files


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """The results of an evaluation with its specification and its description."""
    tmp_path = tmp_path_factory.mktemp("evaluated")
    cases = write(tmp_path)
    spec = evaluation_spec(
        tmp_path, cases, lambda k: (50 + 150 * np.roll(truth_of(k), 3, axis=1)).astype(np.uint8)
    )
    info = EvaluationInfo(
        provenance=None,
        layout="idrid",
        split="test",
        left_out={"SE": "the <model> does not have it"},
        lesions=lesions.RETINOPATHY,
    )
    return evaluation.evaluate(spec), spec, info


def test_metrics_json_has_the_shape_that_is_promised(evaluated, tmp_path):
    results.write(*evaluated, tmp_path / "out")
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())

    assert figures["region"] == "whole"
    assert figures["photographs"] == 3
    for key in ("exact", "official_33", "coarse_11"):
        assert {"value", "low", "high"} <= set(figures["lesions"]["EX"]["aupr"][key])
    assert {"value", "low", "high"} == set(figures["lesions"]["EX"]["dice"])
    assert figures["lesions"]["EX"]["seams"]["ratio"]["value"] is None
    assert figures["intervals"] == {"coverage": 0.95, "resamples": 50, "seed": 0}
    assert [each["photograph"] for each in figures["each"]] == ["eye0", "eye1", "eye2"]
    assert figures["each"][2]["lesions"]["EX"]["aupr"]["exact"] is None


def test_results_are_the_same_from_run_to_run(evaluated, tmp_path):
    for folder in ("one", "other"):
        results.write(*evaluated, tmp_path / folder)

    for name in ("metrics.json", "metrics.csv", "report.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_a_photograph_whose_name_is_not_valid_unicode_is_in_the_results_under_its_name(tmp_path):
    name = os.fsdecode(b"caf\xe9")  # from a ZIP file of another country
    (case, *_) = write(tmp_path)
    spec = evaluation_spec(tmp_path, [replace(case, name=name)], truth_of)
    info = EvaluationInfo(provenance=None, layout="own", split="test", left_out={}, lesions=(lesions.EX,))

    results.write(evaluation.evaluate(spec), spec, info, tmp_path / "out")

    figures = json.loads((tmp_path / "out" / "metrics.json").read_text("utf-8"))
    assert [each["photograph"] for each in figures["each"]] == [name]


def test_results_of_which_one_cannot_be_written_leave_those_of_an_earlier_evaluation(
    evaluated, tmp_path, monkeypatch
):
    outcomes, spec, info = evaluated
    results.write(outcomes, spec, info, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    real, count = Path.write_bytes, itertools.count(1)

    def full(path, content):
        if next(count) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"report\.html: cannot be written .*; free some"):
        results.write(outcomes, spec, replace(info, split="another"), tmp_path / "out")

    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_the_table_has_a_row_for_every_figure_with_an_interval(evaluated):
    rows = tables.metrics_csv(evaluated[0]).decode().split("\r\n")

    assert rows[0] == "lesion,figure,value,low,high,reason"
    names = [row.split(",")[1] for row in rows[1:-1]]
    assert {"aupr.exact", "dice", "image_auc", "calibration.ece", "seams.ratio"} <= set(names)
    assert "detection.one_pixel.by_diameter.32_px.sensitivity" in names
    assert len(names) == len(set(names))


def test_the_report_is_one_file_that_asks_for_nothing_and_says_what_it_is_not(evaluated):
    text = html_report.report(*evaluated).decode()

    assert "not a medical device" in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "the &lt;model&gt; does not have it" in text
    assert "The photographs differ" in text  # three of them, not the 27
    for label in ("precision over recall", "lesions found over false positives", "over probability"):
        assert label in text
    assert text.count("data:image/jpeg;base64,") == 4  # two photographs have the lesion


def test_lesions_of_ones_own_have_colours_of_their_own_in_the_report(evaluated):
    outcomes, spec, info = evaluated
    own = dict.fromkeys(("IRMA", "NV"), next(iter(outcomes.values())))
    info = replace(info, lesions=lesions.of(list(own)))

    text = html_report.report(own, replace(spec, thresholds=dict.fromkeys(own, 0.5)), info).decode()

    colours = re.findall(r'class="swatch" style="background:(rgb[^"]*)"', text)
    assert len(colours) == len(set(colours)) == 2


def test_the_report_has_the_layout_s_names_and_the_paper_s_table_for_the_paper_s_lesions_alone(evaluated):
    outcomes, spec, info = evaluated
    leaves = replace(lesions.EX, name="exudates of leaves", colour=(1, 2, 3))

    paper_s = html_report.report(outcomes, spec, info).decode()
    own = html_report.report(outcomes, spec, replace(info, lesions=(leaves,))).decode()

    assert "hard exudates" in paper_s
    assert "Yan et al. 2019, LocalNet" in paper_s
    assert "exudates of leaves" in own
    assert "rgb(1 2 3)" in own
    assert "hard exudates" not in own
    assert "Yan et al. 2019" not in own


@pytest.mark.parametrize(("ends", "text"), [((None, None), ""), ((1.0, 1.5), " (1.00 to 1.50)")])
def test_the_report_has_a_bracket_behind_the_seams_only_around_an_interval(evaluated, ends, text):
    outcomes, spec, info = evaluated
    ratio = metrics.Estimate(value=1.25, low=ends[0], high=ends[1])
    outcome = outcomes["EX"]
    outcome = replace(outcome, figures={**outcome.figures, "seams": {"ratio": ratio}})

    page = html_report.report({"EX": outcome}, spec, info).decode()

    assert f"the map jumps 1.25 times{text} as much as elsewhere" in page


def test_each_photograph_has_the_figures_of_the_lesions_that_it_was_annotated_for(evaluated):
    outcomes, spec, _ = evaluated
    first = outcomes["EX"]
    outcomes = {"EX": first, "MA": replace(first, each=first.each[1:])}
    spec = replace(spec, thresholds={"EX": 0.5, "MA": 0.5})

    rows = tables.case_rows(outcomes, spec)

    assert [name for name, _ in rows] == ["eye0", "eye1", "eye2"]
    assert [list(figures) for _, figures in rows] == [["EX"], ["EX", "MA"], ["EX", "MA"]]
    assert [figures["EX"]["lesion_pixels"] for _, figures in rows] == [LESION, LESION, 0]


def test_the_report_of_a_lesion_that_is_nowhere_is_written_all_the_same(tmp_path, cases):
    spec = evaluation_spec(tmp_path, cases[2:], lambda k: truth_of(0))
    info = EvaluationInfo(provenance=None, layout="own", split="test", left_out={}, lesions=(lesions.EX,))

    text = html_report.report(evaluation.evaluate(spec), spec, info).decode()

    assert "no photograph of the split has this lesion" in text


def test_only_the_27_photographs_of_the_test_part_stand_beside_the_paper_without_a_warning(evaluated):
    outcomes, spec, info = evaluated
    many = replace(spec, cases=spec.cases * 9)

    assert "The photographs differ" not in html_report.report(outcomes, many, info).decode()
    second = replace(info, split="train")
    assert "The photographs differ" in html_report.report(outcomes, many, second).decode()


def test_the_paper_s_table_is_that_of_the_paper():
    assert html_report.PAPER["Our fused model"] == {"EX": 0.889, "MA": 0.525, "HE": 0.703, "SE": 0.679}
    assert html_report.PAPER["GlobalNet"]["SE"] == 0.720
    assert html_report.PAPER["LocalNet"]["MA"] == 0.433


# pictures and charts


def test_the_close_up_shows_where_most_of_the_lesion_is():
    mask = np.zeros((1000, 1200), bool)
    mask[700:720, 900:930] = True
    mask[100, 100] = True

    box = gallery.densest_box(mask)

    assert box.shape == (gallery.SIDE, gallery.SIDE)
    assert mask[box.slices].sum() == 20 * 30
    small = gallery.densest_box(mask[:50, :2000])
    assert small.shape == (50, gallery.SIDE)


def test_the_gallery_keeps_the_best_and_the_worst_and_draws_nothing_else():
    drawn_scores, pictures = [], gallery.Gallery()
    for score in (0.5, 0.6, 0.4, 0.45, 0.9, 0.1, 0.55):

        def draw(score=score):
            drawn_scores.append(score)
            return gallery.Picture(name=f"{score}", score=score, overview=b"", closeup=b"")

        pictures = pictures.add(score, draw)

    assert [shot.score for shot in pictures.best] == [0.9, 0.6]
    assert [shot.score for shot in pictures.worst] == [0.1, 0.4]
    assert 0.55 not in drawn_scores
    assert [shot.score for shot in pictures.worst_only] == [0.1, 0.4]


def test_a_chart_puts_numbers_where_its_axes_say():
    unit = charts.Axis(title="x", ticks=charts.UNIT)
    chart = charts.Chart(x=unit, y=unit)

    assert chart.at((0.0, 0.0)) == f"{charts.LEFT:.1f},{charts.HEIGHT - charts.BOTTOM:.1f}"
    assert chart.at((1.0, 1.0)) == f"{charts.WIDTH - charts.RIGHT:.1f},{charts.TOP:.1f}"
    assert chart.at((7.0, 0.0)) == chart.at((1.0, 0.0))
    assert "&lt;b&gt;" in chart.render("<b>")


# the command


@pytest.fixture
def own_set(tmp_path):
    """A set of two photographs in a layout of its own."""
    for k in range(2):
        tiny_package.photograph(tmp_path / "own" / "images" / f"eye{k}.png")
        pixels = np.asarray(Image.open(tmp_path / "own" / "images" / f"eye{k}.png"))
        mask = np.zeros(pixels.shape[:2], np.uint8)
        mask[110:140, 100 + 20 * k : 150] = 255
        for lesion in ("EX", "MA"):
            (tmp_path / "own" / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(tmp_path / "own" / "masks" / f"eye{k}_{lesion}.png")
    return tmp_path / "own"


def as_idrid(own_set):
    """Copy the set into the folders of IDRiD."""
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
    data, model = as_idrid(own_set), tiny_package.build(tmp_path / "tiny")
    pictures = sorted((data / "A. Segmentation" / "1. Original Images" / "b. Testing Set").iterdir())
    common = ["evaluate", "--data", str(data), "--lesions", "EX,MA", "--threshold", "EX=0.5,MA=0.5"]
    assert cli.run([*common, "--model", str(model), "--out", str(tmp_path / "m")]) == 0
    expected = json.loads((tmp_path / "m" / "metrics.json").read_text())["lesions"]
    for format, tolerance in (("png16", 0), ("png", 0.02)):
        maps = tmp_path / format
        run = ["predict", *map(str, pictures), "--out", str(maps), "--model", str(model), "--format", format]
        assert cli.run(run) == 0
        out = tmp_path / f"scored {format}"
        assert cli.run([*common, "--predictions", str(maps / "maps"), "--out", str(out)]) == 0
        figures = json.loads((out / "metrics.json").read_text())["lesions"]
        for lesion, result in expected.items():
            for key in ("dice", "iou", "image_auc"):
                assert figures[lesion][key]["value"] == pytest.approx(result[key]["value"], abs=tolerance)
            for key, area in result["aupr"].items():
                assert figures[lesion]["aupr"][key]["value"] == pytest.approx(area["value"], abs=tolerance)
            assert result["seams"]["ratio"]["value"] is not None
    out = capsys.readouterr()
    assert "AUPR" in out.out
    assert "[2/2] eye1" in out.err


def test_a_map_that_is_missing_is_named_before_the_first_photograph_is_scored(own_set, tmp_path, capsys):
    data, maps = as_idrid(own_set), tmp_path / "maps"
    maps.mkdir()
    for name in ("eye0_EX", "eye0_MA", "eye1_EX"):
        (maps / f"{name}.png").write_bytes(b"never read")
    common = ["evaluate", "--data", str(data), "--lesions", "EX,MA", "--out", str(tmp_path / "out")]

    assert cli.run([*common, "--predictions", str(maps)]) == 1

    assert "there is no map eye1_MA (.png, " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda mask: mask.write_bytes(mask.read_bytes()[:-20]), "unreadable mask"),
        (lambda mask: Image.new("L", (20, 30)).save(mask), "the mask has 30 x 20 px, its photograph"),
    ],
    ids=["cut off", "another size"],
)
def test_a_mask_that_cannot_be_used_ends_an_evaluation_before_the_first_photograph(
    own_set, tmp_path, capsys, damage, message
):
    data = as_idrid(own_set)
    (mask,) = data.rglob("eye1_MA.tif")
    damage(mask)
    model = str(tiny_package.build(tmp_path / "tiny"))
    common = ["evaluate", "--data", str(data), "--model", model, "--out", str(tmp_path / "out")]

    assert cli.run([*common, "--lesions", "EX,MA"]) == 1

    shown = capsys.readouterr().err
    assert f"eye1_MA.tif: {message}" in shown.splitlines()[-1]
    assert "[1/2]" not in shown
    assert cli.run([*common, "--lesions", "EX"]) == 0  # this mask is not read


@pytest.mark.parametrize("system", ["model", "maps"])
def test_a_photograph_without_a_field_ends_an_evaluation_before_the_first_photograph(
    own_set, tmp_path, capsys, system
):
    data, maps = as_idrid(own_set), tmp_path / "maps"
    (photograph,) = data.rglob("eye1.jpg")
    with Image.open(photograph) as picture:
        size = picture.size
    Image.new("RGB", size, (90, 60, 30)).save(photograph)
    maps.mkdir()
    for name in ("eye0_EX", "eye1_EX"):
        (maps / f"{name}.png").write_bytes(b"never read")
    options = {
        "model": ("--model", str(tiny_package.build(tmp_path / "tiny"))),
        "maps": ("--predictions", str(maps), "--region", "field"),
    }
    common = ["evaluate", "--data", str(data), "--lesions", "EX", "--out", str(tmp_path / "out")]

    assert cli.run([*common, *options[system]]) == 1

    shown = capsys.readouterr().err
    assert re.search(r"eye1\.jpg: .*--field", shown.splitlines()[-1])
    assert "[1/2]" not in shown


def test_masks_with_soft_edges_are_named_in_a_warning(own_set, tmp_path, capsys):
    data, maps = as_idrid(own_set), tmp_path / "maps"
    for mask in data.rglob("eye*_EX.tif"):
        levels = np.asarray(Image.open(mask)).copy()
        maps.mkdir(exist_ok=True)
        Image.fromarray(levels).save(maps / mask.with_suffix(".png").name)
        levels[110] //= 2
        Image.fromarray(levels).save(mask)
    common = ["evaluate", "--data", str(data), "--lesions", "EX", "--out", str(tmp_path / "out")]

    assert cli.run([*common, "--predictions", str(maps)]) == 0

    shown = capsys.readouterr().err
    assert "eye0_EX.tif: 2 levels from 127 to 255 all count as this lesion" in shown
    assert "(2 masks need a look: 'foveate data check' lists them)" in shown


@pytest.mark.parametrize("page", ["README.md", "docs/cards/idrid.md"])
def test_the_command_beside_the_test_part_s_figures_scores_the_download_as_published(page, tmp_path):
    data = tmp_path / "IDRID"
    tiny_layouts.idrid(data, "b. Testing Set", (55, 81))  # a mask of SE for the first one only
    truths = data / "A. Segmentation" / "2. All Segmentation Groundtruths" / "b. Testing Set"
    exudates = truths / "3. Hard Exudates" / "IDRiD_81_EX.tif"
    rgba = np.zeros((*tiny_layouts.SHAPE, 4), np.uint8)
    rgba[..., 0] = np.asarray(Image.open(exudates))
    rgba[..., 3] = 255  # opaque everywhere, as the official file is
    Image.fromarray(rgba).save(exudates)
    text = (Path(__file__).parents[1] / page).read_text()
    (command,) = re.findall(r"`foveate (evaluate --data IDRID --split test [^`]*)`", text)
    places = {"IDRID": str(data), "OUT": str(tmp_path / "scored")}
    model = tiny_package.build(tmp_path / "tiny")

    words = [places.get(word, word) for word in command.split()]
    assert cli.run([*words, "--model", str(model)]) == 0

    figures = json.loads((tmp_path / "scored" / "metrics.json").read_text())
    assert (figures["layout"], figures["split"], figures["region"]) == ("idrid", "test", "whole")
    assert [each["photograph"] for each in figures["each"]] == ["IDRiD_55", "IDRiD_81"]
    assert figures["lesions"]["EX"]["aupr"]["exact"]["value"] > 0
    assert "SE" in figures["left_out"]


def test_an_earlier_evaluation_is_replaced_on_request_alone(own_set, tmp_path, capsys):
    out, data = tmp_path / "out", as_idrid(own_set)
    common = ["evaluate", "--data", str(data), "--lesions", "EX", "--out", str(out)]
    model = ["--model", str(tiny_package.build(tmp_path / "tiny"))]
    assert cli.run([*common, *model]) == 0
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    capsys.readouterr()

    assert cli.run([*common, *model, "--threshold", "EX=0.25"]) == 1
    assert (
        "already contains metrics.json; replace that evaluation with --replace, or choose"
        in capsys.readouterr().err
    )
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first

    assert cli.run([*common, *model, "--threshold", "EX=0.25", "--replace"]) == 0
    assert (out / "metrics.json").read_bytes() != first["metrics.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks of folders")
def test_a_second_evaluation_into_the_same_folder_is_refused(own_set, tmp_path, capsys):
    out, data = tmp_path / "out", as_idrid(own_set)
    model = str(tiny_package.build(tmp_path / "tiny"))
    with atomic_files.reserve(out):
        code = cli.run(
            ["evaluate", "--data", str(data), "--lesions", "EX", "--out", str(out), "--model", model]
        )

    assert code == 1
    assert f"foveate: another run is writing to {out}; wait for it" in capsys.readouterr().err
    assert list(out.iterdir()) == []


def test_best_effort_is_scored_under_its_name(own_set, tmp_path):
    out, data = tmp_path / "out", as_idrid(own_set)
    model = str(tiny_package.build(tmp_path / "tiny"))
    arguments = ["evaluate", "--data", str(data), "--lesions", "EX", "--out", str(out), "--model", model]

    assert cli.run([*arguments, "--effort", "best"]) == 0

    figures = json.loads((out / "metrics.json").read_text())
    assert (figures["effort"], figures["system"]) == ("best", "tiny 1.0, effort best")
    assert "tiny 1.0, effort best" in (out / "report.html").read_text()


def state_training_photographs(model, trained_on, held_out):
    """State in a manifest which photographs the model was trained on and its thresholds were chosen on."""
    path = model / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["training"] = {"photographs": trained_on, "validation": {"photographs": held_out}}
    path.write_text(json.dumps(manifest))
    return model


def test_photographs_that_the_model_has_met_are_counted_and_named_in_a_warning(own_set, tmp_path, capsys):
    arguments = [
        "evaluate",
        "--data",
        str(as_idrid(own_set)),
        "--lesions",
        "EX",
        "--out",
        str(tmp_path / "out"),
    ]
    model = state_training_photographs(
        tiny_package.build(tmp_path / "tiny"), ["eye0", "other"], ["eye1", "another", "third"]
    )

    assert cli.run([*arguments, "--model", str(model)]) == 0

    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (figures["seen_in_training"], figures["thresholds_chosen_on"]) == (1, 1)
    warning = (
        "of the 2 photographs scored here, 1 was used to train the model and 1 was used to choose its "
        "thresholds: these figures do not"
    )
    assert warning in capsys.readouterr().err
    assert warning in (tmp_path / "out" / "report.html").read_text()


def test_healthy_eyes_that_the_model_was_trained_on_are_counted():
    training = {"photographs": ["eye0"], "healthy": ["eye1", "eye9"]}
    package = replace(tiny_package.fake(), manifest={"training": training})
    cases = [Case(name=f"eye{k}", photograph=Path(), masks={}) for k in range(3)]

    assert selection.previously_seen(cases, package).in_training == 2
    only_healthy = replace(package, manifest={"training": {"healthy": ["eye1"]}})
    assert selection.previously_seen(cases, only_healthy).in_training == 1


def test_photographs_that_are_new_to_the_model_cause_no_warning(own_set, tmp_path, capsys):
    arguments = [
        "evaluate",
        "--data",
        str(as_idrid(own_set)),
        "--lesions",
        "EX",
        "--out",
        str(tmp_path / "out"),
    ]
    model = state_training_photographs(tiny_package.build(tmp_path / "tiny"), ["other"], ["another"])

    assert cli.run([*arguments, "--model", str(model)]) == 0

    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (figures["seen_in_training"], figures["thresholds_chosen_on"]) == (0, 0)
    assert "used to train" not in capsys.readouterr().err + (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    "training", [None, [], {}, {"photographs": "all"}, {"photographs": []}, {"validation": ["eye0"]}]
)
def test_nothing_is_counted_where_the_manifest_names_no_photographs(training):
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

    assert selection.previously_seen([], package) is None
    assert selection.previously_seen([], None) is None


def test_both_a_model_and_maps_make_no_sense(capsys):
    arguments = ["evaluate", "--data", "d", "--out", "o", "--model", "m", "--predictions", "p"]

    assert cli.run(arguments) == 2
    assert "not both" in capsys.readouterr().err


def test_evaluation_needs_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import foveate.evaluation.results, foveate.evaluation.selection, foveate.cli.evaluate\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_measures_search_at_the_lesion_s_own_threshold_too():
    thresholds = measures.search_thresholds(0.123)

    assert 0.123 in thresholds
    assert list(thresholds) == sorted(thresholds, reverse=True)
    assert selection.FOREIGN_THRESHOLD in measures.search_thresholds(0.5)


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
    arguments = [
        "evaluate",
        "--data",
        str(own_set),
        "--layout",
        str(tmp_path / "nested.toml"),
        "--lesions",
        "EX",
    ]

    assert cli.run(["predict", str(own_set / given), "--out", str(maps), "--model", str(model)]) == 0
    assert cli.run([*arguments, "--predictions", str(maps / "maps"), "--out", str(tmp_path / "out")]) == 0

    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert [case["photograph"] for case in figures["each"]] == ["P1_eye0", "P1_eye1"]
    assert figures["seen_in_training"] is None
    assert "<small>exudates</small>" in (tmp_path / "out" / "report.html").read_text()  # the layout's name


@pytest.mark.parametrize(
    ("effort", "system"),
    [
        ("full", "tiny 1.0"),
        ("fast", "tiny 1.0, effort fast"),
        ("best", "tiny 1.0, effort best"),
        (None, "tiny 1.0"),
    ],
)
def test_the_name_of_a_system_states_its_effort_unless_it_is_full(effort, system):
    provenance = Provenance(name="tiny", version="1.0", digest="0" * 64)

    info = EvaluationInfo(
        provenance=provenance,
        layout="own",
        split="test",
        left_out={},
        lesions=(),
        engine="red",
        effort=effort,
    )

    assert info.system == system
