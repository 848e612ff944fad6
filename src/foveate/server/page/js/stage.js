// The stage: what is drawn of the open photograph, and the texts around it.
//
// Knows:   which layers are shown, the caption, the line below, and where the pointer is.
// Ignores: how tiles, layers and annotations are drawn.

import { byId, isPressed, setText } from "./dom.js";
import { failureText } from "./messages.js";

export const QUALITY = { blur: "blurred", colour: "odd colours", exposure: "badly exposed", cut: "field cut off", small: "few pixels" };
const PAINTING = { brush: "The brush paints", eraser: "The eraser erases", restore: "Restore brings back the model's result for" };
const CLICK_PX = 4; // px that a pointer may move between down and up in a click

/** progress(id): returns the progress of an analysis, 0 to 1. selectAt(point): selects the region at a point. */
export function createStage(state, viewer, layers, annotations, { progress, selectAt, showColour }) {
  let shownId = null;

  function drawLayers() {
    const { view } = state;
    if (!view?.result) return layers.clear();
    layers.show({
      photograph: view.photograph,
      revision: view.revision,
      reference: view.reference,
      referenceRevision: view.referenceRevision,
      hidden: state.hidden || view.ownHidden,
      layers: view.lesions.map(({ shown, level, colour, opacity, style }) =>
        shown ? { level, colour, opacity, style } : null,
      ),
      regions: view.lesions.map(({ code, level }) =>
        view.boxes[code]?.level === level ? view.boxes[code].boxes : null,
      ),
    });
    annotations.draw();
  }

  function showPhotograph() {
    const { photograph } = state;
    if ((photograph?.id ?? null) !== shownId) {
      shownId = photograph?.id ?? null;
      viewer.show(photograph);
      showColour();
    } else if (photograph) viewer.setField(photograph.result?.field.box ?? null);
    byId("welcome").hidden = Boolean(photograph);
    document.title = photograph ? `${photograph.name} – Foveate` : "Foveate";
    renderTexts();
  }

  function renderTexts() {
    const { photograph, result } = state;
    const caption = photograph && !result ? analysisText(photograph) : paintingText();
    byId("caption").textContent = caption;
    byId("caption").hidden = !caption;
    const quality = result?.quality.map((code) => QUALITY[code] || code).join(", ");
    setText(byId("quality"), quality ? `Quality: ${quality}` : "");
    setText(byId("model-name"), result ? `Model ${result.model.name} ${result.model.version}` : "");
  }

  /** Return which lesion a stroke would change; empty unless a tool that paints is in use. */
  function paintingText() {
    const lesion = state.lesion(state.activeLesion);
    return lesion && state.tool in PAINTING ? `${PAINTING[state.tool]} ${lesion.name}` : "";
  }

  function analysisText(photograph) {
    if (photograph.state === "failed") return failureText(photograph);
    if (photograph.state === "running") return `Analysing: ${Math.round(100 * progress(photograph.id))} %`;
    return "Waiting in the queue";
  }

  /** Show where the pointer is: its position, and a cross on the untouched photograph. */
  function showPointer(point, crossPoint = point) {
    setText(byId("pointer-position"), point ? `x ${Math.floor(point.x)}  y ${Math.floor(point.y)}` : "\u00a0");
    const placement = viewer.placement();
    const isShown = crossPoint && placement && isPressed(byId("side-by-side"));
    byId("crosshair").hidden = !isShown;
    if (!isShown) return;
    const x = placement.x + crossPoint.x * placement.scale,
      y = placement.y + crossPoint.y * placement.scale;
    byId("crosshair").style.setProperty("transform", `translate(${x}px, ${y}px)`);
  }

  function selectRegionsByClick() {
    let down = null;
    const start = ({ clientX, clientY, button }) => {
      down = button === 0 ? [clientX, clientY] : null;
    };
    const end = (event) => {
      if (!down || Math.hypot(event.clientX - down[0], event.clientY - down[1]) > CLICK_PX) return;
      const { left, top } = byId("layer-canvas").getBoundingClientRect();
      const cluster = layers.countAt(event.clientX - left, event.clientY - top);
      const point = viewer.pointAt(event);
      if (state.tool !== "move") return;
      if (cluster) viewer.showBox(cluster);
      else if (point) selectAt(point);
    };
    byId("osd").addEventListener("pointerdown", start, true);
    byId("osd").addEventListener("pointerup", end, true);
  }

  function followSize() {
    const observer = new ResizeObserver(() => {
      viewer.resize();
      layers.redraw();
      annotations.draw();
    });
    observer.observe(byId("panes"));
  }

  state.on("photograph layers reference regions", drawLayers);
  state.on("photograph", showPhotograph);
  state.on("document progress tool", renderTexts);
  state.on("region corrections spacing_mm", annotations.draw);
  selectRegionsByClick();
  followSize();

  return { showPointer };
}
