"""Photographs held back -> where LocalNet needs to look at less than full effort.

Knows:   by which rule cut-offs are chosen, and what the choice costs in average precision.
Ignores: how a window's interest is worked out, and how networks run.

The rule, our choice (docs/decisions/0014-gaze.md): of SHARES the smallest share of each lesion's drawn area
that the cells looked at must hold, such that no lesion's average precision falls by more than an effort's
limit. Maps are compared at 8 bits, as they are written by default.

Shape letters: H W photograph, h w canvas, N cells, L levels of a map.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import get_args

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from foveate import metrics, photographs
from foveate.analysis import window_selection
from foveate.datasets import Case, truth
from foveate.engines import Engine
from foveate.errors import DatasetError
from foveate.geometry import canvas
from foveate.inference.pipeline import Segmentation, Settings, glimpsed, segment
from foveate.models import Package
from foveate.types import Effort, Gaze, Glances, Interest, Spots
from foveate.writers.maps import Stored, quantise

LEVELS = 256
"""Of an 8-bit map."""

SHARES = (0.99, 0.98, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4)
"""Of a lesion's drawn area, that are tried."""

GLANCES: Glances = 4
"""At less than full effort, where full effort takes more: as good as eight (decision 0014)."""

SAVING = 0.9
"""Spots count only where the cells are fewer than this share of those without them: less is chance."""

NEVER = -1e9
"""A cut-off that every cell reaches; the opposite is one that none does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """By how much the average precision of a lesion may fall."""

    most: float
    of: Mapping[str, float]
    """Lesion code -> another limit."""

    def met(self, losses: Mapping[str, float]) -> bool:
        """Say whether no lesion loses more than it may."""
        return all(loss <= self.of.get(lesion, self.most) for lesion, loss in losses.items())


LIMITS: Mapping[Effort, Limit] = MappingProxyType(
    {
        "balanced": Limit(
            most=0.005, of={"MA": 0.01}
        ),  # what a second look at the same photograph may change
        "fast": Limit(most=0.015, of={"MA": 0.03}),
    }
)
"""By effort."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Glimpsed:
    """One photograph held back: what calls for a look at each cell, and what a look brings there."""

    name: str
    """Of the case."""
    coarse: Mapping[str, Float32[np.ndarray, " N"]]
    """Lesion -> GlobalNet's largest probability in each cell."""
    standing_out: Float32[np.ndarray, "N 2"]
    """Of the dark and the bright spot that stand out most."""
    area: Mapping[str, Int64[np.ndarray, " N"]]
    """Lesion -> drawn pixels in each cell."""
    looked: Mapping[str, Int64[np.ndarray, "N 2 L"]]
    """Lesion -> lesion and other pixels of each cell by level, in the map of a close look."""
    glanced: Mapping[str, Int64[np.ndarray, "N 2 L"]]
    """The same in GlobalNet's map."""
    full: Mapping[str, Int64[np.ndarray, "2 L"]]
    """The same of all cells at full effort."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What looking at some cells only comes to, photographs pooled."""

    share: float
    """Of the cells, looked at."""
    kept: Mapping[str, float]
    """Lesion -> share of its drawn area in the cells looked at; lesions without any are left out."""
    losses: Mapping[str, float]
    """Lesion -> by how much its average precision falls below that at full effort."""


def choose(
    package: Package,
    engine: Engine,
    cases: Sequence[Case],
    tell: Callable[[str], None] = lambda name: None,
) -> dict[Effort, Gaze]:
    """Choose where to look at less than full effort.

    Args:
        package: the model; what its manifest says of gaze does not count.
        engine: that runs it.
        cases: photographs that it did not learn from, with their masks.
        tell: called with the name of each photograph that was looked at.

    Returns:
        Effort -> gaze; an effort is missing where no share of SHARES keeps within its limit.

    Raises:
        DatasetError: there is no photograph.
        FoveateError: a photograph or mask cannot be used.
    """
    return chosen(list(glimpses(package, engine, cases, tell)), glances(package))


def glimpses(
    package: Package,
    engine: Engine,
    cases: Sequence[Case],
    tell: Callable[[str], None] = lambda name: None,
) -> Iterator[Glimpsed]:
    """Look at each photograph twice, at full effort and with few glances at every cell; count pixels."""
    for case in cases:
        yield _glimpsed(package, engine, case)
        tell(case.name)


def chosen(seen: Sequence[Glimpsed], ways: Glances) -> dict[Effort, Gaze]:
    """Choose cut-offs by the rule; see `choose`.

    Args:
        seen: the photographs held back.
        ways: how often GlobalNet glanced at them.

    Raises:
        DatasetError: there is no photograph.
    """
    if not seen:
        raise DatasetError("no photograph held back to choose where to look on; give a split with some")
    tried = {share: cutoffs(seen, share) for share in SHARES}
    losses = {share: outcome(seen, interests).losses for share, interests in tried.items()}
    found: dict[Effort, Gaze] = {}
    for effort, limit in LIMITS.items():
        good = [share for share in SHARES if limit.met(losses[share])]
        if good:
            found[effort] = Gaze(glances=ways, interests=MappingProxyType(tried[min(good)]))
    return found


def cutoffs(seen: Sequence[Glimpsed], share: float) -> dict[str, Interest]:
    """Return, for each lesion, the spots and the cut-off that keep a share of its drawn area in fewest cells.

    A lesion that no photograph shows calls for nothing that the others do not.
    """
    return {lesion: _cutoff(seen, lesion, share) for lesion in seen[0].coarse}


def outcome(seen: Sequence[Glimpsed], interests: Mapping[str, Interest]) -> Outcome:
    """Return what looking where some interests call comes to."""
    return pooled(seen, [window_selection.worth(one.coarse, one.standing_out, interests) for one in seen])


def pooled(seen: Sequence[Glimpsed], visits: Sequence[Bool[np.ndarray, " N"]]) -> Outcome:
    """Return what looking at some cells comes to.

    Args:
        seen: the photographs.
        visits: which cells of each are looked at.
    """
    kept, losses = {}, {}
    for lesion in seen[0].coarse:
        area = sum(int(one.area[lesion].sum()) for one in seen)
        full = _precision(np.sum([one.full[lesion] for one in seen], axis=0))
        if area == 0 or full is None:
            continue
        mixed = [
            one.looked[lesion][visit].sum(axis=0) + one.glanced[lesion][~visit].sum(axis=0)
            for one, visit in zip(seen, visits, strict=True)
        ]
        held = sum(int(one.area[lesion][visit].sum()) for one, visit in zip(seen, visits, strict=True))
        kept[lesion] = held / area
        losses[lesion] = full - (_precision(np.sum(mixed, axis=0)) or 0.0)
    cells = sum(len(visit) for visit in visits)
    return Outcome(share=sum(int(visit.sum()) for visit in visits) / cells, kept=kept, losses=losses)


def crossed(seen: Sequence[Glimpsed], effort: Effort) -> Outcome | None:
    """Return what an effort comes to where each photograph's cut-offs are chosen on the others.

    Returns:
        None where the others allow no such effort for some photograph.
    """
    visits = []
    for number, one in enumerate(seen):
        others = chosen([*seen[:number], *seen[number + 1 :]], GLANCES)
        if effort not in others:
            return None
        visits.append(window_selection.worth(one.coarse, one.standing_out, others[effort].interests))
    return pooled(seen, visits)


def _cutoff(seen: Sequence[Glimpsed], lesion: str, share: float) -> Interest:
    """Return the spots and the cut-off of one lesion."""
    area = np.concatenate([one.area[lesion] for one in seen])
    if not area.any():
        return Interest(cutoff=-NEVER)
    best: tuple[float, Interest] | None = None
    for spots in get_args(Spots):  # 'none' comes first
        called = np.concatenate([_interest(one, lesion, spots) for one in seen])
        order = np.argsort(-called, kind="stable")
        enough = int(np.searchsorted(np.cumsum(area[order]), math.ceil(share * area.sum())))
        cutoff = math.floor(called[order[enough]] * 1e4) / 1e4  # as short in the manifest as it is sure
        cells = int(np.count_nonzero(called >= cutoff))
        if best is None or cells < best[0]:
            worth_more = SAVING if spots == "none" else 1.0
            best = worth_more * cells, Interest(cutoff=cutoff, spots=spots)
    assert best is not None
    return best[1]


def _interest(one: Glimpsed, lesion: str, spots: Spots) -> Float64[np.ndarray, " N"]:
    return window_selection.interest(one.coarse[lesion], one.standing_out, spots)


def glances(package: Package) -> Glances:
    """Return how often GlobalNet glances at less than full effort."""
    return GLANCES if package.contract.glances > GLANCES else package.contract.glances


def _glimpsed(package: Package, engine: Engine, case: Case) -> Glimpsed:
    """Look at one photograph twice and count."""
    photograph = photographs.read(case.photograph)
    codes = package.contract.lesions
    everywhere = Gaze(glances=glances(package), interests=dict.fromkeys(codes, Interest(cutoff=NEVER)))
    full = segment(photograph, package, engine)
    close = segment(
        photograph, replace(package, gazes={"balanced": everywhere}), engine, Settings(effort="balanced")
    )
    calls, glanced = glimpsed(photograph, package, engine, everywhere.glances)
    planes = _on_canvas(truth(case, codes, photograph.shape), full)
    divided = calls.divided
    index = _cell_of_each_pixel(divided, full.probabilities.frame.shape)
    counts = {
        name: {
            lesion: _counted(quantise(maps[number], "png"), planes[number], index, len(divided.first))
            for number, lesion in enumerate(codes)
        }
        for name, maps in (
            ("looked", close.probabilities.maps),
            ("glanced", glanced),
            ("full", full.probabilities.maps),
        )
    }
    return Glimpsed(
        name=case.name,
        coarse=calls.coarse,
        standing_out=calls.standing_out,
        area={lesion: each[:, 0].sum(axis=1) for lesion, each in counts["looked"].items()},
        looked=counts["looked"],
        glanced=counts["glanced"],
        full={lesion: each.sum(axis=0) for lesion, each in counts["full"].items()},
    )


def _on_canvas(planes: Bool[np.ndarray, "K H W"], seen: Segmentation) -> Bool[np.ndarray, "K h w"]:
    """Bring masks to the canvas: a pixel is lesion where half of it is."""
    frame = seen.probabilities.frame
    cut = planes[(slice(None), *frame.box.slices)].astype(np.uint8)
    return np.stack([canvas.resample(plane * np.uint8(255), frame.shape) > 127 for plane in cut])


def _cell_of_each_pixel(divided: window_selection.Cells, shape: tuple[int, int]) -> Int64[np.ndarray, "h w"]:
    """Return the number of each pixel's cell; one more than there are where it is in none."""
    index = np.full(shape, len(divided.first), np.int64)
    for number, ((top, left), (bottom, right)) in enumerate(zip(divided.first, divided.last, strict=True)):
        index[top:bottom, left:right] = number
    return index


def _counted(
    levels: Stored,
    plane: Bool[np.ndarray, "h w"],
    index: Int64[np.ndarray, "h w"],
    cells: int,
) -> Int64[np.ndarray, "N 2 L"]:
    """Count lesion and other pixels by cell and level."""
    places = index * LEVELS + levels
    size = (cells + 1) * LEVELS
    every = np.bincount(places.ravel(), minlength=size)
    lesion = np.bincount(places[plane], minlength=size)
    return np.stack([lesion, every - lesion]).reshape(2, cells + 1, LEVELS)[:, :cells].swapaxes(0, 1)


def _precision(counts: Int64[np.ndarray, "2 L"]) -> float | None:
    """Return the average precision of an 8-bit map's counts."""
    floors = metrics.thresholds.floors(np.dtype(np.uint8))
    return metrics.average_precision(metrics.Counts(positives=counts[0], negatives=counts[1], floors=floors))
