// The panel that compares the result with masks of another grader, or ground truth.
//
// Knows:   how masks are added, chosen and deleted, and what the agreement at a threshold is.
// Ignores: how pixels of both masks, and of one only, are drawn on the photograph.

import * as api from "./api.js";
import { byId, element, latest, setDisabled } from "./dom.js";
import { formatNumber } from "./format.js";
import { confirmAction, showFailure, showMessage } from "./messages.js";
import { FALSE_NEGATIVE, FALSE_POSITIVE, TRUE_POSITIVE } from "./raster.js";
import { refusalOfCopy } from "./refusals.js";
import { newReferenceRevision } from "./state.js";

const [BOTH, RESULT_ONLY, OTHER_ONLY] = ["Both", "Only the result", "Only the other mask"]; // that have a pixel
const NAME = /^[A-Za-z0-9_-]{1,40}$/;

export function createComparePanel(state, outbox) {
  const selector = element("select", { id: "reference", onchange: () => choose(selector.value || null) });
  const name = element("input", {
    type: "text",
    id: "reference-name",
    value: "grader-2",
    maxlength: 40,
    pattern: "[A-Za-z0-9_\\-]{1,40}",
    autocomplete: "off",
  });
  const lesion = element("select", { id: "reference-lesion" });
  const files = element("input", {
    type: "file",
    id: "reference-files",
    class: "visually-hidden",
    multiple: true,
    accept: "image/png,.png,.tif,.tiff,.gif,.bmp",
    onchange: addMasks,
  });
  const deleteButton = element(
    "button",
    { type: "button", class: "borderless", onclick: deleteMasks },
    "Delete",
  );
  const saveButton = element(
    "button",
    {
      type: "button",
      onclick: saveCorrections,
      title: "Save the corrected masks as they are now, to compare with them later",
    },
    "Save my corrections as masks",
  );
  const figures = element("div", { id: "agreement" });
  const legend = element(
    "p",
    { class: "legend small" },
    ...[
      [BOTH, TRUE_POSITIVE],
      [RESULT_ONLY, FALSE_POSITIVE],
      [OTHER_ONLY, FALSE_NEGATIVE],
    ].map(([label, colour]) =>
      element(
        "span",
        { class: "chip", colour: `rgb(${colour})` },
        element("i", { class: "swatch full" }),
        label,
      ),
    ),
  );
  let agreement = null; // agreement with the chosen masks at all levels

  byId("compare").replaceChildren(
    element(
      "div",
      { class: "row" },
      element("label", { for: "reference" }, "Compare with"),
      selector,
      deleteButton,
    ),
    legend,
    figures,
    element("h3", {}, "Add masks"),
    element(
      "p",
      { class: "small muted" },
      "One file for each lesion, of the photograph's size; every pixel that is not black is lesion. " +
        "The lesion is read from names that end in _EX, _MA, _HE or _SE.",
    ),
    element("div", { class: "row" }, element("label", { for: "reference-name" }, "Name"), name),
    element(
      "div",
      { class: "row" },
      element("label", { for: "reference-lesion" }, "Lesion"),
      lesion,
      element("label", { class: "button" }, "Choose masks", files),
    ),
    element("div", { class: "row" }, saveButton),
  );

  /** Load the list of masks of a view's photograph, and choose those with a name; null for none. */
  async function load(view, reference) {
    lesion.replaceChildren(
      element("option", { value: "" }, "by the file's name"),
      ...view.lesions.map((known) => element("option", { value: known.code }, known.name)),
    );
    try {
      const { references } = await api.listReferences(view.id, view.signal);
      if (view !== state.view) return;
      renderSelector(references);
      await choose(references.some((known) => known.name === reference) ? reference : null);
    } catch (error) {
      showFailure(error);
    }
  }

  function renderSelector(references) {
    selector.replaceChildren(
      element("option", { value: "" }, references.length ? "nothing" : "no masks yet"),
      ...references.map((known) =>
        element("option", { value: known.name }, `${known.name} (${Object.keys(known.lesions).join(", ")})`),
      ),
    );
    selector.disabled = !state.result;
    renderRefusal();
  }

  function renderRefusal() {
    for (const control of [name, lesion, files, saveButton])
      setDisabled(control, !state.result, refusalOfCopy(state), control === files ? files.parentElement : control);
    setDisabled(deleteButton, false, refusalOfCopy(state));
  }

  /** Compare the open photograph with masks; null for none. */
  const choose = latest(async (signal, reference) => {
    const { view } = state;
    selector.value = reference || "";
    deleteButton.hidden = legend.hidden = !reference;
    agreement = null;
    if (view) state.update(view, { reference }, "reference");
    renderAgreement();
    if (!reference) return;
    try {
      const loaded = await api.getAgreement(view.id, reference, signal);
      if (signal.aborted) return;
      agreement = loaded;
      renderAgreement();
    } catch (error) {
      showFailure(error);
    }
  });

  function renderAgreement() {
    if (!agreement) return figures.replaceChildren();
    const headings = ["", BOTH, RESULT_ONLY, OTHER_ONLY, "Dice"].map((label) =>
      element(label ? "th" : "td", { scope: label ? "col" : null }, label),
    );
    figures.replaceChildren(
      element(
        "table",
        {},
        element("caption", { class: "small muted" }, "Pixels at the current thresholds"),
        element("thead", {}, element("tr", {}, ...headings)),
        element(
          "tbody",
          {},
          ...state.lesions.filter(({ code }) => agreement.lesions[code]).map(agreementRow),
        ),
      ),
    );
  }

  function agreementRow({ code, level }) {
    const tables = agreement.lesions[code];
    const [hits, wrong, missed] = [tables.true_px[level], tables.false_px[level], tables.missed_px[level]];
    const sum = 2 * hits + wrong + missed;
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, code),
      ...[hits, wrong, missed].map((pixels) => element("td", {}, formatNumber(pixels))),
      element("td", {}, sum ? ((2 * hits) / sum).toFixed(2) : "–"),
    );
  }

  // ---- adding and deleting: always for the photograph that was open when the person acted ----

  /** Return the name for new masks, or null if it is not valid. */
  function newName() {
    const given = name.value.trim();
    if (NAME.test(given)) return given;
    showMessage("That name is not valid: use letters, digits, - and _, at most 40 characters.");
    return null;
  }

  async function addMasks() {
    const { view } = state;
    const given = newName();
    const masks = [...files.files].map((file) => ({ file, code: lesion.value || lesionOf(view, file.name) }));
    files.value = "";
    if (!given) return;
    for (const { file, code } of masks) {
      if (code) await attempt(view, () => api.putReference(view.id, given, code, file), `${file.name}: `);
      else
        showMessage(`${file.name}: the lesion is not known. Choose one, or end the name in _EX, _MA, _HE or _SE.`);
    }
    await show(view, given);
  }

  const lesionOf = (view, fileName) =>
    view.lesions.find(({ code }) => new RegExp(`(^|[_. -])${code}\\.[a-z]+$`, "i").test(fileName))?.code;

  async function saveCorrections() {
    const { view } = state;
    const given = newName();
    if (given && (await attempt(view, () => api.saveCorrectionsAsReference(view.id, given))))
      await show(view, given);
  }

  async function deleteMasks() {
    const { view } = state;
    const { reference } = view;
    if (!(await confirmAction(`Delete the masks ${reference} of ${view.photograph.name}?`, "Delete"))) return;
    if (await attempt(view, () => api.deleteReference(view.id, reference))) await show(view, null);
  }

  /** Change a view's masks, after its pending edits; returns whether the change was made. */
  async function attempt(view, send, prefix = "") {
    let isDone = false;
    await outbox.add(view.id, {
      send,
      onAnswer: () => {
        isDone = true;
      },
      onRefusal: (error) => showFailure(error, prefix),
    });
    return isDone;
  }

  /** Show a view's masks as they are now, unless another photograph is open. */
  async function show(view, reference) {
    view.referenceRevision = newReferenceRevision();
    if (view === state.view) await load(view, reference);
  }

  /** Clear the panel, then load the masks of the open photograph. */
  function reset() {
    renderSelector([]);
    choose(null);
    if (state.result) load(state.view, null);
  }

  state.on("photograph", reset);
  state.on("author", renderRefusal);
  state.on("levels", renderAgreement);
  state.on("corrections", () => {
    if (state.view.reference) choose(state.view.reference);
  });
  reset();
}
