// The keyboard: calls the action of a key, and lists all keys in the help dialog.
//
// Knows:   how keys are named on different keyboards, and which elements keep their own keys.
// Ignores: what an action does (bindings.js).
//
// Single keys, with or without Shift, can be switched off (WCAG 2.1.4): they disturb dictation and some screen readers.

import { byId, element } from "./dom.js";
import { readPreferences, savePreferences } from "./preferences.js";

/**
 * Bind keys, and fill the help dialog.
 *
 * bindings: [{title}] starts a section; [{keys: ["h"], label: "H", text: "Hide all layers", action}]; a binding
 * without a label is not listed in the help.
 */
export function bindKeys(bindings) {
  const actions = new Map(bindings.flatMap(({ keys = [], action }) => keys.map((key) => [key, action])));
  const enabled = byId("keys-enabled");
  const help = byId("help");
  enabled.checked = readPreferences().keys ?? true;
  enabled.addEventListener("change", () => savePreferences({ keys: enabled.checked }));
  byId("bindings").replaceChildren(...helpSections(bindings));

  window.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || document.querySelector("dialog[open]")) return;
    if (belongsToElement(event)) return;
    const name = keyName(event, actions);
    const action = actions.get(name);
    if (!action || (!enabled.checked && isCharacter(name) && name !== "?")) return;
    event.preventDefault();
    action();
  });
  byId("show-keys").addEventListener("click", () => help.showModal());
  help.addEventListener("click", ({ target }) => {
    if (target === help) help.close();
  });
}

function helpSections(bindings) {
  const sections = [];
  for (const binding of bindings) {
    if (binding.title) sections.push({ title: binding.title, rows: [] });
    else if (binding.label) sections.at(-1).rows.push(binding);
  }
  return sections.map(({ title, rows }) =>
    element(
      "section",
      {},
      element("h3", {}, title),
      element(
        "dl",
        {},
        ...rows.flatMap(({ label, text }) => [
          element("dt", {}, ...label.split(" ").map((key) => element("kbd", {}, key))),
          element("dd", {}, text),
        ]),
      ),
    ),
  );
}

/**
 * Return a key's name, such as "ctrl+shift+z": by its letter, or by the place of a digit, since some keyboards
 * need Shift for digits.
 */
function keyName(event, actions) {
  const name = nameOf(event.key, event);
  return actions.has(name) || !/^Digit\d$/.test(event.code) ? name : nameOf(event.code.at(-1), event);
}

/** Return whether a key types a character. */
const isCharacter = (name) => /^(shift\+)?.$/.test(name);

function nameOf(letter, { shiftKey, ctrlKey, metaKey }) {
  const key = letter.length === 1 ? letter.toLowerCase() : letter;
  const withShift = shiftKey && (/^[a-z0-9]$/.test(key) || key.length > 1);
  return `${ctrlKey || metaKey ? "ctrl+" : ""}${withShift ? "shift+" : ""}${key}`;
}

/** Return whether the focused element needs the key itself. */
function belongsToElement({ target, key }) {
  const isMovement = /^(Arrow|Page|Home|End)/.test(key);
  if (target.matches("input[type=text], input[type=search], input[type=password], input[type=number], textarea, select"))
    return true;
  if (target.matches("input[type=range]") && isMovement) return true;
  if (target.matches("input[type=radio]") && key.startsWith("Arrow")) return true;
  return isMovement && Boolean(target.closest("#list, #panel, dialog"));
}
