// Why the server would refuse a change of the open photograph: in double grading, not everybody may change everything.
//
// Knows:   the server's rules (docs/grading.md), in the words of this page. The server decides in any case.
// Ignores: how gradings are loaded (gradings.js), and which controls a refusal disables.

/**
 * Return in one line why the server would refuse a correction, a threshold or a review of the open photograph; "" if it
 * would not, or if that is not known.
 *
 * author: who makes the change; "" for changes that store no name: undo, thresholds, a review that is withdrawn.
 */
export function refusalOf({ server, photograph, view }, author) {
  if (!photograph) return "";
  if (photograph.grading) return refusalOfCopy(photograph.grading, author);
  if (!server?.double_grading || view.hasUnreadGradings) return "";
  if (view.result && !view.gradings) return "The gradings of this photograph are being loaded.";
  if (!view.gradings?.open)
    return "At least two people must grade this photograph first: see Review and downloads.";
  if (!view.gradings.adjudication)
    return "Nobody has begun to decide between its gradings: choose Decide under Review and downloads first.";
  return refusalOfGrader(view.gradings, author);
}

function refusalOfCopy({ grader, done }, author) {
  if (done) return "This grading is done: reopen it before you change it.";
  return author && author !== grader ? `This is the grading of ${grader}: begin your own.` : "";
}

/** Return why somebody may not decide between gradings: only who is none of the graders may. */
export function refusalOfGrader({ gradings }, author) {
  const own = gradings.find(({ grader }) => folded(grader) === folded(author));
  return own ? `${own.grader} has graded this photograph: somebody else must decide.` : "";
}

/** Return a name as the server compares names: whatever its capitals, and however its accents are encoded. */
const folded = (name) => name.normalize("NFC").toLowerCase();
