// A tile of stored maps -> the picture that is laid over the photograph.
//
// Knows:   thresholds, outlines and fills, pixels that a grader added or took away, and how a truth compares.
// Ignores: where tiles come from, how they are laid on the screen, and what a lesion is.
//
// A stack holds the maps of K lesions one below the other, each (side + 2 margin) px square: the margin shows
// the neighbours' pixels, so that outlines close over the borders of tiles. A pixel is lesion where its stored
// level is at or above the threshold's: the same comparison of the same bytes as on the command line.

export const KEPT = 0; // what a grader did with a pixel: nothing,
export const ADDED = 1; // painted it,
export const ERASED = 2; // or took it away

export const TRUE = [0, 158, 115]; // Okabe and Ito (2008): told apart by colour-blind readers
export const FALSE = [213, 94, 0];
export const MISSED = [86, 180, 233];

const HALO = [0, 0, 0]; // under and around an outline, so that white is seen on white
const HALO_STRENGTH = 0.55; // our choice: seen on an exudate, hardly on the retina

/** Which pixels of one lesion are lit, margin included: Uint8Array of 0 and 1. */
export function lit(stack, index, shape, level, edits = null) {
  const { side, margin } = shape;
  const across = side + 2 * margin;
  const start = index * across * across;
  const found = new Uint8Array(across * across);
  if (level > 0) for (let at = 0; at < found.length; at++) found[at] = stack[start + at] >= level ? 1 : 0;
  if (edits) for (let at = 0; at < found.length; at++) if (edits[at]) found[at] = edits[at] === ADDED ? 1 : 0;
  return found;
}

/**
 * The picture of one tile: {pixels, box} with RGBA of the box (x, y, width, height) that holds anything, or null.
 *
 * layers: one a lesion, null where it is hidden: {level, colour, opacity, style: "outline" | "fill", thickness}.
 * edits: per lesion a Uint8Array with KEPT, ADDED, ERASED, margin included, or null.
 * truth: a stack as the first, 0 and 255, or null; with it, layers show true, false and missed.
 */
export function draw(stack, shape, layers, { edits = [], truth = null } = {}) {
  const { side } = shape;
  const pixels = new Uint8ClampedArray(side * side * 4);
  const box = { left: side, top: side, right: 0, bottom: 0 };
  layers.forEach((layer, index) => {
    if (!layer) return;
    const model = lit(stack, index, shape, layer.level, edits[index]);
    if (truth) return compare(pixels, box, model, lit(truth, index, shape, 1), shape, layer);
    if (layer.style === "fill") fill(pixels, box, model, shape, layer.colour, layer.opacity);
    else outline(pixels, box, model, shape, layer);
  });
  if (box.right <= box.left) return null;
  return cropped(pixels, side, box);
}

function compare(pixels, box, model, truth, shape, layer) {
  const both = model.map((one, at) => one & truth[at]);
  const only = model.map((one, at) => one & ~truth[at] & 1);
  const missed = model.map((one, at) => ~one & truth[at] & 1);
  for (const [mask, colour] of [[both, TRUE], [only, FALSE], [missed, MISSED]]) {
    fill(pixels, box, mask, shape, colour, layer.opacity);
  }
}

function fill(pixels, box, mask, { side, margin }, colour, opacity) {
  const across = side + 2 * margin;
  for (let row = 0; row < side; row++) {
    let at = (row + margin) * across + margin;
    for (let column = 0; column < side; column++, at++) {
      if (mask[at]) put(pixels, box, side, row, column, colour, opacity);
    }
  }
}

/** A ring of `thickness` px around each region, and a dark one around that: nothing of the lesion is hidden. */
function outline(pixels, box, mask, { side, margin }, { colour, opacity, thickness }) {
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
          const r = row + down, c = column + right;
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
      if (near > 1) put(pixels, box, side, row, column, colour, opacity);
      else if (near) put(pixels, box, side, row, column, HALO, opacity * HALO_STRENGTH);
    }
  }
}

function onRim(mask, at, row, column, across) {
  return (row > 0 && !mask[at - across]) || (row < across - 1 && !mask[at + across])
    || (column > 0 && !mask[at - 1]) || (column < across - 1 && !mask[at + 1]);
}

/** Lay a colour over what is there ("over" of Porter and Duff, without premultiplied alpha). */
function put(pixels, box, side, row, column, colour, alpha) {
  const at = (row * side + column) * 4;
  const below = pixels[at + 3] / 255;
  const above = alpha + below * (1 - alpha);
  if (above === 0) return;
  for (let channel = 0; channel < 3; channel++) {
    pixels[at + channel] = (colour[channel] * alpha + pixels[at + channel] * below * (1 - alpha)) / above;
  }
  pixels[at + 3] = above * 255;
  if (row < box.top) box.top = row;
  if (row >= box.bottom) box.bottom = row + 1;
  if (column < box.left) box.left = column;
  if (column >= box.right) box.right = column + 1;
}

function cropped(pixels, side, { left, top, right, bottom }) {
  const width = right - left, height = bottom - top;
  const kept = new Uint8ClampedArray(width * height * 4);
  for (let row = 0; row < height; row++) {
    const from = ((row + top) * side + left) * 4;
    kept.set(pixels.subarray(from, from + width * 4), row * width * 4);
  }
  return { pixels: kept, box: { x: left, y: top, width, height } };
}

/**
 * The borders between lit and unlit pixels as runs along pixel edges, for outlines far above native size:
 * Int16Array of x1, y1, x2, y2, px of the tile.
 */
export function edges(mask, { side, margin }) {
  const across = side + 2 * margin;
  const found = [];
  const value = (row, column) => mask[(row + margin) * across + column + margin] || 0;
  const inside = (row, column) => row >= -margin && column >= -margin && row < side + margin && column < side + margin;
  const differs = (r1, c1, r2, c2) => value(r2, c2) !== (inside(r1, c1) ? value(r1, c1) : value(r2, c2));
  for (let row = 0; row < side; row++) { // horizontal: above each row
    let start = -1;
    for (let column = 0; column <= side; column++) {
      const border = column < side && differs(row - 1, column, row, column);
      if (border && start < 0) start = column;
      if (!border && start >= 0) { found.push(start, row, column, row); start = -1; }
    }
  }
  for (let column = 0; column < side; column++) { // vertical: left of each column
    let start = -1;
    for (let row = 0; row <= side; row++) {
      const border = row < side && differs(row, column - 1, row, column);
      if (border && start < 0) start = row;
      if (!border && start >= 0) { found.push(column, start, column, row); start = -1; }
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
