"""The errors form the tree that their module documents."""

import errno
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


OUT_OF_MEMORY = (
    MemoryError(),
    RuntimeError("std::bad_alloc"),
    RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 3"),
    RuntimeError("OpenCV(4.12.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
)


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_libraries_say_in_their_own_words_that_memory_ran_out(error):
    assert errors.is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [ValueError("out of range"), OSError(28, "full"), errors.PhotographError("out of memory.png")]
)
def test_other_errors_do_not(error):
    assert not errors.is_out_of_memory(error)


def test_what_an_error_says_is_one_line_or_the_name_of_its_type():
    assert errors.one_line(ValueError("a\n  b\tc")) == "a b c"
    assert errors.one_line(ValueError("a\n  b\tc"), 3) == "a b"
    assert errors.one_line(MemoryError(), 3) == "MemoryError"
