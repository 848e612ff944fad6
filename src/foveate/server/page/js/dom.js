// Short words for the page's elements. Text is set as text, never as HTML: names of files are foreign.

export const get = (id) => document.getElementById(id);

/** Make an element: make("button", {type: "button", class: "x", onclick}, "text", child). */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  set(element, attributes);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function shape(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  set(element, attributes);
  element.append(...children);
  return element;
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "colour") element.style.setProperty("--colour", value);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
}

/** A row of buttons of which one is chosen: radio buttons, so that arrow keys work by themselves. */
export function choice(element, name, entries, chosen, onChange) {
  element.replaceChildren(
    ...entries.map(({ value, text, title, keys }) =>
      make(
        "label",
        { class: "choice", title },
        make("input", {
          type: "radio",
          name,
          value,
          checked: value === chosen,
          "aria-keyshortcuts": keys,
          onchange: () => onChange(value),
        }),
        make("span", {}, text),
      ),
    ),
  );
  return (value) => {
    element.querySelector(`[value="${value}"]`).checked = true;
  };
}

/** Set a text where it is another one: in each frame of a movement, what stays needs no layout. */
export function write(id, text) {
  if (get(id).textContent !== text) get(id).textContent = text;
}

export const pressed = (button) => button.getAttribute("aria-pressed") === "true";
export const press = (button, value) => button.setAttribute("aria-pressed", String(value));

/** Wait until nothing called for a while, then do it once. */
export function settled(milliseconds, act) {
  let waiting = 0;
  return (...given) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => act(...given), milliseconds);
  };
}

let speaking = 0;

/** Tell what went wrong or was done; gone after a while, or with the next. */
export function say(text, { stays = false } = {}) {
  clearTimeout(speaking);
  get("message").textContent = text;
  if (text && !stays)
    speaking = setTimeout(() => {
      get("message").textContent = "";
    }, 9000);
}

/** Ask before something cannot be taken back. */
export function confirmed(question, answer) {
  const dialog = get("ask");
  get("ask-text").textContent = question;
  get("ask-yes").textContent = answer;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** Why a photograph failed, in words for this page: the server's own speak of its options. */
export function failure({ error }) {
  return error.code === "no_field"
    ? "No round field of view was found: is it a fundus photograph?"
    : error.message;
}
