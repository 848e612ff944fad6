// The list of regions: sorted, a click flies there; verdicts on the chosen one.
//
// Knows:   what is said of a region, and how a list of thousands is shown a part at a time.
// Ignores: how a region was found, and how the photograph moves.

import * as api from "./api.js";
import { get, make, say } from "./dom.js";
import * as levels from "./levels.js";

const PART = 120; // rows at a time
const MOST = 2000; // of a lesion that are asked for: nobody reads more; the CSV has all

export function regionList(desk, fly, correct) {
  const list = get("regions");
  let regions = [];
  let total = 0;
  let limit = PART;
  let asking = null;
  let asked = ""; // which lesions the list holds
  let following = null; // place in the list that is chosen next, after a region was rejected

  const shownNow = () =>
    desk.lesions
      .filter(({ shown }) => shown)
      .map(({ code }) => code)
      .join();

  const orders = {
    area: (one, other) => other.area_px - one.area_px,
    max: (one, other) => other.max_probability - one.max_probability,
    mean: (one, other) => other.mean_probability - one.mean_probability,
  };

  async function ask() {
    asking?.abort();
    const { photograph } = desk;
    const control = (asking = new AbortController());
    const sort = get("sorted").value;
    if (!desk.result) {
      regions = [];
      total = 0;
      return show();
    }
    try {
      const parts = await Promise.all(
        desk.lesions
          .filter(({ shown }) => shown)
          .map(({ code, level }) =>
            api.regions(
              photograph.id,
              { lesion: code, level, sort, order: "desc", limit: MOST },
              control.signal,
            ),
          ),
      );
      regions = parts.flatMap((part) => part.regions).sort(orders[sort]);
      total = parts.reduce((sum, part) => sum + part.total, 0);
      limit = PART;
      asked = shownNow();
      const again = desk.region && regions.find((one) => same(one, desk.region));
      if (desk.region && !again) choose(null);
      else if (again) desk.region = again;
      show();
      if (following !== null && regions[following]) choose(regions[following], { go: false });
      following = null;
    } catch (refusal) {
      if (refusal.name !== "AbortError") say(refusal.message);
    }
  }
  const same = (one, other) =>
    one.lesion === other.lesion && one.inside.x === other.inside.x && one.inside.y === other.inside.y;

  function show() {
    get("regions-title").textContent = total ? `Regions · ${levels.number(total)}` : "Regions";
    get("figure-name").textContent = get("sorted").value === "mean" ? "Mean" : "Max";
    list.replaceChildren(...regions.slice(0, limit).map(row));
    get("rest").replaceChildren(...rest(), ...rejected());
    mark();
  }

  /** What stands below the list, being no region: how many more there are, or why there is none. */
  function rest() {
    const note = (text) => [make("p", { class: "faint small" }, text)];
    if (!desk.result) return [];
    if (!regions.length) return note("None at these thresholds.");
    if (regions.length <= limit)
      return total > regions.length ? note(`The first ${MOST} of each lesion; all are in the CSV.`) : [];
    const more = () => {
      limit += 4 * PART;
      show();
    };
    return [
      make("button", { type: "button", onclick: more }, `Show more of ${levels.number(regions.length)}`),
    ];
  }

  function row(region, index) {
    const { colour } = desk.lesion(region.lesion);
    return make(
      "div",
      {
        role: "option",
        id: `region-${index}`,
        class: "region",
        colour: `rgb(${colour})`,
        "aria-selected": "false",
        onclick: () => choose(region),
      },
      make("i", { class: "swatch small" }),
      make("span", { class: "code" }, `${region.lesion} ${region.id}`),
      make("span", { class: "figure" }, levels.area(region.area_px, desk.spacing)),
      make(
        "span",
        { class: "figure" },
        (get("sorted").value === "mean" ? region.mean_probability : region.max_probability).toFixed(2),
      ),
      make("span", { class: `verdict ${region.verdict || ""}` }, region.verdict || ""),
    );
  }

  /** What was rejected is in no list of regions: it can be looked at and taken back here. */
  function rejected() {
    const gone = (desk.corrections?.verdicts || []).filter(({ verdict }) => verdict === "rejected");
    if (!gone.length) return [];
    return [
      make(
        "div",
        { class: "rejected" },
        make("h3", {}, `Rejected · ${gone.length}`),
        ...gone.map((verdict) =>
          make(
            "div",
            { class: "row" },
            make(
              "button",
              {
                type: "button",
                class: "plain",
                onclick: () => fly({ x: verdict.x - 20, y: verdict.y - 20, width: 40, height: 40 }),
              },
              `${verdict.lesion} at ${verdict.x}, ${verdict.y}`,
            ),
            make("span", { class: "faint small" }, verdict.author),
            make("span", { class: "spacer" }),
            make(
              "button",
              {
                type: "button",
                class: "plain",
                onclick: () => correct.verdict({ ...verdict, inside: verdict }, "none"),
              },
              "Take back",
            ),
          ),
        ),
      ),
    ];
  }

  function choose(region, { go = true } = {}) {
    if (region && desk.active !== region.lesion) desk.set({ active: region.lesion }, "tool");
    desk.set({ region }, "region");
    if (region && go) fly(region.box);
  }

  function mark() {
    let chosen = null;
    list.querySelectorAll("[role=option]").forEach((element, index) => {
      const yes = Boolean(desk.region && same(regions[index], desk.region));
      element.setAttribute("aria-selected", String(yes));
      if (yes) chosen = element;
    });
    if (chosen) {
      list.setAttribute("aria-activedescendant", chosen.id);
      const above = chosen.offsetTop - list.offsetTop;
      if (above < list.scrollTop || above + chosen.offsetHeight > list.scrollTop + list.clientHeight)
        list.scrollTop = above - list.clientHeight / 3;
    } else list.removeAttribute("aria-activedescendant");
    for (const id of ["accept", "reject", "questionable"]) get(id).disabled = !desk.region;
    get("accept").setAttribute("aria-pressed", String(desk.region?.verdict === "accepted"));
    get("questionable").setAttribute("aria-pressed", String(desk.region?.verdict === "questionable"));
  }

  function step(by) {
    if (!regions.length) return;
    const at = desk.region ? regions.findIndex((one) => same(one, desk.region)) : by > 0 ? -1 : 0;
    const next = Math.min(Math.max(at + by, 0), regions.length - 1);
    if (next >= limit) {
      limit = next + PART;
      show();
    }
    choose(regions[next]);
  }

  async function give(verdict) {
    const { region } = desk;
    if (!region) return;
    const at = regions.findIndex((one) => same(one, region));
    const wanted = region.verdict === verdict ? "none" : verdict; // the same again takes it back
    if (wanted === "rejected") following = at;
    await correct.verdict(region, wanted);
  }

  /** Choose the region at a place of the photograph, the smallest of those that overlap. */
  async function pick({ x, y }) {
    const { photograph } = desk;
    if (!desk.result) return;
    const found = await Promise.all(
      desk.lesions
        .filter(({ shown }) => shown)
        .map(({ code, level }) =>
          api
            .region(photograph.id, { lesion: code, level, x: Math.floor(x), y: Math.floor(y) })
            .catch(() => null),
        ),
    );
    const regionsHere = found.filter(Boolean).sort((one, other) => one.area_px - other.area_px);
    choose(regionsHere[0] || null, { go: false });
  }

  list.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -1e9, End: 1e9 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    step(by);
  });
  get("sorted").addEventListener("change", ask);
  for (const [id, verdict] of [
    ["accept", "accepted"],
    ["reject", "rejected"],
    ["questionable", "questionable"],
  ]) {
    get(id).addEventListener("click", () => give(verdict));
  }
  desk.on("photograph corrections settled", ask);
  desk.on("layers", () => {
    if (asked !== shownNow()) ask();
  });
  desk.on("document", () => desk.result || show());
  desk.on("region", mark);

  return { step, give, pick };
}
