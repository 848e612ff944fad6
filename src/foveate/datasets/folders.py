"""A layout: which folders of a set hold photographs, and where each photograph's masks are.

Knows:   patterns of paths, and what is wrong with a folder that does not fit them.
Ignores: pixels, and which sets there are.
"""

import filecmp
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from foveate.datasets import Case
from foveate.errors import DatasetError
from foveate.lesions import Lesion
from foveate.photographs import SUFFIXES

ENDINGS = SUFFIXES | {".bmp", ".gif"}
"""Of masks, in lower case. JPEG is among them so that it is refused by name, not taken for no mask."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Folders:
    """Folders of a set whose photographs were looked through for the same lesions.

    Paths are below the set's folder, with '/'.
    """

    photographs: str
    """Pattern of the photographs, such as 'train/image/*'; '**' stands for any number of folders."""
    masks: Mapping[str, tuple[str, ...]]
    """Lesion -> its masks: '{name}' stands for the photograph's name without ending, '{folder}' for the
    folders that the pattern's wildcards met. Without ending, any of `ENDINGS` will do. Of several the first
    that is there counts."""
    annotated: tuple[str, ...]
    """Lesions that were looked for: no mask means no lesion. Nothing is known of any other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How a set lies on disk."""

    name: str
    kinds: tuple[Lesion, ...]
    """Lesions that the set knows, in the order of tables."""
    splits: Mapping[str, tuple[Folders, ...]]
    """Name of a split -> where its photographs are. The first is the one to train on."""
    field: Literal["find", "whole"] = "find"
    """Whether photographs show a round lit field that is to be found, or are all field."""
    roots: tuple[str, ...] = (".",)
    """Folders, below the one that the user names, that may be the set's."""
    eye: str | None = None
    """Regular expression, searched in a photograph's path below the set's folder; its first group is the
    eye."""
    lesion_from: float = 0.0
    """As in `Case`."""
    title: str = ""
    """What the set is called where a model that learned from it says so; its name, if empty."""
    licence: str = "not stated"
    """Of the photographs and masks, SPDX where there is one."""
    attribution: str = "not stated"
    """How the licence wants the set to be named."""

    @property
    def lesions(self) -> tuple[str, ...]:
        """Codes of the lesions that the set knows."""
        return tuple(kind.code for kind in self.kinds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """What a split holds."""

    cases: tuple[Case, ...]
    """By name."""
    orphans: tuple[Path, ...]
    """Masks that belong to no photograph."""


def cases(root: Path, layout: Layout, split: str) -> tuple[Case, ...]:
    """List the photographs of one split, by name.

    Args:
        root: the folder that the set was unpacked to.
        layout: how the set lies on disk.
        split: one of the layout's.

    Raises:
        DatasetError: no such split, or the folder is not laid out so.
    """
    return listing(root, layout, split).cases


def present(root: Path, layout: Layout) -> tuple[str, ...]:
    """Return the splits of which a folder of photographs is there.

    Raises:
        DatasetError: none is.
    """
    base = _base(root, layout)
    return tuple(
        split
        for split, places in layout.splits.items()
        if any((base / fixed(place.photographs)).is_dir() for place in places)
    )


def listing(root: Path, layout: Layout, split: str) -> Listing:
    """List the photographs of one split, and the masks that belong to none.

    Photographs of one name in several of the split's folders are one case, with the masks and lesions of
    both, if their files are equal.

    Raises:
        DatasetError: no such split, the folder is not laid out so, or two photographs share a name.
    """
    if split not in layout.splits:
        raise DatasetError(f"{layout.name} has no split {split!r}; it has {', '.join(layout.splits)}")
    base, places = _base(root, layout), layout.splits[split]
    found: dict[str, Case] = {}
    for case in (case for place in places for case in _of(base, layout, place)):
        found[case.name] = _merged(found[case.name], case) if case.name in found else case
    if not found:
        wanted = " or ".join(f"'{place.photographs}'" for place in places)
        raise DatasetError(f"{base}: no photographs of split {split}: nothing matches {wanted}")
    taken = {path for case in found.values() for path in (case.photograph, *case.masks.values())}
    return Listing(
        cases=tuple(found[name] for name in sorted(found)),
        orphans=tuple(sorted({path for place in places for path in _masks(base, place)} - taken)),
    )


def fixed(pattern: str) -> Path:
    """Return the folders of a pattern before its first wildcard or placeholder."""
    parts = Path(pattern).parts[:-1]
    varying = next((n for n, part in enumerate(parts) if re.search(r"[*?\[{]", part)), len(parts))
    return Path(*parts[:varying])


def _base(root: Path, layout: Layout) -> Path:
    """Return the set's own folder: the first of the layout's roots that holds photographs' folders."""
    wanted = dict.fromkeys(fixed(place.photographs) for places in layout.splits.values() for place in places)
    for base in (root / below for below in layout.roots):
        if any((base / folder).is_dir() for folder in wanted):
            return base
    named = " or ".join(f"'{folder.as_posix()}'" for folder in wanted)
    raise DatasetError(
        f"{root}: not laid out as {layout.name}: no folder {named} in it; give the folder that the set was "
        "unpacked to, or another layout"
    )


def _of(base: Path, layout: Layout, place: Folders) -> Iterator[Case]:
    """Yield the cases of some folders."""
    stems: dict[Path, dict[str, Path]] = {}
    photographs = [
        path
        for path in sorted(base.glob(place.photographs))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    if photographs and place.masks and not any(True for _ in _mask_folders(base, place)):
        wanted = ", ".join(f"'{fixed(names[0]).as_posix()}'" for names in place.masks.values())
        raise DatasetError(f"{base}: photographs, but no folder of masks ({wanted}); unpack all of the set")
    made = [_case(base, layout, place, path, stems) for path in photographs]
    _require_fit(base, place, made)
    masks = {mask for case in made for mask in case.masks.values()}  # which may lie beside photographs
    yield from (case for case in made if case.photograph not in masks)


def _require_fit(base: Path, place: Folders, made: Sequence[Case]) -> None:
    """Refuse masks of which none belongs to a photograph: a misspelt pattern would make all eyes healthy."""
    if not made or any(case.masks for case in made):
        return
    photographs = {case.photograph for case in made}
    for folder in _mask_folders(base, place):
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in ENDINGS and path not in photographs:
                names = ", ".join(f"'{name}'" for names in place.masks.values() for name in names)
                raise DatasetError(
                    f"{path}: neither this nor another mask there belongs to a photograph by the layout's "
                    f"{names}"
                )


def _case(base: Path, layout: Layout, place: Folders, path: Path, stems: dict[Path, dict[str, Path]]) -> Case:
    """Return the case of a photograph; `stems` remembers the folders of masks that were listed."""
    below = path.relative_to(base)
    folder = below.parent.relative_to(fixed(place.photographs))
    masks = {}
    for lesion, names in place.masks.items():
        for name in names:
            mask = base / name.format(name=path.stem, folder=folder.as_posix())
            if mask.parent not in stems:
                stems[mask.parent] = _by_stem(mask.parent)
            if mask.name in stems[mask.parent]:
                masks[lesion] = stems[mask.parent][mask.name]
                break
    eye = re.search(layout.eye, below.as_posix()) if layout.eye else None
    return Case(
        name="_".join((*folder.parts, path.stem)),
        photograph=path,
        masks=masks,
        annotated=place.annotated,
        eye=eye[1] if eye else None,
        lesion_from=layout.lesion_from,
        field=layout.field,
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    """List a folder's masks by their names, with and without ending."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in ENDINGS and path.is_file():
            if path.stem in found:
                raise DatasetError(
                    f"{path}: also there as {found[path.stem].name}; keep one of the two masks"
                )
            found |= {path.stem: path, path.name: path}
    return found


def _mask_folders(base: Path, place: Folders) -> Iterator[Path]:
    """Yield the folders that masks may be in."""
    for name in dict.fromkeys(name for names in place.masks.values() for name in names):
        if (base / fixed(name)).is_dir():
            yield base / fixed(name)


def _masks(base: Path, place: Folders) -> Iterator[Path]:
    """Yield everything in the folders of masks that a mask could be by its name."""
    for names in place.masks.values():
        for name in names:
            pattern = re.sub(r"\{\w+\}", "*", name)
            for path in base.glob(pattern if Path(name).suffix.lower() in ENDINGS else f"{pattern}.*"):
                if path.suffix.lower() in ENDINGS and path.is_file():
                    yield path


def _merged(one: Case, other: Case) -> Case:
    """Return one case of a photograph that lies in two folders.

    Raises:
        DatasetError: they are different photographs, or both folders have a mask of the same lesion.
    """
    if not filecmp.cmp(one.photograph, other.photograph, shallow=False):
        raise DatasetError(
            f"{other.photograph}: another photograph is called {one.name} as well, {one.photograph}; "
            "rename one and its masks"
        )
    if both := one.masks.keys() & other.masks.keys():
        lesion = min(both)
        raise DatasetError(
            f"{other.masks[lesion]}: {one.masks[lesion]} is of the same lesion; keep one of the two"
        )
    known = tuple(dict.fromkeys((*(one.annotated or ()), *(other.annotated or ()))))
    return replace(one, masks={**one.masks, **other.masks}, annotated=known)
