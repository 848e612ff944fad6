"""A library's warnings are collected within the block, and the filters are as before after it."""

import threading
import warnings

import pytest

from foveate.warning_filter import suppress_warnings


def test_a_warning_is_collected_within_the_block_and_no_longer():
    with suppress_warnings() as collected:
        warnings.warn("of a library", UserWarning, stacklevel=1)

    assert [str(warning.message) for warning in collected] == ["of a library"]

    with pytest.warns(UserWarning, match="of a library"):
        warnings.warn("of a library", UserWarning, stacklevel=1)


def test_blocks_of_several_threads_leave_the_filters_as_they_were():
    before = list(warnings.filters)

    def work():
        for _ in range(200):
            with suppress_warnings():
                warnings.warn("of a library", UserWarning, stacklevel=1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert warnings.filters == before
