// The loupe: the photograph under the pointer, enlarged and without any layers.
//
// Knows:   whether the loupe is on, and how it follows the pointer.
// Ignores: how the photograph is enlarged (viewer.js).

import { byId, isPressed, setPressed } from "./dom.js";

const ENLARGES = 3; // times the scale on the screen, and at least native size

/** viewer: its `magnify(point, scale)` fills the loupe, and its `reportPointer()` leads to a call of `follow`. */
export function createLoupe(viewer) {
  const loupe = byId("loupe");
  const isOn = () => isPressed(byId("loupe-button"));

  function toggle() {
    setPressed(byId("loupe-button"), !isOn());
    viewer.reportPointer();
  }

  /** Show what is under the pointer: a point of the photograph, or null. */
  function follow(point) {
    const placement = viewer.placement();
    loupe.hidden = !isOn() || !point || !placement;
    if (loupe.hidden) return;
    const { x, y, scale } = placement;
    loupe.style.setProperty("transform", `translate(${x + point.x * scale}px, ${y + point.y * scale}px)`);
    viewer.magnify(point, Math.max(1, ENLARGES * scale));
  }

  byId("loupe-button").addEventListener("click", toggle);
  return { toggle, follow };
}
