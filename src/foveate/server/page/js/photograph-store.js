// The photographs that the server holds, as far as the page knows them, and their order.
//
// Knows:   which of two reports of a photograph is the newer one, and which photographs were deleted.
// Ignores: how the list looks, and which photograph is open.
//
// Answers and events come on several connections, in any order. Each request and each event takes a time from
// one clock. The answer to a request that was sent before the last report of a photograph is older than that
// report, and is dropped for this photograph.

import { changePhotograph } from "./api.js";
import { changedElsewhere, namesOf, omit, valuesOf } from "./conflicts.js";

const ATTEMPTS = 5; // to save fields of a photograph that somebody else changes all the time

/** withPending(photograph): the photograph with the changes that are still on their way to the server. */
export function createPhotographStore(withPending) {
  const reports = new Map(); // photograph id -> {photograph, time}: as the server last reported it
  const sent = new Map(); // photograph id -> the fields that this page set last: they are no news
  const deleted = new Map(); // id -> time of the deletion; reports that were sent before it are ignored
  let ids = []; // in the order in which they were added
  let clock = 0;
  let lastList = 0; // time at which the newest list that was taken over had been requested

  const isKnown = (id) => reports.has(id);

  /** Return the present time, for the answer to a request that is sent now. */
  const now = () => ++clock;

  /**
   * Take over a list that was requested at a time; `isComplete`: whether it has all photographs of the server.
   * Returns false if a later list has been taken over already.
   */
  function receiveList(photographs, requested, isComplete) {
    if (requested < lastList) return false;
    lastList = requested;
    const listed = new Set(photographs.map(({ id }) => id));
    for (const id of listed) if (deleted.get(id) < requested) deleted.delete(id); // it was added once more since
    const isNewer = (id) => reports.get(id)?.time > requested;
    if (isComplete) for (const id of reports.keys()) if (!listed.has(id) && !isNewer(id)) reports.delete(id);
    for (const photograph of photographs) receive(photograph, requested);
    const unlisted = ids.filter((id) => !listed.has(id) && isKnown(id));
    ids = [...photographs.map(({ id }) => id).filter(isKnown), ...unlisted];
    return true;
  }

  /** Take over a photograph from an event, or from the answer to a request; returns whether it is newer. */
  function receive(photograph, requested = now()) {
    const { id } = photograph;
    if (deleted.has(id) || reports.get(id)?.time > requested) return false;
    reports.set(id, { photograph, time: requested });
    return true;
  }

  /** Put a photograph at the end of the list if it is not in it. */
  function addToList(id) {
    if (isKnown(id) && !ids.includes(id)) ids.push(id);
  }

  /** Remove a photograph that was deleted. isAnswered: whether the server has said so, or is still to answer. */
  function remove(id, { isAnswered = true } = {}) {
    deleted.set(id, isAnswered ? now() : Infinity);
    reports.delete(id);
    ids = ids.filter((listedId) => listedId !== id);
  }

  /** Return a photograph with its pending changes; undefined if it is not known. */
  function get(id) {
    const report = reports.get(id);
    return report && withPending(report.photograph);
  }

  /** Return the values that some fields of a photograph have on the server, as far as this page knows. */
  function savedValues(id, fields) {
    const photograph = reports.get(id)?.photograph;
    return photograph ? valuesOf(photograph, fields) : {};
  }

  /**
   * Send changed fields of a photograph. base: their values when they were changed. Other fields and thresholds that
   * another window has changed meanwhile are kept. If it has changed the same ones, its values are kept, too, and an
   * error says so.
   */
  async function saveFields(id, fields, { base = savedValues(id, fields), keepalive = false } = {}) {
    let lost = {}; // fields that were changed elsewhere
    let unsaved = fields;
    for (let attempt = 1; ; attempt++) {
      const present = reports.get(id)?.photograph;
      const found = present ? changedElsewhere(base, present, unsaved, sent.get(id)) : {};
      lost = { ...lost, ...found, levels: { ...lost.levels, ...found.levels } };
      unsaved = omit(unsaved, found);
      if (!Object.keys(unsaved).length) break;
      try {
        await sendFields(id, present, unsaved, keepalive);
        break;
      } catch (error) {
        if (error.code !== "outdated" || attempt === ATTEMPTS) throw error;
        receive(error.photograph);
      }
    }
    const names = namesOf(lost, get(id));
    if (names)
      throw new Error(
        `${names} ${names.includes(" and ") ? "were" : "was"} changed in another window meanwhile. What is shown is ` +
          "the newer state; set yours again if it is right.",
      );
  }

  /** Send fields at once. The server wants the thresholds of all lesions, also of those not moved. */
  async function sendFields(id, present, fields, keepalive) {
    const requested = now();
    const known = present?.result?.lesions ?? {};
    const levels = Object.fromEntries(Object.entries(known).map(([code, { level }]) => [code, level]));
    const complete = fields.levels ? { ...fields, levels: { ...levels, ...fields.levels } } : fields;
    const earlier = sent.get(id);
    sent.set(id, { ...earlier, ...fields, levels: { ...earlier?.levels, ...fields.levels } });
    // A page that is being closed cannot look at a newer state: its change is the last word.
    const etag = keepalive ? null : (present?.etag ?? null);
    receive(await changePhotograph(id, complete, { keepalive, etag }), requested);
  }

  return {
    now,
    savedValues,
    saveFields,
    receiveList,
    receive,
    addToList,
    remove,
    /** Accept reports of a photograph again, since its deletion was refused. */
    restore: (id) => deleted.delete(id),
    get,
    all: () => ids.map(get),
    ids: () => ids,
    setProgress(id, progress) {
      const report = reports.get(id);
      if (report) report.photograph.progress = progress;
    },
  };
}
