// What a person states about the open photograph: which eye it shows, and a note.
//
// Knows:   both fields, that a note is saved when typing pauses, and that the state has what is typed at once.
// Ignores: how they are stored.

import { byId, radioGroup, setDisabled } from "./dom.js";
import { refusalOfFields } from "./refusals.js";

const REST_MS = 700; // after the last key, until a note is saved
const EYES = [
  { value: "right", text: "Right", title: "Right eye (OD)" },
  { value: "left", text: "Left", title: "Left eye (OS)" },
  { value: "", text: "–", title: "The eye is not stated" },
];

export function createAboutPanel(state, outbox) {
  const note = byId("note");
  const selectEye = radioGroup(byId("eye"), "eye", EYES, "", (eye) =>
    outbox.change(state.view.id, { eye: eye || null }),
  );

  function render() {
    const { photograph } = state;
    byId("about-section").hidden = !photograph;
    selectEye(photograph?.eye ?? "");
    showNote(photograph?.note ?? "");
    fit();
    renderRefusal();
  }

  function renderRefusal() {
    const refusal = refusalOfFields(state);
    setDisabled(note, false, refusal);
    for (const eye of byId("eye").querySelectorAll("input")) setDisabled(eye, false, refusal, eye.parentElement);
  }

  /** Show a note that was changed in another window, also while the field has the focus; the caret stays. */
  function showNote(text) {
    if (note.value === text) return;
    const { selectionStart, selectionEnd } = note;
    note.value = text;
    if (document.activeElement === note) note.setSelectionRange(selectionStart, selectionEnd);
  }

  /** Make the field as high as the note, up to six lines. */
  function fit() {
    note.rows = Math.min(6, Math.max(1, note.value.split("\n").length));
  }

  note.addEventListener("input", () => {
    if (state.view) outbox.change(state.view.id, { note: note.value }, { delay: REST_MS });
    fit();
  });
  state.on("photograph", () => note.blur());
  state.on("photograph document", render);
  state.on("author", renderRefusal);
  render();
}
