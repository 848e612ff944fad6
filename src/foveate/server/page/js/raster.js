// A tile of stored maps -> the picture that is laid over the photograph.
//
// Knows:   thresholds, outlines and fills, and how a truth compares.
// Ignores: where tiles come from, how they are laid on the screen, and what a lesion is.
//
// A stack holds the maps of K lesions one below the other, each (side + 2 margin) px square: the margin shows
// the neighbours' pixels, so that outlines close over the borders of tiles. A pixel is lesion where its stored
// level is at or above the threshold's: the same comparison of the same bytes as on the command line.

export const TRUE = [0, 158, 115]; // Okabe and Ito (2008): told apart by colour-blind readers
export const FALSE = [213, 94, 0];
export const MISSED = [86, 180, 233];

const CELL = 128; // px: side of the largest piece, our choice
const HALO = [0, 0, 0]; // under and around an outline, so that white is seen on white
const HALO_STRENGTH = 0.55; // our choice: seen on an exudate, hardly on the retina

/** Which pixels of one lesion are lit, margin included: Uint8Array of 0 and 1. */
export function lit(stack, index, shape, level) {
  const { side, margin } = shape;
  const across = side + 2 * margin;
  const start = index * across * across;
  const found = new Uint8Array(across * across);
  for (let at = 0; at < found.length; at++) found[at] = stack[start + at] >= level ? 1 : 0;
  return found;
}

/**
 * The picture of one tile, in pieces: [{pixels, box}] with RGBA of each box (x, y, width, height) that holds
 * anything. A screen full of retina without lesions has none, which makes it quick to lay.
 *
 * layers: one a lesion, null where it is hidden: {level, colour, opacity, style, thickness}; the style is "outline"
 * or "fill".
 * truth: a stack as the first, 0 and 255, or null; with it, layers show true, false and missed.
 */
export function draw(stack, shape, layers, truth = null) {
  const { side } = shape;
  const pixels = new Uint8ClampedArray(side * side * 4);
  layers.forEach((layer, index) => {
    if (!layer) return;
    const model = lit(stack, index, shape, layer.level);
    if (truth) compare(pixels, model, lit(truth, index, shape, 1), shape, layer);
    else if (layer.style === "fill") fill(pixels, model, shape, layer.colour, layer.opacity);
    else outline(pixels, model, shape, layer);
  });
  return pieces(pixels, side);
}

function compare(pixels, model, truth, shape, layer) {
  const both = model.map((one, at) => one & truth[at]);
  const only = model.map((one, at) => one & ~truth[at] & 1);
  const missed = model.map((one, at) => ~one & truth[at] & 1);
  for (const [mask, colour] of [
    [both, TRUE],
    [only, FALSE],
    [missed, MISSED],
  ]) {
    fill(pixels, mask, shape, colour, layer.opacity);
  }
}

function fill(pixels, mask, { side, margin }, colour, opacity) {
  const across = side + 2 * margin;
  for (let row = 0; row < side; row++) {
    let at = (row + margin) * across + margin;
    for (let column = 0; column < side; column++, at++) {
      if (mask[at]) put(pixels, side, row, column, colour, opacity);
    }
  }
}

/** A ring of `thickness` px around each region, and a dark one around that: nothing of the lesion is hidden. */
function outline(pixels, mask, { side, margin }, { colour, opacity, thickness }) {
  const across = side + 2 * margin;
  const reach = thickness + 1; // the dark ring may lack a pixel where a region ends beyond the margin
  const ring = new Uint8Array(mask.length); // 0, or how near the nearest lit pixel is, counted down from reach
  for (let row = 0; row < across; row++) {
    for (let column = 0; column < across; column++) {
      const at = row * across + column;
      if (!mask[at] || !onRim(mask, at, row, column, across)) continue;
      for (let down = -reach; down <= reach; down++) {
        for (let right = -reach; right <= reach; right++) {
          const far = Math.max(Math.abs(down), Math.abs(right));
          const r = row + down,
            c = column + right;
          if (far === 0 || r < 0 || c < 0 || r >= across || c >= across || mask[r * across + c]) continue;
          const near = reach - far + 1;
          if (near > ring[r * across + c]) ring[r * across + c] = near;
        }
      }
    }
  }
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const near = ring[(row + margin) * across + column + margin];
      if (near > 1) put(pixels, side, row, column, colour, opacity);
      else if (near) put(pixels, side, row, column, HALO, opacity * HALO_STRENGTH);
    }
  }
}

function onRim(mask, at, row, column, across) {
  return (
    (row > 0 && !mask[at - across]) ||
    (row < across - 1 && !mask[at + across]) ||
    (column > 0 && !mask[at - 1]) ||
    (column < across - 1 && !mask[at + 1])
  );
}

/** Lay a colour over what is there ("over" of Porter and Duff, without premultiplied alpha). */
function put(pixels, side, row, column, colour, alpha) {
  const at = (row * side + column) * 4;
  const below = pixels[at + 3] / 255;
  const above = alpha + below * (1 - alpha);
  if (above === 0) return;
  for (let channel = 0; channel < 3; channel++) {
    pixels[at + channel] = (colour[channel] * alpha + pixels[at + channel] * below * (1 - alpha)) / above;
  }
  pixels[at + 3] = above * 255;
}

function pieces(pixels, side) {
  const found = [];
  for (let top = 0; top < side; top += CELL) {
    for (let left = 0; left < side; left += CELL) {
      const box = drawn(pixels, side, top, left);
      if (box) found.push({ box, pixels: cut(pixels, side, box) });
    }
  }
  return found;
}

/** The smallest box in a cell outside of which nothing is drawn, or null. */
function drawn(pixels, side, top, left) {
  const bottom = Math.min(top + CELL, side),
    right = Math.min(left + CELL, side);
  let [first, last, from, to] = [bottom, top, right, left];
  for (let row = top; row < bottom; row++) {
    for (let column = left, at = (row * side + left) * 4 + 3; column < right; column++, at += 4) {
      if (!pixels[at]) continue;
      if (row < first) first = row;
      last = row + 1;
      if (column < from) from = column;
      if (column >= to) to = column + 1;
    }
  }
  return last > first ? { x: from, y: first, width: to - from, height: last - first } : null;
}

function cut(pixels, side, { x, y, width, height }) {
  const kept = new Uint8ClampedArray(width * height * 4);
  for (let row = 0; row < height; row++) {
    const from = ((row + y) * side + x) * 4;
    kept.set(pixels.subarray(from, from + width * 4), row * width * 4);
  }
  return kept;
}

/**
 * The borders between lit and unlit pixels as runs along pixel edges, for outlines far above native size:
 * Int16Array of x1, y1, x2, y2, px of the tile.
 */
export function edges(mask, { side, margin }) {
  const across = side + 2 * margin;
  const found = [];
  const value = (row, column) => mask[(row + margin) * across + column + margin] || 0;
  const inside = (row, column) =>
    row >= -margin && column >= -margin && row < side + margin && column < side + margin;
  const differs = (r1, c1, r2, c2) => value(r2, c2) !== (inside(r1, c1) ? value(r1, c1) : value(r2, c2));
  for (let row = 0; row < side; row++) {
    // horizontal: above each row
    let start = -1;
    for (let column = 0; column <= side; column++) {
      const border = column < side && differs(row - 1, column, row, column);
      if (border && start < 0) start = column;
      if (!border && start >= 0) {
        found.push(start, row, column, row);
        start = -1;
      }
    }
  }
  for (let column = 0; column < side; column++) {
    // vertical: left of each column
    let start = -1;
    for (let row = 0; row <= side; row++) {
      const border = row < side && differs(row, column - 1, row, column);
      if (border && start < 0) start = row;
      if (!border && start >= 0) {
        found.push(column, start, column, row);
        start = -1;
      }
    }
  }
  return Int16Array.from(found);
}

/** The highest level of each lesion in a stack: where a threshold is above it, nothing needs to be drawn. */
export function highest(stack, count) {
  const size = stack.length / count;
  return Array.from({ length: count }, (_, index) => {
    let top = 0;
    for (let at = index * size; at < (index + 1) * size; at++) if (stack[at] > top) top = stack[at];
    return top;
  });
}
