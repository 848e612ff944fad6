"""Results that earlier runs wrote, read from their regions' JSON.

Knows:   what decides a result, and which results a new run would only reproduce.
Ignores: how the files are written, and what happens to a result that is out of date.
"""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from foveate import atomic_files
from foveate.errors import OutputError
from foveate.paths import display_path, is_file, valid_path
from foveate.version import version
from foveate.writers import dicom_extra, maps, result_paths, tables
from foveate.writers.results import PredictRequest, SummaryRow

CACHED_RESULTS = 16_384
"""Number of results that are remembered, some 5 kB each, so that results which are saved one by one do not
cause all earlier ones to be read again each time. Our choice."""

_PSEUDONYMOUS = re.compile(rf"{result_paths.DICOM_FOLDER}(/[0-9]+(\.[0-9]+)+)+_[A-Z]+\.dcm")
"""Paths of de-identified DICOM objects, of which every part is a UID."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredResult:
    """The result of one photograph, as its regions' JSON states it."""

    row: SummaryRow
    origin: tables.Document
    """What decided it, the photograph excepted, under the words by which people know it."""
    frame: int | None
    """Number of the photograph, from 1, in a DICOM object with several frames."""
    objects: tuple[str, ...]
    """Paths of its de-identified DICOM objects, of which nothing but the JSON knows for later runs."""

    def matches(self, request: PredictRequest, digest: str) -> bool:
        """Return whether a new run would only reproduce it, if all its files exist.

        The photograph, the whole request and Foveate's version must be the same.

        Args:
            request: the current request.
            digest: current SHA-256 of the photograph.
        """
        is_same_photograph = (self.row.name, self.row.digest) == (request.name, digest)
        return is_same_photograph and self.origin == _origin(request)

    def is_complete(self, out: Path, request: PredictRequest) -> bool:
        """Return whether all files that a request asks for exist in a folder."""
        suffix = maps.SUFFIX[request.format]
        expected = (
            *result_paths.photograph_files(request.name, tuple(self.row.loads), suffix),
            *dicom_extra.object_files(request).values(),
        )
        return all(is_file(result_paths.resolve(out, path)) for path in expected)

    def differences(self, request: PredictRequest) -> tuple[str, ...]:
        """Return what a request changes, such as 'engine openvino float32 instead of onnx float32'."""
        present, earlier = _origin(request), self.origin
        return tuple(
            f"{name} {_in_words(present.get(name))} instead of {_in_words(earlier.get(name))}"
            for name in {**present, **earlier}
            if present.get(name) != earlier.get(name)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class EarlierResult:
    """What earlier runs left of a photograph, and the photograph as it is now."""

    stored: StoredResult | None = None
    """None if there is no result."""
    digest: str | None = None
    """SHA-256 of the photograph; None if it cannot be read."""

    @property
    def may_be_right(self) -> bool:
        """Whether there is a result that is not known to be of other content than the photograph has now.

        Such a result is kept if the photograph fails.
        """
        return self.stored is not None and self.digest in (None, self.stored.row.digest)

    def reusable_row(self, request: PredictRequest, out: Path | None) -> SummaryRow | None:
        """Return the row of a result that a new run would only reproduce, or None.

        Args:
            request: the current request.
            out: the output folder, in which all files must exist; None for another store, where the regions'
                JSON proves that they do, because it is written last.
        """
        stored = self.stored
        if stored is None or self.digest is None or not stored.matches(request, self.digest):
            return None
        return stored.row if out is None or stored.is_complete(out, request) else None


def load(out: Path, name: str) -> StoredResult | None:
    """Return the result of a photograph in a folder, or None if there is no file or it is not ours.

    Args:
        out: the output folder.
        name: the photograph's name.

    Raises:
        OutputError: the file cannot be read.
    """
    path = result_paths.resolve(out, result_paths.regions_file(name, ".json"))
    try:
        text = valid_path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise atomic_files.output_error(path, error) from error
    return parse(text)


def parse(text: bytes) -> StoredResult | None:
    """Return the result that a regions' JSON states, or None if the JSON is not ours."""
    try:
        content: tables.Document = json.loads(text)
        return StoredResult(
            row=tables.row_of(content),
            origin=_stored_origin(content),
            frame=content["photograph"].get("frame"),
            objects=_pseudonymous_objects(content),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def existing_rows(
    out: Path, request: PredictRequest, digest: str, frame: int | None = None
) -> tuple[SummaryRow, ...]:
    """Return the rows of all other photographs whose results are in a folder, by name.

    Args:
        out: the output folder.
        request: the request for one photograph.
        digest: SHA-256 of that photograph.
        frame: its number, from 1, in a DICOM object with several frames: they share the digest.

    Raises:
        OutputError: the folder holds results of another model, version or settings, or of another photograph
            under the same name. Such results do not belong in the same table.
    """
    folder, origin, rows = out / "regions", _origin(request), []
    for path in sorted(folder.rglob("*.json")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        stored = _load_cached(out, name)
        if stored is None:
            continue
        if name != request.name:
            if stored.origin != origin:
                raise OutputError(
                    f"{display_path(path)}: was made by another model or with other settings; "
                    "choose another folder"
                )
            rows.append(stored.row)
        elif (stored.row.digest, stored.frame) != (digest, frame):
            raise OutputError(
                f"{display_path(path)}: belongs to another photograph; choose another name or folder"
            )
    return tuple(rows)


def _load_cached(out: Path, name: str) -> StoredResult | None:
    """Return the same as `load`; a file is read once, as long as it does not change."""
    path = out / result_paths.regions_file(name, ".json")
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise atomic_files.output_error(path, error) from error
    return _load_state(out, name, (status.st_ino, status.st_mtime_ns, status.st_size))


@functools.lru_cache(maxsize=CACHED_RESULTS)
def _load_state(out: Path, name: str, state: tuple[int, int, int]) -> StoredResult | None:
    """Return the same as `load`; another content of the file has another `state`."""
    return load(out, name)


def _origin(request: PredictRequest) -> tables.Document:
    """Return what decides a result, in the form of `StoredResult.origin`."""
    return {
        "Foveate": version(),
        "model": tables.model_entry(request.provenance),
        **tables.json_values(request.settings),
        "format": request.format,
        "DICOM": tables.dicom_entry(request),
    }


def _stored_origin(content: tables.Document) -> tables.Document:
    """Return the same from a regions' JSON."""
    settings = content.get("settings")
    return {
        "Foveate": content.get("foveate"),
        "model": content.get("model"),
        **(settings if isinstance(settings, dict) else {}),
        "format": content.get("format"),
        "DICOM": _without_files(content.get("dicom")),
    }


def _without_files(entry: object) -> object:
    """Return the entry of DICOM objects without their paths, which decide nothing."""
    return (
        {key: value for key, value in entry.items() if key != "files"} if isinstance(entry, dict) else entry
    )


def _pseudonymous_objects(content: tables.Document) -> tuple[str, ...]:
    """Return the paths of a result's de-identified DICOM objects, which its JSON lists for later runs."""
    entry = content.get("dicom")
    files = entry.get("files") if isinstance(entry, dict) else None
    texts = files if isinstance(files, list) else ()
    return tuple(text for text in texts if isinstance(text, str) and _PSEUDONYMOUS.fullmatch(text))


def _in_words(value: object) -> str:
    """Return a value of a request in one line; a file's digest is shortened."""
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_in_words(part)}" for key, part in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(_in_words, value))
    text = "none" if value is None else str(value)
    return text[:12] if re.fullmatch("[0-9a-f]{64}", text) else text
