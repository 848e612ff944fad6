// Messages and questions to the person at the page.
//
// Knows:   the message line, the dialog for confirmations, and how failures are put into words.
// Ignores: what went wrong, and what is confirmed.

import { byId } from "./dom.js";

const MESSAGE_MS = 9000;

let timer = 0;

/** Show a message until the next one replaces it or, unless it is persistent, for nine seconds. */
export function showMessage(text, { persistent = false, isGood = false } = {}) {
  clearTimeout(timer);
  byId("message").textContent = text;
  byId("message").classList.toggle("good", isGood);
  if (text && !persistent) timer = setTimeout(() => showMessage(""), MESSAGE_MS);
}

/** Show why something cannot be done, unless it can (""); return whether it cannot. */
export function showRefusal(refusal) {
  if (refusal) showMessage(refusal);
  return Boolean(refusal);
}

/** Show why a request failed, unless the page itself cancelled it. */
export function showFailure(error, prefix = "") {
  if (error.name !== "AbortError") showMessage(prefix + error.message);
}

/** Ask before something that cannot be undone; resolves to true if the answer is yes. */
export function confirmAction(question, action) {
  const dialog = byId("confirm-dialog");
  byId("confirm-text").textContent = question;
  byId("confirm-yes").textContent = action;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** Ask for a line of text; resolves to "" if none was given. */
export function askText(question, action) {
  const dialog = byId("ask-dialog");
  byId("ask-text").textContent = question;
  byId("ask-yes").textContent = action;
  byId("ask-value").value = "";
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    const answer = () => (dialog.returnValue === "yes" ? byId("ask-value").value.trim() : "");
    dialog.addEventListener("close", () => resolve(answer()), { once: true });
  });
}

/**
 * Return why a photograph failed. If it has no single field of view, the server's advice after the semicolon names
 * command-line options; this page gives its own.
 */
export function failureText({ error }) {
  if (error.code !== "no_field") return error.message;
  const [reason] = error.message.split("; ");
  return (
    `${reason[0].toUpperCase()}${reason.slice(1)}. If the picture shows several eyes, save each as a photograph of its ` +
    "own. If it has no round rim, analyse the whole photograph."
  );
}
