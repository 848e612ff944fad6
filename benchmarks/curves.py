"""The curves of a run: the loss of each stage, smoothed, as one SVG for the documentation.

    python benchmarks/curves.py RUN OUT.svg

Steps are grouped into forty; each dot is the mean loss of a group.
"""

import argparse
import math
from pathlib import Path

from foveate.evaluation.charts import HEIGHT, WIDTH, Axis, Chart
from foveate.training import curves
from foveate.training.recipe import ALONE_STAGES, REFINE, STAGES
from foveate.training.run_folder import RunFolder

GROUPS = 40
MARGIN = 20  # for half of the last label
STYLE = """polyline{fill:none} .grid{stroke:#ddd} .loss{stroke:#0072b2;stroke-width:2}
text{font:12px sans-serif;fill:#333} .name{font-weight:bold}"""


def means(rows: list[curves.StepRecord]) -> list[tuple[float, float]]:
    size = math.ceil(len(rows) / GROUPS)
    groups = [rows[start : start + size] for start in range(0, len(rows), size)]
    return [(group[-1].step, sum(row.loss for row in group) / len(group)) for group in groups]


def draw_chart(stage: str, points: list[tuple[float, float]]) -> str:
    last, top = points[-1][0], math.ceil(10 * max(loss for _, loss in points)) / 10
    chart = Chart(
        x=Axis(title=f"step of {stage}", ticks=[(0, "0"), (last / 2, f"{last / 2:g}"), (last, f"{last:g}")]),
        y=Axis(title="loss", ticks=[(top * k / 4, f"{top * k / 4:.2f}") for k in range(5)]),
    )
    return chart.render(f"Loss of stage {stage}", chart.line(points, "loss"))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("run", type=Path)
    arguments.add_argument("out", type=Path)
    options = arguments.parse_args()
    parts = []
    for stage in (*STAGES, REFINE, *ALONE_STAGES):
        rows = RunFolder(options.run).read_steps(stage)
        if rows:
            position = f'<svg x="{len(parts) * WIDTH}" width="{WIDTH}" height="{HEIGHT}" overflow="visible"'
            parts.append(draw_chart(stage, means(rows)).replace("<svg", position, 1))
    options.out.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {len(parts) * WIDTH + MARGIN} {HEIGHT}">'
        f"<style>{STYLE}</style>{''.join(parts)}</svg>\n"
    )


if __name__ == "__main__":
    main()
