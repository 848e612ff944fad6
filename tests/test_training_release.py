"""A finished run becomes a package: its thresholds, its record, and that it predicts what was validated."""

import shutil
import unicodedata
from dataclasses import replace

import numpy as np
import pytest
import tiny_set
from PIL import Image
from safetensors.torch import load_file

from foveate import evaluation, metrics, models, photographs
from foveate.datasets import read_mask
from foveate.datasets.layouts import LAYOUTS
from foveate.engines import onnx
from foveate.errors import DatasetError, FieldError, TrainingError
from foveate.evaluation import effort_cutoffs, evidence_cuts, networks
from foveate.metrics.calibration import PlattScaling
from foveate.training import export, release, run_record, trainer
from foveate.training.recipe import STAGES
from foveate.training.run_folder import RunFolder
from foveate.training.run_record import AveragedRun, RunSplit, StartPackage
from foveate.types import Decision, SelectionRule

LESIONS = tiny_set.CONTRACT.lesions

NO_CUT = evidence_cuts.EvidenceCut(
    minimum_evidence=0.0,
    before=(outcome := evidence_cuts.CutOutcome(dice=0.5, found=0.5, false_regions=1.0)),
    after=outcome,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("release")
    cached_cases, cases = tiny_set.cached_cases(root), tiny_set.cases(root / "set")
    recipe = tiny_set.recipe()
    for stage in STAGES:
        list(trainer.train_stage(recipe, cached_cases, RunFolder(root / "run"), stage))
    return release.FinishedRun(
        recipe=recipe,
        folder=root / "run",
        stage="joint",
        training_cases=cases[:2],
        held_back=cases[:1],
        layout=LAYOUTS["idrid"],
    )


@pytest.fixture(scope="module")
def inputs(trained):
    return release.ReleaseInputs(shipped=trained, validation_runs=[trained])


@pytest.fixture(scope="module")
def histograms(inputs):
    return {row: release.validate(inputs, row) for row in networks.ROW_ENGINES}


@pytest.fixture(scope="module")
def tables(histograms):
    return {row: evaluation.score(cases, resamples=10) for row, cases in histograms.items()}


def test_each_row_of_table_1_is_another_network(tables):
    precisions = {row: table["HE"].average_precision for row, table in tables.items()}

    assert len(set(precisions.values())) == 3, precisions


def test_thresholds_maximise_dice_and_areas_are_a_quantile_of_annotated_regions(trained, tables):
    decisions = release.choose_decisions(trained, tables["fused"], {})
    shapes = [photographs.read(case.photograph).shape for case in trained.training_cases]
    masks = [
        read_mask(case.masks["MA"], shape) for case, shape in zip(trained.training_cases, shapes, strict=True)
    ]

    assert decisions["EX"].threshold == pytest.approx(tables["fused"]["EX"].threshold, abs=1e-4)
    assert 1 <= decisions["MA"].minimum_area <= max(int(mask.sum()) for mask in masks)
    assert decisions["HE"].minimum_area > decisions["MA"].minimum_area


def test_smallest_areas_are_those_of_the_canvas_whatever_the_scale_of_a_photograph(trained, tables):
    """The third photograph's field has 240 px: its canvas is resampled to the 170 px of the contract."""
    third = tiny_set.cases(trained.folder.parent / "set")[2]
    contract = replace(trained.recipe.contract, lesions=("EX", "MA"))
    recipe = tiny_set.replace(trained.recipe, contract=contract)
    run = tiny_set.replace(trained, recipe=recipe, training_cases=[third])

    decisions = release.choose_decisions(run, tables["fused"], {})

    shape = photographs.read(third.photograph).shape
    for lesion in contract.lesions:
        area = np.count_nonzero(read_mask(third.masks[lesion], shape))  # of the only region
        assert decisions[lesion].minimum_area == pytest.approx(area * (170 / 240) ** 2, rel=0.05)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("held_back", "no held-back photograph has lesion SE, so its threshold cannot be chosen"),
        ("training_cases", "no training photograph has lesion SE, so its smallest area cannot be chosen"),
    ],
)
@pytest.mark.parametrize("is_empty", [False, True])
def test_a_lesion_missing_on_one_side_is_refused_before_anything_is_validated(
    trained, tmp_path, part, said, is_empty
):
    cases = []
    for case in getattr(trained, part):
        masks = {lesion: path for lesion, path in case.masks.items() if lesion != "SE"}
        if is_empty:
            masks["SE"] = tmp_path / f"{case.name}_SE.png"
            Image.new("L", photographs.read(case.photograph).shape[::-1]).save(masks["SE"])
        cases.append(replace(case, masks=masks))
    run = tiny_set.replace(trained, **{part: cases})

    with pytest.raises(DatasetError, match=said):
        release.ReleaseInputs(shipped=run, validation_runs=[run])


def test_a_damaged_mask_of_the_last_photograph_held_back_is_refused_before_anything_is_validated(
    trained, tmp_path
):
    first, _, third = tiny_set.cases(trained.folder.parent / "set")
    damaged = tmp_path / "IDRiD_03_EX.tif"
    damaged.write_bytes(third.masks["EX"].read_bytes()[:-20])
    third = replace(third, masks={**third.masks, "EX": damaged})
    run = tiny_set.replace(trained, held_back=[first, third])  # the first has all lesions

    inputs = release.ReleaseInputs(shipped=run, validation_runs=[run])
    with pytest.raises(DatasetError, match=r"IDRiD_03_EX\.tif: unreadable mask"):
        inputs.check_files()


def test_a_photograph_without_a_field_is_refused_before_anything_is_validated(trained, tmp_path):
    first, *_ = tiny_set.cases(trained.folder.parent / "set")
    blank = tmp_path / "blank.png"
    Image.new("RGB", photographs.read(first.photograph).shape[::-1], (90, 60, 30)).save(blank)
    run = tiny_set.replace(trained, held_back=[first, replace(first, name="blank", photograph=blank)])

    inputs = release.ReleaseInputs(shipped=run, validation_runs=[run])
    with pytest.raises(FieldError, match=r"blank\.png: "):
        inputs.check_files()


def test_a_calibrated_threshold_is_where_the_calibrated_map_has_it(trained, tables, histograms):
    scalings = {"EX": PlattScaling(slope=2.0, shift=-1.0)}
    plain, scaled = (release.choose_decisions(trained, tables["fused"], each) for each in ({}, scalings))
    logit = np.log(plain["EX"].threshold / (1 - plain["EX"].threshold))

    assert scaled["EX"].threshold == pytest.approx(1 / (1 + np.exp(1 - 2 * logit)), abs=1e-3)
    assert scaled["MA"] == plain["MA"]


def test_a_threshold_is_never_rounded_to_0(trained, tables):
    scores = tables["fused"] | {"SE": replace(tables["fused"]["SE"], threshold=1 / 65535)}

    assert release.choose_decisions(trained, scores, {})["SE"].threshold == 0.0001


def test_the_package_scores_what_was_validated(inputs, histograms, tables, tmp_path, monkeypatch):
    # Six steps a stage make maps so flat that put right they are others where windows overlap.
    monkeypatch.setattr(release, "fit_calibration", lambda histograms: {})
    # The rows are of all regions; those that a package leaves out are tested below.
    monkeypatch.setattr(release, "choose_evidence_cuts", lambda *_: dict.fromkeys(tables["fused"], NO_CUT))
    release.write_package(inputs.shipped, release.choose(inputs, histograms), "1", tmp_path / "package")

    package = models.load(tmp_path / "package")
    histograms_of_package = list(
        evaluation.count_pixels(inputs.validation_runs[0].held_back, package, onnx.open(package, threads=1))
    )

    for lesion, score in tables["fused"].items():
        precision = metrics.average_precision(histograms_of_package[0].counts[lesion])
        assert precision == pytest.approx(score.average_precision, abs=1e-3), lesion
    assert package.manifest["licence"] == package.manifest["data"]["licence"] == "CC-BY-4.0"
    assert "Porwal" in package.manifest["data"]["attribution"]
    assert package.manifest["intended_use"].startswith("Research on hard exudates, microaneurysms,")
    record = package.manifest["training"]
    assert record["photographs"] == ["IDRiD_01", "IDRiD_02"]
    assert "averaged" not in record
    assert record["healthy"] == []
    assert record["start"] is None
    assert record["validation"]["photographs"] == record["validation"]["learned_from_them"] == ["IDRiD_01"]
    assert record["validation"]["calibration"]["fused"]["EX"]["slope"] is None
    assert record["validation"]["rows"]["fused"]["EX"]["average_precision"] == pytest.approx(
        tables["fused"]["EX"].average_precision
    )


def test_the_package_is_calibrated_as_the_photographs_held_back_have_it(inputs, histograms, tmp_path):
    scaling = release.fit_calibration(histograms["fused"])["EX"]
    release.write_package(inputs.shipped, release.choose(inputs, histograms), "1", tmp_path / "package")
    plain = export.round_to_half(release.build_network(inputs.shipped))

    package = models.load(tmp_path / "package")
    with np.load(package.folder / "example.npz") as example:
        calibrated = example["probabilities"][:, 0].astype(np.float64)
        uncalibrated = export._make_example(plain, inputs.shipped.recipe.contract)["probabilities"][:, 0]
    expected = scaling(uncalibrated.astype(np.float64).ravel()).reshape(calibrated.shape)

    np.testing.assert_allclose(calibrated, expected, atol=2e-3)  # weights are rounded after they are scaled
    record = package.manifest["training"]["validation"]["calibration"]["fused"]["EX"]
    assert record["slope"] == scaling.slope
    assert record["shift"] == scaling.shift
    assert 0 <= record["error_before"] <= 1
    cuts = package.manifest["training"]["validation"]["evidence"]
    assert list(cuts) == list(package.decisions)
    for lesion, cut in cuts.items():
        assert package.decisions[lesion].minimum_evidence == cut["minimum_evidence"]
        assert cut["before"]["found"] - cut["after"]["found"] <= evidence_cuts.FOUND_LIMIT + 1e-9
        assert cut["after"]["false_regions"] <= cut["before"]["false_regions"]
    assert any(cut["minimum_evidence"] for cut in cuts.values())


def test_globalnets_shares_are_in_what_is_validated_and_in_the_package(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(release, "fit_calibration", lambda histograms: {})
    recipe = tiny_set.replace(trained.recipe, global_shares=(0.0, 0.0, 0.0, 0.5))
    averaged = (AveragedRun(overrides={"seed": "1"}, weights="ab"), AveragedRun(overrides={}, weights="cd"))
    run = tiny_set.replace(trained, recipe=recipe, averaged=averaged)
    inputs = release.ReleaseInputs(shipped=run, validation_runs=[run])
    rows = {row: release.validate(inputs, row)[0].counts for row in networks.ROW_ENGINES}
    plain_inputs = release.ReleaseInputs(shipped=trained, validation_runs=[trained])
    plain_rows = {row: release.validate(plain_inputs, row)[0].counts for row in networks.ROW_ENGINES}
    choices = release.choose(inputs, {row: release.validate(inputs, row) for row in networks.ROW_ENGINES})
    release.write_package(run, choices, "1", tmp_path / "package")
    package = models.load(tmp_path / "package")
    assert package.manifest["training"]["averaged"] == [
        {"set": {"seed": "1"}, "weights": "ab"},
        {"set": {}, "weights": "cd"},
    ]
    engine = onnx.open(package, threads=1)
    package = tiny_set.replace(  # without the evidence cut
        package, decisions={code: Decision(threshold=0.5, minimum_area=1) for code in package.decisions}
    )
    (packaged,) = evaluation.count_pixels(run.held_back, package, engine)

    def differing(first, second):
        return [
            lesion
            for lesion in first
            if metrics.average_precision(first[lesion])
            != pytest.approx(metrics.average_precision(second[lesion]), abs=1e-3)
        ]

    assert differing(rows["fused"], plain_rows["fused"]) == ["SE"]
    assert differing(rows["GlobalNet"], plain_rows["GlobalNet"]) == []
    assert differing(rows["LocalNet"], plain_rows["LocalNet"]) == []
    assert differing(packaged.counts, rows["fused"]) == []
    assert package.manifest["training"]["recipe"]["global_shares"] == [0.0, 0.0, 0.0, 0.5]
    with pytest.raises(TrainingError, match="its network or contract differs from that of"):
        release.ReleaseInputs(shipped=run, validation_runs=[trained])
    zeros = tiny_set.replace(trained, recipe=tiny_set.replace(trained.recipe, global_shares=(0.0,) * 4))
    release.ReleaseInputs(shipped=zeros, validation_runs=[trained])  # the same network


def test_the_manifest_states_the_recipe_that_the_run_was_begun_with(trained, inputs, histograms, tmp_path):
    today = tiny_set.replace(trained, recipe=tiny_set.replace(trained.recipe, power=0.5))

    release.write_package(today, release.choose(inputs, histograms), "1", tmp_path / "package")

    assert models.load(tmp_path / "package").manifest["training"]["recipe"]["power"] == 0.9


def test_selection_rules_are_chosen_with_the_calibrated_networks_of_the_validation_runs(inputs, monkeypatch):
    stepped = tiny_set.replace(inputs.shipped.recipe.contract, step=16)
    recipe = tiny_set.replace(inputs.shipped.recipe, contract=stepped)
    run = tiny_set.replace(inputs.shipped, recipe=recipe)
    scalings = {row: {"EX": PlattScaling(slope=2.0, shift=-1.0)} for row in release.CALIBRATED_ROWS}
    calls = []

    def coarse_results(package, engine, cases):
        calls.append((package.contract, engine.network.global_net.head.bias[0].item(), list(cases)))
        return ["result"]

    def choose(results, tta_views):
        assert results == ["result"]
        return {"fast": SelectionRule(tta_views=tta_views, criteria={})}

    monkeypatch.setattr(effort_cutoffs, "coarse_results", coarse_results)
    monkeypatch.setattr(effort_cutoffs, "choose", choose)

    rules = release.choose_selection_rules(
        release.ReleaseInputs(shipped=run, validation_runs=[run]), scalings
    )

    assert rules == {"fast": SelectionRule(tta_views=stepped.tta_views, criteria={})}
    plain = release.build_network(run).global_net.head.bias[0].item()
    ((contract, bias, cases),) = calls
    assert contract == stepped
    assert bias == pytest.approx(2 * plain - 1)
    assert cases == list(run.held_back)


def test_a_network_of_one_window_size_has_no_selection_rules(inputs):
    assert release.choose_selection_rules(inputs, {row: {} for row in release.CALIBRATED_ROWS}) == {}


def test_a_stage_that_is_not_finished_is_named(trained, tmp_path):
    with pytest.raises(TrainingError, match=r"fusion|global"):
        release.build_network(tiny_set.replace(trained, folder=tmp_path, stage="fusion"))


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_run_without_its_weights_is_refused_before_any_run_is_validated(trained, tmp_path, is_damaged):
    unfinished = tiny_set.replace(trained, folder=tmp_path, held_back=())
    if is_damaged:
        (tmp_path / "joint.safetensors").write_bytes(b"x")

    for runs in ((unfinished, [trained]), (tiny_set.replace(trained, held_back=()), [trained, unfinished])):
        with pytest.raises(TrainingError, match=r"joint\.safetensors: "):
            release.ReleaseInputs(shipped=runs[0], validation_runs=runs[1])


def test_after_the_fusion_stage_the_streams_are_those_of_their_own_stages(trained):
    network = release.build_network(tiny_set.replace(trained, stage="fusion"))
    streams = load_file(trained.folder / "global.safetensors")

    assert all(
        np.array_equal(streams[name], tensor) for name, tensor in network.global_net.state_dict().items()
    )
    assert export.round_to_half(network) is not network


def test_without_photographs_held_back_nothing_is_released(trained):
    nothing = tiny_set.replace(trained, held_back=())
    with pytest.raises(TrainingError, match="no photograph was held back"):
        release.ReleaseInputs(shipped=nothing, validation_runs=[nothing])


def test_a_model_trained_on_all_photographs_is_validated_by_runs_that_held_some_back(trained):
    first, second, third = tiny_set.cases(trained.folder.parent / "set")
    whole = tiny_set.replace(trained, training_cases=(first, second, third), held_back=())
    validation_runs = [tiny_set.replace(trained, held_back=[case]) for case in (first, third)]

    inputs = release.ReleaseInputs(shipped=whole, validation_runs=validation_runs)

    assert inputs.held_back == ("IDRiD_01", "IDRiD_03")
    assert [case.name for case in release.validate(inputs)] == ["IDRiD_01", "IDRiD_03"]


def test_runs_that_do_not_belong_together_are_refused(trained):
    with pytest.raises(TrainingError, match="photograph IDRiD_01 was held back in two of the runs"):
        release.ReleaseInputs(shipped=trained, validation_runs=[trained, trained])
    narrow = tiny_set.replace(trained.recipe.network, fusion_width=5)
    other_run = tiny_set.replace(trained, recipe=tiny_set.replace(trained.recipe, network=narrow))
    with pytest.raises(TrainingError, match="its network or contract differs from that of"):
        release.ReleaseInputs(shipped=trained, validation_runs=[other_run])


def test_runs_whose_last_stages_differ_are_refused(trained):
    refined = tiny_set.replace(trained, stage="refine", held_back=())

    with pytest.raises(TrainingError, match=r"its last stage is 'joint', that of .* is 'refine'"):
        release.ReleaseInputs(shipped=refined, validation_runs=[trained])


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        (("IDRiD_01", "IDRiD_02", "IDRiD_03", "IDRiD_09"), "such as IDRiD_09, which the set lacks"),
        (("IDRiD_01", "IDRiD_02", "healthy-a"), "1 photograph, such as IDRiD_03, which the run has not seen"),
        (("IDRiD_01", "IDRiD_02", "IDRiD_03", "healthy-a"), None),
    ],
)
def test_a_run_is_released_with_the_set_that_it_was_trained_on(trained, tmp_path, recorded, said):
    cases = tiny_set.cases(trained.folder.parent / "set")
    run = RunFolder(tmp_path / "run")
    folds = {case.name: number for number, case in enumerate(cases)}
    run.keep_split(RunSplit(about="", folds=folds, held_back=None))
    digests = run_record.file_digests(cases, LESIONS)
    run.keep_digests({name: digests.get(name, digests["IDRiD_01"]) for name in recorded}, LESIONS)

    def load():
        return release.load_run(tiny_set.recipe(), run.path, cases, LAYOUTS["idrid"])

    if said is None:
        assert load().trained_photographs == ("IDRiD_01", "IDRiD_02", "IDRiD_03")
        return
    with pytest.raises(TrainingError, match=f"run: was trained on another set; .*{said}; name the set"):
        load()


@pytest.fixture
def recorded_run(tmp_path):
    """The folder of a run that has recorded its set, and a copy of the set."""
    cases = tiny_set.write(tmp_path / "set")
    run = RunFolder(tmp_path / "run")
    run.keep_split(RunSplit(about="", folds={case.name: 0 for case in cases}, held_back=None))
    run.keep_digests(run_record.file_digests(cases, LESIONS), LESIONS)
    return run, cases


def load_with(run, root):
    cases = tiny_set.cases(root / "set")
    return release.load_run(tiny_set.recipe(), run.path, cases, LAYOUTS["idrid"])


def test_a_run_whose_records_spell_names_in_another_unicode_form_is_released(recorded_run):
    run, cases = recorded_run
    named = [tiny_set.replace(case, name=f"é-{case.name}") for case in cases]
    spelt = [tiny_set.replace(case, name=unicodedata.normalize("NFD", case.name)) for case in named]
    run.keep_split(RunSplit(about="", folds={case.name: 0 for case in spelt}, held_back=0))
    run.keep_digests(run_record.file_digests(spelt, LESIONS), LESIONS)

    loaded = release.load_run(tiny_set.recipe(), run.path, named, LAYOUTS["idrid"])

    assert [case.name for case in loaded.held_back] == [case.name for case in named]


def test_a_mask_that_this_copy_of_the_set_lacks_is_refused_as_the_run_had_it(recorded_run, tmp_path):
    run, (first, *_) = recorded_run
    first.masks["HE"].rename(tmp_path / "HE.tif")

    said = r"IDRiD_01\.jpg: has no mask of HE, with which .*run was trained; unpack the whole set"
    with pytest.raises(TrainingError, match=said):
        load_with(run, tmp_path)

    (tmp_path / "HE.tif").rename(first.masks["HE"])
    shutil.copy(first.masks["SE"], first.masks["SE"].parent / "IDRiD_02_SE.tif")
    with pytest.raises(TrainingError, match=r"IDRiD_02\.jpg: has a mask of SE, without which .*run was"):
        load_with(run, tmp_path)


def test_a_photograph_that_was_replaced_by_another_of_its_name_is_refused(recorded_run, tmp_path):
    run, (first, second, _) = recorded_run
    shutil.copy(second.photograph, first.photograph)

    with pytest.raises(TrainingError, match=r"IDRiD_01\.jpg: is not the photograph that .*run was trained"):
        load_with(run, tmp_path)


def test_masks_in_another_format_are_the_same_masks(recorded_run, tmp_path):
    run, cases = recorded_run
    for path in (path for case in cases for path in case.masks.values()):
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()

    assert load_with(run, tmp_path).trained_photographs == ("IDRiD_01", "IDRiD_02", "IDRiD_03")


def test_photographs_of_the_package_at_the_start_count_as_trained_on(trained):
    later = tiny_set.replace(
        trained,
        start=StartPackage(name="before", version="1", digest="0" * 64, photographs=("IDRiD_77", "IDRiD_01")),
    )

    assert later.trained_photographs == ("IDRiD_01", "IDRiD_02", "IDRiD_77")
