// What a pointer does on the photograph: move it, measure, place the grid, paint, erase.
//
// Knows:   the tools and how a pointer works each.
// Ignores: how lines are drawn and edits saved.

import { choice, get } from "./dom.js";

const ROUNDED = 2; // digits after the point of a stroke's places: a hundredth of a pixel
const MOST_POINTS = 9000; // of a stroke; the server takes 10000

export const TOOLS = [
  { value: "move", text: "Move", title: "Move the photograph; click a region to choose it (V)", keys: "V" },
  { value: "ruler", text: "Ruler", title: "Measure a distance (M)", keys: "M" },
  { value: "brush", text: "Brush", title: "Paint the lesion that is being edited (B)", keys: "B" },
  { value: "eraser", text: "Eraser", title: "Erase the lesion that is being edited (E)", keys: "E" },
  { value: "restore", text: "Restore", title: "Give pixels back to the model (W)", keys: "W" },
];

const painting = (tool) => tool === "brush" || tool === "eraser" || tool === "restore";

export function tools(desk, viewer, marks, correct, on) {
  const over = get("over");
  const choose = choice(get("tool"), "tool", TOOLS, "move", (tool) => desk.set({ tool }, "tool"));
  let held = null; // what a pointer that is down is doing

  const diameter = () => Number(get("diameter").value);

  function setDiameter(value) {
    get("diameter").value = value;
    get("diameter-shown").textContent = `${diameter()} px`;
    marks.set({ cursor: marks.state.cursor && { ...marks.state.cursor, diameter: diameter() } });
  }

  /** The same tool again goes back to moving. */
  function use(tool) {
    const wanted = desk.tool === tool ? "move" : tool;
    if (painting(wanted) && !desk.result) return;
    desk.set({ tool: wanted }, "tool");
  }

  function follow() {
    choose(desk.tool);
    const holds = desk.tool !== "move";
    over.classList.toggle("holds", holds);
    over.classList.toggle("paints", painting(desk.tool));
    viewer.hold(holds);
    get("brush").hidden = !painting(desk.tool);
    if (!painting(desk.tool)) marks.set({ cursor: null, stroke: null });
  }

  const place = (event) => viewer.under(event);

  over.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const at = place(event);
    if (!at) return;
    event.preventDefault();
    over.setPointerCapture(event.pointerId);
    if (desk.tool === "ruler") held = { move: (to) => marks.set({ ruler: { from: at, to } }), end: () => {} };
    else if (painting(desk.tool)) held = paint(at);
    held?.move(at);
  });

  function paint(first) {
    const tool = desk.tool,
      width = diameter();
    const points = [rounded(first)];
    return {
      move: (at) => {
        const next = rounded(at),
          last = points[points.length - 1];
        if ((next[0] !== last[0] || next[1] !== last[1]) && points.length < MOST_POINTS) points.push(next);
        marks.set({ stroke: { points, diameter: width, tool }, cursor: { ...at, diameter: width } });
      },
      end: () =>
        correct.stroke(tool, width, points, () => {
          if (marks.state.stroke?.points === points) marks.set({ stroke: null });
        }),
    };
  }

  const rounded = ({ x, y }) => [Number(x.toFixed(ROUNDED)), Number(y.toFixed(ROUNDED))];

  over.addEventListener("pointermove", (event) => {
    const at = place(event);
    on.pointer(at);
    if (!at) return;
    if (painting(desk.tool) && !held) marks.set({ cursor: { ...at, diameter: diameter() } });
    if (!held) return;
    for (const one of event.getCoalescedEvents?.() || [event]) {
      const between = place(one);
      if (between) held.move(between);
    }
  });
  for (const name of ["pointerup", "pointercancel"]) {
    over.addEventListener(name, () => {
      held?.end();
      held = null;
    });
  }
  over.addEventListener("pointerleave", () => {
    if (!held) marks.set({ cursor: null });
    on.pointer(null);
  });
  over.addEventListener(
    "wheel",
    (event) => {
      // a tool in hand still zooms
      event.preventDefault();
      const at = place(event);
      viewer.zoomBy(event.deltaY < 0 ? 1.25 : 0.8, at);
    },
    { passive: false },
  );

  /** Handles of the grid: the SVG's circles take pointers, whatever the tool. */
  const svg = get("marks");
  svg.addEventListener("pointerdown", (event) => {
    const name = ["fovea", "disc"].find((one) => event.target.classList.contains(one));
    if (!name) return;
    event.preventDefault();
    event.stopPropagation();
    svg.setPointerCapture(event.pointerId);
    const move = (moved) => {
      const at = place(moved);
      if (at) marks.set({ grid: { ...marks.state.grid, [name]: at } });
    };
    const end = () => {
      svg.removeEventListener("pointermove", move);
      on.gridMoved(marks.state.grid);
    };
    svg.addEventListener("pointermove", move);
    svg.addEventListener("pointerup", end, { once: true });
  });

  get("diameter").addEventListener("input", () => setDiameter(diameter()));
  desk.on("tool photograph", follow);
  desk.on("photograph", () => marks.set({ ruler: null, stroke: null, cursor: null }));
  follow();

  return {
    use,
    wider: (by) => setDiameter(Math.min(Math.max(diameter() + by * (diameter() >= 21 ? 10 : 2), 1), 101)),
    /** Give up what is being done; true if there was anything. */
    leave: () => {
      const busy = desk.tool !== "move" || marks.state.ruler;
      held = null;
      marks.set({ ruler: null, stroke: null });
      if (desk.tool !== "move") desk.set({ tool: "move" }, "tool");
      return Boolean(busy);
    },
  };
}
