"""Charts as SVG: axes, lines, dots and whiskers.

Knows:   how numbers are converted to positions on a chart.
Ignores: what the numbers mean; the colours are in the page's style sheet.
"""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 380, 300
"""Size of a chart, px of the page."""

LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 44
"""Margins for the labels of the axes, px."""

ChartPoint = tuple[float, float]
"""(x, y) in the units of the axes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One axis: its range, its scale and its labelled numbers."""

    title: str
    ticks: Sequence[tuple[float, str]]
    """Number and label; the first and the last are the ends of the axis."""
    scale: Callable[[float], float] = float
    """Increasing; the identity for a linear axis, a logarithm for a logarithmic one."""

    def share(self, value: float) -> float:
        """Return the position of a number between the ends, 0 to 1; numbers beyond an end are clipped."""
        low, high = self.scale(self.ticks[0][0]), self.scale(self.ticks[-1][0])
        return min(1.0, max(0.0, (self.scale(value) - low) / (high - low)))


UNIT = tuple((k / 5, f"{k / 5:g}") for k in range(6))
"""Ticks from 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """Two axes and the marks that are drawn between them."""

    x: Axis
    y: Axis

    def at(self, point: ChartPoint) -> str:
        """Return the position of a point as 'x,y' in px of the page."""
        across = LEFT + self.x.share(point[0]) * (WIDTH - LEFT - RIGHT)
        down = HEIGHT - BOTTOM - self.y.share(point[1]) * (HEIGHT - TOP - BOTTOM)
        return f"{across:.1f},{down:.1f}"

    def line(self, points: Sequence[ChartPoint], style: str) -> str:
        """Return a line through the points; `style` is a class of the style sheet."""
        return f'<polyline class="{style}" points="{" ".join(map(self.at, points))}"/>' if points else ""

    def dots(self, points: Sequence[ChartPoint], style: str, radius: float, texts: Sequence[str] = ()) -> str:
        """Return a dot at each point; its tooltip is the text of the same index."""
        circles = []
        for index, point in enumerate(points):
            x, y = self.at(point).split(",")
            title = f"<title>{html.escape(texts[index])}</title>" if texts else ""
            circles.append(f'<circle class="{style}" cx="{x}" cy="{y}" r="{radius:g}">{title}</circle>')
        return "".join(circles)

    def whisker(self, x: float, interval: ChartPoint, style: str) -> str:
        """Return a vertical line between two numbers, such as the limits of an interval."""
        return self.line([(x, interval[0]), (x, interval[1])], style)

    def render(self, label: str, *parts: str) -> str:
        """Return the chart with its axes as SVG; `label` describes it to a screen reader."""
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(label)}">'
            f"{self._grid()}{''.join(parts)}</svg>"
        )

    def _grid(self) -> str:
        """Return the grid lines, the labels and the titles of both axes."""
        parts = []
        for value, text in self.x.ticks:
            foot, head = (self.at((value, end)) for end in (self.y.ticks[0][0], self.y.ticks[-1][0]))
            x, y = foot.split(",")
            parts.append(f'<polyline class="grid" points="{foot} {head}"/>')
            below = f"{float(y) + 16:.1f}"
            parts.append(f'<text x="{x}" y="{below}" text-anchor="middle">{html.escape(text)}</text>')
        for value, text in self.y.ticks:
            foot, head = (self.at((end, value)) for end in (self.x.ticks[0][0], self.x.ticks[-1][0]))
            x, y = foot.split(",")
            parts.append(f'<polyline class="grid" points="{foot} {head}"/>')
            left, middle = f"{float(x) - 6:.1f}", f"{float(y) + 4:.1f}"
            parts.append(f'<text x="{left}" y="{middle}" text-anchor="end">{html.escape(text)}</text>')
        centre = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
        parts.append(
            f'<text class="axis" x="{centre[0]:g}" y="{HEIGHT - 8}" text-anchor="middle">'
            f"{html.escape(self.x.title)}</text>"
        )
        parts.append(
            f'<text class="axis" transform="translate(12 {centre[1]:g}) rotate(-90)" text-anchor="middle">'
            f"{html.escape(self.y.title)}</text>"
        )
        return "".join(parts)
