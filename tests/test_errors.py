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
    RuntimeError("pylibjpeg: Unable to allocate 9.00 GiB for an array with shape (9, 9) and data type uint8"),
    OSError("out of memory when reading image file"),  # from Pillow's codecs, without a number
    OSError(errno.ENOMEM, "Cannot allocate memory"),
)


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_libraries_say_in_their_own_words_that_memory_ran_out(error):
    assert errors.is_out_of_memory(error)
    with pytest.raises(MemoryError, match=f"^{re.escape(str(error))}$"):
        errors.raise_if_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("out of range"),
        OSError("broken data stream when reading image file"),
        OSError(28, "out of memory.png is full"),
        errors.PhotographError("out of memory.png"),
    ],
)
def test_other_errors_do_not(error):
    assert not errors.is_out_of_memory(error)
    errors.raise_if_out_of_memory(error)


def test_what_an_error_says_is_one_line_or_the_name_of_its_type():
    assert errors.one_line(ValueError("a\n  b\tc")) == "a b c"
    assert errors.one_line(ValueError("a\n  b\tc"), 3) == "a b"
    assert errors.one_line(MemoryError(), 3) == "MemoryError"
