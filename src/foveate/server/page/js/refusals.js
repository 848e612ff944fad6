// Why a change of the open photograph is refused: in double grading, not everybody may change everything.
//
// Knows:   the rules (docs/grading.md) in the words of this page. The server decides in any case, but it does not know
//          who changes what has no name: a copy that is somebody else's is read-only here.
// Ignores: how gradings are loaded (gradings.js), and which controls a refusal disables.

/** Return whether whoever uses the page may change the open photograph: only its grader may, if it is a copy. */
export const isOwn = ({ photograph, author }) => !photograph?.grading || photograph.grading.grader === author;

/** Return in one line why the open photograph cannot be changed at all: it is somebody else's copy; "" if it is not. */
export function refusalOfCopy(state) {
  if (isOwn(state)) return "";
  const { grader } = state.photograph.grading;
  const isSpeltOtherwise = folded(grader) === folded(state.author);
  const advice = isSpeltOtherwise ? `enter the name exactly as "${grader}"` : "begin your own";
  return `This is the grading of ${grader}: ${advice}.`;
}

/** Return in one line why spacing, grid, eye and note of the open photograph cannot be changed; "" if they can. */
export function refusalOfFields(state) {
  const isDone = Boolean(state.photograph?.grading?.done);
  return refusalOfCopy(state) || (isDone ? "This grading is done: reopen it before you change it." : "");
}

/** Why nothing can be changed until it is known who has graded the open photograph. */
export const LOADING = "The gradings of this photograph are being loaded.";

/**
 * Return in one line why a correction, a threshold or a review of the open photograph is refused; "" if it is not, or if
 * that is not known. A photograph without a result has nothing to grade.
 *
 * author: who adjudicates; "" for changes that store no name: undo, thresholds, a review that is withdrawn.
 */
export function refusalOf(state, author) {
  const { server, photograph, view } = state;
  if (!photograph) return "";
  if (photograph.grading) return refusalOfFields(state);
  if (!server?.double_grading || !view.result || view.hasUnreadGradings) return "";
  if (!view.gradings) return LOADING;
  if (!view.gradings.open)
    return "At least two people must grade this photograph first: see Review and downloads.";
  if (!view.gradings.adjudication)
    return "Nobody has begun to adjudicate between its gradings: choose Adjudicate under Review and downloads first.";
  return refusalOfGrader(view.gradings, author);
}

/** Return why somebody may not adjudicate: only who is none of the graders may. */
export function refusalOfGrader({ gradings }, author) {
  const own = gradings.find(({ grader }) => folded(grader) === folded(author));
  return own ? `${own.grader} has graded this photograph: somebody else must adjudicate.` : "";
}

/** Return a name as the server compares names: whatever its capitals, and however its accents are encoded. */
const folded = (name) => name.normalize("NFC").toUpperCase().toLowerCase().normalize("NFC"); // ß, too, is SS
