"""Pack what the recipe `idrid` learns from into one small file, for minutes on a CUDA device elsewhere.

Run:    python benchmarks/data_pack.py IDRID GRADED pack.tar
Data:   IDRiD's segmentation part, training photographs, and its grading part (docs/training.md, healthy eyes)
Expect: docs/training.md, 'Ten minutes of a CUDA device'; an error where the file would exceed 64 MB
Cost:   a minute of one core

Photographs are copied byte for byte: IDRiD's own JPEG files, of quality 50. Masks become PNG of 1 bit a
pixel, without loss: each is read again and compared. Of the graded photographs only the healthy eyes of the
half to learn from are packed, with labels.csv. The folders are IDRiD's, so that --data and --healthy read the
pack as they read the download.
"""

import argparse
import csv
import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from foveate.datasets import dr_grades, layouts, read_mask
from foveate.training.recipes import RECIPES

LIMIT_MB = 64


def add(pack: tarfile.TarFile, name: Path, content: bytes) -> None:
    """Add a file without owner, time or other metadata."""
    entry = tarfile.TarInfo(Path("pack", name).as_posix())
    entry.size = len(content)
    pack.addfile(entry, io.BytesIO(content))


def mask_png(path: Path, shape: tuple[int, int]) -> bytes:
    """Return a mask as PNG of 1 bit a pixel; the program ends where it would not be read as the same mask."""
    mask = read_mask(path, shape)
    encoded = io.BytesIO()
    Image.fromarray(mask).save(encoded, "PNG")
    again = np.asarray(Image.open(io.BytesIO(encoded.getvalue())))
    if again.dtype != np.bool_ or not np.array_equal(again, mask):
        raise SystemExit(f"{path}: its PNG is another mask")
    return encoded.getvalue()


def add_segmentation(pack: tarfile.TarFile, root: Path) -> None:
    """Add the training photographs and their masks, in their own folders."""
    for case in layouts.cases(root, layouts.named("idrid"), "train"):
        add(pack, case.photograph.relative_to(root), case.photograph.read_bytes())
        with Image.open(case.photograph) as header:  # IDRiD's photographs are upright: no need to decode them
            width, height = header.size
        for mask in case.masks.values():
            add(pack, mask.relative_to(root).with_suffix(".png"), mask_png(mask, (height, width)))


def add_healthy(pack: tarfile.TarFile, folder: Path) -> None:
    """Add the healthy eyes to learn from, and a labels.csv that grades them."""
    cases = dr_grades.healthy_cases(folder, RECIPES["idrid"]().healthy_split)
    for case in cases:
        add(pack, Path("graded", case.photograph.name), case.photograph.read_bytes())
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([dr_grades.OWN_TABLE.name_column, dr_grades.OWN_TABLE.grade_column])
    writer.writerows([case.photograph.name, dr_grades.HEALTHY] for case in cases)
    add(pack, Path("graded", dr_grades.LABELS), table.getvalue().encode())


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("idrid", type=Path)
    arguments.add_argument("graded", type=Path)
    arguments.add_argument("out", type=Path)
    options = arguments.parse_args()
    with tarfile.open(options.out, "w", format=tarfile.USTAR_FORMAT) as pack:
        add_segmentation(pack, options.idrid)
        add_healthy(pack, options.graded)
    size = options.out.stat().st_size / 1e6
    if size > LIMIT_MB:
        options.out.unlink()
        raise SystemExit(f"{size:.1f} MB are more than {LIMIT_MB}; leave out healthy eyes")
    print(f"{options.out}: {size:.1f} MB")


if __name__ == "__main__":
    main()
