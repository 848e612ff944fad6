// The panel of lesions: each with its key, colour, threshold, and the number and area of its regions.
//
// Knows:   which controls a lesion has; that a moving threshold is drawn at once, and saved when it stops.
// Ignores: how layers are drawn.

import * as api from "./api.js";
import { byId, debounce, element, radioGroup, setDisabled, setText } from "./dom.js";
import { formatArea, formatNumber } from "./format.js";
import { failureText, showFailure, showRefusal } from "./messages.js";
import { refusalOf } from "./refusals.js";
import { countAndArea, formatProbability, MAX_LEVEL } from "./thresholds.js";

const NEXT_STYLE = { outline: "fill", fill: "heat", heat: "outline" };
const REST_MS = 250; // after the last move of a threshold, until it is saved and the regions are listed again

/**
 * now(): the time of the store's clock. onAnalysed(photograph, requested): the server analyses a photograph again, as
 * was asked for at the time `requested`.
 */
export function createLesionPanel(state, outbox, { now, onAnalysed }) {
  const rows = new Map(); // lesion code -> the elements of its row
  const selectStyle = radioGroup(
    byId("outline-style"),
    "outline-style",
    [
      { value: "outline", text: "Outline", title: "Outlines (F)", keys: "F" },
      { value: "fill", text: "Fill", title: "Filled (F)", keys: "F" },
      {
        value: "heat",
        text: "Heat",
        title: "The probability itself, also below the threshold: the stronger the colour, the higher it is (F)",
        keys: "F",
      },
    ],
    "outline",
    (style) => state.draw(null, { style }),
  );

  // ---- rows ----

  function render() {
    rows.clear();
    byId("lesions").replaceChildren(...(state.lesions.length ? state.lesions.map(row) : explanation()));
    if (state.lesions.length) selectStyle(state.lesions[0].style);
    renderFigures();
  }

  /** Return the reason why no lesions are shown, with what the person can do. */
  function explanation() {
    const { photograph } = state;
    const text = !photograph
      ? "No photograph is open."
      : photograph.state === "failed"
        ? failureText(photograph)
        : "The photograph is being analysed. Its layers appear here.";
    const paragraph = element("p", { class: "muted" }, text);
    if (photograph?.error?.code !== "no_field") return [paragraph];
    const onclick = () => analyseWhole(photograph.id);
    return [paragraph, element("button", { type: "button", onclick }, "Analyse the whole photograph")];
  }

  async function analyseWhole(id) {
    try {
      const requested = now();
      onAnalysed(await api.analyseAgain(id, { field: "full" }), requested);
    } catch (error) {
      showFailure(error);
    }
  }

  function row(lesion, index) {
    const { code, name, colour } = lesion;
    const controls = createControls(lesion, index);
    rows.set(code, controls);
    return element(
      "div",
      { class: "lesion", colour: `rgb(${colour})`, "data-code": code },
      element(
        "div",
        { class: "heading" },
        element(
          "label",
          { class: "name", title: `Show or hide ${name} (${index + 1})` },
          controls.shown,
          element("i", { class: "swatch" }),
          element("span", {}, name),
          element("kbd", {}, String(index + 1)),
        ),
        element(
          "label",
          { class: "active", title: `Correct ${name} with tools and verdicts (Shift ${index + 1})` },
          controls.active,
          element("span", {}, "Edit"),
          element("span", { class: "visually-hidden" }, ` ${name}`),
        ),
      ),
      controls.figures,
      element("div", { class: "threshold-row" }, controls.slider, controls.probability, controls.model),
      element(
        "label",
        { class: "opacity-row small muted" },
        "Opacity",
        element("span", { class: "visually-hidden" }, ` of ${name}`),
        controls.opacity,
      ),
    );
  }

  function createControls(lesion, index) {
    const { code, name } = lesion;
    const shown = element("input", {
      type: "checkbox",
      id: `shown-${code}`,
      checked: lesion.shown,
      "aria-keyshortcuts": String(index + 1),
      onchange: () => state.draw(code, { shown: shown.checked }),
    });
    const active = element("input", {
      type: "radio",
      name: "active",
      class: "visually-hidden",
      value: code,
      checked: state.activeLesion === code,
      onchange: () => state.set({ activeLesion: code }, "tool"),
    });
    const slider = element("input", {
      type: "range",
      min: 1,
      max: MAX_LEVEL,
      value: lesion.level,
      id: `level-${code}`,
      class: "threshold",
      "aria-label": `Threshold of ${name}`,
      oninput: () => setLevel(lesion, Number(slider.value)),
    });
    const opacity = element("input", {
      type: "range",
      min: 0.1,
      max: 1,
      step: 0.05,
      value: lesion.opacity,
      id: `opacity-${code}`,
      oninput: () => state.draw(code, { opacity: Number(opacity.value) }),
    });
    const count = element("output", { class: "count", id: `count-${code}`, for: `level-${code}` });
    const area = element("output", { class: "area", id: `area-${code}`, for: `level-${code}` });
    const edited = element("span", { class: "edited muted small" });
    return {
      shown,
      active,
      slider,
      opacity,
      count,
      area,
      edited,
      figures: element("div", { class: "figures" }, count, area, edited),
      probability: element("output", { class: "probability", for: `level-${code}` }),
      model: element("button", {
        type: "button",
        class: "borderless",
        title: `Back to the model's own threshold of ${name}`,
        onclick: () => setLevel(lesion, lesion.modelLevel),
      }),
    };
  }

  /** Update numbers and texts only: called with each movement of a threshold. */
  function renderFigures() {
    const { view } = state;
    const refusal = refusalOf(state, "");
    const isOutdated = Boolean(view?.counts) && (view.counts.revision < view.revision || outbox.hasEdits(view.id));
    for (const lesion of state.lesions) {
      const controls = rows.get(lesion.code);
      if (!controls) continue;
      const figures = countAndArea(view.counts?.lesions[lesion.code], lesion.level);
      const area = figures ? formatArea(figures.area, view.spacing) : "";
      controls.shown.checked = lesion.shown;
      controls.active.checked = state.activeLesion === lesion.code;
      controls.slider.value = lesion.level;
      controls.figures.setAttribute("aria-busy", String(isOutdated)); // they are those before the last edit
      setText(controls.count, figures ? formatNumber(figures.count) : "…");
      setText(controls.area, area);
      setText(controls.probability, formatProbability(lesion.level));
      controls.slider.setAttribute(
        "aria-valuetext",
        [
          `probability ${formatProbability(lesion.level)}`,
          ...(figures ? [`${figures.count} regions`, area] : []),
        ].join(", "),
      );
      setText(controls.model, `model ${formatProbability(lesion.modelLevel)}`);
      setDisabled(controls.slider, false, refusal);
      setDisabled(controls.model, lesion.level === lesion.modelLevel, refusal);
      setText(controls.edited, editedText(view.counts?.lesions[lesion.code], lesion.level));
    }
  }

  /** Return how many pixels differ from the model's mask at a threshold's level; "" if none do. */
  function editedText(table, level) {
    const [added, erased] = [table?.added_px[level], table?.erased_px[level]];
    const parts = [added ? `+${formatNumber(added)}` : "", erased ? `−${formatNumber(erased)}` : ""];
    return added || erased ? `${parts.filter(Boolean).join(" ")} px by hand` : "";
  }

  // ---- thresholds ----

  const settle = debounce(REST_MS, () => state.emit("levels-settled"));

  function setLevel(lesion, level) {
    lesion.level = Math.min(Math.max(level, 1), MAX_LEVEL);
    outbox.change(state.view.id, { levels: { [lesion.code]: lesion.level } }, { delay: REST_MS });
    state.emit("levels");
    state.emit("layers");
    settle();
  }

  async function loadCounts() {
    const { view } = state;
    if (!view?.result) return;
    try {
      const counts = await api.getCounts(view.id, view.signal);
      if (!view.counts || counts.revision >= view.counts.revision) state.update(view, { counts }, "counts");
    } catch (error) {
      showFailure(error);
    }
  }

  state.on("photograph", () => {
    render();
    loadCounts();
  });
  state.on("document", () => (state.result ? renderFigures() : render()));
  state.on("corrections", loadCounts);
  state.on("levels counts layers tool corrections gradings author", renderFigures);
  render();

  return {
    renderFigures,
    /** Show or hide a lesion, by its place in the panel. */
    toggle(index) {
      const lesion = state.lesions[index];
      if (lesion) state.draw(lesion.code, { shown: !lesion.shown });
    },
    /** Make a lesion the active one, by its place in the panel. */
    activate(index) {
      const lesion = state.lesions[index];
      if (lesion) state.set({ activeLesion: lesion.code }, "tool");
    },
    toggleStyle() {
      const style = NEXT_STYLE[state.lesions[0]?.style] ?? "outline";
      selectStyle(style);
      state.draw(null, { style });
    },
    /** Move the threshold of the active lesion by a number of levels. */
    moveThreshold(by) {
      const lesion = state.lesion(state.activeLesion);
      if (lesion && !showRefusal(refusalOf(state, ""))) setLevel(lesion, lesion.level + by);
    },
  };
}
