"""A stage is validated on whole photographs held back, and its weights are those of one that is not."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import tiny_set
import torch
from PIL import Image

from foveate import cli, evaluation, metrics, models, photographs
from foveate.errors import DatasetError, FieldError, SettingError
from foveate.evaluation.networks import ROW_ENGINES
from foveate.training import curves, recipes, runner, trainer, validation
from foveate.training.curves import ValidationRecord
from foveate.training.plan import TrainingPlan
from foveate.training.recipe import ALONE_STAGES, STAGES
from foveate.training.run_folder import RunFolder
from foveate.training.validation import Validation, ValidationSchedule

FOLDS = {"IDRiD_01": 0, "IDRiD_02": 1, "IDRiD_03": 1}
"""Fold 0, which the tiny recipe holds back, is the only photograph with all four lesions."""


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    root = tmp_path_factory.mktemp("validation")
    split = root / "folds.json"
    split.write_text(json.dumps({"folds": FOLDS}))
    cases = tiny_set.write(root / "set")
    return TrainingPlan(recipe=tiny_set.recipe(split=split), cases=cases, folder=root / "plain")


@pytest.fixture(scope="module")
def plain(plan):
    """Return the folder of a run without validation."""
    list(runner.train(plan))
    return plan.run


@pytest.fixture(scope="module")
def validated(plan):
    """Return the folder and the progress of a run that is validated after every second step."""
    schedule = ValidationSchedule(every=4, photographs=2)
    plan = tiny_set.replace(plan, folder=plan.folder.parent / "validated", validation=schedule)
    return plan.run, list(runner.train(plan))


@pytest.mark.parametrize("stage", STAGES)
def test_weights_and_losses_are_bit_for_bit_those_without_validation(plain, validated, stage):
    run, _ = validated

    for name in (f"{stage}.safetensors", f"{stage}.csv"):
        assert (run.path / name).read_bytes() == (plain.path / name).read_bytes()


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_has_a_row_every_so_many_steps_and_one_at_its_end(validated, stage):
    run, _ = validated

    header, *lines = (run.path / f"{stage}-validation.csv").read_text().splitlines()

    assert header == "step,EX,MA,HE,SE"
    assert [line.split(",")[0] for line in lines] == ["4", "6"]
    for record in run.read_validations(stage):
        assert all(0 <= score <= 1 for score in record.scores.values())


@pytest.mark.parametrize(
    ("stage", "row"), [("global", "GlobalNet"), ("local", "LocalNet"), ("joint", "fused")]
)
def test_the_last_row_is_what_evaluation_finds_with_the_stages_final_weights(plan, validated, stage, row):
    run, _ = validated
    network = tiny_set.network()
    trainer.load_weights(network, run, stage)
    recipe = plan.recipe
    package = models.unsaved_package("tiny", tiny_set.replace(recipe.contract, tta_views=1))

    (case,) = evaluation.count_pixels(plan.cases[:1], package, ROW_ENGINES[row](network=network.eval()))

    expected = {lesion: metrics.average_precision(counts) for lesion, counts in case.counts.items()}
    assert run.read_validations(stage)[-1].scores == pytest.approx(expected, rel=1e-5)


def test_a_damaged_mask_of_a_photograph_to_validate_on_ends_a_run_before_its_first_step(plan, tmp_path):
    cases = tiny_set.write(tmp_path / "set")
    mask = cases[0].masks["EX"]
    mask.write_bytes(mask.read_bytes()[:-20])
    plan = tiny_set.replace(
        plan, cases=cases, folder=tmp_path / "run", validation=ValidationSchedule(every=4, photographs=2)
    )

    with pytest.raises(DatasetError, match=r"IDRiD_01_EX\.tif: unreadable mask"):
        next(runner.train(plan))


def test_a_photograph_to_validate_on_without_a_field_ends_a_run_before_its_first_step(plan, tmp_path):
    blank = tmp_path / "blank.png"
    Image.new("RGB", photographs.read(plan.cases[0].photograph).shape[::-1], (90, 60, 30)).save(blank)
    cases = [tiny_set.replace(plan.cases[0], photograph=blank), *plan.cases[1:]]
    broken = tiny_set.replace(
        plan, cases=cases, folder=tmp_path / "run", validation=ValidationSchedule(every=4, photographs=2)
    )

    with pytest.raises(FieldError, match=r"blank\.png: "):
        next(runner.train(broken))


def test_progress_carries_the_last_scores(validated):
    run, progress = validated
    joint = [item.scores for stage, item in progress if stage == "joint"]

    assert joint[:3] == [{}, {}, {}]
    assert joint[3] == joint[4] == pytest.approx(run.read_validations("joint")[0].scores, rel=1e-5)
    assert joint[5] == pytest.approx(run.read_validations("joint")[1].scores, rel=1e-5)


def test_the_network_in_training_keeps_its_modes_statistics_and_random_numbers(plan):
    recipe = tiny_set.recipe()
    network = tiny_set.seeded()
    trainer.stages.set_modes(network, "global")
    stage_trainer = trainer.StageTrainer(network, recipe, "global")
    before, modes = tiny_set.digests(network), [module.training for module in network.modules()]
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002

    stage_trainer.score(plan.cases[:1], 6)

    assert tiny_set.digests(network) == before
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_the_averaged_weights_are_validated_and_not_the_last_ones():
    network, averaged = tiny_set.seeded(seed=1), tiny_set.seeded(seed=2)

    result = validation.averaged_network(network, "local", averaged.local_net.state_dict())

    expected = tiny_set.digests(averaged)
    kept = tiny_set.digests(network)
    for name, digest in tiny_set.digests(result).items():
        assert digest == (expected if name.startswith("local_net.") else kept)[name], name
    assert not any(module.training for module in result.modules())


@pytest.mark.parametrize(("step", "scale"), [(5, 1.0), (6, 0.5)])
def test_the_last_validation_scores_the_mean_of_the_snapshots(monkeypatch, step, scale):
    stages = tiny_set.recipe().stages
    recipe = tiny_set.recipe(stages=stages | {"joint": replace(stages["joint"], snapshots=2)})
    stage_trainer = trainer.StageTrainer(tiny_set.seeded(), recipe, "joint")
    averaged = stage_trainer.averaged_weights()
    stage_trainer.snapshots = {3: {name: torch.zeros_like(tensor) for name, tensor in averaged.items()}}
    stage_trainer.step = step
    scored = []
    monkeypatch.setattr(validation, "score", lambda network, *rest: scored.append(network.state_dict()) or {})

    stage_trainer.score((), 6)

    name = "fusion.layers.0.weight"
    torch.testing.assert_close(scored[0][name], averaged[name] * scale)


@pytest.mark.parametrize("saving", [0, 1e9])
def test_after_a_kill_the_rows_continue_without_gaps_or_doubles(
    plan, validated, tmp_path, monkeypatch, saving
):
    run, _ = validated
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_CHECKPOINTS", saving)
    schedule = Validation(cases=plan.cases[:1], every=2)
    cases = [tiny_set.cache.cache_case(case, tiny_set.CONTRACT, run.cache) for case in plan.cases[1:]]
    killed, straight = RunFolder(tmp_path / "killed"), RunFolder(tmp_path / "straight")
    steps = trainer.train_stage(plan.recipe, cases, killed, "local", validation=schedule)
    for _ in range(5):
        next(steps)
    steps.close()

    for folder in (killed, straight):
        list(trainer.train_stage(plan.recipe, cases, folder, "local", validation=schedule))

    assert [record.step for record in killed.read_validations("local")] == [2, 4, 6]
    assert killed.read_validations("local") == straight.read_validations("local")


@pytest.mark.parametrize("stage", ALONE_STAGES)
def test_a_stream_alone_is_validated_by_its_own_maps(stage):
    assert validation.STAGE_ROWS[stage] == validation.STAGE_ROWS[stage.removesuffix("-alone")]


# which photographs


@pytest.mark.parametrize(
    ("count", "of", "expected"),
    [(3, 11, [1, 5, 9]), (1, 11, [5]), (3, 2, [0, 1]), (11, 11, list(range(11))), (2, 4, [1, 3])],
)
def test_photographs_are_chosen_evenly_from_the_sorted_names(plan, count, of, expected):
    cases = [tiny_set.replace(plan.cases[0], name=f"{n:02d}") for n in range(of)]

    chosen = ValidationSchedule(every=1, photographs=count).choose(cases[::-1])

    assert [int(case.name) for case in chosen] == expected


def test_the_start_of_a_run_records_the_photographs(validated):
    run, _ = validated
    (path,) = (run.path / "starts").iterdir()

    assert json.loads(path.read_text())["validation"] == ["IDRiD_01"]


@pytest.mark.parametrize("numbers", [{"every": 0}, {"every": -1}, {"every": 1, "photographs": 0}])
def test_numbers_below_1_are_refused(numbers):
    with pytest.raises(SettingError, match="give 1"):
        ValidationSchedule(**numbers)


def test_without_a_fold_held_back_there_is_nothing_to_validate_on(plan):
    with pytest.raises(
        SettingError, match="no photograph is held back to validate on; hold back a fold with"
    ):
        tiny_set.replace(
            plan, recipe=tiny_set.replace(plan.recipe, held_back=None), validation=ValidationSchedule(every=1)
        )


# files


def test_records_are_read_as_they_were_written():
    records = [ValidationRecord(2, {"EX": 0.5, "SE": None}), ValidationRecord(4, {"EX": 0.25, "SE": None})]
    text = curves.validations_csv(records)

    assert text == "step,EX,SE\n2,0.5,\n4,0.25,\n"
    assert curves.parse_validations(text, 4) == records
    assert curves.parse_validations(text + "6,0.", 9) == records  # cut off
    assert curves.parse_validations(text, 3) == records[:1]
    assert curves.parse_validations("", 9) == []


# the command line


@pytest.fixture
def command(plan, monkeypatch, tmp_path):
    """Publish the tiny recipe and return what runs a command with it."""
    monkeypatch.setattr(recipes, "RECIPES", {"tiny": lambda: plan.recipe})
    data, out = str(plan.folder.parent / "set"), str(tmp_path / "out")
    return lambda name, *more: cli.run(
        [name, "tiny", "--data", data, "--out", out, "--threads", "1", "--stage", "local", *more]
    )


def test_the_progress_line_shows_the_scores(command, capsys, tmp_path):
    assert command("train", "--validate-every", "3", "--validate-photographs", "1") == 0

    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("local")]
    assert any(line.startswith("local 3/6 loss ") and ", validation EX " in line for line in lines)
    assert ", validation EX " in lines[-1]
    assert len((tmp_path / "out" / "local-validation.csv").read_text().splitlines()) == 1 + 2


def test_training_on_all_photographs_cannot_be_validated(command, capsys, tmp_path):
    assert command("train", "--validate-every", "3", "--fold", "none") == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert "no photograph is held back to validate on" in line
    assert not (tmp_path / "out").exists()
