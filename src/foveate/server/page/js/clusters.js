// Clusters: regions of one lesion that lie so close on the screen that their outlines cannot be told apart.
//
// Knows:   which regions make a cluster at a scale, and how its outline and its count are drawn.
// Ignores: where regions come from, and how the tiles below are drawn.
//
// A cluster is what remains connected when regions nearer than a gap are joined. Every region whose box touches
// the box of one in a cluster belongs to it, too: so the boxes of a cluster hold no other region of its lesion.

import { isLight } from "./raster.js";

// All our choice, looked at on photographs of IDRiD; px of the screen.
const GAP = 5; // between boxes: outlines with their halos touch
const FEWEST = 5; // regions of a cluster: fewer are seen at a glance
const LARGEST = 16; // of the median region: larger ones are recognised by their outlines
const PADDING = GAP / 2 + 1.5; // around each region, so that those of a cluster merge
const LINE = 1.5;
const HALO = 1.5;
const FONT = "600 11px system-ui, sans-serif";

/**
 * Return the clusters of boxes: [[index, …], …], each of at least `fewest`.
 *
 * boxes: [{x, y, width, height}], px; two are joined where at most `gap` px lie between them.
 */
export function joinedBoxes(boxes, gap, fewest) {
  const parents = boxes.map((_, index) => index);
  const rootOf = (index) => {
    while (parents[index] !== index) index = parents[index] = parents[parents[index]];
    return index;
  };
  for (const indices of neighbourhoods(boxes, gap)) {
    for (let i = 1; i < indices.length; i++) {
      for (let j = 0; j < i; j++) {
        const [a, b] = [rootOf(indices[i]), rootOf(indices[j])];
        if (a !== b && distance(boxes[indices[i]], boxes[indices[j]]) <= gap) parents[a] = b;
      }
    }
  }
  const groups = new Map();
  boxes.forEach((_, index) => {
    const root = rootOf(index);
    if (groups.has(root)) groups.get(root).push(index);
    else groups.set(root, [index]);
  });
  return [...groups.values()].filter(({ length }) => length >= fewest);
}

function distance(a, b) {
  const right = Math.max(a.x - b.x - b.width, b.x - a.x - a.width, 0);
  const down = Math.max(a.y - b.y - b.height, b.y - a.y - a.height, 0);
  return Math.hypot(right, down);
}

/** Return lists of the indices of boxes that may be near each other: those in one cell of a lattice. */
function neighbourhoods(boxes, gap) {
  const cell = Math.max(16, 4 * gap);
  const cells = new Map();
  boxes.forEach(({ x, y, width, height }, index) => {
    for (let row = Math.floor((y - gap) / cell); row <= (y + height + gap) / cell; row++) {
      for (let column = Math.floor((x - gap) / cell); column <= (x + width + gap) / cell; column++) {
        const key = row * 65536 + column;
        if (cells.has(key)) cells.get(key).push(index);
        else cells.set(key, [index]);
      }
    }
  });
  return cells.values();
}

const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

/**
 * Return the clusters of one lesion at a scale, CSS px for each px of the photograph: [{boxes, box, count}],
 * px of the photograph; none where the regions can be told apart.
 */
export function clustersAt(boxes, scale) {
  if (boxes.length < FEWEST) return [];
  return joinedBoxes(boxes, GAP / scale, FEWEST)
    .map((indices) => indices.map((index) => boxes[index]))
    .filter((members) => median(members.map(({ width, height }) => Math.max(width, height))) * scale <= LARGEST)
    .map((members) => ({ boxes: members, box: around(members), count: members.length }));
}

function around(boxes) {
  const x = boxes.reduce((least, box) => Math.min(least, box.x), Infinity);
  const y = boxes.reduce((least, box) => Math.min(least, box.y), Infinity);
  const right = boxes.reduce((most, box) => Math.max(most, box.x + box.width), 0);
  const bottom = boxes.reduce((most, box) => Math.max(most, box.y + box.height), 0);
  return { x, y, width: right - x, height: bottom - y };
}

/**
 * Draw the common outline of a cluster: {bitmap, x, y, unit}, its place in px of the photograph and the
 * bitmap's px for each of these. It is drawn once for a scale, and then placed with each frame.
 *
 * scale: CSS px for each px of the photograph. ratio: px of the screen for each CSS px.
 */
export function drawOutline({ boxes, box }, colour, scale, ratio) {
  const unit = scale * ratio;
  const reach = (PADDING + LINE + HALO + 1) / scale;
  const canvas = new OffscreenCanvas(
    Math.ceil((box.width + 2 * reach) * unit),
    Math.ceil((box.height + 2 * reach) * unit),
  );
  const context = canvas.getContext("2d");
  const fill = (padding, style, operation) => {
    context.globalCompositeOperation = operation;
    context.fillStyle = style;
    context.fill(mergedPath(boxes, box, reach, padding, scale, unit));
  };
  fill(PADDING + LINE + HALO, isLight(colour) ? "#0009" : "#fff9", "source-over");
  fill(PADDING + LINE, "#000", "destination-out");
  fill(PADDING + LINE, `rgb(${colour})`, "source-over");
  fill(PADDING, "#000", "destination-out");
  return { bitmap: canvas.transferToImageBitmap(), x: box.x - reach, y: box.y - reach, unit };
}

/** Return the outlines of boxes with a padding, CSS px, as one path whose parts merge where they overlap. */
function mergedPath(boxes, { x: left, y: top }, reach, padding, scale, unit) {
  const path = new Path2D();
  const pad = padding / scale;
  for (const { x, y, width, height } of boxes) {
    path.roundRect(
      (x - pad - left + reach) * unit,
      (y - pad - top + reach) * unit,
      (width + 2 * pad) * unit,
      (height + 2 * pad) * unit,
      pad * unit,
    );
  }
  return path;
}

/**
 * Draw the counts of clusters: each on the upper rim of its cluster, moved down where another one lies.
 *
 * counts: [{x, y, count, colour}], CSS px. Returns what each covers: [{left, top, right, bottom, …count}].
 */
export function drawCounts(context, counts, ratio) {
  const covered = [];
  context.save();
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.font = FONT;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineWidth = 1.5;
  for (const entry of counts) {
    const place = freePlace(entry, context.measureText(entry.count).width / 2 + 6, covered);
    covered.push(place);
    context.fillStyle = "#0b1014e6"; // on the photograph, whatever the page's colours
    context.strokeStyle = `rgb(${entry.colour})`;
    context.beginPath();
    context.roundRect(place.left, place.top, place.right - place.left, place.bottom - place.top, 8);
    context.fill();
    context.stroke();
    context.fillStyle = "#fff";
    context.fillText(entry.count, (place.left + place.right) / 2, (place.top + place.bottom) / 2 + 0.5);
  }
  context.restore();
  return covered;
}

function freePlace(entry, half, covered) {
  const place = { ...entry, left: entry.x - half, right: entry.x + half, top: entry.y - 8, bottom: entry.y + 8 };
  const meets = (other) =>
    other.left < place.right && other.right > place.left && other.top < place.bottom && other.bottom > place.top;
  for (let other = covered.find(meets), tries = 0; other && tries < 20; other = covered.find(meets), tries++) {
    place.top = other.bottom + 1;
    place.bottom = place.top + 16;
  }
  return place;
}
