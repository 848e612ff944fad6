"""Override single numbers of a recipe by their dotted names: 'stages.joint.steps' -> '100'.

Knows:   the fields of a recipe, their stored names, and their types, by which a text is parsed.
Ignores: which values make sense; the recipe checks them.
"""

# ruff: noqa: ANN401  a recipe's fields are of any type

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union

from foveate.errors import SettingError
from foveate.training.recipe import STORED_NAMES, Recipe, Stage
from foveate.wording import quantity

EXCLUSIVE = {"steps": "epochs", "epochs": "steps"}
"""Fields of a stage that exclude each other: setting the first clears the second."""

BOOLEANS = {"true": True, "false": False}

FIELD_NAMES = {stored: name for name, stored in STORED_NAMES.items()}
"""Stored name -> field."""


class Override(NamedTuple):
    """One override, as seen from a dataclass or mapping on the way to its field."""

    path: Sequence[str]
    """Keys from that dataclass or mapping down to the field."""
    text: str
    """The new value."""
    name: str
    """The whole dotted name, for messages."""


def override(recipe: Recipe, settings: Mapping[str, str]) -> Recipe:
    """Return a recipe in which some values are replaced.

    All overrides are applied together, in any order: the recipe checks numbers that must agree only after
    each has its new value.

    Args:
        recipe: the recipe to start from; it is not changed.
        settings: dotted name of a field -> its value as text: a number, 'true' or 'false', 'none', a word, or
            a list such as '64,32,16'.

    Raises:
        SettingError: a name is unknown (the message lists those that exist), a text is not a value of the
            field's type, or the recipe refuses the value.
    """
    result: Recipe = _apply(
        recipe, [Override(name.split("."), text, name) for name, text in settings.items()]
    )
    return result


def parse_pairs(texts: Sequence[str]) -> dict[str, str]:
    """Return 'KEY=VALUE' texts as a mapping.

    Raises:
        SettingError: a text is not of the form KEY=VALUE, or a key is given twice.
    """
    settings: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or name in settings:
            raise SettingError(
                f"--set {text}: give KEY=VALUE, such as stages.joint.steps=100, and each key once"
            )
        settings[name] = value
    return settings


def _apply(node: Any, overrides: Sequence[Override]) -> Any:
    """Return a copy of a dataclass or mapping with all overrides applied at once."""
    by_key: dict[str, list[Override]] = {}
    for item in overrides:
        key = item.path[0]
        if key not in _keys(node):
            raise SettingError(
                f"--set {item.name}: '{key}' is not a setting; choose one of {', '.join(_keys(node))}"
            )
        by_key.setdefault(key, []).append(item._replace(path=item.path[1:]))
    values = {FIELD_NAMES.get(key, key): _new_value(node, key, items) for key, items in by_key.items()}
    if isinstance(node, dict):
        return node | values
    if isinstance(node, Stage):
        cleared = {EXCLUSIVE[key]: None for key in values if key in EXCLUSIVE and values[key] is not None}
        values = cleared | values
    return dataclasses.replace(node, **values)


def _new_value(node: Any, key: str, overrides: Sequence[Override]) -> Any:
    """Return a field's new value: a node with overrides applied below it, or the parsed text."""
    value, last = _get(node, key), overrides[-1]
    if not _is_node(value):
        if deeper := [item for item in overrides if item.path]:
            raise SettingError(
                f"--set {deeper[0].name}: '{key}' is a single value; leave out '.{'.'.join(deeper[0].path)}'"
            )
        return _parse(last.text, typing.get_type_hints(type(node))[FIELD_NAMES.get(key, key)], last.name)
    for item in overrides:
        if not item.path:
            raise SettingError(
                f"--set {item.name} is a group; set one of its values: {', '.join(_keys(value))}"
            )
    return _apply(value, overrides)


def _is_node(value: Any) -> bool:
    return isinstance(value, dict) or (dataclasses.is_dataclass(value) and not isinstance(value, type))


def _keys(node: Any) -> list[str]:
    """Return a node's keys, under their stored names.

    A recipe's name is none of them: a run of another name could not be released.
    """
    if isinstance(node, dict):
        return list(node)
    names_of_fields = [field.name for field in dataclasses.fields(node)]
    if isinstance(node, Recipe):
        names_of_fields.remove("name")
    return [STORED_NAMES.get(name, name) for name in names_of_fields]


def _get(node: Any, key: str) -> Any:
    return node[key] if isinstance(node, dict) else getattr(node, FIELD_NAMES.get(key, key))


def _parse(text: str, kind: Any, name: str) -> Any:
    """Return a text as a value of a type.

    Raises:
        SettingError: the text is not such a value.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _parse_union(text, arguments, name)
    if origin is Literal:
        choices = {str(argument): argument for argument in arguments}
        if text not in choices:
            raise SettingError(f"--set {name}={text}: choose one of {', '.join(choices)}")
        return choices[text]
    if origin is tuple:
        parts = [part.strip() for part in text.split(",")] if text else []
        kinds = arguments[:1] * len(parts) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(parts):
            raise SettingError(
                f"--set {name}={text}: has {quantity(len(parts), 'value')}; give {len(kinds)}, separated by "
                "commas"
            )
        return tuple(_parse(part, each, name) for part, each in zip(parts, kinds, strict=True))
    return _parse_scalar(text, kind, name)


def _parse_union(text: str, kinds: Sequence[Any], name: str) -> Any:
    """Return the value of the first type that accepts the text; 'none' is None if None is allowed."""
    if types.NoneType in kinds and text.lower() == "none":
        return None
    errors = []
    for kind in kinds:
        if kind is not types.NoneType:
            try:
                return _parse(text, kind, name)
            except SettingError as error:
                errors.append(error)
    raise errors[0]


def _parse_scalar(text: str, kind: Any, name: str) -> Any:
    """Return a text as a finite number, a word, a path or a Boolean."""
    if kind is bool:
        if text.lower() not in BOOLEANS:
            raise SettingError(f"--set {name}={text}: give true or false")
        return BOOLEANS[text.lower()]
    if kind in (str, Path):
        return kind(text)
    try:
        value = kind(text)
        if kind is float and not math.isfinite(value):
            raise ValueError
    except (TypeError, ValueError) as error:
        expected = {int: "a whole number", float: "a number"}.get(kind, "a value that can be set")
        raise SettingError(f"--set {name}={text}: give {expected}") from error
    return value
