// Sends errands to the worker and brings answers back.
//
// Knows:   tickets.
// Ignores: what is asked.

/** A worker of one's own: `ask(errand)` gives {answer: promise, stop()}. */
export function errands() {
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  const waiting = new Map();
  let last = 0;
  worker.addEventListener("message", ({ data: { ticket, error, ...answer } }) => {
    const { resolve, reject } = waiting.get(ticket);
    waiting.delete(ticket);
    if (error) reject(new Error(error));
    else resolve(answer);
  });
  return {
    ask(errand) {
      const ticket = ++last;
      const answer = new Promise((resolve, reject) => waiting.set(ticket, { resolve, reject }));
      worker.postMessage({ ticket, ...errand });
      return { answer, stop: () => worker.postMessage({ ticket, ask: "stop" }) };
    },
  };
}
