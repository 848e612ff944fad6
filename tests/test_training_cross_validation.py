"""A model from beginning to end: folds held back, then all photographs, then a package they judge."""

import importlib.util
import json
import sys

import pytest

pytest.importorskip("torch")

import tiny_package
import tiny_set

from foveate import atomic_files, cli, models
from foveate.datasets import checks, splits
from foveate.datasets.layouts import LAYOUTS
from foveate.engines import openvino
from foveate.errors import DatasetError, SettingError, TrainingError
from foveate.training import cross_validation, recipes, run_split
from foveate.training.plan import TrainingPlan
from foveate.training.recipe import REFINE, STAGES
from foveate.training.run_folder import RunFolder
from foveate.training.run_record import RunSplit


@pytest.fixture
def split(tmp_path, monkeypatch):
    """Publish a tiny recipe of two steps a stage; every fold is one photograph."""
    made = tiny_set.recipe(split=None)
    stages = {name: tiny_set.replace(stage, steps=2) for name, stage in made.stages.items()}
    made = tiny_set.replace(made, stages=stages)
    monkeypatch.setattr(recipes, "RECIPES", {"tiny": lambda: made})
    path = tmp_path / "folds.json"
    path.write_text(json.dumps({"folds": {"IDRiD_01": 0, "IDRiD_02": 1, "IDRiD_03": 2}}))
    return path


def whole(tmp_path, split, folds, continued_fold=None, **changes):
    plan = TrainingPlan(
        recipe=tiny_set.recipe(split=split, held_back=None),
        cases=tiny_set.write(tmp_path / "set"),
        folder=tmp_path / "model",
        **changes,
    )
    return cross_validation.CrossValidation(
        recipe=plan.recipe,
        plan=plan,
        folds=folds,
        continued_fold=continued_fold,
        layout=LAYOUTS["idrid"],
        version="3",
    )


def test_each_fold_is_held_back_from_a_run_of_its_own_and_nothing_from_the_last(tmp_path, split):
    planned = cross_validation.run_plans(whole(tmp_path, split, (2, 0)))

    assert [(one.folder.name, one.recipe.held_back) for one in planned] == [
        ("fold-2", 2),
        ("fold-0", 0),
        ("all", None),
    ]


@pytest.mark.parametrize(
    ("folds", "message"),
    [((), "no fold to hold back; name one or more"), ((0, 1, 1), "--fold 1 is given more than once")],
)
def test_no_fold_and_a_fold_twice_are_refused(tmp_path, split, folds, message):
    with pytest.raises(SettingError, match=message):
        whole(tmp_path, split, folds)


def test_a_fold_that_does_not_exist_is_refused_before_the_first_run(tmp_path, split, capsys):
    tiny_set.write(tmp_path / "set")
    command = ["programme", "tiny", "--data", str(tmp_path / "set"), "--out", str(tmp_path / "model")]

    assert cli.run([*command, "--split", str(split), "--fold", "0", "--fold", "9"]) == 1

    assert "folds.json: fold 9 has no photograph; the split has the folds 0, 1, 2;" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("fold", [-1, 5])
def test_a_fold_that_no_run_would_assign_is_refused(tmp_path, fold):
    with pytest.raises(DatasetError, match=rf"fold {fold} does not exist; .* folds 0 to 4 .* --split"):
        whole(tmp_path, None, (0, fold))


def test_the_folds_that_a_run_has_assigned_may_be_held_back_again(tmp_path):
    run = RunFolder(tmp_path / "model" / "fold-7")
    folds = {"IDRiD_01": 7, "IDRiD_02": 1, "IDRiD_03": 2}
    run.keep_split(RunSplit(about="", folds=folds, held_back=7))
    run.keep_recipe(tiny_set.recipe())

    assert whole(tmp_path, None, (0, 7)).folds == (0, 7)


def test_a_package_at_the_start_that_knows_a_later_fold_is_refused_before_the_first_run(tmp_path, split):
    package = tiny_set.package()
    known = tiny_package.restated(package, training={"photographs": ["IDRiD_02"]})

    whole(tmp_path, split, (0, 2), start=known)
    with pytest.raises(TrainingError, match="was trained on IDRiD_02, which this run holds back"):
        whole(tmp_path, split, (0, 1), start=known)


def test_a_package_at_the_start_is_checked_against_the_folds_that_the_runs_will_assign(tmp_path, monkeypatch):
    monkeypatch.setattr(run_split, "FOLDS", 3)
    cases = tiny_set.write(tmp_path / "set")
    recipe = tiny_set.recipe(split=None, held_back=None)
    folds = splits.stratified(cases, recipe.contract.lesions, run_split.FOLDS, recipe.seed)
    known = next(name for name, fold in folds.items() if fold == 1)
    start = tiny_package.restated(tiny_set.package(), training={"photographs": [known]})
    plan = TrainingPlan(recipe=recipe, cases=cases, folder=tmp_path / "model", start=start)

    with pytest.raises(TrainingError, match=f"was trained on {known}, which this run holds back"):
        cross_validation.CrossValidation(
            recipe=recipe, plan=plan, folds=(0, 1), layout=LAYOUTS["idrid"], version="3"
        )


def test_the_folds_of_the_check_are_those_that_the_runs_assign_and_assigned_once(tmp_path, monkeypatch):
    cases = tiny_set.write(tmp_path / "set")
    cases = [tiny_set.replace(cases[0], annotated=("EX",)), *cases[1:]]  # the runs leave it out
    calls = []

    def stratified(cases, *_):
        calls.append([case.name for case in cases])
        return {case.name: n for n, case in enumerate(cases)}

    monkeypatch.setattr(run_split.splits, "stratified", stratified)
    plan = TrainingPlan(
        recipe=tiny_set.recipe(split=None, held_back=None),
        cases=cases,
        folder=tmp_path / "model",
        start=tiny_package.restated(tiny_set.package(), training={"photographs": ["IDRiD_02"]}),
    )

    def validation(*folds):
        return cross_validation.CrossValidation(
            recipe=plan.recipe, plan=plan, folds=folds, layout=LAYOUTS["idrid"], version="3"
        )

    with pytest.raises(TrainingError, match="was trained on IDRiD_02, which this run holds back"):
        validation(1, 0)
    assert calls == [["IDRiD_02", "IDRiD_03"]]
    assert validation(1).folds == (1,)


@pytest.mark.parametrize("command", ["programme", "release"])
def test_int8_without_nncf_is_refused_before_anything_is_trained_or_validated(
    tmp_path, split, capsys, monkeypatch, command
):
    tiny_set.write(tmp_path / "set")
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nncf" else real(name))
    places = {
        "programme": ("--out", str(tmp_path / "model"), "--fold", "0"),
        "release": ("--run", str(tmp_path / "run"), "--to", str(tmp_path / "package")),
    }

    line = [command, "tiny", "--data", str(tmp_path / "set"), *places[command], "--int8"]

    assert cli.run(line) == 1
    assert "pip install 'foveate[quantise]'" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"folds.json", "set"}


@pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="the extra quantise is not installed")
@pytest.mark.filterwarnings("ignore")  # NNCF's own
def test_int8_networks_are_added_to_the_package(tmp_path, split):
    tiny_set.write(tmp_path / "set")
    command = ["programme", "tiny", "--data", str(tmp_path / "set"), "--out", str(tmp_path / "model")]
    command += ["--split", str(split), "--fold", "0", "--threads", "1", "--int8"]

    assert cli.run(command) == 0

    assert openvino.has_int8(models.load(tmp_path / "model" / "package"))


def test_the_package_waits_until_the_joint_stage_is_trained(tmp_path, split, capsys, monkeypatch):
    looked = []
    monkeypatch.setattr(checks, "doubtful_masks", lambda cases, *_: looked.append(len(cases)) or "")
    tiny_set.write(tmp_path / "set")
    command = ["programme", "tiny", "--data", str(tmp_path / "set"), "--out", str(tmp_path / "model")]
    command += ["--split", str(split), "--fold", "0", "--threads", "1", "--stage", "global"]

    assert cli.run(command) == 0

    assert {path.name for path in (tmp_path / "model").iterdir()} == {"fold-0", "all"}
    assert "once stage 'joint' is trained: run the same command without --stage" in capsys.readouterr().err
    assert cli.run(command) == 0
    assert looked == [3], "only before the first run"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks of folders")
@pytest.mark.parametrize("reserved", ["model", "model/fold-0/running/global"])
def test_a_second_programme_into_the_same_folder_trains_nothing(tmp_path, split, capsys, reserved):
    tiny_set.write(tmp_path / "set")
    command = ["programme", "tiny", "--data", str(tmp_path / "set"), "--out", str(tmp_path / "model")]
    command += ["--split", str(split), "--fold", "0", "--threads", "1"]

    with atomic_files.reserve(tmp_path / reserved):
        assert cli.run(command) == 1

    line = (
        f"foveate: another run is writing to {tmp_path / reserved}; wait for it, or choose another folder\n"
    )
    assert capsys.readouterr().err.endswith(line)
    assert not list((tmp_path / "model").rglob("*.csv"))


def test_one_command_makes_a_package_and_goes_on_where_it_was(tmp_path, split, capsys):
    tiny_set.write(tmp_path / "set")
    command = ["programme", "tiny", "--data", str(tmp_path / "set"), "--out", str(tmp_path / "model")]
    command += ["--split", str(split), "--fold", "0", "--fold", "1", "--threads", "1", "--version", "3"]

    assert cli.run(command) == 0

    runs = {path.name for path in (tmp_path / "model").iterdir()}
    assert runs == {"fold-0", "fold-1", "all", "package"}
    package = models.load(tmp_path / "model" / "package")
    training = package.manifest.training
    assert package.version == "3"
    assert training["photographs"] == ["IDRiD_01", "IDRiD_02", "IDRiD_03"]
    assert training["validation"]["photographs"] == ["IDRiD_01", "IDRiD_02"]
    assert training["validation"]["learned_from_them"] == ["IDRiD_01", "IDRiD_02"]

    (tmp_path / "model" / "all" / "joint.safetensors").unlink()  # as after a kill in the last stage
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "model").glob("fold-*/*.safetensors")}
    assert "is made of stage" not in capsys.readouterr().err  # no run has the stage

    assert cli.run(command) == 0

    assert all(RunFolder(tmp_path / "model" / "all").is_finished(stage) for stage in STAGES)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert "package" in capsys.readouterr().out
    assert models.load(tmp_path / "model" / "package").digest == package.digest  # to the last bit

    fold = tmp_path / "model" / "fold-0"  # refined before an interruption, as no other run
    (fold / "refine.safetensors").write_bytes((fold / "joint.safetensors").read_bytes())

    capsys.readouterr()
    assert cli.run([*command, *(word for stage in STAGES for word in ("--stage", stage))]) == 0

    line = "foveate: the package is made of stage 'joint': refine is not finished in fold-1, all\n"
    assert line in capsys.readouterr().err
    assert models.load(tmp_path / "model" / "package").digest == package.digest


def test_the_package_has_the_last_stage_that_all_runs_have_finished(tmp_path, split, monkeypatch):
    validation = whole(tmp_path, split, (0,))
    fold, shipped = (RunFolder(plan.folder) for plan in cross_validation.run_plans(validation))
    loaded = []

    def load_run(*_, stage):
        loaded.append(stage)
        if len(loaded) % 2 == 0:
            raise TrainingError("far enough")

    monkeypatch.setattr(cross_validation.release, "load_run", load_run)
    for run in (fold, shipped):
        run.write_weights("joint", {})
    for run, stage, expected in (
        (fold, "refine", "joint"),  # interrupted before the run on all photographs was refined
        (shipped, "refine", "refine"),
    ):
        run.write_weights(stage, {})
        loaded.clear()
        with pytest.raises(TrainingError, match="far enough"):
            cross_validation.write_package(validation, cross_validation.last_stage(validation))
        assert loaded == [expected] * 2


@pytest.fixture
def refining(tmp_path, split, monkeypatch):
    """Publish a tiny recipe with stage 'refine'; return the command that continues fold 1 by it."""
    made = recipes.RECIPES["tiny"]()
    stages = made.stages | {REFINE: tiny_set.replace(made.stages["joint"], fold_batch_norm=True)}
    made = tiny_set.replace(made, stages=stages, healthy_share=0.5)
    monkeypatch.setattr(recipes, "RECIPES", {"tiny": lambda: made})
    tiny_set.write(tmp_path / "set")
    tiny_set.write_healthy_eyes(tmp_path / "eyes")
    command = ["programme", "tiny", "--data", str(tmp_path / "set"), "--out", str(tmp_path / "model")]
    command += ["--split", str(split), "--fold", "0", "--fold", "1", "--threads", "1", "--all-from", "1"]
    return [*command, "--healthy", str(tmp_path / "eyes")]


def test_the_run_on_all_photographs_can_continue_that_of_a_fold(tmp_path, refining, capsys):
    model = tmp_path / "model"
    assert cli.run([*refining, "--stage", "global", "--stage", "local", "--stage", "fusion"]) == 0
    assert {path.name for path in model.iterdir()} == {"fold-0", "fold-1"}
    assert cli.run([*refining, "--stage", "joint"]) == 0
    line = "once stage 'refine' is trained: run the same command without --stage"
    assert line in capsys.readouterr().err.splitlines()[-1]

    assert cli.run(refining) == 0

    assert {path.name for path in (model / "all").glob("*.csv")} == {"refine.csv", "refine-epochs.csv"}
    joint = [(model / run / "joint.safetensors").read_bytes() for run in ("fold-0", "fold-1", "all")]
    assert joint[2] == joint[1] != joint[0]
    training = models.load(model / "package").manifest.training
    assert training["stage"] == REFINE
    assert training["photographs"] == ["IDRiD_01", "IDRiD_02", "IDRiD_03"]
    assert training["validation"]["photographs"] == ["IDRiD_01", "IDRiD_02"]
    assert training["continued"]["name"] == "fold-1"

    release = ["release", "tiny", "--data", str(tmp_path / "set"), "--to", str(tmp_path / "other")]
    capsys.readouterr()
    assert cli.run([*release, "--run", str(model / "all"), "--stage", "joint"]) == 1
    assert "all: its stage 'joint' is that of fold-1, which was trained on fewer" in capsys.readouterr().err


STAGE_BY_STAGE = [word for stage in (*STAGES, REFINE) for word in ("--stage", stage)]


def without(command, option):
    at = command.index(option)
    return [*command[:at], *command[at + 2 :]]


def test_a_run_that_continues_another_one_is_never_trained_otherwise(tmp_path, refining, split, capsys):
    model, healthy = tmp_path / "model", refining[-2:]
    assert cli.run([*refining, *STAGE_BY_STAGE]) == 0
    (model / "all" / "refine.safetensors").unlink()
    left = "all: continues the joint stage of fold-1; repeat 'foveate programme' with the same --all-from"
    one = [
        "tiny",
        "--data",
        str(tmp_path / "set"),
        "--split",
        str(split),
        *healthy,
        "--out",
        str(model / "all"),
    ]

    for command, message in (
        (without(refining, "--all-from"), left),
        (["train", *one, "--fold", "none", "--resume"], left),
        (
            [*without(refining, "--all-from"), "--all-from", "0"],
            "fold-1, which is not that of fold-0 now; delete",
        ),
    ):
        capsys.readouterr()
        assert cli.run(command) == 1
        assert message in capsys.readouterr().err

    retrained = (model / "fold-0" / "joint.safetensors").read_bytes()
    (model / "fold-1" / "joint.safetensors").write_bytes(retrained)
    assert cli.run(refining) == 1
    assert "fold-1, which is not that of fold-1 now; delete this folder" in capsys.readouterr().err


def test_a_run_of_its_own_is_not_continued(tmp_path, refining, capsys):
    assert cli.run(without(refining, "--all-from")) == 0
    package = models.load(tmp_path / "model" / "package").digest

    assert cli.run(refining) == 1
    assert "all: has a joint stage of its own; leave out --all-from" in capsys.readouterr().err
    assert cli.run([*refining, "--stage", "joint"]) == 1
    assert "all: continues no other run; give the --all-from that it was" in capsys.readouterr().err
    assert models.load(tmp_path / "model" / "package").digest == package


def test_a_kill_before_its_first_step_does_not_change_what_a_run_continues(
    tmp_path, refining, capsys, monkeypatch
):
    def killed(*_, **__):
        raise TrainingError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(cross_validation.runner.hard_negatives, "attach", killed)
        assert cli.run([*refining, *STAGE_BY_STAGE[:8]]) == 0
        assert cli.run([*refining[:-4], "--all-from", "1", *refining[-2:]]) == 1
        assert not (tmp_path / "model" / "all").exists()  # a fold was killed first
        for fold in ("fold-0", "fold-1"):
            joint = (tmp_path / "model" / fold / "joint.safetensors").read_bytes()
            (tmp_path / "model" / fold / "refine.safetensors").write_bytes(joint)
        assert cli.run(refining) == 1
        assert (tmp_path / "model" / "all" / "joint.safetensors").exists()

    capsys.readouterr()
    assert cli.run(without(refining, "--all-from")) == 1
    assert "all: continues the joint stage of fold-1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("--all-from", "2"), "fold 2 cannot be continued, because it is not held back; give --fold 2"),
        (("--healthy",), "'refine', which recipe tiny does not have without healthy eyes (--healthy)"),
        (
            ("--all-from", "1", "--stage", "refine"),
            "fold 1 has no joint stage to continue; give --stage joint",
        ),
    ],
)
def test_a_fold_that_cannot_be_continued_is_refused_before_the_first_run(
    tmp_path, refining, capsys, changed, message
):
    given = changed if len(changed) > 1 else ()
    assert cli.run([*without(refining, changed[0]), *given]) == 1

    assert message in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_a_recipe_without_refine_has_nothing_to_continue_a_fold_by(tmp_path, split):
    with pytest.raises(SettingError, match="recipe tiny does not have; leave out --all-from"):
        whole(tmp_path, split, (0,), continued_fold=0)


@pytest.mark.parametrize("changes", [{"stages": STAGES}, {"stages": (), "held_back": 1}])
def test_only_the_last_stage_on_all_photographs_continues_another_run(tmp_path, split, changes):
    held_back = changes.pop("held_back", None)
    with pytest.raises(SettingError, match=r"continued by stage 'refine' alone, on all photographs"):
        TrainingPlan(
            recipe=tiny_set.recipe(split=split, held_back=held_back),
            cases=tiny_set.write(tmp_path / "set"),
            folder=tmp_path / "all",
            continued=RunFolder(tmp_path / "fold-0"),
            **changes,
        )
