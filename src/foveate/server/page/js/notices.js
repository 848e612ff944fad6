// Notices: problems that affect all work, and what to do about them. They lie over the upper edge of the photograph,
// which neither moves nor takes another scale when one appears or goes.
//
// Knows:   that the server does not answer, and that its disk is full.
// Ignores: which request failed. A notice disappears when a request succeeds again.

import { byId, element } from "./dom.js";

const TEXTS = {
  down: [
    "The server does not answer.",
    "Check that foveate serve is running and the network is up. Your changes are kept in this page and sent when the server answers: leave the page open.",
  ],
  disk: [
    "The server's disk is full: nothing can be added or saved.",
    "Delete photographs that are no longer needed, or ask the person who runs the server for more space. Your changes are kept in this page and sent again.",
  ],
};

const shown = new Map(); // kind -> its element, which stays as it is: whoever has folded it keeps it folded

/** Create a notice; its explanation, which covers a part of the photograph, can be folded. */
const createNotice = ([title, explanation]) =>
  element("details", { class: "notice", open: true }, element("summary", {}, title), element("p", {}, explanation));

function set(kind, isOn) {
  if (shown.has(kind) === isOn) return;
  if (isOn) {
    shown.set(kind, createNotice(TEXTS[kind]));
    byId("notices").append(shown.get(kind));
  } else {
    shown.get(kind).remove();
    shown.delete(kind);
  }
}

/** Update the notices from the status of an answer; 0: no answer. `writes`: whether the request stores data. */
export function noteStatus(status, writes) {
  if (status === 507) set("disk", true);
  else if (writes && status >= 200 && status < 300) set("disk", false);
  set("down", status === 0 || status === 502 || status === 504);
}
