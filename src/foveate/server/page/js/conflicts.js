// Conflicts: what another window has changed of a photograph while this one wanted to change it.
//
// Knows:   which fields differ from what this page knew, and their names. Ignores: requests.

const NAMES = {
  reviewed: "'Reviewed'",
  spacing_mm: "The pixel spacing",
  grid: "The ETDRS grid",
  eye: "The eye",
  note: "The note",
  batch: "The batch",
};

/** Return whether two values of a field are equal; a field that is missing is null. */
export const isSame = (one, other) => JSON.stringify(one ?? null) === JSON.stringify(other ?? null);

const levelOf = ({ result }, code) => result?.lesions[code]?.level;

/** Return the values of some fields in a photograph: {reviewed, …, levels: {code: level}}. */
export function valuesOf(photograph, { levels = {}, ...others }) {
  return {
    ...Object.fromEntries(Object.keys(others).map((name) => [name, photograph[name]])),
    levels: Object.fromEntries(Object.keys(levels).map((code) => [code, levelOf(photograph, code)])),
  };
}

/**
 * Return those of some fields that somebody else has set: {reviewed, …, levels: {code: level}}.
 *
 * base: the values of the fields when they were changed here. present: the photograph as it is. sent: the fields that
 * this page set itself.
 */
export function changedElsewhere(base, present, fields, sent = {}) {
  const isChanged = (was, is, own) => !isSame(was, is) && !isSame(is, own);
  const { levels = {}, ...others } = fields;
  const changed = Object.entries(others).filter(
    ([name]) => name !== "reviewer" && isChanged(base[name], present[name], sent[name]),
  );
  const moved = Object.entries(levels).filter(([code]) =>
    isChanged(base.levels?.[code], levelOf(present, code), sent.levels?.[code]),
  );
  return { ...Object.fromEntries(changed), ...(moved.length ? { levels: Object.fromEntries(moved) } : {}) };
}

/** Return fields without some of them; thresholds lesion by lesion, and a review with its name. */
export function omit(fields, some) {
  const isOmitted = (name) => name in some || (name === "reviewer" && "reviewed" in some);
  const kept = Object.entries(fields).filter(([name]) => name !== "levels" && !isOmitted(name));
  const levels = Object.entries(fields.levels ?? {}).filter(([code]) => !(code in (some.levels ?? {})));
  return { ...Object.fromEntries(kept), ...(levels.length ? { levels: Object.fromEntries(levels) } : {}) };
}

/** Return the names of fields in words, "The note and the threshold of hard exudates"; "" for none. */
export function namesOf({ levels = {}, ...others }, photograph) {
  const names = [
    ...Object.keys(others).map((name) => NAMES[name] ?? name),
    ...Object.keys(levels).map((code) => `The threshold of ${photograph?.result?.lesions[code]?.name ?? code}`),
  ];
  return names.map((name, index) => (index ? name.replace(/^The /, "the ") : name)).join(" and ");
}
