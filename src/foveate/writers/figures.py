"""Draw pictures of a result as arrays: the photograph with outlines, and a figure with a legend.

Knows:   how a map becomes regions and outlines, and how pictures and legend are laid out.
Ignores: files, and where the pictures are shown.

Shape letters: H W photograph, h w picture, S rows of the legend.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from foveate import lesions
from foveate.analysis import regions
from foveate.errors import SettingError
from foveate.geometry import canvas
from foveate.lesions import Lesion
from foveate.types import LevelMap
from foveate.version import version
from foveate.writers import contours, maps, overlays, tables
from foveate.writers.overlays import Caption, OutlinedArea
from foveate.writers.results import NOTICE, LesionSummary, PhotographResult, Provenance, minimum_area

GAP = 0.01
"""Space between the two pictures of a figure, as a share of its width."""

NARROWEST = 320
"""Smallest width of a figure, px: a narrower one has no room for the legend."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultOutlines:
    """The data of all lesions that pictures of a result need in addition to the photograph."""

    content: tables.Document
    """The photograph's JSON."""
    areas: tuple[OutlinedArea, ...]
    """One for each lesion, in the model's order."""


def summarise(
    result: PhotographResult, lesion: Lesion, stored: LevelMap, model: LevelMap | None = None
) -> tuple[LesionSummary, Bool[np.ndarray, "H W"]]:
    """Return the regions of a lesion's stored map, with the threshold and area that define them.

    Args:
        result: the result.
        lesion: the lesion.
        stored: its map, with corrections if a person has made some.
        model: the model's map, of which probabilities are stated, if that is another one.

    Returns:
        The regions, and the mask: the pixels at or above the threshold, specks included.
    """
    request, decision = result.request, result.decisions[lesion.code]
    level = maps.level(decision.threshold, request.format)
    smallest = minimum_area(decision, result.probabilities.frame)
    mask = stored >= level
    summary = LesionSummary(
        decision=decision,
        level=level,
        minimum_area=smallest,
        mask_px=int(np.count_nonzero(mask)),
        regions=regions.find(stored, level, lesion.code, smallest, result.photograph.spacing, measured=model),
    )
    return summary, mask


def outlines(result: PhotographResult) -> ResultOutlines:
    """Return the outlines of all lesions; one map at a time is held in memory."""
    summaries, areas = {}, []
    for lesion in lesions.of(result.lesions):
        stored = maps.native_levels(result.probabilities, lesion.code, result.request.format)
        summary, mask = summarise(result, lesion, stored)
        areas.append(overlays.outlined_area(contours.trace(mask, summary.regions), lesion))
        summaries[lesion.code] = summary
    return ResultOutlines(content=tables.document(result, summaries), areas=tuple(areas))


def captions(content: tables.Document, areas: Sequence[OutlinedArea]) -> list[Caption]:
    """Return the entries of the legend."""
    entries = content["lesions"]
    return [Caption(lesion=area.lesion, text=tables.caption(entries[area.lesion.code])) for area in areas]


def small_print(provenance: Provenance, *remarks: str) -> str:
    """Return the line below the legend: versions, remarks, and that this is not a medical device."""
    made_by = (f"Foveate {version()}", f"model {provenance.name} {provenance.version}", *remarks)
    return f"{', '.join(made_by)}. {NOTICE}"


def overlay(pixels: UInt8[np.ndarray, "H W 3"], traced: ResultOutlines) -> UInt8[np.ndarray, "H W 3"]:
    """Return the photograph with all outlines, without a legend."""
    return overlays.draw(pixels, traced.areas, np.empty((0, pixels.shape[1], 3), np.uint8))


def figure(
    pixels: UInt8[np.ndarray, "H W 3"], traced: ResultOutlines, provenance: Provenance, width: int
) -> UInt8[np.ndarray, "h {width} 3"]:
    """Return the photograph without and with outlines, side by side, and the legend below.

    Raises:
        SettingError: the width is below `NARROWEST`.
    """
    if width < NARROWEST:
        raise SettingError(
            f"a figure of {width} px is too narrow for its legend; give {NARROWEST} px or more"
        )
    gap = max(1, round(GAP * width))
    sides = ((width - gap) // 2, width - gap - (width - gap) // 2)
    height = max(1, round(sides[0] * pixels.shape[0] / pixels.shape[1]))
    plain, outlined = (
        canvas.resample(picture, (height, side))
        for picture, side in zip((pixels, overlay(pixels, traced)), sides, strict=True)
    )
    space = np.full((height, gap, 3), overlays.GROUND, np.uint8)
    legend = overlays.legend(width, captions(traced.content, traced.areas), small_print(provenance))
    return np.concatenate([np.concatenate([plain, space, outlined], axis=1), legend])
