// Beside another grader, or the ground truth: true, false and missed in three colours.
//
// Knows:   how masks are brought, chosen and put away, and what the agreement at a threshold is.
// Ignores: how the three colours come onto the photograph.

import * as api from "./api.js";
import { confirmed, get, make, say } from "./dom.js";
import * as levels from "./levels.js";
import { FALSE, MISSED, TRUE } from "./raster.js";

const NAME = /^[A-Za-z0-9_-]{1,40}$/;

export function comparePanel(desk) {
  const chosen = make("select", { id: "reference", onchange: () => use(chosen.value || null) });
  const name = make("input", {
    type: "text",
    id: "reference-name",
    value: "grader-2",
    maxlength: 40,
    pattern: "[A-Za-z0-9_\\-]{1,40}",
    autocomplete: "off",
  });
  const lesion = make("select", { id: "reference-lesion" });
  const files = make("input", {
    type: "file",
    id: "reference-files",
    class: "quiet",
    multiple: true,
    accept: "image/png,.png,.tif,.tiff,.gif,.bmp",
    onchange: bring,
  });
  const away = make("button", { type: "button", class: "plain", onclick: putAway }, "Delete");
  const keep = make(
    "button",
    {
      type: "button",
      onclick: keepOwn,
      title: "Keep the corrected masks as they are now, to be compared with",
    },
    "Keep mine as it is now",
  );
  const figures = make("div", { id: "agreement" });
  const legend = make(
    "p",
    { class: "legend small" },
    ...[
      ["True", TRUE],
      ["False", FALSE],
      ["Missed", MISSED],
    ].map(([words, colour]) =>
      make("span", { class: "chip", colour: `rgb(${colour})` }, make("i", { class: "swatch full" }), words),
    ),
  );
  let agreement = null;

  get("compare").replaceChildren(
    make("div", { class: "row" }, make("label", { for: "reference" }, "Lay beside"), chosen, away),
    legend,
    figures,
    make("h3", {}, "Bring masks"),
    make(
      "p",
      { class: "small faint" },
      "Of the photograph's size, one a lesion; each pixel with any colour is lesion. " +
        "Names that end in _EX, _MA, _HE, _SE are sorted by themselves.",
    ),
    make("div", { class: "row" }, make("label", { for: "reference-name" }, "Name"), name),
    make(
      "div",
      { class: "row" },
      make("label", { for: "reference-lesion" }, "Lesion"),
      lesion,
      make("label", { class: "button" }, "Choose masks", files),
    ),
    make("div", { class: "row" }, keep),
  );

  async function read() {
    const { photograph } = desk;
    agreement = null;
    if (!desk.result) {
      list([]);
      return use(null);
    }
    lesion.replaceChildren(
      make("option", { value: "" }, "by the file's name"),
      ...desk.lesions.map(({ code, name: words }) => make("option", { value: code }, words)),
    );
    try {
      const { references } = await api.references(photograph.id);
      if (desk.photograph?.id !== photograph.id) return;
      list(references);
      await use(references.some((one) => one.name === desk.reference) ? desk.reference : null);
    } catch (refusal) {
      say(refusal.message);
    }
  }

  function list(references) {
    chosen.replaceChildren(
      make("option", { value: "" }, references.length ? "nothing" : "none brought yet"),
      ...references.map((one) =>
        make("option", { value: one.name }, `${one.name} (${Object.keys(one.lesions).join(", ")})`),
      ),
    );
    for (const control of [chosen, name, lesion, files, keep]) control.disabled = !desk.result;
  }

  async function use(reference) {
    chosen.value = reference || "";
    away.hidden = legend.hidden = !reference;
    agreement = null;
    desk.set({ reference }, "reference");
    show();
    if (!reference) return;
    try {
      const found = await api.agreement(desk.photograph.id, reference);
      if (desk.reference === reference) {
        agreement = found;
        show();
      }
    } catch (refusal) {
      say(refusal.message);
    }
  }

  function show() {
    if (!agreement) return figures.replaceChildren();
    const rows = desk.lesions
      .filter(({ code }) => agreement.lesions[code])
      .map(({ code, level }) => {
        const at = agreement.lesions[code];
        const [hit, wrong, lost] = [at.true_px[level], at.false_px[level], at.missed_px[level]];
        const dice = 2 * hit + wrong + lost ? (2 * hit) / (2 * hit + wrong + lost) : null;
        return make(
          "tr",
          {},
          make("th", { scope: "row" }, code),
          ...[hit, wrong, lost].map((pixels) => make("td", {}, levels.number(pixels))),
          make("td", {}, dice === null ? "–" : dice.toFixed(2)),
        );
      });
    figures.replaceChildren(
      make(
        "table",
        {},
        make("caption", { class: "small faint" }, "Pixels at the present thresholds"),
        make(
          "thead",
          {},
          make(
            "tr",
            {},
            ...["", "True", "False", "Missed", "Dice"].map((words) =>
              make(words ? "th" : "td", { scope: words ? "col" : null }, words),
            ),
          ),
        ),
        make("tbody", {}, ...rows),
      ),
    );
  }

  async function bring() {
    const given = name.value.trim();
    const brought = [...files.files];
    files.value = "";
    if (!NAME.test(given)) return say("The name of the masks may hold letters, digits, - and _, up to 40.");
    for (const file of brought) {
      const code =
        lesion.value ||
        desk.lesions.find((one) => new RegExp(`(^|[_. -])${one.code}\\.[a-z]+$`, "i").test(file.name))?.code;
      if (!code) {
        say(`${file.name}: of which lesion? Choose it, or end the name in _EX, _MA, _HE or _SE.`);
        continue;
      }
      try {
        await api.putReference(desk.photograph.id, given, code, file);
      } catch (refusal) {
        say(`${file.name}: ${refusal.message}`);
      }
    }
    desk.reference = given;
    await read();
  }

  async function keepOwn() {
    const given = name.value.trim();
    if (!NAME.test(given)) return say("The name of the masks may hold letters, digits, - and _, up to 40.");
    try {
      await api.keepAsReference(desk.photograph.id, given);
      desk.reference = given;
      await read();
    } catch (refusal) {
      say(refusal.message);
    }
  }

  async function putAway() {
    if (!(await confirmed(`Delete the masks ${desk.reference}?`, "Delete"))) return;
    try {
      await api.removeReference(desk.photograph.id, desk.reference);
      desk.reference = null;
      await read();
    } catch (refusal) {
      say(refusal.message);
    }
  }

  desk.on("photograph", read);
  desk.on("levels", show);
  desk.on("corrections", () => {
    if (desk.reference) use(desk.reference);
  });
  read();
}
