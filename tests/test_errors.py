"""The errors form the tree that their module documents."""

import inspect
import re

import pytest

from foveate import errors

ERRORS = [value for value in vars(errors).values() if inspect.isclass(value)]


def test_the_documented_tree_is_the_defined_tree():
    documented = re.findall(r"^[├└]── (\w+) ", errors.__doc__, re.MULTILINE)

    assert documented == [error.__name__ for error in ERRORS if error is not errors.FoveateError]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_derives_from_foveate_error_alone(error):
    assert error.__mro__[1:] in ((errors.FoveateError, *Exception.__mro__), Exception.__mro__)
    assert error.__doc__
