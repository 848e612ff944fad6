"""Published models, one module each: all their numbers and the reasons.

Knows:   numbers.
Ignores: how they are used. No `if`, no reading or writing.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from foveate.recipes.idrid_lite0 import idrid_lite0
from foveate.training.recipe import Recipe

RECIPES: Mapping[str, Callable[[], Recipe]] = MappingProxyType({"idrid-lite0": idrid_lite0})
"""Name of the model -> its recipe."""
