"""Best, typical and worst: photograph, truth and prediction of each lesion, as one picture for the README.

Run:    python benchmarks/cases.py DATA MODEL SPLIT.json:FOLD OUT.jpg
Data:   a set in IDRiD's layout; MODEL must not have learned from the photographs of FOLD
Expect: docs/pictures/cases.jpg
Cost:   some seconds a photograph

Photographs are ordered by the exact area below their own precision-recall curve; the typical one is that of
the median, or the lower of both in the middle. Shown is the square that holds most of the lesion, drawn or
found.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from foveate import metrics
from foveate.datasets import is_annotated, layouts, truth
from foveate.evaluation import gallery, of_model, operating_points
from foveate.evaluation.sources import Shown
from foveate.inference import api
from foveate.inference.pipeline import DEFAULTS

CELL = 190
"""Side of a close-up on the page, px."""

GAP, MARGIN, CAPTION, SIZE = 4, 34, 24, 15
"""Between close-ups; left of a row; above it; of the letters: px."""

RANKS = ("best", "typical", "worst")


@dataclass(frozen=True, kw_only=True)
class Close:
    """One photograph, where it shows one lesion most."""

    name: str
    score: float
    pixels: np.ndarray
    truth: np.ndarray
    marked: np.ndarray


def closes(shown: Shown, name: str, lesion: str, plane: np.ndarray, threshold: float) -> Close | None:
    stored = shown.stored(lesion)
    score = metrics.average_precision(metrics.histogram(stored, plane))
    if score is None:
        return None
    marked = metrics.thresholds.marked(stored, threshold)
    box = gallery.busiest(plane | marked)
    cut = (shown.photograph.pixels, plane, marked)
    pixels, drawn, found = (whole[box.slices].copy() for whole in cut)
    return Close(name=name, score=score, pixels=pixels, truth=drawn, marked=found)


def outlined(one: Close, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    large = cv2.resize(one.pixels, (2 * CELL, 2 * CELL), interpolation=cv2.INTER_AREA)
    plane = cv2.resize(mask.astype(np.uint8), (2 * CELL, 2 * CELL), interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(plane, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(large, contours, -1, colour, 2)
    return cv2.resize(large, (CELL, CELL), interpolation=cv2.INTER_AREA)


def page(rows: dict[str, tuple[Close, ...]]) -> Image.Image:
    group = 3 * CELL + 2 * GAP
    width = MARGIN + len(RANKS) * group + (len(RANKS) - 1) * 3 * GAP
    made = Image.new("RGB", (width, len(rows) * (CAPTION + CELL + GAP)), "white")
    pen, font = ImageDraw.Draw(made), ImageFont.load_default(SIZE)
    for number, (lesion, three) in enumerate(rows.items()):
        top = number * (CAPTION + CELL + GAP)
        pen.text((4, top + CAPTION + CELL // 2 - SIZE), lesion, fill="black", font=font)
        for place, (rank, one) in enumerate(zip(RANKS, three, strict=True)):
            left = MARGIN + place * (group + 3 * GAP)
            told = f"{rank}: {one.name}, {one.score:.2f}"
            pen.text((left, top + 3), told, fill="black", font=font)
            plain = cv2.resize(one.pixels, (CELL, CELL), interpolation=cv2.INTER_AREA)
            cells = (plain, outlined(one, one.truth, gallery.TRUTH), outlined(one, one.marked, gallery.FOUND))
            for column, cell in enumerate(cells):
                made.paste(Image.fromarray(cell), (left + column * (CELL + GAP), top + CAPTION))
    return made


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data", type=Path)
    arguments.add_argument("model")
    arguments.add_argument("split")
    arguments.add_argument("out", type=Path)
    chosen = arguments.parse_args()
    opened = api.load(chosen.model)
    source = of_model(opened.package, opened.engine, DEFAULTS)
    known: dict[str, list[Close]] = {code: [] for code in opened.package.contract.lesions}
    for case in operating_points.cases(chosen.data, layouts.named("idrid"), chosen.split):
        shown = source(case)
        for lesion, so_far in known.items():
            if is_annotated(case, lesion):
                (plane,) = truth(case, (lesion,), shown.photograph.shape)
                one = closes(shown, case.name, lesion, plane, opened.package.decisions[lesion].threshold)
                so_far.extend([one] if one else [])
    ordered = {code: sorted(ones, key=lambda one: -one.score) for code, ones in known.items()}
    rows = {code: (ones[0], ones[len(ones) // 2], ones[-1]) for code, ones in ordered.items()}
    page(rows).save(chosen.out, quality=85, optimize=True)


if __name__ == "__main__":
    main()
