"""IDRiD, 'A. Segmentation', in the folders of its official release.

Knows:   folder names and file names.
Ignores: pixels.

Source: Porwal et al. 2018, doi:10.3390/data3030025; CC BY 4.0.
"""

from pathlib import Path
from typing import Literal

from foveate.datasets import Case
from foveate.errors import DatasetError

PARTS = {"train": "a. Training Set", "test": "b. Testing Set"}
MASKS = {
    "MA": "1. Microaneurysms",
    "HE": "2. Haemorrhages",
    "EX": "3. Hard Exudates",
    "SE": "4. Soft Exudates",
}


def cases(root: Path, part: Literal["train", "test"]) -> tuple[Case, ...]:
    """List the photographs of one part, by name.

    Args:
        root: the folder that holds 'A. Segmentation', or that has a folder 'idrid' which does.

    Raises:
        DatasetError: the folder is not laid out as IDRiD is.
    """
    base = next((b for b in (root, root / "idrid") if (b / "A. Segmentation").is_dir()), None)
    if base is None:
        raise DatasetError(
            f"{root}: no folder 'A. Segmentation' in it; give the folder that IDRiD was unpacked to"
        )
    segmentation = base / "A. Segmentation"
    photographs = sorted((segmentation / "1. Original Images" / PARTS[part]).glob("*.jpg"))
    if not photographs:
        raise DatasetError(f"{segmentation}: no photographs in '1. Original Images/{PARTS[part]}'")
    truths = segmentation / "2. All Segmentation Groundtruths" / PARTS[part]
    return tuple(
        Case(
            name=photograph.stem,
            photograph=photograph,
            masks={
                code: file
                for code, folder in MASKS.items()
                if (file := truths / folder / f"{photograph.stem}_{code}.tif").is_file()
            },
        )
        for photograph in photographs
    )
