// The panel of downloads: files, a report to print, training data; and the grader and the review mark.
//
// Knows:   which files there are, that the server makes them from its own state, and how a page is printed.
// Ignores: what the files contain.

import { address, loadFile } from "./api.js";
import { createBatchReports } from "./batch-report.js";
import { byId, element, setDisabled, whenReleased } from "./dom.js";
import { showFailure, showMessage, showRefusal } from "./messages.js";
import { savePreferences } from "./preferences.js";
import { refusalOf } from "./refusals.js";
import { reviewText } from "./review-text.js";

const NO_FILES = "Files appear here when the photograph has been analysed.";
const PRINT_POLL_MS = 100; // until the report has been loaded

/** Return whether a photograph's result is still to come; one that failed can be reviewed as it is. */
const isAwaited = ({ state }) => state === "queued" || state === "running";

/** Return why the open photograph cannot be marked as reviewed, or that be withdrawn; "" if it can. */
const refusalOfReview = (state) =>
  state.photograph ? refusalOf(state, state.photograph.reviewed ? "" : state.author) : "";

/**
 * Return what has become of a tab that loads a report: "loading", "loaded", "refused", or "closed".
 *
 * A tab that cannot be read is refused: it shows a page of the browser, or of a proxy.
 */
function stateOf(opened, href) {
  if (opened.closed) return "closed";
  try {
    const { location, document, performance } = opened;
    if (location.href !== href || document.readyState !== "complete") return "loading";
    const status = performance.getEntriesByType("navigation")[0]?.responseStatus || 200; // 0: not known
    return status < 400 && document.contentType === "text/html" ? "loaded" : "refused";
  } catch (error) {
    if (error.name === "SecurityError") return "refused";
    throw error;
  }
}

/** Say on the page why there is no report, and close its tab; where no answer says it, the tab does. */
async function explainRefusal(opened, href) {
  try {
    await loadFile(href);
    showMessage("The report could not be loaded. Print it again.");
  } catch (error) {
    if (!error.status) return;
    showFailure(error, "The report: ");
  }
  opened.close();
}

/**
 * Open a link's page in a new tab and print it when it is there: the page itself runs no script. If the browser
 * allows no new tab, the link is followed as usual.
 */
function printPage(event) {
  const { href } = event.target;
  const opened = window.open(href, "_blank");
  if (!opened) return;
  event.preventDefault();
  const timer = setInterval(() => {
    const found = stateOf(opened, href);
    if (found === "loading") return;
    clearInterval(timer);
    if (found === "loaded") opened.print();
    else if (found === "refused") explainRefusal(opened, href);
  }, PRINT_POLL_MS);
}

export function createDownloads(state, outbox, corrections) {
  const author = element("input", {
    type: "text",
    id: "author",
    maxlength: 64,
    autocomplete: "off",
    autocapitalize: "off", // else the same name is written in two ways on two devices
    placeholder: "name or initials",
    value: state.author,
    oninput: () => {
      state.set({ author: author.value.trim() }, "author");
      savePreferences({ author: state.author });
    },
  });
  const reviewed = element("input", {
    type: "checkbox",
    id: "reviewed",
    "aria-keyshortcuts": "T",
    title: "T marks the photograph as reviewed and opens the next one",
    onchange: () => {
      const reviewer = reviewed.checked ? state.author : "";
      outbox.change(state.view.id, { reviewed: reviewed.checked, reviewer });
    },
  });
  const reviewedLabel = element("label", { class: "inline", title: reviewed.title }, reviewed, "Reviewed");
  const review = element("p", { id: "review", class: "small muted" });
  const links = element("div", { class: "links" });
  const deleteButton = element(
    "button",
    { type: "button", class: "borderless", onclick: () => corrections.deleteAll() },
    "Delete all corrections",
  );
  byId("downloads").replaceChildren(
    element(
      "div",
      { class: "row" },
      element("label", { for: "author" }, "Grader"),
      author,
      reviewedLabel,
    ),
    review,
    element("p", { id: "shared-corrections", class: "small", role: "status" }), // gradings.js fills it
    links,
    element("div", { class: "row" }, deleteButton),
  );

  const batchReports = createBatchReports({
    onChange: () => render(),
    beforeStart: () => outbox.save(),
  });

  function render() {
    const { photograph, view } = state;
    renderReview();
    const shown = view?.result ? linksOf(photograph) : [element("p", { class: "small muted" }, NO_FILES)];
    whenReleased(links, () => links.replaceChildren(...shown));
  }

  function renderReview() {
    const { photograph, view } = state;
    for (const titled of [reviewed, reviewedLabel])
      setDisabled(reviewed, !photograph || isAwaited(photograph), refusalOfReview(state), titled);
    reviewed.checked = Boolean(photograph?.reviewed);
    review.textContent = photograph ? reviewText(photograph) : "";
    deleteButton.hidden = !view?.corrections?.edits;
    setDisabled(deleteButton, false, refusalOf(state, ""));
  }

  function linksOf({ id, batch }) {
    const link = (linkId, text, href, title, attributes) =>
      element(
        "a",
        {
          id: linkId,
          class: "button",
          href,
          title,
          onclick: (event) => outbox.followWhenSaved(event, id),
          ...attributes,
        },
        text,
      );
    const file = { download: "" };
    return [
      link(
        "zip",
        "Masks, overlay, CSV, JSON (zip)",
        address.download(id),
        "The files of foveate predict at these thresholds, and the corrected ones",
        file,
      ),
      link("report", "Print the report", address.report(id), "One page: it opens in a new tab and is printed", {
        target: "_blank",
        onclick: (event) => outbox.followWhenSaved(event, id, printPage),
      }),
      link("report-pdf", "Report (PDF)", address.reportPdf(id), "The same page as a file, A4", file),
      link(
        "training",
        "As training data (zip)",
        address.training(id),
        "The corrected masks as foveate train reads them",
        file,
      ),
      ...(batch
        ? [
            link(
              "batch",
              "The whole batch (zip)",
              address.batch(batch),
              "All photographs that were added together",
              { ...file, onclick: (event) => outbox.followWhenSaved(event) },
            ),
            batchReports.controls(batch),
          ]
        : []),
    ];
  }

  state.on("photograph document corrections", render);
  state.on("gradings author", renderReview);
  render();

  return {
    /** Mark the open photograph as reviewed; returns whether it is: there may be nothing to review yet. */
    markReviewed() {
      if (reviewed.checked) return true;
      showRefusal(refusalOfReview(state));
      if (reviewed.disabled) return false;
      reviewed.click();
      return true;
    },
  };
}
