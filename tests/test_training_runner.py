"""A run trains its stages in their order, on photographs that may be trained on."""

import json
import os
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_set

from foveate.datasets import SET_ASIDE
from foveate.errors import OutputError, TrainingError
from foveate.training import run_record, runner
from foveate.training.distributed import LOCAL
from foveate.training.recipe import STAGES
from foveate.training.run_folder import RunFolder


@pytest.fixture
def plan(tmp_path):
    return tiny_set.plan(tmp_path)


def test_stages_run_in_the_papers_order_and_a_finished_run_has_nothing_left_to_do(plan):
    trained = [stage for stage, _ in runner.train(plan)]

    assert list(dict.fromkeys(trained)) == list(STAGES)
    assert all(RunFolder(plan.folder).is_finished(stage) for stage in STAGES)
    assert list(runner.train(tiny_set.replace(plan, resume=True))) == []


def test_stages_that_are_named_in_another_order_or_twice_run_once_in_their_own(plan):
    stages = ("local-alone", "joint", "fusion", "local", "global", "fusion")

    trained = [stage for stage, _ in runner.train(tiny_set.replace(plan, stages=stages))]

    assert list(dict.fromkeys(trained)) == [*STAGES, "local-alone"]
    assert len(trained) == sum(stage.steps for stage in plan.recipe.stages.values()) + 6


def test_a_folder_that_holds_a_run_is_not_continued_without_resume(plan):
    next(runner.train(plan))

    with pytest.raises(TrainingError, match="--resume"):
        next(runner.train(plan))


def test_records_of_a_run_that_began_meanwhile_do_not_stay(plan, monkeypatch):
    cache_cases = runner.cache_cases

    def begin_another(
        own, recipe, machine
    ):  # another process, which has other settings, while this one caches
        other = replace(own, settings={"seed": "5"}, recipe=replace(own.recipe, held_back=1))
        runner._begin_run(other, machine)
        return cache_cases(own, recipe, machine)

    monkeypatch.setattr(runner, "cache_cases", begin_another)
    first = runner.train(plan)
    next(first)

    assert plan.run.read_split().held_back == 0
    assert plan.run.read_settings().overrides == {}
    with pytest.raises(TrainingError, match="the run was started with another split"):
        runner._begin_run(replace(plan, recipe=replace(plan.recipe, held_back=1)), LOCAL)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks of folders")
def test_a_stage_is_trained_by_one_process_and_two_stages_by_two(plan):
    first = runner.train(replace(plan, stages=("global",)))
    next(first)

    second = runner.train(replace(plan, stages=("local",), resume=True))
    next(second)
    message = f"^another run is writing to {plan.folder / 'running/global'}; wait for it"
    with pytest.raises(OutputError, match=message):
        next(runner.train(replace(plan, stages=("global",), resume=True)))

    first.close()
    assert {stage for stage, _ in runner.train(replace(plan, stages=("global",), resume=True))} == {"global"}
    assert {stage for stage, _ in second} == {"local"}


def test_held_back_photographs_are_never_cached(plan):
    next(runner.train(plan))

    cached = {path.name.rsplit("-", 1)[0] for path in (plan.run.cache).iterdir()}

    assert cached == {"IDRiD_01", "IDRiD_02"}


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_cannot_be_written_is_an_error_before_anything_is_made(plan, resume):
    plan.folder.write_text("a file is in the way")

    with pytest.raises(OutputError, match=r"run: cannot be written \(.*\): a file is in the way"):
        next(runner.train(replace(plan, resume=resume)))

    assert plan.folder.read_text() == "a file is in the way"


def test_a_folder_that_may_not_be_read_is_an_error_like_one_that_cannot_be_written(plan, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    for name in ("exists", "open"):  # what a superuser's own rights would let through
        real = getattr(Path, name)
        monkeypatch.setattr(
            Path,
            name,
            lambda path, *rest, real=real, **more: (
                refuse(path) if path.parent == plan.folder else real(path, *rest, **more)
            ),
        )

    with pytest.raises(OutputError, match="you may not write there"):
        next(runner.train(plan))


def test_a_run_removes_drafts_of_cached_cases_that_a_killed_one_left(plan):
    draft = plan.run.cache / ".draft-killed"
    draft.mkdir(parents=True)
    os.utime(draft, (0, 0))

    next(runner.train(plan))

    assert not draft.exists()


# how a run begins


def test_a_run_records_its_split_settings_data_and_start(plan):
    recorded = tiny_set.replace(plan, settings={"seed": "0"}, command=["foveate", "train"])
    next(runner.train(recorded))

    names = {path.name for path in plan.folder.iterdir()}
    assert {"recipe.json", "split.json", "settings.json", "data.json", "starts"} <= names
    assert "global-samples.jpg" in names
    split = json.loads((plan.folder / "split.json").read_text())
    assert split["folds"] == {"IDRiD_01": 1, "IDRiD_02": 2, "IDRiD_03": 0}
    assert split["held_back"] == 0
    assert json.loads((plan.folder / "settings.json").read_text())["set"] == {"seed": "0"}
    assert json.loads((plan.folder / "data.json").read_text()).keys() == {case.name for case in plan.cases}


@pytest.mark.parametrize("change", ["split", "settings", "data"])
def test_a_run_is_continued_only_as_it_was_begun(plan, change):
    next(runner.train(plan))
    again = tiny_set.replace(plan, resume=True)
    if change == "split":
        again = tiny_set.replace(again, recipe=replace(plan.recipe, held_back=1))
    elif change == "settings":
        again = tiny_set.replace(again, settings={"seed": "0"})
    else:
        mask = plan.cases[2].masks["EX"]
        tiny_set.palette_mask(tiny_set.draw(tiny_set.EYES["IDRiD_03"], 7)[1]["EX"]).save(mask)

    with pytest.raises(TrainingError, match="the run was started with"):
        next(runner.train(again))


def test_a_run_whose_records_spell_names_in_another_unicode_form_is_continued(plan):
    named = [replace(case, name=f"é-{case.name}") for case in plan.cases]
    plan.recipe.split.write_text(json.dumps({"folds": {case.name: n for n, case in enumerate(named)}}))
    accented = replace(plan, cases=named, resume=True)
    next(runner.train(accented))
    for name in ("data.json", "split.json"):
        path = plan.folder / name
        text = json.dumps(json.loads(path.read_text()), ensure_ascii=False)
        path.write_text(unicodedata.normalize("NFD", text))

    next(runner.train(accented))

    named[0] = replace(named[0], photograph=named[1].photograph)
    with pytest.raises(TrainingError, match=r"\(photograph é-IDRiD_01 has changed\)"):
        next(runner.train(replace(accented, cases=named)))


def test_masks_of_lesions_that_the_recipe_does_not_use_may_change(plan):
    lesions = ("EX", "HE")
    recipe = replace(plan.recipe, contract=replace(tiny_set.CONTRACT, lesions=lesions))
    two = tiny_set.replace(plan, recipe=recipe)
    next(runner.train(two))
    data = two.folder / "data.json"
    assert all(record["masks"].keys() <= set(lesions) for record in json.loads(data.read_text()).values())
    cached = {path.name for path in two.run.cache.iterdir()}
    data.write_text(  # as earlier versions wrote it
        json.dumps(run_record.file_digests(plan.cases, tiny_set.CONTRACT.lesions))
    )

    plan.cases[0].masks["MA"].write_bytes(b"damaged")
    plan.cases[1].masks["MA"].unlink()
    changed = [plan.cases[0], replace(plan.cases[1], masks=without(plan.cases[1], "MA")), plan.cases[2]]
    next(runner.train(tiny_set.replace(two, cases=changed, resume=True)))

    assert {path.name for path in two.run.cache.iterdir()} == cached
    plan.cases[2].masks["EX"].unlink()
    changed[2] = replace(plan.cases[2], masks=without(plan.cases[2], "EX"))
    with pytest.raises(
        TrainingError, match=r"data\.json: .* \(the EX mask of IDRiD_03 is missing\); use the"
    ):
        next(runner.train(tiny_set.replace(two, cases=changed, resume=True)))


def without(case, lesion):
    return {code: path for code, path in case.masks.items() if code != lesion}


def test_a_finished_run_is_not_taken_for_one_of_another_recipe(plan):
    list(runner.train(tiny_set.replace(plan, stages=("global",))))
    other = tiny_set.replace(plan, stages=("global",), recipe=replace(plan.recipe, power=0.5), resume=True)

    with pytest.raises(TrainingError, match=r"recipe\.json: was written by another recipe or version"):
        list(runner.train(other))


def test_only_photographs_with_a_lesion_are_learned_from_where_the_recipe_says_so(plan):
    soft = replace(
        plan.recipe, cases="with-lesion", contract=replace(tiny_set.CONTRACT, lesions=("SE",)), seed=3
    )

    cached_cases = runner.cache_cases(tiny_set.replace(plan, recipe=soft), soft, LOCAL)
    every = runner.cache_cases(plan, replace(soft, cases="all"), LOCAL)

    assert [cached_case.name for cached_case in cached_cases] == ["IDRiD_01"]
    assert [cached_case.name for cached_case in every] == ["IDRiD_01", "IDRiD_02"]


def test_a_set_without_the_recipes_lesions_is_refused(plan):
    cases = [replace(case, masks={}) for case in plan.cases]
    soft = replace(plan.recipe, cases="with-lesion")

    with pytest.raises(TrainingError, match="no training photograph has any of EX, MA, HE, SE"):
        next(runner.train(tiny_set.replace(plan, recipe=soft, cases=cases)))


# healthy eyes


@pytest.fixture
def beside(plan, tmp_path):
    return tiny_set.with_healthy_eyes(plan, tmp_path)


def test_healthy_eyes_are_cached_as_such_beside_those_of_the_set(beside):
    cached_cases = runner.cache_cases(beside, beside.recipe, LOCAL)

    assert {cached_case.name: cached_case.is_healthy for cached_case in cached_cases} == {
        "IDRiD_01": False,
        "IDRiD_02": False,
        "healthy-eye-8": True,
        "healthy-eye-9": True,
    }
    assert not any(cached_case.bits.any() for cached_case in cached_cases[2:])


def test_all_stages_run_with_healthy_eyes_and_the_run_records_which(beside):
    list(runner.train(beside))

    data = json.loads((beside.folder / "data.json").read_text())
    assert {"healthy-eye-8", "healthy-eye-9"} == data.keys() - {case.name for case in beside.cases}
    assert run_record.healthy_names(beside.run.read_digests(), beside.cases) == ("eye-8", "eye-9")
    assert json.loads((beside.folder / "recipe.json").read_text())["healthy_share"] == 0.5


def test_a_run_is_not_continued_without_its_healthy_eyes(beside):
    next(runner.train(beside))

    with pytest.raises(TrainingError, match="the run was started with other photographs"):
        next(runner.train(replace(beside, healthy=(), resume=True)))


def test_a_run_of_no_healthy_eyes_says_so_whatever_its_photographs_are_called(plan):
    named = [replace(case, name=f"healthy-{case.name}") for case in plan.cases]
    plan.recipe.split.write_text(json.dumps({"folds": {case.name: n for n, case in enumerate(named)}}))
    assert run_record.healthy_names(plan.run.read_digests(), named) == ()
    next(runner.train(replace(plan, cases=named)))

    assert run_record.healthy_names(plan.run.read_digests(), named) == ()


def test_an_example_photograph_is_no_healthy_eye_to_learn_from(beside):
    name = f"healthy-{min(SET_ASIDE)}_small"

    with pytest.raises(TrainingError, match=f"{min(SET_ASIDE)} is an example photograph"):
        next(runner.train(replace(beside, healthy=[replace(beside.healthy[0], name=name)])))


def test_healthy_eyes_count_for_no_epoch(beside):
    """Two photographs are trained on: two epochs of one photograph a step are four steps."""
    twice = replace(beside.recipe.stages["global"], photographs=1, steps=None, epochs=2.0)
    recipe = replace(beside.recipe, stages=beside.recipe.stages | {"global": twice})

    steps = [
        progress.steps for _, progress in runner.train(replace(beside, recipe=recipe, stages=("global",)))
    ]

    assert steps == [4] * 4
    assert len((beside.folder / "global-epochs.csv").read_text().splitlines()) == 1 + 2
