// The list of regions: sorted; a click shows the region on the photograph; verdicts on the selected one.
//
// Knows:   what a row says, and how a list of thousands is shown part by part.
// Ignores: how regions are found, and how the photograph moves.

import * as api from "./api.js";
import { byId, element, latest, setDisabled, whenReleased } from "./dom.js";
import { formatArea, formatNumber } from "./format.js";
import { showFailure, showRefusal } from "./messages.js";
import { refusalOf } from "./refusals.js";

const PAGE = 120; // rows that are shown at first
const MAX_REGIONS = 5000; // that are loaded for each lesion; the CSV file has all
const VERDICT_BUTTONS = [
  ["accept", "accepted"],
  ["reject", "rejected"],
  ["questionable", "questionable"],
];
const ORDERS = {
  area: (a, b) => b.area_px - a.area_px,
  max: (a, b) => b.max_probability - a.max_probability,
  mean: (a, b) => b.mean_probability - a.mean_probability,
};

const isSame = (a, b) => a.lesion === b.lesion && a.inside.x === b.inside.x && a.inside.y === b.inside.y;

/** showBox(box): moves the photograph to a box. */
export function createRegionList(state, showBox, corrections) {
  const list = byId("regions");
  const footer = byId("regions-footer");
  let regions = []; // of the open photograph, in the order of the list
  let total = 0; // regions on the server
  let limit = PAGE;
  let isLoading = false; // whether a request is under way: until it is answered, the list is that before it
  let hasFailed = false; // the last request
  let loadedLesions = ""; // codes of the lesions that the list holds
  let shownRefusal = ""; // of verdicts

  const refusal = () => refusalOf(state, state.author);

  const shownLesions = () => state.lesions.filter(({ shown }) => shown);
  const shownCodes = () =>
    shownLesions()
      .map(({ code }) => code)
      .join();

  function setLoading(value) {
    isLoading = value;
    list.setAttribute("aria-busy", String(value));
  }

  const load = latest(async (signal) => {
    const { view } = state;
    setLoading(Boolean(view?.result));
    hasFailed = false;
    if (!view?.result) return clear();
    if (!regions.length) render(); // an empty list says why it is empty
    const sort = byId("region-order").value;
    const lesions = shownLesions().map(({ code, level }) => ({ lesion: code, level }));
    const codes = shownCodes();
    try {
      const parts = await Promise.all(
        lesions.map((lesion) =>
          api.listRegions(view.id, { ...lesion, sort, order: "desc", limit: MAX_REGIONS }, signal),
        ),
      );
      if (signal.aborted) return;
      setLoading(false);
      shareBoxes(view, lesions, parts);
      regions = parts.flatMap((part) => part.regions).sort(ORDERS[sort]);
      total = parts.reduce((sum, part) => sum + part.total, 0);
      limit = PAGE;
      loadedLesions = codes;
      restoreSelection(view);
    } catch (error) {
      if (signal.aborted) return;
      setLoading(false);
      hasFailed = true;
      showFailure(error);
      if (!regions.length) render();
    }
  });

  /** Tell the page where the regions of each lesion are, if all of them were loaded. */
  function shareBoxes(view, lesions, parts) {
    const boxes = {};
    lesions.forEach(({ lesion, level }, index) => {
      const { regions: loaded, total: all } = parts[index];
      if (loaded.length === all) boxes[lesion] = { level, boxes: loaded.map(({ box }) => box) };
    });
    state.update(view, { boxes }, "regions");
  }

  /** Clear the list: regions of another photograph must not be selected. */
  function clear() {
    regions = [];
    total = 0;
    loadedLesions = "";
    render();
  }

  /** Select the region that was selected before. */
  function restoreSelection(view) {
    const selected = view.region && regions.find((region) => isSame(region, view.region));
    if (view.region && !selected) select(null);
    else if (selected) view.region = selected;
    render();
  }

  // ---- rows ----

  function render() {
    byId("regions-title").textContent = total ? `Regions · ${formatNumber(total)}` : "Regions";
    byId("probability-heading").textContent = byId("region-order").value === "mean" ? "Mean" : "Max";
    whenReleased(list, () => {
      list.replaceChildren(...regions.slice(0, limit).map(row));
      renderSelection();
    });
    whenReleased(footer, renderFooter);
  }

  const renderFooter = () => footer.replaceChildren(...remainder(), ...rejectedRegions());

  /** Enable or disable what gives verdicts, if the server's answer to them is another one by now. */
  function renderRefusal() {
    if (refusal() === shownRefusal) return;
    shownRefusal = refusal();
    renderSelection();
    whenReleased(footer, renderFooter);
  }

  function row(region, index) {
    const { colour } = state.lesion(region.lesion);
    const probability =
      byId("region-order").value === "mean" ? region.mean_probability : region.max_probability;
    return element(
      "div",
      {
        role: "option",
        id: `region-${index}`,
        class: "region",
        colour: `rgb(${colour})`,
        "aria-selected": "false",
        onclick: () => select(region),
      },
      element("i", { class: "swatch small" }),
      element("span", { class: "code" }, `${region.lesion} ${region.id}`),
      element("span", { class: "figure" }, formatArea(region.area_px, state.view.spacing)),
      element("span", { class: "figure" }, probability.toFixed(2)),
      element("span", { class: `verdict ${region.verdict || ""}` }, region.verdict || ""),
    );
  }

  /** Return what follows the list: why it is empty, or how many regions it does not show. */
  function remainder() {
    const note = (text) => [element("p", { class: "muted small" }, text)];
    if (!state.result) return [];
    if (!regions.length) return note(emptyText());
    if (regions.length <= limit)
      return total > regions.length
        ? note(`Only the first ${MAX_REGIONS} of each lesion are listed; the CSV has all.`)
        : [];
    const showMore = () => {
      limit += 4 * PAGE;
      render();
    };
    const text = `Show more of ${formatNumber(regions.length)}`;
    return [element("button", { type: "button", onclick: showMore }, text)];
  }

  function emptyText() {
    if (isLoading) return "The regions are being loaded.";
    return hasFailed ? "The regions could not be loaded." : "No regions at these thresholds.";
  }

  /** Return rows of the rejected regions, which the list lacks; a person can show them or take them back. */
  function rejectedRegions() {
    const { view } = state;
    const verdicts = (view?.corrections?.verdicts ?? []).filter(({ verdict }) => verdict === "rejected");
    if (!verdicts.length) return [];
    const button = (text, onclick) =>
      element("button", { type: "button", class: "borderless", onclick }, text);
    const takeBack = (verdict) => {
      const taking = button("Take back", () =>
        corrections.addVerdict(view, { ...verdict, inside: verdict }, "none"),
      );
      setDisabled(taking, false, refusal());
      return taking;
    };
    return [
      element("h3", {}, `Rejected · ${verdicts.length}`),
      ...verdicts.map((verdict) =>
        element(
          "div",
          { class: "row" },
          button(`${verdict.lesion} at ${verdict.x}, ${verdict.y}`, () =>
            showBox({ x: verdict.x - 20, y: verdict.y - 20, width: 40, height: 40 }),
          ),
          element("span", { class: "muted small" }, verdict.author),
          element("span", { class: "spacer" }),
          takeBack(verdict),
        ),
      ),
    ];
  }

  // ---- the selected region ----

  function select(region, { moveThere = true } = {}) {
    if (region && state.activeLesion !== region.lesion) state.set({ activeLesion: region.lesion }, "tool");
    if (state.view) state.update(state.view, { region }, "region");
    if (region && moveThere) showBox(region.box);
  }

  function renderSelection() {
    const selected = state.view?.region ?? null;
    let option = null;
    list.querySelectorAll("[role=option]").forEach((shown, index) => {
      const isSelected = Boolean(selected && regions[index] && isSame(regions[index], selected));
      shown.setAttribute("aria-selected", String(isSelected));
      if (isSelected) option = shown;
    });
    if (option) {
      list.setAttribute("aria-activedescendant", option.id);
      scrollTo(option);
    } else list.removeAttribute("aria-activedescendant");
    for (const [id, verdict] of VERDICT_BUTTONS) {
      setDisabled(byId(id), !selected, refusal());
      if (id !== "reject") byId(id).setAttribute("aria-pressed", String(selected?.verdict === verdict));
    }
  }

  function scrollTo(option) {
    const top = option.offsetTop - list.offsetTop;
    if (top < list.scrollTop || top + option.offsetHeight > list.scrollTop + list.clientHeight)
      list.scrollTop = top - list.clientHeight / 3;
  }

  /** Select the next region (1) or an earlier one (-1), and show it. */
  function step(by) {
    if (!regions.length) return;
    const selected = state.view.region;
    const at = selected ? regions.findIndex((region) => isSame(region, selected)) : by > 0 ? -1 : 0;
    const next = Math.min(Math.max(at + by, 0), regions.length - 1);
    if (next >= limit) {
      limit = next + PAGE;
      render();
    }
    select(regions[next]);
  }

  /**
   * Give a verdict on the selected region; the same verdict again takes it back. The list changes at once: a
   * rejected region is removed, and the next one is selected and shown.
   */
  function giveVerdict(verdict) {
    const { view } = state;
    const region = view?.region;
    if (!region || showRefusal(refusal())) return;
    const given = region.verdict === verdict ? "none" : verdict;
    corrections.addVerdict(view, region, given);
    region.verdict = given === "none" ? null : given;
    const at = regions.findIndex((listed) => isSame(listed, region));
    if (given === "rejected" && at >= 0) {
      regions.splice(at, 1);
      total--;
      render();
      select(regions[at] ?? null);
      return;
    }
    render();
    state.emit("region");
  }

  /** Select the region at a point of the photograph, the smallest one if several overlap. */
  async function selectAt({ x, y }) {
    const { view } = state;
    if (!view?.result) return;
    const regionOf = ({ code, level }) =>
      api
        .getRegion(view.id, { lesion: code, level, x: Math.floor(x), y: Math.floor(y) }, view.signal)
        .catch(() => null);
    const overlapping = (await Promise.all(shownLesions().map(regionOf))).filter(Boolean);
    if (view === state.view)
      select(overlapping.sort((a, b) => a.area_px - b.area_px)[0] ?? null, { moveThere: false });
  }

  list.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -1e9, End: 1e9 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    step(by);
  });
  byId("region-order").addEventListener("change", load);
  for (const [id, verdict] of VERDICT_BUTTONS) byId(id).addEventListener("click", () => giveVerdict(verdict));
  state.on("photograph", clear);
  state.on("photograph corrections levels-settled", load);
  state.on("layers", () => {
    if (state.result && loadedLesions !== shownCodes()) load();
  });
  state.on("document", () => state.result || render());
  state.on("region", renderSelection);
  state.on("photograph document gradings author", renderRefusal);
  state.on("spacing_mm", render); // areas have another unit

  return { step, giveVerdict, selectAt, isLoading: () => isLoading };
}
