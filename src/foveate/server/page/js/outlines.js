// Outlines of the regions in a mask: as rings of pixels, and as lines along pixel edges for high zoom.
//
// Knows:   masks of one tile with a margin of its neighbours' pixels, so that outlines join across tiles.
// Ignores: thresholds, and where an outline is painted.
//
// A mask is a Uint8Array of 0 and 1, (side + 2 margin) px square; `shape` is {side, margin}.

export const RING_END = 1; // value of the outermost, dark ring in `outlineRing`

/**
 * Return the pixels around each region: 0 outside the outline, `RING_END` on the dark ring that surrounds it,
 * and more on the `thickness` px of the outline itself. No pixel of the mask is covered.
 */
export function outlineRing(mask, { side, margin }, thickness) {
  const across = side + 2 * margin;
  const reach = thickness + 1; // the dark ring may lack a pixel where a region ends beyond the margin
  const ring = new Uint8Array(mask.length);
  for (let row = 0; row < across; row++) {
    for (let column = 0; column < across; column++) {
      const at = row * across + column;
      if (mask[at] && isRim(mask, at, row, column, across)) growRing(ring, mask, row, column, across, reach);
    }
  }
  return ring;
}

function isRim(mask, at, row, column, across) {
  return (
    (row > 0 && !mask[at - across]) ||
    (row < across - 1 && !mask[at + across]) ||
    (column > 0 && !mask[at - 1]) ||
    (column < across - 1 && !mask[at + 1])
  );
}

function growRing(ring, mask, row, column, across, reach) {
  for (let down = -reach; down <= reach; down++) {
    for (let right = -reach; right <= reach; right++) {
      const distance = Math.max(Math.abs(down), Math.abs(right));
      const r = row + down,
        c = column + right;
      if (distance === 0 || r < 0 || c < 0 || r >= across || c >= across || mask[r * across + c]) continue;
      const value = reach - distance + RING_END;
      if (value > ring[r * across + c]) ring[r * across + c] = value;
    }
  }
}

/**
 * Return the borders of the mask as lines along pixel edges: Int16Array of x1, y1, x2, y2 in px of the tile.
 *
 * Pixels outside the margin are not known, so that no border is drawn at its outer edge.
 */
export function edgeLines(mask, { side, margin }) {
  const across = side + 2 * margin;
  const value = (row, column) => mask[(row + margin) * across + column + margin] || 0;
  const isKnown = (row, column) =>
    row >= -margin && column >= -margin && row < side + margin && column < side + margin;
  const differs = (row, column, fromRow, fromColumn) =>
    isKnown(fromRow, fromColumn) && value(row, column) !== value(fromRow, fromColumn);
  const lines = [];
  for (let row = 0; row < side; row++) {
    const isBorder = (column) => differs(row, column, row - 1, column);
    for (const [start, end] of runs(side, isBorder)) lines.push(start, row, end, row);
  }
  for (let column = 0; column < side; column++) {
    const isBorder = (row) => differs(row, column, row, column - 1);
    for (const [start, end] of runs(side, isBorder)) lines.push(column, start, column, end);
  }
  return Int16Array.from(lines);
}

/** Yield [start, end) of each run of positions for which `holds` is true. */
function* runs(length, holds) {
  let start = -1;
  for (let at = 0; at <= length; at++) {
    const inRun = at < length && holds(at);
    if (inRun && start < 0) start = at;
    if (!inRun && start >= 0) {
      yield [start, at];
      start = -1;
    }
  }
}

/** Return a path of the lines of `edgeLines`, in px of the tile. */
export function edgePath(lines) {
  const path = new Path2D();
  for (let at = 0; at < lines.length; at += 4) {
    path.moveTo(lines[at], lines[at + 1]);
    path.lineTo(lines[at + 2], lines[at + 3]);
  }
  return path;
}
