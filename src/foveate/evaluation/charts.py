"""Charts as SVG: axes, lines, bars and dots from numbers, and nothing else.

Knows:   how numbers become places on a chart.
Ignores: what the numbers mean; colours stand in the page's style sheet.
"""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 380, 300
"""Of a chart, px of the page."""

LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 44
"""Margins for the axes' texts, px."""

Point = tuple[float, float]
"""(x, y) in the axes' units."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One axis: where numbers lie between its ends, and which are written at it."""

    title: str
    ticks: Sequence[tuple[float, str]]
    """Number and text; the first and the last are the axis' ends."""
    scale: Callable[[float], float] = float
    """Rising; the identity for an even axis, a logarithm for a logarithmic one."""

    def share(self, value: float) -> float:
        """Return where a number lies between the ends, 0 to 1; beyond them at the end."""
        low, high = self.scale(self.ticks[0][0]), self.scale(self.ticks[-1][0])
        return min(1.0, max(0.0, (self.scale(value) - low) / (high - low)))


UNIT = tuple((k / 5, f"{k / 5:g}") for k in range(6))
"""Ticks from 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """Axes, and how to draw between them."""

    x: Axis
    y: Axis

    def at(self, point: Point) -> str:
        """Return 'x,y' in px of the page."""
        across = LEFT + self.x.share(point[0]) * (WIDTH - LEFT - RIGHT)
        down = HEIGHT - BOTTOM - self.y.share(point[1]) * (HEIGHT - TOP - BOTTOM)
        return f"{across:.1f},{down:.1f}"

    def line(self, points: Sequence[Point], style: str) -> str:
        """Return a line through points; `style` is a class of the style sheet."""
        return f'<polyline class="{style}" points="{" ".join(map(self.at, points))}"/>' if points else ""

    def dots(self, points: Sequence[Point], style: str, radius: float, texts: Sequence[str] = ()) -> str:
        """Return a dot at each point; texts show where the pointer rests on one."""
        made = []
        for index, point in enumerate(points):
            x, y = self.at(point).split(",")
            told = f"<title>{html.escape(texts[index])}</title>" if texts else ""
            made.append(f'<circle class="{style}" cx="{x}" cy="{y}" r="{radius:g}">{told}</circle>')
        return "".join(made)

    def whisker(self, x: float, ends: Point, style: str) -> str:
        """Return a vertical line between two numbers, such as an interval."""
        return self.line([(x, ends[0]), (x, ends[1])], style)

    def drawn(self, label: str, *parts: str) -> str:
        """Return the chart with its axes; `label` says what it shows, for those who cannot see it."""
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(label)}">'
            f"{self._grid()}{''.join(parts)}</svg>"
        )

    def _grid(self) -> str:
        made = []
        for value, text in self.x.ticks:
            foot, head = (self.at((value, end)) for end in (self.y.ticks[0][0], self.y.ticks[-1][0]))
            x, y = foot.split(",")
            made.append(f'<polyline class="grid" points="{foot} {head}"/>')
            below = f"{float(y) + 16:.1f}"
            made.append(f'<text x="{x}" y="{below}" text-anchor="middle">{html.escape(text)}</text>')
        for value, text in self.y.ticks:
            foot, head = (self.at((end, value)) for end in (self.x.ticks[0][0], self.x.ticks[-1][0]))
            x, y = foot.split(",")
            made.append(f'<polyline class="grid" points="{foot} {head}"/>')
            left, middle = f"{float(x) - 6:.1f}", f"{float(y) + 4:.1f}"
            made.append(f'<text x="{left}" y="{middle}" text-anchor="end">{html.escape(text)}</text>')
        centre = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
        made.append(
            f'<text class="axis" x="{centre[0]:g}" y="{HEIGHT - 8}" text-anchor="middle">'
            f"{html.escape(self.x.title)}</text>"
        )
        made.append(
            f'<text class="axis" transform="translate(12 {centre[1]:g}) rotate(-90)" text-anchor="middle">'
            f"{html.escape(self.y.title)}</text>"
        )
        return "".join(made)
