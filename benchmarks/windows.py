"""Windows larger than in training: what their rims and their size change, in pixels and in average precision.

    python benchmarks/windows.py --data IDRID [--model NAME|FOLDER] [--split FILE:FOLD] [--out FILE.md]

Run:    beside other work: only maps are compared, no times
Data:   photographs that the model was not trained on; IDRiD's fold 1 for the models that come with Foveate
Expect: docs/results/windows.md
Cost:   about 80 seconds of one core a photograph

All photographs are seen once for each way to lay windows. The first is what Foveate does; the others share
half and twice as many pixels, or have the size that the network was trained on. Compared with the first are
the share of the field's pixels whose probability differs by less than .01, and the average precision.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np

import foveate
from foveate import metrics, photographs
from foveate.datasets import layouts, truth
from foveate.evaluation import operating_points
from foveate.geometry import stitching
from foveate.inference import pipeline

FOLD = Path(__file__).parents[1] / "src/foveate/training/recipes/splits/idrid.json"

NEAR = round(0.01 * stitching.LEVELS)
"""A smaller difference of stored levels counts as none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """How windows are laid."""

    name: str
    shared: int = pipeline.SHARED
    """Canvas px that larger windows share at least."""
    trained: int | None = None
    """Canvas px that windows of the size trained on share; None for larger windows."""


WAYS = (
    Way(name=f"larger windows that share {pipeline.SHARED} px: what Foveate does"),
    Way(name=f"that share {2 * pipeline.SHARED}", shared=2 * pipeline.SHARED),
    Way(name=f"that share {pipeline.SHARED // 2}", shared=pipeline.SHARED // 2),
    Way(name="256 px as in training, that share 64", trained=64),
    Way(name="256 px, that share 32", trained=32),
)


def seen(photograph, model, way):
    """Return a photograph's maps, windows laid in one way."""
    contract = model.package.contract
    if way.trained is not None:
        contract = replace(contract, step=None, overlap=way.trained)
    package = replace(model.package, contract=contract)
    with mock.patch.object(pipeline, "SHARED", way.shared):
        return pipeline.segment(photograph, package, model.engine)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--model", default="idrid-lite0")
    arguments.add_argument("--split", default=f"{FOLD}:1")
    arguments.add_argument("--engine")
    arguments.add_argument("--precision")
    arguments.add_argument("--threads", type=int)
    arguments.add_argument("--out", type=Path)
    chosen = arguments.parse_args()
    model = foveate.load(
        chosen.model, engine=chosen.engine, precision=chosen.precision, threads=chosen.threads
    )
    lesions = model.package.contract.lesions
    cases = operating_points.cases(chosen.data, layouts.named("idrid"), chosen.split)
    counts = {way: {lesion: [] for lesion in lesions} for way in WAYS}
    computed, near, pixels = (dict.fromkeys(WAYS, 0) for _ in range(3))
    for case in cases:
        photograph = photographs.read(case.photograph)
        planes = truth(case, lesions, photograph.shape)
        first = None
        for way in WAYS:
            found = seen(photograph, model, way)
            maps = found.probabilities.maps
            first = maps if first is None else first
            within = np.abs(maps.astype(np.int32) - first) < NEAR
            outside = int(np.count_nonzero(~maps.any(axis=0) & ~first.any(axis=0)))
            near[way] += int(np.count_nonzero(within)) - outside * len(lesions)
            pixels[way] += within.size - outside * len(lesions)
            computed[way] += len(found.tiling.corners) * int(np.prod(found.tiling.window))
            for lesion, plane in zip(lesions, planes, strict=True):
                native = stitching.native(found.probabilities, lesion)
                counts[way][lesion].append(metrics.histogram(native, plane))
        print(case.name, flush=True)
    areas = {
        way: {lesion: metrics.average_precision(metrics.pool(each)) for lesion, each in counts[way].items()}
        for way in WAYS
    }
    lines = [
        f"{model.package.name} {model.package.version}, {model.engine.label}, {len(cases)} photographs.",
        "",
        "| windows | pixels computed | of the probabilities within .01 of the first | "
        + " | ".join(lesions)
        + " |",
        "|---|---|---|" + "---|" * len(lesions),
    ]
    for way in WAYS:
        cells = [
            f"{areas[way][lesion]:.4f}"
            if way is WAYS[0]
            else f"{areas[way][lesion] - areas[WAYS[0]][lesion]:+.4f}"
            for lesion in lesions
        ]
        share = f"{near[way] / pixels[way]:.3%}" if way is not WAYS[0] else "-"
        ratio = f"{computed[way] / computed[WAYS[0]]:.2f}"
        lines.append(f"| {way.name} | {ratio} | {share} | " + " | ".join(cells) + " |")
    print("\n".join(lines))
    if chosen.out:
        chosen.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
