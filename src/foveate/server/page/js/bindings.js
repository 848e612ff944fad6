// Which key does what, in the order of the help dialog.
//
// Knows:   the actions of the page's parts. Ignores: how keys are read, and how anything is done.

import { byId } from "./dom.js";

const LESION_KEYS = [1, 2, 3, 4, 5, 6, 7, 8]; // more than any known model has lesions
const PAN_PX = 80; // CSS px that an arrow key moves the photograph

export function keyBindings(parts) {
  const { state, viewer, toolbar, loupe, visits, list, lesions, regions, corrections, tools, measure, downloads } = parts;
  return [
    { title: "Layers" },
    ...LESION_KEYS.map((number) => ({
      keys: [String(number)],
      label: number === 1 && "1 … 4",
      text: "Show or hide a lesion",
      action: () => lesions.toggle(number - 1),
    })),
    ...LESION_KEYS.map((number) => ({
      keys: [`shift+${number}`],
      label: number === 1 && "Shift 1 … 4",
      text: "Choose the active lesion, which tools edit",
      action: () => lesions.activate(number - 1),
    })),
    { keys: ["h"], label: "H", text: "Hide all layers, or show them again", action: toolbar.toggleHidden },
    { keys: ["f"], label: "F", text: "Outlines, filled, or heat", action: lesions.toggleStyle },
    {
      keys: [","],
      label: ", .",
      text: "Threshold of the active lesion: lower, higher",
      action: () => lesions.moveThreshold(-1),
    },
    { keys: ["."], action: () => lesions.moveThreshold(1) },
    { title: "Photograph" },
    { keys: ["+", "="], label: "+", text: "Zoom in", action: () => viewer.zoomBy(1.5) },
    { keys: ["-", "_"], label: "−", text: "Zoom out", action: () => viewer.zoomBy(1 / 1.5) },
    { keys: ["0"], label: "0", text: "Fit the field of view; again for the whole photograph", action: viewer.toggleFit },
    { keys: ["9"], label: "9", text: "Native size, 1:1", action: () => viewer.zoomTo(1) },
    { keys: ["ArrowLeft"], label: "← → ↑ ↓", text: "Move", action: () => viewer.panBy(-PAN_PX, 0) },
    { keys: ["ArrowRight"], action: () => viewer.panBy(PAN_PX, 0) },
    { keys: ["ArrowUp"], action: () => viewer.panBy(0, -PAN_PX) },
    { keys: ["ArrowDown"], action: () => viewer.panBy(0, PAN_PX) },
    { keys: ["r"], label: "R", text: "Colour, red-free, contrast", action: toolbar.nextColours },
    { keys: ["["], label: "[ ]", text: "Darker, brighter", action: () => toolbar.changeBrightness(-0.1) },
    { keys: ["]"], action: () => toolbar.changeBrightness(0.1) },
    { keys: ["s"], label: "S", text: "Untouched photograph side by side", action: toolbar.toggleSideBySide },
    { keys: ["l"], label: "L", text: "Loupe", action: loupe.toggle },
    { keys: ["y"], label: "Y", text: "Alternate between both photographs (blink)", action: visits.toggleBlinking },
    { keys: ["n", "PageDown"], label: "N", text: "Next photograph", action: () => list.step(1) },
    { keys: ["p", "PageUp"], label: "P", text: "Previous photograph", action: () => list.step(-1) },
    {
      keys: ["t"],
      label: "T",
      text: "Mark as reviewed, and open the next",
      action: () => downloads.markReviewed() && list.step(1),
    },
    { keys: ["/"], label: "/", text: "Search the list", action: list.search },
    { keys: ["i"], label: "I", text: "Select several photographs", action: list.toggleSelecting },
    { title: "In the list" },
    { label: "↑ ↓", text: "Move along the list, when it has the focus" },
    { label: "Enter", text: "Open the photograph; Space does the same" },
    { label: "Delete", text: "Delete it, after confirmation" },
    { title: "Regions and corrections" },
    { keys: ["j"], label: "J", text: "Next region", action: () => regions.step(1) },
    { keys: ["k"], label: "K", text: "Previous region", action: () => regions.step(-1) },
    {
      keys: ["a"],
      label: "A",
      text: "Accept the selected region",
      action: () => regions.giveVerdict("accepted"),
    },
    { keys: ["x"], label: "X", text: "Reject it", action: () => regions.giveVerdict("rejected") },
    {
      keys: ["q"],
      label: "Q",
      text: "Mark it as questionable",
      action: () => regions.giveVerdict("questionable"),
    },
    { keys: ["b"], label: "B", text: "Brush", action: () => tools.use("brush") },
    { keys: ["e"], label: "E", text: "Eraser", action: () => tools.use("eraser") },
    { keys: ["w"], label: "W", text: "Restore the model's result", action: () => tools.use("restore") },
    { keys: ["d"], label: "C D", text: "Brush narrower, wider", action: () => tools.changeWidth(1) },
    { keys: ["c"], action: () => tools.changeWidth(-1) },
    { keys: ["z", "ctrl+z"], label: "Z", text: "Undo", action: () => corrections.step("undo") },
    {
      keys: ["shift+z", "ctrl+shift+z", "ctrl+y"],
      label: "Shift Z",
      text: "Redo",
      action: () => corrections.step("redo"),
    },
    { title: "Measure" },
    { keys: ["m"], label: "M", text: "Ruler", action: () => tools.use("ruler") },
    { keys: ["g"], label: "G", text: "ETDRS grid", action: measure.toggleGrid },
    {
      keys: ["v"],
      label: "V",
      text: "Move the photograph",
      action: () => state.set({ tool: "move" }, "tool"),
    },
    { keys: ["Escape"], label: "Esc", text: "Leave the tool", action: tools.cancel },
    { title: "Pointer and touch" },
    { label: "Wheel", text: "Zoom; a double click zooms in" },
    { label: "Drag", text: "Move the photograph, paint or measure, depending on the tool" },
    { label: "Two fingers", text: "Zoom and move, with any tool" },
    { label: "Click", text: "Select the region under the pointer" },
    { title: "Help" },
    { keys: ["?"], label: "?", text: "Show these keys", action: () => byId("show-keys").click() },
  ];
}
