"""A number of things is written as English has it."""

import pytest

from foveate.wording import quantity


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (12345, "12,345 files")]
)
def test_one_thing_is_singular_and_every_other_number_plural(number, text):
    assert quantity(number, "file") == text


def test_an_irregular_plural_is_given():
    assert [quantity(number, "copy", "copies") for number in (1, 2)] == ["1 copy", "2 copies"]
