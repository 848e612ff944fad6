"""Paths of the result files in the output folder.

Knows:   the layout.
Ignores: what the files contain, and how photographs get their names.

OUT/maps/<key>_<LESION>.png|tiff|npz     OUT/overlays/<key>.jpg       OUT/summary.csv
OUT/masks/<key>_<LESION>.png             OUT/regions/<key>.csv|.json  OUT/run.json
OUT/page/<key>.js, _photo.jpg, _thumb.jpg (for index.html)            OUT/index.html
OUT/dicom/<key>_SEG.dcm, _SR.dcm, _PROB.dcm

A key is a relative path with '/', such as the names that `photographs.list_files` gives. Lesion codes are
capitals and digits, so that two keys never give the same file name.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from foveate.choices import ObjectKind
from foveate.errors import OutputError
from foveate.paths import display_path

DICOM_FOLDER = "dicom"
"""Folder of the DICOM objects."""

FOLDERS = ("maps", "masks", "overlays", "regions", "page", DICOM_FOLDER)
"""All subfolders of the output folder that we write to."""


def map_file(key: str, lesion: str, suffix: str) -> str:
    """Return the path of a probability map, relative to the output folder, with '/'."""
    return f"maps/{key}_{lesion}{suffix}"


def mask_file(key: str, lesion: str) -> str:
    """Return the path of a mask."""
    return f"masks/{key}_{lesion}.png"


def overlay_file(key: str) -> str:
    """Return the path of an overlay."""
    return f"overlays/{key}.jpg"


def regions_file(key: str, suffix: str) -> str:
    """Return the path of a photograph's regions; `suffix` is '.csv' or '.json'."""
    return f"regions/{key}{suffix}"


def page_files(key: str) -> tuple[str, str, str]:
    """Return the paths of a photograph's outlines, display copy and thumbnail, which index.html shows."""
    return f"page/{key}.js", f"page/{key}_photo.jpg", f"page/{key}_thumb.jpg"


def object_file(key: str, kind: ObjectKind) -> str:
    """Return the path of a DICOM object."""
    return f"{DICOM_FOLDER}/{key}_{kind.upper()}.dcm"


def photograph_files(
    key: str, lesions: Sequence[str], suffix: str, kinds: Sequence[ObjectKind] = ()
) -> tuple[str, ...]:
    """Return the paths of all files of one photograph, its regions' JSON last.

    Args:
        key: the photograph's key.
        lesions: codes of the lesions that have maps and masks.
        suffix: suffix of the maps.
        kinds: kinds of the DICOM objects.
    """
    lesion_files = [path for code in lesions for path in (map_file(key, code, suffix), mask_file(key, code))]
    objects = [object_file(key, kind) for kind in kinds]
    tables = [regions_file(key, ".csv"), regions_file(key, ".json")]
    return (*lesion_files, *objects, overlay_file(key), *page_files(key), *tables)


def resolve(out: Path, relative: str) -> Path:
    """Return the path of a file in the output folder, from its relative path.

    Raises:
        OutputError: the path would be outside that folder.
    """
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts:
        raise OutputError(
            f"{relative!r} is outside {display_path(out)}; name photographs by relative paths without '..'"
        )
    return out / path
