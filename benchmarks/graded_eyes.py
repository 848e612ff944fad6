"""Do healthy eyes look healthy, and sick ones not? IDRiD's graded photographs that no model learned from.

    foveate predict "GRADED/1. Original Images/a. Training Set" --out OUT
    python benchmarks/graded_eyes.py OUT GRADED [> docs/results/graded.md]

GRADED is IDRiD's folder 'B. Disease Grading', or one with a labels.csv beside the photographs, which is then
given to both commands; the photographs must have IDRiD's names. Only photographs of the half that
`splits/idrid-graded.json` leaves to judge with are looked at, and of these the ones that OUT has results of.
The burden of an eye is the share of its field that regions of all lesions take together,
at the model's own thresholds; the area under the ROC curve is that of grade 0 against grades 2 to 4 (grade 1
is a few microaneurysms, and graders differ on them), with a 95 % interval over photographs.
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foveate import metrics
from foveate.datasets import dr_grades, splits
from foveate.training import recipes

SPLIT = Path(recipes.__file__).parent / "splits" / "idrid-graded.json"
SICK = (2, 3, 4)
"""Moderate, severe and proliferative retinopathy."""
NAMED = 6
"""Photographs named at either end."""


@dataclass(frozen=True, kw_only=True)
class Eye:
    """One graded photograph, as a run of `foveate predict` has it."""

    name: str
    grade: int
    counts: dict[str, int]
    """Lesion -> regions."""
    shares: dict[str, float]
    """Lesion -> share of the field's pixels."""

    @property
    def regions(self) -> int:
        return sum(self.counts.values())

    @property
    def burden(self) -> float:
        return sum(self.shares.values())


def read_eyes(out: Path, folder: Path) -> list[Eye]:
    """Return the eyes of the test half that the run has results of; one that failed ends the program."""
    halves = splits.read(SPLIT)
    with (out / "summary.csv").open(newline="") as file:
        rows = {row["photograph"]: row for row in csv.DictReader(file)}
    eyes = [
        read(rows[photograph.name], photograph.grade)
        for photograph in dr_grades.list_photographs(folder)
        if halves.get(photograph.name) == dr_grades.TEST_HALF and photograph.name in rows
    ]
    if not eyes:
        raise SystemExit(
            f"{out}: has no results of a photograph in the test half of {SPLIT.name} that {folder} grades; "
            "run foveate predict on those photographs"
        )
    return eyes


def read(row: dict[str, str], grade: int) -> Eye:
    if row["status"] != "ok":
        raise SystemExit(f"{row['photograph']}: {row['error']}")
    codes = [key.removesuffix("_count") for key in row if key.endswith("_count")]
    return Eye(
        name=row["photograph"],
        grade=grade,
        counts={code: int(row[f"{code}_count"]) for code in codes},
        shares={code: float(row[f"{code}_area_fraction"]) for code in codes},
    )


def auc(eyes: Sequence[Eye], burden) -> str:
    """Return the area under the ROC curve of grade 0 against SICK, with its interval where it has one."""
    selected = [eye for eye in eyes if eye.grade == 0 or eye.grade in SICK]
    if not selected:
        return "-"
    statistic = metrics.image_auc(
        np.array([burden(eye) for eye in selected], np.float64),
        np.array([eye.grade in SICK for eye in selected]),
    )
    draws = metrics.resample_photographs(len(selected))
    area = metrics.estimate(np.eye(len(selected)), statistic, draws, "only one of the two groups has eyes")
    if area.value is None:
        return "-"
    interval = "" if area.low is None else f" ({area.low:.3f} to {area.high:.3f})"
    return f"{area.value:.3f}{interval}"


def median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else float("nan")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("out", type=Path)
    arguments.add_argument("graded", type=Path)
    options = arguments.parse_args()
    eyes = read_eyes(options.out, options.graded)
    codes = list(eyes[0].counts)
    print(
        f"{len(eyes)} photographs.\n\n| burden by | area under the ROC curve, grade 0 against 2 to 4 |"
        "\n|---|---|"
    )
    print(f"| all lesions | {auc(eyes, lambda eye: eye.burden)} |")
    for code in codes:
        print(f"| {code} | {auc(eyes, lambda eye, code=code: eye.shares[code])} |")
    print(f"\n| grade | photographs | median regions | {' | '.join(codes)} | median burden, per mille |")
    print(f"|---|---|---|{'---|' * len(codes)}---|")
    for grade in range(5):
        group = [eye for eye in eyes if eye.grade == grade]
        each = " | ".join(f"{median([eye.counts[code] for eye in group]):g}" for code in codes)
        total, burden = median([eye.regions for eye in group]), median([eye.burden for eye in group])
        print(f"| {grade} | {len(group)} | {total:g} | {each} | {1000 * burden:.2f} |")
    healthy = sorted((eye for eye in eyes if eye.grade == 0), key=lambda eye: -eye.burden)
    sick = sorted((eye for eye in eyes if eye.grade in SICK), key=lambda eye: eye.burden)
    for title, group in (("Healthy, highest burden", healthy), ("Grades 2 to 4, lowest burden", sick)):
        print(f"\n{title}: ", end="")
        print(
            "; ".join(f"{eye.name} ({eye.regions} regions, {1000 * eye.burden:.2f})" for eye in group[:NAMED])
        )


if __name__ == "__main__":
    main()
