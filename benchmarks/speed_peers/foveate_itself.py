"""Foveate, as a caller has it: inference alone, from file to files, larger photographs, and more of them.

Knows:   Foveate's public calls.
Ignores: what they are compared with.
"""

import itertools
import math
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

import foveate
from foveate import photographs
from foveate.cli.predict import MAX_WORKERS
from foveate.engines.threads import available_processors
from foveate.geometry import canvas
from foveate.inference.settings import Settings
from speed_peers.answers import Answer, Opened

QUALITY = 90
"""Of the JPEGs that larger and smaller photographs are written as; IDRiD's own have 50."""


def inference(photograph, load, segment):
    """Decoded pixels to probabilities.

    Args:
        photograph: its path.
        load: options of `foveate.load`, the model among them.
        segment: options of `Model.segment`.
    """
    model, pixels = foveate.load(**load), foveate.read(photograph)

    def run():
        result = model.segment(pixels, **segment)
        probabilities = result.segmentation.probabilities
        return Answer(maps=lambda: np.asarray(probabilities.maps) / np.float32(65535))

    return Opened(run=run, what=model.engine.label)


def small_windows(photograph, load, overlap):
    """The same with windows as in training that share as much as MONAI's: to compare maps, not times."""
    model, pixels = foveate.load(**load), foveate.read(photograph)
    contract = replace(model.package.contract, step=None, overlap=overlap)
    manifest = replace(model.package.manifest, contract=contract)
    model = replace(model, package=replace(model.package, manifest=manifest))

    def run():
        probabilities = model.segment(pixels).segmentation.probabilities
        return Answer(maps=lambda: np.asarray(probabilities.maps) / np.float32(65535))

    return Opened(run=run, what=f"{model.engine.label}, windows of 256 px", warm=False)


def to_files(photograph, load, effort="full", count=1):
    """JPEG to maps, masks, overlay and tables, one photograph or as many files of the same one.

    Args:
        photograph: its path.
        load: options of `foveate.load`, the model among them.
        effort: of the run.
        count: of photographs; more than one are processed side by side, as by `foveate predict`.
    """
    model = foveate.load(**load)
    folder = _Folder()
    for number in range(count):
        shutil.copyfile(photograph, folder.inside / f"{number:03d}{photograph.suffix}")
    workers = min(MAX_WORKERS, available_processors(), count)

    def run():
        report = model.predict(
            [folder.inside], folder.next(), workers=workers, settings=Settings(effort=effort)
        )
        if report.failures:
            raise RuntimeError(report.failures[0].error)
        each = list(report.seconds_each.values())
        figures = {"photographs": count, "slowest": max(each), "quickest": min(each)}
        return Answer(seconds=dict(report.seconds_by_phase), figures=figures)

    what = model.engine.label + (f", {workers} workers" if count > 1 else "")
    return Opened(run=run, what=what, warm=count == 1)


def of_megapixels(photograph, load, megapixels):
    """Read, segment and write in turn; the photograph is scaled so that the canvas is scaled as well."""
    model, folder = foveate.load(**load), _Folder()
    height, width = foveate.read(photograph).shape
    factor = math.sqrt(megapixels * 1e6 / (height * width))
    path = folder.inside / "scaled.jpg"
    _write_scaled(photograph, path, (round(height * factor), round(width * factor)))
    contract = model.package.contract
    contract = replace(contract, field_diameter=contract.field_diameter * factor)
    manifest = replace(model.package.manifest, contract=contract)
    model = replace(model, package=replace(model.package, manifest=manifest))

    def run():
        start = time.perf_counter()
        pixels = photographs.read(path)
        loaded = time.perf_counter()
        result = model.segment(pixels)
        segmented = time.perf_counter()
        result.save(folder.next())
        written = time.perf_counter()
        canvas = math.prod(result.segmentation.probabilities.frame.shape)
        seconds = {"reading": loaded - start, "inference": segmented - loaded, "writing": written - segmented}
        return Answer(seconds=seconds, figures={"megapixels": megapixels, "canvas": canvas / 1e6})

    return Opened(run=run, what=model.engine.label, warm=False)


def _write_scaled(photograph, path, shape):
    picture = canvas.resample(foveate.read(photograph).pixels, shape)
    Image.fromarray(picture).save(path, quality=QUALITY)


class _Folder:
    """Photographs and a new folder of results for each run; both go with the process."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory()
        self._numbers = itertools.count()
        self.inside = Path(self._folder.name) / "in"
        self.inside.mkdir()

    def next(self):
        number = next(self._numbers)
        shutil.rmtree(Path(self._folder.name) / f"out{number - 1}", ignore_errors=True)
        return Path(self._folder.name) / f"out{number}"
