"""The same eye in other files: how much the predicted lesions change when only the file does.

    python benchmarks/same_eye.py PHOTOGRAPH... [--model NAME|FOLDER]

Each photograph is looked at as it is, then as PNG and TIFF, padded with black, mirrored, turned by a
quarter, as JPEG of quality 95, and scaled by 1.6 and 0.4. Printed is the area of each lesion at the model's
thresholds, brought back to pixels of the original and relative to it; for PNG, TIFF and padding the masks
must be equal.
"""

import argparse
import io
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

import foveate

PAD = (37, 11, 5, 53)
"""Rows above and below, columns left and right: odd numbers, so that nothing falls on a block by chance."""


def reencoded(kind: str, **options: object) -> Callable[[np.ndarray], np.ndarray]:
    """Return what writes pixels to a file of a kind and reads them back."""

    def encode(pixels: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind, **options)
        return np.asarray(Image.open(file))

    return encode


def padded(pixels: np.ndarray) -> np.ndarray:
    top, bottom, left, right = PAD
    return np.pad(pixels, ((top, bottom), (left, right), (0, 0)))


def scaled(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return lambda pixels: cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=interpolation)


EXACT = {"PNG": reencoded("PNG"), "TIFF": reencoded("TIFF"), "padded": padded}
"""The same pixels: the same masks."""

CHANGED = {
    "mirrored": (lambda pixels: pixels[:, ::-1], 1.0),
    "turned": (np.rot90, 1.0),
    "JPEG 95": (reencoded("JPEG", quality=95), 1.0),
    "x 1.6": (scaled(1.6), 1.6),
    "x 0.4": (scaled(0.4), 0.4),
}
"""Other pixels, and by what factor lengths grow."""


def masks(model: foveate.Model, pixels: np.ndarray) -> dict[str, np.ndarray]:
    result = model.segment(foveate.from_array(np.ascontiguousarray(pixels)))
    return {lesion: result.mask(lesion) for lesion in result.lesions}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("photographs", nargs="+")
    arguments.add_argument("--model")
    options = arguments.parse_args()
    model = foveate.load(options.model) if options.model else foveate.load()
    lesions = model.package.contract.lesions
    print("| photograph | as |", " | ".join(lesions), "|")
    print("|---|---|" + "---|" * len(lesions))
    for path in options.photographs:
        pixels = foveate.read(path).pixels
        original = masks(model, pixels)
        print(
            f"| {path} | original, px |",
            " | ".join(str(original[code].sum()) for code in lesions),
            "|",
            flush=True,
        )
        for name, change in EXACT.items():
            changed = masks(model, change(pixels))
            if name == "padded":
                top, _, left, _ = PAD
                inner = np.s_[top : top + pixels.shape[0], left : left + pixels.shape[1]]
                changed = {code: mask[inner] for code, mask in changed.items()}
            same = (np.array_equal(changed[code], original[code]) for code in lesions)
            print(
                "| |",
                name,
                "|",
                " | ".join("equal" if is_equal else "DIFFERENT" for is_equal in same),
                "|",
                flush=True,
            )
        for name, (change, factor) in CHANGED.items():
            changed = masks(model, change(pixels))
            shares = (changed[code].sum() / factor**2 / max(1, original[code].sum()) - 1 for code in lesions)
            print("| |", name, "|", " | ".join(f"{share:+.1%}" for share in shares), "|", flush=True)


if __name__ == "__main__":
    main()
