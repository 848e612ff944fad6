"""Find the lesions of diabetic retinopathy in fundus photographs at native resolution.

    import foveate

    model = foveate.load()
    result = model.segment(foveate.read("eye.jpg"))
    result.save("out")

Research software, not a medical device.

A name is imported when it is first used, so that `foveate --help` and the like do not wait for the libraries
that compute.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foveate.errors import FoveateError
    from foveate.inference.api import Model, Result, load
    from foveate.inference.settings import Settings
    from foveate.photographs import from_array, read
    from foveate.version import __version__

__all__ = ["FoveateError", "Model", "Result", "Settings", "__version__", "from_array", "load", "read"]

_HOMES = {
    "FoveateError": "errors",
    "Model": "inference.api",
    "Result": "inference.api",
    "Settings": "inference.settings",
    "__version__": "version",
    "from_array": "photographs",
    "load": "inference.api",
    "read": "photographs",
}
"""Public name -> the module that defines it."""


def __getattr__(name: str) -> object:
    """Import a public name from where it is defined."""
    if name not in _HOMES:
        raise AttributeError(f"module 'foveate' has no attribute {name!r}")
    return getattr(importlib.import_module(f"foveate.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
