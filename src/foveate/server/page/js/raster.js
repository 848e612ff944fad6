// A tile of stored maps -> the picture that lies over the photograph.
//
// Knows:   thresholds, outlines and fills, and how a result is compared with a reference mask.
// Ignores: where tiles come from, where they are placed on the screen, and what a lesion is.
//
// A stack holds the maps of K lesions one below the other, each (side + 2 margin) px square; the margin shows
// the neighbours' pixels, so that outlines join across tiles. A pixel is lesion if its stored level is at or
// above the threshold's level: the same comparison of the same bytes as on the command line.

import { outlineRing, RING_END } from "./outlines.js";

export const TRUE_POSITIVE = [0, 158, 115]; // Okabe and Ito (2008): distinguishable for colour-blind readers
export const FALSE_POSITIVE = [213, 94, 0];
export const FALSE_NEGATIVE = [86, 180, 233];

const CELL = 128; // px: side of the largest piece, our choice
const DARK = [0, 0, 0]; // halo of a light outline, which shows it on a bright lesion
const BRIGHT = [255, 255, 255]; // halo of another outline, which shows it on the retina
const LIGHT = 0.5; // luminance; the retina's is about 0.1
const DASH = 4; // px of a tile: a broken line and its gaps
const HALO_STRENGTH = 0.55; // our choice: visible, and does not hide what is below

/** Return the mask of one lesion at a level, margin included: Uint8Array of 0 and 1. */
export function thresholdMask(stack, index, { side, margin }, level) {
  const size = (side + 2 * margin) ** 2;
  const mask = new Uint8Array(size);
  for (let at = 0; at < size; at++) mask[at] = stack[index * size + at] >= level ? 1 : 0;
  return mask;
}

/**
 * Draw one tile, in pieces: [{pixels, box}] with the RGBA of each box (x, y, width, height) that holds
 * anything. Retina without lesions has no pieces and costs nothing to place.
 *
 * layers: one for each lesion, null if it is hidden: {level, colour, opacity, style, thickness, dashed, leftOut};
 * the style is "outline", "fill" or "heat"; leftOut: boxes in which nothing is outlined.
 * reference: a stack of masks with the values 0 and 255, or null; with it, true, false and missed pixels are
 * drawn.
 */
export function drawTile(stack, shape, layers, reference = null) {
  const { side } = shape;
  const pixels = new Uint8ClampedArray(side * side * 4);
  layers.forEach((layer, index) => {
    if (!layer) return;
    const mask = layer.style === "heat" && !reference ? null : thresholdMask(stack, index, shape, layer.level);
    if (reference) compare(pixels, mask, thresholdMask(reference, index, shape, 1), shape, layer);
    else if (layer.style === "heat") heat(pixels, stack, index, shape, layer);
    else if (layer.style === "fill") fill(pixels, mask, shape, layer.colour, layer.opacity);
    else outline(pixels, without(mask, shape, layer.leftOut ?? []), shape, layer);
  });
  return pieces(pixels, side);
}

/** Return a mask without the pixels in some boxes: {left, top, right, bottom}, px of the tile. */
function without(mask, { side, margin }, boxes) {
  const across = side + 2 * margin;
  const within = (value) => Math.min(Math.max(value + margin, 0), across);
  for (const { left, top, right, bottom } of boxes) {
    for (let row = within(top); row < within(bottom); row++)
      mask.fill(0, row * across + within(left), row * across + within(right));
  }
  return mask;
}

function compare(pixels, mask, reference, shape, { opacity }) {
  const both = mask.map((value, at) => value & reference[at]);
  const only = mask.map((value, at) => value & ~reference[at] & 1);
  const missed = mask.map((value, at) => ~value & reference[at] & 1);
  fill(pixels, both, shape, TRUE_POSITIVE, opacity);
  fill(pixels, only, shape, FALSE_POSITIVE, opacity);
  fill(pixels, missed, shape, FALSE_NEGATIVE, opacity);
}

function fill(pixels, mask, { side, margin }, colour, opacity) {
  const across = side + 2 * margin;
  for (let row = 0; row < side; row++) {
    let at = (row + margin) * across + margin;
    for (let column = 0; column < side; column++, at++) {
      if (mask[at]) blend(pixels, side, row, column, colour, opacity);
    }
  }
}

/** Draw the probability of each pixel: the stronger the colour, the higher it is. */
function heat(pixels, stack, index, { side, margin }, { colour, opacity }) {
  const across = side + 2 * margin;
  for (let row = 0; row < side; row++) {
    let at = index * across * across + (row + margin) * across + margin;
    for (let column = 0; column < side; column++, at++) {
      if (stack[at]) blend(pixels, side, row, column, colour, (opacity * stack[at]) / 255);
    }
  }
}

/**
 * Return whether a colour is brighter than the retina, so that its outline is seen without a bright halo: by
 * the relative luminance of WCAG 2.
 */
export function isLight([red, green, blue]) {
  const linear = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue) > LIGHT;
}

/** Draw a ring around each region, and a halo around that: nothing of the lesion is hidden. */
function outline(pixels, mask, shape, { colour, opacity, thickness, dashed }) {
  const { side, margin } = shape;
  const halo = isLight(colour) ? DARK : BRIGHT;
  const ring = outlineRing(mask, shape, thickness);
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const value = ring[(row + margin) * (side + 2 * margin) + column + margin];
      const isGap = dashed && (row + column) % (2 * DASH) >= DASH; // the side of a tile is a multiple of both
      if (value > RING_END && !isGap) blend(pixels, side, row, column, colour, opacity);
      else if (value) blend(pixels, side, row, column, halo, opacity * HALO_STRENGTH);
    }
  }
}

/** Blend a colour over a pixel ("over" of Porter and Duff, without premultiplied alpha). */
function blend(pixels, side, row, column, colour, alpha) {
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
  const cropped = [];
  for (let top = 0; top < side; top += CELL) {
    for (let left = 0; left < side; left += CELL) {
      const box = boundingBox(pixels, side, top, left);
      if (box) cropped.push({ box, pixels: crop(pixels, side, box) });
    }
  }
  return cropped;
}

/** Return the smallest box around what is drawn in a cell, or null. */
function boundingBox(pixels, side, top, left) {
  const bottom = Math.min(top + CELL, side),
    right = Math.min(left + CELL, side);
  let [firstRow, endRow, firstColumn, endColumn] = [bottom, top, right, left];
  for (let row = top; row < bottom; row++) {
    for (let column = left, at = (row * side + left) * 4 + 3; column < right; column++, at += 4) {
      if (!pixels[at]) continue;
      if (row < firstRow) firstRow = row;
      endRow = row + 1;
      if (column < firstColumn) firstColumn = column;
      if (column >= endColumn) endColumn = column + 1;
    }
  }
  if (endRow <= firstRow) return null;
  return { x: firstColumn, y: firstRow, width: endColumn - firstColumn, height: endRow - firstRow };
}

function crop(pixels, side, { x, y, width, height }) {
  const cropped = new Uint8ClampedArray(width * height * 4);
  for (let row = 0; row < height; row++) {
    const start = ((row + y) * side + x) * 4;
    cropped.set(pixels.subarray(start, start + width * 4), row * width * 4);
  }
  return cropped;
}

/** Return the highest level of each lesion in a stack: at a threshold above it there is nothing to draw. */
export function highestLevels(stack, count) {
  const size = stack.length / count;
  return Array.from({ length: count }, (_, index) => {
    let highest = 0;
    for (let at = index * size; at < (index + 1) * size; at++) if (stack[at] > highest) highest = stack[at];
    return highest;
  });
}
