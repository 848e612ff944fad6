"""What is read of the training and the scores that a manifest states."""

import pytest

from foveate.models import training_statement


def test_what_release_writes_is_read():
    row = {"average_precision": 0.5, "interval": [0.4, 0.6], "dice": 0.3}
    stated = training_statement.read(
        {
            "recipe": {"name": "idrid"},
            "start": {"name": "fold", "version": "3"},
            "photographs": ["a", "b", "c"],
            "healthy": ["d"],
            "validation": {
                "photographs": ["a", "e"],
                "learned_from_them": ["a"],
                "network": {"name": "parent", "version": "2", "digest": "f"},
                "rows": {"fused": {"EX": row}},
            },
        }
    )

    assert (stated.recipe, stated.start, stated.scored_package) == ("idrid", "fold 3", "parent 2")
    assert (stated.photographs, stated.healthy) == (("a", "b", "c"), ("d",))
    assert (stated.scored, stated.scored_and_learned) == (("a", "e"), ("a",))
    assert stated.scores["EX"].average_precision == 0.5
    assert stated.scores["EX"].interval == (0.4, 0.6)


@pytest.mark.parametrize(
    "training",
    [
        None,
        "by hand",
        {},
        {"recipe": "a name", "start": None, "photographs": 54, "validation": []},
        {"validation": {"rows": {"fused": {"EX": 0.5, "MA": {"average_precision": "high"}}}}},
    ],
)
def test_what_is_missing_or_something_else_is_left_out(training):
    stated = training_statement.read(training)

    assert (stated.recipe, stated.start, stated.scored_package) == ("", "", "")
    assert (stated.photographs, stated.scored) == ((), ())
    assert dict(stated.scores) == {}


def test_names_are_read_in_nfc_whatever_their_form():
    stated = training_statement.read({"photographs": ["Auge_mu\u0308de", "Auge_m\xfcde", None]})

    assert stated.photographs == ("Auge_m\xfcde", "Auge_m\xfcde")


@pytest.mark.parametrize("interval", [None, [0.4], [0.4, None], "wide"])
def test_a_score_without_a_whole_interval_has_none(interval):
    row = {"average_precision": 0.5, "interval": interval}
    stated = training_statement.read({"validation": {"rows": {"fused": {"EX": row}}}})

    assert stated.scores["EX"].interval is None
