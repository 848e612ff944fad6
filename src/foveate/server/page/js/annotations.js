// Annotations: lines and texts above the layers. The selected region, verdicts, ruler, grid, strokes, the
// brush's cursor.
//
// Knows:   how each is drawn, in the photograph's own pixels.
// Ignores: who sets them. They are few, so that each is an element; the regions are rasters (layers.js).

import { svgElement } from "./dom.js";
import * as etdrs from "./etdrs.js";
import { formatLength } from "./format.js";

const MAX_VERDICTS = 400; // badges on the photograph: our choice
const BADGES = { accepted: "✓", rejected: "×", questionable: "?" };
const PADDING = 6; // px of the screen around the selected region

/**
 * Create the annotations in an SVG that covers the photograph's pane.
 *
 * placement(): {x, y, scale, width, height} of the photograph on the screen, CSS px; or null.
 * pendingStrokes(): strokes that the server has not answered yet.
 */
export function createAnnotations(svg, state, placement, pendingStrokes) {
  const shown = { ruler: null, grid: null, stroke: null, cursor: null };

  function draw() {
    const current = placement();
    if (!current || !state.view) return svg.replaceChildren();
    const onScreen = (x, y) => [current.x + x * current.scale, current.y + y * current.scale];
    const strokes = [...pendingStrokes(), ...(shown.stroke ? [shown.stroke] : [])];
    const elements = [
      ...verdicts(onScreen, current),
      ...selectedRegion(onScreen, current),
      ...(shown.grid ? grid(shown.grid, onScreen, current) : []),
      ...(shown.ruler ? ruler(shown.ruler, onScreen) : []),
      ...strokes.map((stroke) => strokePath(stroke, onScreen, current)),
      ...(shown.cursor ? cursor(shown.cursor, onScreen, current) : []),
    ];
    if (elements.length || svg.firstChild) svg.replaceChildren(...elements);
  }

  function selectedRegion(onScreen, { scale }) {
    const { view } = state;
    if (!view?.region || state.hidden) return [];
    const { x, y, width, height } = view.region.box;
    const [left, top] = onScreen(x, y);
    return ["halo", "selected"].map((name) =>
      svgElement("rect", {
        class: name,
        x: left - PADDING,
        y: top - PADDING,
        rx: 4,
        width: width * scale + 2 * PADDING,
        height: height * scale + 2 * PADDING,
      }),
    );
  }

  function verdicts(onScreen, current) {
    if (state.hidden || state.view?.ownHidden) return []; // verdicts are the photograph's own, as its outlines
    return (state.view?.corrections?.verdicts ?? [])
      .slice(-MAX_VERDICTS)
      .filter(({ lesion }) => state.lesion(lesion)?.shown)
      .flatMap(({ x, y, verdict }) => {
        const [left, top] = onScreen(x + 0.5, y + 0.5);
        if (left < 0 || top < 0 || left > current.width || top > current.height) return [];
        return [
          svgElement("circle", { class: `badge ${verdict}`, cx: left - 10, cy: top - 10, r: 8 }),
          text(BADGES[verdict], left - 10, top - 6, "badge-text"),
        ];
      });
  }

  const text = (content, x, y, name, anchor = "middle") => {
    const created = svgElement("text", { class: name, x, y, "text-anchor": anchor });
    created.textContent = content;
    return created;
  };

  function grid(placed, onScreen, { scale }) {
    const { spacing } = state.view;
    const perMm = etdrs.pixelsPerMm(placed, spacing);
    const [x, y] = onScreen(placed.fovea.x, placed.fovea.y);
    const [discX, discY] = onScreen(placed.disc.x, placed.disc.y);
    const lines = [
      ...etdrs.RADII_MM.map((radius) => ({ tag: "circle", cx: x, cy: y, r: radius * perMm * scale })),
      ...etdrs.spokes(placed, perMm).map(([fromX, fromY, toX, toY]) => {
        const [x1, y1] = onScreen(fromX, fromY),
          [x2, y2] = onScreen(toX, toY);
        return { tag: "line", x1, y1, x2, y2 };
      }),
      { tag: "circle", cx: discX, cy: discY, r: (etdrs.discDiameter(placed, spacing) / 2) * scale },
    ];
    return [
      ...lines.flatMap(({ tag, ...geometry }) => [
        svgElement(tag, { class: "halo", ...geometry }),
        svgElement(tag, { class: "grid", ...geometry }),
      ]),
      ...handle("fovea", "Fovea", x, y),
      ...handle("disc", "Disc", discX, discY),
    ];
  }

  const handle = (name, label, cx, cy) => [
    svgElement("circle", { class: "halo", cx, cy, r: 7 }),
    svgElement("circle", { class: `handle ${name}`, cx, cy, r: 7 }),
    text(label, cx + 12, cy - 8, "label", "start"),
  ];

  function ruler({ from, to }, onScreen) {
    const [x1, y1] = onScreen(from.x, from.y),
      [x2, y2] = onScreen(to.x, to.y);
    const end = (cx, cy) => svgElement("circle", { class: "ruler-end", cx, cy, r: 3.5 });
    return [
      svgElement("line", { class: "halo", x1, y1, x2, y2 }),
      svgElement("line", { class: "ruler", x1, y1, x2, y2 }),
      end(x1, y1),
      end(x2, y2),
      text(rulerText({ from, to }), (x1 + x2) / 2, Math.min(y1, y2) - 10, "label"),
    ];
  }

  /** Format a ruler's length: "312 px · 1.248 mm · 0.70 DD" (disc diameters, if there is a grid). */
  function rulerText({ from, to }) {
    const { spacing } = state.view;
    const pixels = Math.hypot(to.x - from.x, to.y - from.y);
    const length = formatLength(pixels, spacing);
    return shown.grid
      ? `${length} · ${(pixels / etdrs.discDiameter(shown.grid, spacing)).toFixed(2)} DD`
      : length;
  }

  function strokePath({ points, diameter, tool, lesion }, onScreen, { scale }) {
    const places = points.map(([x, y]) => onScreen(x, y).join(" "));
    return svgElement("path", {
      class: `stroke ${tool}`,
      d: `M ${places.join(" L ")} L ${places.at(-1)}`,
      "stroke-width": Math.max(1, diameter * scale),
      stroke: tool === "brush" ? `rgb(${state.lesion(lesion)?.colour})` : null,
    });
  }

  function cursor({ x, y, diameter }, onScreen, { scale }) {
    const [cx, cy] = onScreen(x, y);
    const r = Math.max(1.5, (diameter / 2) * scale);
    return [
      svgElement("circle", { class: "halo thin", cx, cy, r }),
      svgElement("circle", { class: "cursor", cx, cy, r }),
    ];
  }

  /** Change what is shown: {ruler, grid, stroke, cursor}, each null for nothing. */
  function set(changes) {
    Object.assign(shown, changes);
    draw();
    if ("ruler" in changes || "grid" in changes) state.emit("ruler");
  }

  return { draw, set, shown, rulerText };
}
