"""Small sets in the folders of published ones, drawn, for tests of layouts and checks."""

from pathlib import Path

import numpy as np
from PIL import Image
from strategies import eye

IDRID_FOLDERS = {
    "MA": "1. Microaneurysms",
    "HE": "2. Haemorrhages",
    "EX": "3. Hard Exudates",
    "SE": "4. Soft Exudates",
}

SHAPE = (260, 300)


def photograph(path: Path, seed=0, shape=SHAPE):
    """Write a lit disc with vessels of its own, as JPEG of PNG quality or by the path's ending."""
    pixels = eye(shape, centre=(shape[0] / 2, shape[1] / 2), radius=0.45 * shape[0])
    generator = np.random.default_rng(seed)
    for _ in range(60):
        row, column = generator.integers(20, shape[0] - 20), generator.integers(20, shape[1] - 20)
        if np.hypot(row - shape[0] / 2, column - shape[1] / 2) < 0.4 * shape[0]:
            pixels[row - 5 : row + 5, column - 5 : column + 5] //= 2
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **({"quality": 95} if path.suffix.lower() == ".jpg" else {}))
    return path


def mask(path: Path, spots=((100, 120),), shape=SHAPE, level=255):
    """Write a grey mask with squares of 6 px at some places; none is an empty mask."""
    levels = np.zeros(shape, np.uint8)
    for row, column in spots:
        levels[row : row + 6, column : column + 6] = level
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(path)
    return path


def idrid(root: Path, part="a. Training Set", numbers=(1, 2)):
    """Photographs with EX and MA; the first with SE as well; HE has an empty folder."""
    top = root / "A. Segmentation"
    truths = top / "2. All Segmentation Groundtruths" / part
    for folder in IDRID_FOLDERS.values():
        (truths / folder).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        name = f"IDRiD_{number:02}"
        photograph(top / "1. Original Images" / part / f"{name}.jpg", number)
        for code in ("EX", "MA", "SE") if number == numbers[0] else ("EX", "MA"):
            mask(truths / IDRID_FOLDERS[code] / f"{name}_{code}.tif")


def ddr(root: Path, part="train", names=("007-0001-100", "007-0002-100")):
    """Each photograph has all four masks, SE's empty; the validation part's folder has its own name."""
    labels = root / "lesion_segmentation" / part / ("segmentation label" if part == "valid" else "label")
    for number, name in enumerate(names):
        photograph(root / "lesion_segmentation" / part / "image" / f"{name}.jpg", number)
        for code in ("EX", "HE", "MA", "SE"):
            mask(labels / code / f"{name}.tif", () if code == "SE" else ((100, 120),))


def fgadr(root: Path, names=("0001_1", "0002_3")):
    folders = ("HardExudate_Masks", "Hemohedge_Masks", "Microaneurysms_Masks", "SoftExudate_Masks")
    for number, name in enumerate(names):
        photograph(root / "Seg-set" / "Original_Images" / f"{name}.png", number)
        for folder in folders:
            mask(root / "Seg-set" / folder / f"{name}.png")


def e_ophtha(root: Path):
    """One person in both sets (one photograph in both, one in each), and healthy eyes of both."""
    ex, ma = root / "e_optha_EX", root / "e_optha_MA"
    both = photograph(ex / "EX" / "E0000001" / "C1.jpg", 1)
    mask(ex / "Annotation_EX" / "E0000001" / "C1_EX.png")
    photograph(ma / "MA" / "E0000001" / "C1.jpg", 1).write_bytes(both.read_bytes())
    mask(ma / "Annotation_MA" / "E0000001" / "C1.png")
    photograph(ma / "MA" / "E0000001" / "C2.JPG", 2)
    mask(ma / "Annotation_MA" / "E0000001" / "C2.png")
    (ma / "MA" / "E0000001" / "Thumbs.db").write_bytes(b"none of ours")
    photograph(ex / "healthy" / "E0000001" / "C3.JPG", 3)
    photograph(ma / "healthy" / "E0000475" / "C4.jpg", 4)


LEAVES = """
name = "leaves"
field = "whole"

[lesions]
RUST = "rust"
SPOT = { name = "leaf spots", colour = [213, 94, 0] }

[splits.train]
photographs = "images/*"
masks = "masks/{name}_{lesion}.png"
"""


def leaf(path: Path, seed=0, shape=SHAPE):
    """Write a picture without a round field: green noise in blotches."""
    generator = np.random.default_rng(seed)
    blotches = np.kron(generator.integers(0, 60, (shape[0] // 10, shape[1] // 10)), np.ones((10, 10), int))
    pixels = np.stack([blotches, 120 + blotches, blotches // 2], axis=-1).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def leaves(root: Path, count=3):
    """Write a set that is not retinal and its description; RUST everywhere, SPOT in the first two."""
    for number in range(count):
        leaf(root / "images" / f"leaf{number}.png", number)
        mask(root / "masks" / f"leaf{number}_RUST.png", ((20 + 10 * number, 30), (80, 200)))
        if number < 2:
            mask(root / "masks" / f"leaf{number}_SPOT.png", ((150, 60),))
    (root / "leaves.toml").write_text(LEAVES)
    return root / "leaves.toml"
