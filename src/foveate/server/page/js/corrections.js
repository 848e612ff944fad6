// Corrections: what a grader paints, erases, accepts and rejects; saved at once.
//
// Knows:   that an edit belongs to the photograph, the lesion and the revision that the grader saw, and that
//          the server carries out undo and redo.
// Ignores: pixels: the server paints, and the page shows the tiles that changed.

import * as api from "./api.js";
import { byId, setDisabled, setText } from "./dom.js";
import { formatTime } from "./format.js";
import { confirmAction, showFailure, showMessage, showRefusal } from "./messages.js";
import { AGAIN } from "./outbox.js";
import { refusalOf } from "./refusals.js";

export function createCorrections(state, layers, outbox) {
  // photograph id -> {finished, pending, revision, reloads, steps}: when the analysis ended that they are of (each
  // begins with revision 0), the number of pending edits, the revision after the last edit that was answered, how often a refusal brought a newer state than that, and whether "undo" and
  // "redo" will be possible after all pending edits.
  const journals = new Map();

  async function load(view = state.view) {
    renderStatus();
    if (!view?.result) return;
    try {
      receive(view.id, await api.getCorrections(view.id, view.signal), null);
    } catch (error) {
      showFailure(error);
    }
  }

  /** Load the corrections if somebody else edited; while an own edit is pending, its answer decides. */
  function loadNewer() {
    const { view } = state;
    if (!view?.result || view.result.revision <= view.revision) return;
    if (!pendingEdits(view.id)) load();
  }

  /**
   * Take over the state of a photograph's corrections, unless the page has a later one; `box`: box of the
   * pixels that changed, null for all pixels.
   */
  function receive(id, corrections, box) {
    const { view } = state;
    if (view?.id !== id || corrections.revision < view.revision) return;
    if (corrections.revision > view.revision) layers.invalidate(box, corrections.revision);
    state.update(view, { corrections, revision: corrections.revision }, "corrections");
  }

  /**
   * Send an edit of a view's photograph. The revision is the one that the grader sees: the view's, or the
   * one that earlier edits in the outbox lead to. If somebody else edits meanwhile, the server refuses it, and
   * all that waits behind it except strokes is not sent: it was meant for what the grader saw then.
   */
  function edit(view, send, { stroke = null, steps = { undo: true, redo: false } } = {}) {
    const { id } = view;
    const { finished } = view.photograph;
    const journal = journals.get(id) ?? { pending: 0, revision: 0, reloads: 0 };
    if (!journal.pending && journal.finished !== finished) Object.assign(journal, { finished, revision: 0 });
    journals.set(id, Object.assign(journal, { steps }));
    if (!journal.pending) journal.revision = Math.max(journal.revision, view.revision);
    journal.pending++;
    const { reloads } = journal;
    const isOutdated = () => !stroke && journal.reloads > reloads;
    return outbox
      .add(id, {
        stroke,
        send: async () => {
          if (isOutdated()) throw new api.RequestError(409, "stale", staleText(1, false), null);
          return send(id, journal.revision);
        },
        onAnswer(corrections) {
          journal.revision = corrections.revision;
          receive(id, corrections, corrections.changed);
        },
        onRefusal: (error, attempts) => recover(view, journal, error, attempts, stroke),
      })
      .then(() => {
        journal.pending--;
        renderStatus();
        loadNewer();
      });
  }

  /**
   * Show why an edit was refused, and load the server's state, on which later edits are based. A stroke that was
   * refused only because somebody else edited is sent again: it means the same on the newer state.
   */
  async function recover({ id }, journal, error, attempts, stroke) {
    const isSentAgain = Boolean(stroke) && error.code === "stale" && attempts === 1;
    showMessage(error.code === "stale" ? staleText(attempts, isSentAgain) : error.message);
    try {
      const corrections = await api.getCorrections(id);
      if (corrections.revision !== journal.revision) journal.reloads++; // from now on the grader sees that state
      journal.revision = corrections.revision;
      receive(id, corrections, null);
      return isSentAgain ? AGAIN : null;
    } catch (failure) {
      if (failure.status !== 404) showFailure(failure); // 404: it was deleted
      return null;
    }
  }

  function staleText(attempts, isSentAgain) {
    if (isSentAgain)
      return "The corrections were changed in another window. The newer state is shown, with your stroke on it; check it, and undo what is wrong.";
    return attempts > 1
      ? "The corrections changed meanwhile. Check whether your last edit is among them."
      : "The corrections were changed in another window. Your last edit was not made; look at the newer state, and make it again.";
  }

  const pendingEdits = (id) => journals.get(id)?.pending ?? 0;

  function renderStatus() {
    const { view } = state;
    const corrections = view?.corrections;
    for (const step of ["undo", "redo"]) setDisabled(byId(step), !canStep(step), refusalOf(state, ""));
    const trouble = view && outbox.trouble(view.id);
    setText(byId("save-status"), trouble || (pendingEdits(view?.id) ? "Saving…" : lastEdit(corrections)));
  }

  const lastEdit = (corrections) =>
    corrections?.last_edit
      ? [
          `Saved ${formatTime(new Date(corrections.last_edit))}`,
          ...corrections.authors.map((author) => author || "no name given"),
        ].join(" · ")
      : "";

  function canStep(direction) {
    const { view } = state;
    if (!view) return false;
    if (pendingEdits(view.id)) return journals.get(view.id).steps[direction];
    return Boolean(direction === "undo" ? view.corrections?.can_undo : view.corrections?.can_redo);
  }

  /** Undo or redo the last edit, even one that is still pending; direction: "undo" or "redo". */
  function step(direction) {
    if (!canStep(direction) || showRefusal(refusalOf(state, ""))) return;
    edit(state.view, (id, revision) => api.stepCorrections(id, direction, revision), {
      steps: { undo: true, redo: direction === "undo" },
    });
  }

  /**
   * Paint with a tool: stroke: {lesion, tool: "brush", "eraser" or "restore", diameter, points: [[x, y],
   * ...]}, px.
   */
  function addStroke(view, stroke) {
    const { author } = state;
    return edit(view, (id, revision) => api.addStroke(id, { ...stroke, author, revision }), { stroke });
  }

  /** Give a verdict on a region: "accepted", "rejected", "questionable"; "none" takes it back. */
  function addVerdict(view, { lesion, level, inside: { x, y } }, verdict) {
    const { author } = state;
    const body = { lesion, level, x, y, verdict, note: "", author };
    return edit(view, (id, revision) => api.addVerdict(id, { ...body, revision }));
  }

  async function deleteAll() {
    const { view } = state;
    const { name } = view.photograph;
    const question = `Delete all corrections of ${name}, with their history? This cannot be undone.`;
    if (!(await confirmAction(question, "Delete"))) return;
    edit(view, (id) => api.deleteCorrections(id), { steps: { undo: false, redo: false } });
  }

  byId("undo").addEventListener("click", () => step("undo"));
  byId("redo").addEventListener("click", () => step("redo"));
  state.on("photograph", () => load());
  state.on("corrections gradings document author", renderStatus);
  state.on("document", loadNewer);

  return { step, addStroke, addVerdict, deleteAll, renderStatus };
}
