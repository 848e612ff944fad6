// The page: puts its parts together, and nothing else.

import * as api from "./api.js";
import { comparePanel } from "./compare.js";
import { corrections } from "./correct.js";
import { newDesk, preferences, prefer } from "./desk.js";
import { choice, failure, get, press, pressed, say, write } from "./dom.js";
import { errands } from "./errands.js";
import { keyboard } from "./keys.js";
import { layersOn } from "./layers.js";
import { lesionPanel } from "./lesions.js";
import { marksOn } from "./marks.js";
import { measurePanel } from "./measure.js";
import { queue } from "./queue.js";
import { regionList } from "./regions.js";
import { takePanel } from "./take.js";
import { tools as newTools } from "./tools.js";
import { viewers } from "./viewer.js";

const VIEWS = [
  { value: "colour", text: "Colour", title: "As photographed (R changes)", keys: "R" },
  { value: "redfree", text: "Red-free", title: "Green light alone (R changes)", keys: "R" },
  {
    value: "enhanced",
    text: "Contrast",
    title: "Differences to the surroundings strengthened (R changes)",
    keys: "R",
  },
];
const QUALITY = { blur: "blurred", exposure: "badly exposed", cut: "field cut off", small: "few pixels" };
const LESIONS = [1, 2, 3, 4, 5, 6, 7, 8]; // that have keys: more than any model that we know finds
const STEP = 80; // CSS px that an arrow key moves the photograph

const desk = newDesk();

const viewer = viewers(
  { main: get("osd"), plain: get("osd-plain") },
  {
    move() {
      layers.draw();
      marks.draw();
      const here = viewer.place();
      write("zoom", here ? `${Math.round(here.scale * 100)} %` : "–");
    },
    ready: () => layers.redraw(),
    pointer(at, own) {
      where(at);
      cross(own ? at : null);
    },
  },
);
const layers = layersOn(get("over"), () => viewer.place(), errands());
const marks = marksOn(get("marks"), desk, () => viewer.place());
const correct = corrections(desk, layers);
const list = queue(desk);
const lesions = lesionPanel(desk);
const regions = regionList(desk, viewer.fly, correct);
const tools = newTools(desk, viewer, marks, correct, {
  pointer: (at) => {
    where(at);
    cross(at);
  },
  gridMoved: (grid) => measure.place(grid),
});
const measure = measurePanel(desk, marks, tools);
comparePanel(desk);
takePanel(desk, correct);

function where(at) {
  write("where", at ? `x ${Math.floor(at.x)}  y ${Math.floor(at.y)}` : "\u00a0");
}

/** Show on the untouched photograph what the pointer is at. */
function cross(at) {
  const here = viewer.place();
  const shown = at && here && pressed(get("beside"));
  get("cross").hidden = !shown;
  if (shown)
    get("cross").style.setProperty(
      "transform",
      `translate(${here.x + at.x * here.scale}px, ${here.y + at.y * here.scale}px)`,
    );
}

// ---- what is drawn ----

function drawn() {
  if (!desk.result) return layers.clear();
  layers.set({
    photograph: desk.photograph,
    revision: desk.revision,
    reference: desk.reference,
    hidden: desk.hidden,
    drawn: desk.lesions.map(({ shown, level, colour, opacity, style }) =>
      shown ? { level, colour, opacity, style } : null,
    ),
  });
  marks.draw();
}
desk.on("photograph layers reference", drawn);
desk.on("region corrections", () => marks.draw());

const chooseView = choice(get("view"), "view", VIEWS, "colour", viewer.view);

let opened = null;
desk.on("photograph", () => {
  const { photograph } = desk;
  if (photograph?.id !== opened) {
    opened = photograph?.id ?? null;
    viewer.show(photograph);
    chooseView("colour");
  }
  get("welcome").hidden = Boolean(photograph);
  document.title = photograph ? `${photograph.name} – Foveate` : "Foveate";
  tell();
});
desk.on("document progress", tell);

function tell() {
  const { photograph, result } = desk;
  const state = photograph?.state;
  get("caption").textContent =
    !photograph || result
      ? ""
      : state === "failed"
        ? failure(photograph)
        : state === "looking"
          ? `Looking: ${Math.round(100 * list.progress(photograph.id))} %`
          : "Waiting for its turn";
  get("caption").hidden = !get("caption").textContent;
  get("quality").textContent = result?.quality.length
    ? `Beware: ${result.quality.map((code) => QUALITY[code] || code).join(", ")}`
    : "";
  get("made").textContent = result ? `Model ${result.model.name} ${result.model.version}` : "";
}

// ---- buttons of the toolbar ----

function hideAll() {
  desk.hidden = !desk.hidden;
  press(get("hide"), desk.hidden);
  drawn();
}

function beside() {
  const wanted = !pressed(get("beside"));
  press(get("beside"), wanted);
  get("pane-plain").hidden = !wanted;
  get("panes").classList.toggle("two", wanted);
  viewer.beside(wanted);
  prefer({ beside: wanted });
}

function turnView() {
  const at = VIEWS.findIndex(({ value }) => get("view").querySelector(`[value="${value}"]`).checked);
  const next = VIEWS[(at + 1) % VIEWS.length].value;
  chooseView(next);
  viewer.view(next);
}

function brighter(by) {
  get("brightness").value = Number(get("brightness").value) + by;
  viewer.brightness(Number(get("brightness").value));
}

get("hide").addEventListener("click", hideAll);
get("beside").addEventListener("click", beside);
get("in").addEventListener("click", () => viewer.zoomBy(1.5));
get("out").addEventListener("click", () => viewer.zoomBy(1 / 1.5));
get("fit").addEventListener("click", viewer.fit);
get("native").addEventListener("click", () => viewer.zoomTo(1));
get("brightness").addEventListener("input", () => viewer.brightness(Number(get("brightness").value)));

// A click without a movement chooses the region below.
let down = null;
get("osd").addEventListener(
  "pointerdown",
  ({ clientX, clientY, button }) => {
    down = button === 0 ? [clientX, clientY] : null;
  },
  true,
);
get("osd").addEventListener(
  "pointerup",
  (event) => {
    if (!down || Math.hypot(event.clientX - down[0], event.clientY - down[1]) > 4) return;
    const at = viewer.under(event);
    if (at && desk.tool === "move") regions.pick(at);
  },
  true,
);

keyboard([
  { title: "Layers" },
  ...LESIONS.map((number) => ({
    keys: [String(number)],
    shown: "1 … 4",
    hidden: number > 1,
    words: "Show or hide a lesion",
    act: () => lesions.toggle(number - 1),
  })),
  ...LESIONS.map((number) => ({
    keys: [`shift+${number}`],
    shown: "Shift 1 … 4",
    hidden: number > 1,
    words: "The lesion that is edited",
    act: () => lesions.activate(number - 1),
  })),
  { keys: ["h"], shown: "H", words: "Hide all layers, show them again", act: hideAll },
  { keys: ["f"], shown: "F", words: "Outlines or filled", act: lesions.style },
  {
    keys: [","],
    shown: ", .",
    words: "Threshold of the edited lesion: lower, higher",
    act: () => lesions.step(-1),
  },
  { keys: ["."], hidden: true, act: () => lesions.step(1) },
  { title: "Photograph" },
  { keys: ["+", "="], shown: "+", words: "Zoom in", act: () => viewer.zoomBy(1.5) },
  { keys: ["-", "_"], shown: "−", words: "Zoom out", act: () => viewer.zoomBy(1 / 1.5) },
  { keys: ["0"], shown: "0", words: "The whole photograph", act: viewer.fit },
  { keys: ["9"], shown: "9", words: "Native size, 1:1", act: () => viewer.zoomTo(1) },
  { keys: ["ArrowLeft"], shown: "← → ↑ ↓", words: "Move", act: () => viewer.panBy(-STEP, 0) },
  { keys: ["ArrowRight"], hidden: true, act: () => viewer.panBy(STEP, 0) },
  { keys: ["ArrowUp"], hidden: true, act: () => viewer.panBy(0, -STEP) },
  { keys: ["ArrowDown"], hidden: true, act: () => viewer.panBy(0, STEP) },
  { keys: ["r"], shown: "R", words: "Colour, red-free, contrast", act: turnView },
  { keys: ["["], shown: "[ ]", words: "Darker, brighter", act: () => brighter(-0.1) },
  { keys: ["]"], hidden: true, act: () => brighter(0.1) },
  { keys: ["s"], shown: "S", words: "Untouched photograph beside it", act: beside },
  { keys: ["n", "PageDown"], shown: "N", words: "Next photograph", act: () => list.step(1) },
  { keys: ["p", "PageUp"], shown: "P", words: "Previous photograph", act: () => list.step(-1) },
  { title: "Regions and corrections" },
  { keys: ["j"], shown: "J", words: "Next region: fly there", act: () => regions.step(1) },
  { keys: ["k"], shown: "K", words: "Previous region", act: () => regions.step(-1) },
  { keys: ["a"], shown: "A", words: "Accept the chosen region", act: () => regions.give("accepted") },
  { keys: ["x", "Delete"], shown: "X", words: "Reject it", act: () => regions.give("rejected") },
  { keys: ["q"], shown: "Q", words: "Mark it as questionable", act: () => regions.give("questionable") },
  { keys: ["b"], shown: "B", words: "Brush", act: () => tools.use("brush") },
  { keys: ["e"], shown: "E", words: "Eraser", act: () => tools.use("eraser") },
  { keys: ["w"], shown: "W", words: "Give pixels back to the model", act: () => tools.use("restore") },
  { keys: ["d"], shown: "C D", words: "Brush narrower, wider", act: () => tools.wider(1) },
  { keys: ["c"], hidden: true, act: () => tools.wider(-1) },
  { keys: ["z", "ctrl+z"], shown: "Z", words: "Undo", act: () => correct.step("undo") },
  {
    keys: ["shift+z", "ctrl+shift+z", "ctrl+y"],
    shown: "Shift Z",
    words: "Redo",
    act: () => correct.step("redo"),
  },
  { title: "Measure" },
  { keys: ["m"], shown: "M", words: "Ruler", act: () => tools.use("ruler") },
  { keys: ["g"], shown: "G", words: "ETDRS grid", act: () => measure.toggle() },
  { keys: ["v"], shown: "V", words: "Move the photograph", act: () => desk.set({ tool: "move" }, "tool") },
  { keys: ["Escape"], shown: "Esc", words: "Leave the tool", act: tools.leave },
  { keys: ["?"], shown: "?", words: "This page", act: () => get("keys").click() },
]);

// ---- start ----

const resized = new ResizeObserver(() => {
  viewer.resize();
  layers.redraw();
  marks.draw();
});
resized.observe(get("panes"));

async function signIn() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    history.replaceState(null, "", location.pathname);
    await api.signIn(given).catch((refusal) => say(refusal.message, { stays: true }));
  }
}

async function start() {
  await signIn();
  try {
    desk.server = await api.server();
  } catch (refusal) {
    say(
      refusal.status === 401
        ? "This server wants a token: open the address that foveate serve printed."
        : refusal.message,
      { stays: true },
    );
    return;
  }
  api.listen({ ...list.on, lost: () => {} });
  await list.read();
  const named = location.hash.slice(1);
  if (/^[0-9a-f]{32}$/.test(named)) await list.go(named);
  if (preferences().beside && matchMedia("(min-width: 60rem)").matches) beside();
}

// For measurements and tests: whether what is on the screen is what is set.
Object.defineProperty(window, "foveate", {
  value: Object.freeze({
    still: () => layers.pending() === 0 && viewer.loaded() && !viewer.moving() && !correct.busy(),
    viewer,
    desk,
  }),
});

start();
