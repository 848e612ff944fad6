"""How fast this code is, beside earlier commits of itself, from JPEG to files: one command, one table.

    python benchmarks/speed_of_commits.py PHOTOGRAPH --commits c0e9624=idrid-half,HEAD=idrid

Run:    on a quiet machine; `pip install '.[train,openvino]'`
Data:   one photograph of 12 megapixels, such as IDRiD's
Expect: docs/results/speed.md
Cost:   some ten seconds a repetition of all

Each program, a commit with one of its models, runs in a process of its own and opens its model once, with
its default engine and precision; all are then run in turn, again and again. Printed are medians, with the
range of the wall times.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from speed import ROOT, Candidate, CandidateProcess


def open_programs(names, photograph, folder):
    """Check the commits out and return COMMIT=MODEL -> its process, model opened."""
    processes = {}
    for number, name in enumerate(names):
        commit, _, model = name.partition("=")
        root = folder / str(number)
        add = ["git", "-C", str(ROOT), "worktree", "add", "--quiet", "--detach", str(root), commit]
        subprocess.run(add, check=True)
        candidate = Candidate(
            name=name, module="foveate_itself", opens="to_files", options={"load": {"where": model}}
        )
        child = root / "benchmarks" / "speed_peers" / "child.py"
        variables = {"PYTHONPATH": str(root / "src")}
        processes[name] = CandidateProcess(candidate, photograph, sys.executable, child, variables)
    return processes


def table(processes):
    """Return the rows; the last column compares each program with the first."""
    lines = [
        "| commit and model | computes | wall, s | range | CPU, s | times as fast |",
        "|---|---|---|---|---|---|",
    ]
    first = next(iter(processes.values())).measurement
    for name, process in processes.items():
        measured = process.measurement
        if measured.failed:
            lines.append(f"| {name} | does not run here: {measured.failed} | | | | |")
        else:
            spread = f"{min(measured.walls):.2f} to {max(measured.walls):.2f}"
            cpu, ratio = statistics.median(measured.cpus), first.wall / measured.wall
            lines.append(
                f"| {name} | {measured.what} | {measured.wall:.2f} | {spread} | {cpu:.2f} | {ratio:.2f} |"
            )
    return lines


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("photograph", type=Path)
    arguments.add_argument(
        "--commits", default="c0e9624=idrid-half,HEAD=idrid", help="COMMIT=MODEL, by comma"
    )
    arguments.add_argument("--repetitions", type=int, default=7)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        try:
            processes = open_programs(options.commits.split(","), options.photograph, Path(temporary))
            for _ in range(options.repetitions):
                for name, process in processes.items():
                    if not process.measurement.failed:
                        process.run_once()
                        print(f"{name}: {process.measurement.walls[-1:]}", file=sys.stderr, flush=True)
            for process in processes.values():
                process.end()
        finally:
            for root in Path(temporary).iterdir():
                subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", root], check=False)
    print("\n".join(table(processes)))


if __name__ == "__main__":
    main()
