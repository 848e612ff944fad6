// Several photographs at once: chosen in the list, then deleted, downloaded or moved to a batch.
//
// Knows:   which photographs are selected, and the bar of actions on them.
// Ignores: how the list is drawn, and what follows from a deletion.

import * as api from "./api.js";
import { confirmDeletion } from "./deletion.js";
import { byId, element, isPressed, setPressed, setText } from "./dom.js";
import { askText, showFailure, showMessage } from "./messages.js";

const NEW = "new";
const NONE = "none";

/**
 * store: the photographs. shownIds(): those of the list. batches: Map of a batch's id to its name. onChange(): the
 * selection has changed. remove(ids): deletes photographs.
 */
export function createSelection(store, outbox, { shownIds, batches, onChange, remove }) {
  const selected = new Set();
  let last = null; // where a selection with Shift begins

  function render() {
    const isOn = isPressed(byId("select"));
    for (const id of selected) if (!isOn) selected.delete(id);
    byId("selection").hidden = !isOn;
    setText(byId("selection-count"), `${selected.size} selected`);
    for (const id of ["move-to", "download-selected", "delete-selected"]) byId(id).disabled = !selected.size;
    byId("move-to").replaceChildren(
      element("option", { value: "" }, "Move to…"),
      element("option", { value: NEW }, "New batch…"),
      ...[...batches].map(([value, name]) => element("option", { value }, name || "Batch")),
      element("option", { value: NONE }, "No batch"),
    );
    onChange();
  }

  /** Select photographs, or deselect them if all are selected; Shift extends from the last one chosen. */
  function toggle(ids, { shiftKey = false } = {}) {
    const isOn = !ids.every((id) => selected.has(id));
    const range = shiftKey && last ? between(last, ids.at(-1)) : ids;
    for (const id of range) isOn ? selected.add(id) : selected.delete(id);
    last = ids.at(-1);
    render();
  }

  function between(from, to) {
    const ids = shownIds();
    const [start, end] = [ids.indexOf(from), ids.indexOf(to)].sort((a, b) => a - b);
    return start < 0 ? [to] : ids.slice(start, end + 1);
  }

  const plural = (count) => `${count} ${count === 1 ? "photograph" : "photographs"}`;

  async function deleteSelected() {
    const photographs = [...selected].map((id) => store.get(id)).filter(Boolean); // others are gone from the list
    if (!photographs.length || !(await confirmDeletion(photographs))) return;
    const ids = photographs.map(({ id }) => id);
    for (const id of ids) selected.delete(id); // what was selected meanwhile was not asked about
    render();
    await remove(ids);
  }

  async function download() {
    const ids = [...selected];
    showMessage(`Preparing the files of ${plural(ids.length)}.`, { persistent: true, isGood: true });
    try {
      await Promise.all(ids.map(outbox.save));
      const href = URL.createObjectURL(await api.downloadSelection(ids));
      element("a", { href, download: "photographs.zip" }).click();
      setTimeout(() => URL.revokeObjectURL(href), 60_000);
      showMessage("");
    } catch (error) {
      showFailure(error);
    }
  }

  async function move() {
    const target = byId("move-to").value;
    byId("move-to").value = "";
    if (!target) return;
    try {
      const batch = await batchOf(target);
      if (batch === undefined) return;
      for (const id of selected) outbox.change(id, { batch });
      selected.clear();
    } catch (error) {
      showFailure(error);
    }
    render();
  }

  /** Return the id of the batch that was chosen, null for none; undefined if no name was given. */
  async function batchOf(target) {
    if (target === NONE) return null;
    if (target !== NEW) return target;
    const name = await askText("Name of the new batch", "Create");
    if (!name) return undefined;
    const { id } = await api.createBatch(name);
    batches.set(id, name);
    return id;
  }

  byId("select").addEventListener("click", () => {
    setPressed(byId("select"), !isPressed(byId("select")));
    last = null;
    render();
  });
  byId("select-all").addEventListener("click", () => toggle(shownIds()));
  byId("delete-selected").addEventListener("click", deleteSelected);
  byId("download-selected").addEventListener("click", download);
  byId("move-to").addEventListener("change", move);

  return {
    toggle,
    render,
    isOn: () => isPressed(byId("select")),
    has: (id) => selected.has(id),
    drop: (id) => selected.delete(id),
  };
}
