"""Do probabilities mean what they say, before and after calibration? One chart a lesion, as an SVG.

Run:    python benchmarks/reliability.py RECIPE RUN DATA OUT.svg
Data:   a finished run of `foveate train` that held a fold back, and the set that it learned from
Expect: docs/results/reliability.svg
Cost:   ten seconds of two cores a photograph

Orange: the network as it was trained. Blue: after Platt scaling, each photograph as the others say, so that
no photograph judges what was fitted to it. On the dotted line a probability is what it says.
"""

import argparse
from pathlib import Path

import numpy as np

from foveate import metrics
from foveate.datasets import layouts
from foveate.evaluation.charts import HEIGHT, UNIT, WIDTH, Axis, Chart, ChartPoint
from foveate.training import recipes, release
from foveate.training.release import ReleaseInputs

MIN_PIXELS = 200
"""Pixels below which a bin is not drawn: its share of lesion would be chance."""

STYLE = """polyline{fill:none;stroke-width:2} .grid{stroke:#ddd;stroke-width:1} .ideal{stroke:#888;
stroke-dasharray:2 4;stroke-width:1.5} .before{stroke:#d55e00} .after{stroke:#0072b2} text{font:12px
sans-serif;fill:#333} .dot-before{fill:#d55e00} .dot-after{fill:#0072b2} .name{font-weight:bold}"""


def points(rows: np.ndarray) -> list[ChartPoint]:
    """Return mean probability and share of lesion of each bin, photographs pooled."""
    pixels, mass, positives = np.split(rows.sum(axis=0), 3)
    enough = pixels >= MIN_PIXELS
    return list(zip(mass[enough] / pixels[enough], positives[enough] / pixels[enough], strict=True))


def draw_chart(lesion: str, before: np.ndarray, after: np.ndarray) -> str:
    chart = Chart(
        x=Axis(title=f"probability of {lesion}", ticks=UNIT), y=Axis(title="share that is lesion", ticks=UNIT)
    )
    parts = [chart.line([(0.0, 0.0), (1.0, 1.0)], "ideal")]
    for name, rows in (("before", before), ("after", after)):
        parts += [chart.line(points(rows), name), chart.dots(points(rows), f"dot-{name}", 3)]
    return chart.render(f"Share of {lesion} over probability, before and after calibration", *parts)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("recipe")
    arguments.add_argument("run", type=Path)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("out", type=Path)
    options = arguments.parse_args()
    layout = layouts.named("idrid")
    run = release.load_run(
        recipes.RECIPES[options.recipe](), options.run, layouts.cases(options.data, layout, "train"), layout
    )
    inputs = ReleaseInputs(shipped=run, validation_runs=[run])
    if doubt := inputs.check_files():  # before the hours of work
        print(doubt, flush=True)
    histograms = release.validate(inputs)
    charts = []
    for number, lesion in enumerate(run.recipe.contract.lesions):
        each = [case.counts[lesion] for case in histograms]
        before, after = (
            np.array([metrics.calibration.table_row(counts) for counts in each]),
            metrics.calibration.leave_one_out(each),
        )
        for name, rows in (("before", before), ("after", after)):
            (error,) = metrics.calibration.expected_errors_above_lowest(rows.sum(axis=0, keepdims=True))
            print(f"{lesion} {name}: calibration error from .1 on {error:.3f}")
        left, top = (number % 2) * WIDTH, (number // 2) * HEIGHT
        size = f'<svg x="{left}" y="{top}" width="{WIDTH}" height="{HEIGHT}"'
        charts.append(draw_chart(lesion, before, after).replace("<svg", size, 1))
    size = f"0 0 {2 * WIDTH} {(len(charts) + 1) // 2 * HEIGHT}"
    options.out.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}">'
        f"<style>{STYLE}</style>{''.join(charts)}</svg>\n"
    )


if __name__ == "__main__":
    main()
