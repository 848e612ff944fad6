// Which photographs the list shows, and in which order.
//
// Knows:   searching, filtering, sorting, and grouping by batch.
// Ignores: elements, and which photograph is open.

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

export const ORDERS = [
  ["submitted", "By batch"],
  ["latest", "Latest first"],
  ["burden", "By burden"],
  ["count", "By regions"],
  ["name", "By name"],
];

const isActive = ({ state }) => state === "queued" || state === "running";

export const FILTERS = [
  ["all", "All", () => true],
  ["open", "To review", (photograph) => photograph.state === "done" && !photograph.reviewed],
  ["reviewed", "Reviewed", ({ reviewed }) => reviewed],
  ["corrected", "Corrected", ({ result }) => Boolean(result?.corrected)],
  ["failed", "Failed", ({ state }) => state === "failed"],
  ["active", "In progress", isActive],
];

/**
 * Return the list's entries: {photograph}, and {batch, name, ids} before the photographs of each batch.
 *
 * photographs: in the order in which they were added. batches: Map of a batch's id to its name.
 * choice: {order, filter, search, keep, burdens}; `keep` is the id of a photograph that is shown whatever the
 * filter is, `burdens` a Map of id to the burden to sort by, so that rows do not jump during work.
 */
export function arrange(photographs, batches, choice) {
  const shown = photographs.filter(matching(batches, choice));
  if (choice.order === "submitted") return grouped(shown, batches);
  return sorted(shown, choice).map((photograph) => ({ photograph }));
}

function matching(batches, { filter, search, keep }) {
  const [, , holds] = FILTERS.find(([value]) => value === filter);
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const text = ({ name, note, batch }) => `${name} ${note ?? ""} ${batches.get(batch) ?? ""}`.toLowerCase();
  const found = (photograph) => words.every((word) => text(photograph).includes(word));
  return (photograph) => (holds(photograph) || photograph.id === keep) && (!words.length || found(photograph));
}

function sorted(photographs, { order, burdens }) {
  if (order === "latest") return [...photographs].reverse();
  if (order === "name") return [...photographs].sort((a, b) => collator.compare(a.name, b.name));
  const value = ({ id }) => burdens.get(id)?.[order === "count" ? "count" : "area_fraction"] ?? -1;
  return [...photographs].sort((a, b) => value(b) - value(a));
}

/** Return the latest batch first; within a batch, the first added comes first, so that Next follows the order. */
function grouped(photographs, batches) {
  const groups = new Map(); // batch id or null -> photographs; the group that was added to last is at the end
  for (const photograph of photographs) {
    const members = groups.get(photograph.batch) ?? [];
    groups.delete(photograph.batch);
    groups.set(photograph.batch, members);
    members.push(photograph);
  }
  if (groups.size === 1 && groups.has(null)) return photographs.map((photograph) => ({ photograph }));
  return [...groups].reverse().flatMap(([batch, members]) => [
    { batch, name: batch ? batches.get(batch) || "Batch" : "Single photographs", ids: members.map(({ id }) => id) },
    ...members.map((photograph) => ({ photograph })),
  ]);
}
