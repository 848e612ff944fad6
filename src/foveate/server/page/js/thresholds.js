// Thresholds as stored levels, 1 to 255, and the number and area of regions at each level.
//
// Knows:   how a level is displayed as a probability, and how the server's tables of all levels are read.
// Ignores: how the tables are computed.

export const MAX_LEVEL = 255; // the level of probability 1

/** Format a level's probability as "0.44"; levels are 0.004 apart, so that neighbours may read the same. */
export const formatProbability = (level) => (level / MAX_LEVEL).toFixed(2);

/**
 * Return {count, area} of a lesion's regions at a level, area in px; null while the tables are not loaded.
 */
export function countAndArea(table, level) {
  return table ? { count: table.regions[level], area: table.area_px[level] } : null;
}
