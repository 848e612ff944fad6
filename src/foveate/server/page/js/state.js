// The state that parts of the page share: the open photograph, its layers, the active lesion, the tool.
//
// Knows:   what is open, and which functions listen for which event.
// Ignores: elements, tiles, addresses.
//
// Each time a photograph is opened, it gets a new `PhotographView`. A function that awaits an answer keeps the
// view with which it began and passes it to `update`: a late answer changes its own view, never the one that
// is open by then.
//
// Events: photograph (another one is open, or none), document (the server's data of it changed), spacing_mm and grid
// (these fields among them, here or in another window), layers (how they are drawn), levels (a threshold moves),
// levels-settled (it has stopped), saved (changes of the photograph have reached the server), counts, corrections,
// regions (where they are), region (the selected one), tool (or the active lesion), ruler, reference (masks), gradings
// (who grades, and whether somebody adjudicates), graders (their outlines), author (the name of whoever uses the page).

import { isSame } from "./conflicts.js";
import { readPreferences, savePreferences } from "./preferences.js";

const DEFAULT_OPACITY = 0.9;
const FIELDS = ["spacing_mm", "grid"]; // whose changes are events

let lastRevision = 0;

/** Return a number that reference masks never had before: tiles of earlier masks of that name are not shown. */
export function newReferenceRevision() {
  lastRevision = Math.max(Date.now(), lastRevision + 1);
  return lastRevision;
}

/** What the page shows of one photograph, from when it is opened until another one is. */
class PhotographView {
  #controller = new AbortController();
  counts = null; // tables of all levels
  corrections = null; // state of the corrections
  region = null; // the selected one
  boxes = {}; // lesion code -> {level, boxes}: where its regions lie at a threshold's level
  gradings = null; // as the server lists them: {gradings, open, adjudication}; null until they are loaded
  hasUnreadGradings = false; // whether they could not be loaded
  graders = null; // what each grader left, where it may be seen: [{grader, copy, shown, colour, dashed}]
  ownHidden = false; // the photograph's own layers, to see the graders' alone
  reference = null; // name of the masks that it is compared with
  referenceRevision = newReferenceRevision(); // of these masks, which may have been replaced since they were shown

  /** lesions: [{code, name, colour, level, modelLevel, shown, opacity, style}]. */
  constructor(photograph, lesions) {
    this.photograph = photograph;
    this.lesions = lesions;
    this.revision = photograph.result?.revision ?? 0; // of the corrections that are shown; the server may be ahead
  }

  get id() {
    return this.photograph.id;
  }

  get result() {
    return this.photograph.result;
  }

  get spacing() {
    return this.photograph.spacing_mm ?? null;
  }

  /** Aborts requests that only this view needs. */
  get signal() {
    return this.#controller.signal;
  }

  lesion(code) {
    return this.lesions.find((lesion) => lesion.code === code);
  }

  close() {
    this.#controller.abort();
  }
}

export function createState() {
  const listeners = new Map();
  const drawing = new Map(); // lesion code -> {shown, opacity, style}, kept until no photograph is open
  const preferences = readPreferences();

  const state = {
    server: null,
    view: null, // the open photograph's
    activeLesion: null, // code of the lesion that tools and threshold keys change
    tool: "move",
    hidden: false, // all layers
    author: preferences.author || "",

    get photograph() {
      return state.view?.photograph ?? null;
    },
    get result() {
      return state.view?.result ?? null;
    },
    get lesions() {
      return state.view?.lesions ?? [];
    },
    lesion: (code) => state.view?.lesion(code),

    /** Call a function at each of the named events; the names are separated by spaces. */
    on(names, listener) {
      for (const name of names.split(" ")) listeners.set(name, [...(listeners.get(name) || []), listener]);
    },
    emit(name) {
      for (const listener of listeners.get(name) || []) listener();
    },
    set(changes, event) {
      Object.assign(state, changes);
      state.emit(event);
    },

    /** Open a photograph; null closes the open one. */
    open(photograph) {
      state.view?.close();
      if (!photograph) drawing.clear();
      state.view = photograph && new PhotographView(photograph, newLesions(photograph));
      if (state.view && !state.lesion(state.activeLesion))
        state.activeLesion = state.lesions[0]?.code ?? state.activeLesion;
      state.emit("photograph");
    },

    /** Change a view; listeners are called only if it is still open. */
    update(view, changes, event) {
      Object.assign(view, changes);
      if (view === state.view) state.emit(event);
    },

    /** Take over newer data of a photograph if it is the open one. */
    refresh(photograph) {
      const { view } = state;
      if (view?.id !== photograph.id || view.photograph === photograph) return;
      const isAnalysedAgain = view.result && view.photograph.finished !== photograph.finished;
      if (isAnalysedAgain || Boolean(view.result) !== Boolean(photograph.result)) return state.open(photograph);
      const changed = FIELDS.filter((name) => !isSame(view.photograph[name], photograph[name]));
      view.photograph = photograph;
      for (const event of ["document", ...changed]) state.emit(event);
      adoptLevels(view);
    },

    /** Change how a lesion is drawn: {shown, opacity, style}; all lesions if the code is null. */
    draw(code, changes) {
      for (const lesion of state.lesions) {
        if (code !== null && lesion.code !== code) continue;
        Object.assign(lesion, changes);
        drawing.set(lesion.code, { shown: lesion.shown, opacity: lesion.opacity, style: lesion.style });
      }
      if (changes.style) savePreferences({ style: changes.style });
      if (changes.opacity)
        savePreferences({ opacity: { ...readPreferences().opacity, [code]: changes.opacity } });
      state.emit("layers");
    },
  };

  function newLesions({ result }) {
    return Object.entries(result?.lesions ?? {}).map(([code, { name, colour, level, model_level }]) => ({
      code,
      name,
      colour,
      level,
      modelLevel: model_level,
      shown: true,
      opacity: preferences.opacity?.[code] ?? DEFAULT_OPACITY,
      style: preferences.style ?? "outline",
      ...drawing.get(code),
    }));
  }

  /** Take over thresholds that were changed elsewhere. */
  function adoptLevels(view) {
    const moved = view.lesions.filter(({ code, level }) => view.result.lesions[code].level !== level);
    if (!moved.length) return;
    for (const lesion of moved) lesion.level = view.result.lesions[lesion.code].level;
    for (const event of ["levels", "layers", "levels-settled", "saved"]) state.emit(event);
  }

  return state;
}
