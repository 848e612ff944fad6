"""A run that continues a package's training keeps that package's calibration and thresholds."""

from dataclasses import replace

import pytest
import tiny_package
import tiny_set
from safetensors.torch import load_file

from foveate import models
from foveate.datasets.layouts import LAYOUTS
from foveate.errors import TrainingError
from foveate.metrics.calibration import PlattScaling
from foveate.models import Manifest
from foveate.models.manifest import TrainingData
from foveate.training import export, inherited_choices, release, warm_start
from foveate.training.recipe import describe
from foveate.training.release import FinishedRun
from foveate.training.run_folder import RunFolder
from foveate.training.run_record import StartPackage
from foveate.types import Decision

CALIBRATION = {
    "fused": {
        "EX": {"slope": 0.5, "shift": -1.0, "error_before": 0.2, "error_after": 0.1},
        "MA": {"slope": None, "shift": None, "error_before": None, "error_after": None},
    },
    "GlobalNet": {"HE": {"slope": 2.0, "shift": 0.25, "error_before": 0.2, "error_after": 0.1}},
}
DECISIONS = {
    code: Decision(threshold=0.1 * number, minimum_area=number, minimum_evidence=2.0 * number)
    for number, code in enumerate(tiny_set.CONTRACT.lesions, start=1)
}


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    validation = {
        "photographs": ["IDRiD_02", "IDRiD_03"],
        "learned_from_them": [],
        "rows": {"fused": {"EX": {"average_precision": 0.5}}},
        "calibration": CALIBRATION,
    }
    manifest = Manifest(
        name="parent",
        version="3",
        licence="CC-BY-4.0",
        intended_use="Tests.",
        contract=tiny_set.CONTRACT,
        decisions=DECISIONS,
        data=TrainingData(name="drawn", licence="CC-BY-4.0", attribution="nobody"),
        training={
            "recipe": describe(tiny_set.recipe()),
            "photographs": ["IDRiD_01"],
            "validation": validation,
        },
    )
    folder = tmp_path_factory.mktemp("parent") / "package"
    export.export(tiny_set.seeded(seed=1), manifest, folder)
    return models.load(folder)


@pytest.fixture(scope="module")
def run(parent, tmp_path_factory):
    """Return a finished run of two photographs, whose network differs from the parent's."""
    root = tmp_path_factory.mktemp("run")
    cases = tiny_set.write(root / "set")
    network = tiny_set.seeded(seed=2)
    folder = RunFolder(root / "run")
    folder.keep_recipe(tiny_set.recipe(held_back=None))
    folder.write_weights("joint", {name: t.contiguous() for name, t in network.state_dict().items()})
    return FinishedRun(
        recipe=tiny_set.recipe(held_back=None),
        folder=root / "run",
        stage="joint",
        training_cases=cases[:2],
        held_back=(),
        layout=LAYOUTS["idrid"],
        start=warm_start.describe(parent),
    )


@pytest.fixture(scope="module")
def child(run, parent, tmp_path_factory):
    folder = tmp_path_factory.mktemp("child") / "package"
    release.write_package(run, inherited_choices.inherit(run, parent), "4", folder)
    return models.load(folder)


def test_calibration_and_thresholds_are_those_of_the_package(run, parent):
    choices = inherited_choices.inherit(run, parent)

    assert choices.decisions == DECISIONS
    assert choices.selection_rules == parent.selection_rules
    assert choices.scalings == {
        "fused": {"EX": PlattScaling(slope=0.5, shift=-1.0)},
        "GlobalNet": {"HE": PlattScaling(slope=2.0, shift=0.25)},
    }


def test_the_statement_names_the_network_that_was_validated_and_what_the_new_one_has_seen(run, parent):
    validation = inherited_choices.inherit(run, parent).validation

    assert validation["network"] == {"name": "parent", "version": "3", "digest": parent.digest}
    assert validation["photographs"] == ["IDRiD_02", "IDRiD_03"]
    assert validation["learned_from_them"] == ["IDRiD_02"]
    assert validation["rows"] == {"fused": {"EX": {"average_precision": 0.5}}}


def test_the_package_holds_the_new_weights_calibrated_as_before(run, parent, child):
    assert (child.name, child.version, child.decisions) == ("tiny", "4", DECISIONS)
    assert child.training.photographs == ("IDRiD_01", "IDRiD_02")
    plain, calibrated = (
        network.fusion.layers[-1]
        for network in (
            release.build_network(run),
            release._calibrated_network(run, inherited_choices.inherit(run, parent).scalings, ()),
        )
    )
    assert calibrated.bias[0].item() == pytest.approx(0.5 * plain.bias[0].item() - 1)
    assert calibrated.bias[1].item() == plain.bias[1].item()
    assert child.digest != parent.digest


@pytest.mark.parametrize(
    ("own", "of_package"), [((), [0.0, 0.0, 0.0, 0.5]), ((0.0, 0.0, 0.0, 0.25), None), ((), None)]
)
def test_globalnets_shares_are_those_of_the_package_to_which_the_thresholds_belong(
    run, parent, tmp_path, own, of_package
):
    recipe = replace(run.recipe, global_shares=own)
    training = parent.manifest.training
    stated = training["recipe"] | ({"global_shares": of_package} if of_package else {})
    package = tiny_package.restated(parent, training=training | {"recipe": stated})

    choices = inherited_choices.inherit(replace(run, recipe=recipe), package)
    release.write_package(replace(run, recipe=recipe), choices, "4", tmp_path / "package")

    package = models.load(tmp_path / "package")
    assert package.training.global_shares == tuple(of_package or ())
    weights = load_file(package.folder / "weights.safetensors")
    assert ("fusion.global_head.weight" in weights) == (of_package is not None)


def test_a_second_continuation_still_names_the_network_that_was_validated(run, parent, child):
    grandchild = replace(run, start=warm_start.describe(child))

    validation = inherited_choices.inherit(grandchild, child).validation

    assert validation["network"]["digest"] == parent.digest


def test_a_run_that_did_not_start_from_the_package_is_refused(run, parent):
    with pytest.raises(TrainingError, match="did not start from a package, so there are no thresholds"):
        inherited_choices.inherit(replace(run, start=None), parent)

    other = StartPackage(name="other", version="7", digest="f" * 64, photographs=())
    with pytest.raises(
        TrainingError, match=r"started from other 7 \(digest ffffffff\), not from this parent 3"
    ):
        inherited_choices.inherit(replace(run, start=other), parent)


def test_a_run_with_another_contract_or_network_is_refused(run, parent):
    contract = replace(tiny_set.CONTRACT, overlap=16)
    network = replace(tiny_set.NETWORK, fusion_width=7)

    for recipe in (replace(run.recipe, contract=contract), replace(run.recipe, network=network)):
        with pytest.raises(TrainingError, match="its network or contract differs from that of parent 3"):
            inherited_choices.inherit(replace(run, recipe=recipe), parent)


@pytest.mark.parametrize("training", [{}, {"validation": {}}, {"validation": {"calibration": None}}])
def test_a_package_that_does_not_state_its_calibration_is_refused(run, parent, training):
    package = tiny_package.restated(parent, training=training)

    with pytest.raises(TrainingError, match="package parent: its manifest does not state its calibration"):
        inherited_choices.inherit(run, package)


@pytest.mark.parametrize("key", ["slope", "shift"])
@pytest.mark.parametrize("value", ["0.5", float("nan"), True, [1]])
def test_a_calibration_that_is_no_number_is_refused(run, parent, key, value):
    scaling = {"slope": 0.5, "shift": 1.0, key: value}
    validation = {"calibration": {"fused": {"EX": scaling}}}
    package = tiny_package.restated(parent, training={"validation": validation})

    with pytest.raises(
        TrainingError, match=f"no finite number as the {key} of the calibration of EX .fused."
    ):
        inherited_choices.inherit(run, package)


def test_photographs_of_the_statement_and_of_the_start_may_be_in_another_unicode_form(run, parent):
    validation = {"calibration": CALIBRATION, "photographs": ["m\xfcde"]}
    package = tiny_package.restated(parent, training={"validation": validation})
    start = replace(run.start, photographs=("mu\u0308de",))  # NFD, as an earlier version recorded it

    choices = inherited_choices.inherit(replace(run, start=start), package)

    assert choices.validation["learned_from_them"] == ["m\xfcde"]


def test_a_statement_without_names_of_photographs_names_none(run, parent):
    training = {"photographs": None, "validation": {"calibration": CALIBRATION, "photographs": None}}
    package = tiny_package.restated(parent, training=training)

    assert inherited_choices.inherit(run, package).validation["learned_from_them"] == []
    assert package.training.photographs == ()
