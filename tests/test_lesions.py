"""A code means one lesion with one name and one colour; invalid codes are refused."""

import pytest

from foveate import lesions
from foveate.errors import LesionError


def test_the_paper_s_lesions_stand_in_the_order_of_its_table():
    assert [lesion.code for lesion in lesions.RETINOPATHY] == ["EX", "MA", "HE", "SE"]


def test_known_codes_give_their_lesions_in_the_given_order():
    assert lesions.of(["SE", "EX"]) == (lesions.SE, lesions.EX)
    assert lesions.of([]) == ()


def test_an_unknown_code_is_its_own_name_and_gets_a_spare_colour():
    codes = ["NV", "EX", "DRUSEN", "IRMA", "PRH", "VB"]

    result = lesions.of(codes)

    assert [lesion.code for lesion in result] == codes
    assert (result[0].name, result[1]) == ("NV", lesions.EX)
    own = {lesion.colour for lesion in lesions.RETINOPATHY}
    assert all(lesion.colour not in own for lesion in result if lesion.name == lesion.code)
    assert len({lesion.colour for lesion in result[:5]}) == 5  # four spare ones, then over again


def test_all_colours_differ():
    colours = [lesion.colour for lesion in lesions.RETINOPATHY] + list(lesions.SPARE_COLOURS)

    assert len(set(colours)) == len(colours)
    assert all(0 <= level <= 255 for colour in colours for level in colour)


@pytest.mark.parametrize(
    "codes", [[""], ["ex"], ["Ex"], ["E X"], ["EX-1"], ["É"], ["EX", "EX"], ["NV", "NV"], ["../EX"], ["12"]]
)
def test_an_empty_repeated_or_malformed_code_is_refused_by_name(codes):
    with pytest.raises(LesionError, match="use each code once, in capitals"):
        lesions.of(codes)


def test_selected_lesions_have_the_model_s_order():
    assert lesions.select(["HE", "EX"], ["EX", "MA", "HE"]) == ("EX", "HE")
    assert lesions.select([], ["EX"]) == ()


def test_a_lesion_that_the_model_lacks_is_refused_with_a_list_of_its_lesions():
    with pytest.raises(LesionError, match="'SE' is unknown to this model; it knows EX, MA"):
        lesions.select(["EX", "SE"], ["EX", "MA"])
