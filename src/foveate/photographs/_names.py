"""What the results of each photograph are called: names without ending that never meet.

Knows:   paths, and which names some disk takes for one and the same.
Ignores: files.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a file lies, and which part of that is its name by right."""

    root: Path
    """The folder that the user gave, or the one that holds the file given; absolute, no links."""
    relative: Path
    """The file below the root."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Label:
    """A name in the making."""

    above: tuple[str, ...]
    """Folders that are not yet part of the name, from the top."""
    folders: tuple[str, ...]
    """Folders that are."""
    stem: str
    """What stands for the file: its own name without ending, or with it."""
    file: str
    """Its own name with ending."""

    @property
    def name(self) -> str:
        return "/".join((*self.folders, self.stem))

    @property
    def place(self) -> str:
        return "/".join((*self.above, *self.folders, self.stem))


def names(places: Sequence[Place]) -> tuple[str, ...]:
    """Name each file by its path below its root, without ending; lengthen the names that are alike.

    First files of one folder that share a name get their endings ('a.jpg', 'a.png'), then files of several
    folders the names of their parents ('left/a', 'right/a'), and what is alike still, because a disk may not
    tell upper from lower case, '~2', '~3'.

    Returns:
        Relative paths with '/', no '..', in the order of the places.
    """
    labels = [_label(place) for place in places]
    labels = _lengthened(labels, _whole, lambda label: (label.place, label.file))
    labels = _lengthened(labels, _deeper, lambda label: (label.name, _alike(label.place)))
    return _numbered([label.name for label in labels])


def _label(place: Place) -> _Label:
    relative = place.relative
    return _Label(
        above=place.root.parts[1:],
        folders=tuple(part for part in relative.parts[:-1] if part != ".."),  # a glob may hold '..'
        stem=relative.stem if relative.stem.strip(".") else relative.name,  # '...jpg' would leave '..'
        file=relative.name,
    )


def _lengthened(
    labels: list[_Label], lengthen: Callable[[_Label], _Label], says: Callable[[_Label], tuple[str, str]]
) -> list[_Label]:
    """Lengthen labels, until that helps no more, where one text belongs to several things.

    Args:
        labels: one a file.
        lengthen: makes a label longer, or leaves it.
        says: a label's text, and what that should belong to alone.
    """
    while True:
        texts = [_alike(says(label)[0]) for label in labels]
        belongs = {(text, says(label)[1]) for text, label in zip(texts, labels, strict=True)}
        owners = Counter(text for text, _ in belongs)
        longer = [
            lengthen(label) if owners[text] > 1 else label for text, label in zip(texts, labels, strict=True)
        ]
        if longer == labels:
            return labels
        labels = longer


def _whole(label: _Label) -> _Label:
    """Let the file's whole name stand for it."""
    return replace(label, stem=label.file)


def _deeper(label: _Label) -> _Label:
    """Take one more parent into a name, while there is one."""
    if not label.above:
        return label
    return replace(label, above=label.above[:-1], folders=(label.above[-1], *label.folders))


def _alike(name: str) -> str:
    """Equal for names that some disk takes for one and the same."""
    return unicodedata.normalize("NFC", name).casefold()


def _numbered(found: Sequence[str]) -> tuple[str, ...]:
    """Append ~2, ~3, ... to a name that is alike to one before it."""
    reserved = {_alike(name) for name in found}
    taken: set[str] = set()
    numbered = []
    for name in found:
        free, number = name, 1
        while _alike(free) in (taken if number == 1 else taken | reserved):
            number += 1
            free = f"{name}~{number}"
        taken.add(_alike(free))
        numbered.append(free)
    return tuple(numbered)
