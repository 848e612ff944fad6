"""How many threads an engine computes with.

Knows:   how many CPUs this process may use: its affinity, and the CPU quota of a container.
Ignores: engines.
"""

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from foveate.errors import SettingError

MEMBERSHIP = Path("/proc/self/cgroup")
"""Linux: the control groups of this process, one a line: 'number:controllers:path'."""

CONTROL_GROUPS = Path("/sys/fs/cgroup")
"""Linux: where control groups are mounted."""


def available_processors() -> int:
    """Return how many CPUs this process may use; a quota of 1.5 CPUs counts as 2.

    Engines are given this number explicitly, so that none pins its threads to CPUs that another one uses.

    Source: cpu.max and cpu.cfs_quota_us, https://docs.kernel.org/admin-guide/cgroup-v2.html and
    https://docs.kernel.org/scheduler/sched-bwc.html.
    """
    if sys.platform != "linux":
        return os.cpu_count() or 1
    quota = min((_quota(folder) for folder in _group_folders()), default=math.inf)
    processors = len(os.sched_getaffinity(0))
    return max(1, math.ceil(min(processors, quota)))


def thread_count(threads: int | None) -> int:
    """Return the number of threads to compute with: the given one, or one for each available CPU if None.

    Raises:
        SettingError: the number is below 1.
    """
    count = available_processors() if threads is None else threads
    if count < 1:
        raise SettingError(f"threads is {count}; give 1 or more")
    return count


def _group_folders() -> Iterator[Path]:
    """Yield the folders of the control groups of this process that may limit its CPU time.

    The parent groups of a group also limit it. In a container a path may be the host's and not exist; the
    folder of the whole hierarchy is then the container's own.
    """
    for line in _read(MEMBERSHIP).splitlines():
        _, controllers, path = line.split(":", maxsplit=2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        hierarchy = CONTROL_GROUPS / "cpu" if controllers else CONTROL_GROUPS  # version 1, version 2
        group = PurePosixPath(path.lstrip("/"))
        yield from (hierarchy / folder for folder in (group, *group.parents))


def _quota(group: Path) -> float:
    """Return the CPUs that a control group may use; infinity if it has no quota."""
    quota, period = [*_read(group / "cpu.max").split(), "", ""][:2]  # version 2
    if not quota:
        quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")  # version 1
    try:
        cpus = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # 'max', or no such file
        return math.inf
    return cpus if cpus > 0 else math.inf  # version 1 writes -1 for no quota


def _read(path: Path) -> str:
    """Return a file's text without surrounding space, or nothing where it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
