// What the server can be asked, one function a question.
//
// Knows:   addresses, the one error body, retries where the server says when.
// Ignores: what the answers are used for.

/** A refusal, in the server's own words. */
export class Refusal extends Error {
  constructor(status, code, message, after) {
    super(message);
    Object.assign(this, { status, code, after });
  }
}

async function ask(method, path, { body, headers = {}, signal } = {}) {
  const plain = body !== undefined && !(body instanceof Blob);
  const answer = await fetch(path, {
    method,
    signal,
    headers: plain ? { "Content-Type": "application/json", ...headers } : headers,
    body: plain ? JSON.stringify(body) : body,
  }).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "unreachable", "The server does not answer; is foveate serve still running?", 2);
  });
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const refused = await answer.json().catch(() => ({}));
  const { code = "unknown", message = `the server answered ${answer.status}` } = refused.error || {};
  throw new Refusal(answer.status, code, message, Number(answer.headers.get("Retry-After")) || null);
}

const query = (asked) => {
  const given = Object.entries(asked).filter(
    ([, value]) => value !== undefined && value !== null && value !== "",
  );
  return given.length ? `?${new URLSearchParams(given)}` : "";
};
const at = (id) => `api/photographs/${encodeURIComponent(id)}`;

export const server = () => ask("GET", "api/server");
export const session = () => ask("GET", "api/session");
export const signIn = (token) => ask("POST", "api/session", { body: { token } });

export const photographs = (asked) => ask("GET", `api/photographs${query(asked)}`);
export const photograph = (id) => ask("GET", at(id));
export const change = (id, changes) => ask("PATCH", at(id), { body: changes });
export const remove = (id) => ask("DELETE", at(id));
export const again = (id, asked) => ask("POST", `${at(id)}/again`, { body: asked });
export const newBatch = (name) => ask("POST", "api/batches", { body: { name } });
export const batches = () => ask("GET", "api/batches");

export const counts = (id) => ask("GET", `${at(id)}/counts`);
export const regions = (id, asked, signal) => ask("GET", `${at(id)}/regions${query(asked)}`, { signal });
export const region = (id, asked) => ask("GET", `${at(id)}/region${query(asked)}`);
export const grid = (id) => ask("GET", `${at(id)}/grid`);

export const corrections = (id) => ask("GET", `${at(id)}/corrections`);
export const stroke = (id, body) => ask("POST", `${at(id)}/corrections/strokes`, { body });
export const verdict = (id, body) => ask("POST", `${at(id)}/corrections/verdicts`, { body });
export const step = (id, which, revision) =>
  ask("POST", `${at(id)}/corrections/${which}`, { body: { revision } });
export const forget = (id) => ask("DELETE", `${at(id)}/corrections`);

export const references = (id) => ask("GET", `${at(id)}/references`);
export const putReference = (id, name, lesion, file) =>
  ask("PUT", `${at(id)}/references/${encodeURIComponent(name)}/${lesion}`, {
    body: file,
    headers: { "Content-Type": file.type || "image/png" },
  });
export const keepAsReference = (id, name) =>
  ask("POST", `${at(id)}/references/${encodeURIComponent(name)}`, { body: { from: "corrections" } });
export const agreement = (id, name) =>
  ask("GET", `${at(id)}/references/${encodeURIComponent(name)}/agreement`);
export const removeReference = (id, name) =>
  ask("DELETE", `${at(id)}/references/${encodeURIComponent(name)}`);

/** Addresses of pictures and files; absolute, since the worker asks for them from another place. */
export const address = {
  tile: (id, level, column, row) =>
    new URL(`${at(id)}/tiles/${level}/${column}_${row}.jpg`, document.baseURI).href,
  stack: (id, layer, level, column, row, revision) =>
    new URL(`${at(id)}/stack/${layer}/${level}/${column}_${row}.png?revision=${revision}`, document.baseURI)
      .href,
  thumbnail: (id) => `${at(id)}/thumbnail.jpg`,
  download: (id) => `${at(id)}/download`,
  training: (id) => `${at(id)}/training`,
  report: (id) => `${at(id)}/report`,
  batch: (id) => `api/batches/${encodeURIComponent(id)}/download`,
};

/** Submit one file; waits and tries again where the queue is full. */
export async function submit(file, batch, onWait = () => {}) {
  for (;;) {
    try {
      return await ask("POST", `api/photographs${query({ batch })}`, {
        body: file.slice(0, file.size, "application/octet-stream"),
        headers: {
          "Content-Type": "application/octet-stream",
          "Foveate-Name": encodeURIComponent(file.name),
        },
      });
    } catch (refusal) {
      if (refusal.status !== 429 && refusal.status !== 503) throw refusal;
      onWait();
      await new Promise((go) => setTimeout(go, 1000 * (refusal.after || 2)));
    }
  }
}

/** Listen to events; `on` has a function by event name. Called again after a break: `on.hello`. */
export function listen(on) {
  const source = new EventSource("api/events");
  for (const [name, heard] of Object.entries(on)) {
    source.addEventListener(name, (event) => heard(JSON.parse(event.data)));
  }
  source.addEventListener("error", () => on.lost?.());
  return source;
}
