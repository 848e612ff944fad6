// The progress of all added photographs: how many are done, and how long the rest will take.
//
// Knows:   what has been uploaded and analysed since the queue was last empty.
// Ignores: where the server's estimate of seconds comes from.

import { byId } from "./dom.js";

const REFRESH_MS = 1000;

/** uploadCount(): photographs that are still being uploaded. */
export function createQueueProgress(store, uploadCount) {
  let done = new Set(); // ids that were active since the queue was last empty
  let queue = { waiting: 0, under_way: 0, seconds: 0 };
  let told = 0; // when the server sent `queue`
  let timer = 0;

  const isActive = ({ state }) => state === "queued" || state === "running";

  function receive(next) {
    queue = next;
    told = performance.now();
    render();
  }

  function render() {
    const active = store.all().filter(isActive);
    for (const { id } of active) done.add(id);
    const open = active.length + uploadCount();
    const total = [...done].filter(store.get).length + uploadCount();
    if (!open) done = new Set();
    byId("queue").hidden = !open;
    if (open) renderProgress(active, open, total);
    clearTimeout(timer);
    if (open) timer = setTimeout(render, REFRESH_MS);
  }

  function renderProgress(active, open, total) {
    const partly = active.reduce((sum, { progress }) => sum + (progress || 0), 0);
    byId("queue-progress").max = total;
    byId("queue-progress").value = total - open + partly;
    byId("queue-text").textContent = `${total - open} of ${total} done${timeLeft(open)}`;
  }

  /** Return the time left: the server's estimate less the time passed, scaled to all unfinished photographs. */
  function timeLeft(open) {
    const known = queue.waiting + queue.under_way;
    if (!known || !queue.seconds) return "";
    const passed = (performance.now() - told) / 1000;
    const seconds = Math.max(1, (queue.seconds * open) / known - passed);
    return `, about ${seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`} left`;
  }

  return { receive, render };
}
