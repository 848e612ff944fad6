// What each grader of a photograph left, as outlines over it, for whoever adjudicates between them.
//
// Knows:   the graders' colours and lines, which of them are shown, and the legend that names them.
// Ignores: when gradings may be seen (the server says so), and how outlines are drawn (layers.js).

import * as api from "./api.js";
import { isSame } from "./conflicts.js";
import { byId, element } from "./dom.js";
import { createLayers } from "./layers.js";
import { showFailure } from "./messages.js";

// Of Okabe and Ito (2008), without those of the lesions; a broken line tells two graders apart without colours.
const LINES = [
  { colour: [204, 121, 167], dashed: false },
  { colour: [0, 114, 178], dashed: true },
  { colour: [213, 94, 0], dashed: false },
  { colour: [230, 159, 0], dashed: true },
];

/** placement(): of the photograph on the screen, as for `createLayers`. worker: a worker client. */
export function createGraderLayers(state, placement, worker) {
  const layers = []; // one for each grader, and as many as were ever needed

  /**
   * Load what the graders of a view left: [{grader, done: time, photograph: id of their copy}]. Until somebody
   * adjudicates, they are seen without the photograph's own result; once it is adjudicated, that result is seen alone.
   */
  async function load(view, gradings, isBegun, signal) {
    const versionOf = ({ grader, done }) => `${grader} ${done}`;
    if (isSame(view.graders?.map(versionOf), gradings.map(versionOf))) return;
    try {
      const copies = await Promise.all(gradings.map(({ photograph }) => api.getPhotograph(photograph, signal)));
      if (signal.aborted) return;
      const { reviewed } = view.photograph;
      const graders = gradings.map(({ grader, done }, index) => ({
        grader,
        done,
        copy: copies[index],
        shown: !reviewed,
        ...LINES[index % LINES.length],
      }));
      state.update(view, { graders, ownHidden: !isBegun && !reviewed }, "layers");
    } catch (error) {
      showFailure(error, "The graders' outlines could not be read: ");
    }
  }

  /** Return the controls that show and hide each grader's outlines; empty while they are not loaded. */
  function controls(isBegun) {
    const { view } = state;
    if (!view?.graders) return [];
    const own = () => {
      state.update(view, { ownHidden: !view.ownHidden }, "layers");
    };
    const set = (grader) => {
      grader.shown = !grader.shown;
      state.update(view, {}, "graders");
    };
    return [
      element(
        "fieldset",
        { id: "graders" },
        element("legend", { class: "small" }, "Outlines of"),
        ...view.graders.map((grader, index) =>
          checkbox(`grader-${index}`, grader.shown, () => set(grader), lineSample(grader), grader.grader),
        ),
        checkbox("grader-own", !view.ownHidden, own, null, ownName(view, isBegun)),
      ),
    ];
  }

  /** Return what the photograph's own outlines are: somebody may have corrected them before double grading. */
  function ownName({ result }, isBegun) {
    if (isBegun) return "The adjudication";
    return result.corrected ? "Earlier corrections" : "The model";
  }

  const checkbox = (id, checked, onchange, ...content) =>
    element("label", { class: "inline" }, element("input", { type: "checkbox", id, checked, onchange }), ...content);

  const lineSample = ({ colour, dashed }) =>
    element("i", { class: `line-sample ${dashed ? "dashed" : ""}`, colour: `rgb(${colour})`, "aria-hidden": "true" });

  function draw() {
    const { view } = state;
    const graders = view?.graders ?? [];
    while (layers.length < graders.length) layers.push(newLayers());
    layers.forEach((layer, index) => {
      if (graders[index]?.shown && !state.hidden) layer.show(settingsOf(view, graders[index]));
      else layer.clear();
    });
    const shown = graders.filter((grader) => grader.shown && !state.hidden);
    byId("graders-legend").hidden = !shown.length;
    byId("graders-legend").replaceChildren(
      ...shown.map((grader) => element("span", { class: "inline" }, lineSample(grader), grader.grader)),
    );
  }

  function newLayers() {
    const canvas = element("canvas", { class: "layer-canvas", "aria-hidden": "true" });
    byId("annotations").before(canvas);
    return createLayers(canvas, placement, worker);
  }

  const settingsOf = (view, { copy, colour, dashed }) => ({
    photograph: copy,
    revision: copy.result.revision,
    reference: null,
    referenceRevision: 0,
    hidden: false,
    layers: view.lesions.map(({ code, shown, opacity }) =>
      shown ? { level: copy.result.lesions[code].level, colour, dashed, opacity, style: "outline" } : null,
    ),
  });

  state.on("photograph graders layers", draw);

  return {
    load,
    controls,
    /** Place the outlines now: called with each frame of the photograph. */
    draw: () => layers.forEach((layer) => layer.draw()),
    redraw: () => layers.forEach((layer) => layer.redraw()),
    pending: () => layers.reduce((sum, layer) => sum + layer.pending(), 0),
  };
}
