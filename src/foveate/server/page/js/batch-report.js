// The report of a whole batch: begun, watched, cancelled, and downloaded when it is ready.
//
// Knows:   which batch has a report that is being made or ready. Ignores: what a report says.

import * as api from "./api.js";
import { element, wait } from "./dom.js";
import { showFailure, showMessage } from "./messages.js";

const POLL_MS = 1000;

/** onChange(): what `controls` returns is another by now. beforeStart(): resolves when changes are saved. */
export function createBatchReports({ onChange, beforeStart }) {
  const jobs = new Map(); // batch id -> its report on the server

  async function begin(batch) {
    try {
      await beforeStart();
      const job = await api.beginBatchReport(batch);
      set(batch, job);
      watch(batch, job.id);
    } catch (error) {
      showFailure(error, "The report of the batch: ");
    }
  }

  /** Ask how far a report is, until it is ready, has failed or is cancelled. */
  async function watch(batch, id) {
    const isWatched = () => jobs.get(batch)?.id === id;
    while (isWatched() && isOpen(jobs.get(batch))) {
      await wait(POLL_MS);
      if (!isWatched()) return;
      const job = await api.getBatchReport(id).catch(asJob);
      if (isWatched()) set(batch, { ...jobs.get(batch), ...job });
    }
    if (!isWatched() || jobs.get(batch).state === "done") return;
    showMessage(`The report of the batch could not be made: ${jobs.get(batch).error}`);
    set(batch, null);
  }

  const isOpen = ({ state }) => state === "waiting" || state === "working";

  /** A server that does not answer for a while still makes the report; one that knows it no longer does not. */
  const asJob = ({ status, message }) => (status === 404 ? { state: "failed", error: message } : {});

  async function cancel(batch) {
    const { id } = jobs.get(batch);
    set(batch, null);
    await api.deleteBatchReport(id).catch(() => {}); // it is gone already
  }

  function set(batch, job) {
    if (job) jobs.set(batch, job);
    else jobs.delete(batch);
    onChange();
  }

  /** Return what stands for the report of a batch: a button, how far it is, or a link to the file. */
  function controls(batch) {
    const job = jobs.get(batch);
    if (!job) return button("batch-report", "Reports of the batch (PDF)", () => begin(batch), "A page for each photograph, made in the background");
    if (job.state === "done") return ready(batch, job);
    const text = job.state === "waiting" ? "Report: waiting" : `Report: ${job.done} of ${job.total}`;
    return element(
      "div",
      { class: "row", id: "batch-report-progress" },
      element("progress", { max: job.total, value: job.done, "aria-label": "Report of the batch" }),
      element("span", { class: "small muted" }, text),
      element("span", { class: "spacer" }),
      button("batch-report-cancel", "Cancel", () => cancel(batch)),
    );
  }

  const ready = (batch, { id, done, total, without_result }) =>
    element(
      "div",
      {},
      missing(without_result + total - done, without_result + total),
      element(
        "div",
        { class: "row" },
        element(
          "a",
          { id: "batch-report-pdf", class: "button primary", href: api.address.batchReport(id), download: "" },
          "Download the reports (PDF)",
        ),
        element("span", { class: "spacer" }),
        button("batch-report-again", "Make again", async () => {
          await cancel(batch);
          await begin(batch);
        }),
      ),
    );

  /** Return the line that says how many photographs a report lacks; null if it lacks none. */
  function missing(count, total) {
    if (!count) return null;
    const is = count === 1 ? "is" : "are";
    const text = `${count} of ${total} photographs had no result and ${is} not in this report; make the report again once all are analysed.`;
    return element("p", { id: "batch-report-missing", class: "small" }, text);
  }

  const button = (id, text, onclick, title) => element("button", { type: "button", id, title, onclick }, text);

  return { controls };
}
