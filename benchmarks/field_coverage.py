"""Count the lesion pixels that lie outside of the field of view that `foveate.geometry.field_of_view` finds.

Run:    python benchmarks/field_coverage.py DATA
Data:   a folder that holds IDRiD's 'A. Segmentation' in its official layout
Expect: 93 of 13,774,013 lesion pixels outside; the exit code is 1 where it is more than one in a thousand
Cost:   about half a minute on one core for 54 photographs
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from foveate.errors import FieldError
from foveate.geometry import field_of_view
from foveate.types import Box

LESIONS = ("EX", "MA", "HE", "SE")
ALLOWED = 0.001
"""Share of the lesion pixels that may lie outside."""


def lesion_pixels(path):
    """Return where a mask is lesion: its palette's index, whatever its colours."""
    with Image.open(path) as mask:
        if mask.mode not in ("P", "1", "L"):
            raise SystemExit(f"{path} is saved as {mask.mode}; masks are palette or grey pictures")
        return np.asarray(mask) > 0


def measure(photograph, masks):
    """Return a photograph's field and, for each lesion, its pixels and how many of them lie outside."""
    pixels = np.asarray(Image.open(photograph))
    field = field_of_view.find(pixels)
    inside = field_of_view.mask(field, Box.whole(pixels.shape[:2]))
    counts = {}
    for lesion in LESIONS:
        paths = [path for path in masks if path.stem == f"{photograph.stem}_{lesion}"]
        marked = [lesion_pixels(path) for path in paths]
        counts[lesion] = (
            sum(np.count_nonzero(mask) for mask in marked),
            sum(np.count_nonzero(mask & ~inside) for mask in marked),
        )
    return field, counts


def main(data):
    """Print a line for each photograph that loses lesion pixels, and the sums."""
    photographs = sorted(data.glob("**/1. Original Images/**/IDRiD_*.jpg"))
    masks = sorted(data.glob("**/2. All Segmentation Groundtruths/**/IDRiD_*.tif"))
    if not photographs or not masks:
        raise SystemExit(f"no 'A. Segmentation' of IDRiD below {data}")
    totals = dict.fromkeys(LESIONS, (0, 0))
    print(f"{'photograph':12} {'centre':>17} {'radius':>8}  lesion pixels outside / all")
    for photograph in photographs:
        try:
            field, counts = measure(photograph, masks)
        except FieldError as error:
            raise SystemExit(f"{photograph.name}: {error}") from None
        totals = {lesion: tuple(np.add(totals[lesion], counts[lesion])) for lesion in LESIONS}
        lost = ", ".join(f"{lesion} {out} / {total}" for lesion, (total, out) in counts.items() if out)
        row, column = field.centre
        print(f"{photograph.stem:12} {row:8.1f} {column:8.1f} {field.radius:8.1f}  {lost or '-'}")
    for lesion, (total, out) in totals.items():
        print(f"{lesion:12} {out} of {total} outside")
    total_pixels, outside = np.sum(list(totals.values()), axis=0).tolist()
    print(
        f"{'all':12} {outside} of {total_pixels} outside: {outside / total_pixels:.5%} "
        f"(allowed: {ALLOWED:.1%})"
    )
    return int(outside > ALLOWED * total_pixels)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    sys.exit(main(parser.parse_args().data))
