"""A code means one lesion with one name and one colour; nobody guesses at a code."""

import pytest

from foveate import lesions
from foveate.errors import LesionError


def test_the_paper_s_lesions_stand_in_the_order_of_its_table():
    assert [lesion.code for lesion in lesions.RETINOPATHY] == ["EX", "MA", "HE", "SE"]


def test_known_codes_bring_their_names_in_the_order_asked_for():
    assert lesions.of(["SE", "EX"]) == (lesions.SE, lesions.EX)
    assert lesions.of([]) == ()


def test_an_unknown_code_is_named_by_itself_and_drawn_in_a_spare_colour():
    codes = ["NV", "EX", "DRUSEN", "IRMA", "PRH", "VB"]

    found = lesions.of(codes)

    assert [lesion.code for lesion in found] == codes
    assert (found[0].name, found[1]) == ("NV", lesions.EX)
    own = {lesion.colour for lesion in lesions.RETINOPATHY}
    assert all(lesion.colour not in own for lesion in found if lesion.name == lesion.code)
    assert len({lesion.colour for lesion in found[:5]}) == 5  # four spare ones, then over again


def test_colours_of_the_vocabulary_differ():
    colours = [lesion.colour for lesion in lesions.RETINOPATHY] + list(lesions.SPARE_COLOURS)

    assert len(set(colours)) == len(colours)
    assert all(0 <= level <= 255 for colour in colours for level in colour)


@pytest.mark.parametrize(
    "codes", [[""], ["ex"], ["Ex"], ["E X"], ["EX-1"], ["É"], ["EX", "EX"], ["NV", "NV"], ["../EX"], ["12"]]
)
def test_an_empty_repeated_or_oddly_written_code_is_refused_by_name(codes):
    with pytest.raises(LesionError, match="use each code once, in capitals"):
        lesions.of(codes)


def test_the_chosen_lesions_come_in_the_model_s_order():
    assert lesions.chosen(["HE", "EX"], ["EX", "MA", "HE"]) == ("EX", "HE")
    assert lesions.chosen([], ["EX"]) == ()


def test_a_lesion_that_the_model_does_not_know_is_refused_with_those_it_knows():
    with pytest.raises(LesionError, match="'SE' is unknown to this model; it knows EX, MA"):
        lesions.chosen(["EX", "SE"], ["EX", "MA"])
