"""Is a set sound? Every photograph and every mask read once, one at a time, and told what is wrong.

Knows:   what spoils training or an evaluation: files that cannot be read, do not fit, or are there twice.
Ignores: how the answer is shown.

| wrong: the set must be mended         | to be looked at                                  |
|---------------------------------------|--------------------------------------------------|
| a photograph that cannot be read      | two photographs of what seems to be the same eye |
| no field found, where one should be   | a lesion that no photograph of a split has       |
| a mask that cannot be read            |                                                  |
| a mask of another size                |                                                  |
| a mask above 30 %                     |                                                  |
| a mask without photograph             |                                                  |
| the same file, or the same pixels, twice |                                               |

Shape letters: H W photograph.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from foveate import photographs
from foveate.datasets import Case, contact, facts, is_annotated, likeness, read_mask
from foveate.datasets.contact import Thumbnail
from foveate.datasets.facts import Amount, Facts
from foveate.datasets.folders import Layout, Listing, listing, present
from foveate.errors import FoveateError
from foveate.geometry import field_of_view
from foveate.types import Photograph


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """Something that is wrong, or that somebody should look at."""

    split: str
    what: str
    """One line that names the file, and the mend where there is one."""
    is_wrong: bool = True
    """Whether the set must be mended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """One photograph."""

    split: str
    case: Case
    facts: Facts | None
    """None where the photograph cannot be read."""
    troubles: tuple[Trouble, ...]
    """With this photograph and its masks alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Total:
    """One lesion over all photographs that could be read."""

    annotated: int
    """Photographs that were looked through for it."""
    having: int
    """Photographs that have it."""
    empty: int
    """Photographs whose mask is empty."""
    regions: int
    pixels: int
    share: float
    """Of the pixels of the photographs that were looked through for it."""
    largest: float
    """Largest share of one photograph."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a check found."""

    layout: Layout
    splits: tuple[str, ...]
    checked: tuple[Checked, ...]
    troubles: tuple[Trouble, ...]
    """With photographs alone, then with several of them."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing must be mended."""
        return not any(trouble.is_wrong for trouble in self.troubles)


Tell = Callable[[int, int, str], None]
"""Called with the number of photographs done, of all, and the name of the one just done."""

Keep = Callable[[int, bytes], None]
"""Called with the number of a contact sheet, from 1, and its JPEG."""


def check(
    root: Path,
    layout: Layout,
    splits: Sequence[str] = (),
    *,
    keep: Keep = lambda number, sheet: None,
    tell: Tell = lambda done, total, name: None,
) -> Report:
    """Read a set, one photograph at a time, and say what is wrong with it.

    Args:
        root: the set's folder.
        layout: how it should lie there.
        splits: to check; all that are there if none is given.
        keep: gets the contact sheets.
        tell: is told how far it is.

    Raises:
        DatasetError: the folder is not laid out so; what is wrong with single files is in the report.
    """
    chosen = tuple(splits) or present(root, layout)
    listed = {split: listing(root, layout, split) for split in chosen}
    checked: list[Checked] = []
    total = sum(len(one.cases) for one in listed.values())

    def thumbnails() -> Iterator[Thumbnail]:
        for split, one in listed.items():
            for case in one.cases:
                found, thumbnail = examine(case, layout, split)
                checked.append(found)
                tell(len(checked), total, case.name)
                yield thumbnail

    for number, sheet in enumerate(contact.sheets(thumbnails(), layout.kinds), 1):
        keep(number, contact.jpeg(sheet))
    troubles = [trouble for one in checked for trouble in one.troubles]
    troubles += [*_orphans(listed), *_doubles(checked), *_absent(checked, layout, chosen)]
    return Report(layout=layout, splits=chosen, checked=tuple(checked), troubles=tuple(troubles))


def examine(case: Case, layout: Layout, split: str) -> tuple[Checked, Thumbnail]:
    """Read one photograph and its masks; what is wrong with them is told, not raised."""
    wrong: list[str] = []
    try:
        photograph = photographs.read(case.photograph)
    except FoveateError as error:
        wrong.append(str(error))
        found, picture = None, contact.blank()
    else:
        masks = _masks(case, photograph, wrong)
        amounts = {
            code: facts.amount(masks.get(code))
            for code in layout.lesions
            if is_annotated(case, code) and (code in masks or code not in case.masks)
        }
        found = facts.told(case, photograph, amounts)
        picture = contact.thumbnail(photograph.pixels, masks, layout.kinds)
        if layout.field == "find":
            _require_field(photograph, wrong)
    troubles = tuple(Trouble(split=split, what=what) for what in wrong)
    return (
        Checked(split=split, case=case, facts=found, troubles=troubles),
        Thumbnail(name=case.name, picture=picture, is_wrong=bool(wrong)),
    )


def totals(report: Report) -> dict[str, Total]:
    """Add up each lesion."""
    return {lesion: _total(report.checked, lesion) for lesion in report.layout.lesions}


def sizes(report: Report) -> Counter[tuple[int, int]]:
    """Count photographs by (H, W)."""
    return Counter(one.facts.shape for one in report.checked if one.facts is not None)


def _masks(case: Case, photograph: Photograph, wrong: list[str]) -> dict[str, Bool[np.ndarray, "H W"]]:
    """Read a case's masks; appends what is wrong with those that cannot be used."""
    found = {}
    for code, path in case.masks.items():
        try:
            found[code] = read_mask(path, photograph.shape, case.lesion_from)
        except FoveateError as error:
            wrong.append(str(error))
    return found


def _require_field(photograph: Photograph, wrong: list[str]) -> None:
    try:
        field_of_view.find(photograph.pixels)
    except FoveateError as error:
        wrong.append(f"{photograph.source}: {error}")


def _orphans(listed: Mapping[str, Listing]) -> list[Trouble]:
    return [
        Trouble(
            split=split, what=f"{path}: a mask without its photograph; restore the photograph, or remove it"
        )
        for split, one in listed.items()
        for path in one.orphans
    ]


def _doubles(checked: Sequence[Checked]) -> list[Trouble]:
    """Say which photographs are there twice, and which seem to show the same eye."""
    read = [(one, one.facts) for one in checked if one.facts is not None]
    seen: dict[str, int] = {}
    troubles = []
    for index, (one, known) in enumerate(read):
        for digest, words in ((known.digest, "the same file as"), (known.levels, "the very pixels of")):
            if seen.setdefault(digest, index) != index:
                troubles.append(_pair(one, read[seen[digest]][0], words, is_wrong=True))
                break
    for low, high, like in likeness.pairs([known.fingerprint for _, known in read]):
        (one, first), (other, second) = read[low], read[high]
        if first.levels != second.levels and (first.eye is None or first.eye != second.eye):
            words = f"seems to show the same eye (likeness {like:.2f}) as"
            troubles.append(_pair(other, one, words, is_wrong=False))
    return troubles


def _pair(one: Checked, earlier: Checked, words: str, *, is_wrong: bool) -> Trouble:
    across = "" if one.split == earlier.split else f" (splits {earlier.split} and {one.split})"
    mend = "; remove one of the two" if is_wrong else "; keep both in one fold"
    what = f"{one.case.photograph}: {words} {earlier.case.photograph}{across}{mend}"
    return Trouble(split=one.split, what=what, is_wrong=is_wrong)


def _absent(checked: Sequence[Checked], layout: Layout, splits: Sequence[str]) -> list[Trouble]:
    found = []
    for split in splits:
        here = [one for one in checked if one.split == split]
        for lesion in layout.lesions:
            total = _total(here, lesion)
            if not total.having:
                what = f"{lesion} is in none of {total.annotated} photographs that were looked through for it"
                found.append(Trouble(split=split, what=f"split {split}: {what}", is_wrong=False))
    return found


def _total(checked: Sequence[Checked], lesion: str) -> Total:
    known = [one.facts for one in checked if one.facts is not None and lesion in one.facts.amounts]
    drawn: list[Amount] = [one.amounts[lesion] for one in known]
    areas = [one.shape[0] * one.shape[1] for one in known]
    pixels = sum(amount.pixels for amount in drawn)
    return Total(
        annotated=len(known),
        having=sum(amount.pixels > 0 for amount in drawn),
        empty=sum(amount.is_drawn and not amount.pixels for amount in drawn),
        regions=sum(amount.regions for amount in drawn),
        pixels=pixels,
        share=pixels / sum(areas) if areas else 0.0,
        largest=max((amount.pixels / area for amount, area in zip(drawn, areas, strict=True)), default=0.0),
    )
