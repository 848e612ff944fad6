"""IDRiD, 'A. Segmentation', by its parts.

Knows:   nothing of its own; the folders are in `layouts.IDRID`.
Ignores: pixels.
"""

from pathlib import Path
from typing import Literal

from foveate.datasets import Case, layouts


def cases(root: Path, part: Literal["train", "test"]) -> tuple[Case, ...]:
    """List the photographs of one part, by name.

    Args:
        root: the folder that holds 'A. Segmentation', or that has a folder 'idrid' which does.

    Raises:
        DatasetError: the folder is not laid out as IDRiD is.
    """
    return layouts.cases(root, layouts.IDRID, part)
