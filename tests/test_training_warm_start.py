"""A network begins with all weights of a package, which must not be trained on photographs held back."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_set
import torch
from safetensors.torch import load_file, save_file

from foveate import nets
from foveate.datasets import Case
from foveate.errors import TrainingError
from foveate.training import run_split, runner, trainer, warm_start
from foveate.training.plan import TrainingPlan


@pytest.fixture
def start(tmp_path):
    """Return a package of a seeded network that was trained on IDRiD_01, and the network."""
    network = tiny_set.seeded(seed=5)
    folder = tmp_path / "package"
    folder.mkdir()
    state = {name: tensor.contiguous() for name, tensor in nets.fold_batch_norm(network).state_dict().items()}
    save_file(state, folder / "weights.safetensors")
    manifest = {"training": {"photographs": ["IDRiD_01"]}}
    package = tiny_set.replace(tiny_set.package(), folder=folder, manifest=manifest)
    return SimpleNamespace(package=package, network=network)


@pytest.fixture
def plan(tmp_path, start):
    cases = tiny_set.write(tmp_path / "set")
    split = tmp_path / "folds.json"
    split.write_text(json.dumps({"folds": {"IDRiD_01": 1, "IDRiD_02": 2, "IDRiD_03": 0}}))
    recipe = tiny_set.recipe(split=split)
    return TrainingPlan(recipe=recipe, cases=cases, folder=tmp_path / "run", start=start.package)


def test_a_network_begins_with_all_of_the_packages_weights(start):
    network = tiny_set.seeded(seed=6)

    assert warm_start.load_matching(network, start.package) == ()

    expected = nets.fold_batch_norm(start.network).state_dict()
    for name, tensor in nets.fold_batch_norm(network).state_dict().items():
        torch.testing.assert_close(tensor, expected[name], msg=name)


def test_a_packages_calibration_is_undone(start):
    network = tiny_set.seeded(seed=5)
    lines = {
        "fused": [(2.0, -1.0), nets.IDENTITY, (0.5, 2.0), (3.0, 0.5)],
        "GlobalNet": [(1.5, 0.5), (2.0, 0.0), nets.IDENTITY, (0.25, -4.0)],
    }
    calibrated = nets.fold_batch_norm(
        nets.calibrate(network, fused=lines["fused"], coarse=lines["GlobalNet"])
    ).state_dict()
    save_file(
        {name: t.contiguous() for name, t in calibrated.items()}, start.package.folder / warm_start.WEIGHTS
    )
    lesions = tiny_set.CONTRACT.lesions
    calibration = {
        row: {
            code: {"slope": slope, "shift": shift}
            for code, (slope, shift) in zip(lesions, row_lines, strict=True)
        }
        for row, row_lines in lines.items()
    }
    calibration["fused"]["MA"] = {"slope": None, "shift": None}  # not calibrated
    manifest = {"training": {"validation": {"calibration": calibration}}}
    other = tiny_set.seeded(seed=6)

    warm_start.load_matching(other, tiny_set.replace(start.package, manifest=manifest))

    for name in (
        "fusion.layers.4.weight",
        "fusion.layers.4.bias",
        "global_net.head.weight",
        "global_net.head.bias",
    ):
        torch.testing.assert_close(other.get_parameter(name), network.get_parameter(name))


def calibrated_package(start, network, recipe):
    """Save a network, all of its maps calibrated alike; return the package, which states a recipe."""
    slope, shift = 2.0, -1.0
    lines = [(slope, shift)] * 4
    calibrated = nets.fold_batch_norm(nets.calibrate(network, fused=lines, coarse=lines))
    weights = {name: tensor.contiguous() for name, tensor in calibrated.state_dict().items()}
    save_file(weights, start.package.folder / warm_start.WEIGHTS)
    stated = {code: {"slope": slope, "shift": shift} for code in tiny_set.CONTRACT.lesions}
    calibration = {"fused": stated, "GlobalNet": stated}
    manifest = {"training": {"recipe": recipe, "validation": {"calibration": calibration}}}
    return tiny_set.replace(start.package, manifest=manifest)


@pytest.mark.parametrize("width", [tiny_set.NETWORK.fusion_width, 16])
@pytest.mark.parametrize("package_corrects", [True, False])
@pytest.mark.parametrize("recipe_corrects", [True, False])
def test_calibration_is_undone_layer_by_layer_where_the_fusions_differ(
    start, width, package_corrects, recipe_corrects
):
    plan = tiny_set.replace(tiny_set.NETWORK, residual_fusion=package_corrects)
    network = tiny_set.seeded(lambda: nets.build(plan, 4), seed=5)
    package = calibrated_package(start, network, {"network": {"corrects": package_corrects}})
    other_plan = tiny_set.replace(tiny_set.NETWORK, residual_fusion=recipe_corrects, fusion_width=width)
    other = tiny_set.seeded(lambda: nets.build(other_plan, 4), seed=6)

    missing = warm_start.load_matching(other, package)

    loaded = {"fusion.layers.4", "global_net.head", "local_net.head"} - set(missing)
    assert len(loaded) == (3 if width == tiny_set.NETWORK.fusion_width else 2)
    for name in (f"{layer}.{kind}" for layer in sorted(loaded) for kind in ("weight", "bias")):
        torch.testing.assert_close(other.get_parameter(name), network.get_parameter(name), msg=name)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_globalnets_shares_are_undone(start, share):
    plan = tiny_set.replace(tiny_set.NETWORK, residual_fusion=True)
    network = tiny_set.seeded(lambda: nets.build(plan, 4), seed=5)
    torch.nn.init.normal_(network.fusion.layers[-1].weight)
    shares = [0.0, 0.0, 0.0, share]
    recipe = {"network": {"corrects": True}, "global_shares": shares}
    package = calibrated_package(start, nets.blend(network, shares), recipe)
    other = tiny_set.seeded(lambda: nets.build(plan, 4), seed=6)

    warm_start.load_matching(other, package)

    for layer in ("fusion.layers.4", "global_net.head", "local_net.head"):
        for name in (f"{layer}.weight", f"{layer}.bias"):
            torch.testing.assert_close(other.get_parameter(name), network.get_parameter(name), msg=name)


@pytest.mark.parametrize(
    "shares", [[0, 0, 0, 1], [0, 0, 0, -0.5], [0, 0, 0, "half"], [0.5], {"SE": 0.5}, 0.5]
)
def test_a_manifest_with_impossible_shares_is_refused(start, shares):
    manifest = {"training": {"recipe": {"global_shares": shares}}}
    package = tiny_set.replace(start.package, manifest=manifest)

    with pytest.raises(TrainingError, match=r"its manifest states .* as global_shares, not a number of"):
        warm_start.load_matching(tiny_set.seeded(), package)


def test_a_package_of_an_unrelated_network_is_refused(start):
    other = nets.build(
        tiny_set.replace(tiny_set.NETWORK, local_net=tiny_set.replace(tiny_set.STREAM, width=5)), 4
    )

    with pytest.raises(TrainingError, match="package tiny has no weights for local_net of this recipe"):
        warm_start.load_matching(other, start.package)


def test_stages_that_are_left_out_keep_the_packages_weights_and_statistics_stay(plan, start):
    list(runner.train(tiny_set.replace(plan, stages=("local",))))

    trained = load_file(plan.folder / "local.safetensors")
    assert all(not tensor.any() for name, tensor in trained.items() if name.endswith("running_mean"))
    begins = nets.fold_batch_norm(start.network).state_dict()["local_net.head.weight"]
    assert not torch.equal(trained["head.weight"], begins)

    list(runner.train(tiny_set.replace(plan, stages=("fusion",), resume=True)))

    stage_trainer = trainer.create_trainer(plan.recipe, plan.run, "joint", start.package, runner.LOCAL)
    assert torch.equal(stage_trainer.network.local_net.head.weight, trained["head.weight"])
    view = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            stage_trainer.network.global_net(view)[1], start.network.global_net(view)[1], atol=1e-4, rtol=1e-4
        )


def test_the_run_records_its_package_and_continues_only_with_it(plan):
    next(runner.train(plan))

    record = json.loads((plan.folder / "settings.json").read_text())["start"]
    assert record == {"name": "tiny", "version": "0", "digest": "0" * 64, "photographs": ["IDRiD_01"]}
    with pytest.raises(TrainingError, match="started with other settings"):
        next(runner.train(tiny_set.replace(plan, start=None, resume=True)))


def test_a_package_that_learned_from_what_is_held_back_is_refused(plan):
    plan = tiny_set.replace(plan, recipe=tiny_set.replace(plan.recipe, held_back=1))

    with pytest.raises(
        TrainingError, match="package tiny was trained on IDRiD_01, which this run holds back"
    ):
        next(runner.train(plan))

    assert not (plan.folder / "settings.json").exists()


def test_a_package_that_spells_what_is_held_back_in_another_unicode_form_is_refused(start):
    manifest = {"training": {"photographs": ["mu\u0308de"]}}  # NFD
    package = tiny_set.replace(start.package, manifest=manifest)
    held_back = [Case(name="m\xfcde", photograph=Path(), masks={})]

    with pytest.raises(TrainingError, match="package tiny was trained on m\xfcde, which this run holds back"):
        warm_start.require_unseen(package, tiny_set.recipe(), held_back)


def test_a_package_that_learned_from_a_healthy_eye_that_is_held_back_is_refused(start):
    manifest = {"training": {"photographs": ["IDRiD_01"], "healthy": ["IDRiD_138"]}}
    package = tiny_set.replace(start.package, manifest=manifest)
    held_back = [Case(name="IDRiD_138", photograph=Path(), masks={})]

    with pytest.raises(TrainingError, match="package tiny was trained on IDRiD_138, which this run holds"):
        warm_start.require_unseen(package, tiny_set.recipe(), held_back)
    assert warm_start.describe(package).photographs == ("IDRiD_01",)  # healthy eyes have no masks


def test_a_package_of_other_lesions_is_refused(plan, start):
    contract = tiny_set.replace(tiny_set.CONTRACT, lesions=("EX", "MA"))
    package = tiny_set.replace(start.package, contract=contract)

    with pytest.raises(
        TrainingError, match="package tiny is for EX, MA, but recipe tiny is for EX, MA, HE, SE"
    ):
        next(runner.train(tiny_set.replace(plan, start=package)))


def test_folds_that_are_assigned_to_check_the_package_are_those_of_the_run(plan, monkeypatch):
    calls = []

    def stratified(cases, *_):
        calls.append([case.name for case in cases])
        return {case.name: n for n, case in enumerate(cases)}

    monkeypatch.setattr(run_split.splits, "stratified", stratified)
    bare = tiny_set.replace(plan, recipe=tiny_set.replace(plan.recipe, split=None, held_back=2))

    (checked,) = run_split.require_folds([bare])
    (again,) = run_split.require_folds([checked])
    next(runner.train(again))

    assert calls == [["IDRiD_01", "IDRiD_02", "IDRiD_03"]]  # all masks are read once
    split = plan.run.read_split()
    assert (split.folds, split.held_back) == ({"IDRiD_01": 0, "IDRiD_02": 1, "IDRiD_03": 2}, 2)
