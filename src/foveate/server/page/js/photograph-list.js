// The list of photographs: what it shows, and which photograph is opened, left or deleted.
//
// Knows:   the address of the open photograph, and what the server's events mean for the list.
// Ignores: what a row says, how rows are ordered and drawn, and how photographs are uploaded.

import * as api from "./api.js";
import { confirmDeletion } from "./deletion.js";
import { byId, element, setText } from "./dom.js";
import { showFailure, showMessage } from "./messages.js";
import { arrange, FILTERS, ORDERS } from "./photograph-order.js";
import { batchHeading, photographRow } from "./photograph-row.js";
import { createQueueProgress } from "./queue-progress.js";
import { createSelection } from "./selection.js";
import { createVirtualRows } from "./virtual-rows.js";

const PAGE = 1000; // photographs in one answer of the server
const ATTEMPTS = 5; // to load a list that changes meanwhile
const MAX_NAMED = 5; // photographs that the server did not delete
const ROW_PX = 62; // a name, and the counts of four lesions on two lines
const HEADING_PX = 30;

/**
 * uploadCount(): photographs that are still being uploaded. onDeletedElsewhere(): called before the open photograph,
 * which somebody else deleted, is left.
 */
export function createPhotographList(state, store, outbox, { uploadCount, onDeletedElsewhere }) {
  const list = byId("photographs");
  const batches = new Map(); // batch id -> its name
  const burdens = new Map(); // photograph id -> the burden that it is sorted by, as first reported
  let entries = []; // as `arrange` returns them
  let ids = []; // of the photographs among them
  let current = null; // id of the row whose controls Tab reaches
  let opening = 0; // counts calls of open: answers for earlier ones open nothing
  let frame = 0;
  let deletions = 0; // calls of deleteAll that the server has not answered in full

  const options = (choices) => choices.map(([value, text]) => element("option", { value }, text));
  byId("list-order").replaceChildren(...options(ORDERS));
  byId("list-filter").replaceChildren(...options(FILTERS));

  const progress = createQueueProgress(store, uploadCount);
  const selection = createSelection(store, outbox, {
    shownIds: () => ids,
    batches,
    onChange: () => render(),
    remove: deleteAll,
  });
  const rows = createVirtualRows(list, {
    keyOf: ({ photograph, batch }) => photograph?.id ?? `batch ${batch}`,
    heightOf: ({ photograph }) => (photograph ? ROW_PX : HEADING_PX),
    wanted: ({ photograph }) => photograph?.id === currentId(),
    signatureOf: (entry) => JSON.stringify([entry.photograph ?? entry, shownOf(entry)]),
    build: (entry) =>
      entry.photograph
        ? photographRow(entry.photograph, shownOf(entry), { open: choose, remove: deleteOne, select })
        : batchHeading(entry, shownOf(entry), { select, download: (event) => outbox.followWhenSaved(event) }),
  });

  function shownOf({ photograph, ids: members }) {
    const isSelecting = selection.isOn();
    if (!photograph) return { isSelecting, areSelected: isSelecting && members.every(selection.has) };
    const { id } = photograph;
    return {
      isSelecting,
      isSelected: selection.has(id),
      isOpen: state.view?.id === id,
      isCurrent: id === currentId(),
      place: places.get(id),
      count: ids.length,
      waiting: waiting.get(id),
    };
  }

  let places = new Map(); // photograph id -> its place in the list, from 1
  let waiting = new Map(); // photograph id -> its place in the server's queue, from 1: first added, first analysed

  const placesOf = (ordered) => new Map(ordered.map((id, index) => [id, index + 1]));

  const currentId = () => (places.has(current) ? current : places.has(state.view?.id) ? state.view.id : ids[0]);

  // ---- loading and drawing ----

  async function load() {
    const requested = store.now();
    try {
      const [photographs, listed] = await Promise.all([loadAll(), api.listBatches()]);
      for (const { id, name } of listed.batches) batches.set(id, name);
      if (!store.receiveList(photographs.list, requested, photographs.isComplete)) return;
      const { view } = state;
      if (view && store.get(view.id)) state.refresh(store.get(view.id));
      renderNow();
      if (view && !store.get(view.id) && photographs.isComplete) await leave(view, photographs.list);
    } catch (error) {
      showFailure(error);
    }
  }

  /**
   * Leave a photograph that is not in a complete list. A grader's list holds their copies in place of the
   * photographs: what then stands in its place is opened. Otherwise it was deleted while no events arrived, if the
   * server says so of the photograph itself: what is still to be saved of it is dropped.
   */
  async function leave({ id, photograph }, listed) {
    const original = photograph.grading?.original ?? id;
    const counterpart = listed.find((other) => other.grading?.original === original || other.id === original);
    if (counterpart) return open(counterpart.id);
    const requested = store.now();
    try {
      add(await api.getPhotograph(id), requested);
    } catch (error) {
      if (error.status !== 404) throw error;
      forgetDeletedElsewhere(id);
    }
  }

  /** Load all photographs; again, a few times, where some were deleted between two parts of the list. */
  async function loadAll() {
    for (let attempt = 1; ; attempt++) {
      const loaded = await loadParts();
      if (loaded.isComplete || attempt === ATTEMPTS) return loaded;
    }
  }

  /**
   * Load all photographs, in parts. Each part begins with the last photograph of the one before: if it begins with
   * another one, some before it were deleted meanwhile, and the list is not complete.
   */
  async function loadParts() {
    const photographs = new Map();
    let last = null; // id of the last one of the part before
    let isShifted = false;
    for (;;) {
      const { size } = photographs;
      const { photographs: part, total } = await api.listPhotographs({
        sort: "submitted",
        limit: PAGE,
        offset: Math.max(size - 1, 0),
        grader: state.author,
      });
      isShifted ||= last !== null && part[0]?.id !== last;
      for (const photograph of part) photographs.set(photograph.id, photograph);
      last = part.at(-1)?.id ?? last;
      if (photographs.size < total && photographs.size > size) continue;
      return { list: [...photographs.values()], isComplete: !isShifted && photographs.size === total };
    }
  }

  /** Draw the list in the next frame, once for all changes until then. */
  function render() {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      renderNow();
    });
  }

  function renderNow() {
    arrangeNow();
    rows.show(entries);
    renderSummary();
  }

  function arrangeNow() {
    const photographs = store.all();
    for (const { id, result } of photographs)
      if (result && !burdens.has(id)) burdens.set(id, result.burden);
    entries = arrange(photographs, batches, {
      order: byId("list-order").value,
      filter: byId("list-filter").value,
      search: byId("list-search").value,
      keep: state.view?.id,
      burdens,
    });
    ids = entries.flatMap(({ photograph }) => photograph?.id ?? []);
    places = placesOf(ids);
    waiting = placesOf(photographs.filter(({ state }) => state === "queued").map(({ id }) => id));
  }

  function renderSummary() {
    const known = store.ids().length;
    document.documentElement.classList.toggle("has-photographs", Boolean(known));
    byId("empty-list").hidden = Boolean(ids.length || uploadCount());
    byId("empty-list").textContent = known ? "No photograph matches." : "No photographs yet.";
    setText(byId("list-summary"), !known ? "" : ids.length < known ? `${ids.length} of ${known}` : `${known}`);
    progress.render();
    renderPosition();
  }

  /** Show which photograph is open, and its position in the list. */
  function renderPosition() {
    const at = ids.indexOf(state.view?.id);
    byId("previous").disabled = at <= 0;
    byId("next").disabled = at < 0 || at >= ids.length - 1;
    const name = state.photograph?.name ?? "No photograph";
    byId("current-photograph-name").title = name;
    setText(byId("current-photograph-name"), name);
    setText(byId("current-photograph-position"), at < 0 ? "" : ` · ${at + 1} of ${ids.length}`);
  }

  // ---- opening ----

  const select = (selected, event) => selection.toggle(selected, event);

  /** A click opens a photograph; while some are being selected, or with Ctrl or Shift, it selects it. */
  function choose(id, { shiftKey, ctrlKey, metaKey }) {
    current = id;
    if (!selection.isOn() && (shiftKey || ctrlKey || metaKey)) byId("select").click();
    if (selection.isOn()) select([id], { shiftKey });
    else open(id);
  }

  /** Open a photograph, and put it into the page's address so that a reload opens it again; null for none. */
  function open(id) {
    const number = ++opening;
    if (id && store.get(id)) show(store.get(id));
    if (!id) show(null);
    else loadAndOpen(id, number);
  }

  function show(photograph) {
    const { view } = state;
    if (view) outbox.flush(view.id); // its changes that are held back are sent now
    const hash = photograph ? `#${photograph.id}` : location.pathname;
    if (location.hash !== (photograph ? hash : "")) history.replaceState(null, "", hash);
    if (view?.id !== photograph?.id || !photograph) state.open(photograph);
    if (!list.contains(document.activeElement)) current = photograph?.id ?? null;
    renderNow();
    if (photograph) rows.reveal(photograph.id);
  }

  /** Load the latest state of a photograph; open it unless another one was requested meanwhile. */
  async function loadAndOpen(id, number) {
    const requested = store.now();
    try {
      const photograph = await api.getPhotograph(id);
      if (store.receive(photograph, requested)) update(id);
      if (number === opening && state.view?.id !== id && store.get(id)) show(store.get(id));
    } catch (error) {
      const isLatest = number === opening; // no other photograph was requested meanwhile
      if (error.status === 404) forget([id]);
      if (!isLatest) return;
      if (error.status === 404) showMessage("That photograph is no longer on the server.");
      else showFailure(error);
      const hash = state.view ? `#${state.view.id}` : location.pathname;
      if (location.hash !== hash) history.replaceState(null, "", hash);
    }
  }

  /** Open the next photograph of the list (1), or the previous one (-1). */
  function step(by) {
    arrangeNow();
    const at = ids.indexOf(state.view?.id);
    if (at >= 0 && ids[at + by]) open(ids[at + by]);
    else if (at < 0 && ids.length) open(ids[0]);
  }

  // ---- deleting ----

  async function deleteOne(id) {
    if (await confirmDeletion([store.get(id)])) deleteAll([id]);
  }

  /**
   * Delete photographs. Those that the server keeps return to the list, and a message names them with the reason:
   * gradings that are done (409), and all that are left after any other error.
   */
  async function deleteAll(deleted) {
    const names = new Map(deleted.map((id) => [id, store.get(id)?.name]));
    forget(deleted, { isAnswered: false });
    deletions++;
    const kept = new Map(); // reason -> ids
    for (const [at, id] of deleted.entries()) {
      const error = await api.deletePhotograph(id).then(() => null, (refusal) => refusal);
      if (!error || error.status === 404) {
        store.remove(id); // 404: somebody else deleted it
        continue;
      }
      const left = error.status === 409 ? [id] : deleted.slice(at);
      kept.set(error.message, [...(kept.get(error.message) ?? []), ...left]);
      if (error.status !== 409) break;
    }
    deletions--;
    if (!kept.size) return;
    for (const id of [...kept.values()].flat()) store.restore(id);
    const texts = [...kept].map(([reason, left]) => keptText(left.map((id) => names.get(id)), deleted.length, reason));
    showMessage(`Not deleted: ${texts.join(". ")}`, { persistent: deleted.length > 1 });
    load();
  }

  /** Return which photographs, of those that were to be deleted, the server has kept for one reason. */
  function keptText(names, total, reason) {
    const more = names.length > MAX_NAMED ? [`${names.length - MAX_NAMED} more`] : [];
    const named = new Intl.ListFormat("en").format([...names.slice(0, MAX_NAMED), ...more]);
    return total === 1 ? reason : `${named} (${names.length} of ${total}): ${reason}`;
  }

  /**
   * Remove photographs that were deleted, here or elsewhere; if one was open, open its neighbour. If the focus was in
   * one of the rows, it goes to the neighbour of that row: keys that follow are still about the list. isAnswered:
   * whether the server has said that they are deleted.
   */
  function forget(deleted, { isAnswered = true } = {}) {
    arrangeNow();
    const ofDeleted = new Set(deleted);
    const neighbour = neighbourOf(state.view?.id, ofDeleted);
    const focused = list.contains(document.activeElement) && document.activeElement.closest("li[data-id]")?.dataset.id;
    const nextFocused = ofDeleted.has(focused) ? neighbourOf(focused, ofDeleted) : null;
    for (const id of deleted) {
      outbox.drop(id);
      store.remove(id, { isAnswered });
      selection.drop(id);
      burdens.delete(id);
    }
    if (ofDeleted.has(state.view?.id)) open(neighbour);
    selection.render();
    if (!nextFocused) return;
    renderNow();
    focusRow(ids.indexOf(nextFocused));
  }

  /** Remove a photograph that somebody else deleted; if it was open, say so, and which one is open now. */
  function forgetDeletedElsewhere(id) {
    const { view } = state;
    if (view?.id !== id) return forget([id]);
    onDeletedElsewhere();
    forget([id]);
    const next = state.photograph ? `; ${state.photograph.name} is open now` : "";
    showMessage(`${view.photograph.name} was deleted in another window${next}.`, { persistent: true });
  }

  /** Return the next photograph in the list that is not deleted, else the previous one, else null. */
  function neighbourOf(id, deleted) {
    const at = ids.indexOf(id);
    const stays = (other) => !deleted.has(other);
    return ids.slice(at + 1).find(stays) ?? ids.slice(0, Math.max(at, 0)).findLast(stays) ?? null;
  }

  // ---- changes of photographs ----

  /** Show the latest state of a photograph in its row and, if it is open, in the rest of the page. */
  function update(id) {
    const photograph = store.get(id);
    if (!photograph) return;
    state.refresh(photograph);
    render();
  }

  /**
   * Add a photograph, as a request answered that was sent at a time, to the list; open it if none is open. Events
   * may have told a newer state before the answer came: that it is being analysed, done, or deleted.
   */
  function add(photograph, requested) {
    const { id } = photograph;
    store.receive(photograph, requested);
    if (!store.get(id)) return;
    store.addToList(id);
    update(id);
    if (!state.view) open(id);
  }

  /** Return whether the list holds a grader's copy in place of a photograph. */
  const hasCopyOf = (id) => store.all().some(({ grading }) => grading?.original === id);

  const handlers = {
    hello: load,
    photograph(photograph) {
      if (!store.receive(photograph)) return;
      if (!hasCopyOf(photograph.id)) store.addToList(photograph.id);
      update(photograph.id);
    },
    progress({ id, progress: share }) {
      store.setProgress(id, share);
      const bar = rows.elementOf(id)?.querySelector("progress");
      if (bar) bar.value = share;
      if (state.view?.id === id) state.emit("progress");
    },
    queue: progress.receive,
    deleted: ({ id }) => forgetDeletedElsewhere(id), // what this page deleted is no longer open
    batch({ id, name }) {
      batches.set(id, name);
      selection.render();
    },
    "batch-deleted"({ id }) {
      batches.delete(id);
      selection.render();
    },
  };

  /** Open the photograph that the page's address names; anything else there is ignored. */
  function openFromAddress() {
    const id = location.hash.slice(1);
    if (!id) open(null);
    else if (api.isIdentifier(id)) open(id);
  }

  // ---- keys within the list ----

  const MOVES = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };

  list.addEventListener("keydown", (event) => {
    const row = event.target.closest("li[data-id]");
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Delete" && !selection.isOn()) deleteOne(row.dataset.id);
    else if (event.key in MOVES) focusRow(ids.indexOf(row.dataset.id) + MOVES[event.key]);
    else return;
    event.preventDefault();
  });

  function focusRow(place) {
    current = ids[Math.min(Math.max(place, 0), ids.length - 1)];
    rows.reveal(current);
    renderNow();
    rows.elementOf(current)?.querySelector("button").focus({ preventScroll: true });
  }

  byId("list-order").addEventListener("change", () => {
    burdens.clear();
    load();
    renderNow();
  });
  byId("list-filter").addEventListener("change", renderNow);
  byId("list-search").addEventListener("input", renderNow);
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  window.addEventListener("hashchange", openFromAddress);
  state.on("photograph document", renderPosition);
  renderPosition();

  return {
    handlers,
    load,
    step,
    update,
    add,
    openFromAddress,
    render,
    /** Whether photographs are being deleted: those that are left stay on the server if the page is closed. */
    isDeleting: () => deletions > 0,
    search: () => byId("list-search").focus(),
    toggleSelecting: () => byId("select").click(),
  };
}
