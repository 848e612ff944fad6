// The outbox: changes of photographs on their way to the server.
//
// Knows:   that changes of one photograph are sent one after the other, in the order in which they were made,
//          and repeated until the server has answered; and what the page shows meanwhile.
// Ignores: which photograph is open, and what a change means.
//
// An entry holds all its data from the moment at which a person acted. Fields of a photograph (thresholds,
// reviewed, spacing, grid) may be held back for a moment, so that a moving threshold is sent once, when it
// stops.

import { wait } from "./dom.js";

export const AGAIN = Symbol("again");
const RETRY_MS = 2000;
const ATTEMPTS_AFTER_ERROR = 3; // internal errors (500) may be permanent, and later entries must not wait forever
// Temporary: no answer, no session, a proxy's refusal, time-outs, too many requests, unavailable, no space on
// the disk.
const PASSING = new Set([0, 401, 403, 408, 425, 429, 502, 503, 504, 507]);

/**
 * saveFields(id, fields, {base, keepalive}): sends fields, and stores the answer. base: the values on which a person
 * based the changes. savedValues(id, fields): returns the values that fields have on the server.
 * onRefusal(id, error): fields were refused. onSaved(id): fields have been answered, or refused.
 * onChange(id): the entries of a photograph, or their state, have changed.
 * onFields(id): the fields that `withPending` adds, except thresholds, have changed.
 */
export function createOutbox({ savedValues, saveFields, onRefusal, onChange, onFields, onSaved }) {
  const queues = new Map(); // photograph id -> {entries, trouble, wake}

  /**
   * Add a change of a photograph. Resolves when it has been answered or refused.
   *
   * send(): the request.
   * onAnswer(answer), onRefusal(error, attempts): are awaited before the next entry is sent. Where onRefusal
   * resolves to `AGAIN`, the request is sent once more.
   * stroke: what to draw on the photograph meanwhile.
   */
  function add(id, { send, onAnswer = () => {}, onRefusal = () => {}, stroke = null }) {
    return enqueue(id, { send, onAnswer, onRefusal, stroke, fields: null, due: 0 });
  }

  /**
   * Change fields of a photograph: {reviewed, spacing_mm, grid, levels}; `levels` names the lesions that were
   * moved. Resolves when the fields have been answered or refused. delay: ms for which they are held back. base: the
   * values on which the changes are based; those on the server by default.
   */
  function change(id, fields, { delay = 0, base = savedValues(id, fields) } = {}) {
    const due = delay && performance.now() + delay;
    let entry = queues.get(id)?.entries.at(-1);
    if (entry?.fields && !entry.sent) {
      mergeFields(entry.fields, fields);
      entry.base = mergeFields({ ...base }, entry.base); // what is held back already is based on what was seen then
      entry.due = entry.due && due; // what is due already is not held back again
      queues.get(id).wake();
    } else {
      entry = fieldsEntry(id, { ...fields }, base, due);
      enqueue(id, entry);
    }
    if (Object.keys(fields).some((name) => name !== "levels")) onFields(id);
    return entry.finished;
  }

  function fieldsEntry(id, fields, base, due) {
    const entry = {
      fields,
      base,
      due,
      send: () => saveFields(id, fields, { base: entry.base }),
      onAnswer: () => {},
      onRefusal: (error) => onRefusal(id, error),
      stroke: null,
    };
    return entry;
  }

  function enqueue(id, entry) {
    const isNew = !queues.has(id);
    if (isNew) queues.set(id, { entries: [], trouble: "", wake: () => {} });
    flush(id); // earlier entries are due now: the order is kept
    entry.sent = false;
    entry.finished = new Promise((resolve) => {
      entry.finish = resolve;
    });
    queues.get(id).entries.push(entry);
    if (isNew) run(id, queues.get(id));
    onChange(id);
    return entry.finished;
  }

  async function run(id, queue) {
    while (queue.entries.length) {
      const [entry] = queue.entries;
      await untilDue(queue, entry);
      if (queue.entries[0] !== entry) break; // the photograph was deleted meanwhile
      entry.sent = true;
      await deliver(id, queue, entry).catch((error) => console.error(error));
      if (queue.entries[0] !== entry) break;
      queue.entries.shift();
      if (!queue.entries.length) queues.delete(id);
      entry.finish();
      onChange(id);
      if (entry.fields) onSaved(id);
    }
  }

  /** Wait until an entry is due; a later entry, or closing its photograph, makes it due at once. */
  async function untilDue(queue, entry) {
    while (entry.due > performance.now()) {
      await new Promise((resolve) => {
        queue.wake = resolve;
        setTimeout(resolve, entry.due - performance.now());
      });
    }
  }

  /** Send an entry until it is answered or refused. */
  async function deliver(id, queue, entry) {
    for (let attempt = 1; ; attempt++) {
      const { answer, error } = await entry.send().then(
        (answer) => ({ answer }),
        (error) => ({ error }),
      );
      if (queue.entries[0] !== entry) return;
      queue.trouble = "";
      if (!error) return entry.onAnswer(answer);
      if (!mayPass(error, attempt)) {
        if ((await entry.onRefusal(error, attempt)) !== AGAIN) return;
        if (queue.entries[0] !== entry) return;
        attempt = 0;
        continue;
      }
      const reason = error.status ? error.message : "the server does not answer";
      queue.trouble = `Not saved yet: ${reason}. Trying again.`;
      onChange(id);
      await wait(error.retryAfter ? 1000 * error.retryAfter : RETRY_MS);
    }
  }

  const mayPass = ({ status }, attempt) =>
    PASSING.has(status) || (status === 500 && attempt < ATTEMPTS_AFTER_ERROR);

  /** Send held-back entries now: those of one photograph, or all. */
  function flush(id) {
    for (const [key, { entries, wake }] of queues) {
      if (id !== undefined && key !== id) continue;
      for (const entry of entries) entry.due = 0;
      wake();
    }
  }

  /**
   * Send fields that the server has not answered while the page is being closed, when no answer can be awaited.
   * Some may have been sent before: they mean the same a second time.
   */
  function sendBeforeClosing() {
    for (const [id, { entries }] of queues) {
      const unsaved = entries.filter(({ fields }) => fields);
      const fields = unsaved.reduce((merged, entry) => mergeFields(merged, entry.fields), {});
      const base = unsaved.reduceRight((merged, entry) => mergeFields(merged, entry.base), {});
      if (unsaved.length) saveFields(id, fields, { base, keepalive: true }).catch(() => {});
    }
  }

  /** Return a photograph as it will be when its fields have reached the server. */
  function withPending(photograph) {
    const entries = queues.get(photograph.id)?.entries.filter(({ fields }) => fields) ?? [];
    if (!entries.length) return photograph;
    const { levels, ...fields } = entries.reduce((merged, entry) => mergeFields(merged, entry.fields), {});
    return { ...photograph, ...fields, result: withLevels(photograph.result, levels) };
  }

  /** Return the entries of a photograph; those of all photographs without an id. */
  const entriesOf = (id) =>
    id === undefined ? [...queues.values()].flatMap(({ entries }) => entries) : (queues.get(id)?.entries ?? []);

  /** Resolve when all that is pending now for a photograph, or for all of them, has been answered. */
  const settled = (id) => Promise.all(entriesOf(id).map(({ finished }) => finished));

  /** Send what is pending for a photograph, or for all of them, and wait for the answers. */
  async function save(id) {
    flush(id);
    await settled(id);
  }

  /**
   * Follow a link after all pending changes of a photograph, or of all without an id, have been saved: the server
   * makes the file from its own state. follow(event): what else the link does; by default, it is left to the
   * browser.
   */
  async function followWhenSaved(event, id, follow = () => {}) {
    if (!entriesOf(id).length) return follow(event);
    event.preventDefault();
    await save(id);
    event.target.click();
  }

  return {
    add,
    change,
    flush,
    save,
    settled,
    followWhenSaved,
    sendBeforeClosing,
    withPending,
    /** Drop the changes of a photograph that is deleted. */
    drop(id) {
      const entries = queues.get(id)?.entries.splice(0) ?? [];
      queues.delete(id);
      for (const { finish } of entries) finish();
    },
    /** Whether edits of a photograph, not fields of it, are on their way. */
    hasEdits: (id) => entriesOf(id).some(({ fields }) => !fields),
    isEmpty: () => queues.size === 0,
    /**
     * Whether changes may be lost if the page is closed now: edits, and all that the server did not take at once.
     * Other fields are sent while the page closes.
     */
    mayLose: () =>
      [...queues.values()].some(({ entries, trouble }) => trouble || entries.some(({ fields }) => !fields)),
    strokes: (id) => entriesOf(id).flatMap(({ stroke }) => stroke ?? []),
    trouble: (id) => queues.get(id)?.trouble ?? "",
  };
}

/** Add fields to earlier ones; thresholds replace those of the same lesion only. */
function mergeFields(earlier, { levels, ...fields }) {
  Object.assign(earlier, fields);
  if (levels) earlier.levels = { ...earlier.levels, ...levels };
  return earlier;
}

function withLevels(result, levels) {
  if (!result || !levels) return result;
  const lesions = Object.entries(result.lesions).map(([code, lesion]) => [
    code,
    { ...lesion, level: levels[code] ?? lesion.level },
  ]);
  return { ...result, lesions: Object.fromEntries(lesions) };
}
