// The panel of lesions: each with its key, colour, threshold, and what lies above it.
//
// Knows:   which controls a lesion has, and that a moved threshold redraws at once but is kept when it rests.
// Ignores: how layers are drawn.

import * as api from "./api.js";
import { choice, failure, get, make, say, settled } from "./dom.js";
import * as levels from "./levels.js";

const REST = 250; // ms after the last movement of a threshold until it is kept and the list follows

export function lesionPanel(desk) {
  const rows = new Map();
  const chooseStyle = choice(
    get("style"),
    "style",
    [
      { value: "outline", text: "Outline", title: "Outlines (F)", keys: "F" },
      { value: "fill", text: "Fill", title: "Filled (F)", keys: "F" },
    ],
    "outline",
    (style) => desk.draw(null, { style }),
  );

  const keep = settled(REST, async () => {
    desk.tell("settled");
    const { photograph } = desk;
    try {
      await api.change(photograph.id, {
        levels: Object.fromEntries(desk.lesions.map(({ code, level }) => [code, level])),
      });
    } catch (refusal) {
      say(`The thresholds are not kept: ${refusal.message}`);
    }
  });

  function build() {
    rows.clear();
    get("lesions").replaceChildren(...desk.lesions.map((lesion, index) => row(lesion, index)));
    if (!desk.lesions.length) get("lesions").append(...waiting());
    if (desk.lesions.length) chooseStyle(desk.lesions[0].style);
    refresh();
  }

  function waiting() {
    const { photograph } = desk;
    const words = !photograph
      ? "No photograph is open."
      : photograph.state === "failed"
        ? failure(photograph)
        : "The photograph is being looked at; its layers appear here.";
    const whole = make(
      "button",
      { type: "button", onclick: () => again(photograph.id) },
      "It shows no rim: look at all of it",
    );
    return [
      make("p", { class: "faint" }, words),
      photograph?.error?.code === "no_field" ? whole : null,
    ].filter(Boolean);
  }

  async function again(id) {
    try {
      desk.renew(await api.again(id, { field: "full" }));
    } catch (refusal) {
      say(refusal.message);
    }
  }

  function row(lesion, index) {
    const { code, name, colour } = lesion;
    const id = (part) => `${part}-${code}`;
    const shown = make("input", {
      type: "checkbox",
      id: id("shown"),
      checked: lesion.shown,
      "aria-keyshortcuts": String(index + 1),
      onchange: () => desk.draw(code, { shown: shown.checked }),
    });
    const active = make("input", {
      type: "radio",
      name: "active",
      class: "quiet",
      value: code,
      checked: desk.active === code,
      onchange: () => desk.set({ active: code }, "tool"),
    });
    const slider = make("input", {
      type: "range",
      min: 1,
      max: levels.TOP,
      value: lesion.level,
      id: id("level"),
      class: "threshold",
      "aria-label": `Threshold of ${name}`,
      oninput: () => move(lesion, Number(slider.value)),
    });
    const opacity = make("input", {
      type: "range",
      min: 0.1,
      max: 1,
      step: 0.05,
      value: lesion.opacity,
      id: id("opacity"),
      oninput: () => desk.draw(code, { opacity: Number(opacity.value) }),
    });
    const parts = {
      shown,
      active,
      slider,
      opacity,
      count: make("output", { class: "count", id: id("count"), for: id("level") }),
      area: make("output", { class: "area", id: id("area"), for: id("level") }),
      threshold: make("output", { class: "probability", for: id("level") }),
      model: make("button", {
        type: "button",
        class: "plain",
        title: `Back to the model's own threshold of ${name}`,
        onclick: () => move(lesion, lesion.modelLevel),
      }),
      edited: make("span", { class: "edited faint small" }),
    };
    rows.set(code, parts);
    return make(
      "div",
      { class: "lesion", colour: `rgb(${colour})`, "data-code": code },
      make(
        "div",
        { class: "first" },
        make(
          "label",
          { class: "name", title: `Show or hide ${name} (${index + 1})` },
          shown,
          make("i", { class: "swatch" }),
          make("span", {}, name),
          make("kbd", {}, String(index + 1)),
        ),
        make(
          "label",
          { class: "active", title: `Brush and verdicts go to ${name} (Shift ${index + 1})` },
          active,
          make("span", {}, "Edit"),
          make("span", { class: "quiet" }, ` ${name}`),
        ),
      ),
      make("div", { class: "second" }, parts.count, parts.area, parts.edited),
      make("div", { class: "third" }, slider, parts.threshold, parts.model),
      make(
        "label",
        { class: "fourth small faint" },
        "Opacity",
        make("span", { class: "quiet" }, ` of ${name}`),
        opacity,
      ),
    );
  }

  function move(lesion, level) {
    lesion.level = Math.min(Math.max(level, 1), levels.TOP);
    rows.get(lesion.code).slider.value = lesion.level;
    desk.tell("levels");
    desk.tell("layers");
    keep();
  }

  /** Put the figures right; called with each movement, so only text changes. */
  function refresh() {
    for (const lesion of desk.lesions) {
      const parts = rows.get(lesion.code);
      if (!parts) continue;
      const found = levels.burden(desk.counts?.lesions[lesion.code], lesion.level);
      parts.shown.checked = lesion.shown;
      parts.active.checked = desk.active === lesion.code;
      parts.count.textContent = found ? levels.number(found.count) : "…";
      parts.area.textContent = found ? levels.area(found.area, desk.spacing) : "";
      parts.threshold.textContent = levels.shown(lesion.level);
      parts.slider.setAttribute(
        "aria-valuetext",
        [
          `probability ${levels.shown(lesion.level)}`,
          ...(found ? [`${found.count} regions`, levels.area(found.area, desk.spacing)] : []),
        ].join(", "),
      );
      parts.model.textContent = `model ${levels.shown(lesion.modelLevel)}`;
      parts.model.disabled = lesion.level === lesion.modelLevel;
      const edited = desk.corrections?.lesions[lesion.code];
      parts.edited.textContent =
        edited && (edited.added_px || edited.erased_px)
          ? `+${levels.number(edited.added_px)} −${levels.number(edited.erased_px)} px by hand`
          : "";
    }
  }

  async function count() {
    const { photograph } = desk;
    if (!desk.result) return;
    try {
      const counted = await api.counts(photograph.id);
      if (desk.photograph?.id === photograph.id) desk.set({ counts: counted }, "counts");
    } catch (refusal) {
      say(refusal.message);
    }
  }

  desk.on("photograph", () => {
    build();
    count();
  });
  desk.on("document", () => {
    if (!desk.result) build();
    else refresh();
  });
  desk.on("corrections", count);
  desk.on("levels counts layers tool corrections", refresh);
  build();

  return {
    toggle: (index) =>
      desk.lesions[index] && desk.draw(desk.lesions[index].code, { shown: !desk.lesions[index].shown }),
    activate: (index) => desk.lesions[index] && desk.set({ active: desk.lesions[index].code }, "tool"),
    style: () => {
      const style = desk.lesions[0]?.style === "fill" ? "outline" : "fill";
      chooseStyle(style);
      desk.draw(null, { style });
    },
    step: (by) => {
      const lesion = desk.lesion(desk.active);
      if (lesion) move(lesion, lesion.level + by);
    },
  };
}
