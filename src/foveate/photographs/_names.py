"""Name the results of each photograph: unique names without the suffix of a photograph.

Knows:   paths, the suffixes of photographs, and which names some file systems treat as equal.
Ignores: files.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from foveate.paths import name_key

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff"}) | DICOM_SUFFIXES
"""Suffixes, in lower case, of photographs in a folder; a file that the user names needs none of them."""

LONGEST_NAME = 225
"""Most bytes of the last part of a name: disks take 255, results append up to 22 ('_', a lesion's code of 16
characters, '.tiff'), and '~' with a number must fit as well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileLocation:
    """The path of a file, divided into a root and the part that names it."""

    root: Path
    """The folder that the user gave, or the parent of the file that they gave; absolute, without links."""
    relative: Path
    """Path of the file below the root."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Label:
    """A name that is being made unique."""

    above: tuple[str, ...]
    """Parent folders that are not yet part of the name, from the top."""
    folders: tuple[str, ...]
    """Folders that are part of the name."""
    stem: str
    """Last part of the name: the file name without the suffix of a photograph, or with it."""
    file: str
    """File name with suffix."""

    @property
    def name(self) -> str:
        """The name so far."""
        return "/".join((*self.folders, self.stem))

    @property
    def place(self) -> str:
        """The name with all parent folders: unique for the files of a folder that share a stem."""
        return "/".join((*self.above, *self.folders, self.stem))


def unique_names(places: Sequence[FileLocation]) -> tuple[str, ...]:
    """Name each file by its path below its root, without the suffix of a photograph; lengthen equal names.

    First, files of one folder that share a name keep their suffixes ('a.jpg', 'a.png'). Then files of several
    folders get the names of their parents ('left/a', 'right/a'). Names that are still equal, on a file system
    that ignores case, get '~2', '~3'. Too long ones are shortened (`shorten`).

    Returns:
        Relative paths with '/', without '..', in the order of the locations.
    """
    labels = [_label(place) for place in places]
    labels = _lengthen(labels, _use_file_name, lambda label: (label.place, label.file))
    labels = _lengthen(labels, _add_parent, lambda label: (label.name, name_key(label.place)))
    return _number_equal_names([shorten(label.name) for label in labels])


def without_suffix(name: str) -> str:
    """Return the name or path of a file, with '/', without the suffix of a photograph.

    Other endings, as of '1.2.840.5', are part of the name, and so is a suffix after which only dots, or
    nothing, would remain.
    """
    folder, slash, file = name.rpartition("/")
    stem, _, ending = file.rpartition(".")
    is_suffix = f".{ending}".lower() in SUFFIXES and stem.strip(".")
    return f"{folder}{slash}{stem}" if is_suffix else name


def frame_name(stem: str, frame: int | None) -> str:
    """Return the name of one photograph of a file.

    Args:
        stem: name of the file without the suffix of a photograph.
        frame: number of the photograph in a DICOM object that holds several, from 1; None for other files.
    """
    return stem if frame is None else f"{stem}_frame-{frame}"


def shorten(name: str) -> str:
    """Return a name whose last part has at most `LONGEST_NAME` bytes.

    The end of a longer part is replaced by '~' and eight digits of its SHA-256, so that different parts stay
    different.
    """
    folder, slash, last = name.rpartition("/")
    content = last.encode("utf-8", "surrogatepass")
    if len(content) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(content).hexdigest()[:8]
    beginning = content[: LONGEST_NAME - 9].decode("utf-8", "ignore")  # without half a character
    return f"{folder}{slash}{beginning}~{digest}"


def _label(place: FileLocation) -> _Label:
    relative = place.relative
    return _Label(
        above=place.root.parts[1:],
        folders=tuple(part for part in relative.parts[:-1] if part != ".."),  # a glob may contain '..'
        stem=without_suffix(relative.name),
        file=relative.name,
    )


def _lengthen(
    labels: list[_Label],
    lengthen: Callable[[_Label], _Label],
    text_and_owner: Callable[[_Label], tuple[str, str]],
) -> list[_Label]:
    """Lengthen labels whose text belongs to several owners, until no label changes any more.

    Args:
        labels: one for each file.
        lengthen: returns a longer label, or the same.
        text_and_owner: returns the text of a label, and its owner; labels of one owner may share a text.
    """
    while True:
        texts = [name_key(text_and_owner(label)[0]) for label in labels]
        belongs = {(text, text_and_owner(label)[1]) for text, label in zip(texts, labels, strict=True)}
        owners = Counter(text for text, _ in belongs)
        longer = [
            lengthen(label) if owners[text] > 1 else label for text, label in zip(texts, labels, strict=True)
        ]
        if longer == labels:
            return labels
        labels = longer


def _use_file_name(label: _Label) -> _Label:
    """Return a label with the suffix of the file."""
    return replace(label, stem=label.file)


def _add_parent(label: _Label) -> _Label:
    """Return a label with one more parent folder, if there is one."""
    if not label.above:
        return label
    return replace(label, above=label.above[:-1], folders=(label.above[-1], *label.folders))


def _number_equal_names(names: Sequence[str]) -> tuple[str, ...]:
    """Append ~2, ~3, ... to names that are equal to an earlier one."""
    reserved = {name_key(name) for name in names}
    numbers: dict[str, int] = {}  # the last number of each name, so that no number is tried again
    numbered = []
    for name in names:
        candidate, key = name, name_key(name)
        if key in numbers:
            while name_key(candidate) in reserved:
                numbers[key] += 1
                candidate = f"{name}~{numbers[key]}"
            reserved.add(name_key(candidate))
        else:
            numbers[key] = 1
        numbered.append(candidate)
    return tuple(numbered)
