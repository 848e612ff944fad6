"""Average precision over the photographs that several runs held back, pooled: not calibrated, and calibrated.

Run:    python benchmarks/out_of_fold.py RECIPE DATA RUN [RUN ...]
Data:   finished runs of `foveate train`, each of another fold, and the set that they learned from
Expect: docs/results/idrid-half.md, 'Two folds'
Cost:   fifteen seconds of one core a photograph

Calibrated by its fold: each run's network has one Platt scaling a lesion, found on all that it held back, as
`foveate release` does. By the others: each photograph is scaled as the other ones of its fold say. Without
either, the pooled figure judges several networks by one scale that they do not share.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foveate import evaluation, metrics, models
from foveate.datasets import layouts
from foveate.evaluation.networks import ROWS
from foveate.metrics import Counts
from foveate.metrics.counts import SKETCH
from foveate.training import comparison, export, recipes, runner


def held_back(name: str, data: Path, run: Path) -> dict[str, list[Counts]]:
    """Return lesion -> what the fused network of a run shows of each photograph that it held back."""
    recipe = runner.recalled(recipes.RECIPES[name](), run)
    _, held = runner.divided(recipe, layouts.cases(data, layouts.named("idrid"), "train"))
    engine = ROWS["fused"](network=export.halved(comparison.network(recipe, run, "fused")))
    seen = list(evaluation.count(held, models.unwritten(recipe.name, recipe.contract), engine))
    print(f"{run}\n{evaluation.tabulate(evaluation.score(seen))}\n", flush=True)
    return {lesion: [sketched(one.counts[lesion]) for one in seen] for lesion in recipe.contract.lesions}


def sketched(counts: Counts) -> Counts:
    """Return the same in a few thousand bins: average precision is off by less than .0001."""
    positives, negatives = counts.sketch()
    return Counts(positives=positives, negatives=negatives, floors=SKETCH)


def scaled(each: Sequence[Counts], fold: Sequence[Counts]) -> list[Counts]:
    """Return photographs as the scaling that is likeliest on others has them."""
    scaling = metrics.calibration.fit(metrics.pool(fold))
    return [one if scaling is None else scaling.of(one) for one in each]


def by_the_others(fold: Sequence[Counts]) -> list[Counts]:
    return [scaled([one], [other for other in fold if other is not one])[0] for one in fold]


def pooled(each: Sequence[Counts]) -> str:
    """Return average precision and its interval, whatever places of the ruler the photographs use."""
    places = np.unique(np.concatenate([one.floors for one in each]))
    table = np.zeros((len(each), 2, len(places)))
    for row, one in zip(table, each, strict=True):
        at = np.searchsorted(places, one.floors)
        np.add.at(row[0], at, one.positives)  # scaled places may coincide
        np.add.at(row[1], at, one.negatives)
    flat = table.reshape(len(each), -1)
    (exact,) = metrics.average_precisions(flat.sum(axis=0, keepdims=True))
    coarse = np.add.reduceat(table, np.arange(0, len(places), max(1, len(places) // 4096)), axis=2)
    low, high = metrics.interval(coarse.reshape(len(each), -1), metrics.average_precisions, metrics.RESAMPLES)
    return f"{exact:.4f} ({low:.3f} to {high:.3f})"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("recipe")
    arguments.add_argument("data", type=Path)
    arguments.add_argument("runs", type=Path, nargs="+")
    chosen = arguments.parse_args()
    folds = [held_back(chosen.recipe, chosen.data, run) for run in chosen.runs]
    print(
        "| lesion | not calibrated | calibrated by its fold | by the others of its fold |\n|---|---|---|---|"
    )
    for lesion in folds[0]:
        plain = [one for fold in folds for one in fold[lesion]]
        own = [one for fold in folds for one in scaled(fold[lesion], fold[lesion])]
        others = [one for fold in folds for one in by_the_others(fold[lesion])]
        print(f"| {lesion} | {' | '.join(map(pooled, (plain, own, others)))} |")


if __name__ == "__main__":
    main()
