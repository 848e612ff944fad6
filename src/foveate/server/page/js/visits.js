// Two photographs of one eye: another visit beside the open one, or alternating with it, with linked views.
//
// Knows:   which photographs may be another visit, and whether they are shown side by side or alternately.
// Ignores: how the views are linked (alignment.js, viewer.js).

import { linkByFields, linkByLandmarks, SAME } from "./alignment.js";
import { byId, element, isPressed, setPressed, setText } from "./dom.js";

const BLINK_MS = 700; // for which each of the two is shown

/** photographs(): returns all photographs. toolbar: its `showBeside(isOn)` shows the second pane. */
export function createVisits(state, viewer, toolbar, photographs) {
  const chooser = byId("visit");
  let timer = 0;

  /** Return the possible photographs: those of the same eye first, then those of the same batch. */
  function candidates() {
    const { photograph } = state;
    if (!photograph) return [];
    const rank = ({ eye, batch }) =>
      (eye && eye === photograph.eye ? 0 : 2) + (batch && batch === photograph.batch ? 0 : 1);
    return photographs()
      .filter(({ id, result }) => result && id !== photograph.id)
      .sort((a, b) => rank(a) - rank(b));
  }

  function fill() {
    const chosen = chooser.value;
    chooser.replaceChildren(
      element("option", { value: "" }, "The same, untouched"),
      ...candidates().map(({ id, name, eye }) =>
        element("option", { value: id }, `${name}${eye ? ` (${eye})` : ""}`),
      ),
    );
    if ([...chooser.options].some(({ value }) => value === chosen)) chooser.value = chosen;
  }

  function choose() {
    const chosen = photographs().find(({ id }) => id === chooser.value) ?? null;
    viewer.setBeside(chosen, chosen ? alignment(chosen) : SAME);
    byId("realign").checked = false;
    toolbar.showBeside(Boolean(chosen) || isPressed(byId("side-by-side")));
    byId("realign").disabled = !chosen;
    if (!chosen) {
      byId("by-landmarks").disabled = true;
      setText(byId("alignment"), "");
    }
    byId("beside-name").textContent = chosen ? chosen.name : "Untouched";
  }

  /** Return how the open photograph corresponds to another, by what a person has chosen, and say how it is. */
  function alignment(other) {
    const landmarks = linkByLandmarks(state.photograph, other);
    byId("by-landmarks").disabled = !landmarks;
    if (landmarks && byId("by-landmarks").checked) {
      const degrees = ((-landmarks.angle * 180) / Math.PI).toFixed(1);
      setText(byId("alignment"), `By disc and fovea: shifted, scaled and rotated by ${degrees}°. If the program placed them, check the grid.`);
      return landmarks;
    }
    const why = landmarks ? "" : " Disc and fovea are not known in both photographs, or they contradict each other.";
    setText(byId("alignment"), `By the fields of view: shifted and scaled, not rotated.${why}`);
    return linkByFields(state.photograph, other);
  }

  function setBlinking(isOn) {
    setPressed(byId("blink"), isOn);
    clearInterval(timer);
    byId("panes").classList.toggle("blinking", isOn);
    byId("panes").classList.remove("second");
    if (!isOn) return viewer.resize();
    toolbar.showBeside(true);
    timer = setInterval(() => byId("panes").classList.toggle("second"), BLINK_MS);
    viewer.resize();
  }

  const toggleBlinking = () => setBlinking(!isPressed(byId("blink")));

  chooser.addEventListener("focus", fill);
  chooser.addEventListener("pointerdown", fill);
  chooser.addEventListener("change", choose);
  byId("blink").addEventListener("click", toggleBlinking);
  byId("side-by-side").addEventListener("click", () => {
    if (!isPressed(byId("side-by-side")) && isPressed(byId("blink"))) setBlinking(false);
  });
  byId("by-landmarks").addEventListener("change", choose);
  byId("realign").addEventListener("change", () => viewer.setLinked(!byId("realign").checked));
  state.on("photograph", () => {
    chooser.value = ""; // another photograph has other visits
    byId("realign").checked = false;
    byId("beside-name").textContent = "Untouched";
    byId("by-landmarks").disabled = true;
    setText(byId("alignment"), "");
    fill();
  });
  fill();

  return { toggleBlinking, fill };
}
