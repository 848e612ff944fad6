"""Recipes of the published models, one module each: all their numbers, with reasons.

Knows:   numbers.
Ignores: how they are used. Recipes contain no `if`, and read and write no files.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from foveate.training.recipe import Recipe
from foveate.training.recipes.idrid import idrid
from foveate.training.recipes.paper_ex import paper_ex
from foveate.training.recipes.paper_he import paper_he
from foveate.training.recipes.paper_ma import paper_ma
from foveate.training.recipes.paper_narrow import paper_narrow
from foveate.training.recipes.paper_se import paper_se
from foveate.training.recipes.tiny_task import tiny_task

RECIPES: Mapping[str, Callable[[], Recipe]] = MappingProxyType(
    {
        "idrid": idrid,
        "paper-ex": paper_ex,
        "paper-ma": paper_ma,
        "paper-he": paper_he,
        "paper-se": paper_se,
        "paper-narrow": paper_narrow,
        "tiny-task": tiny_task,
    }
)
"""Name of the model -> its recipe."""
