"""Check a data set: read every photograph and every mask once and report what is wrong.

Knows:   what spoils training or an evaluation: files that cannot be read, do not fit, or occur twice.
Ignores: how the report is presented.

| wrong: the set must be corrected                 | doubtful: a person should look at it             |
|--------------------------------------------------|--------------------------------------------------|
| a photograph that cannot be read                 | two photographs that seem to show the same eye   |
| no field of view detected, where one is expected | a lesion that no photograph of a split has       |
| a mask that cannot be read                       |                                                  |
| a mask of another size than its photograph       |                                                  |
| a mask that covers more than 30 %                |                                                  |
| a mask without a photograph                      | other files in a folder of masks                 |
| no folder of masks for a lesion                  | a mask with several levels or colours            |
| the same file, or the same pixels, twice         |                                                  |
| different photographs, or masks, of one name     |                                                  |

Shape letters: H W photograph.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from foveate import photographs
from foveate.datasets import Case, contact, facts, is_annotated, likeness, masks, truth
from foveate.datasets.contact import Thumbnail
from foveate.datasets.facts import CaseFacts, LesionArea
from foveate.datasets.folders import Layout, SplitListing, list_split, present
from foveate.errors import FoveateError
from foveate.geometry import field_of_view
from foveate.paths import display_path
from foveate.types import Photograph
from foveate.wording import quantity
from foveate.writers import overlays


@dataclass(frozen=True, kw_only=True, slots=True)
class DataProblem:
    """Something that is wrong, or that a person should look at."""

    split: str
    """Name of the split."""
    message: str
    """One line that names the file, and the remedy where there is one."""
    is_wrong: bool = True
    """Whether the set must be corrected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedCase:
    """The result for one photograph."""

    split: str
    """Name of the split."""
    case: Case
    facts: CaseFacts | None
    """None where the photograph cannot be read."""
    problems: tuple[DataProblem, ...]
    """Problems of this photograph and its own masks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """Totals of one lesion over all photographs that could be read."""

    annotated: int
    """Photographs that were annotated for it."""
    present: int
    """Photographs that have it."""
    empty: int
    """Photographs whose mask is empty."""
    regions: int
    pixels: int
    share: float
    """Share of the pixels of the photographs that were annotated for it."""
    largest: float
    """Largest share in one photograph."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """The results of a check."""

    layout: Layout
    splits: tuple[str, ...]
    checked: tuple[CheckedCase, ...]
    problems: tuple[DataProblem, ...]
    """Problems of single photographs, then problems that concern several."""

    @property
    def is_sound(self) -> bool:
        """Whether the set needs no correction."""
        return not any(problem.is_wrong for problem in self.problems)


CheckProgress = Callable[[int, int, str], None]
"""Called with the number of photographs done, their total, and the name of the last one."""

SaveSheet = Callable[[int, bytes], None]
"""Called with the number of each contact sheet, counted from 1, and its JPEG bytes."""


def check(
    root: Path,
    layout: Layout,
    splits: Sequence[str] = (),
    *,
    save_sheet: SaveSheet = lambda number, jpeg: None,
    progress: CheckProgress = lambda done, total, name: None,
) -> CheckReport:
    """Read a set, one photograph at a time, and report what is wrong with it.

    Args:
        root: folder of the set.
        layout: the expected layout of the set.
        splits: the splits to check; if empty, all splits that are present.
        save_sheet: receives the contact sheets.
        progress: called after each photograph.

    Raises:
        DatasetError: the folder does not have this layout. Problems of single files are reported, not raised.
    """
    split_names = tuple(splits) or present(root, layout)
    listings = {split: list_split(root, layout, split) for split in split_names}
    checked: list[CheckedCase] = []
    total = sum(len(listing.cases) for listing in listings.values())

    def thumbnails() -> Iterator[Thumbnail]:
        for split, listing in listings.items():
            for case in listing.cases:
                result, thumbnail = check_case(case, layout, split)
                checked.append(result)
                progress(len(checked), total, case.name)
                yield thumbnail

    for number, page in enumerate(contact.contact_sheets(thumbnails(), layout.kinds), 1):
        save_sheet(number, overlays.jpeg(page))
    problems = [problem for result in checked for problem in result.problems]
    problems += [
        *_folder_problems(listings),
        *_duplicates(checked),
        *_absent_lesions(checked, layout, split_names),
    ]
    return CheckReport(layout=layout, splits=split_names, checked=tuple(checked), problems=tuple(problems))


def check_case(case: Case, layout: Layout, split: str) -> tuple[CheckedCase, Thumbnail]:
    """Read one photograph and its masks; problems are returned, not raised."""
    wrong: list[str] = []
    doubtful: list[str] = []
    try:
        photograph = photographs.read(case.photograph)
    except FoveateError as error:
        wrong.append(str(error))
        facts_of_case, picture = None, contact.blank()
    else:
        planes = _masks(case, photograph, wrong, doubtful)
        areas = {
            code: facts.lesion_area(planes.get(code))
            for code in layout.lesions
            if is_annotated(case, code) and (code in planes or code not in case.masks)
        }
        facts_of_case = facts.of_photograph(case, photograph, areas)
        picture = contact.thumbnail(photograph.pixels, planes, layout.kinds)
        if layout.field == "find":
            _require_field(photograph, wrong)
    problems = tuple(
        DataProblem(split=split, message=message, is_wrong=is_wrong)
        for messages, is_wrong in ((wrong, True), (doubtful, False))
        for message in messages
    )
    return (
        CheckedCase(split=split, case=case, facts=facts_of_case, problems=problems),
        Thumbnail(name=case.name, picture=picture, is_wrong=bool(wrong)),
    )


def require_readable(
    cases: Sequence[Case],
    lesions: Sequence[str],
    progress: CheckProgress = lambda done, total, name: None,
) -> None:
    """Read each photograph and its masks, and stop at the first that would later end hours of work.

    All pixels are read, since only they show a damaged file; that takes a small part of a prediction's time.

    Args:
        cases: the photographs.
        lesions: lesions whose masks will be read, where a photograph was annotated for them.
        progress: called after each photograph.

    Raises:
        PhotographError: a photograph cannot be read.
        DatasetError: a mask is refused, as by `read_mask`.
    """
    for done, case in enumerate(cases, start=1):
        annotated = tuple(lesion for lesion in lesions if is_annotated(case, lesion))
        truth(case, annotated, photographs.read(case.photograph).shape)
        progress(done, len(cases), case.name)


def doubtful_masks(
    cases: Sequence[Case],
    lesions: Sequence[str],
    progress: CheckProgress = lambda done, total, name: None,
) -> str:
    """Return a line on the masks whose levels may not all be lesion; empty if there are none.

    All masks are read. Masks that cannot be used are left to whoever uses them.

    Args:
        cases: the photographs.
        lesions: lesions whose masks are used.
        progress: called after each photograph.
    """
    doubts = []
    for done, case in enumerate(cases, start=1):
        for path in (case.masks[lesion] for lesion in lesions if lesion in case.masks):
            with suppress(FoveateError):
                if (doubt := masks.ambiguity(masks.load(path), case.lesion_from)) is not None:
                    doubts.append(f"{display_path(path)}: {doubt}")
        progress(done, len(cases), case.name)
    if not doubts:
        return ""
    total = quantity(len(doubts), "mask needs", "masks need")
    return f"{doubts[0]} ({total} a look: 'foveate data check' lists them)"


def lesion_totals(report: CheckReport) -> dict[str, Totals]:
    """Return the totals of each lesion."""
    return {lesion: _lesion_totals(report.checked, lesion) for lesion in report.layout.lesions}


def size_counts(report: CheckReport) -> Counter[tuple[int, int]]:
    """Return the number of photographs of each (H, W)."""
    return Counter(result.facts.shape for result in report.checked if result.facts is not None)


def _masks(
    case: Case, photograph: Photograph, wrong: list[str], doubtful: list[str]
) -> dict[str, Bool[np.ndarray, "H W"]]:
    """Read the masks of a case.

    Args:
        case: the case.
        photograph: its photograph.
        wrong: receives the errors of masks that cannot be used.
        doubtful: receives a line for each mask whose levels may not all be lesion.
    """
    usable = {}
    for code, path in case.masks.items():
        try:
            mask = masks.load(path)
            usable[code] = masks.fit(mask, photograph.shape, case.lesion_from)
        except FoveateError as error:
            wrong.append(str(error))
            continue
        if (doubt := masks.ambiguity(mask, case.lesion_from)) is not None:
            doubtful.append(f"{display_path(path)}: {doubt}")
    return usable


def _require_field(photograph: Photograph, wrong: list[str]) -> None:
    try:
        field_of_view.find(photograph.pixels)
    except FoveateError as error:
        wrong.append(f"{display_path(photograph.source)}: {error}")


def _folder_problems(listings: Mapping[str, SplitListing]) -> list[DataProblem]:
    """Return the problems of the folders of masks; a folder that several splits share is reported once."""
    problems: dict[str, DataProblem] = {}
    for split, listing in listings.items():
        wrong = (*listing.unreadable, *listing.clashes, *listing.missing.values())
        lines = [(line, True) for line in wrong]
        lines += [
            (
                f"{display_path(path)}: a mask without a photograph; restore the photograph, correct the "
                "mask's name, or remove the mask",
                True,
            )
            for path in listing.orphans
        ]
        lines += [
            (
                f"{display_path(path)}: in a folder of masks, but not named as the layout names masks; "
                "correct the name, or remove the file",
                False,
            )
            for path in listing.unused
        ]
        for line, is_wrong in lines:
            problems.setdefault(line, DataProblem(split=split, message=line, is_wrong=is_wrong))
    return list(problems.values())


def _duplicates(checked: Sequence[CheckedCase]) -> list[DataProblem]:
    """Return the photographs that occur twice, and those that seem to show the same eye."""
    read = [(result, result.facts) for result in checked if result.facts is not None]
    first_with: dict[str, int] = {}
    problems = []
    for index, (result, facts_of_case) in enumerate(read):
        for digest, relation in (
            (facts_of_case.digest, "the same file as"),
            (facts_of_case.levels, "the same pixels as"),
        ):
            if first_with.setdefault(digest, index) != index:
                problems.append(_duplicate(result, read[first_with[digest]][0], relation, is_wrong=True))
                break
    for low, high, like in likeness.pairs([facts_of_case.fingerprint for _, facts_of_case in read]):
        (earlier, first), (later, second) = read[low], read[high]
        if first.levels != second.levels and (first.eye is None or first.eye != second.eye):
            relation = f"seems to show the same eye (likeness {like:.2f}) as"
            problems.append(_duplicate(later, earlier, relation, is_wrong=False))
    return problems


def _duplicate(later: CheckedCase, earlier: CheckedCase, relation: str, *, is_wrong: bool) -> DataProblem:
    across = "" if later.split == earlier.split else f" (splits {earlier.split} and {later.split})"
    remedy = "; remove one of the two" if is_wrong else "; keep both in one fold"
    paths = [display_path(result.case.photograph) for result in (later, earlier)]
    message = f"{paths[0]}: {relation} {paths[1]}{across}{remedy}"
    return DataProblem(split=later.split, message=message, is_wrong=is_wrong)


def _absent_lesions(
    checked: Sequence[CheckedCase], layout: Layout, splits: Sequence[str]
) -> list[DataProblem]:
    problems = []
    for split in splits:
        in_split = [result for result in checked if result.split == split]
        for lesion in layout.lesions:
            total = _lesion_totals(in_split, lesion)
            if not total.present:
                message = f"split {split}: {_absence(lesion, total.annotated)}"
                problems.append(DataProblem(split=split, message=message, is_wrong=False))
    return problems


def _absence(lesion: str, annotated: int) -> str:
    """Return what a person is told of a lesion that no photograph has."""
    if not annotated:
        return f"no usable photograph is annotated for {lesion}"
    if annotated == 1:
        return f"the only photograph annotated for {lesion} does not have it"
    return f"none of the {annotated:,} photographs annotated for {lesion} has it"


def _lesion_totals(checked: Sequence[CheckedCase], lesion: str) -> Totals:
    with_facts = [
        result.facts for result in checked if result.facts is not None and lesion in result.facts.areas
    ]
    areas: list[LesionArea] = [case.areas[lesion] for case in with_facts]
    sizes = [case.shape[0] * case.shape[1] for case in with_facts]
    pixels = sum(area.pixels for area in areas)
    return Totals(
        annotated=len(with_facts),
        present=sum(area.pixels > 0 for area in areas),
        empty=sum(area.has_mask and not area.pixels for area in areas),
        regions=sum(area.regions for area in areas),
        pixels=pixels,
        share=pixels / sum(sizes) if sizes else 0.0,
        largest=max((area.pixels / size for area, size in zip(areas, sizes, strict=True)), default=0.0),
    )
