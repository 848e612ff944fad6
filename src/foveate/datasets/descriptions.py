"""Read the layout of a data set from a TOML file, so that a new set or task needs no code.

Knows:   the keys of the description and their valid values.
Ignores: the folders that it describes.

    name = "leaves"
    field = "whole"                              # or "find" (default): a round lit field, as of an eye

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
from typing import Any

from foveate import lesions
from foveate.datasets.folders import Folders, Layout
from foveate.errors import DatasetError, LesionError
from foveate.lesions import Lesion
from foveate.paths import display_path, valid_path
from foveate.types import FieldRule

KEYS = ("name", "title", "licence", "attribution", "field", "lesion_from", "eye", "lesions", "splits")
LESION_KEYS = ("name", "colour")
SPLIT_KEYS = ("photographs", "masks", "annotated")
PLACEHOLDERS = frozenset({"name", "folder", "lesion"})


def read(path: Path) -> Layout:
    """Read a description.

    Raises:
        DatasetError: the file cannot be read, is not TOML, or does not describe a layout. The message is one
            line that names the file, the key, and its valid values.
    """
    try:
        value = tomllib.loads(valid_path(path).read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DatasetError(
            f"{display_path(path)}: cannot be read as a layout ({error}); give a TOML file with tables "
            "[lesions] and [splits.NAME]"
        ) from error
    try:
        return _layout(value, path.stem)
    except (DatasetError, LesionError) as error:
        raise DatasetError(f"{display_path(path)}: {error}") from error


def _layout(value: Mapping[str, Any], name: str) -> Layout:
    _require_keys(value, "the description", KEYS)
    kinds = _kinds(_get(value, "lesions", dict))
    codes = tuple(kind.code for kind in kinds)
    splits = _get(value, "splits", dict)
    if not splits:
        raise DatasetError("no split is described; add a table such as [splits.train]")
    return Layout(
        name=_get(value, "name", str, name),
        kinds=kinds,
        splits={split: (_folders(split, place, codes),) for split, place in splits.items()},
        field=_field(value.get("field", "find")),
        eye=_eye_pattern(value.get("eye")),
        lesion_from=_share(value.get("lesion_from", 0.0)),
        title=_get(value, "title", str, ""),
        licence=_get(value, "licence", str, "not stated"),
        attribution=_get(value, "attribution", str, "not stated"),
    )


def _kinds(value: Mapping[str, Any]) -> tuple[Lesion, ...]:
    if not value:
        raise DatasetError('no lesion is described; add one to the table [lesions], such as RUST = "rust"')
    return tuple(_kind(annotated, value[annotated.code]) for annotated in lesions.of(list(value)))


def _kind(annotated: Lesion, value: object) -> Lesion:
    """Return a lesion as described; if no colour is given, it has our default colour."""
    where = f"lesions.{annotated.code}"
    if isinstance(value, str):
        return Lesion(code=annotated.code, name=value, colour=annotated.colour)
    if not isinstance(value, dict):
        raise DatasetError(f'{where} is {value!r}; give a name, or {{ name = "...", colour = [R, G, B] }}')
    _require_keys(value, where, LESION_KEYS)
    colour = value.get("colour", list(annotated.colour))
    if not (
        isinstance(colour, list) and len(colour) == 3 and all(_is_colour_level(level) for level in colour)
    ):
        raise DatasetError(f"{where}.colour is {colour!r}; give red, green and blue, each 0 to 255")
    red, green, blue = colour
    return Lesion(
        code=annotated.code, name=_get(value, "name", str, annotated.name), colour=(red, green, blue)
    )


def _folders(split: str, value: object, codes: tuple[str, ...]) -> Folders:
    where = f"splits.{split}"
    if not isinstance(value, dict):
        raise DatasetError(f"{where} is {value!r}; give a table with the keys photographs and masks")
    _require_keys(value, where, SPLIT_KEYS)
    annotated = value.get("annotated", list(codes))
    if not (isinstance(annotated, list) and annotated and set(map(str, annotated)) <= set(codes)):
        raise DatasetError(
            f"{where}.annotated is {annotated!r}; give a list of one or more of {', '.join(codes)}"
        )
    masks = value.get("masks")
    if isinstance(masks, str):
        if len(annotated) > 1 and "{lesion}" not in masks:
            raise DatasetError(
                f"{where}.masks is {masks!r}, the same mask for all lesions; add {{lesion}}, as in "
                f"'masks/{{name}}_{{lesion}}'"
            )
        masks = dict.fromkeys(annotated, masks)
    if not (isinstance(masks, dict) and masks and all(isinstance(mask, str) for mask in masks.values())):
        raise DatasetError(f"{where}.masks is {masks!r}; give a pattern such as 'masks/{{name}}_{{lesion}}'")
    _require_keys(masks, f"{where}.masks", annotated)
    _require_own_masks(
        {code: mask.replace("{lesion}", code) for code, mask in masks.items()}, f"{where}.masks"
    )
    return Folders(
        photographs=_photographs(_get(value, "photographs", str, where=where), f"{where}.photographs"),
        masks={code: (_mask(mask, code, f"{where}.masks"),) for code, mask in masks.items()},
        annotated=tuple(code for code in codes if code in annotated),
    )


def _require_own_masks(patterns: Mapping[str, str], where: str) -> None:
    """Raise DatasetError for a table that names the same masks for two lesions."""
    first: dict[str, str] = {}
    for code, pattern in patterns.items():
        if first.setdefault(pattern, code) != code:
            raise DatasetError(
                f"{where} gives {first[pattern]} and {code} the same masks, {pattern!r}; give each its own"
            )


def _mask(pattern: str, code: str, where: str) -> str:
    """Return the pattern of the masks of one lesion."""
    try:
        parsed = string.Formatter().parse(pattern)
        parts = [(name, form, conversion) for _, name, form, conversion in parsed if name is not None]
    except ValueError as error:
        raise DatasetError(
            f"{where} is {pattern!r}, which is not a pattern ({error}); write {{name}} where the "
            "photograph's name stands"
        ) from error
    if unknown := {name for name, _, _ in parts} - PLACEHOLDERS:
        raise DatasetError(
            f"{where} is {pattern!r}, and {{{min(unknown)}}} is not a placeholder; use "
            f"{', '.join(f'{{{name}}}' for name in sorted(PLACEHOLDERS))}"
        )
    if any(form or conversion for _, form, conversion in parts):
        raise DatasetError(
            f"{where} is {pattern!r}; give placeholders without a format, such as {{name}}, not {{name:10}}"
        )
    if "*" in pattern:
        raise DatasetError(
            f"{where} is {pattern!r}; '*' has no meaning there: write {{folder}} for the folders of the "
            "photograph, {name} for its name"
        )
    if "name" not in (name for name, _, _ in parts):
        raise DatasetError(f"{where} is {pattern!r}, the same mask for all photographs; add {{name}}")
    return _relative_pattern(pattern, where).replace("{lesion}", code)


def _photographs(pattern: str, where: str) -> str:
    """Return the pattern of the photographs."""
    parts = PurePosixPath(_relative_pattern(pattern, where)).parts
    if not parts:
        raise DatasetError(f"{where} is {pattern!r}, a folder; give a pattern of files, such as '*'")
    if any("**" in part and part != "**" for part in parts):
        raise DatasetError(
            f"{where} is {pattern!r}; '**' stands for folders and needs a '/' behind it, as in 'images/**/*'"
        )
    return pattern


def _relative_pattern(pattern: str, where: str) -> str:
    path = PurePosixPath(pattern)
    if not pattern or path.is_absolute() or ".." in path.parts:
        raise DatasetError(f"{where} is {pattern!r}; give a path relative to the set's folder, without '..'")
    return pattern


def _field(value: object) -> FieldRule:
    if value == "find":
        return "find"
    if value == "whole":
        return "whole"
    raise DatasetError(f'field is {value!r}; give "find" (a round lit field) or "whole" (the whole picture)')


def _eye_pattern(value: object) -> str | None:
    if value is None:
        return None
    try:
        if not isinstance(value, str) or re.compile(value).groups < 1:
            raise DatasetError(
                f"eye is {value!r}; give a regular expression with one group, such as '/(P[0-9]+)_'"
            )
    except re.error as error:
        raise DatasetError(
            f"eye is {value!r}, which is not a regular expression ({error}); correct it"
        ) from error
    return value


def _share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise DatasetError(f"lesion_from is {value!r}; give a share of the full level, from 0 to 1")
    return float(value)


def _is_colour_level(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _get(value: Mapping[str, Any], key: str, kind: type, default: object = None, where: str = "") -> Any:  # noqa: ANN401
    """Return the value of a key after checking its type, or the default if the key is missing."""
    entry = value.get(key, default)
    place = f"{where}.{key}" if where else key
    if entry is None:
        raise DatasetError(f"{place} is missing; it must be {_TYPE_NAMES[kind]}")
    if not isinstance(entry, kind):
        raise DatasetError(f"{place} is {entry!r}; it must be {_TYPE_NAMES[kind]}")
    return entry


_TYPE_NAMES: Mapping[type, str] = {str: "a string", dict: "a table"}


def _require_keys(value: Mapping[str, Any], where: str, keys: Iterable[str]) -> None:
    for key in value:
        if key not in keys:
            raise DatasetError(f"{where} has the unknown key {key!r}; the keys are {', '.join(keys)}")
