"""How many threads an engine computes with.

Knows:   how many CPUs this process may use.
Ignores: engines.
"""

import os
import sys

from foveate.errors import SettingError


def available_processors() -> int:
    """Return how many CPUs this process may use.

    Engines are given this number explicitly, so that none pins its threads to CPUs that another one uses.
    """
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_count(threads: int | None) -> int:
    """Return the number of threads to compute with: the given one, or one for each available CPU if None.

    Raises:
        SettingError: the number is below 1.
    """
    count = available_processors() if threads is None else threads
    if count < 1:
        raise SettingError(f"threads is {count}; give 1 or more")
    return count
