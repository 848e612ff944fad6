"""Model packages: a trained network together with everything that is needed to use it.

Knows:   what a package holds, how it is checked, and which ones come with Foveate.
Ignores: how a network was trained, and what runs it.
"""

from foveate.models.file_names import EXAMPLE, FILES, GLOBAL_GRAPH, LOCAL_GRAPH, MANIFEST, WEIGHTS
from foveate.models.manifest import CONNECTIVITY, FORMAT, Manifest, TrainingData
from foveate.models.package import (
    DEFAULT,
    Package,
    load,
    shipped,
    unpack,
    unsaved_package,
    with_present_files,
    write_manifest,
)

__all__ = [
    "CONNECTIVITY",
    "DEFAULT",
    "EXAMPLE",
    "FILES",
    "FORMAT",
    "GLOBAL_GRAPH",
    "LOCAL_GRAPH",
    "MANIFEST",
    "WEIGHTS",
    "Manifest",
    "Package",
    "TrainingData",
    "load",
    "shipped",
    "unpack",
    "unsaved_package",
    "with_present_files",
    "write_manifest",
]
