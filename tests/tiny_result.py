"""A small photograph with lesions at known positions, as the writers receive it."""

from dataclasses import replace

import numpy as np

from foveate.packed_maps import PackedMaps
from foveate.types import Box, Decision, Field, Frame, Photograph, Probabilities
from foveate.writers import PhotographResult, PredictRequest, Provenance

SHAPE = (180, 240)
CODES = ("EX", "MA", "HE", "SE")
PROVENANCE = Provenance(name="tiny", version="1.2", digest="ab" * 32)


def maps(shape=SHAPE):
    """EX: a bar with a hole and a speck; MA: two dots; HE: touches the border; SE: nothing."""
    levels = np.zeros((len(CODES), *shape), np.uint16)
    levels[0, 40:60, 50:90] = 50_000
    levels[0, 46:54, 60:80] = 0
    levels[0, 100, 100:102] = 40_000
    levels[1, 80:85, 120:125] = 65_535
    levels[1, 81, 122] = 30_000
    levels[1, 120:124, 30:33] = 33_000
    levels[2, 0:30, 150:170] = 45_000
    levels[3, 90:95, 200:205] = 10_000
    return levels


def predict_request(name="clinic/left", **changes):
    request = PredictRequest(
        name=name, provenance=PROVENANCE, settings={"region": "field", "thresholds": {"EX": 0.5}}
    )
    return replace(request, **changes)


def photograph_result(name="clinic/left", *, spacing=None, quality=(), **changes):
    height, width = SHAPE
    pixels = np.random.default_rng(5).integers(0, 255, (height, width, 3), np.uint8)
    return PhotographResult(
        request=predict_request(name, **changes),
        photograph=Photograph(pixels=pixels, source="left.jpg", digest="cd" * 32, spacing=spacing),
        field=Field(
            centre=(90.0, 120.0), radius=118.0, box=Box(top=0, left=2, bottom=height, right=width - 2)
        ),
        probabilities=Probabilities(
            lesions=CODES,
            maps=PackedMaps.pack(maps()),
            frame=Frame(box=Box(top=0, left=0, bottom=height, right=width), shape=SHAPE),
            shape=SHAPE,
        ),
        decisions={code: Decision(threshold=0.5, minimum_area=4) for code in CODES},
        quality=quality,
    )


def tree(out):
    """Return every file of a folder with its bytes."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
