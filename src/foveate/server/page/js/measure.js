// Measuring: the ruler's reading, what a pixel spans, and the ETDRS grid with the burden of its fields.
//
// Knows:   the panel's controls, and that the grid is kept by the server, which counts its fields.
// Ignores: how lines are drawn and handles moved.

import * as api from "./api.js";
import { get, make, press, pressed, say } from "./dom.js";
import * as etdrs from "./etdrs.js";
import * as levels from "./levels.js";

export function measurePanel(desk, marks, tools) {
  const panel = get("measure");
  const spacing = make("input", {
    type: "number",
    id: "spacing",
    min: 0.0001,
    max: 1,
    step: "any",
    inputmode: "decimal",
    placeholder: "not known",
    onchange: keepSpacing,
  });
  const ruler = make(
    "button",
    { type: "button", "aria-keyshortcuts": "M", onclick: () => tools.use("ruler") },
    "Ruler",
  );
  const read = make("output", { id: "ruler-reading" });
  const grid = make(
    "button",
    {
      type: "button",
      id: "grid",
      "aria-pressed": "false",
      "aria-keyshortcuts": "G",
      onclick: () => toggle(),
    },
    "ETDRS grid",
  );
  const about = make("p", { class: "small faint", id: "grid-about" });
  const table = make("div", {
    class: "scroll",
    id: "grid-table",
    tabindex: 0,
    role: "region",
    "aria-label": "Burden of the grid's fields",
  });
  panel.replaceChildren(
    make(
      "div",
      { class: "row" },
      make("label", { for: "spacing" }, "One pixel spans"),
      spacing,
      make("span", {}, "mm"),
    ),
    make("div", { class: "row" }, ruler, read),
    make(
      "div",
      { class: "row" },
      grid,
      make("span", { class: "small faint" }, "Drag fovea and disc to their places."),
    ),
    about,
    table,
  );

  async function keepSpacing() {
    const value = spacing.value === "" ? null : Number(spacing.value);
    try {
      desk.renew(await api.change(desk.photograph.id, { spacing_mm: value }));
      desk.tell("counts");
      desk.tell("settled"); // lists tell areas, too
    } catch (refusal) {
      say(refusal.message);
    }
  }

  function follow() {
    const there = Boolean(desk.result);
    spacing.value = desk.spacing ?? "";
    spacing.disabled = !desk.photograph;
    grid.disabled = !there;
  }

  function toggle() {
    if (!desk.result) return;
    if (pressed(grid)) return shown(null);
    shown(desk.photograph.grid || etdrs.first(desk.result.field));
    get("measure-section").open = true;
    if (!desk.photograph.grid) place(marks.state.grid);
    else count();
  }

  function shown(placed) {
    press(grid, Boolean(placed));
    marks.set({ grid: placed });
    if (!placed) {
      table.replaceChildren();
      about.textContent = "";
    }
  }

  /** Keep the grid where it was moved to. */
  async function place(placed) {
    const whole = ({ x, y }) => ({ x: Math.round(x * 10) / 10, y: Math.round(y * 10) / 10 });
    try {
      desk.photograph = await api.change(desk.photograph.id, {
        grid: { fovea: whole(placed.fovea), disc: whole(placed.disc) },
      });
      await count();
    } catch (refusal) {
      say(refusal.message);
    }
  }

  async function count() {
    if (!pressed(grid) || !desk.photograph?.grid) return;
    const { id } = desk.photograph;
    try {
      const found = await api.grid(id);
      if (desk.photograph?.id === id && pressed(grid)) show(found);
    } catch (refusal) {
      say(refusal.message);
    }
  }

  function show(found) {
    const codes = desk.lesions.filter((one) => one.shown);
    about.textContent = `${found.eye === "right" ? "Right" : "Left"} eye. Scale ${
      found.scale_from === "spacing"
        ? "from the photograph's spacing"
        : "by rule of thumb: fovea to disc 4.5 mm"
    }; 1 disc diameter = ${levels.number(found.disc_diameter_px)} px. Regions count where their centre lies.`;
    table.replaceChildren(
      make(
        "table",
        {},
        make(
          "thead",
          {},
          make(
            "tr",
            {},
            make("th", { scope: "col" }, "Field"),
            ...codes.map(({ code, name }) => make("th", { scope: "col", title: name }, code)),
          ),
        ),
        make(
          "tbody",
          {},
          ...etdrs.FIELDS.map(([key, words]) =>
            make(
              "tr",
              {},
              make("th", { scope: "row" }, words),
              ...codes.map(({ code }) => {
                const sum = found.fields[key]?.lesions?.[code];
                return make(
                  "td",
                  {},
                  ...(sum?.area_px
                    ? [
                        make("b", {}, levels.number(sum.count)),
                        make("small", {}, levels.area(sum.area_px, desk.spacing)),
                      ]
                    : ["–"]),
                );
              }),
            ),
          ),
        ),
      ),
    );
  }

  desk.on("photograph", () => {
    shown(null);
    follow();
    reading();
  });
  desk.on("document", () => {
    spacing.value = desk.spacing ?? "";
  });
  desk.on("settled corrections layers", () => {
    if (pressed(grid)) setTimeout(count, 350);
  });
  desk.on("ruler", reading);
  follow();

  function reading() {
    read.textContent = marks.state.ruler ? marks.measured(marks.state.ruler) : "";
  }

  return { toggle, place };
}
