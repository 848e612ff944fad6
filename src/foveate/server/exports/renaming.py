"""Files of a photograph under another name, where several photographs of one name share a zip.

Knows:   which part of a file's path is the photograph's name, and which files state that name or such paths.
Ignores: how the name is chosen, and what else a file holds.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from foveate.writers import tables

STATING = ("regions", "corrections")
"""Folders of the JSON files that state the photograph's name."""

PATHS = ("map", "mask")
"""Keys of a lesion's entry in the regions' JSON that are paths of files."""

Entry = tuple[str, Path | bytes]
"""A name in a zip, and its content or the file that holds it."""


def renamed(entries: Iterable[Entry], key: str, name: str) -> Iterator[Entry]:
    """Yield the files of a photograph under another name.

    Args:
        entries: the files, whose names begin with the photograph's.
        key: the photograph's name in them.
        name: the name to give it.
    """
    for path, content in entries:
        if key == name:
            yield path, content
            continue
        file = PurePosixPath(path)
        is_stating = file.suffix == ".json" and file.parent.name in STATING
        yield _renamed_path(path, key, name), _renamed_json(content, key, name) if is_stating else content


def _renamed_path(path: str, key: str, name: str) -> str:
    file = PurePosixPath(path)
    return str(file.with_name(name + file.name.removeprefix(key)))


def _renamed_json(content: Path | bytes, key: str, name: str) -> bytes:
    """Return a photograph's JSON, or its journal, with the other name and paths."""
    document: dict[str, Any] = json.loads(content if isinstance(content, bytes) else content.read_bytes())
    if "photograph" in document:  # a journal without edits states no name
        document["photograph"]["name"] = name
    if "regions" not in document:
        return tables.utf8(json.dumps(document, indent=2, ensure_ascii=False))
    for lesion in document["lesions"].values():
        lesion.update({entry: _renamed_path(lesion[entry], key, name) for entry in PATHS if entry in lesion})
    return tables.to_json(document)
