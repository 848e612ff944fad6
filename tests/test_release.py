"""From a finished run to a package: its thresholds, its record, and that it predicts what was validated."""

import numpy as np
import pytest
import tiny_set

from foveate import evaluation, export, models, photographs, release, scores
from foveate.datasets import read_mask
from foveate.datasets.layouts import LAYOUTS
from foveate.engines import onnx
from foveate.errors import TrainingError
from foveate.evaluation import networks
from foveate.training import run
from foveate.training.recipe import STAGES


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("release")
    sheets, cases = tiny_set.sheets(root), tiny_set.idrid.cases(root / "set", "train")
    recipe = tiny_set.recipe()
    for stage in STAGES:
        list(run.train_stage(recipe, sheets, root / "run", stage))
    return release.Trained(
        recipe=recipe,
        folder=root / "run",
        stage="joint",
        learned=cases[:2],
        held_back=cases[:1],
        layout=LAYOUTS["idrid"],
    )


@pytest.fixture(scope="module")
def tables(trained):
    return {row: evaluation.score(release.validate(trained, row), resamples=10) for row in networks.ROWS}


def test_each_row_of_table_1_is_another_network(tables):
    found = {row: table["HE"].average_precision for row, table in tables.items()}

    assert len(set(found.values())) == 3, found


def test_thresholds_are_those_of_the_highest_dice_and_areas_a_quantile_of_what_is_drawn(trained, tables):
    decisions = release.decide(trained, tables["fused"])
    shapes = [photographs.read(case.photograph).shape for case in trained.learned]
    drawn = [read_mask(case.masks["MA"], shape) for case, shape in zip(trained.learned, shapes, strict=True)]

    assert decisions["EX"].threshold == pytest.approx(tables["fused"]["EX"].threshold, abs=1e-4)
    assert 1 <= decisions["MA"].minimum_area <= max(int(mask.sum()) for mask in drawn)
    assert decisions["HE"].minimum_area > decisions["MA"].minimum_area


def test_the_package_scores_what_was_validated(trained, tables, tmp_path):
    release.write(trained, tables, "1", tmp_path / "package")

    package = models.load(tmp_path / "package")
    counted = list(evaluation.count(trained.held_back, package, onnx.open(package, threads=1)))

    for lesion, score in tables["fused"].items():
        again = scores.average_precision(counted[0].counts[lesion])
        assert again == pytest.approx(score.average_precision, abs=1e-3), lesion
    assert package.manifest["licence"] == package.manifest["data"]["licence"] == "CC-BY-4.0"
    assert "Porwal" in package.manifest["data"]["attribution"]
    assert package.manifest["intended_use"].startswith("Research on hard exudates, microaneurysms,")
    record = package.manifest["training"]
    assert record["photographs"] == ["IDRiD_01", "IDRiD_02"]
    assert record["healthy"] == []
    assert record["validation"]["photographs"] == ["IDRiD_01"]
    assert record["validation"]["rows"]["fused"]["EX"]["average_precision"] == pytest.approx(
        tables["fused"]["EX"].average_precision
    )


def test_a_stage_that_is_not_finished_is_named(trained, tmp_path):
    with pytest.raises(TrainingError, match=r"fusion|global"):
        release.network(tiny_set.replace(trained, folder=tmp_path, stage="fusion"))


def test_after_the_fusion_stage_the_streams_are_those_of_their_own_stages(trained):
    network = release.network(tiny_set.replace(trained, stage="fusion"))
    streams = run.load_file(trained.folder / "global.safetensors")

    assert all(
        np.array_equal(streams[name], tensor) for name, tensor in network.global_net.state_dict().items()
    )
    assert export.halved(network) is not network


def test_without_photographs_held_back_nothing_is_released(trained):
    with pytest.raises(TrainingError, match="held no photograph back"):
        tiny_set.replace(trained, held_back=())
