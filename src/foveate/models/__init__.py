"""Model packages: a trained network together with everything that is needed to use it.

Knows:   what a package holds, how it is checked, and which ones come with Foveate.
Ignores: how a network was trained, and what runs it.
"""

from foveate.models.manifest import CONNECTIVITY, FORMAT, Manifest, TrainingData
from foveate.models.package import (
    DEFAULT,
    FILES,
    Package,
    load,
    shipped,
    unpack,
    unsaved_package,
    with_present_files,
    with_selection_rules,
    write_manifest,
)

__all__ = [
    "CONNECTIVITY",
    "DEFAULT",
    "FILES",
    "FORMAT",
    "Manifest",
    "Package",
    "TrainingData",
    "load",
    "shipped",
    "unpack",
    "unsaved_package",
    "with_present_files",
    "with_selection_rules",
    "write_manifest",
]
