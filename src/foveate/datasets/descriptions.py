"""A layout of your own, described by a small TOML file: another set, another task, and no code.

Knows:   the keys of the description and what each may say.
Ignores: the folders that it speaks of.

    name = "leaves"
    field = "whole"                              # "find": a round lit field, as eyes have (the default)

    [lesions]
    RUST = "rust"
    SPOT = { name = "leaf spots", colour = [213, 94, 0] }

    [splits.train]
    photographs = "images/*"
    masks = "masks/{name}_{lesion}"
"""

import re
import string
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from foveate import lesions
from foveate.datasets.folders import Folders, Layout
from foveate.errors import DatasetError, LesionError
from foveate.lesions import Lesion

KEYS = ("name", "title", "licence", "attribution", "field", "lesion_from", "eye", "lesions", "splits")
LESION_KEYS = ("name", "colour")
SPLIT_KEYS = ("photographs", "masks", "annotated")
PLACEHOLDERS = frozenset({"name", "folder", "lesion"})


def read(path: Path) -> Layout:
    """Read a description.

    Raises:
        DatasetError: the file cannot be read, is no TOML, or makes no layout; one line that names the
            file, the key, and what it should be.
    """
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DatasetError(f"{path}: no description of a layout could be read ({error})") from error
    try:
        return _layout(told, path.stem)
    except (DatasetError, LesionError) as error:
        raise DatasetError(f"{path}: {error}") from error


def _layout(told: Mapping[str, Any], name: str) -> Layout:
    _require_keys(told, "the description", KEYS)
    kinds = _kinds(_typed(told, "lesions", dict))
    codes = tuple(kind.code for kind in kinds)
    splits = _typed(told, "splits", dict)
    if not splits:
        raise DatasetError("no split; add a table such as [splits.train]")
    return Layout(
        name=_typed(told, "name", str, name),
        kinds=kinds,
        splits={split: (_folders(split, place, codes),) for split, place in splits.items()},
        field=_field(told.get("field", "find")),
        eye=_expression(told.get("eye")),
        lesion_from=_share(told.get("lesion_from", 0.0)),
        title=_typed(told, "title", str, ""),
        licence=_typed(told, "licence", str, "not stated"),
        attribution=_typed(told, "attribution", str, "not stated"),
    )


def _kinds(told: Mapping[str, Any]) -> tuple[Lesion, ...]:
    if not told:
        raise DatasetError('no lesion; add one to the table [lesions], such as RUST = "rust"')
    return tuple(_kind(known, told[known.code]) for known in lesions.of(list(told)))


def _kind(known: Lesion, told: object) -> Lesion:
    """Return a lesion as described; a colour that is not given is our own."""
    where = f"lesions.{known.code}"
    if isinstance(told, str):
        return Lesion(code=known.code, name=told, colour=known.colour)
    if not isinstance(told, dict):
        raise DatasetError(f'{where} is {told!r}; give a name, or {{ name = "...", colour = [R, G, B] }}')
    _require_keys(told, where, LESION_KEYS)
    colour = told.get("colour", list(known.colour))
    if not (isinstance(colour, list) and len(colour) == 3 and all(_is_level(level) for level in colour)):
        raise DatasetError(f"{where}.colour is {colour!r}; give red, green and blue, each 0 to 255")
    red, green, blue = colour
    return Lesion(code=known.code, name=_typed(told, "name", str, known.name), colour=(red, green, blue))


def _folders(split: str, told: object, codes: tuple[str, ...]) -> Folders:
    where = f"splits.{split}"
    if not isinstance(told, dict):
        raise DatasetError(f"{where} is {told!r}; give a table with photographs and masks")
    _require_keys(told, where, SPLIT_KEYS)
    known = told.get("annotated", list(codes))
    if not (isinstance(known, list) and known and set(map(str, known)) <= set(codes)):
        raise DatasetError(f"{where}.annotated is {known!r}; give codes among {', '.join(codes)}")
    masks = told.get("masks")
    if isinstance(masks, str):
        if len(known) > 1 and "{lesion}" not in masks:
            raise DatasetError(
                f"{where}.masks is {masks!r}; without {{lesion}} all lesions have the same mask"
            )
        masks = dict.fromkeys(known, masks)
    if not (isinstance(masks, dict) and masks and all(isinstance(mask, str) for mask in masks.values())):
        raise DatasetError(f"{where}.masks is {masks!r}; give a pattern such as 'masks/{{name}}_{{lesion}}'")
    _require_keys(masks, f"{where}.masks", known)
    return Folders(
        photographs=_inside(_typed(told, "photographs", str, where=where), f"{where}.photographs"),
        masks={code: (_mask(mask, code, f"{where}.masks"),) for code, mask in masks.items()},
        annotated=tuple(code for code in codes if code in known),
    )


def _mask(pattern: str, code: str, where: str) -> str:
    """Return a mask's pattern for one lesion."""
    try:
        used = {name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None}
    except ValueError as error:
        raise DatasetError(
            f"{where} is {pattern!r} ({error}); write {{name}} for the photograph's name"
        ) from error
    if not used <= PLACEHOLDERS:
        raise DatasetError(
            f"{where} is {pattern!r}; of {{{min(used - PLACEHOLDERS)}}} nothing is known, only of "
            f"{', '.join(f'{{{name}}}' for name in sorted(PLACEHOLDERS))}"
        )
    if "name" not in used:
        raise DatasetError(f"{where} is {pattern!r}; without {{name}} all photographs have the same mask")
    return _inside(pattern, where).replace("{lesion}", code)


def _inside(pattern: str, where: str) -> str:
    path = PurePosixPath(pattern)
    if not pattern or path.is_absolute() or ".." in path.parts:
        raise DatasetError(f"{where} is {pattern!r}; give a path below the set's folder, with '/'")
    return pattern


def _field(told: object) -> Literal["find", "whole"]:
    if told == "find":
        return "find"
    if told == "whole":
        return "whole"
    raise DatasetError(f'field is {told!r}; give "find" (a round lit field) or "whole" (all is field)')


def _expression(told: object) -> str | None:
    if told is None:
        return None
    try:
        if not isinstance(told, str) or re.compile(told).groups < 1:
            raise DatasetError(
                f"eye is {told!r}; give a regular expression with one group, such as '/(P[0-9]+)_'"
            )
    except re.error as error:
        raise DatasetError(f"eye is {told!r}, no regular expression ({error})") from error
    return told


def _share(told: object) -> float:
    if isinstance(told, bool) or not isinstance(told, int | float) or not 0 <= told <= 1:
        raise DatasetError(f"lesion_from is {told!r}; give a share of the full level, 0 to 1")
    return float(told)


def _is_level(told: object) -> bool:
    return isinstance(told, int) and not isinstance(told, bool) and 0 <= told <= 255


def _typed(told: Mapping[str, Any], key: str, kind: type, default: object = None, where: str = "") -> Any:  # noqa: ANN401
    """Return a key's value, which must be of a kind; the default, if there is one, where it is not given."""
    value = told.get(key, default)
    place = f"{where}.{key}" if where else key
    if value is None:
        raise DatasetError(f"{place} is missing; it must be {_KINDS[kind]}")
    if not isinstance(value, kind):
        raise DatasetError(f"{place} is {value!r}; it must be {_KINDS[kind]}")
    return value


_KINDS: Mapping[type, str] = {str: "a text", dict: "a table"}


def _require_keys(told: Mapping[str, Any], where: str, keys: Iterable[str]) -> None:
    for key in told:
        if key not in keys:
            raise DatasetError(f"{where} says {key!r}, which means nothing there; there is {', '.join(keys)}")
