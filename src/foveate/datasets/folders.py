"""List the photographs of a set, and the masks of each photograph, by the layout of its folders.

Knows:   patterns of paths, and what is wrong with a folder that does not match them.
Ignores: pixels, and which sets exist.
"""

import difflib
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from foveate.datasets import Case, digest
from foveate.errors import DatasetError
from foveate.lesions import Lesion
from foveate.paths import display_path, exists, is_file, is_folder, name_key, nfc, obstacle, real_path
from foveate.photographs import SUFFIXES, is_hidden
from foveate.types import FieldRule
from foveate.wording import quantity

ENDINGS = SUFFIXES | {".bmp", ".gif"}
"""Suffixes of masks, in lower case. JPEG is included so that it is refused with an error, not ignored."""


DOCUMENTS = frozenset(
    {".txt", ".md", ".csv", ".pdf", ".htm", ".html", ".xls", ".xlsx", ".doc", ".docx", ".log"}
)
"""Suffixes of files that may be in a folder of masks but are not masks."""

SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini"})
"""Files that an operating system leaves in folders."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Folders:
    """Folders of a set whose photographs were annotated for the same lesions.

    Paths are relative to the folder of the set, with '/'.
    """

    photographs: str
    """Pattern of the photographs, such as 'train/image/*'; '**' matches any number of folders."""
    masks: Mapping[str, tuple[str, ...]]
    """Lesion -> patterns of its masks. '{name}' stands for the name of the photograph without suffix,
    '{folder}' for the folders that the wildcards of the pattern matched. A pattern without suffix matches any
    of `ENDINGS`. The first pattern that matches a file is used."""
    annotated: tuple[str, ...]
    """Annotated lesions: for these, a missing mask means that the lesion is absent. Any other lesion may be
    present or absent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The folders and properties of a set."""

    name: str
    kinds: tuple[Lesion, ...]
    """Lesions of the set, in the order in which tables list them."""
    splits: Mapping[str, tuple[Folders, ...]]
    """Name of a split -> its folders. The first split is the one for training."""
    field: FieldRule = "find"
    """Whether the round lit field must be detected in each photograph ("find"), or the whole photograph is
    field ("whole")."""
    roots: tuple[str, ...] = (".",)
    """Folders, relative to the one that the user names, that may be the folder of the set."""
    eye: str | None = None
    """Regular expression that is searched for in the path of a photograph, relative to the folder of the set;
    its first group identifies the eye."""
    lesion_from: float = 0.0
    """As in `Case`."""
    title: str = ""
    """Name of the set in the card of a model that was trained on it; if empty, `name`."""
    licence: str = "not stated"
    """Licence of the photographs and masks, SPDX where there is one."""
    attribution: str = "not stated"
    """How the licence requires the set to be cited."""

    @property
    def lesions(self) -> tuple[str, ...]:
        """Codes of the lesions of the set."""
        return tuple(kind.code for kind in self.kinds)


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitListing:
    """The files of a split."""

    cases: tuple[Case, ...]
    """Sorted by name."""
    orphans: tuple[Path, ...]
    """Files that are named like masks but belong to no photograph."""
    unused: tuple[Path, ...]
    """Other files in the folders of masks that belong to no photograph."""
    missing: Mapping[str, str]
    """Lesion -> a line that names its folders of masks, none of which exists."""
    unreadable: tuple[str, ...]
    """Lines that name the folders that cannot be listed."""
    clashes: tuple[str, ...]
    """Lines that name the photographs, or masks, that cannot be used beside others; the first ones are in
    `cases`."""


def cases(root: Path, layout: Layout, split: str) -> tuple[Case, ...]:
    """Return the photographs of one split, sorted by name.

    Args:
        root: the folder that the set was unpacked to.
        layout: the layout of the set.
        split: a split of the layout.

    Raises:
        DatasetError: the split does not exist, the folder does not have this layout, a folder cannot be
            listed, or different photographs share a name.
    """
    listing = list_split(root, layout, split)
    if wrong := (*listing.unreadable, *listing.clashes):
        raise DatasetError(wrong[0])
    return listing.cases


def warnings(root: Path, layout: Layout, split: str, lesions: Sequence[str]) -> tuple[str, ...]:
    """Return one line for each reason why masks of a split may wrongly count as absent.

    Args:
        root: the folder that the set was unpacked to.
        layout: the layout of the set.
        split: a split of the layout.
        lesions: the lesions that are used; folders of other lesions may be missing.
    """
    listing = list_split(root, layout, split)
    missing = [line for lesion, line in listing.missing.items() if lesion in lesions]
    files = [*listing.orphans, *listing.unused]
    if not files:
        return tuple(missing)
    more = f" and {quantity(len(files) - 1, 'more file', 'more files')} there" if len(files) > 1 else ""
    problem = (
        "in a folder of masks, but its name is that of no photograph"
        if not more
        else "in folders of masks, but their names are those of no photograph"
    )
    return (*missing, f"{display_path(files[0])}{more}: {problem}")


def present(root: Path, layout: Layout) -> tuple[str, ...]:
    """Return the splits whose folder of photographs exists.

    Raises:
        DatasetError: no split is present.
    """
    base = _set_folder(root, layout)
    return tuple(
        split
        for split, folder_sets in layout.splits.items()
        if any(is_folder(base / fixed_folder(folders.photographs)) for folders in folder_sets)
    )


def list_split(root: Path, layout: Layout, split: str) -> SplitListing:
    """Return the photographs of one split, and the masks that belong to no photograph.

    Photographs with the same name in several folders of the split become one case, with the masks and lesions
    of both, if their files are equal. Names are compared in the Unicode form NFC; hidden files are left out.

    Raises:
        DatasetError: the split does not exist, the folder does not have this layout, or a photograph cannot
            be read to compare it with another one of the same name.
    """
    if split not in layout.splits:
        raise DatasetError(
            f"layout {layout.name} has no split {split!r}; choose one of {', '.join(layout.splits)}"
        )
    base, folder_sets = _set_folder(root, layout), layout.splits[split]
    masks = _MaskFolders(base=base)
    by_name: dict[str, Case] = {}
    clashes: dict[str, Case] = {}
    for case in (case for folders in folder_sets for case in _folder_cases(masks, layout, folders)):
        first = by_name.get(case.name)
        if first is not None and (clash := _clash(first, case)) is not None:
            clashes[clash] = case
        else:
            by_name[case.name] = case if first is None else _merge_cases(first, case)
    if not by_name:
        patterns = " or ".join(f"'{folders.photographs}'" for folders in folder_sets)
        raise DatasetError(
            f"{display_path(base)}: no photograph of split {split}, because nothing matches {patterns}; "
            "unpack the whole set, or correct the layout"
        )
    listed = (*by_name.values(), *clashes.values())
    used = {path for case in listed for path in (case.photograph, *case.masks.values())}
    used |= _used_by_others(masks, layout, split)
    left = {path for folders in folder_sets for path in _files_beside_masks(base, folders)} - used
    orphans = _orphans(left, folder_sets, by_name.values())
    return SplitListing(
        cases=tuple(by_name[name] for name in sorted(by_name)),
        orphans=tuple(sorted(orphans)),
        unused=tuple(sorted(left - orphans)),
        missing={lesion: line for folders in folder_sets for lesion, line in _missing(base, folders).items()},
        unreadable=tuple(masks.unreadable),
        clashes=tuple(clashes),
    )


def on_disk(path: Path, base: Path) -> Path:
    """Return a path below a folder as it is spelt on disk, possibly in another Unicode form.

    Args:
        path: a path relative to the folder; nothing need be there.
        base: the folder.
    """
    spelt = base
    for part in path.parts:
        forms = (spelt / form for form in (part, nfc(part), unicodedata.normalize("NFD", part)))
        expected = next(filter(exists, forms), spelt / part)
        spelt = next(
            (found for found in _inside(expected, spelt) if nfc(found.name) == nfc(part)),
            expected,
        )
    return spelt


def fixed_folder(pattern: str) -> Path:
    """Return the part of a pattern before its first wildcard or placeholder."""
    parts = Path(pattern).parts[:-1]
    varying = next((n for n, part in enumerate(parts) if re.search(r"[*?\[{]", part)), len(parts))
    return Path(*parts[:varying])


def _set_folder(root: Path, layout: Layout) -> Path:
    """Return the folder of the set: the first root of the layout that contains a folder of photographs."""
    expected = dict.fromkeys(
        fixed_folder(folders.photographs) for folder_sets in layout.splits.values() for folders in folder_sets
    )
    for base in (root / below for below in layout.roots):
        if any(is_folder(base / folder) for folder in expected):
            return base
    if reason := next(filter(None, (obstacle(root / folder) for folder in expected)), None):
        raise DatasetError(f"{display_path(root)}: {reason}")
    folder_names = " or ".join(f"'{folder.as_posix()}'" for folder in expected)
    raise DatasetError(
        f"{display_path(root)}: not laid out as {layout.name}, because it has no folder {folder_names}; give "
        "the folder that the set was unpacked to, or another layout"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _MaskFolders:
    """The folders of masks of a set, each listed once."""

    base: Path
    """The folder of the set."""
    listings: dict[Path, dict[str, list[Path]]] = field(default_factory=dict)
    """Folder -> its masks by their names in NFC, with and without suffix; several may share a name."""
    unreadable: list[str] = field(default_factory=list)
    """Lines that name the folders, of masks or of photographs, that cannot be listed."""

    def find(self, pattern: str, name: str, folder: str) -> Path | None:
        """Return the mask of a photograph that a pattern of the layout names, or None if it is missing.

        Raises:
            DatasetError: the pattern names several files.
        """
        mask = self.base / pattern.format(name=name, folder=folder)
        if mask.parent not in self.listings:
            self.listings[mask.parent] = self._list(on_disk(mask.parent.relative_to(self.base), self.base))
        matching = self.listings[mask.parent].get(nfc(mask.name), [])
        if len(matching) > 1:
            raise DatasetError(
                f"{display_path(matching[1])}: a second mask beside {matching[0].name}; keep one of the two, "
                "or name the suffix of masks in the layout"
            )
        return matching[0] if matching else None

    def note_unreadable(self, error: OSError, folder: Path) -> None:
        """Note that a folder cannot be listed."""
        self.unreadable.append(
            f"{display_path(folder)}: the folder cannot be listed ({error.strerror}); ask for permission to "
            "read it"
        )

    def _list(self, folder: Path) -> dict[str, list[Path]]:
        by_stem: dict[str, list[Path]] = {}
        by_name: dict[str, list[Path]] = {}
        try:
            inside = sorted(folder.iterdir()) if is_folder(folder) else []
        except OSError as error:
            self.note_unreadable(error, folder)
            return {}
        for path in inside:
            if path.suffix.lower() in ENDINGS and not is_hidden(path.name) and is_file(path):
                by_stem.setdefault(nfc(path.stem), []).append(path)
                by_name.setdefault(nfc(path.name), []).append(path)
        return by_stem | by_name


def _inside(expected: Path, folder: Path) -> Iterable[Path]:
    """Return the expected path where it exists, else all paths of its folder."""
    if exists(expected):
        return (expected,)
    try:
        return sorted(folder.iterdir())
    except OSError:  # there is no such folder, or it may not be listed
        return (expected,)


def _folder_cases(masks: _MaskFolders, layout: Layout, folders: Folders) -> Iterator[Case]:
    """Yield the cases of one set of folders."""
    base = masks.base
    _note_unreadable_photographs(masks, folders.photographs)
    photographs = [path for path in _matches(base, folders.photographs) if path.suffix.lower() in SUFFIXES]
    if photographs and folders.masks and not any(True for _ in _mask_folders(base, folders)):
        expected = ", ".join(f"'{fixed_folder(names[0]).as_posix()}'" for names in folders.masks.values())
        raise DatasetError(
            f"{display_path(base)}: has photographs, but no folder of masks ({expected}); unpack the whole "
            "set"
        )
    listed = [_case(masks, layout, folders, path) for path in photographs]
    if not masks.unreadable:
        _require_matching_masks(base, folders, listed)
    mask_files = {mask for case in listed for mask in case.masks.values()}  # they may be beside photographs
    yield from (case for case in listed if case.photograph not in mask_files)


def _note_unreadable_photographs(masks: _MaskFolders, pattern: str) -> None:
    """Note the folders of photographs that cannot be listed: `Path.glob` leaves them out without a word."""
    is_deep = "**" in Path(pattern).parts

    def note(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):  # a set may lack a folder
            masks.note_unreadable(error, Path(error.filename))

    for _ in folders_below(masks.base / fixed_folder(pattern), note):
        if not is_deep:
            break


def _require_matching_masks(base: Path, folders: Folders, listed: Sequence[Case]) -> None:
    """Refuse masks if none belongs to a photograph: a misspelt pattern would make all eyes healthy."""
    if not listed or any(case.masks for case in listed):
        return
    photographs = {case.photograph for case in listed}
    for folder in _mask_folders(base, folders):
        for path in _files_below(folder):
            if path.suffix.lower() not in DOCUMENTS and path not in photographs:
                names = ", ".join(f"'{name}'" for names in folders.masks.values() for name in names)
                raise DatasetError(
                    f"{display_path(path)}: neither this file nor any other in its folder is the mask of a "
                    f"photograph; the layout names masks {names}, ending in {', '.join(sorted(ENDINGS))}: "
                    "correct it, or rename them"
                )


def _case(masks: _MaskFolders, layout: Layout, folders: Folders, path: Path) -> Case:
    """Return the case of a photograph."""
    below = path.relative_to(masks.base)
    folder = below.parent.relative_to(fixed_folder(folders.photographs))
    mask_files = {
        lesion: next(filter(None, (masks.find(name, path.stem, folder.as_posix()) for name in names)), None)
        for lesion, names in folders.masks.items()
    }
    eye = re.search(layout.eye, below.as_posix()) if layout.eye else None
    return Case(
        name=nfc("_".join((*folder.parts, path.stem))),
        photograph=path,
        masks={lesion: mask for lesion, mask in mask_files.items() if mask is not None},
        annotated=folders.annotated,
        eye=eye[1] if eye else None,
        lesion_from=layout.lesion_from,
        field=layout.field,
    )


def _matches(base: Path, pattern: str) -> list[Path]:
    """Return the files that a pattern matches, except hidden ones."""
    return [
        path
        for path in sorted(_glob(base, Path(pattern).parts))
        if not any(map(is_hidden, path.relative_to(base).parts)) and is_file(path)
    ]


def _glob(base: Path, parts: Sequence[str]) -> set[Path]:
    """Return the paths below a folder that a pattern matches; `**` follows links, unlike `Path.glob`."""
    if "**" not in parts:
        return set(base.glob("/".join(parts)))
    deep = parts.index("**")
    above, below = parts[:deep], parts[deep + 1 :]
    folders = filter(is_folder, base.glob("/".join(above))) if above else (base,)
    inside = {place for folder in folders for place in folders_below(folder)}
    return {path for place in inside for path in (_glob(place, below) if below else (place,))}


def folders_below(folder: Path, note: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """Yield a folder and all folders below it, except hidden ones.

    Links are followed, after the folders beside them; no folder is entered twice.

    Args:
        folder: the folder; it need not exist.
        note: called with the error of each folder that cannot be listed.
    """
    visited: set[str] = set()
    for place, inside, _ in os.walk(folder, onerror=note, followlinks=True):
        if (real := real_path(place)) in visited:
            inside.clear()
            continue
        visited.add(real)
        visible = [name for name in inside if not is_hidden(name)]
        inside[:] = sorted(visible, key=lambda name: ((Path(place) / name).is_symlink(), name))
        yield Path(place)


def _files_below(folder: Path) -> list[Path]:
    return _matches(folder, "**/*")


def _mask_folders(base: Path, folders: Folders) -> Iterator[Path]:
    """Yield the existing folders of masks."""
    for name in dict.fromkeys(name for names in folders.masks.values() for name in names):
        if is_folder(base / fixed_folder(name)):
            yield base / fixed_folder(name)


def _missing(base: Path, folders: Folders) -> dict[str, str]:
    """Return, for each lesion without any folder of masks, a line that names the folder."""
    missing = {}
    for lesion, names in folders.masks.items():
        expected = [base / fixed_folder(name) for name in names]
        if any(is_folder(folder) for folder in expected):
            continue
        beside = [path.name for path in _inside(expected[0], expected[0].parent) if is_folder(path)]
        alike = difflib.get_close_matches(expected[0].name, beside, 1)
        hint = f" (but '{alike[0]}' exists)" if alike else ""
        missing[lesion] = (
            f"{display_path(expected[0])}: no such folder{hint}, so {lesion} counts as absent from all "
            "photographs; unpack the whole set, or correct the folder's name"
        )
    return missing


def _files_beside_masks(base: Path, folders: Folders) -> Iterator[Path]:
    """Yield the files in the folders of masks that could be masks.

    In a folder that also holds photographs, only files whose names fit a pattern of masks are yielded.
    """
    photographs = base / fixed_folder(folders.photographs)
    for name in dict.fromkeys(name for names in folders.masks.values() for name in names):
        folder = base / fixed_folder(name)
        pattern = re.sub(r"\{\w+\}", "*", name)
        pattern = pattern if Path(name).suffix.lower() in ENDINGS else f"{pattern}.*"
        is_shared = photographs.is_relative_to(folder) or folder.is_relative_to(photographs)
        for path in _matches(base, pattern) if is_shared else _files_below(folder):
            if path.suffix.lower() not in DOCUMENTS and path.name.lower() not in SYSTEM_FILES:
                yield path


def _used_by_others(masks: _MaskFolders, layout: Layout, split: str) -> set[Path]:
    """Return the files that other splits use: their masks may be in the same folders."""
    used: set[Path] = set()
    for folders in (folders for name, sets in layout.splits.items() if name != split for folders in sets):
        for path in _matches(masks.base, folders.photographs):
            if path.suffix.lower() in SUFFIXES:
                case = _case(masks, layout, folders, path)
                used |= {case.photograph, *case.masks.values()}
    return used


def _orphans(left: set[Path], folder_sets: Sequence[Folders], listed: Iterable[Case]) -> set[Path]:
    """Return the files named like masks: they fit a pattern, or begin like the mask of a photograph."""
    names = {Path(name).name for folders in folder_sets for names in folders.masks.values() for name in names}
    patterns = [re.sub(r"\\\{\w+\\\}", ".*", re.escape(_without_suffix(name))) for name in names]
    stems = {case.photograph.stem for case in listed}
    beginnings = tuple(
        name_key(_without_suffix(name).format(name=stem, folder="")) for name in names for stem in stems
    )
    return {
        path
        for path in left
        if any(re.fullmatch(pattern, path.stem) for pattern in patterns)
        or name_key(path.stem).startswith(beginnings)
    }


def _without_suffix(name: str) -> str:
    """Return a pattern without the suffix of a mask."""
    return name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in ENDINGS else name


def _clash(first: Case, second: Case) -> str | None:
    """Return a line that says why two cases of one name cannot be merged; None if they can be.

    Raises:
        DatasetError: one of the photographs cannot be read.
    """
    name, earlier = display_path(second.photograph), display_path(first.photograph)
    is_beside = first.photograph.parent == second.photograph.parent
    if digest(first.photograph) != digest(second.photograph):
        return f"{name}: {earlier} is called {first.name} as well; rename one of them and its masks"
    if is_beside and first.photograph != second.photograph:
        return f"{name}: the same file as {earlier}; remove one of the two"
    for lesion in sorted(first.masks.keys() & second.masks.keys()):
        if first.masks[lesion] != second.masks[lesion]:
            return (
                f"{display_path(second.masks[lesion])}: {display_path(first.masks[lesion])} is a mask of the "
                "same photograph and lesion; keep one of the two"
            )
    return None


def _merge_cases(first: Case, second: Case) -> Case:
    """Return one case for a photograph that is in two folders, or is listed twice."""
    annotated = tuple(dict.fromkeys((*(first.annotated or ()), *(second.annotated or ()))))
    return replace(first, masks={**first.masks, **second.masks}, annotated=annotated)
