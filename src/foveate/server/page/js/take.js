// What is taken away: files, a report to print, a photograph as training data; and who has looked.
//
// Knows:   which files there are. Ignores: what is in them.

import * as api from "./api.js";
import { get, make, say } from "./dom.js";
import { prefer } from "./desk.js";

export function takePanel(desk, correct) {
  const author = make("input", {
    type: "text",
    id: "author",
    maxlength: 64,
    autocomplete: "off",
    placeholder: "initials",
    value: desk.author,
    oninput: () => {
      desk.author = author.value.trim();
      prefer({ author: desk.author });
    },
  });
  const reviewed = make("input", {
    type: "checkbox",
    id: "reviewed",
    onchange: async () => {
      try {
        desk.renew(await api.change(desk.photograph.id, { reviewed: reviewed.checked }));
      } catch (refusal) {
        say(refusal.message);
      }
    },
  });
  const links = make("div", { class: "links" });
  const forget = make(
    "button",
    { type: "button", class: "plain", onclick: () => correct.forget() },
    "Forget all corrections",
  );
  get("take").replaceChildren(
    make(
      "div",
      { class: "row" },
      make("label", { for: "author" }, "Grader"),
      author,
      make("label", { class: "inline" }, reviewed, "Reviewed"),
    ),
    links,
    make("div", { class: "row" }, forget),
  );

  function show() {
    const { photograph } = desk;
    reviewed.disabled = !photograph;
    reviewed.checked = Boolean(photograph?.reviewed);
    forget.hidden = !desk.corrections?.edits;
    if (!desk.result)
      return links.replaceChildren(
        make("p", { class: "small faint" }, "Files are here when a photograph was looked at."),
      );
    const { address } = api;
    const link = (id, words, href, about, more = {}) =>
      make("a", { id, class: "button", href, title: about, ...more }, words);
    links.replaceChildren(
      link(
        "zip",
        "Masks, overlay, CSV, JSON (zip)",
        address.download(photograph.id),
        "The files of foveate predict at these thresholds, and the corrected ones",
        { download: "" },
      ),
      link("report", "Report to print", address.report(photograph.id), "One page", {
        target: "_blank",
        rel: "noopener",
      }),
      link(
        "training",
        "As training data (zip)",
        address.training(photograph.id),
        "The corrected masks as foveate train reads them",
        { download: "" },
      ),
      ...(photograph.batch
        ? [
            link(
              "batch",
              "The whole batch (zip)",
              address.batch(photograph.batch),
              "All photographs that were dropped together",
              { download: "" },
            ),
          ]
        : []),
    );
  }

  desk.on("photograph document corrections", show);
  show();
}
