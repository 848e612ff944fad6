"""The three rows of Table 1 are compared at equal steps and on the same photographs."""

import errno
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_package
import tiny_set
from PIL import Image
from safetensors.torch import load_file

from foveate import atomic_files, cli, models
from foveate.datasets import Case, checks, layouts
from foveate.datasets.layouts import Folders
from foveate.errors import OutputError, SettingError, TrainingError
from foveate.geometry import canvas, tiling
from foveate.metrics import Estimate, froc
from foveate.training import cache, comparison, recipes, run_split, runner, trainer
from foveate.training.comparison import figure, plan, tables
from foveate.training.plan import TrainingPlan
from foveate.training.recipe import STAGES
from foveate.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return the recipe, the folder of a run with all stages, and the photographs."""
    root = tmp_path_factory.mktemp("comparison")
    cases = tiny_set.write(root / "set")
    recipe = tiny_set.recipe()
    cached_cases = [cache.cache_case(case, recipe.contract, root / "sheets") for case in cases]
    for stage in comparison.COMPARISON_STAGES:
        list(trainer.train_stage(recipe, cached_cases, RunFolder(root / "run"), stage))
    return recipe, root / "run", cases


@pytest.fixture(scope="module")
def comparisons(made):
    recipe, folder, cases = made
    return comparison.compare(recipe, folder, cases, lesions=("EX", "SE"))


def test_the_streams_alone_take_as_many_steps_as_the_fused_network(made):
    _, folder, _ = made
    steps = comparison.steps_by_stage(folder)
    assert steps["global-alone"] == steps["local-alone"] == steps["joint"] == 6


def test_a_stage_that_a_run_left_out_has_no_steps(made, tmp_path):
    _, folder, _ = made
    for name in ("joint.safetensors", "joint.csv"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert comparison.steps_by_stage(tmp_path) == {"joint": 6}


def test_a_stream_alone_waits_for_the_joint_stage_whose_steps_it_takes(made, tmp_path):
    recipe, folder, cases = made
    for name in ("global", "local"):
        (tmp_path / f"{name}.safetensors").write_bytes((folder / f"{name}.safetensors").read_bytes())
    cached_cases = [cache.cache_case(case, recipe.contract, tmp_path / "sheets") for case in cases]
    with pytest.raises(TrainingError, match="joint"):
        list(trainer.train_stage(recipe, cached_cases, RunFolder(tmp_path), "global-alone"))


def test_each_row_is_the_network_with_its_own_last_weights(made):
    recipe, folder, _ = made
    rows = {
        row: tiny_set.digests(comparison.build_network(recipe, folder, row)) for row in comparison.ROW_ENGINES
    }
    parts = {"GlobalNet": "global_net", "LocalNet": "local_net"}
    for row, part in parts.items():
        own = {name: digest for name, digest in rows[row].items() if name.startswith(part)}
        fused = {name: digest for name, digest in rows["fused"].items() if name.startswith(part)}
        assert own != fused
        stage = load_file(folder / f"{comparison.FINAL_STAGES[row]}.safetensors")
        assert {f"{part}.{name}" for name in stage} == own.keys()


def test_a_column_has_all_rows_and_both_gains(comparisons):
    assert list(comparisons) == ["EX", "SE"]
    for lesion, column in comparisons.items():
        assert list(column.areas) == ["GlobalNet", "LocalNet", "fused"]
        assert all(0 <= area.value <= 1 for area in column.areas.values())
        for row in ("GlobalNet", "LocalNet"):
            assert column.gains[row].value == column.areas["fused"].value - column.areas[row].value
            gain = column.gains[row]
            if lesion == "EX":
                assert gain.low <= gain.high
            else:  # one photograph has it
                assert (gain.low, gain.high) == (None, None)
    assert sum(comparisons["EX"].lesion_counts) == 3
    assert sum(comparisons["SE"].lesion_counts) == 1


def test_all_pictures_of_a_patch_show_the_same_part_of_the_photograph(made, comparisons):
    _, _, cases = made
    patch = comparisons["EX"].patch
    case = next(case for case in cases if case.name == patch.photograph)
    pixels = np.asarray(Image.open(case.photograph))
    (truth,) = comparison.truth(case, ("EX",), pixels.shape[:2])
    patch_slices = comparison.densest_patch(truth)
    np.testing.assert_array_equal(patch.truth, truth[patch_slices])
    assert np.abs(patch.pixels.astype(int) - pixels[patch_slices]).max() <= 1  # two JPEG decoders
    assert patch.truth.any()
    assert {row: stored.shape for row, stored in patch.maps.items()} == dict.fromkeys(
        comparison.ROW_ENGINES, patch.truth.shape
    )


def test_each_photograph_is_predicted_once_for_each_row_and_the_patches_are_those_predictions(
    made, monkeypatch
):
    recipe, folder, cases = made
    maps_from_model, predicted, maps = comparison.maps_from_model, [], {}

    def recorded(package, engine, settings):
        source = maps_from_model(package, engine, settings)

        def maps_of(case):
            predicted.append((type(engine).__name__, case.name))
            results = source(case)

            def load_map(lesion):
                stored = maps[type(engine), case.name, lesion] = results.load_map(lesion)
                return stored

            return replace(results, load_map=load_map)

        return maps_of

    monkeypatch.setattr(comparison, "maps_from_model", recorded)

    columns = comparison.compare(recipe, folder, cases, lesions=("EX", "SE"))

    assert len(predicted) == len(set(predicted)) == len(cases) * len(comparison.ROW_ENGINES)
    for lesion, column in columns.items():
        name = column.patch.photograph
        case = next(case for case in cases if case.name == name)
        (truth,) = comparison.truth(
            case, (lesion,), maps[comparison.ROW_ENGINES["fused"], name, lesion].shape
        )
        for row, engine in comparison.ROW_ENGINES.items():
            expected = maps[engine, name, lesion][comparison.densest_patch(truth)]
            np.testing.assert_array_equal(column.patch.maps[row], expected)


def test_a_row_whose_maps_are_saturated_gets_a_dash_and_the_reason(comparisons):
    saturated = Estimate(value=None, reason=froc.SATURATED)
    detected = dict(comparisons["EX"].detected) | {"fused": (saturated,) * 5}
    column = replace(comparisons["EX"], detected=detected)

    rows = [line.split(" | ") for line in tables.by_diameter({"EX": column}).splitlines()[2:]]
    record = json.loads(tables.record({"EX": column}, {}))["lesions"]["EX"]["by_diameter"]

    assert [row[5] for row in rows] == ["-"] * 5
    assert {stratum["found"]["fused"]["reason"] for stratum in record} == {froc.SATURATED}
    assert "even at the highest level" in tables.page({"EX": column}, {})


def test_the_densest_patch_is_the_one_of_the_grid_with_most_lesion():
    plane = np.zeros((512, 768), bool)
    plane[10:20, 10:20] = True
    plane[300:330, 600:630] = True
    assert comparison.densest_patch(plane) == (slice(256, 512), slice(512, 768))


def test_nothing_is_compared_on_photographs_that_were_trained_on(made):
    _, _, cases = made
    plan.require_not_trained_on(cases[:1], cases[1:])
    with pytest.raises(TrainingError, match=f"{cases[1].name} was used for training"):
        plan.require_not_trained_on(cases, cases[1:])


def test_nothing_is_compared_on_photographs_that_the_package_at_the_start_was_trained_on(made, tmp_path):
    _, _, cases = made
    training = {"photographs": [cases[0].name]}
    start = models.load(tiny_package.build(tmp_path / "before", training=training))

    plan.require_not_trained_on(cases[1:], [], start)
    with pytest.raises(TrainingError, match=f"package tiny was trained on {cases[0].name}; compare on"):
        plan.require_not_trained_on(cases, [], start)


def test_a_package_that_spells_a_photograph_in_another_unicode_form_was_trained_on_it(tmp_path):
    training = {"photographs": ["mu\u0308de"]}  # NFD
    start = models.load(tiny_package.build(tmp_path / "before", training=training))

    with pytest.raises(TrainingError, match="package tiny was trained on m\xfcde; compare on"):
        plan.require_not_trained_on([Case(name="m\xfcde", photograph=Path(), masks={})], [], start)


def test_the_fold_of_a_run_without_a_split_is_known_before_it_begins_and_assigned_once(tmp_path, monkeypatch):
    calls = []

    def stratified(cases, *_):
        calls.append([case.name for case in cases])
        return {case.name: n for n, case in enumerate(cases)}

    monkeypatch.setattr(run_split.splits, "stratified", stratified)
    cases = tiny_set.write(tmp_path / "set")
    run = TrainingPlan(recipe=tiny_set.recipe(split=None, held_back=2), cases=cases, folder=tmp_path / "run")

    prepared = plan.prepare(run, ("EX",))

    assert [case.name for case in prepared.training_cases] == ["IDRiD_01", "IDRiD_02"]
    assert [case.name for case in prepared.cases] == ["IDRiD_03"]
    assert not run.folder.exists()
    next(plan.train(prepared))
    assert calls == [["IDRiD_01", "IDRiD_02", "IDRiD_03"]]


def test_only_photographs_that_are_compared_on_must_hold_the_papers_crop(tmp_path, monkeypatch):
    cases = tiny_set.write(tmp_path / "set")
    with Image.open(cases[2].photograph) as largest:
        monkeypatch.setattr(canvas, "PAPER_CROP", (largest.height, largest.width))
    split = tmp_path / "folds.json"
    split.write_text(json.dumps({"folds": {"IDRiD_01": 0, "IDRiD_02": 1, "IDRiD_03": 2}}))
    run = TrainingPlan(recipe=tiny_set.recipe(split=split, held_back=2), cases=cases, folder=tmp_path / "run")

    assert [case.name for case in plan.prepare(run, ("EX",), tiling="paper").cases] == ["IDRiD_03"]
    with pytest.raises(SettingError, match=r"IDRiD_01.jpg: .* too few for the paper's crop"):
        plan.prepare(replace(run, recipe=replace(run.recipe, held_back=0)), ("EX",), tiling="paper")


def test_a_comparison_without_a_photograph_is_refused(tmp_path):
    cases = tiny_set.write(tmp_path / "set")
    run = TrainingPlan(
        recipe=tiny_set.recipe(split=None, held_back=None), cases=cases, folder=tmp_path / "run"
    )

    with pytest.raises(SettingError, match="no photograph is held back to compare on; hold back a fold, or"):
        plan.prepare(run, ("EX",))


@pytest.mark.parametrize("folder", ["test", "train"])
def test_a_mask_to_look_at_is_named_whether_it_is_compared_or_trained_on(
    command, partly, capsys, monkeypatch, folder
):
    def stop(_):
        raise TrainingError("the training begins")

    monkeypatch.setattr(runner, "train", stop)
    mask = {
        "test": partly / "masks/all_EX.tif",
        "train": next(partly.parent.rglob("IDRiD_02_EX.tif")),
    }[folder]
    levels = np.asarray(Image.open(mask)) * np.uint8(255)
    levels[int(np.flatnonzero(levels.any(axis=1))[0])] //= 2
    Image.fromarray(levels).save(mask)

    assert command("--layout", "partly", "--on", "test") == 1

    (doubt,) = [line for line in capsys.readouterr().err.splitlines() if "levels from" in line]
    assert f"{mask.name}: 2 levels from 127 to 255 all count as this lesion" in doubt


def test_the_papers_tiling_is_143_patches_side_by_side():
    contract = replace(tiny_set.CONTRACT, window_side=256, overlap=64)
    paper = comparison.with_tiling(contract, "paper")
    assert (paper.overlap, paper.part) == (0, "paper")
    assert len(tiling.regular_grid(canvas.PAPER_CROP, 256, paper.overlap)) == 143
    assert comparison.with_tiling(contract, "model") is contract


def test_memory_that_runs_out_is_no_damaged_photograph(made, monkeypatch):
    def run_out(*_, **__):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(Image, "open", run_out)
    with pytest.raises(MemoryError, match="Cannot allocate memory"):
        plan.require_crop(made[2])


def test_the_figure_holds_five_pictures_in_the_papers_order(comparisons):
    patch = comparisons["EX"].patch
    picture = np.asarray(Image.open(figure.io.BytesIO(figure.png(patch))).convert("RGB"))
    side = figure.ENLARGEMENT * patch.truth.shape[0]
    cells = [
        picture[figure.CAPTION_HEIGHT :, left : left + side][:: figure.ENLARGEMENT, :: figure.ENLARGEMENT]
        for left in range(0, 5 * (side + figure.GAP), side + figure.GAP)
    ]
    np.testing.assert_array_equal(cells[0], patch.pixels)
    np.testing.assert_array_equal(cells[1][..., 0] > 0, patch.truth)
    for cell, row in zip(cells[2:], ("LocalNet", "GlobalNet", "fused"), strict=True):
        np.testing.assert_array_equal(cell[..., 1], patch.maps[row] // 257)


def test_the_table_has_our_rows_and_the_papers(comparisons):
    text = tables.table_1(comparisons)
    lines = [line.split("|")[1].strip() for line in text.splitlines()]
    assert lines[2:] == [
        *("GlobalNet", "LocalNet", "fused", "fused - GlobalNet", "fused - LocalNet"),
        *("paper, GlobalNet", "paper, LocalNet", "paper, fused"),
    ]
    assert "0.889" in text.splitlines()[-1]
    assert "0.679" in text.splitlines()[-1]


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0.01, 0.03, "+0.020 (+0.010 to +0.030) *"), (-0.01, 0.03, "+0.020 (-0.010 to +0.030)")],
)
def test_a_star_marks_a_difference_whose_interval_leaves_0_out(comparisons, low, high, text):
    column = replace(
        comparisons["EX"], gains=dict.fromkeys(tables.STREAM_ROWS, Estimate(value=0.02, low=low, high=high))
    )
    assert f"| {text} |" in tables.table_1({"EX": column})


def test_the_record_and_the_page_say_the_same(comparisons):
    about = {"recipe": "tiny"}
    record = tables.json.loads(tables.record(comparisons, about))
    fused = record["lesions"]["EX"]["aupr_exact"]["fused"]
    value = fused["value"]
    assert abs(fused["interval_deviation"]) < 0.1
    assert fused["interval_deviation"] == comparisons["EX"].deviations["fused"]
    page = tables.page(comparisons, about)
    assert f"{value:.3f}" in page
    assert "figure-2-EX.png" in page
    assert [stratum["lesions"] for stratum in record["lesions"]["SE"]["by_diameter"]] == list(
        comparisons["SE"].lesion_counts
    )


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Publish a tiny recipe and return what runs `foveate compare` with it."""
    tiny_set.write(tmp_path / "set")
    split = tmp_path / "folds.json"
    split.write_text(json.dumps({"folds": {"IDRiD_01": 0, "IDRiD_02": 1, "IDRiD_03": 2}}))
    monkeypatch.setattr(recipes, "RECIPES", {"tiny": lambda: tiny_set.recipe(split=split)})
    fewer = [f"--set=stages.{stage}.steps=2" for stage in STAGES]
    line = ["compare", "tiny", "--data", str(tmp_path / "set"), "--out", str(tmp_path / "out"), *fewer]
    return lambda *options: cli.run([*line, "--threads", "1", *options])


def test_the_command_trains_what_is_missing_and_writes_the_table(command, tmp_path, capsys, monkeypatch):
    check_files, checked = checks.check_files, []

    def record(cases, lesions, *more):
        checked.append(([case.name for case in cases], lesions))
        return check_files(cases, lesions, *more)

    monkeypatch.setattr(checks, "check_files", record)
    assert command("--lesions", "EX") == 0

    shown = capsys.readouterr()
    assert checked == [
        (["IDRiD_02", "IDRiD_03"], tiny_set.recipe().contract.lesions),  # what is trained on
        (["IDRiD_01"], ("EX",)),  # what is compared on
    ]
    assert "| GlobalNet |" in shown.out
    assert "global-alone 2/2" in shown.err
    content = json.loads((tmp_path / "out/comparison.json").read_text())
    assert list(content["lesions"]) == ["EX"]
    assert content["steps"]["local-alone"] == 2
    assert (tmp_path / "out/figure-2-EX.png").is_file()
    assert "figure-2-EX.png" in (tmp_path / "out/comparison.md").read_text()

    (tmp_path / "out/figure-2-MA.png").write_bytes(b"of an earlier comparison with more lesions")
    assert command("--lesions", "EX") == 1
    message = "already contains comparison.md; replace that comparison with --replace, or choose another"
    assert message in capsys.readouterr().err
    assert (tmp_path / "out/figure-2-MA.png").is_file()

    assert command("--lesions", "EX", "--replace") == 0  # all is trained: only compared again
    assert "alone 1/2" not in capsys.readouterr().err
    assert checked[2:] == [([], tiny_set.recipe().contract.lesions), (["IDRiD_01"], ("EX",))]
    assert [path.name for path in sorted((tmp_path / "out").glob("*.*"))] == [
        "comparison.json",
        "comparison.md",
        "figure-2-EX.png",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks of folders")
def test_a_second_comparison_into_the_same_folder_is_refused(command, tmp_path, capsys):
    with atomic_files.reserve(tmp_path / "out"):
        assert command() == 1

    line = f"foveate: another run is writing to {tmp_path / 'out'}; wait for it, or choose another folder\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fold", "none"), "name photographs to compare on with --on"),
        (("--fold", "none", "--on", "train"), "was used for training"),
        (("--on", "elsewhere"), "no split 'elsewhere'"),
        (("--tiling", "paper"), "too few for the paper's crop of 2816 x 3328 px; choose --tiling model"),
        (("--lesions", "NV"), "'NV' is unknown"),
        (("--healthy", "nowhere"), "nowhere: no such file or folder"),
    ],
)
def test_a_comparison_that_is_impossible_is_refused_before_anything_is_trained(
    command, tmp_path, capsys, options, message
):
    assert command(*options) in (1, 2)
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out/run").exists()


@pytest.mark.parametrize("fold", [0, 1], ids=["held back", "trained on"])
def test_a_damaged_mask_ends_a_comparison_before_anything_is_trained(command, tmp_path, capsys, fold):
    mask = next((tmp_path / "set").rglob("IDRiD_01_EX.tif"))
    mask.write_bytes(mask.read_bytes()[:-20])

    assert command("--lesions", "EX", "--fold", str(fold)) == 1

    assert "IDRiD_01_EX.tif: unreadable mask" in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out/run").exists()


@pytest.mark.parametrize("fold", [0, 1], ids=["held back", "trained on"])
def test_a_photograph_without_a_field_ends_a_comparison_before_anything_is_trained(
    command, tmp_path, capsys, fold
):
    photograph = next((tmp_path / "set").rglob("IDRiD_01.jpg"))
    with Image.open(photograph) as picture:
        size = picture.size
    Image.new("RGB", size, (90, 60, 30)).save(photograph)

    assert command("--lesions", "EX", "--fold", str(fold)) == 1

    assert "IDRiD_01.jpg: " in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out/run").exists()


@pytest.fixture
def partly(tmp_path, monkeypatch):
    """A layout whose split 'test' has a photograph that was annotated for exudates alone."""
    (train,) = layouts.IDRID.splits["train"]
    masks = {code: (f"test/masks/{{name}}_{code}",) for code in train.masks}
    both = (
        Folders(photographs="test/all/*", masks=masks, annotated=train.annotated),
        Folders(photographs="test/some/*", masks={"EX": masks["EX"]}, annotated=("EX",)),
    )
    layout = replace(layouts.IDRID, name="partly", splits={"train": (train,), "test": both}, roots=(".",))
    monkeypatch.setattr(layouts, "LAYOUTS", {"partly": layout})
    listed = {case.name: case for case in layouts.cases(tmp_path / "set", layouts.IDRID, "train")}
    for name, folder in (("IDRiD_01", "all"), ("IDRiD_02", "some")):
        (tmp_path / "set/test" / folder).mkdir(parents=True)
        shutil.copy(listed[name].photograph, tmp_path / "set/test" / folder / f"{folder}.jpg")
    (tmp_path / "set/test/masks").mkdir()
    for name in ("all", "some"):
        shutil.copy(listed["IDRiD_01"].masks["EX"], tmp_path / f"set/test/masks/{name}_EX.tif")
    return tmp_path / "set/test"


def test_what_a_split_to_compare_on_lacks_is_said_before_anything_is_trained(
    command, partly, capsys, monkeypatch
):
    def stop(_):
        raise TrainingError("the training begins")

    monkeypatch.setattr(runner, "train", stop)
    shutil.copy(partly / "masks/all_EX.tif", partly / "masks/gone_EX.tif")

    assert command("--layout", "partly", "--on", "test") == 1

    orphan, left_out, error = capsys.readouterr().err.splitlines()
    assert orphan.endswith("gone_EX.tif: in a folder of masks, but its name is that of no photograph")
    assert left_out == (
        "foveate: 1 photograph of split test left out: not annotated for all of EX, MA, HE, SE"
    )
    assert "the training begins" in error


def test_of_several_processes_only_the_first_says_what_is_left_out(command, partly, capsys, monkeypatch):
    def stop(_):
        raise TrainingError("the training begins")

    monkeypatch.setattr(runner, "train", stop)
    monkeypatch.setenv("RANK", "1")

    assert command("--layout", "partly", "--on", "test") == 1

    assert "left out" not in capsys.readouterr().err


def test_a_split_without_a_photograph_to_compare_on_is_refused_before_anything_is_trained(
    command, partly, tmp_path, capsys
):
    (partly / "all/all.jpg").unlink()

    assert command("--layout", "partly", "--on", "test") == 1

    assert "no photograph is annotated for all of EX, MA, HE, SE" in capsys.readouterr().err
    assert not (tmp_path / "out/run").exists()


def test_a_comparison_on_a_photograph_of_any_name_is_shown_and_written(
    command, tmp_path, capsys, monkeypatch
):
    """A name that is not valid Unicode, as from a ZIP file of another country."""
    name = os.fsdecode(b"caf\xe9")
    for path in list((tmp_path / "set").rglob("IDRiD_01*")):
        path.rename(path.with_name(path.name.replace("IDRiD_01", name)))
    (tmp_path / "folds.json").write_text(json.dumps({"folds": {name: 0, "IDRiD_02": 1, "IDRiD_03": 2}}))
    real = atomic_files.write_files

    def full(folder, files):
        raise OutputError("no space is left")

    monkeypatch.setattr(atomic_files, "write_files", full)
    assert command("--lesions", "EX") == 1
    shown = capsys.readouterr()
    assert "no space is left" in shown.err
    assert "| GlobalNet |" in shown.out  # the table is not lost

    monkeypatch.setattr(atomic_files, "write_files", real)
    assert command("--lesions", "EX") == 0
    assert "EX in caf\\udce9" in (tmp_path / "out/comparison.md").read_text("utf-8")
