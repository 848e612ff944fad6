// What is drawn over the layers as lines: the chosen region, verdicts, ruler, grid, what a brush paints.
//
// Knows:   lines and words on the photograph, in the photograph's own pixels.
// Ignores: who set them.
//
// These are few, so that each may be an element; regions themselves are rasters (layers.js).

import { shape } from "./dom.js";
import * as etdrs from "./etdrs.js";
import * as levels from "./levels.js";

const MOST_VERDICTS = 400; // badges on the photograph: our choice

export function marksOn(svg, desk, place) {
  const state = { ruler: null, grid: null, stroke: null, cursor: null };

  function draw() {
    const here = place();
    if (!here) return svg.replaceChildren();
    const at = (x, y) => [here.x + x * here.scale, here.y + y * here.scale];
    const shown = [
      ...verdicts(at, here),
      ...chosen(at, here),
      ...gridOf(at, here),
      ...ruler(at),
      ...stroke(at, here),
      ...cursor(at, here),
    ];
    if (shown.length || svg.firstChild) svg.replaceChildren(...shown);
  }

  function chosen(at, here) {
    if (!desk.region || desk.hidden) return [];
    const { x, y, width, height } = desk.region.box;
    const [left, top] = at(x, y);
    const pad = 6;
    return ["halo", "chosen"].map((name) =>
      shape("rect", {
        class: name,
        x: left - pad,
        y: top - pad,
        rx: 4,
        width: width * here.scale + 2 * pad,
        height: height * here.scale + 2 * pad,
      }),
    );
  }

  function verdicts(at, here) {
    if (desk.hidden) return [];
    const words = { accepted: "✓", rejected: "×", questionable: "?" };
    return (desk.corrections?.verdicts || [])
      .slice(-MOST_VERDICTS)
      .filter(({ lesion }) => desk.lesion(lesion)?.shown)
      .flatMap(({ x, y, verdict }) => {
        const [left, top] = at(x + 0.5, y + 0.5);
        if (left < 0 || top < 0 || left > here.width || top > here.height) return [];
        return [
          shape("circle", { class: `badge ${verdict}`, cx: left - 10, cy: top - 10, r: 8 }),
          text(words[verdict], left - 10, top - 6, "badge-text"),
        ];
      });
  }

  const text = (words, x, y, name, anchor = "middle") => {
    const made = shape("text", { class: name, x, y, "text-anchor": anchor });
    made.textContent = words;
    return made;
  };

  function gridOf(at, here) {
    const { grid } = state;
    if (!grid) return [];
    const perMm = etdrs.pixelsPerMm(grid, desk.spacing);
    const [x, y] = at(grid.fovea.x, grid.fovea.y);
    const [discX, discY] = at(grid.disc.x, grid.disc.y);
    const lines = [
      ...etdrs.RADII_MM.map((radius) => ({ tag: "circle", cx: x, cy: y, r: radius * perMm * here.scale })),
      ...etdrs.spokes(grid, perMm).map(([fromX, fromY, toX, toY]) => {
        const [x1, y1] = at(fromX, fromY),
          [x2, y2] = at(toX, toY);
        return { tag: "line", x1, y1, x2, y2 };
      }),
      { tag: "circle", cx: discX, cy: discY, r: (etdrs.discDiameter(grid, desk.spacing) / 2) * here.scale },
    ];
    return [
      ...lines.flatMap(({ tag, ...geometry }) => [
        shape(tag, { class: "halo", ...geometry }),
        shape(tag, { class: "grid", ...geometry }),
      ]),
      ...[
        ["fovea", x, y],
        ["disc", discX, discY],
      ].flatMap(([name, cx, cy]) => [
        shape("circle", { class: "halo", cx, cy, r: 7 }),
        shape("circle", { class: `handle ${name}`, cx, cy, r: 7 }),
        text(name === "fovea" ? "Fovea" : "Disc", cx + 12, cy - 8, "word", "start"),
      ]),
    ];
  }

  function ruler(at) {
    if (!state.ruler) return [];
    const { from, to } = state.ruler;
    const [x1, y1] = at(from.x, from.y),
      [x2, y2] = at(to.x, to.y);
    const ends = [
      [x1, y1],
      [x2, y2],
    ].map(([cx, cy]) => shape("circle", { class: "ruler-end", cx, cy, r: 3.5 }));
    return [
      shape("line", { class: "halo", x1, y1, x2, y2 }),
      shape("line", { class: "ruler", x1, y1, x2, y2 }),
      ...ends,
      text(measured(state.ruler), (x1 + x2) / 2, Math.min(y1, y2) - 10, "word"),
    ];
  }

  /** "312 px · 1.248 mm · 0.7 DD". */
  function measured({ from, to }) {
    const pixels = Math.hypot(to.x - from.x, to.y - from.y);
    const discs = state.grid
      ? ` · ${(pixels / etdrs.discDiameter(state.grid, desk.spacing)).toFixed(2)} DD`
      : "";
    return levels.length(pixels, desk.spacing) + discs;
  }

  function stroke(at, here) {
    if (!state.stroke) return [];
    const { points, diameter, tool } = state.stroke;
    const path = points.map(([x, y]) => at(x, y).join(" ")).join(" L ");
    const last = at(...points[points.length - 1]).join(" ");
    return [
      shape("path", {
        class: `stroke ${tool}`,
        d: `M ${path} L ${last}`,
        "stroke-width": Math.max(1, diameter * here.scale),
        stroke: tool === "brush" ? `rgb(${desk.lesion(desk.active).colour})` : null,
      }),
    ];
  }

  function cursor(at, here) {
    if (!state.cursor) return [];
    const [cx, cy] = at(state.cursor.x, state.cursor.y);
    const r = Math.max(1.5, (state.cursor.diameter / 2) * here.scale);
    return [
      shape("circle", { class: "halo thin", cx, cy, r }),
      shape("circle", { class: "cursor", cx, cy, r }),
    ];
  }

  return {
    draw,
    measured,
    set(changes) {
      Object.assign(state, changes);
      draw();
    },
    state,
  };
}
