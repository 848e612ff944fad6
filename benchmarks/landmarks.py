"""Measure how far the optic disc that `foveate.analysis.landmarks` finds lies from the marked one.

Run:    python benchmarks/landmarks.py DATA
Data:   a folder that holds IDRiD's 'A. Segmentation' in its official layout
Expect: 53 of 54 discs within a quarter of their diameter, 1 not found; the exit code is 1 below 95 %
Cost:   about half a minute on one core; each photograph's own cost is printed without decoding
"""

import argparse
import math
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from foveate import photographs
from foveate.analysis import landmarks
from foveate.geometry import field_of_view

NEAR = 0.25
"""Largest distance of the centres that counts as found, marked disc diameters."""

REQUIRED = 0.95
"""Share of the discs that must be found."""


def marked_disc(path):
    """Return a marked disc's centre (row, column) and diameter, px: the circle of its area."""
    with Image.open(path) as mask:
        rows, columns = np.nonzero(np.asarray(mask))
    return (rows.mean() + 0.5, columns.mean() + 0.5), 2 * math.sqrt(len(rows) / math.pi)


def measure(path, mask):
    """Return the distance in marked diameters (inf if not found), the ratio of diameters, and CPU seconds."""
    photograph = photographs.read(path)
    field = field_of_view.find(photograph.pixels)
    start = time.process_time()
    disc = landmarks.find(photograph, field).disc
    seconds = time.process_time() - start
    centre, diameter = marked_disc(mask)
    if disc is None:
        return math.inf, math.nan, seconds
    return math.dist(centre, disc.centre) / diameter, disc.diameter / diameter, seconds


def main(data):
    """Print the discs that are missed, and the sums; return whether enough are found."""
    cv2.setNumThreads(1)
    masks = {path.stem.removesuffix("_OD"): path for path in data.glob("**/IDRiD_*_OD.tif")}
    paths = sorted(path for path in data.glob("**/1. Original Images/**/IDRiD_*.jpg") if path.stem in masks)
    if not paths:
        raise SystemExit(f"no photographs with optic disc masks of IDRiD below {data}")
    results = np.array([measure(path, masks[path.stem]) for path in paths])
    for path, (distance, _, _) in zip(paths, results, strict=True):
        if distance > NEAR:
            print(f"{path.stem}: {'not found' if math.isinf(distance) else f'{distance:.2f} diameters away'}")
    near = results[:, 0] <= NEAR
    halves = (
        f"odd numbers {near[::2].sum()} of {len(near[::2])}, even {near[1::2].sum()} of {len(near[1::2])}"
    )
    print(f"within {NEAR} diameters: {near.sum()} of {len(near)} ({halves})")
    placed = results[np.isfinite(results[:, 0])]
    print("distance, median and 95 %: {:.3f} {:.3f}".format(*np.quantile(placed[:, 0], (0.5, 0.95))))
    print(
        "diameter, 5 %, median, 95 %: {:.2f} {:.2f} {:.2f}".format(
            *np.quantile(placed[:, 1], (0.05, 0.5, 0.95))
        )
    )
    print(f"CPU for disc and fovea, median: {1000 * np.median(results[:, 2]):.0f} ms")
    return near.mean() >= REQUIRED


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    sys.exit(0 if main(parser.parse_args().data) else 1)
