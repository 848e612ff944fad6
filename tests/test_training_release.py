"""From a finished run to a package: its thresholds, its record, and that it predicts what was validated."""

import numpy as np
import pytest
import tiny_set

from foveate import evaluation, metrics, models, photographs
from foveate.datasets import read_mask
from foveate.datasets.layouts import LAYOUTS
from foveate.engines import onnx
from foveate.errors import TrainingError
from foveate.evaluation import effort_cutoffs, networks
from foveate.metrics.calibration import PlattScaling
from foveate.training import export, release, trainer
from foveate.training.recipe import STAGES
from foveate.types import SelectionRule


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("release")
    cached_cases, cases = tiny_set.cached_cases(root), tiny_set.idrid.cases(root / "set", "train")
    recipe = tiny_set.recipe()
    for stage in STAGES:
        list(trainer.train_stage(recipe, cached_cases, root / "run", stage))
    return release.FinishedRun(
        recipe=recipe,
        folder=root / "run",
        stage="joint",
        learned=cases[:2],
        held_back=cases[:1],
        layout=LAYOUTS["idrid"],
    )


@pytest.fixture(scope="module")
def judged(trained):
    return release.ReleaseInputs(shipped=trained, by=[trained])


@pytest.fixture(scope="module")
def counted(judged):
    return {row: release.validate(judged, row) for row in networks.ROWS}


@pytest.fixture(scope="module")
def tables(counted):
    return {row: evaluation.score(cases, resamples=10) for row, cases in counted.items()}


def test_each_row_of_table_1_is_another_network(tables):
    found = {row: table["HE"].average_precision for row, table in tables.items()}

    assert len(set(found.values())) == 3, found


def test_thresholds_are_those_of_the_highest_dice_and_areas_a_quantile_of_what_is_drawn(trained, tables):
    decisions = release.choose_decisions(trained, tables["fused"], {})
    shapes = [photographs.read(case.photograph).shape for case in trained.learned]
    drawn = [read_mask(case.masks["MA"], shape) for case, shape in zip(trained.learned, shapes, strict=True)]

    assert decisions["EX"].threshold == pytest.approx(tables["fused"]["EX"].threshold, abs=1e-4)
    assert 1 <= decisions["MA"].minimum_area <= max(int(mask.sum()) for mask in drawn)
    assert decisions["HE"].minimum_area > decisions["MA"].minimum_area


def test_a_calibrated_threshold_is_where_the_calibrated_map_has_it(trained, tables, counted):
    scalings = {"EX": PlattScaling(slope=2.0, shift=-1.0)}
    plain, scaled = (release.choose_decisions(trained, tables["fused"], each) for each in ({}, scalings))
    logit = np.log(plain["EX"].threshold / (1 - plain["EX"].threshold))

    assert scaled["EX"].threshold == pytest.approx(1 / (1 + np.exp(1 - 2 * logit)), abs=1e-3)
    assert scaled["MA"] == plain["MA"]


def test_the_package_scores_what_was_validated(judged, counted, tables, tmp_path, monkeypatch):
    # Six steps a stage make maps so flat that put right they are others where windows overlap.
    monkeypatch.setattr(release, "fit_calibration", lambda counted: {})
    release.write_package(judged, counted, "1", tmp_path / "package")

    package = models.load(tmp_path / "package")
    found = list(evaluation.count(judged.by[0].held_back, package, onnx.open(package, threads=1)))

    for lesion, score in tables["fused"].items():
        again = metrics.average_precision(found[0].counts[lesion])
        assert again == pytest.approx(score.average_precision, abs=1e-3), lesion
    assert package.manifest["licence"] == package.manifest["data"]["licence"] == "CC-BY-4.0"
    assert "Porwal" in package.manifest["data"]["attribution"]
    assert package.manifest["intended_use"].startswith("Research on hard exudates, microaneurysms,")
    record = package.manifest["training"]
    assert record["photographs"] == ["IDRiD_01", "IDRiD_02"]
    assert record["healthy"] == []
    assert record["start"] is None
    assert record["validation"]["photographs"] == record["validation"]["learned_from_them"] == ["IDRiD_01"]
    assert record["validation"]["calibration"]["fused"]["EX"]["slope"] is None
    assert record["validation"]["rows"]["fused"]["EX"]["average_precision"] == pytest.approx(
        tables["fused"]["EX"].average_precision
    )


def test_the_package_is_calibrated_as_the_photographs_held_back_have_it(judged, counted, tmp_path):
    scaling = release.fit_calibration(counted["fused"])["EX"]
    release.write_package(judged, counted, "1", tmp_path / "package")
    plain = export.round_to_half(release.build_network(judged.shipped))

    package = models.load(tmp_path / "package")
    with np.load(package.folder / "example.npz") as example:
        put_right = example["probabilities"][:, 0].astype(np.float64)
        example_of_plain = export._make_example(plain, judged.shipped.recipe.contract)["probabilities"][:, 0]
    expected = scaling(example_of_plain.astype(np.float64).ravel()).reshape(put_right.shape)

    np.testing.assert_allclose(put_right, expected, atol=2e-3)  # weights are rounded after they are scaled
    told = package.manifest["training"]["validation"]["calibration"]["fused"]["EX"]
    assert told["slope"] == scaling.slope
    assert told["shift"] == scaling.shift
    assert 0 <= told["error_before"] <= 1


def test_where_to_look_less_is_chosen_with_the_judges_calibrated_networks(judged, monkeypatch):
    stepped = tiny_set.replace(judged.shipped.recipe.contract, step=16)
    recipe = tiny_set.replace(judged.shipped.recipe, contract=stepped)
    one = tiny_set.replace(judged.shipped, recipe=recipe)
    scalings = {row: {"EX": PlattScaling(slope=2.0, shift=-1.0)} for row in release.CALIBRATED_ROWS}
    looked = []

    def glimpses(package, engine, cases):
        looked.append((package.contract, engine.network.global_net.head.bias[0].item(), list(cases)))
        return ["seen"]

    def chosen(seen, tta_views):
        assert seen == ["seen"]
        return {"fast": SelectionRule(tta_views=tta_views, criteria={})}

    monkeypatch.setattr(effort_cutoffs, "coarse_results", glimpses)
    monkeypatch.setattr(effort_cutoffs, "choose_from_results", chosen)

    found = release.choose_selection_rules(release.ReleaseInputs(shipped=one, by=[one]), scalings)

    assert found == {"fast": SelectionRule(tta_views=stepped.tta_views, criteria={})}
    plain = release.build_network(one).global_net.head.bias[0].item()
    ((contract, bias, cases),) = looked
    assert contract == stepped
    assert bias == pytest.approx(2 * plain - 1)
    assert cases == list(one.held_back)


def test_a_network_of_one_window_size_looks_everywhere(judged):
    assert release.choose_selection_rules(judged, {row: {} for row in release.CALIBRATED_ROWS}) == {}


def test_a_stage_that_is_not_finished_is_named(trained, tmp_path):
    with pytest.raises(TrainingError, match=r"fusion|global"):
        release.build_network(tiny_set.replace(trained, folder=tmp_path, stage="fusion"))


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
        release.ReleaseInputs(shipped=nothing, by=[nothing])


def test_a_model_that_learned_from_all_is_judged_by_runs_that_did_not(trained):
    first, second, third = tiny_set.idrid.cases(trained.folder.parent / "set", "train")
    whole = tiny_set.replace(trained, learned=(first, second, third), held_back=())
    by = [tiny_set.replace(trained, held_back=[one]) for one in (first, third)]

    judged = release.ReleaseInputs(shipped=whole, by=by)

    assert judged.held_back == ("IDRiD_01", "IDRiD_03")
    assert [case.name for case in release.validate(judged)] == ["IDRiD_01", "IDRiD_03"]


def test_runs_that_do_not_belong_together_do_not_judge_together(trained):
    with pytest.raises(TrainingError, match="IDRiD_01 was held back by two of the runs"):
        release.ReleaseInputs(shipped=trained, by=[trained, trained])
    narrow = tiny_set.replace(trained.recipe.network, fusion_width=5)
    other = tiny_set.replace(trained, recipe=tiny_set.replace(trained.recipe, network=narrow))
    with pytest.raises(TrainingError, match="another network or contract"):
        release.ReleaseInputs(shipped=trained, by=[other])


def test_what_the_package_before_learned_from_counts_as_seen(trained):
    later = tiny_set.replace(trained, start={"name": "before", "photographs": ["IDRiD_77", "IDRiD_01"]})

    assert later.seen == ("IDRiD_01", "IDRiD_02", "IDRiD_77")
