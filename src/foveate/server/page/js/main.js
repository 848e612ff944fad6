// The page: creates its parts, connects them, and starts.

import { createAboutPanel } from "./about-panel.js";
import { createAnnotations } from "./annotations.js";
import { getServer } from "./api.js";
import { keyBindings } from "./bindings.js";
import { createComparePanel } from "./compare-panel.js";
import { createCorrections } from "./corrections.js";
import { byId, dropPress, setText } from "./dom.js";
import { createDownloads } from "./downloads.js";
import { listenForEvents } from "./events.js";
import { createGraderLayers } from "./grader-layers.js";
import { createGradings } from "./gradings.js";
import { bindKeys } from "./keyboard.js";
import { createLayers } from "./layers.js";
import { createLesionPanel } from "./lesion-panel.js";
import { createLoupe } from "./loupe.js";
import { createMeasurePanel } from "./measure-panel.js";
import { showFailure } from "./messages.js";
import { createOutbox } from "./outbox.js";
import { createPhotographList } from "./photograph-list.js";
import { createPhotographStore } from "./photograph-store.js";
import { createRegionList } from "./region-list.js";
import { startSession } from "./session.js";
import { createStage } from "./stage.js";
import { createState } from "./state.js";
import { createToolbar } from "./toolbar.js";
import { createTools } from "./tools.js";
import { createUploads } from "./uploads.js";
import { createViewers } from "./viewer.js";
import { createVisits } from "./visits.js";
import { createWorkerClient } from "./worker-client.js";

const state = createState();
state.on("photograph", () => dropPress(byId("panel"))); // before the panel is drawn

// ---- exchange with the server ----

const outbox = createOutbox({
  savedValues: (id, fields) => store.savedValues(id, fields),
  saveFields: (id, fields, options) => store.saveFields(id, fields, options),
  onRefusal: (id, error) => showFailure(error, "Not saved: "),
  onChange() {
    corrections.renderStatus();
    lesions.renderFigures();
    annotations.draw();
  },
  onFields: (id) => list.update(id),
  onSaved(id) {
    list.update(id);
    if (state.view?.id === id) state.emit("saved");
  },
});
const store = createPhotographStore(outbox.withPending);

// ---- the stage ----

const viewer = createViewers({ main: byId("osd"), untouched: byId("osd-untouched"), loupe: byId("osd-loupe") }, createWorkerClient(), {
  onMove() {
    layers.draw();
    graderLayers.draw();
    annotations.draw();
    const placement = viewer.placement();
    setText(byId("zoom-value"), placement ? `${Math.round(placement.scale * 100)} %` : "–");
  },
  onReady() {
    layers.redraw();
    graderLayers.redraw();
  },
  onPointer(point, isMain) {
    stage.showPointer(point, isMain ? point : null);
    loupe.follow(isMain ? point : null);
  },
});
const placement = () => viewer.placement();
const layers = createLayers(byId("layer-canvas"), placement, createWorkerClient());
const graderLayers = createGraderLayers(state, placement, createWorkerClient());
const annotations = createAnnotations(byId("annotations"), state, placement, () =>
  outbox.strokes(state.view?.id),
);
const corrections = createCorrections(state, layers, outbox);
const toolbar = createToolbar(state, viewer);
const loupe = createLoupe(viewer);

// ---- lists and panels ----

const uploads = createUploads({
  now: store.now,
  onUploaded: (photograph, requested) => list.add(photograph, requested),
  onChange: () => list.render(),
});
const list = createPhotographList(state, store, outbox, {
  uploadCount: () => uploads.count(),
  onDeletedElsewhere: () => tools.cancel(),
});
const lesions = createLesionPanel(state, outbox, { now: store.now, onAnalysed: list.add });
const regions = createRegionList(state, viewer.showBox, corrections);
const stage = createStage(state, viewer, layers, annotations, {
  progress: (id) => store.get(id)?.progress ?? 0,
  selectAt: regions.selectAt,
  showColour: toolbar.showColour,
});
const tools = createTools(state, viewer, annotations, corrections, {
  onGridMoved: (...moved) => measure.moveGrid(...moved),
});
const measure = createMeasurePanel(state, outbox, annotations, () => tools.use("ruler"));
createAboutPanel(state, outbox);
createComparePanel(state, outbox);
const downloads = createDownloads(state, outbox, corrections);
createGradings(state, outbox, list.load, graderLayers);
const visits = createVisits(state, viewer, toolbar, store.all);
const parts = { state, viewer, toolbar, loupe, visits, list, lesions, regions, corrections, tools, measure, downloads };
bindKeys(keyBindings(parts));

// ---- closing and starting ----

window.addEventListener("beforeunload", (event) => {
  const waits = byId("sign-in").open && !outbox.isEmpty(); // for the token
  const isUnfinished = uploads.count() || list.isDeleting() || outbox.mayLose() || waits;
  if (isUnfinished) event.preventDefault(); // the browser asks whether to leave
});
window.addEventListener("pagehide", () => {
  outbox.sendBeforeClosing();
  uploads.rememberUnfinished();
});

async function start() {
  await startSession(() => {
    list.load();
    viewer.reloadTiles();
  });
  uploads.reportUnfinished();
  try {
    state.server = await getServer();
  } catch (error) {
    showFailure(error);
  }
  if (state.server) list.handlers.queue(state.server.queue);
  listenForEvents(list.handlers);
  await list.load();
  list.openFromAddress();
  toolbar.restore();
}

// For measurements and tests: whether the screen is up to date, and all changes have reached the server.
Object.defineProperty(window, "foveate", {
  value: Object.freeze({
    isIdle: () =>
      layers.pending() + graderLayers.pending() === 0 &&
      viewer.isLoaded() &&
      !viewer.isMoving() &&
      outbox.isEmpty() &&
      !regions.isLoading(),
    layers,
    viewer,
    state,
  }),
});

start();
