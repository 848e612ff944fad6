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
from foveate.analysis import window_selection
from foveate.datasets import layouts, truth
from foveate.evaluation import effort_cutoffs as choosing
from foveate.evaluation import selection
from foveate.geometry import stitching
from foveate.inference.pipeline import segment
from foveate.inference.settings import Settings

FOLD = Path(__file__).parents[1] / "src/foveate/training/recipes/splits/idrid.json"


def measure(package, engine, cases, efforts):
    """Return effort -> (lesion -> exact average precision, px looked at closely, median seconds)."""
    measurements = {}
    for effort in efforts:
        counts, computed, seconds = {}, 0, []
        for case in cases:
            photograph = photographs.read(case.photograph)
            start = time.perf_counter()
            segmentation = segment(photograph, package, engine, Settings(effort=effort))
            seconds.append(time.perf_counter() - start)
            rows, columns = segmentation.tiling.window
            computed += len(segmentation.tiling.corners) * rows * columns
            codes = segmentation.probabilities.lesions
            for code, plane in zip(codes, truth(case, codes, photograph.shape), strict=True):
                native = stitching.native_map(segmentation.probabilities, code)
                counts.setdefault(code, []).append(metrics.histogram(native, plane))
        areas = {code: metrics.average_precision(metrics.pool(each)) for code, each in counts.items()}
        measurements[effort] = areas, computed, statistics.median(seconds)
    return measurements


def cross_validate(results, effort):
    """Return the result of an effort with the cut-offs of each photograph chosen on all the others.

    Returns:
        None where, for some photograph, the others do not allow the effort.
    """
    visits = []
    for number, case in enumerate(results):
        rules = choosing.choose([*results[:number], *results[number + 1 :]], choosing.REDUCED_TTA_VIEWS)
        if effort not in rules:
            return None
        visits.append(window_selection.select_cells(case.coarse, case.blob_contrast, rules[effort].criteria))
    return choosing.pool(results, visits)


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
    options = arguments.parse_args()
    model = foveate.load(
        options.package, engine=options.engine, precision=options.precision, threads=options.threads
    )
    cases = selection.select_cases(options.data, layouts.named(options.layout), options.split)
    results = []
    for result in choosing.coarse_results(model.package, model.engine, cases):
        results.append(result)
        print(result.name, flush=True)
    selection_rules = choosing.choose(results, choosing.reduced_tta_views(model.package))
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
    for effort, rule in selection_rules.items():
        rows = {
            "the same photographs": choosing.outcome(results, rule.criteria),
            "the others": cross_validate(results, effort),
        }
        for photographs_used, outcome in rows.items():
            if outcome is not None:
                kept_areas = ", ".join(f"{area:.2f}" for area in outcome.covered.values())
                changes = ", ".join(f"{-outcome.losses[code]:+.4f}" for code in outcome.losses)
                lines.append(
                    f"| {effort} | {photographs_used} | {outcome.share:.1%} | {kept_areas} | {changes} |"
                )
    package = replace(model.package, selection_rules=selection_rules)
    exact = measure(package, model.engine, cases, ("full", *selection_rules))
    full, full_pixels, _ = exact["full"]
    seconds = "| seconds, median |" if options.time else "|"
    lines += ["", f"| effort | pixels looked at closely {seconds} " + " | ".join(codes) + " |"]
    lines += ["|---|---|" + "---|" * (options.time + len(codes))]
    for effort, (areas, computed, median_seconds) in exact.items():
        cells = [f"{areas[code]:.4f} ({areas[code] - full[code]:+.4f})" for code in codes]
        time_cells = [f"{median_seconds:.2f}"] if options.time else []
        lines.append(
            f"| {effort} | {computed / full_pixels:.2f} | " + " | ".join([*time_cells, *cells]) + " |"
        )
    for effort, rule in selection_rules.items():
        cutoffs = ", ".join(
            f"{code} {criterion.cutoff:.3f} ({criterion.blobs})" for code, criterion in rule.criteria.items()
        )
        lines += ["", f"{effort}: {rule.tta_views} glances; cut-offs {cutoffs}."]
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
    if options.write:
        written = models.with_selection_rules(model.package, selection_rules)
        print(f"written into {written.folder}; its manifest's SHA-256 is now {written.digest[:12]}...")


if __name__ == "__main__":
    main()
