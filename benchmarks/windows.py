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
from foveate.evaluation import selection
from foveate.geometry import stitching
from foveate.inference import pipeline, window_planning

FOLD = Path(__file__).parents[1] / "src/foveate/training/recipes/splits/idrid.json"

NEAR = round(0.01 * stitching.LEVELS)
"""A smaller difference of stored levels counts as none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowLayout:
    """A layout of windows."""

    name: str
    shared: int = window_planning.OVERLAP
    """Canvas px that larger windows share at least."""
    trained: int | None = None
    """Canvas px that windows of the size trained on share; None for larger windows."""


LAYOUTS = (
    WindowLayout(name=f"larger windows, overlap {window_planning.OVERLAP} px (what Foveate does)"),
    WindowLayout(name=f"overlap {2 * window_planning.OVERLAP}", shared=2 * window_planning.OVERLAP),
    WindowLayout(name=f"overlap {window_planning.OVERLAP // 2}", shared=window_planning.OVERLAP // 2),
    WindowLayout(name="256 px as in training, overlap 64", trained=64),
    WindowLayout(name="256 px, overlap 32", trained=32),
)


def predict(photograph, model, layout):
    """Segment a photograph with one layout of windows."""
    contract = model.package.contract
    if layout.trained is not None:
        contract = replace(contract, step=None, overlap=layout.trained)
    package = replace(model.package, manifest=replace(model.package.manifest, contract=contract))
    with mock.patch.object(window_planning, "OVERLAP", layout.shared):
        return pipeline.segment(photograph, package, model.engine)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--model", default="idrid")
    arguments.add_argument("--split", default=f"{FOLD}:1")
    arguments.add_argument("--engine")
    arguments.add_argument("--precision")
    arguments.add_argument("--threads", type=int)
    arguments.add_argument("--out", type=Path)
    options = arguments.parse_args()
    model = foveate.load(
        options.model, engine=options.engine, precision=options.precision, threads=options.threads
    )
    lesions = model.package.contract.lesions
    cases = selection.select_cases(options.data, layouts.named("idrid"), options.split)
    counts = {layout: {lesion: [] for lesion in lesions} for layout in LAYOUTS}
    computed, near, pixels = (dict.fromkeys(LAYOUTS, 0) for _ in range(3))
    for case in cases:
        photograph = photographs.read(case.photograph)
        planes = truth(case, lesions, photograph.shape)
        first = None
        for layout in LAYOUTS:
            segmentation = predict(photograph, model, layout)
            maps = np.asarray(segmentation.probabilities.maps)
            first = maps if first is None else first
            is_near = np.abs(maps.astype(np.int32) - first) < NEAR
            outside = int(np.count_nonzero(~maps.any(axis=0) & ~first.any(axis=0)))
            near[layout] += int(np.count_nonzero(is_near)) - outside * len(lesions)
            pixels[layout] += is_near.size - outside * len(lesions)
            computed[layout] += len(segmentation.tiling.corners) * int(np.prod(segmentation.tiling.window))
            for lesion, plane in zip(lesions, planes, strict=True):
                native = stitching.native_map(segmentation.probabilities, lesion)
                counts[layout][lesion].append(metrics.histogram(native, plane))
        print(case.name, flush=True)
    areas = {
        layout: {
            lesion: metrics.average_precision(metrics.pool(each)) for lesion, each in counts[layout].items()
        }
        for layout in LAYOUTS
    }
    lines = [
        f"{model.package.name} {model.package.version}, {model.engine.label}, {len(cases)} photographs.",
        "",
        "| windows | pixels computed | of the probabilities within .01 of the first | "
        + " | ".join(lesions)
        + " |",
        "|---|---|---|" + "---|" * len(lesions),
    ]
    for layout in LAYOUTS:
        cells = [
            f"{areas[layout][lesion]:.4f}"
            if layout is LAYOUTS[0]
            else f"{areas[layout][lesion] - areas[LAYOUTS[0]][lesion]:+.4f}"
            for lesion in lesions
        ]
        share = f"{near[layout] / pixels[layout]:.3%}" if layout is not LAYOUTS[0] else "-"
        ratio = f"{computed[layout] / computed[LAYOUTS[0]]:.2f}"
        lines.append(f"| {layout.name} | {ratio} | {share} | " + " | ".join(cells) + " |")
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
