"""The parts of IDRiD, 'A. Segmentation'.

Knows:   the names of the parts; the folders are in `layouts.IDRID`.
Ignores: pixels.
"""

from pathlib import Path
from typing import Literal

from foveate.datasets import Case, layouts


def cases(root: Path, part: Literal["train", "test"]) -> tuple[Case, ...]:
    """Return the photographs of one part, sorted by name.

    Args:
        root: the folder that contains 'A. Segmentation', directly or in a subfolder 'idrid'.

    Raises:
        DatasetError: the folder does not have the layout of IDRiD.
    """
    return layouts.cases(root, layouts.IDRID, part)
