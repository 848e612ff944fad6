"""Segment one photograph, from pixels to probabilities: the order of the steps and nothing else.

Knows:   which step follows which.
Ignores: how any step is done, where photographs come from and where results go.

Shape letters: H W photograph, h w canvas, h2 w2 the canvas padded to multiples of the step, N windows, S T
sides of a window, L lesions of the model, K those reported, V view side, C channels of the global features.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from foveate.analysis import quality, region_evidence
from foveate.concurrency import prefetch, trim_memory
from foveate.engines import Engine, GlobalOutput, WindowBatch
from foveate.geometry import stitching
from foveate.geometry.feature_sampling import window_sampling
from foveate.geometry.tiling import Tiling
from foveate.inference.prepared_canvas import PreparedCanvas, prepare_canvas
from foveate.inference.preprocessing import normalise
from foveate.inference.settings import DEFAULTS, Settings, lesion_decisions, selection_rule, window_views
from foveate.inference.tta import run_global, run_local
from foveate.inference.window_planning import WindowScores, cover_windows, score_windows, select_windows
from foveate.models import Package
from foveate.packed_maps import PackedMaps
from foveate.types import Decision, Field, Photograph, Probabilities, TtaViews

WINDOWS_PER_BATCH = 4
"""Batch size for windows of the training size; larger batches are no faster. Larger windows are computed
one at a time."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Segmentation:
    """The maps of one photograph, and everything that they depend on."""

    photograph: Photograph
    field: Field
    """The field of view, detected or given by the user; photograph px."""
    probabilities: Probabilities
    """Maps of the reported lesions, at the model's scale."""
    tiling: Tiling
    """The windows that LocalNet processed, canvas px."""
    quality: tuple[str, ...]
    """Codes of problems that may make the result unreliable; empty if there are none."""
    decisions: Mapping[str, Decision]
    """Lesion -> threshold, minimum area and minimum evidence, in the model's order; the user's thresholds are
    applied."""
    package: Package
    """The model."""
    engine: str
    """`Engine.label` of the engine."""
    settings: Settings
    """The user's settings."""


def segment(
    photograph: Photograph,
    package: Package,
    engine: Engine,
    settings: Settings = DEFAULTS,
    *,
    progress: Callable[[float], None] = lambda share: None,
) -> Segmentation:
    """Compute the lesion maps of one photograph: GlobalNet on the whole, LocalNet window by window.

    Windows that contain no part of the field are never computed.

    Args:
        photograph: the photograph to segment.
        package: the model.
        engine: runs the package's network.
        settings: the user's settings.
        progress: called with the share of windows that are computed so far; the last call passes 1.

    Raises:
        LesionError: the model does not know a lesion.
        SettingError: a threshold is out of range, or belongs to a lesion that is not reported.
        FieldError: no field of view is detected, or the given one is invalid.
        GeometryError: the photograph, at the model's scale, is too small or too large.
        PackageError: the engine fails.

    Source: Yan et al. 2019, section 2.
    """
    decisions = lesion_decisions(package, settings)
    rule = selection_rule(package, settings.effort)
    contract = package.contract
    canvas = prepare_canvas(photograph, contract, field_choice=settings.field, part=settings.part)
    tiling = cover_windows(canvas)
    output = run_global(engine, canvas, contract.tta_views if rule is None else rule.tta_views)
    channels = [contract.lesions.index(lesion) for lesion in decisions]
    coarse = None
    if rule is not None:
        tiling = select_windows(canvas, output, rule)
        coarse = stitching.CoarseMaps(maps=output.probabilities[channels], shape=canvas.frame.shape)

    def predict_windows() -> Iterator[Float32[np.ndarray, "N K S T"]]:
        done = 0
        with prefetch(_window_batches(canvas, output, tiling)) as batches:
            for batch in batches:
                yield _select(run_local(engine, batch, window_views(settings.effort)), channels)
                done += len(batch)
                progress(done / len(tiling.corners))

    with prefetch(predict_windows()) as predictions:
        maps = _stitch(canvas, predictions, tiling, coarse)
    _free_memory(engine)
    for index, lesion in enumerate(decisions):
        region_evidence.suppress(maps, index, package.decisions[lesion])
    if not len(tiling.corners):
        progress(1.0)
    return Segmentation(
        photograph=photograph,
        field=canvas.field,
        probabilities=Probabilities(
            lesions=tuple(decisions), maps=maps, frame=canvas.frame, shape=photograph.shape
        ),
        tiling=tiling,
        quality=quality.assess(photograph, canvas.field),
        decisions=decisions,
        package=package,
        engine=engine.label,
        settings=settings,
    )


def _select(
    probabilities: Float32[np.ndarray, "N L S T"], channels: list[int]
) -> Float32[np.ndarray, "N K S T"]:
    """Return some lesions of windows, in the model's order; all of them without a copy."""
    return probabilities if len(channels) == probabilities.shape[1] else probabilities[:, channels]


def _free_memory(engine: Engine) -> None:
    """Free what computing the windows left allocated: results are analysed and written without it."""
    engine.release_memory()
    trim_memory()


def coarse_maps(
    photograph: Photograph, package: Package, engine: Engine, views: TtaViews
) -> tuple[WindowScores, PackedMaps]:
    """Run GlobalNet alone on a photograph.

    Returns:
        The scores that select windows, and GlobalNet's maps on the canvas: probability times 65535, 0 outside
        the field.

    Raises:
        FieldError, GeometryError, PackageError: as in `segment`.
    """
    canvas = prepare_canvas(photograph, package.contract)
    output = run_global(engine, canvas, views)
    coarse = stitching.CoarseMaps(maps=output.probabilities, shape=canvas.frame.shape)
    no_windows = Tiling(window=(1, 1), corners=np.zeros((0, 2), np.int64))
    return score_windows(canvas, output), _stitch(canvas, iter(()), no_windows, coarse)


def _window_batches(canvas: PreparedCanvas, output: GlobalOutput, tiling: Tiling) -> Iterator[WindowBatch]:
    """Yield the inputs of LocalNet and the fusion in batches of windows, in the order of the tiling."""
    size = WINDOWS_PER_BATCH if canvas.contract.step is None else 1
    view_side = output.features.shape[-1]
    for start in range(0, len(tiling.corners), size):
        corners = tiling.corners[start : start + size]
        windows = canvas.windows(corners, tiling.window)
        samplings = [
            window_sampling((int(row), int(column)), tiling.window, canvas.frame.shape, view_side)
            for row, column in corners
        ]
        yield WindowBatch.gather(normalise(windows, canvas.contract), output.features, samplings)


def _stitch(
    canvas: PreparedCanvas,
    predictions: Iterator[Float32[np.ndarray, "N K S T"]],
    tiling: Tiling,
    coarse: stitching.CoarseMaps | None,
) -> PackedMaps:
    """Return the maps of a canvas, without padding: probability times 65535."""
    height, width = canvas.inside.shape
    return stitching.stitch(
        predictions,
        tiling.corners,
        (height, width),
        canvas.inside,
        coarse,
        without_padding=canvas.frame.shape,
    )
