// Corrections: what a grader paints, erases, accepts and rejects, saved as one goes.
//
// Knows:   that edits reach the server one after the other, none is lost, and undo and redo are the server's.
// Ignores: pixels: the server paints, the page shows the tiles that changed.

import * as api from "./api.js";
import { confirmed, get, say } from "./dom.js";

const PAUSE = 2000; // ms until an edit is sent again to a server that does not answer

export function corrections(desk, layers) {
  let line = Promise.resolve(); // edits, one after the other
  let waiting = 0;

  async function read() {
    const { photograph } = desk;
    if (!desk.result) return tell();
    try {
      const state = await api.corrections(photograph.id);
      if (desk.photograph?.id === photograph.id) desk.set({ corrections: state }, "corrections");
    } catch (refusal) {
      say(refusal.message);
    }
  }

  /** Queue an edit of the photograph that is open now; `send(id, revision)` does it. */
  function edit(send, done = () => {}) {
    const { id } = desk.photograph;
    waiting++;
    tell();
    line = line.then(async () => {
      const state = await insist(() => send(id, desk.photograph?.id === id ? desk.revision : undefined));
      waiting--;
      if (state && desk.photograph?.id === id) {
        if (state.changed) layers.stale(state.changed, state.revision);
        desk.set({ corrections: state }, "corrections");
      }
      tell();
      done();
    });
    return line;
  }

  /** Send until the server has answered; what it refuses is told, and what it holds is read anew. */
  async function insist(send) {
    for (;;) {
      try {
        return await send();
      } catch (refusal) {
        if (refusal.status && refusal.status !== 429 && refusal.status !== 503) {
          say(
            refusal.code === "stale"
              ? "They were changed elsewhere, too: your last edit was not made, and they were read anew."
              : refusal.message,
          );
          layers.stale(null, desk.revision);
          read();
          return null;
        }
        tell("Not saved yet: the server does not answer. Trying again.");
        await new Promise((go) => setTimeout(go, PAUSE));
      }
    }
  }

  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

  function tell(trouble) {
    const state = desk.corrections;
    get("undo").disabled = !state?.can_undo || waiting > 0;
    get("redo").disabled = !state?.can_redo || waiting > 0;
    get("saved").textContent =
      trouble ||
      (waiting
        ? "Saving…"
        : state?.last_edit
          ? [`Saved ${clock.format(new Date(state.last_edit))}`, ...state.authors.filter(Boolean)].join(" · ")
          : "");
  }

  window.addEventListener("beforeunload", (event) => {
    if (waiting) event.preventDefault();
  });
  get("undo").addEventListener("click", () => step("undo"));
  get("redo").addEventListener("click", () => step("redo"));
  desk.on("photograph", read);
  desk.on("corrections", () => tell());
  desk.on("document", () => {
    if (desk.result && desk.corrections && desk.result.revision > desk.revision && !waiting) {
      layers.stale(null, desk.result.revision);
      read();
    }
  });

  function step(which) {
    const state = desk.corrections;
    if (waiting || !(which === "undo" ? state?.can_undo : state?.can_redo)) return;
    edit((id, revision) => api.step(id, which, revision));
  }

  return {
    step,
    /** points: [[x, y], ...] px of the photograph; tool: "brush", "eraser", "restore". */
    stroke: (tool, diameter, points, done) =>
      edit(
        (id, revision) =>
          api.stroke(id, {
            lesion: desk.active,
            tool,
            diameter,
            points,
            author: desk.author,
            revision,
          }),
        done,
      ),
    verdict: (region, verdict) =>
      edit((id, revision) =>
        api.verdict(id, {
          lesion: region.lesion,
          level: region.level,
          x: region.inside.x,
          y: region.inside.y,
          verdict,
          note: "",
          author: desk.author,
          revision,
        }),
      ),
    forget: async () => {
      if (
        !(await confirmed(
          "Forget all corrections of this photograph, with their history? This cannot be undone.",
          "Forget",
        ))
      )
        return;
      edit((id) => api.forget(id));
      layers.stale(null, desk.revision + 1);
    },
    busy: () => waiting > 0,
  };
}
