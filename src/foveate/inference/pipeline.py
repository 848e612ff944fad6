"""One photograph from pixels to probabilities: the order of the steps and nothing else.

Knows:   which step follows which, and what a person may choose.
Ignores: how any step is done, where photographs come from and where results go.

Shape letters: H W photograph, h w canvas, h2 w2 padded to whole steps, N windows, S T sides of a window,
K lesions, V view side, C channels of the global features.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped, UInt8, UInt16

from foveate import lesions
from foveate.analysis import quality, window_selection
from foveate.concurrency import ahead
from foveate.engines import Engine, Glance
from foveate.errors import FieldError, GeometryError, LesionError, SettingError
from foveate.geometry import canvas, dihedral, feature_sampling, field_of_view, stitching
from foveate.geometry.tiling import Tiling, cover_field, extract_windows, regular_grid
from foveate.inference.preprocessing import prepare
from foveate.models import Package
from foveate.types import (
    Box,
    Contract,
    Decision,
    Effort,
    Field,
    FieldRule,
    Frame,
    Gaze,
    Glances,
    Part,
    Photograph,
    Probabilities,
)

BATCH = 4
"""Windows of the size trained on that are looked at together; more of them gain nothing."""

SHARED = 64
"""Canvas px that larger windows share at least: half of it is more than the rim of a window that its network
sees amiss (docs/results/windows.md)."""

LARGEST_WINDOW = 512 * 1024
"""Pixels of a larger window. Larger ones gain nothing, and each takes memory: some 0.4 GB a megapixel."""

LARGEST_CANVAS = 120_000_000
"""Pixels, as many as the largest photograph that is read: a small field in a large one would be blown up."""

FieldChoice = Literal["auto", "full"] | tuple[float, float, float]
"""As the model was trained, the whole photograph, or a disc: (row, column, radius), px of the photograph."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a person may choose; everything else is the model package's."""

    part: Part | None = None
    """Which part of the photograph is looked at, None for the part that the model was trained on."""
    field: FieldChoice = "auto"
    """Where the field of view is."""
    lesions: tuple[str, ...] | None = None
    """Codes to report, None for all that the model knows."""
    thresholds: Mapping[str, float] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    """Lesion code -> probability in (0, 1], in place of the package's own."""
    effort: Effort = "full"
    """How much of the photograph LocalNet looks at."""


DEFAULTS = Settings()
"""Nothing chosen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segmentation:
    """What the network sees in one photograph."""

    photograph: Photograph
    field: Field
    """Where it was found, or as it was given; px of the photograph."""
    probabilities: Probabilities
    """Of the reported lesions, at the model's scale."""
    tiling: Tiling
    """The windows that were looked at, canvas px."""
    quality: tuple[str, ...]
    """Codes of what may make the result unreliable; empty if nothing does."""
    decisions: Mapping[str, Decision]
    """One a reported lesion, in the model's order, the chosen thresholds applied."""
    package: Package
    """The model."""
    engine: str
    """What computed, and how precisely: `Engine.label`."""
    settings: Settings
    """What was chosen."""


def segment(
    photograph: Photograph,
    package: Package,
    engine: Engine,
    settings: Settings = DEFAULTS,
    *,
    watch: Callable[[float], None] = lambda share: None,
) -> Segmentation:
    """Look at one photograph: once at the whole, then closely, window by window.

    Windows that show nothing of the field are never computed.

    Args:
        photograph: as read.
        package: says at what scale and how the network looks.
        engine: runs the package's network.
        settings: what a person chose.
        watch: called with the share of the windows that are done, up to 1.

    Raises:
        LesionError: a lesion is unknown to the model.
        SettingError: a threshold is out of its range, or of a lesion that is not reported.
        FieldError: no field of view is found, or the one given makes no sense.
        GeometryError: the photograph, at the model's scale, is too small or too large to look at.
        PackageError: the engine fails.

    Source: Yan et al. 2019, section 2.
    """
    decided = decisions(package, settings)
    contract, wanted = package.contract, chosen_gaze(package, settings.effort)
    laid = _laid(photograph, settings, contract)
    tiling = tiled(laid.inside, laid.frame.shape, contract)
    glance = _glance(engine, laid, contract, contract.glances if wanted is None else wanted.glances)
    scene = _Scene(glance=glance, shape=laid.frame.shape, contract=contract)
    if wanted is not None:
        tiling = _called(laid, scene, wanted)
    channels = [contract.lesions.index(code) for code in decided]

    def looks() -> Iterator[Float32[np.ndarray, "N K S T"]]:
        together = BATCH if contract.step is None else 1
        starts = range(0, len(tiling.corners), together)
        batches = [replace(tiling, corners=tiling.corners[start : start + together]) for start in starts]
        done = 0
        with ahead(_work(laid.picture, batch, scene) for batch in batches) as prepared:
            for work in prepared:
                yield engine.look(*work)[:, channels]
                done += len(work[0])
                watch(done / len(tiling.corners))

    beneath = None
    if wanted is not None:
        beneath = stitching.Beneath(maps=glance.probabilities[channels], shape=laid.frame.shape)
    with ahead(looks()) as looked:
        maps = stitching.stitch(looked, tiling.corners, _shape(laid.picture), laid.inside, beneath)
    return Segmentation(
        photograph=photograph,
        field=laid.seen,
        probabilities=Probabilities(
            lesions=tuple(decided), maps=_unpadded(maps, laid.frame), frame=laid.frame, shape=photograph.shape
        ),
        tiling=tiling,
        quality=quality.assess(photograph, laid.seen),
        decisions=decided,
        package=package,
        engine=engine.label,
        settings=settings,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Calls:
    """What calls for a close look at the parts of a photograph."""

    divided: window_selection.Cells
    """The parts."""
    coarse: Mapping[str, Float32[np.ndarray, " N"]]
    """Lesion -> GlobalNet's largest probability in each cell."""
    standing_out: Float32[np.ndarray, "N 2"]
    """Of the dark and the bright spot in each cell that stand out most."""


def glimpsed(
    photograph: Photograph, package: Package, engine: Engine, glances: Glances
) -> tuple[Calls, UInt16[np.ndarray, "K h w"]]:
    """Glance at a photograph without looking closely anywhere.

    Returns:
        What calls for a close look, and GlobalNet's own maps: on the canvas, probability times 65535, 0
        outside the field.

    Raises:
        FieldError, GeometryError, PackageError: as `segment`.
    """
    contract = package.contract
    laid = _laid(photograph, DEFAULTS, contract)
    glance = _glance(engine, laid, contract, glances)
    coarse = stitching.Beneath(maps=glance.probabilities, shape=laid.frame.shape)
    maps = stitching.stitch([], np.zeros((0, 2), np.int64), _shape(laid.picture), laid.inside, coarse)
    calls = _calls(laid, _Scene(glance=glance, shape=laid.frame.shape, contract=contract))
    return calls, _unpadded(maps, laid.frame)


def chosen_gaze(package: Package, effort: Effort) -> Gaze | None:
    """Return where LocalNet looks at an effort; None for everywhere.

    Raises:
        SettingError: the package does not say.
    """
    if effort == "full":
        return None
    if effort not in package.gazes:
        there = ", ".join(("full", *package.gazes))
        raise SettingError(
            f"model {package.name} {package.version} does not say where to look at effort {effort}; "
            f"choose --effort {there}"
        )
    return package.gazes[effort]


def decisions(package: Package, settings: Settings) -> Mapping[str, Decision]:
    """Return how each reported lesion's map becomes regions: the package's decisions, the chosen thresholds.

    Raises:
        LesionError: a lesion is unknown to the model, or none is left.
        SettingError: a threshold is out of its range, or of a lesion that is not reported.
    """
    known = package.contract.lesions
    codes = known if settings.lesions is None else lesions.chosen(settings.lesions, known)
    if not codes:
        raise LesionError(f"no lesion is asked for; choose among {', '.join(known)}")
    lesions.chosen(tuple(settings.thresholds), known)
    for code, threshold in settings.thresholds.items():
        if code not in codes:
            raise SettingError(
                f"a threshold for {code}, which is not among the lesions asked for: {', '.join(codes)}"
            )
        if not 0 < threshold <= 1:
            raise SettingError(f"threshold {code}={threshold:g}; give a probability above 0 and at most 1")
    own = package.decisions
    return MappingProxyType(
        {
            code: replace(own[code], threshold=settings.thresholds.get(code, own[code].threshold))
            for code in codes
        }
    )


def located(photograph: Photograph, choice: FieldChoice, rule: FieldRule) -> Field:
    """Return where the field of view is, as it was chosen.

    Args:
        photograph: as read.
        choice: what a person chose.
        rule: how photographs of this kind have their field; 'auto' means this.

    Raises:
        FieldError: none is found, or the one given makes no sense.
    """
    if choice == "full" or (choice == "auto" and rule == "whole"):
        return field_of_view.full(photograph.shape)
    if choice == "auto":
        return field_of_view.find(photograph.pixels)
    row, column, radius = choice
    return field_of_view.given((row, column), radius, photograph.shape)


def _frame(photograph: Photograph, seen: Field, part: Part, contract: Contract) -> Frame:
    """Lay the canvas over the part of the photograph that is looked at.

    Raises:
        GeometryError: the canvas would be larger than any photograph that is read.
    """
    frame = canvas.fit_frame(canvas.part_box(part, photograph.shape, seen), seen, contract)
    if math.prod(frame.shape) > LARGEST_CANVAS:
        height, width = frame.shape
        raise GeometryError(
            f"a field of {seen.diameter:.0f} px, brought to the model's {contract.field_diameter:.0f} px, "
            f"makes a canvas of {height} x {width} px, over {LARGEST_CANVAS:,} px; choose --region field or "
            "a larger --field"
        )
    return frame


def _on_canvas(seen: Field, frame: Frame) -> Field:
    """Return the field in canvas coordinates, so that one rule (`field.mask`) says everywhere what is in it.

    A canvas has whole pixels, so its two scales differ by up to half a pixel over its length: at the rim, the
    disc of their mean is off by half a canvas pixel at most, while a field is widened by 1 % of its radius.
    """
    rows, columns = frame.scale
    corners = np.array(
        [seen.centre, (seen.box.top, seen.box.left), (seen.box.bottom, seen.box.right)], np.float64
    )
    (row, column), first, last = canvas.to_canvas(corners, frame)
    (top, left), (bottom, right) = (np.rint(edge).astype(int).tolist() for edge in (first, last))
    return Field(
        centre=(float(row), float(column)),
        radius=seen.radius * math.sqrt(rows * columns),
        box=Box(top=top, left=left, bottom=bottom, right=right),
    )


def _whole(shape: tuple[int, int]) -> Box:
    """The box of all of a canvas."""
    return Box(top=0, left=0, bottom=shape[0], right=shape[1])


def tiled(inside: Bool[np.ndarray, "h2 w2"], shape: tuple[int, int], contract: Contract) -> Tiling:
    """Return the windows that show all of the field: larger ones than in training where a network takes them.

    Args:
        inside: the field, on the canvas, padded.
        shape: (h, w) of the canvas, without padding.
        contract: of the model.

    Raises:
        GeometryError: the canvas is smaller than a window of the training.
        FieldError: no window shows anything of the field.
    """
    side = contract.window_side
    plan = regular_grid(shape, side, contract.overlap)  # refuses a canvas that is too small
    if contract.step is not None and inside.any():
        return cover_field(inside, contract.step, SHARED, LARGEST_WINDOW)
    return Tiling(window=(side, side), corners=_touching(plan, inside, contract))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Laid:
    """A canvas, laid over the part of a photograph that is looked at."""

    seen: Field
    """px of the photograph."""
    frame: Frame
    picture: UInt8[np.ndarray, "h2 w2 3"]
    """The canvas, padded."""
    inside: Bool[np.ndarray, "h2 w2"]
    """What of it is field."""


def _laid(photograph: Photograph, settings: Settings, contract: Contract) -> _Laid:
    """Find the field and lay the canvas."""
    seen = located(photograph, settings.field, contract.field)
    frame = _frame(photograph, seen, settings.part or contract.part, contract)
    return _Laid(
        seen=seen,
        frame=frame,
        picture=_padded(canvas.extract_canvas(photograph.pixels, frame), contract.step),
        inside=_padded(field_of_view.mask(_on_canvas(seen, frame), _whole(frame.shape)), contract.step),
    )


def _calls(laid: _Laid, scene: "_Scene", *, spots: bool = True) -> Calls:
    """Return what calls for a close look: GlobalNet's maps, and small spots unless nobody asks for them."""
    contract, shape = scene.contract, _shape(laid.picture)
    shared = min(SHARED, contract.window_side // 4)  # 256 px windows share 64, as in training
    divided = window_selection.cells(laid.inside, contract.window_side, shared, contract.step or 1)
    coarse = window_selection.strongest(scene.glance.probabilities, divided, scene.shape)
    standing_out = np.zeros((len(divided.first), 2), np.float32)
    if spots:
        standing_out = window_selection.strongest(
            window_selection.spots(laid.picture, laid.inside), divided, shape
        )
    by_lesion = dict(zip(contract.lesions, coarse.T, strict=True))
    return Calls(divided=divided, coarse=by_lesion, standing_out=standing_out)


def _called(laid: _Laid, scene: "_Scene", wanted: Gaze) -> Tiling:
    """Return the windows that are called for: maybe none."""
    asked = any(one.spots != "none" for one in wanted.interests.values())
    calls = _calls(laid, scene, spots=asked)
    kept = window_selection.worth(calls.coarse, calls.standing_out, wanted.interests)
    return Tiling(window=calls.divided.window, corners=calls.divided.corners[kept])


def _unpadded(maps: UInt16[np.ndarray, "K h2 w2"], frame: Frame) -> UInt16[np.ndarray, "K h w"]:
    height, width = frame.shape
    return maps[:, :height, :width]


def _padded(picture: Shaped[np.ndarray, "h w ..."], step: int | None) -> Shaped[np.ndarray, "h2 w2 ..."]:
    """Add black (or nothing) below and to the right until both sides are multiples of a step."""
    height, width = picture.shape[:2]
    below, beside = (0, 0) if step is None else (-height % step, -width % step)
    if not below and not beside:
        return picture
    return np.pad(picture, [(0, below), (0, beside), *[(0, 0)] * (picture.ndim - 2)])


def _touching(
    corners: Int64[np.ndarray, "M 2"], inside: Bool[np.ndarray, "h w"], contract: Contract
) -> Int64[np.ndarray, "N 2"]:
    """Keep the windows that show at least one pixel of the field.

    Raises:
        FieldError: none does.
    """
    side = contract.window_side
    kept = [inside[row : row + side, column : column + side].any() for row, column in corners]
    if not any(kept):
        raise FieldError("the part that is looked at shows nothing of the field; use --region field")
    return corners[np.array(kept)]


def _glance(engine: Engine, laid: _Laid, contract: Contract, glances: Glances) -> Glance:
    """Glance at the whole: once, or in several ways to turn and mirror it, brought back and averaged.

    Averaged over all eight, the answers turn and mirror as the photograph does; those of one do only roughly.
    """
    height, width = laid.frame.shape
    seen = canvas.global_view(laid.picture[:height, :width], contract.view_side)
    view = prepare(seen[np.newaxis], contract)
    ways = dihedral.DIHEDRAL[:glances]
    first = engine.glance(dihedral.apply(view, ways[0]))
    features, probabilities = first.features.copy(), first.probabilities.copy()
    for way in ways[1:]:  # one by one: the features of a single glance take 26 MB
        one = engine.glance(dihedral.apply(view, way))
        features += dihedral.invert(one.features, way)
        probabilities += dihedral.invert(one.probabilities, way)
    share = np.float32(1 / len(ways))
    features *= share
    probabilities *= share
    return Glance(probabilities=probabilities, features=features)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scene:
    """What GlobalNet made of a canvas."""

    glance: Glance
    shape: tuple[int, int]
    """(h, w) of the canvas, without padding."""
    contract: Contract


Work = tuple[
    Float32[np.ndarray, "N 3 S T"],
    Float32[np.ndarray, "N C G G2"],
    Float32[np.ndarray, "N S G"],
    Float32[np.ndarray, "N T G2"],
]
"""What `Engine.look` takes."""


def _work(picture: UInt8[np.ndarray, "h2 w2 3"], tiling: Tiling, scene: _Scene) -> Work:
    """Prepare some windows, each beside its piece of the global features.

    Args:
        picture: the canvas, padded.
        tiling: the windows.
        scene: what they are parts of.
    """
    features = scene.glance.features
    sights = [
        feature_sampling.sample_at((int(row), int(column)), tiling.window, scene.shape, features.shape[-1])
        for row, column in tiling.corners
    ]
    pieces = [
        features[:, top : top + sight.rows.shape[1], left : left + sight.columns.shape[1]]
        for sight in sights
        for top, left in [sight.corner]
    ]
    return (
        prepare(extract_windows(picture, tiling.corners, tiling.window), scene.contract),
        np.stack(pieces),
        np.stack([sight.rows for sight in sights]),
        np.stack([sight.columns for sight in sights]),
    )


def _shape(picture: Shaped[np.ndarray, "h w ..."]) -> tuple[int, int]:
    height, width = picture.shape[:2]
    return height, width
