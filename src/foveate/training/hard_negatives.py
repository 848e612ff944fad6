"""Find the pixels that a network wrongly marks in healthy eyes, which the refine stage shows it.

Knows:   from which probability a pixel of a healthy eye is worth showing, and what a run stores of it.
Ignores: how windows are chosen by these pixels (`sampler.sample_centres`), and how the stage is trained.

Source: mining of hard negatives, Sung and Poggio 1998, doi:10.1109/34.655648; Shrivastava et al. 2016,
arXiv:1604.03540.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int32, UInt16

from foveate import atomic_files, models, photographs
from foveate.datasets import Case
from foveate.engines.pytorch import TorchEngine
from foveate.inference.pipeline import segment
from foveate.nets import LocalGlobalUNet
from foveate.paths import exists
from foveate.training import cache
from foveate.training.cache import CachedCase
from foveate.training.damage import MAKE_AGAIN, damage_errors
from foveate.training.distributed import CONTINUE, Machine, one_line_errors
from foveate.training.recipe import REFINE, Recipe
from foveate.training.run_folder import RunFolder

LOWEST = 0.15
"""Lowest probability of a pixel to show, before calibration. It is far below every threshold, so that what
nearly becomes a false region is shown too (our choice)."""

MAX_PIXELS = 20_000
"""Most pixels stored for each lesion of an eye, chosen at random."""

FIND_ON_CPU = (
    f"end other programs that use it, and {CONTINUE}; otherwise add --device cpu until the stage takes steps"
)
"""What to do if the GPU's memory is too small to find the pixels; those of each eye are stored at once."""

MORE_MEMORY = "use a machine with more memory"
"""What to do if the machine's memory is too small for it."""

FalsePixels = Mapping[str, Int32[np.ndarray, "n 2"]]
"""Lesion -> (row, column) of wrongly marked pixels, canvas px; lesions without any are absent."""


def attach(
    cases: Sequence[CachedCase],
    *,
    healthy: Sequence[Case],
    recipe: Recipe,
    run: RunFolder,
    machine: Machine,
    build_network: Callable[[], LocalGlobalUNet],
) -> list[CachedCase]:
    """Return the cases of a run, each healthy eye with the pixels that the network wrongly marks in it.

    What the run has stored is read; the first process finds the rest, while the others wait.

    Args:
        cases: all cases of the run.
        healthy: the photographs of the healthy ones.
        recipe: says what the network receives.
        run: folder of the run.
        machine: where to compute.
        build_network: returns the network that the stage begins with.

    Raises:
        TrainingError: a stored file is damaged, or the memory of the GPU or of the machine is too small.
        FoveateError: a photograph cannot be used, or the folder cannot be written.
    """
    missing = [case for case in healthy if not exists(run.false_pixels(case.name))]
    if missing and machine.is_first:
        task = f"stage {REFINE}, before its first step"
        with one_line_errors(task, MORE_MEMORY, gpu_remedy=FIND_ON_CPU):
            network = machine.place(build_network().eval().requires_grad_(False))
            assert isinstance(network, LocalGlobalUNet)
            engine = TorchEngine(network=network, device=machine.device, precision=recipe.precision)
            for case in missing:
                _write(find(case, recipe, engine), run, case.name)
    machine.barrier()
    names = {case.name for case in healthy}
    return [
        replace(case, false_pixels=_read(run, case.name)) if case.name in names else case for case in cases
    ]


def find(case: Case, recipe: Recipe, engine: TorchEngine) -> FalsePixels:
    """Return the pixels that a network marks as a lesion in a healthy eye.

    Test-time augmentation is off, since it would multiply the work of GlobalNet.

    Args:
        case: the photograph.
        recipe: says what the network receives.
        engine: runs the network.

    Raises:
        FoveateError: the photograph cannot be used.
    """
    package = models.unsaved_package(recipe.name, replace(recipe.contract, tta_views=1))
    maps = segment(photographs.read(case.photograph), package, engine).probabilities.maps
    generator = np.random.default_rng(recipe.seed)
    pixels_by_lesion = [_choose(stored, generator) for stored in maps]
    return {
        lesion: pixels
        for lesion, pixels in zip(recipe.contract.lesions, pixels_by_lesion, strict=True)
        if len(pixels)
    }


def _choose(stored: UInt16[np.ndarray, "h w"], generator: np.random.Generator) -> Int32[np.ndarray, "n 2"]:
    """Return pixels of at least the lowest probability, at most as many as are stored."""
    pixels = np.argwhere(stored >= LOWEST * np.iinfo(stored.dtype).max).astype(np.int32)
    return generator.permutation(pixels)[:MAX_PIXELS]


def _write(pixels: FalsePixels, run: RunFolder, name: str) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **pixels)  # type: ignore[arg-type]  # its stub takes arrays for a flag
    atomic_files.write_file(run.false_pixels(name), buffer.getvalue())


def _read(run: RunFolder, name: str) -> FalsePixels:
    """Return the stored pixels of an eye; raise TrainingError if the file is damaged."""
    path = run.false_pixels(name)
    with damage_errors(path, MAKE_AGAIN):
        return cache.read_pixels(path)
