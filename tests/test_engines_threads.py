"""As many threads as the process may use CPUs, by its affinity and by the quota of its control groups."""

import os
import sys

import pytest

from foveate.engines import threads

linux = pytest.mark.skipif(sys.platform != "linux", reason="affinity and control groups are Linux's")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a function that simulates a machine with 8 CPUs and control groups."""

    def simulate(membership, files):
        (tmp_path / "membership").write_text(membership)
        for name, content in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
        monkeypatch.setattr(threads, "MEMBERSHIP", tmp_path / "membership")
        monkeypatch.setattr(threads, "CONTROL_GROUPS", tmp_path / "groups")

    return simulate


@linux
@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("150000 100000", 2),
        ("1600000 100000", 8),
        ("max 100000", 8),
        ("", 8),
    ],
)
def test_a_quota_of_version_2_bounds_the_threads(machine, limit, expected):
    machine("0::/\n", {"cpu.max": f"{limit}\n"})

    assert threads.available_processors() == expected
    assert threads.thread_count(None) == expected


@linux
@pytest.mark.parametrize(("quota", "expected"), [(50_000, 1), (150_000, 2), (-1, 8), (0, 8)])
@pytest.mark.parametrize("path", ["/", "/docker/of-the-host"])
def test_a_quota_of_version_1_bounds_the_threads(machine, path, quota, expected):
    machine(
        f"5:memory:{path}\n4:cpu,cpuacct:{path}\n1:name=systemd:{path}\n",
        {"cpu/cpu.cfs_quota_us": f"{quota}\n", "cpu/cpu.cfs_period_us": "100000\n"},
    )

    assert threads.available_processors() == expected


@linux
def test_the_smallest_quota_of_a_group_and_those_above_it_counts(machine):
    machine(
        "0::/pod/container\n",
        {"pod/cpu.max": "250000 100000\n", "pod/container/cpu.max": "max 100000\n"},
    )

    assert threads.available_processors() == 3


@linux
def test_without_control_groups_the_affinity_counts(machine, tmp_path):
    machine("", {})
    assert threads.available_processors() == 8

    (tmp_path / "membership").unlink()
    assert threads.available_processors() == 8


def test_a_given_number_of_threads_is_not_bounded(machine):
    machine("0::/\n", {"cpu.max": "50000 100000\n"})

    assert threads.thread_count(3) == 3
