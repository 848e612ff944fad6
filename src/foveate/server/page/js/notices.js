// Notices: problems that affect all work, and what to do about them.
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

const shown = new Set();

function set(kind, isOn) {
  if (shown.has(kind) === isOn) return;
  if (isOn) shown.add(kind);
  else shown.delete(kind);
  byId("notices").replaceChildren(
    ...[...shown].map((name) =>
      element("p", { class: "notice" }, element("b", {}, TEXTS[name][0]), ` ${TEXTS[name][1]}`),
    ),
  );
}

/** Update the notices from the status of an answer; 0: no answer. `writes`: whether the request stores data. */
export function noteStatus(status, writes) {
  if (status === 507) set("disk", true);
  else if (writes && status >= 200 && status < 300) set("disk", false);
  set("down", status === 0 || status === 502 || status === 504);
}
