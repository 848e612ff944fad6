// The toolbar: colours, brightness, zoom, side by side, hiding all layers.
//
// Knows:   the toolbar's buttons. Ignores: how the photograph and its layers are drawn.

import { byId, isPressed, radioGroup, setPressed } from "./dom.js";
import { readPreferences, savePreferences } from "./preferences.js";

const COLOURS = [
  { value: "colour", text: "Colour", title: "The photograph's own colours (R for the next)", keys: "R" },
  { value: "redfree", text: "Red-free", title: "The green channel only (R for the next)", keys: "R" },
  { value: "enhanced", text: "Contrast", title: "Stronger local contrast (R for the next)", keys: "R" },
];
const ZOOM_STEP = 1.5;

export function createToolbar(state, viewer) {
  const selectColours = radioGroup(byId("colours"), "colours", COLOURS, "colour", viewer.setColours);
  const brightness = byId("brightness");

  function toggleHidden() {
    setPressed(byId("hide-layers"), !state.hidden);
    state.set({ hidden: !state.hidden }, "layers");
  }

  function showBeside(enabled) {
    if (enabled === isPressed(byId("side-by-side"))) return;
    setPressed(byId("side-by-side"), enabled);
    byId("pane-untouched").hidden = !enabled;
    byId("panes").classList.toggle("two", enabled);
    viewer.setSideBySide(enabled);
  }

  function toggleSideBySide() {
    showBeside(!isPressed(byId("side-by-side")));
    savePreferences({ beside: isPressed(byId("side-by-side")) });
  }

  function nextColours() {
    const current = COLOURS.findIndex(
      ({ value }) => byId("colours").querySelector(`[value="${value}"]`).checked,
    );
    const { value } = COLOURS[(current + 1) % COLOURS.length];
    selectColours(value);
    viewer.setColours(value);
  }

  function changeBrightness(by) {
    brightness.value = Number(brightness.value) + by;
    viewer.setBrightness(Number(brightness.value));
  }

  // ---- a toolbar that is wider than the screen ----

  const bar = byId("toolbar");
  const more = byId("toolbar-more");
  const hasMore = () => bar.scrollWidth - bar.clientWidth - bar.scrollLeft > 8;
  const renderMore = () => {
    more.hidden = !hasMore();
  };
  more.addEventListener("click", () => bar.scrollBy({ left: bar.clientWidth / 2 }));
  bar.addEventListener("scroll", renderMore, { passive: true });
  new ResizeObserver(renderMore).observe(bar);

  byId("hide-layers").addEventListener("click", toggleHidden);
  byId("side-by-side").addEventListener("click", toggleSideBySide);
  byId("zoom-in").addEventListener("click", () => viewer.zoomBy(ZOOM_STEP));
  byId("zoom-out").addEventListener("click", () => viewer.zoomBy(1 / ZOOM_STEP));
  byId("zoom-fit").addEventListener("click", viewer.toggleFit);
  byId("zoom-native").addEventListener("click", () => viewer.zoomTo(1));
  brightness.addEventListener("input", () => changeBrightness(0));

  return {
    toggleHidden,
    toggleSideBySide,
    showBeside,
    nextColours,
    changeBrightness,
    showColour: () => selectColours("colour"),
    /** Show both photographs if they were shown before, and the screen is wide enough. */
    restore() {
      if (readPreferences().beside && matchMedia("(min-width: 60rem)").matches) toggleSideBySide();
    },
  };
}
