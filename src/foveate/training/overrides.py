"""Single numbers of a recipe, changed by their dotted names: 'stages.joint.steps' -> '100'.

Knows:   the fields of a recipe and their types, by which a text is read.
Ignores: which values make sense; those who hold them say so.
"""

# ruff: noqa: ANN401  a recipe's fields are of any type

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union

from foveate.errors import SettingError
from foveate.training.recipe import Recipe, Stage

EXCLUSIVE = {"steps": "epochs", "epochs": "steps"}
"""Of a stage: naming the one takes the other away."""

WORDS = {"true": True, "false": False}


class Change(NamedTuple):
    """One setting, as seen from a holder on the way to its field."""

    path: Sequence[str]
    """Keys from the holder down to the field."""
    text: str
    """Its value."""
    name: str
    """Dotted, from the recipe down: for messages."""


def override(recipe: Recipe, settings: Mapping[str, str]) -> Recipe:
    """Return a recipe in which some values are others.

    All are changed together, in whatever order: numbers that must agree are judged when each has its value.

    Args:
        recipe: to begin with; it is not changed.
        settings: dotted name of a field -> its value as text: a number, 'true' or 'false', 'none', a word, or
            a list such as '64,32,16'.

    Raises:
        SettingError: a name is unknown (the message says what there is), a text is no value of the field's
            type, or the recipe refuses the value.
    """
    changed: Recipe = _changed(
        recipe, [Change(name.split("."), text, name) for name, text in settings.items()]
    )
    return changed


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """Return 'KEY=VALUE' texts as a mapping.

    Raises:
        SettingError: a text is no KEY=VALUE, or a key comes twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or name in found:
            raise SettingError(f"--set {text}: give each KEY=VALUE once, such as stages.joint.steps=100")
        found[name] = value
    return found


def names(recipe: Recipe) -> dict[str, str]:
    """Return every name that can be overridden, and its value as text."""
    return dict(_leaves(recipe, ""))


def _leaves(holder: Any, prefix: str) -> list[tuple[str, str]]:
    found = []
    for key in _keys(holder):
        value = _get(holder, key)
        if _is_holder(value):
            found += _leaves(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", str(value)))
    return found


def _changed(holder: Any, changes: Sequence[Change]) -> Any:
    """Return a value like `holder` with all changes made in it at once."""
    by_key: dict[str, list[Change]] = {}
    for change in changes:
        key = change.path[0]
        if key not in _keys(holder):
            raise SettingError(
                f"--set {change.name}: no setting '{key}'; there is {', '.join(_keys(holder))}"
            )
        by_key.setdefault(key, []).append(change._replace(path=change.path[1:]))
    new = {key: _value(holder, key, each) for key, each in by_key.items()}
    if isinstance(holder, dict):
        return holder | new
    if isinstance(holder, Stage):
        taken_away = {EXCLUSIVE[key]: None for key in new if key in EXCLUSIVE and new[key] is not None}
        new = taken_away | new
    return dataclasses.replace(holder, **new)


def _value(holder: Any, key: str, changes: Sequence[Change]) -> Any:
    """Return a field's new value: a holder changed below, or what the text says."""
    value, last = _get(holder, key), changes[-1]
    if not _is_holder(value):
        if below := [change for change in changes if change.path]:
            raise SettingError(
                f"--set {below[0].name}: no setting '{below[0].path[0]}'; there is nothing below it"
            )
        return _read(last.text, typing.get_type_hints(type(holder))[key], last.name)
    for change in changes:
        if not change.path:
            raise SettingError(f"--set {change.name} holds several values: {', '.join(_keys(value))}")
    return _changed(value, changes)


def _is_holder(value: Any) -> bool:
    return isinstance(value, dict) or (dataclasses.is_dataclass(value) and not isinstance(value, type))


def _keys(holder: Any) -> list[str]:
    return list(holder) if isinstance(holder, dict) else [field.name for field in dataclasses.fields(holder)]


def _get(holder: Any, key: str) -> Any:
    return holder[key] if isinstance(holder, dict) else getattr(holder, key)


def _read(text: str, kind: Any, name: str) -> Any:
    """Return a text as a value of a type.

    Raises:
        SettingError: it is none.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _any_of(text, arguments, name)
    if origin is Literal:
        words = {str(argument): argument for argument in arguments}
        if text not in words:
            raise SettingError(f"--set {name}={text}: choose one of {', '.join(words)}")
        return words[text]
    if origin is tuple:
        parts = [part.strip() for part in text.split(",")] if text else []
        kinds = arguments[:1] * len(parts) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(parts):
            raise SettingError(
                f"--set {name}={text}: give {len(kinds)} values, such as 1,2,3, not {len(parts)}"
            )
        return tuple(_read(part, each, name) for part, each in zip(parts, kinds, strict=True))
    return _plain(text, kind, name)


def _any_of(text: str, kinds: Sequence[Any], name: str) -> Any:
    """Return the value of the first type that takes the text; 'none' where a value may be absent."""
    if types.NoneType in kinds and text.lower() == "none":
        return None
    errors = []
    for kind in kinds:
        if kind is not types.NoneType:
            try:
                return _read(text, kind, name)
            except SettingError as error:
                errors.append(error)
    raise errors[0]


def _plain(text: str, kind: Any, name: str) -> Any:
    """Return a text as a number, a word, a path, true or false."""
    if kind is bool:
        if text.lower() not in WORDS:
            raise SettingError(f"--set {name}={text}: write true or false")
        return WORDS[text.lower()]
    if kind in (str, Path):
        return kind(text)
    try:
        return kind(text)
    except (TypeError, ValueError) as error:
        what = {int: "a whole number", float: "a number"}.get(kind, "a value that can be set")
        raise SettingError(f"--set {name}={text}: not {what}") from error
