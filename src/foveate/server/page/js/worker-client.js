// Requests to the tile worker, and its answers.
//
// Knows:   request numbers, cancelling, and what to do when the worker itself fails.
// Ignores: what is requested.

/** Start a worker: `request(type, values)` returns {answer: promise, cancel()}. */
export function createWorkerClient() {
  const pending = new Map(); // request number -> {resolve, reject}
  let worker = null;
  let last = 0;

  function start() {
    worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    worker.addEventListener("message", ({ data }) => settle(data));
    worker.addEventListener("error", (event) => fail(event.message || "it could not be loaded"));
    worker.addEventListener("messageerror", () => fail("its answer cannot be read"));
  }

  function settle({ number, error, ...answer }) {
    const request = pending.get(number);
    pending.delete(number);
    if (error) request?.reject(new Error(error));
    else request?.resolve(answer);
  }

  /** Reject what is pending; the next request starts a new worker. */
  function fail(reason) {
    worker?.terminate();
    worker = null;
    const requests = [...pending.values()];
    pending.clear();
    for (const { reject } of requests) reject(new Error(`the tile worker failed: ${reason}`));
  }

  return {
    request(type, values) {
      if (!worker) start();
      const number = ++last;
      const answer = new Promise((resolve, reject) => pending.set(number, { resolve, reject }));
      worker.postMessage({ number, type, ...values });
      return { answer, cancel: () => worker?.postMessage({ number, type: "cancel" }) };
    },
  };
}
