"""The errors are the tree that is drawn above them."""

import inspect
import re

import pytest

from foveate import errors

RAISED = [value for value in vars(errors).values() if inspect.isclass(value)]


def test_the_tree_that_is_drawn_is_the_tree_that_is_defined():
    drawn = re.findall(r"^[├└]── (\w+) ", errors.__doc__, re.MULTILINE)

    assert drawn == [error.__name__ for error in RAISED if error is not errors.FoveateError]


@pytest.mark.parametrize("error", RAISED)
def test_every_error_is_caught_as_a_foveate_error_and_as_no_other(error):
    assert error.__mro__[1:] in ((errors.FoveateError, *Exception.__mro__), Exception.__mro__)
    assert error.__doc__
