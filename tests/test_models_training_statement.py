"""What is read of the training and the scores that a manifest states."""

import math

import pytest

from foveate.models import training_statement
from foveate.models.training_statement import StatedScaling


def test_what_release_writes_is_read():
    row = {"average_precision": 0.5, "interval": [0.4, 0.6], "dice": 0.3}
    stated = training_statement.read(
        {
            "recipe": {"name": "idrid", "network": {"corrects": True}, "global_shares": [0, 0.5]},
            "start": {"name": "fold", "version": "3"},
            "photographs": ["a", "b", "c"],
            "healthy": ["d"],
            "validation": {
                "photographs": ["a", "e"],
                "learned_from_them": ["a"],
                "network": {"name": "parent", "version": "2", "digest": "f"},
                "rows": {"fused": {"EX": row}},
                "calibration": {
                    "fused": {
                        "EX": {"slope": 2, "shift": -0.5, "error_before": 0.1},
                        "MA": {"slope": None, "shift": None},
                    }
                },
            },
        }
    )

    assert (stated.recipe, stated.start, stated.scored_package) == ("idrid", "fold 3", "parent 2")
    assert (stated.photographs, stated.healthy) == (("a", "b", "c"), ("d",))
    assert (stated.scored, stated.scored_and_learned) == (("a", "e"), ("a",))
    assert stated.scores["EX"].average_precision == 0.5
    assert stated.scores["EX"].interval == (0.4, 0.6)
    assert (stated.network, stated.global_shares) == ({"corrects": True}, (0.0, 0.5))
    assert stated.calibration == {"fused": {"EX": StatedScaling(slope=2.0, shift=-0.5)}}
    assert stated.validation["network"] == {"name": "parent", "version": "2", "digest": "f"}


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"recipe": "a name", "start": None, "photographs": 54, "validation": []},
        {"validation": {"rows": {"fused": {"EX": 0.5, "MA": {"average_precision": "high"}}}}},
    ],
)
def test_what_is_missing_or_something_else_is_left_out(training):
    stated = training_statement.read(training)

    assert (stated.recipe, stated.start, stated.scored_package) == ("", "", "")
    assert (stated.photographs, stated.scored) == ((), ())
    assert (stated.scores, stated.network, stated.global_shares) == ({}, {}, ())
    assert stated.calibration is None


@pytest.mark.parametrize("value", ["2", True, [2], math.nan, pytest.param(10**400, id="huge")])
def test_what_is_stated_in_place_of_a_number_is_not_a_number(value):
    calibration = {"fused": {"EX": {"slope": value, "shift": value}}}
    stated = training_statement.read(
        {"recipe": {"global_shares": [0.5, value]}, "validation": {"calibration": calibration}}
    )

    scaling = stated.calibration["fused"]["EX"]
    assert all(map(math.isnan, (scaling.slope, scaling.shift, stated.global_shares[1])))
    assert stated.global_shares[0] == 0.5


def test_names_are_read_in_nfc_whatever_their_form():
    stated = training_statement.read({"photographs": ["Auge_mu\u0308de", "Auge_m\xfcde", None]})

    assert stated.photographs == ("Auge_m\xfcde", "Auge_m\xfcde")


@pytest.mark.parametrize("interval", [None, [0.4], [0.4, None], "wide"])
def test_a_score_without_a_whole_interval_has_none(interval):
    row = {"average_precision": 0.5, "interval": interval}
    stated = training_statement.read({"validation": {"rows": {"fused": {"EX": row}}}})

    assert stated.scores["EX"].interval is None
