// Notices: what hinders all work at present, and what to do about it.
//
// Knows:   that the server does not answer, and that its disk is full.
// Ignores: which request met it. A notice goes by itself when a request succeeds again.

import { byId, element } from "./dom.js";

const TEXTS = {
  down: [
    "The server does not answer.",
    "Is foveate serve still running, and the network up? What you do meanwhile is kept in this page and sent when it answers: leave the page open.",
  ],
  disk: [
    "The server's disk is full: nothing can be added or saved.",
    "Delete photographs that are no longer needed, or ask whoever runs the server for more space. What you have drawn is kept in this page and sent again.",
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

/** Take note of the status of an answer; 0: there was none. `writes`: whether the request stores something. */
export function noteStatus(status, writes) {
  if (status === 507) set("disk", true);
  else if (writes && status >= 200 && status < 300) set("disk", false);
  set("down", status === 0 || status === 502 || status === 504);
}
