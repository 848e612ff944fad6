"""The refine stage shows a network the places where it wrongly marks healthy eyes."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import tiny_set
import torch

from foveate.datasets import dr_grades
from foveate.datasets.layouts import LAYOUTS
from foveate.errors import SettingError, TrainingError
from foveate.training import hard_negatives, release, runner, sampler, trainer
from foveate.training.distributed import LOCAL
from foveate.training.plan import TrainingPlan
from foveate.training.recipe import STAGES


def with_refine(**changes):
    """Return the tiny recipe with a refine stage of six steps."""
    plain = tiny_set.recipe(healthy_share=0.2)
    own = replace(plain.stages["joint"], **{"healthy_share": 0.5} | changes)
    return replace(plain, stages=plain.stages | {"refine": own})


@pytest.fixture
def plan(tmp_path):
    """Return a plan with two healthy eyes beside the tiny set."""
    cases = tiny_set.write(tmp_path / "set")
    split = tmp_path / "folds.json"
    split.write_text(json.dumps({"folds": {"IDRiD_01": 1, "IDRiD_02": 2, "IDRiD_03": 0}}))
    return TrainingPlan(
        recipe=replace(with_refine(), split=split),
        cases=cases,
        folder=tmp_path / "run",
        minutes=None,
        healthy=dr_grades.healthy_cases(tiny_set.write_healthy_eyes(tmp_path / "eyes"), None),
    )


def marking(lesion, level):
    """Return a network that gives a lesion a probability everywhere, and the others none."""
    network = tiny_set.seeded()
    logits = torch.full((len(tiny_set.CONTRACT.lesions),), -20.0)
    logits[tiny_set.CONTRACT.lesions.index(lesion)] = float(np.log(level / (1 - level)))
    for head in (network.global_net.head, network.local_net.head, network.fusion.layers[-1]):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    network.fusion.layers[-1].bias.data = logits
    return network


def attached(plan, build_network):
    cases = runner.cache_cases(plan, plan.recipe, LOCAL)
    return hard_negatives.attach(
        cases,
        healthy=plan.healthy,
        recipe=plan.recipe,
        run=plan.run,
        machine=LOCAL,
        build_network=build_network,
    )


@pytest.mark.parametrize(("level", "is_marked"), [(0.2, True), (0.1, False)])
def test_pixels_that_a_network_nearly_marks_in_healthy_eyes_are_kept(plan, level, is_marked):
    cases = attached(plan, lambda: marking("MA", level))

    of_set, healthy = cases[:2], cases[2:]
    assert not any(case.false_pixels for case in of_set)
    assert [list(case.false_pixels) for case in healthy] == [["MA"] if is_marked else []] * 2
    for case in healthy if is_marked else ():
        pixels = case.false_pixels["MA"]
        assert len(np.unique(pixels, axis=0)) == len(pixels) <= hard_negatives.MAX_PIXELS
        assert (pixels >= 0).all()
        assert (pixels < case.bits.shape).all()
        assert len(pixels) > 0.5 * np.prod(case.bits.shape)  # most of the canvas is field


def test_what_a_run_has_stored_is_not_computed_again(plan):
    first = attached(plan, lambda: marking("MA", 0.9))

    again = attached(plan, lambda: pytest.fail("the network was needed"))

    for before, after in zip(first, again, strict=True):
        assert before.false_pixels.keys() == after.false_pixels.keys()
        for lesion, pixels in before.false_pixels.items():
            assert np.array_equal(pixels, after.false_pixels[lesion])


def test_few_of_many_pixels_are_kept_and_the_same_ones_each_time(plan, monkeypatch):
    monkeypatch.setattr(hard_negatives, "MAX_PIXELS", 50)
    engine = hard_negatives.TorchEngine(network=marking("SE", 0.9))

    first, second = (hard_negatives.find(plan.healthy[0], plan.recipe, engine) for _ in range(2))

    assert len(first["SE"]) == 50
    assert np.array_equal(first["SE"], second["SE"])
    assert np.ptp(first["SE"], axis=0).min() > 50  # not a corner of the field


def test_memory_that_is_too_small_for_whole_healthy_eyes_is_an_error_of_one_line(plan, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB")

    monkeypatch.setattr(hard_negatives, "segment", full)

    with pytest.raises(
        TrainingError,
        match=r"^stage refine, .*: the GPU is out of memory; .* run the command again .*; .* add --device",
    ) as caught:
        attached(plan, lambda: marking("MA", 0.9))
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_named(plan):
    attached(plan, lambda: marking("MA", 0.9))
    path = plan.run.false_pixels(plan.healthy[0].name)
    path.write_bytes(path.read_bytes()[:100])

    with pytest.raises(TrainingError, match=r"healthy-eye-8\.npz: cannot be read .*; delete it"):
        attached(plan, lambda: pytest.fail("the network was needed"))


def test_windows_of_healthy_eyes_are_centred_near_wrongly_marked_pixels(plan):
    spot = np.array([[40, 60]], np.int32)
    cases = [
        replace(case, false_pixels={"EX": spot}) if case.is_healthy else case
        for case in runner.cache_cases(plan, plan.recipe, LOCAL)
    ]
    side = plan.recipe.contract.window_side

    centres = sampler.sample_centres(cases[2:], 1.0, side // 4, 20, np.random.default_rng(0))

    assert all(np.abs(np.array(centre) - spot[0]).max() <= side // 4 for _, centre in centres)


def test_the_refine_stage_has_its_own_share_of_healthy_eyes(plan):
    cases = runner.cache_cases(plan, plan.recipe, LOCAL)

    shares = {
        stage: np.mean(
            [
                spec.case.is_healthy
                for step in range(300)
                for spec in sampler.sample_specs(cases, plan.recipe, stage, step)
            ]
        )
        for stage in ("joint", "refine")
    }

    assert shares["joint"] == pytest.approx(0.2, abs=0.07)
    assert shares["refine"] == pytest.approx(0.5, abs=0.09)


def test_a_pickled_dataset_keeps_the_wrongly_marked_pixels(plan):
    cases = attached(plan, lambda: marking("MA", 0.9))
    steps = sampler.StepDataset(cases, plan.recipe, "refine", LOCAL)

    unpickled = pickle.loads(pickle.dumps(steps))

    assert np.array_equal(unpickled.cases[-1].false_pixels["MA"], cases[-1].false_pixels["MA"])


def test_a_run_with_healthy_eyes_ends_with_the_refine_stage_and_is_released_with_it(plan):
    list(runner.train(replace(plan, stages=plan.all_stages)))

    assert all(plan.run.is_finished(stage) for stage in (*STAGES, "refine"))
    finished = release.load_run(plan.recipe, plan.folder, plan.cases, LAYOUTS["idrid"])
    refined = release.build_network(finished)
    joint = release.build_network(replace(finished, stage="joint"))
    assert finished.stage == "refine"
    assert tiny_set.digests(refined) != tiny_set.digests(joint)


def test_the_refine_stage_starts_from_the_joint_stages_weights(plan):
    list(runner.train(plan))

    network = trainer.initial_network(plan.recipe, plan.run, "refine", None)

    joint = release.build_network(
        release.load_run(plan.recipe, plan.folder, plan.cases, LAYOUTS["idrid"], "joint")
    )
    assert tiny_set.digests(network) == tiny_set.digests(joint)


def test_without_healthy_eyes_there_is_nothing_to_refine(plan):
    alone = replace(plan, healthy=())

    assert alone.all_stages == STAGES
    with pytest.raises(SettingError, match="stage 'refine' needs healthy eyes; give some"):
        replace(alone, stages=(*STAGES, "refine"))


def test_a_recipe_without_the_stage_refuses_it(plan):
    plain = replace(plan, recipe=replace(plan.recipe, stages=tiny_set.recipe().stages))

    assert plain.all_stages == STAGES
    with pytest.raises(SettingError, match="recipe tiny has no stage 'refine'; choose among global, local"):
        replace(plain, stages=("refine",))


def test_the_records_of_a_run_are_written_before_its_false_pixels(plan, monkeypatch):
    """Otherwise the pixels of one network could be kept for a run that begins with another."""

    def killed(*_, **__):
        raise TrainingError("killed")

    monkeypatch.setattr(hard_negatives, "attach", killed)
    with pytest.raises(TrainingError, match="killed"):
        list(runner.train(replace(plan, stages=("refine",))))

    with pytest.raises(TrainingError, match="already contains a run; continue it with --resume"):
        list(runner.train(replace(plan, stages=("refine",))))
