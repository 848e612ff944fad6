"""Where to look at less than full effort: chosen on photographs held back, written down, and measured.

    python benchmarks/gaze.py PACKAGE --data IDRID [--split FILE:FOLD] [--write] [--time] [--out FILE.md]

Run:    beside other work, but for --time
Data:   photographs that the model did not learn from; IDRiD's fold 1 for the models that come with Foveate
Expect: docs/results/gaze.md
Cost:   about 45 seconds of one core a photograph (OpenVINO, bf16)

Printed are the figures of the choice itself, those of cut-offs that were chosen on the other photographs
each time, and what `segment` gives with them, exactly. --write puts them into the package's manifest, which
must be a folder; --time adds the median seconds of each effort, reading and writing apart.
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

import foveate
from foveate import metrics, models, photographs
from foveate.datasets import layouts, truth
from foveate.evaluation import effort_cutoffs as choosing
from foveate.evaluation import operating_points
from foveate.geometry import stitching
from foveate.inference.pipeline import Settings, segment

FOLD = Path(__file__).parents[1] / "src/foveate/training/recipes/splits/idrid.json"


def measured(package, engine, cases, efforts):
    """Return effort -> (lesion -> exact average precision, px looked at closely, median seconds)."""
    found = {}
    for effort in efforts:
        counts, computed, seconds = {}, 0, []
        for case in cases:
            photograph = photographs.read(case.photograph)
            begun = time.perf_counter()
            seen = segment(photograph, package, engine, Settings(effort=effort))
            seconds.append(time.perf_counter() - begun)
            rows, columns = seen.tiling.window
            computed += len(seen.tiling.corners) * rows * columns
            codes = seen.probabilities.lesions
            for code, plane in zip(codes, truth(case, codes, photograph.shape), strict=True):
                native = stitching.native(seen.probabilities, code)
                counts.setdefault(code, []).append(metrics.histogram(native, plane))
        areas = {code: metrics.average_precision(metrics.pool(each)) for code, each in counts.items()}
        found[effort] = areas, computed, statistics.median(seconds)
    return found


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("package")
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--layout", default="idrid")
    arguments.add_argument("--split", default=f"{FOLD}:1")
    arguments.add_argument("--engine")
    arguments.add_argument("--precision")
    arguments.add_argument("--threads", type=int)
    arguments.add_argument("--write", action="store_true")
    arguments.add_argument("--time", action="store_true")
    arguments.add_argument("--out", type=Path)
    chosen = arguments.parse_args()
    model = foveate.load(
        chosen.package, engine=chosen.engine, precision=chosen.precision, threads=chosen.threads
    )
    cases = operating_points.cases(chosen.data, layouts.named(chosen.layout), chosen.split)
    seen = []
    for one in choosing.glimpses(model.package, model.engine, cases):
        seen.append(one)
        print(one.name, flush=True)
    gazes = choosing.chosen(seen, choosing.glances(model.package))
    codes = model.package.contract.lesions
    lines = [
        f"{model.package.name} {model.package.version}, {model.engine.label}, {len(cases)} photographs.",
        "",
        "| effort | chosen on | cells looked at | share of each lesion's area in them: "
        + ", ".join(codes)
        + " | change of average precision: "
        + ", ".join(codes)
        + " |",
        "|---|---|---|---|---|",
    ]
    for effort, gaze in gazes.items():
        rows = {
            "the same photographs": choosing.outcome(seen, gaze.interests),
            "the others": choosing.crossed(seen, effort),
        }
        for on, outcome in rows.items():
            if outcome is not None:
                kept = ", ".join(f"{outcome.kept[code]:.2f}" for code in outcome.kept)
                lost = ", ".join(f"{-outcome.losses[code]:+.4f}" for code in outcome.losses)
                lines.append(f"| {effort} | {on} | {outcome.share:.1%} | {kept} | {lost} |")
    package = replace(model.package, gazes=gazes)
    exact = measured(package, model.engine, cases, ("full", *gazes))
    full, most, _ = exact["full"]
    seconds = "| seconds, median |" if chosen.time else "|"
    lines += ["", f"| effort | pixels looked at closely {seconds} " + " | ".join(codes) + " |"]
    lines += ["|---|---|" + "---|" * (chosen.time + len(codes))]
    for effort, (areas, computed, took) in exact.items():
        cells = [f"{areas[code]:.4f} ({areas[code] - full[code]:+.4f})" for code in codes]
        timed = [f"{took:.2f}"] if chosen.time else []
        lines.append(f"| {effort} | {computed / most:.2f} | " + " | ".join([*timed, *cells]) + " |")
    for effort, gaze in gazes.items():
        called = ", ".join(f"{code} {one.cutoff:.3f} ({one.spots})" for code, one in gaze.interests.items())
        lines += ["", f"{effort}: {gaze.glances} glances; cut-offs {called}."]
    print("\n".join(lines))
    if chosen.out:
        chosen.out.write_text("\n".join(lines) + "\n")
    if chosen.write:
        written = models.with_gazes(model.package, gazes)
        print(f"written into {written.folder}; its manifest's SHA-256 is now {written.digest[:12]}...")


if __name__ == "__main__":
    main()
