// Double grading: begin one's own grading, mark it as done, and adjudicate when all are done.
//
// Knows:   whose copy is open, who else grades, and that gradings of others are shown only when all are done.
// Ignores: how a copy is corrected: it is a photograph like any other.

import * as api from "./api.js";
import { byId, element, latest, setDisabled, setText, whenReleased } from "./dom.js";
import { showFailure, showMessage } from "./messages.js";
import { isOwn, refusalOfGrader } from "./refusals.js";

const SEPARATELY =
  "For two people to grade separately, without seeing each other's work, start the server with foveate serve --double-grading.";
const SHARED = `Everybody works on the same corrections of a photograph, whatever name they enter. ${SEPARATELY}`;
const GRADED_TWICE =
  "Two people grade each photograph, each on a copy of their own, and a third person adjudicates: enter your name under Review and downloads, and choose Grade this photograph.";

/** graderLayers: what each grader left, over the photograph (grader-layers.js). */
export function createGradings(state, outbox, loadList, graderLayers) {
  const panel = byId("grading");

  const render = latest(async (signal) => {
    const { photograph, view, author } = state;
    if (!photograph?.result) return fill();
    if (photograph.grading) return fill(...ownGrading(photograph));
    if (!state.server?.double_grading) return fill();
    try {
      const gradings = await api.listGradings(photograph.id, author, signal);
      const show = (pairs) => signal.aborted || fill(...others(photograph, gradings, pairs));
      if (signal.aborted) return;
      state.update(view, { gradings, hasUnreadGradings: false }, "gradings");
      if (!gradings.open) return show([]);
      await graderLayers.load(view, gradings.gradings, Boolean(gradings.adjudication), signal);
      show(null); // the agreement of large photographs takes seconds, their outlines do not
      show((await api.getGradersAgreement(photograph.id, signal)).pairs);
    } catch (error) {
      if (!signal.aborted) {
        fill();
        state.update(view, { hasUnreadGradings: !view.gradings }, "gradings");
      }
      showFailure(error, "The gradings could not be read: ");
    }
  });

  const fill = (...content) => whenReleased(panel, () => panel.replaceChildren(...content));

  const button = (id, text, onclick) => element("button", { type: "button", id, onclick }, text);
  const line = (text) => element("p", { class: "small" }, text);

  /** Say under the name that somebody else's corrections are continued; nothing if a copy or no name is given. */
  function renderShared() {
    const { view, photograph, author, server } = state;
    const isShared = author && photograph && server && !server.double_grading && !photograph.grading;
    const people = [...(view?.corrections?.authors ?? []), photograph?.reviewer];
    const others = [...new Set(people)].filter((name) => name && name !== author);
    const names = new Intl.ListFormat("en").format(others);
    const text = `${names} ${others.length === 1 ? "has" : "have"} worked on this photograph: your changes go into the same corrections. ${SEPARATELY}`;
    setText(byId("shared-corrections"), isShared && others.length ? text : "");
  }

  /** Say in the help whether several graders share their corrections. */
  function renderHelp() {
    if (state.server) byId("help-graders").textContent = state.server.double_grading ? GRADED_TWICE : SHARED;
  }

  /** Return what is shown for the copy that a grader works on; nobody else ends or reopens the grading. */
  function ownGrading({ id, grading: { grader, done, original } }) {
    const said = line(`Grading of ${grader}: ${done ? "done." : "others see it when all graders are done."}`);
    const back = button("grading-back", "Back to the photograph", () => openPhotograph(original));
    if (!isOwn(state)) return [said, back];
    if (done) return [said, button("grading-again", "Reopen the grading", () => setDone(id, false)), back];
    return [said, button("grading-done", "My grading is done", () => setDone(id, true))];
  }

  /** Return what is shown for a photograph that people grade. */
  function others({ id }, listed, pairs) {
    const { gradings, open, adjudication } = listed;
    const names = gradings.map(({ grader, done }) => `${grader} (${done ? "done" : "under way"})`);
    const said = names.length ? `Graded by ${names.join(", ")}.` : "Nobody has graded this photograph yet.";
    const agreements = pairs?.map(agreement) ?? [line("Their agreement is being computed.")];
    const outlines = graderLayers.controls(Boolean(adjudication));
    if (adjudication)
      return [line(said), ...outlines, line(`Adjudicated by ${adjudication.adjudicator}.`), ...agreements];
    if (!open) return [line(said), button("grading-begin", "Grade this photograph", () => begin(id))];
    if (!pairs) return [line(said), ...outlines, ...agreements];
    const start = button("adjudicate", "Adjudicate, starting with the pixels that all graders marked", () =>
      adjudicate(id),
    );
    renderStart(start, listed);
    return [line(said), ...outlines, ...agreements, start];
  }

  /** Disable the button to adjudicate for graders; the name changes as it is typed. */
  function renderStart(start, listed) {
    setDisabled(start, false, refusalOfGrader(listed, state.author));
  }

  function agreement({ graders, lesion, dice, present }) {
    if (present.neither) return line(`${lesion}: neither ${graders.join(" nor ")} marked any`);
    if (!present.both) return line(`${lesion}: only ${graders[present.first ? 0 : 1]} marked any`);
    return line(`${lesion}: ${graders.join(" and ")}, Dice ${dice.toFixed(2)}`);
  }

  /** Act under the grader's name; ask for it if there is none, and show a message if the action fails. */
  async function act(action) {
    if (!state.author) {
      byId("author").focus();
      return showMessage("Enter your name as grader first.");
    }
    showMessage(""); // such as the one above, which no longer applies
    try {
      await action();
    } catch (error) {
      showFailure(error);
    }
  }

  const begin = (id) =>
    act(async () => {
      const copy = await api.beginGrading(id, state.author);
      await openPhotograph(copy.id);
    });

  const setDone = (id, done) =>
    act(async () => {
      await outbox.save(id);
      await api.setGradingDone(id, done);
      await loadList();
      render();
    });

  const adjudicate = (id) =>
    act(async () => {
      await api.adjudicate(id, state.author);
      location.reload(); // every layer of the photograph has changed
    });

  async function openPhotograph(id) {
    await loadList(); // a grader's list holds their copies in place of the photographs
    location.hash = id;
  }

  byId("author").addEventListener("change", async () => {
    renderShared();
    await loadList();
    render();
  });
  byId("show-keys").addEventListener("click", renderHelp);
  state.on("author", () => {
    const start = byId("adjudicate");
    if (start && state.view?.gradings) renderStart(start, state.view.gradings);
  });
  state.on("photograph document", render);
  state.on("photograph document corrections", renderShared);
  render();
}
