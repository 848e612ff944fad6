"""Darken photographs, and compare their fields of view with those of the originals.

Run:    python benchmarks/field_darkened.py DATA [--every N]
Data:   a folder with photographs of one field each, such as the graded part of IDRiD
Expect: at most 1 % of the darkened photographs refused, centre and radius within 1 % of the original's
        radius; the exit code is 1 otherwise
Cost:   about two seconds a photograph on one core
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from foveate.errors import FieldError
from foveate.geometry import field_of_view

ALLOWED = 0.01
"""Share of photographs that may be refused, and share of the radius by which a field may differ."""

SOFTNESS = 0.005
"""Width of the shadow's edge, as a share of the photograph's width."""


def quarter_shadow(pixels):
    """Return a photograph whose lower right quarter has a twentieth of its light, with a soft edge."""
    height, width = pixels.shape[:2]
    rows, columns = (
        1 / (1 + np.exp(-(np.arange(length) - length / 2) / (SOFTNESS * width))) for length in (height, width)
    )
    light = 1 - 0.95 * np.outer(rows, columns)
    return np.clip(pixels * light[..., np.newaxis] + 0.5, 0, 255).astype(np.uint8)


def fifth(pixels):
    """Return a photograph with a fifth of its light."""
    return (pixels * 0.2 + 0.5).astype(np.uint8)


DARKENED = {"quarter in shadow": quarter_shadow, "a fifth of the light": fifth}


def difference(field, original):
    """Return the larger difference of centre and radius, as a share of the original's radius."""
    apart = np.hypot(*np.subtract(field.centre, original.centre))
    return max(apart, abs(field.radius - original.radius)) / original.radius


def measure(paths):
    """Return the differences of each way of darkening; NaN where the photograph is refused."""
    differences = {name: [] for name in DARKENED}
    for path in paths:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        original = field_of_view.find(pixels)
        for name, darken in DARKENED.items():
            try:
                value = difference(field_of_view.find(darken(pixels)), original)
            except FieldError:
                value = np.nan
            differences[name].append(value)
            if not value <= ALLOWED:
                print(f"{path.stem}: {name}: {'refused' if np.isnan(value) else f'off by {value:.2%}'}")
    return differences


def main(data, every):
    """Print a line for each way of darkening."""
    paths = sorted(data.glob("*.jpg"))[::every]
    if not paths:
        raise SystemExit(f"no photographs in {data}")
    failed = False
    for name, values in measure(paths).items():
        found = np.array(values)[~np.isnan(values)]
        refused, highest = 1 - len(found) / len(values), found.max(initial=0)
        failed |= refused > ALLOWED or highest > ALLOWED
        print(
            f"{name}: {len(values)} photographs, {refused:.1%} refused, centre and radius off by "
            f"{np.median(found):.2%} (median), {highest:.2%} (most)"
        )
    return int(failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="measure every Nth photograph only")
    options = parser.parse_args()
    sys.exit(main(options.data, options.every))
