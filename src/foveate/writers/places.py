"""Where each result lies in the output folder.

Knows:   the layout.
Ignores: what the files hold, and how photographs get their names.

OUT/maps/<key>_<LESION>.png|tiff|npz     OUT/overlays/<key>.jpg       OUT/summary.csv
OUT/masks/<key>_<LESION>.png             OUT/regions/<key>.csv|.json  OUT/run.json
OUT/page/<key>.js, _photo.jpg, _thumb.jpg (what index.html shows)     OUT/index.html
OUT/dicom/<key>_SEG.dcm, _SR.dcm, _PROB.dcm

A key is a relative path with '/', as `photographs.sources` names photographs. Codes of lesions are capitals
and digits, so that two keys never meet in one file name.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from foveate.errors import OutputError
from foveate.writers.results import ObjectKind

OBJECTS = "dicom"
"""Folder of DICOM objects."""

FOLDERS = ("maps", "masks", "overlays", "regions", "page", OBJECTS)
"""All that we write into below the output folder."""


def map_file(key: str, lesion: str, suffix: str) -> str:
    """Path of a probability map, relative to the output folder, with '/'."""
    return f"maps/{key}_{lesion}{suffix}"


def mask_file(key: str, lesion: str) -> str:
    """Path of a mask."""
    return f"masks/{key}_{lesion}.png"


def overlay_file(key: str) -> str:
    """Path of an overlay."""
    return f"overlays/{key}.jpg"


def regions_file(key: str, suffix: str) -> str:
    """Path of a photograph's regions; `suffix` is '.csv' or '.json'."""
    return f"regions/{key}{suffix}"


def page_files(key: str) -> tuple[str, str, str]:
    """Paths of what the page shows of a photograph: outlines, display copy, thumbnail."""
    return f"page/{key}.js", f"page/{key}_photo.jpg", f"page/{key}_thumb.jpg"


def object_file(key: str, kind: ObjectKind) -> str:
    """Path of a DICOM object."""
    return f"{OBJECTS}/{key}_{kind.upper()}.dcm"


def of(key: str, lesions: Sequence[str], suffix: str, objects: Sequence[ObjectKind] = ()) -> tuple[str, ...]:
    """Paths of everything that is written for one photograph, its regions' JSON last."""
    pairs = [(map_file(key, code, suffix), mask_file(key, code)) for code in lesions]
    rest = (overlay_file(key), *page_files(key), regions_file(key, ".csv"), regions_file(key, ".json"))
    made = tuple(object_file(key, kind) for kind in objects)
    return tuple(path for pair in pairs for path in pair) + made + rest


def within(out: Path, relative: str) -> Path:
    """Return the place of a relative path in the output folder.

    Raises:
        OutputError: it would lead out of that folder.
    """
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts:
        raise OutputError(f"{relative!r} leads out of {out}; name photographs by relative paths without '..'")
    return out / path
