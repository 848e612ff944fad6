// The list of photographs: its rows, its order, and which photograph is opened, left or deleted.
//
// Knows:   what a row says, the address of the open photograph, and what the server's events mean for the
//          list.
// Ignores: what is shown of the open photograph, and how photographs are uploaded.

import * as api from "./api.js";
import { byId, debounce, element } from "./dom.js";
import { confirmAction, failureText, showFailure, showMessage } from "./messages.js";

const LIMIT = 1000; // rows
const RELOAD_MS = 400; // without news until a sorted list is loaded again
const ORDERS = [
  ["submitted", "Latest first", { sort: "submitted", order: "desc" }],
  ["burden", "Largest burden first", { sort: "burden", order: "desc" }],
  ["count", "Most regions first", { sort: "count", order: "desc" }],
  ["name", "Name", { sort: "name", order: "asc" }],
];

/** uploadCount(): photographs that are still being uploaded. */
export function createPhotographList(state, store, outbox, uploadCount) {
  const list = byId("photographs");
  const thumbnails = new Map(); // photograph id -> its image, kept when its row is drawn anew
  let opening = 0; // counts what was to be opened: an answer for an earlier one opens nothing

  byId("list-order").replaceChildren(
    ...ORDERS.map(([value, text]) => element("option", { value, selected: value === "submitted" }, text)),
  );

  // ---- the rows ----

  async function load() {
    const requested = store.now();
    const [, , parameters] = ORDERS.find(([value]) => value === byId("list-order").value);
    try {
      const { photographs, total } = await api.listPhotographs({ ...parameters, limit: LIMIT, grader: state.author });
      if (!store.receiveList(photographs, requested, total <= LIMIT)) return;
      const { view } = state;
      if (view && store.get(view.id)) state.refresh(store.get(view.id));
      else if (view) forget(view.id); // it was deleted while no events came
      render();
      if (total > LIMIT) showMessage(`${total} photographs; the list shows ${LIMIT}.`);
    } catch (error) {
      showFailure(error);
    }
  }
  const loadSoon = debounce(RELOAD_MS, load);

  function render() {
    const focused = document.activeElement?.closest?.("#photographs li")?.dataset.id;
    list.replaceChildren(...store.all().map(row));
    for (const id of thumbnails.keys()) if (!store.get(id)) thumbnails.delete(id);
    renderSummary();
    if (focused) rowOf(focused)?.querySelector("button").focus({ preventScroll: true });
  }

  const rowOf = (id) => list.querySelector(`[data-id="${id}"]`);

  function renderSummary() {
    const isWaiting = ({ state: status }) => status === "queued" || status === "looking";
    const photographs = store.all();
    const active = photographs.filter(isWaiting).length + uploadCount();
    byId("empty-list").hidden = Boolean(photographs.length || uploadCount());
    byId("list-summary").textContent = active
      ? `${active} in progress`
      : photographs.length
        ? String(photographs.length)
        : "";
    renderPosition();
  }

  /** Say which photograph is open, and where it stands in the list. */
  function renderPosition() {
    const ids = store.ids();
    const at = ids.indexOf(state.view?.id);
    byId("previous").disabled = at <= 0;
    byId("next").disabled = at < 0 || at >= ids.length - 1;
    const name = state.photograph?.name ?? "No photograph";
    byId("current-photograph").textContent = at < 0 ? name : `${name} · ${at + 1} of ${ids.length}`;
  }

  function row(photograph) {
    const { id, name, reviewed } = photograph;
    const isOpen = state.view?.id === id;
    return element(
      "li",
      { "data-id": id, class: `${photograph.state} ${isOpen ? "open" : ""}` },
      element(
        "div",
        { class: "card" },
        element(
          "button",
          {
            type: "button",
            class: "open-button",
            "aria-current": isOpen ? "true" : null,
            onclick: () => open(id),
          },
          thumbnail(id),
          element(
            "span",
            { class: "text" },
            element(
              "span",
              { class: "name" },
              name,
              reviewed ? element("span", { class: "reviewed-mark", title: "Reviewed" }, " ✓") : null,
            ),
            statusOf(photograph),
          ),
        ),
        element(
          "button",
          {
            type: "button",
            class: "borderless delete-button",
            "aria-label": `Delete ${name}`,
            title: "Delete",
            onclick: () => deletePhotograph(id, name),
          },
          "×",
        ),
      ),
    );
  }

  function thumbnail(id) {
    if (!thumbnails.has(id)) {
      const src = api.address.thumbnail(id);
      const attributes = { class: "thumbnail", src, alt: "", loading: "lazy", width: 60, height: 44 };
      thumbnails.set(id, element("img", attributes));
    }
    return thumbnails.get(id);
  }

  function statusOf(photograph) {
    const muted = (...content) => element("span", { class: "small muted" }, ...content);
    switch (photograph.state) {
      case "failed":
        return element(
          "span",
          { class: "small bad", title: failureText(photograph) },
          failureText(photograph),
        );
      case "queued":
        return muted(photograph.position ? `Waiting, position ${photograph.position}` : "Waiting");
      case "looking":
        return muted(
          "Analysing ",
          element("progress", {
            max: 1,
            value: photograph.progress,
            "aria-label": `Progress of ${photograph.name}`,
          }),
        );
      default:
        return lesionCounts(photograph.result.lesions);
    }
  }

  function lesionCounts(lesions) {
    const chips = Object.entries(lesions)
      .filter(([, { count }]) => count > 0)
      .map(([code, { count, colour }]) =>
        element(
          "span",
          { class: "chip", colour: `rgb(${colour})` },
          element("i", { class: "swatch small" }),
          `${code} ${count}`,
        ),
      );
    const none = element("span", { class: "muted" }, "No lesions found");
    return element("span", { class: "small chips" }, ...(chips.length ? chips : [none]));
  }

  // ---- opening and deleting ----

  /** Open a photograph, and name it in the page's address so that a reload opens it again; null for none. */
  function open(id) {
    const number = ++opening;
    if (id && store.get(id)) show(store.get(id));
    if (!id) show(null);
    else loadAndOpen(id, number);
  }

  function show(photograph) {
    const { view } = state;
    if (view) outbox.flush(view.id); // what was held back belongs to the photograph that is left
    const hash = photograph ? `#${photograph.id}` : location.pathname;
    if (location.hash !== (photograph ? hash : "")) history.replaceState(null, "", hash);
    if (view?.id !== photograph?.id || !photograph) state.open(photograph);
    render();
  }

  /** Load a photograph anew; open it if it is still the one that was to be opened. */
  async function loadAndOpen(id, number) {
    const requested = store.now();
    try {
      const photograph = await api.getPhotograph(id);
      if (store.receive(photograph, requested)) update(id);
      if (number === opening && state.view?.id !== id && store.get(id)) show(store.get(id));
    } catch (error) {
      const isLatest = number === opening; // no other one was to be opened meanwhile
      if (error.status === 404) forget(id);
      if (!isLatest) return;
      if (error.status === 404) showMessage("That photograph is no longer on the server.");
      else showFailure(error);
      const hash = state.view ? `#${state.view.id}` : location.pathname;
      if (location.hash !== hash) history.replaceState(null, "", hash);
    }
  }

  /** Open the next photograph of the list (1), or the previous one (-1). */
  function step(by) {
    const ids = store.ids();
    const at = ids.indexOf(state.view?.id);
    if (at >= 0 && ids[at + by]) open(ids[at + by]);
  }

  async function deletePhotograph(id, name) {
    const question = `Delete ${name}, with its result and corrections? It is removed from the server's disk.`;
    if (!(await confirmAction(question, "Delete"))) return;
    forget(id);
    try {
      await api.deletePhotograph(id);
    } catch (error) {
      if (error.status === 404) return; // somebody else deleted it
      store.restore(id);
      showFailure(error, "The photograph was not deleted: ");
      load();
    }
  }

  /** Remove a photograph that was deleted, here or elsewhere; if it was open, open its neighbour. */
  function forget(id) {
    outbox.drop(id);
    const neighbour = store.remove(id);
    if (state.view?.id === id) open(neighbour);
    render();
  }

  // ---- news of photographs ----

  /** Show what is known of a photograph now, in its row and, if it is open, in the rest of the page. */
  function update(id) {
    const photograph = store.get(id);
    if (!photograph) return;
    state.refresh(photograph);
    const shown = rowOf(id);
    if (!shown || shown.contains(document.activeElement)) return render();
    shown.replaceWith(row(photograph)); // one row of a thousand
    renderSummary();
  }

  /** Take over an uploaded photograph; open it if there is no other. */
  function add(photograph) {
    if (!store.receive(photograph)) return;
    store.addToList(photograph.id);
    update(photograph.id);
    if (!state.view) open(photograph.id);
  }

  const handlers = {
    hello: load,
    photograph(photograph) {
      if (!store.receive(photograph)) return;
      store.addToList(photograph.id);
      update(photograph.id);
      if (photograph.state === "done" && byId("list-order").value !== "submitted") loadSoon();
    },
    progress({ id, progress }) {
      store.setProgress(id, progress);
      const bar = rowOf(id)?.querySelector("progress");
      if (bar) bar.value = progress;
      if (state.view?.id === id) state.emit("progress");
    },
    deleted: ({ id }) => forget(id),
  };

  /** Open the photograph that the page's address names; anything else there is ignored. */
  function openFromAddress() {
    const id = location.hash.slice(1);
    if (!id) open(null);
    else if (api.isIdentifier(id)) open(id);
  }

  byId("list-order").addEventListener("change", load);
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  window.addEventListener("hashchange", openFromAddress);
  state.on("photograph document", renderPosition);
  renderPosition();

  return { handlers, load, step, update, add, openFromAddress, renderSummary };
}
