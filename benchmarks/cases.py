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
from foveate.evaluation import gallery, maps_from_model, selection
from foveate.evaluation.sources import CaseMaps
from foveate.inference import api
from foveate.inference.settings import DEFAULTS

CELL = 190
"""Side of a close-up on the page, px."""

GAP, MARGIN, CAPTION, SIZE = 4, 34, 24, 15
"""Between close-ups; left of a row; above it; of the letters: px."""

RANKS = ("best", "typical", "worst")


@dataclass(frozen=True, kw_only=True)
class CloseUp:
    """One photograph, where it shows one lesion most."""

    name: str
    score: float
    pixels: np.ndarray
    truth: np.ndarray
    marked: np.ndarray


def close_up(maps: CaseMaps, name: str, lesion: str, plane: np.ndarray, threshold: float) -> CloseUp | None:
    stored = maps.load_map(lesion)
    score = metrics.average_precision(metrics.histogram(stored, plane))
    if score is None:
        return None
    marked = metrics.thresholds.binarise(stored, threshold)
    box = gallery.densest_box(plane | marked)
    arrays = (maps.photograph.pixels, plane, marked)
    pixels, true, predicted = (array[box.slices].copy() for array in arrays)
    return CloseUp(name=name, score=score, pixels=pixels, truth=true, marked=predicted)


def draw_outline(view: CloseUp, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    large = cv2.resize(view.pixels, (2 * CELL, 2 * CELL), interpolation=cv2.INTER_AREA)
    plane = cv2.resize(mask.astype(np.uint8), (2 * CELL, 2 * CELL), interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(plane, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(large, contours, -1, colour, 2)
    return cv2.resize(large, (CELL, CELL), interpolation=cv2.INTER_AREA)


def page(rows: dict[str, tuple[CloseUp, ...]]) -> Image.Image:
    group = 3 * CELL + 2 * GAP
    width = MARGIN + len(RANKS) * group + (len(RANKS) - 1) * 3 * GAP
    picture = Image.new("RGB", (width, len(rows) * (CAPTION + CELL + GAP)), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(SIZE)
    for number, (lesion, views) in enumerate(rows.items()):
        top = number * (CAPTION + CELL + GAP)
        pen.text((4, top + CAPTION + CELL // 2 - SIZE), lesion, fill="black", font=font)
        for position, (rank, view) in enumerate(zip(RANKS, views, strict=True)):
            left = MARGIN + position * (group + 3 * GAP)
            caption = f"{rank}: {view.name}, {view.score:.2f}"
            pen.text((left, top + 3), caption, fill="black", font=font)
            unmarked = cv2.resize(view.pixels, (CELL, CELL), interpolation=cv2.INTER_AREA)
            cells = (
                unmarked,
                draw_outline(view, view.truth, gallery.TRUTH_COLOUR),
                draw_outline(view, view.marked, gallery.PREDICTION_COLOUR),
            )
            for column, cell in enumerate(cells):
                picture.paste(Image.fromarray(cell), (left + column * (CELL + GAP), top + CAPTION))
    return picture


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data", type=Path)
    arguments.add_argument("model")
    arguments.add_argument("split")
    arguments.add_argument("out", type=Path)
    options = arguments.parse_args()
    model = api.load(options.model)
    source = maps_from_model(model.package, model.engine, DEFAULTS)
    views: dict[str, list[CloseUp]] = {code: [] for code in model.package.contract.lesions}
    for case in selection.select_cases(options.data, layouts.named("idrid"), options.split):
        maps = source(case)
        for lesion, lesion_views in views.items():
            if is_annotated(case, lesion):
                (plane,) = truth(case, (lesion,), maps.photograph.shape)
                view = close_up(maps, case.name, lesion, plane, model.package.decisions[lesion].threshold)
                lesion_views.extend([view] if view else [])
    ordered = {
        code: sorted(lesion_views, key=lambda view: -view.score) for code, lesion_views in views.items()
    }
    rows = {
        code: (lesion_views[0], lesion_views[len(lesion_views) // 2], lesion_views[-1])
        for code, lesion_views in ordered.items()
    }
    page(rows).save(options.out, quality=85, optimize=True)


if __name__ == "__main__":
    main()
