// Elements of the page: find, create and set them.
//
// Knows:   elements and their attributes. Text is set as text, never as HTML: file names may contain anything.
// Ignores: what the page is about.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** Create an element: element("button", {type: "button", class: "primary", onclick}, "text", child). */
export function element(tag, attributes = {}, ...children) {
  const created = document.createElement(tag);
  setAttributes(created, attributes);
  created.append(...children.filter((child) => child !== null && child !== undefined));
  return created;
}

/** Create an SVG element. */
export function svgElement(tag, attributes = {}, ...children) {
  const created = document.createElementNS(SVG, tag);
  setAttributes(created, attributes);
  created.append(...children);
  return created;
}

function setAttributes(target, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) target.addEventListener(name.slice(2), value);
    else if (name === "colour") target.style.setProperty("--colour", value);
    else if (typeof value === "boolean") target.toggleAttribute(name, value);
    else if (value !== null && value !== undefined) target.setAttribute(name, value);
  }
}

/**
 * Fill a container with radio buttons that look like a row of buttons; arrow keys work as in any radio group.
 *
 * entries: [{value, text, title, keys}]. Returns a function that selects a value without calling `onChange`.
 */
export function radioGroup(container, name, entries, selected, onChange) {
  container.replaceChildren(
    ...entries.map(({ value, text, title, keys }) =>
      element(
        "label",
        { class: "choice", title },
        element("input", {
          type: "radio",
          name,
          value,
          checked: value === selected,
          "aria-keyshortcuts": keys,
          onchange: () => onChange(value),
        }),
        element("span", {}, text),
      ),
    ),
  );
  return (value) => {
    container.querySelector(`[value="${value}"]`).checked = true;
  };
}

/**
 * Set the text of an element if it differs: unchanged text costs no layout while the photograph moves, and a screen
 * reader does not announce it again.
 */
export function setText(shown, text) {
  if (shown.textContent !== text) shown.textContent = text;
}

export const isPressed = (button) => button.getAttribute("aria-pressed") === "true";
export const setPressed = (button, value) => button.setAttribute("aria-pressed", String(value));

const titles = new WeakMap(); // element -> its title while its control is not refused

/**
 * Disable a control, or enable it. refusal: why it cannot be used, which is its title then; "" for no such reason.
 * titled: the element that has the title, such as the control's label.
 */
export function setDisabled(control, isDisabled, refusal = "", titled = control) {
  if (!titles.has(titled)) titles.set(titled, titled.title);
  control.disabled = isDisabled || Boolean(refusal);
  titled.title = refusal || titles.get(titled);
}

let pressed = null; // the control that the mouse is pressed on
const awaited = new Map(); // container -> what changes its content when the mouse is released

window.addEventListener(
  "pointerdown",
  ({ target, button, isPrimary }) => {
    if (!isPrimary) return; // a second finger
    release(); // which may have been missed
    pressed = button < 2 ? target.closest("button, a, label, input, select, [role=option]") : null;
  },
  true,
);
for (const name of ["pointerup", "pointercancel"]) window.addEventListener(name, () => setTimeout(release), true);
window.addEventListener("blur", release); // the mouse is released in another window

function release() {
  const acts = [...awaited.values()];
  awaited.clear();
  pressed = null;
  for (const act of acts) act();
}

/**
 * Change at once what waits for the release of a control in a part of the page, which then takes no click: it is
 * about another photograph than the one that is shown by now.
 */
export function dropPress(part) {
  if (pressed && part.contains(pressed)) release();
}

/**
 * Change the content of a container: at once, or, while one of its controls is pressed, after the click. A browser
 * sends no click to a control that is replaced between press and release.
 */
export function whenReleased(container, act) {
  if (pressed && container.contains(pressed)) awaited.set(container, act);
  else {
    awaited.delete(container);
    act();
  }
}

/** Return a function that calls `act` once, when it has not been called for some milliseconds. */
export function debounce(milliseconds, act) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...values), milliseconds);
  };
}

/**
 * Return a function that calls `act(signal, ...values)`; the next call aborts the signal: what the earlier one waits
 * for is superseded.
 */
export function latest(act) {
  let controller = null;
  return (...values) => {
    controller?.abort();
    controller = new AbortController();
    return act(controller.signal, ...values);
  };
}

export const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
