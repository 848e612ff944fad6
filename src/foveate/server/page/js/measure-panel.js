// The panel for measuring: the ruler's length, the pixel spacing, and the ETDRS grid with the burden of its
// fields.
//
// Knows:   the panel's controls, and that spacing and grid are fields of the photograph on the server, which
//          counts the regions in the grid's fields.
// Ignores: how lines are drawn and handles moved.

import * as api from "./api.js";
import { byId, element, isPressed, setPressed } from "./dom.js";
import * as etdrs from "./etdrs.js";
import { formatArea, formatNumber } from "./format.js";
import { showFailure, showMessage } from "./messages.js";

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
    "aria-label": "Burden of the grid's fields",
  });
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
    outbox.change(state.view.id, { spacing_mm: spacing.value === "" ? null : Number(spacing.value) });
    state.emit("counts"); // areas are shown in the new unit
    state.emit("levels-settled");
  }

  function renderControls() {
    spacing.value = state.view?.spacing ?? "";
    spacing.disabled = !state.view;
    gridButton.disabled = !state.result;
  }

  // ---- the grid ----

  /** Show or hide the grid; a new one is placed as suggested, else in the middle of the field of view. */
  function toggleGrid() {
    const { view } = state;
    if (!view?.result) return;
    if (isPressed(gridButton)) return showGrid(null);
    const saved = view.photograph.grid;
    showGrid(saved || view.result.suggested_grid || etdrs.initialGrid(view.result.field));
    byId("measure-section").open = true;
    if (saved) loadTable();
    else saveGrid(view, annotations.shown.grid);
  }

  function showGrid(grid) {
    setPressed(gridButton, Boolean(grid));
    annotations.set({ grid });
    if (grid) return;
    table.replaceChildren();
    description.textContent = "";
  }

  /** Save where a view's grid was moved to. */
  async function saveGrid(view, { fovea, disc }) {
    const rounded = ({ x, y }) => ({ x: Math.round(x * 10) / 10, y: Math.round(y * 10) / 10 });
    await outbox.change(view.id, { grid: { fovea: rounded(fovea), disc: rounded(disc) } });
    if (view === state.view) loadTable();
  }

  async function loadTable() {
    const { view } = state;
    if (!isPressed(gridButton) || !view?.photograph.grid) return;
    await outbox.settled(view.id); // the server counts at its own thresholds
    try {
      const burden = await api.getGrid(view.id, view.signal);
      if (view === state.view && isPressed(gridButton)) renderTable(burden);
    } catch (error) {
      showFailure(error);
    }
  }

  /** Return what to check of the grid: "" where a person has moved both fovea and disc. */
  function placedText(parts) {
    if (!parts.length) return "";
    return parts.length > 1
      ? "Placed by the program: check it and move what is wrong. "
      : `The ${parts[0]} was placed by the program: check it. `;
  }

  function renderTable({ eye, placed_by_program, scale_from, disc_diameter_px, fields }) {
    const lesions = state.lesions.filter(({ shown }) => shown);
    const scale =
      scale_from === "spacing" ? "from the pixel spacing" : "by a rule of thumb: 4.5 mm from fovea to disc";
    description.textContent =
      placedText(placed_by_program) +
      `${eye === "right" ? "Right" : "Left"} eye. Scale ${scale}; 1 disc diameter = ` +
      `${formatNumber(disc_diameter_px)} px. A region counts where its centre lies.`;
    const heading = element(
      "tr",
      {},
      element("th", { scope: "col" }, "Field"),
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

  function cell(burden) {
    if (!burden?.area_px) return element("td", {}, "–");
    return element(
      "td",
      {},
      element("b", {}, formatNumber(burden.count)),
      element("small", {}, formatArea(burden.area_px, state.view.spacing)),
    );
  }

  function renderReading() {
    const { ruler: line } = annotations.shown;
    reading.textContent = line && state.view ? annotations.rulerText(line) : "";
  }

  state.on("photograph", () => {
    showGrid(null);
    renderControls();
  });
  state.on("document", () => {
    if (document.activeElement !== spacing) spacing.value = state.view.spacing ?? "";
    renderReading();
  });
  state.on("saved corrections layers", loadTable);
  state.on("ruler", renderReading);
  renderControls();

  return { toggleGrid, saveGrid };
}
