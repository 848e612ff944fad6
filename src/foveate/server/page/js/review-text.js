// Who marked a photograph as reviewed, and when, in words.
//
// Knows:   that a name may not have been given, and that neither was recorded of old reviews.
// Ignores: where the words are shown.

import { formatDate } from "./format.js";

/** Return "Reviewed by Ann, 28 Nov 2026, 22:50"; "" if nobody has reviewed the photograph. */
export function reviewText({ reviewed, reviewer, reviewed_at: reviewedAt, reviewed_before_grading: isBefore }) {
  if (!reviewed && !isBefore) return "";
  const before = isBefore ? ", before double grading; not adjudicated yet" : "";
  if (!reviewer && !reviewedAt) return `Reviewed${before}; by whom and when was not recorded`;
  const by = `Reviewed by ${reviewer || "a person without a name"}`;
  return (reviewedAt ? `${by}, ${formatDate(new Date(reviewedAt))}` : by) + before; // the time comes with the answer
}
