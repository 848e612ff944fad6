"""How fast this code is, beside earlier commits of itself, from JPEG to files: one command, one table.

    python benchmarks/speed_of_commits.py PHOTOGRAPH --commits c0e9624=idrid-half,HEAD=idrid [--isa AVX2,...]

Run:    on a quiet machine; `pip install '.[train,openvino]'`
Data:   one photograph of 12 megapixels, such as IDRiD's
Expect: docs/results/speed.md
Cost:   some ten seconds a repetition of all

Each program, a commit with one of its models, runs in a process of its own and opens its model once, with
its default engine and precision; all are then run in turn, again and again. Printed are medians, with the
range of the wall times.

With --isa, the same programs run once more for each instruction set, which oneDNN then keeps to
(ONEDNN_MAX_CPU_ISA). OpenVINO's own kernels still use what the processor has.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from speed import ROOT, Candidate, CandidateProcess


def check_out(commit, folder):
    """Check a commit out beside this one; return its root."""
    root = folder / commit
    if not root.exists():
        subprocess.run(
            ["git", "-C", str(ROOT), "worktree", "add", "--quiet", "--detach", root, commit], check=True
        )
    return root


def programs(commits, isas, folder):
    """Return name -> (candidate, root of its code, environment variables)."""
    listed = {}
    for isa in ("", *isas):
        for text in commits:
            commit, _, model = text.partition("=")
            name = f"{text}{f', {isa}' if isa else ''}"
            candidate = Candidate(
                name=name, module="foveate_itself", opens="to_files", options={"load": {"where": model}}
            )
            root = check_out(commit, folder)
            variables = {"PYTHONPATH": str(root / "src")} | ({"ONEDNN_MAX_CPU_ISA": isa} if isa else {})
            listed[name] = (candidate, root, variables)
    return listed


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("photograph", type=Path)
    arguments.add_argument(
        "--commits", default="c0e9624=idrid-half,HEAD=idrid", help="COMMIT=MODEL, by comma"
    )
    arguments.add_argument("--isa", default="", help="instruction sets to emulate, by comma: AVX2, AVX2_VNNI")
    arguments.add_argument("--repetitions", type=int, default=7)
    options = arguments.parse_args()
    isas = [isa for isa in options.isa.split(",") if isa]
    with tempfile.TemporaryDirectory() as temporary:
        try:
            listed = programs(options.commits.split(","), isas, Path(temporary))
            processes = {
                name: CandidateProcess(
                    candidate,
                    options.photograph,
                    sys.executable,
                    root / "benchmarks" / "speed_peers" / "child.py",
                    variables,
                )
                for name, (candidate, root, variables) in listed.items()
            }
            for _ in range(options.repetitions):
                for name, process in processes.items():
                    process.run_once()
                    print(f"{name}: {process.measurement.walls[-1:]}", file=sys.stderr, flush=True)
            for process in processes.values():
                process.end()
        finally:
            for commit in Path(temporary).iterdir():
                subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", commit], check=False)
    print("| commit and model | computes | wall, s | range | CPU, s | times as fast |")
    print("|---|---|---|---|---|---|")
    for number, (name, process) in enumerate(processes.items()):
        measured = process.measurement
        if measured.failed:
            print(f"| {name} | does not run here: {measured.failed} | | | | |")
            continue
        first = list(processes.values())[number - number % len(options.commits.split(","))].measurement
        ratio = first.wall / measured.wall
        print(
            f"| {name} | {measured.what} | {measured.wall:.2f} | {min(measured.walls):.2f} to "
            f"{max(measured.walls):.2f} | {statistics.median(measured.cpus):.2f} | {ratio:.2f} |"
        )


if __name__ == "__main__":
    main()
