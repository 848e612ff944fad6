"""Paths of the result files in the output folder.

Knows:   the layout.
Ignores: what the files contain, and how photographs get their names.

OUT/maps/<name>_<LESION>.png|tiff|npz     OUT/overlays/<name>.jpg       OUT/summary.csv
OUT/masks/<name>_<LESION>.png             OUT/regions/<name>.csv|.json  OUT/run.json
OUT/page/<name>.js, _photo.jpg, _thumb.jpg (for index.html)             OUT/index.html
OUT/dicom/<name>_SEG.dcm, _SR.dcm, _PROB.dcm

A photograph's name is a relative path with '/', as `photographs.list_files` gives it. Lesion codes are
capitals and digits, so that two photographs never have the same file.
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


def map_file(name: str, lesion: str, suffix: str) -> str:
    """Return the path of a probability map, relative to the output folder, with '/'."""
    return f"maps/{name}_{lesion}{suffix}"


def mask_file(name: str, lesion: str) -> str:
    """Return the path of a mask."""
    return f"masks/{name}_{lesion}.png"


def overlay_file(name: str) -> str:
    """Return the path of an overlay."""
    return f"overlays/{name}.jpg"


def regions_file(name: str, suffix: str) -> str:
    """Return the path of a photograph's regions; `suffix` is '.csv' or '.json'."""
    return f"regions/{name}{suffix}"


def page_files(name: str) -> tuple[str, str, str]:
    """Return the paths of a photograph's outlines, display copy and thumbnail, which index.html shows."""
    return f"page/{name}.js", f"page/{name}_photo.jpg", f"page/{name}_thumb.jpg"


def object_file(name: str, kind: ObjectKind) -> str:
    """Return the path of a DICOM object."""
    return f"{DICOM_FOLDER}/{name}_{kind.upper()}.dcm"


def photograph_files(
    name: str, lesions: Sequence[str], suffix: str, kinds: Sequence[ObjectKind] = ()
) -> tuple[str, ...]:
    """Return the paths of all files of one photograph, its regions' JSON last.

    Args:
        name: the photograph's name.
        lesions: codes of the lesions that have maps and masks.
        suffix: suffix of the maps.
        kinds: kinds of the DICOM objects.
    """
    lesion_files = [
        path for code in lesions for path in (map_file(name, code, suffix), mask_file(name, code))
    ]
    objects = [object_file(name, kind) for kind in kinds]
    tables = [regions_file(name, ".csv"), regions_file(name, ".json")]
    return (*lesion_files, *objects, overlay_file(name), *page_files(name), *tables)


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
