// Thresholds and what lies above them.
//
// Knows:   that a threshold is a stored level, and how to read count and area off the tables of all levels.
// Ignores: how the tables were computed, and how they are shown.

export const TOP = 255; // the level of probability 1

/** The smallest level, at least 1, whose probability reaches a threshold; as foveate.writers.maps.level. */
export function level(threshold) {
  for (let stored = Math.max(1, Math.floor(threshold * TOP) - 1); stored <= TOP; stored++) {
    if (stored / TOP >= threshold) return stored;
  }
  return TOP;
}

export const probability = (stored) => stored / TOP;

/** "0.44": two places are finer than one level. */
export const shown = (stored) => probability(stored).toFixed(2);

/** Count and area, px, of a lesion's regions at a level; null where the tables are not there yet. */
export function burden(table, stored) {
  return table ? { count: table.regions[stored], area: table.area_px[stored] } : null;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** "1,204 px", or "0.0842 mm²" where one knows what a pixel spans. */
export function area(pixels, spacing) {
  if (spacing === null || spacing === undefined) return `${whole.format(pixels)} px`;
  const square = pixels * spacing ** 2;
  return `${square >= 10 ? square.toFixed(1) : square >= 0.1 ? square.toFixed(3) : square.toFixed(4)} mm²`;
}

/** "312 px", or "312 px · 1.248 mm". */
export function length(pixels, spacing) {
  const px = `${pixels >= 100 ? whole.format(pixels) : pixels.toFixed(1)} px`;
  return spacing ? `${px} · ${(pixels * spacing).toFixed(3)} mm` : px;
}

export const number = (value) => whole.format(value);
