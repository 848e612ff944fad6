// Uploads: photographs that were dropped or chosen, on their way to the server.
//
// Knows:   how files and folders are dropped, and which upload is waiting, under way or refused.
// Ignores: what becomes of a photograph on the server.

import * as api from "./api.js";
import { byId, element, wait, whenReleased } from "./dom.js";
import { showMessage } from "./messages.js";

const CONCURRENT = 1; // one upload at a time: photographs are listed in the order in which they were dropped
const MAX_ROWS = 20; // including refused uploads
const RETRY_SECONDS = 2; // if the server does not say when to try again
const READABLE = /\.(jpe?g|jpe|png|tiff?|dcm|dicom)$/i; // if there are several files, all others are skipped
const DICOM = { at: 128, letters: "DICM" }; // identifies DICOM in a file without suffix, as devices write them
const NO_BATCH = { resolve: async () => null, doubt: () => {} };
const UNSENT = { state: "waiting", status: "Waiting to upload" };
const WAITING = {
  0: "The server does not answer; waiting",
  429: "The queue is full; the upload continues when there is room",
  502: "The server is not available; waiting",
  503: "The server is busy or stopping; waiting",
  504: "The server is not available; waiting",
};
const collator = new Intl.Collator("en", { numeric: true });
const UNFINISHED = "foveate-uploads"; // key in the session storage for names, while the page is reloaded

/**
 * Return the files of a folder, which come in any order, by name, folder by folder: the paths differ at a file or a
 * folder.
 *
 * files: [{file, path}].
 */
export function inOrder(files) {
  const compare = (a, b) => {
    const [one, other] = [a.path.split("/"), b.path.split("/")];
    const at = one.findIndex((name, index) => name !== other[index]);
    return at < 0 ? 0 : collator.compare(one[at], other[at] ?? "");
  };
  return [...files].sort(compare).map(({ file }) => file);
}

/**
 * now(): the time of the store's clock. onUploaded(photograph, requested): it is on the server, as it was at a time
 * after `requested`. onChange(): the number of uploads has changed.
 */
export function createUploads({ now, onUploaded, onChange }) {
  // {name, file, batch: as `newBatch` returns it, identifier, status, state: "waiting", "sending" or "refused"}
  let uploads = [];
  let over = 0; // elements that files are being dragged over

  function render() {
    const shown = uploads.filter(({ state }) => state !== "waiting").slice(0, MAX_ROWS);
    const waiting = uploads.filter(({ state }) => state === "waiting").length;
    const rows = [...shown.map(row), ...(waiting ? [waitingRow(waiting)] : [])];
    whenReleased(byId("uploads"), () => byId("uploads").replaceChildren(...rows));
    onChange();
  }

  const waitingRow = (count) =>
    element("li", { class: "small muted waiting" }, `${count} more ${count === 1 ? "waits" : "wait"} to be uploaded`);

  function row(upload) {
    const refused = upload.state === "refused";
    const button = (label, text, onclick) =>
      element("button", { type: "button", class: "borderless", "aria-label": label, onclick }, text);
    return element(
      "li",
      { class: refused ? "failed" : "" },
      element(
        "div",
        { class: "card" },
        element("i", { class: "thumbnail" }),
        element(
          "span",
          { class: "text" },
          element("span", { class: "name" }, upload.name),
          element("span", { class: "small muted" }, upload.status),
        ),
        refused ? button(`Upload ${upload.name} again`, "↻", () => retry(upload)) : null,
        refused ? button(`Dismiss ${upload.name}`, "×", () => dismiss(upload)) : null,
      ),
    );
  }

  function dismiss(upload) {
    uploads = uploads.filter((listed) => listed !== upload);
    render();
  }

  function retry(upload) {
    Object.assign(upload, UNSENT);
    render();
    sendWaiting();
  }

  /** Upload files; several at once become a batch. */
  async function addFiles(files) {
    const readable = files.length === 1 ? [true] : await Promise.all(files.map(isReadable));
    const photographs = files.filter(({ size }, index) => size > 0 && readable[index]);
    if (!photographs.length)
      return showMessage("None of these files is a photograph: choose JPEG, PNG, TIFF or DICOM files.");
    const skipped = files.length - photographs.length;
    if (skipped)
      showMessage(`Skipped ${skipped} ${skipped === 1 ? "file that is not a photograph" : "files that are not photographs"}.`);
    const batch = photographs.length > 1 ? newBatch() : NO_BATCH;
    for (const file of photographs)
      uploads.push({ name: file.name, file, batch, identifier: api.newIdentifier(), ...UNSENT });
    render();
    sendWaiting();
  }

  async function isReadable(file) {
    if (READABLE.test(file.name)) return true;
    if (/\.[a-z]\w*$/i.test(file.name)) return false;
    const { at, letters } = DICOM;
    const text = await file.slice(at, at + letters.length).text();
    return text === letters;
  }

  /**
   * Return a batch of uploads: resolve() creates it on the server when it is first called, and resolves to its
   * identifier; doubt() says that it may have been deleted, so that the next upload creates another one if it was. The
   * list says how many photographs it has.
   */
  function newBatch() {
    const name = new Date().toLocaleString("sv"); // Swedish writes 2026-11-29 07:24:31
    let created = null;
    let isInDoubt = false;
    return {
      async resolve() {
        if (isInDoubt && !(await exists(created))) created = null;
        created ??= (await api.createBatch(name)).id; // one upload at a time: nobody creates another one meanwhile
        isInDoubt = false;
        return created;
      },
      doubt() {
        isInDoubt = true;
      },
    };
  }

  const exists = async (batch) => (await api.listBatches()).batches.some(({ id }) => id === batch);

  function sendWaiting() {
    const sending = uploads.filter(({ state }) => state === "sending").length;
    const waiting = uploads.filter(({ state }) => state === "waiting");
    for (const upload of waiting.slice(0, Math.max(0, CONCURRENT - sending))) send(upload);
  }

  async function send(upload) {
    Object.assign(upload, { state: "sending", status: "Uploading" });
    render();
    try {
      const requested = now();
      const photograph = await submit(upload);
      uploads = uploads.filter((listed) => listed !== upload);
      onUploaded(photograph, requested);
    } catch (error) {
      Object.assign(upload, { state: "refused", status: error.message });
      if (error.status === 404) {
        upload.batch.doubt(); // it was deleted, or the photograph was:
        upload.identifier = api.newIdentifier(); // trying again adds it anew
      }
    }
    render();
    sendWaiting();
  }

  /**
   * Submit a photograph; try again while the server is busy or not available. It may have the photograph already, if
   * only its answer was lost: the identifier says that it is the same one.
   */
  async function submit(upload) {
    for (;;) {
      try {
        return await api.submitPhotograph(upload.file, await upload.batch.resolve(), upload.identifier);
      } catch (error) {
        if (!WAITING[error.status]) throw error;
        upload.status = WAITING[error.status];
        render();
        await wait(1000 * (error.retryAfter || RETRY_SECONDS));
      }
    }
  }

  // ---- files ----

  /** Return all files in a dropped folder, or a dropped file: [{file, path}]. */
  async function filesIn(entry) {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      return [{ file, path: entry.fullPath }];
    }
    const reader = entry.createReader();
    const files = [];
    for (;;) {
      const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!entries.length) return files;
      for (const inner of entries) files.push(...(await filesIn(inner)));
    }
  }

  async function addDropped(transfer) {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const dropped = await Promise.all(entries.map(filesIn));
    await addFiles(entries.length ? dropped.flatMap(inOrder) : [...transfer.files]);
  }

  const holdsFiles = (event) => [...event.dataTransfer.types].includes("Files");

  /** Count the elements that files are dragged over: entering a child comes before leaving its parent. */
  function countOver(event, change) {
    if (!holdsFiles(event)) return;
    over = Math.max(0, over + change);
    document.body.classList.toggle("dropping", over > 0);
  }

  window.addEventListener("dragenter", (event) => countOver(event, 1));
  window.addEventListener("dragleave", (event) => countOver(event, -1));
  window.addEventListener("dragover", (event) => {
    if (holdsFiles(event)) event.preventDefault();
  });
  window.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    countOver(event, -over);
    addDropped(event.dataTransfer).catch(() => showMessage("The dropped files cannot be read; use Choose files."));
  });
  for (const id of ["files", "folder"]) {
    byId(id).addEventListener("change", () => {
      addFiles(inOrder([...byId(id).files].map((file) => ({ file, path: file.webkitRelativePath })))); // "": as chosen
      byId(id).value = "";
    });
  }

  byId("sample").addEventListener("click", async () => {
    const response = await fetch("page/sample.jpg").catch(() => null);
    if (!response?.ok) return showMessage("The sample cannot be loaded. Is foveate serve still running?");
    addFiles([new File([await response.blob()], "Sample IDRiD 376.jpg")]);
  });

  // ---- closing the page ----

  const unfinished = () => uploads.filter(({ state }) => state !== "refused").map(({ name }) => name);

  /**
   * Remember the names of unfinished uploads while the page is closed: the browser does not restore files
   * after a reload.
   */
  function rememberUnfinished() {
    const names = unfinished();
    if (names.length) sessionStorage.setItem(UNFINISHED, JSON.stringify(names));
    else sessionStorage.removeItem(UNFINISHED);
  }

  /** Show which uploads were interrupted by a reload. */
  function reportUnfinished() {
    const names = JSON.parse(sessionStorage.getItem(UNFINISHED) || "[]");
    sessionStorage.removeItem(UNFINISHED);
    if (!names.length) return;
    showMessage(
      `The page was closed before these were uploaded: ${names.join(", ")}. If any of them is not in the list, add it again.`,
      { persistent: true },
    );
  }

  return { count: () => unfinished().length, rememberUnfinished, reportUnfinished };
}
