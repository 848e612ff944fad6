// Tools: what a pointer does on the photograph: move it, measure, place the grid, paint or erase.
//
// Knows:   the tools, and how a pointer operates each of them.
// Ignores: how lines are drawn, and how edits are saved.
//
// A stroke belongs to the photograph and the lesion on which it was begun, even if another one is opened or
// chosen before it ends; and to the pointer that began it, whatever others touch the screen meanwhile.

import { byId, radioGroup, setDisabled, setText } from "./dom.js";
import { createGestures } from "./gestures.js";
import { showRefusal } from "./messages.js";
import { LOADING, refusalOf, refusalOfFields } from "./refusals.js";

const DIGITS = 2; // after the decimal point of a stroke's points, px
const MAX_POINTS = 9000; // of a stroke; the server takes 10000
const PEN_ERASER = 5; // button of a pen's other end
const WIDE = 21; // px: from this width on, the brush grows in larger steps

const TOOLS = [
  { value: "move", text: "Move", title: "Move the photograph; click a region to select it (V)", keys: "V" },
  { value: "ruler", text: "Ruler", title: "Measure a distance (M)", keys: "M" },
  { value: "brush", text: "Brush", title: "Paint the active lesion (B)", keys: "B" },
  { value: "eraser", text: "Eraser", title: "Erase the active lesion (E)", keys: "E" },
  { value: "restore", text: "Restore", title: "Restore the model's result (W)", keys: "W" },
];

const paints = (tool) => tool === "brush" || tool === "eraser" || tool === "restore";

/** onGridMoved(view, grid, before): the grid was dragged; before: the stored one when the drag began. */
export function createTools(state, viewer, annotations, corrections, { onGridMoved }) {
  const canvas = byId("layer-canvas");
  const svg = byId("annotations");
  const selectTool = radioGroup(byId("tool"), "tool", TOOLS, "move", (tool) => state.set({ tool }, "tool"));
  const gestures = createGestures(viewer);
  let drag = null; // the action of the pointer that is down: {pointerId, pointerType, move(point), end()}

  const diameter = () => Number(byId("diameter").value);

  function setDiameter(value) {
    byId("diameter").value = value;
    setText(byId("diameter-value"), `${diameter()} px`);
    const { cursor } = annotations.shown;
    if (cursor) annotations.set({ cursor: { ...cursor, diameter: diameter() } });
  }

  /** Choose a tool; the same tool again returns to moving. */
  function use(tool) {
    const next = state.tool === tool ? "move" : tool;
    if (paints(next) && showRefusal(refusalOf(state, state.author))) return;
    if (!paints(next) || state.result) state.set({ tool: next }, "tool");
  }

  function renderTool() {
    selectTool(state.tool);
    const isPainting = paints(state.tool);
    canvas.classList.toggle("takes-pointer", state.tool !== "move");
    canvas.classList.toggle("paints", isPainting);
    viewer.setPointerMoves(state.tool === "move");
    byId("brush-width").classList.toggle("unused", !isPainting); // its place stays: the photograph must not move
    if (!isPainting) annotations.set({ cursor: null, stroke: null });
  }

  /** Disable tools that may not paint; the chosen one, too, is left, but not while it paints, or may after loading. */
  function renderRefusal() {
    const refusal = refusalOf(state, state.author);
    for (const { value } of TOOLS.filter(({ value }) => paints(value))) {
      const tool = byId("tool").querySelector(`[value="${value}"]`);
      setDisabled(tool, false, refusal, tool.parentElement);
    }
    if (refusal && refusal !== LOADING && paints(state.tool) && !drag) state.set({ tool: "move" }, "tool");
  }

  // ---- the photograph ----

  canvas.addEventListener("pointerdown", (event) => {
    if (gestures.down(event)) return dropFingerDrag();
    if (event.button !== 0 && event.button !== PEN_ERASER) return;
    const point = viewer.pointAt(event);
    if (!point) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    const action = actionOf(point, event.button === PEN_ERASER ? "eraser" : state.tool);
    if (!action) return;
    const { pointerId, pointerType } = event;
    drag = { pointerId, pointerType, ...action };
    drag.move(point);
  });

  function actionOf(point, tool) {
    if (state.tool === "ruler") return measure(point);
    const isPainting = paints(state.tool) && state.result;
    return isPainting && !showRefusal(refusalOf(state, state.author)) ? paint(point, tool) : null;
  }

  const measure = (from) => ({ move: (to) => annotations.set({ ruler: { from, to } }), end: () => {} });

  function paint(start, tool) {
    const { view } = state;
    const points = [rounded(start)];
    const stroke = { lesion: state.activeLesion, tool, diameter: diameter(), points };
    return {
      move(point) {
        const next = rounded(point),
          last = points.at(-1);
        if ((next[0] !== last[0] || next[1] !== last[1]) && points.length < MAX_POINTS) points.push(next);
        annotations.set({ stroke, cursor: { ...point, diameter: stroke.diameter } });
      },
      end() {
        annotations.shown.stroke = null; // from now on it is drawn as a pending stroke
        corrections.addStroke(view, stroke);
      },
    };
  }

  const rounded = ({ x, y }) => [Number(x.toFixed(DIGITS)), Number(y.toFixed(DIGITS))];

  /** Discard what the first finger began: with a second finger, it is not a stroke. */
  function dropFingerDrag() {
    if (drag?.pointerType !== "touch") return;
    drag = null;
    annotations.set({ stroke: null, cursor: null });
  }

  function endDrag() {
    drag?.end();
    drag = null;
    renderRefusal(); // which may have changed meanwhile
  }

  canvas.addEventListener("pointermove", (event) => {
    if (gestures.move(event)) return;
    if (drag && drag.pointerId !== event.pointerId) return;
    viewer.setPointer(event);
    const point = viewer.pointAt(event);
    if (!point) return;
    if (paints(state.tool) && !drag) annotations.set({ cursor: { ...point, diameter: diameter() } });
    if (!drag) return;
    const parts = event.getCoalescedEvents?.() ?? [];
    for (const part of parts.length ? parts : [event]) {
      const between = viewer.pointAt(part);
      if (between) drag.move(between);
    }
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => {
      gestures.up(event);
      if (drag?.pointerId === event.pointerId) endDrag();
    });
  }
  canvas.addEventListener("pointerleave", (event) => {
    if (drag && drag.pointerId !== event.pointerId) return;
    if (!drag) annotations.set({ cursor: null });
    viewer.setPointer(null);
  });
  canvas.addEventListener(
    "wheel",
    (event) => {
      // the wheel zooms while a tool is in use, too
      event.preventDefault();
      viewer.zoomBy(event.deltaY < 0 ? 1.25 : 0.8, viewer.pointAt(event));
    },
    { passive: false },
  );

  // ---- the handles of the grid, whatever the tool ----

  svg.addEventListener("pointerdown", (event) => {
    const name = ["fovea", "disc"].find((handle) => event.target.classList.contains(handle));
    if (!name || showRefusal(refusalOfFields(state))) return;
    event.preventDefault();
    event.stopPropagation();
    svg.setPointerCapture(event.pointerId);
    const { view } = state;
    const before = view.photograph.grid;
    const listening = new AbortController();
    const listen = (names, act) => {
      for (const type of names)
        svg.addEventListener(type, (later) => later.pointerId === event.pointerId && act(later), listening);
    };
    const isShown = () => view === state.view && annotations.shown.grid;
    listen(["pointermove"], (moved) => {
      const point = viewer.pointAt(moved);
      if (point && isShown()) annotations.set({ grid: { ...annotations.shown.grid, [name]: point } });
    });
    listen(["pointerup", "pointercancel"], () => {
      listening.abort();
      if (isShown()) onGridMoved(view, annotations.shown.grid, before);
    });
  });

  byId("diameter").addEventListener("input", () => setDiameter(diameter()));
  state.on("tool photograph", renderTool);
  state.on("photograph document gradings author", renderRefusal);
  state.on("photograph", () => {
    endDrag(); // the stroke belongs to the photograph that was open before
    annotations.set({ ruler: null, stroke: null, cursor: null });
  });
  renderTool();

  return {
    use,
    changeWidth: (by) =>
      setDiameter(Math.min(Math.max(diameter() + by * (diameter() >= WIDE ? 10 : 2), 1), 101)),
    /** Return to moving; discard the ruler and an unfinished stroke. */
    cancel() {
      drag = null;
      annotations.set({ ruler: null, stroke: null });
      if (state.tool !== "move") state.set({ tool: "move" }, "tool");
    },
  };
}
