// One row of the list of photographs, and the heading of a batch.
//
// Knows:   what a row says at a glance. Ignores: which rows there are, and what a click does.

import { address } from "./api.js";
import { element } from "./dom.js";
import { failureText } from "./messages.js";
import { reviewText } from "./review-text.js";

export const EYES = { right: ["R", "Right eye"], left: ["L", "Left eye"] };

/**
 * Return the row of a photograph.
 *
 * shown: {isOpen, isSelecting, isSelected, isCurrent, place, count, waiting}; `waiting` is its place in the queue.
 * Tab reaches only the controls of the current row, arrow keys reach the other rows. act: {open, remove, select},
 * called with the id.
 */
export function photographRow(photograph, shown, act) {
  const { id, name } = photograph;
  const tabindex = shown.isCurrent ? "0" : "-1";
  return element(
    "li",
    {
      "data-id": id,
      class: `${photograph.state} ${shown.isOpen ? "open" : ""}`,
      "aria-setsize": shown.count,
      "aria-posinset": shown.place,
    },
    element(
      "div",
      { class: "card" },
      element(
        "button",
        {
          type: "button",
          tabindex,
          class: "open-button",
          "aria-current": shown.isOpen ? "true" : null,
          onclick: (event) => act.open(id, event),
        },
        thumbnail(id),
        element(
            "span",
            { class: "text" },
            title(photograph),
            statusOf(photograph, shown.waiting),
          ),
      ),
      shown.isSelecting
        ? checkbox(`Select ${name}`, tabindex, shown.isSelected, () => act.select([id]))
        : deleteButton(name, tabindex, () => act.remove(id)),
    ),
  );
}

const checkbox = (label, tabindex, checked, onchange) =>
  element("input", { type: "checkbox", class: "select-box", "aria-label": label, tabindex, checked, onchange });

const deleteButton = (name, tabindex, onclick) =>
  element(
    "button",
    {
      type: "button",
      tabindex,
      class: "borderless delete-button",
      "aria-label": `Delete ${name}`,
      title: "Delete",
      onclick,
    },
    "×",
  );

const thumbnail = (id) =>
  element("img", {
    class: "thumbnail",
    src: address.thumbnail(id),
    alt: "",
    loading: "lazy",
    decoding: "async",
    width: 56,
    height: 44,
  });

const title = (photograph) =>
  element(
    "span",
    { class: "title" },
    element("span", { class: "name", title: photograph.name }, photograph.name),
    ...marks(photograph),
  );

/** Return the marks after the name: the eye, a note, corrections, a review. */
const marks = (photograph) => [
  ...statements(photograph),
  photograph.reviewed ? mark("reviewed-mark", "✓", reviewText(photograph)) : null,
];

const statements = ({ eye, note, result }) => [
  eye ? mark("eye-mark", EYES[eye][0], EYES[eye][1]) : null,
  note ? mark("note-mark", "¶", `Note: ${note}`) : null,
  result?.corrected ? mark("corrected-mark", "✎", "Corrected") : null,
];

const mark = (className, text, label) =>
  element(
    "span",
    { class: `mark ${className}`, title: label },
    element("span", { "aria-hidden": "true" }, text),
    element("span", { class: "visually-hidden" }, `${label}, `),
  );

function statusOf(photograph, waiting) {
  const muted = (...content) => element("span", { class: "small muted line" }, ...content);
  switch (photograph.state) {
    case "failed": {
      const text = failureText(photograph);
      return element("span", { class: "small bad line", title: text }, `Failed: ${text}`);
    }
    case "queued":
      return muted(`Waiting, position ${waiting}`);
    case "running":
      return muted(
        "Analysing ",
        element("progress", {
          max: 1,
          value: photograph.progress,
          "aria-label": `Progress of ${photograph.name}`,
        }),
      );
    default:
      return lesionCounts(photograph.result.lesions);
  }
}

function lesionCounts(lesions) {
  const chips = Object.entries(lesions)
    .filter(([, { count }]) => count > 0)
    .map(([code, { count, colour }]) =>
      element(
        "span",
        { class: "chip", colour: `rgb(${colour})` },
        element("i", { class: "swatch small" }),
        `${code} ${count}`,
      ),
    );
  const none = element("span", { class: "muted" }, "No lesions found");
  return element("span", { class: "small chips" }, ...(chips.length ? chips : [none]));
}

/**
 * Return the heading of a batch: its name, its size, its download link, and a box that selects all. act: {select,
 * download}; `download` is called with the click on the link.
 */
export function batchHeading({ batch, name, ids }, { isSelecting, areSelected }, act) {
  return element(
    "li",
    { class: "batch-heading" },
    element("span", { class: "batch-name", title: name }, name),
    element("span", { class: "muted small" }, String(ids.length)),
    isSelecting
      ? checkbox(`Select all of ${name}`, "0", areSelected, () => act.select(ids))
      : batch
        ? element(
            "a",
            {
              class: "batch-download",
              href: address.batch(batch),
              download: "",
              onclick: act.download,
              tabindex: "-1",
              title: "Download this batch (zip)",
              "aria-label": `Download ${name}`,
            },
            "↓",
          )
        : null,
  );
}
