// The panel for measuring: the ruler's length, the pixel spacing, and the ETDRS grid with the burden of its
// subfields.
//
// Knows:   the panel's controls, and that spacing and grid are fields of the photograph on the server, which
//          counts the regions in the grid's subfields.
// Ignores: how lines are drawn and handles moved.

import * as api from "./api.js";
import { isSame } from "./conflicts.js";
import { byId, element, isPressed, latest, setDisabled, setPressed, setText } from "./dom.js";
import * as etdrs from "./etdrs.js";
import { formatArea, formatNumber } from "./format.js";
import { showFailure, showMessage, showRefusal } from "./messages.js";
import { refusalOfFields } from "./refusals.js";

/** useRuler(): chooses the ruler as the tool. */
export function createMeasurePanel(state, outbox, annotations, useRuler) {
  const spacing = element("input", {
    type: "number",
    id: "spacing",
    min: 0.0001,
    max: 1,
    step: "any",
    inputmode: "decimal",
    placeholder: "not known",
    onchange: saveSpacing,
  });
  const ruler = element(
    "button",
    { type: "button", "aria-keyshortcuts": "M", onclick: () => useRuler() },
    "Ruler",
  );
  const reading = element("output", { id: "ruler-reading" });
  const gridButton = element(
    "button",
    {
      type: "button",
      id: "grid",
      "aria-pressed": "false",
      "aria-keyshortcuts": "G",
      onclick: () => toggleGrid(),
    },
    "ETDRS grid",
  );
  const description = element("p", { class: "small muted", id: "grid-description" });
  const table = element("div", {
    class: "scroll",
    id: "grid-table",
    tabindex: 0,
    role: "region",
    "aria-label": "Burden of the grid's subfields",
  });
  let shownSpacing = null; // mm, in the field before a person types
  let burden = null; // of the grid's subfields, as the table shows it

  byId("measure").replaceChildren(
    element(
      "div",
      { class: "row" },
      element("label", { for: "spacing" }, "Pixel spacing"),
      spacing,
      element("span", {}, "mm"),
    ),
    element("div", { class: "row" }, ruler, reading),
    element(
      "div",
      { class: "row" },
      gridButton,
      element("span", { class: "small muted" }, "Drag fovea and disc to their places."),
    ),
    description,
    table,
  );

  function saveSpacing() {
    if (spacing.validity.badInput) {
      renderControls();
      return showMessage("The pixel spacing was not changed: type a number such as 0.0052, with a point.");
    }
    const entered = { spacing_mm: spacing.value === "" ? null : Number(spacing.value) };
    outbox.change(state.view.id, entered, { base: { spacing_mm: shownSpacing } });
    showSpacing();
  }

  function showSpacing() {
    shownSpacing = state.view?.spacing ?? null;
    spacing.value = shownSpacing ?? "";
  }

  /** Return whether a person has typed a spacing that is not entered yet. */
  const isTyping = () => spacing.validity.badInput || spacing.value !== String(shownSpacing ?? "");

  function renderControls() {
    showSpacing();
    renderRefusal();
  }

  /** Enable or disable what changes the photograph; a grid that it has can be shown in any case. */
  function renderRefusal() {
    const refusal = refusalOfFields(state);
    setDisabled(spacing, !state.view, refusal);
    setDisabled(gridButton, !state.result, state.photograph?.grid ? "" : refusal);
  }

  // ---- the grid ----

  /** Show or hide the grid; a new one is placed as suggested, else in the middle of the field of view. */
  function toggleGrid() {
    const { view } = state;
    if (!view?.result) return;
    if (isPressed(gridButton)) return showGrid(null);
    const saved = view.photograph.grid;
    if (!saved && showRefusal(refusalOfFields(state))) return;
    showGrid(saved || view.result.suggested_grid || etdrs.initialGrid(view.result.field));
    byId("measure-section").open = true;
    if (saved) loadTable();
    else saveGrid(view, annotations.shown.grid);
  }

  function showGrid(grid) {
    setPressed(gridButton, Boolean(grid));
    annotations.set({ grid });
    if (grid) return;
    burden = null;
    table.replaceChildren();
    description.textContent = "";
  }

  /** Show the grid as it was changed here or in another window, if one is shown. */
  function showChangedGrid() {
    if (!isPressed(gridButton)) return;
    showGrid(state.view.photograph.grid);
    loadTable();
  }

  /** Save where a view's grid was dragged to, unless it is another one than the drag began with. */
  function moveGrid(view, grid, before) {
    if (isSame(view.photograph.grid, before)) return saveGrid(view, grid);
    showChangedGrid();
    showMessage("The ETDRS grid was changed meanwhile. What is shown is the newer state; move it again if it is wrong.");
  }

  /** Save where a view's grid was moved to. */
  function saveGrid(view, { fovea, disc }) {
    const rounded = ({ x, y }) => ({ x: Math.round(x * 10) / 10, y: Math.round(y * 10) / 10 });
    outbox.change(view.id, { grid: { fovea: rounded(fovea), disc: rounded(disc) } });
  }

  const loadTable = latest(async (signal) => {
    const { view } = state;
    if (!isPressed(gridButton) || !view?.photograph.grid) return;
    await outbox.settled(view.id); // the server counts at its own thresholds
    if (signal.aborted) return;
    try {
      const loaded = await api.getGrid(view.id, signal);
      if (signal.aborted || !isPressed(gridButton)) return;
      burden = loaded;
      renderTable();
    } catch (error) {
      showFailure(error);
    }
  });

  /** Return what to check of the grid: "" where a person has moved both fovea and disc. */
  function placedText(parts) {
    if (!parts.length) return "";
    return parts.length > 1
      ? "Placed by the program: check it and move what is wrong. "
      : `The ${parts[0]} was placed by the program: check it. `;
  }

  function renderTable() {
    if (!burden) return;
    const { eye, placed_by_program, scale_from, disc_diameter_px, fields } = burden;
    const lesions = state.lesions.filter(({ shown }) => shown);
    const scale =
      scale_from === "spacing" ? "from the pixel spacing" : "by a rule of thumb: 4.5 mm from fovea to disc";
    description.textContent =
      placedText(placed_by_program) +
      `${eye === "right" ? "Right" : "Left"} eye. Scale ${scale}; 1 disc diameter = ` +
      `${formatNumber(disc_diameter_px)} px. A region is counted in the subfield that contains its centre.`;
    const heading = element(
      "tr",
      {},
      element("th", { scope: "col" }, "Subfield"),
      ...lesions.map(({ code, name }) => element("th", { scope: "col", title: name }, code)),
    );
    const rows = etdrs.FIELDS.map(([key, label]) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, label),
        ...lesions.map(({ code }) => cell(fields[key]?.lesions?.[code])),
      ),
    );
    table.replaceChildren(element("table", {}, element("thead", {}, heading), element("tbody", {}, ...rows)));
  }

  function cell(regions) {
    if (!regions?.area_px) return element("td", {}, "–");
    return element(
      "td",
      {},
      element("b", {}, formatNumber(regions.count)),
      element("small", {}, formatArea(regions.area_px, state.view.spacing)),
    );
  }

  function renderReading() {
    const { ruler: line } = annotations.shown;
    setText(reading, line && state.view ? annotations.rulerText(line) : "");
  }

  state.on("photograph", () => {
    showGrid(null);
    loadTable(); // which drops that of the photograph before
    renderControls();
  });
  state.on("spacing_mm", () => {
    if (!isTyping()) showSpacing();
    renderTable();
  });
  state.on("document author", renderRefusal);
  state.on("grid", showChangedGrid);
  state.on("ruler spacing_mm", renderReading);
  state.on("saved corrections spacing_mm", loadTable); // the spacing may be set in another window
  state.on("layers", renderTable); // which lesions are shown
  renderControls();

  return { toggleGrid, moveGrid };
}
