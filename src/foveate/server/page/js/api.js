// The server's HTTP interface: one function for each request.
//
// Knows:   addresses, the body of errors, and that a request waits while the session has to be renewed.
// Ignores: what the answers are used for.
//
// Every function takes the identifier of the photograph that it is about. None knows which one is open.

import { noteStatus } from "./notices.js";

/**
 * A request that was refused, or not answered (status 0), with the server's own message; status null: it could not
 * be sent. photograph: its present state, where it was refused since it has been changed meanwhile (412).
 */
export class RequestError extends Error {
  constructor(status, code, message, retryAfter, photograph = null) {
    super(message);
    Object.assign(this, { status, code, retryAfter, photograph });
  }
}

let renewSession = null;

/** Call `renew` if the server asks for its token; requests are sent again when its promise resolves. */
export function onSessionLost(renew) {
  renewSession = renew;
}

async function request(method, path, options = {}) {
  for (;;) {
    try {
      return await requestOnce(method, path, options);
    } catch (error) {
      if (error.status !== 401 || !renewSession || path === SESSION) throw error;
      await renewSession();
    }
  }
}

async function requestOnce(method, path, { body, headers = {}, signal, keepalive } = {}) {
  const isJson = body !== undefined && !(body instanceof Blob);
  const response = await fetch(path, {
    method,
    signal,
    keepalive,
    headers: isJson ? { "Content-Type": "application/json", ...headers } : headers,
    body: isJson ? JSON.stringify(body) : body,
  }).catch(async (error) => {
    if (error.name === "AbortError") throw error;
    if (body instanceof Blob && !(await canBeRead(body)))
      throw new RequestError(null, "unreadable", "The file can no longer be read; add it again.");
    noteStatus(0);
    throw new RequestError(
      0,
      "unreachable",
      "The server does not answer. Is foveate serve still running?",
      2,
    );
  });
  noteStatus(response.status, method !== "GET" && method !== "DELETE");
  if (response.ok) return response.status === 204 ? null : isFile(response) ? response.blob() : response.json();
  const answer = await response.json().catch(() => ({}));
  const { code = "unknown", message = `the server answered ${response.status}` } = answer.error || {};
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  throw new RequestError(response.status, code, message, retryAfter, answer.photograph);
}

/** Return whether a file is still there, as it was when it was chosen. */
const canBeRead = (file) =>
  file
    .slice(0, 1)
    .arrayBuffer()
    .then(
      () => true,
      () => false,
    );

const isFile = (response) => !response.headers.get("Content-Type")?.startsWith("application/json");

const query = (parameters) => {
  const given = Object.entries(parameters).filter(
    ([, value]) => value !== undefined && value !== null && value !== "",
  );
  return given.length ? `?${new URLSearchParams(given)}` : "";
};

/**
 * Return whether a text is a photograph's identifier: nothing else, especially no token, becomes part of a path.
 */
export const isIdentifier = (text) => /^[0-9a-f]{32}$/.test(text);

function photographPath(id) {
  if (!isIdentifier(id)) throw new TypeError("that is not the identifier of a photograph");
  return `api/photographs/${id}`;
}

const SESSION = "api/session";

/** Return whether the server answers; no session is needed. */
export const isReachable = () =>
  requestOnce("GET", "healthz").then(
    () => true,
    ({ status }) => status !== 0,
  );
export const getServer = () => request("GET", "api/server");
export const signIn = (token) => request("POST", SESSION, { body: { token } });

export const listPhotographs = (parameters) => request("GET", `api/photographs${query(parameters)}`);
export const getPhotograph = async (id, signal) => request("GET", photographPath(id), { signal });
/** etag: of the state that is changed; where there is another one by now, nothing is (412). null: whatever it is. */
export const changePhotograph = (id, changes, { keepalive = false, etag = null } = {}) =>
  request("PATCH", photographPath(id), {
    body: changes,
    keepalive,
    headers: etag ? { "If-Match": `"${etag}"` } : {},
  });
export const deletePhotograph = (id) => request("DELETE", photographPath(id));
export const analyseAgain = (id, parameters) =>
  request("POST", `${photographPath(id)}/again`, { body: parameters });
export const listBatches = () => request("GET", "api/batches");
/** Return a zip of some photographs' files. */
export const downloadSelection = (ids) => request("POST", "api/downloads", { body: { photographs: ids } });
export const createBatch = (name) => request("POST", "api/batches", { body: { name } });

/** Return a random identifier, as photographs have; `crypto.randomUUID` needs an encrypted connection. */
export const newIdentifier = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/**
 * Submit one photograph's file into a batch, or none (null). It gets the identifier: where a photograph has it
 * already, since an earlier answer was lost, the server returns that one.
 */
export const submitPhotograph = (file, batch, identifier) =>
  request("POST", `api/photographs${query({ batch })}`, {
    body: file.slice(0, file.size, "application/octet-stream"),
    headers: {
      "Content-Type": "application/octet-stream",
      "Foveate-Name": encodeURIComponent(file.name),
      "Foveate-Upload": identifier,
    },
  });

export const getCounts = (id, signal) => request("GET", `${photographPath(id)}/counts`, { signal });
export const listRegions = (id, parameters, signal) =>
  request("GET", `${photographPath(id)}/regions${query(parameters)}`, { signal });
export const getRegion = (id, parameters, signal) =>
  request("GET", `${photographPath(id)}/region${query(parameters)}`, { signal });
export const getGrid = (id, signal) => request("GET", `${photographPath(id)}/grid`, { signal });

export const getCorrections = (id, signal) => request("GET", `${photographPath(id)}/corrections`, { signal });
export const addStroke = (id, stroke) =>
  request("POST", `${photographPath(id)}/corrections/strokes`, { body: stroke });
export const addVerdict = (id, verdict) =>
  request("POST", `${photographPath(id)}/corrections/verdicts`, { body: verdict });
/** direction: "undo" or "redo". */
export const stepCorrections = (id, direction, revision) =>
  request("POST", `${photographPath(id)}/corrections/${direction}`, { body: { revision } });
export const deleteCorrections = (id) => request("DELETE", `${photographPath(id)}/corrections`);

const referencePath = (id, name) => `${photographPath(id)}/references/${encodeURIComponent(name)}`;

export const listReferences = (id, signal) => request("GET", `${photographPath(id)}/references`, { signal });
export const putReference = (id, name, lesion, file) =>
  request("PUT", `${referencePath(id, name)}/${encodeURIComponent(lesion)}`, {
    body: file,
    headers: { "Content-Type": file.type || "image/png" },
  });
export const saveCorrectionsAsReference = (id, name) =>
  request("POST", referencePath(id, name), { body: { from: "corrections" } });
export const getAgreement = (id, name, signal) =>
  request("GET", `${referencePath(id, name)}/agreement`, { signal });
export const deleteReference = (id, name) => request("DELETE", referencePath(id, name));

const gradingsPath = (id) => `${photographPath(id)}/gradings`;

export const listGradings = (id, grader, signal) =>
  request("GET", `${gradingsPath(id)}${query({ grader })}`, { signal });
export const beginGrading = (id, grader) => request("POST", gradingsPath(id), { body: { grader } });
export const setGradingDone = (id, done) =>
  request("PUT", `${photographPath(id)}/grading`, { body: { done } });
export const getGradersAgreement = (id, signal) =>
  request("GET", `${gradingsPath(id)}/agreement`, { signal });
export const adjudicate = (id, adjudicator) =>
  request("POST", `${photographPath(id)}/adjudication`, { body: { adjudicator, from: "agreed" } });

const reportPath = (id) => `api/report-jobs/${encodeURIComponent(id)}`;

/** Begin the report of a batch, which the server makes in the background. */
export const beginBatchReport = (batch) =>
  request("POST", `api/batches/${encodeURIComponent(batch)}/report-jobs`, { body: { paper: "a4" } });
export const getBatchReport = (id) => request("GET", reportPath(id));
export const deleteBatchReport = (id) => request("DELETE", reportPath(id));

/** Return the file at one of the addresses below. */
export const loadFile = (path) => request("GET", path);

const absolute = (path) => new URL(path, document.baseURI).href;

/**
 * Addresses of pictures and files. Those of tiles are absolute, since the worker's script has another address
 * than the page.
 */
export const address = {
  tile: (id, level, column, row) => absolute(`${photographPath(id)}/tiles/${level}/${column}_${row}.jpg`),
  /** finished: when its analysis ended; another analysis begins with revision 0 again. */
  stack: ({ id, finished }, layer, level, column, row, revision) =>
    absolute(`${photographPath(id)}/stack/${layer}/${level}/${column}_${row}.png${query({ revision, finished })}`),
  thumbnail: (id) => `${photographPath(id)}/thumbnail.jpg`,
  download: (id) => `${photographPath(id)}/download`,
  training: (id) => `${photographPath(id)}/training`,
  report: (id) => `${photographPath(id)}/report`,
  reportPdf: (id) => `${photographPath(id)}/report.pdf`,
  batch: (id) => `api/batches/${encodeURIComponent(id)}/download`,
  batchReport: (id) => `${reportPath(id)}/report.pdf`,
};
