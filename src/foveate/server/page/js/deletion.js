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
  const graded = photographs.filter(({ result }) => result);
  const names = graded.length > MAX_ASKED ? null : await gradersOf(photographs, graded);
  if (number !== asked || byId("confirm-dialog").open) return false;
  return confirmAction(question(photographs, names), "Delete");
}

function question(photographs, names) {
  const gradings =
    names === null ? ", and all gradings of them" : names.length ? `, and the gradings by ${new Intl.ListFormat("en").format(names)}` : "";
  if (photographs.length === 1)
    return `Delete ${photographs[0].name}, with its result and corrections${gradings}? It is removed from the server's disk.`;
  return `Delete ${photographs.length} photographs, with results and corrections${gradings}? They are removed from the server's disk.`;
}

/** Return the names of those who grade photographs, or whose copies these are; none where they cannot be read. */
async function gradersOf(photographs, graded) {
  const answers = await Promise.all(graded.map(({ id }) => api.listGradings(id).catch(() => ({ gradings: [] }))));
  const own = photographs.flatMap(({ grading }) => grading?.grader ?? []);
  return [...new Set([...own, ...answers.flatMap(({ gradings }) => gradings.map(({ grader }) => grader))])];
}
