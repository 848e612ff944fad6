// The question that is asked before photographs are deleted.
//
// Knows:   that the gradings of a photograph are deleted with it.
// Ignores: what follows from the answer.

import * as api from "./api.js";
import { byId } from "./dom.js";
import { confirmAction } from "./messages.js";

const MAX_ASKED = 50; // photographs whose graders are named; each costs a request

let asked = 0; // counts questions: an earlier one, whose graders are still being read, is not asked any more

/** Ask whether to delete photographs, naming everybody whose grading would be deleted; resolves to the answer. */
export async function confirmDeletion(photographs) {
  const number = ++asked;
  const gradings = await gradingsText(photographs);
  if (number !== asked || byId("confirm-dialog").open) return false;
  return confirmAction(question(photographs, gradings), "Delete");
}

function question(photographs, gradings) {
  if (photographs.length === 1)
    return `Delete ${photographs[0].name}, with its result and corrections${gradings}? It is removed from the server's disk.`;
  return `Delete ${photographs.length} photographs, with results and corrections${gradings}? They are removed from the server's disk.`;
}

/**
 * Return what the question says of gradings: by whom they are, "" if there are none. Of photographs that are too many
 * to ask, or whose gradings cannot be read, it says that all gradings are deleted, whoever made them.
 */
async function gradingsText(photographs) {
  const analysed = photographs.filter(({ result }) => result);
  const asked = analysed.slice(0, MAX_ASKED).map(({ id }) => api.listGradings(id));
  const answers = (await Promise.allSettled(asked)).flatMap(({ value }) => value ?? []);
  const own = photographs.flatMap(({ grading }) => grading?.grader ?? []); // of photographs that are copies
  const names = new Set([...own, ...answers.flatMap(({ gradings }) => gradings.map(({ grader }) => grader))]);
  const unread = analysed.length - answers.length;
  return [
    names.size ? `, and the gradings by ${new Intl.ListFormat("en").format(names)}` : "",
    unread ? `, and all gradings of ${unreadText(unread, photographs.length)} (the graders' names were not loaded)` : "",
  ].join("");
}

/** Return which of the photographs to be deleted are those whose gradings were not read. */
function unreadText(count, total) {
  if (count === total) return total === 1 ? "it" : "them";
  return `${count} of them`;
}
