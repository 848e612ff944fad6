"""Average precision over the photographs that several runs held back, pooled: not calibrated, and calibrated.

Run:    python benchmarks/out_of_fold.py RECIPE DATA RUN [RUN ...]
Data:   finished runs of `foveate train`, each of another fold, and the set that they learned from
Expect: docs/results/idrid-trials.md, 'Two folds'
Cost:   fifteen seconds of one core a photograph

Calibrated by its fold: each run's network has one Platt scaling a lesion, fitted on all that it held back.
By the others: each photograph is scaled as the other ones of its fold say. Without either, the pooled figure
judges several networks by one scale that they do not share. `foveate release` with several `--judged-by` fits
one scaling on all folds together. It changes no order of pixels, and so no average precision: that is the
column 'not calibrated'.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foveate import evaluation, metrics
from foveate.datasets import layouts
from foveate.metrics import PixelCounts
from foveate.metrics.counts import INTERVAL_BIN_EDGES
from foveate.training import recipes, release
from foveate.training.release import ReleaseInputs


def load(name: str, data: Path, run: Path) -> ReleaseInputs:
    """Return a run with the photographs that it held back, all of whose files can be used."""
    layout = layouts.named("idrid")
    finished = release.load_run(recipes.RECIPES[name](), run, layouts.cases(data, layout, "train"), layout)
    inputs = ReleaseInputs(shipped=finished, validation_runs=[finished])
    if doubt := inputs.check_files():
        print(doubt, flush=True)
    return inputs


def held_back(inputs: ReleaseInputs) -> dict[str, list[PixelCounts]]:
    """Return lesion -> what the fused network of a run shows of each photograph that it held back."""
    run = inputs.shipped
    histograms = release.validate(inputs)
    print(f"{run.folder}\n{evaluation.tabulate(evaluation.score(histograms))}\n", flush=True)
    return {
        lesion: [coarsen(case.counts[lesion]) for case in histograms]
        for lesion in run.recipe.contract.lesions
    }


def coarsen(counts: PixelCounts) -> PixelCounts:
    """Return the same in a few thousand bins: average precision is off by less than .0001."""
    positives, negatives = counts.interval_bins()
    return PixelCounts(positives=positives, negatives=negatives, bin_edges=INTERVAL_BIN_EDGES)


def scale(each: Sequence[PixelCounts], fold: Sequence[PixelCounts]) -> list[PixelCounts]:
    """Return photographs as the scaling that is likeliest on others has them."""
    scaling = metrics.calibration.fit(metrics.pool(fold))
    return [counts if scaling is None else scaling.of_counts(counts) for counts in each]


def scale_by_others(fold: Sequence[PixelCounts]) -> list[PixelCounts]:
    return [scale([case], [counts for counts in fold if counts is not case])[0] for case in fold]


def pooled_precision(each: Sequence[PixelCounts]) -> str:
    """Return average precision and its interval, if it has one, whatever places of the ruler are used."""
    edges = np.unique(np.concatenate([counts.bin_edges for counts in each]))
    table = np.zeros((len(each), 2, len(edges)))
    for row, counts in zip(table, each, strict=True):
        columns = np.searchsorted(edges, counts.bin_edges)
        np.add.at(row[0], columns, counts.positives)  # scaled edges may coincide
        np.add.at(row[1], columns, counts.negatives)
    flat = table.reshape(len(each), -1)
    (exact,) = metrics.average_precisions(flat.sum(axis=0, keepdims=True))
    coarse = np.add.reduceat(table, np.arange(0, len(edges), max(1, len(edges) // 4096)), axis=2)
    interval = metrics.interval(coarse.reshape(len(each), -1), metrics.average_precisions, metrics.RESAMPLES)
    return f"{exact:.4f}" if interval is None else f"{exact:.4f} ({interval[0]:.3f} to {interval[1]:.3f})"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("recipe")
    arguments.add_argument("data", type=Path)
    arguments.add_argument("runs", type=Path, nargs="+")
    options = arguments.parse_args()
    loaded = [load(options.recipe, options.data, run) for run in options.runs]  # before the hours of work
    folds = [held_back(inputs) for inputs in loaded]
    print(
        "| lesion | not calibrated | calibrated by its fold | by the others of its fold |\n|---|---|---|---|"
    )
    for lesion in folds[0]:
        uncalibrated = [counts for fold in folds for counts in fold[lesion]]
        by_fold = [counts for fold in folds for counts in scale(fold[lesion], fold[lesion])]
        by_others = [counts for fold in folds for counts in scale_by_others(fold[lesion])]
        print(f"| {lesion} | {' | '.join(map(pooled_precision, (uncalibrated, by_fold, by_others)))} |")


if __name__ == "__main__":
    main()
