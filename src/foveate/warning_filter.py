"""Suppress the Python warnings of libraries.

Knows:   that Python's warning filters are shared by all threads.
Ignores: what the libraries do.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_LOCK = Lock()
"""Held while the filters are changed: two threads would restore each other's."""


@contextmanager
def suppress_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Collect the warnings of decoders instead of printing them; yield the list of them.

    Problems that matter are raised as errors anyway. One thread at a time: keep the block short.
    """
    with _LOCK, warnings.catch_warnings(record=True) as collected:
        warnings.simplefilter("always")
        yield collected
