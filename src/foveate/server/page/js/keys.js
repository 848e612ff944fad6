// The keyboard: what each key does, and the page of help that says so.
//
// Knows:   the bindings. Ignores: how anything is done.
//
// Single keys can be put off (WCAG 2.1.4): they disturb dictation and some screen readers.

import { preferences, prefer } from "./desk.js";
import { get, make } from "./dom.js";

/** bindings: [{keys: ["h"], shown: "H", words: "Hide all layers", act}], parted by {title}. */
export function keyboard(bindings) {
  const byKey = new Map(bindings.flatMap(({ keys = [], act }) => keys.map((key) => [key, act])));
  const dialog = get("help");
  const on = get("keys-on");
  on.checked = preferences().keys ?? true;
  on.addEventListener("change", () => prefer({ keys: on.checked }));

  const sections = [];
  for (const binding of bindings) {
    if (binding.title) sections.push({ title: binding.title, rows: [] });
    else if (!binding.hidden) sections.at(-1).rows.push(binding);
  }
  get("bindings").replaceChildren(
    ...sections.map(({ title, rows }) =>
      make(
        "section",
        {},
        make("h3", {}, title),
        make(
          "dl",
          {},
          ...rows.flatMap(({ shown, words }) => [
            make("dt", {}, ...shown.split(" ").map((key) => make("kbd", {}, key))),
            make("dd", {}, words),
          ]),
        ),
      ),
    ),
  );

  const named = (letter, { shiftKey, ctrlKey, metaKey }) => {
    const plain = letter.length === 1 ? letter.toLowerCase() : letter;
    const shifted = shiftKey && (/^[a-z0-9]$/.test(plain) || plain.length > 1);
    return `${ctrlKey || metaKey ? "ctrl+" : ""}${shifted ? "shift+" : ""}${plain}`;
  };

  /** By the letter, else by the digit's place: on some keyboards digits are behind Shift. */
  const name = (event) => {
    const letter = named(event.key, event);
    return byKey.has(letter) || !/^Digit\d$/.test(event.code) ? letter : named(event.code.at(-1), event);
  };

  /** Keys that a control of its own needs stay with it. */
  function taken({ target, key }) {
    if (target.matches("input[type=text], input[type=number], textarea, select")) return true;
    if (target.matches("input[type=range]") && /^(Arrow|Page|Home|End)/.test(key)) return true;
    if (target.matches("input[type=radio]") && /^Arrow/.test(key)) return true;
    if (/^(Arrow|Page|Home|End)/.test(key) && target.closest("#list, #panel, dialog")) return true;
    return false;
  }

  window.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || document.querySelector("dialog[open]") || taken(event))
      return;
    const pressed = name(event);
    const act = byKey.get(pressed);
    if (!act || (!on.checked && pressed.length === 1 && pressed !== "?")) return;
    event.preventDefault();
    act();
  });

  const help = () => dialog.showModal();
  get("keys").addEventListener("click", help);
  dialog.addEventListener("click", ({ target }) => {
    if (target === dialog) dialog.close();
  });
  return { help };
}
