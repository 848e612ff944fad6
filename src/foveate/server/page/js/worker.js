// The tile worker: fetches and decodes tiles, filters the photograph's colours, and draws layers, off the
// page's thread.
//
// Knows:   the requests of tiles.js and layers.js, and its own caches.
// Ignores: what is on the screen.
//
// A message {number, type, ...} is answered once by {number, ...}; {number, type: "cancel"} cancels a
// request.

import { clustersAt, drawOutline } from "./clusters.js";
import { enhanceContrast, localMean, redFree } from "./filters.js";
import { edgeLines } from "./outlines.js";
import { drawTile, highestLevels, thresholdMask } from "./raster.js";

const PHOTOGRAPH_BYTES = 96e6; // compressed tiles of photographs in the cache: about a hundred screens
const STACK_BYTES = 192e6; // decoded maps in the cache, one byte for each pixel and lesion: for a laptop

/** A cache that drops the least recently used values first. */
class Cache {
  constructor(limit) {
    Object.assign(this, { limit, bytes: 0, entries: new Map() });
  }

  get(key) {
    const entry = this.entries.get(key);
    if (entry === undefined) return undefined;
    this.entries.delete(key);
    this.entries.set(key, entry);
    return entry.value;
  }

  set(key, value, bytes) {
    this.delete(key);
    this.entries.set(key, { value, bytes });
    this.bytes += bytes;
    for (const [oldest] of this.entries) {
      if (this.bytes <= this.limit) break;
      this.delete(oldest);
    }
  }

  delete(key) {
    const entry = this.entries.get(key);
    if (entry) this.bytes -= entry.bytes;
    this.entries.delete(key);
  }
}

const photographTiles = new Cache(PHOTOGRAPH_BYTES);
const stacks = new Cache(STACK_BYTES);
const localMeans = new Map(); // address of a photograph's coarsest tile -> the local mean of its colours
const controllers = new Map(); // request number -> AbortController

async function fetchTile(address, signal) {
  const response = await fetch(address, { signal });
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return response.status === 204 ? null : response.blob();
}

async function decodePixels(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

async function photographBlob(address, signal) {
  const cached = photographTiles.get(address);
  if (cached) return cached;
  const blob = await fetchTile(address, signal);
  photographTiles.set(address, blob, blob.size);
  return blob;
}

/** Answer with one tile of the photograph in "colour", "redfree" or "enhanced". */
async function photographTile({ address, view, coarsest, position }, signal) {
  const blob = await photographBlob(address, signal);
  if (view === "colour") return { bitmap: await createImageBitmap(blob, { colorSpaceConversion: "none" }) };
  const pixels = await decodePixels(blob);
  if (view === "redfree") redFree(pixels);
  if (view === "enhanced") enhanceContrast(pixels, position, await meanOf(coarsest, signal));
  return { bitmap: await createImageBitmap(pixels) };
}

async function meanOf(coarsest, signal) {
  const cached = localMeans.get(coarsest);
  if (cached) return cached;
  const mean = localMean(await decodePixels(await photographBlob(coarsest, signal)));
  localMeans.clear(); // one photograph at a time
  localMeans.set(coarsest, mean);
  return mean;
}

/** Return {levels, highest} of a stack, or null if it is empty. */
async function fetchStack(address, count, signal) {
  const cached = stacks.get(address);
  if (cached !== undefined) return cached;
  const blob = await fetchTile(address, signal);
  if (blob === null) {
    stacks.set(address, null, 64);
    return null;
  }
  const { data } = await decodePixels(blob);
  const levels = new Uint8Array(data.length / 4);
  for (let at = 0; at < levels.length; at++) levels[at] = data[4 * at];
  const stack = { levels, highest: highestLevels(levels, count) };
  stacks.set(address, stack, levels.length);
  return stack;
}

/**
 * Answer with one tile of the layers: pieces [{bitmap, box}], and at high zoom the edge lines [{index,
 * lines}] of outlined lesions; an empty answer if no layer has a pixel.
 */
async function layerTile({ address, reference, shape, layers, highZoom }, signal) {
  const [stack, referenceStack] = await Promise.all([
    fetchStack(address, layers.length, signal),
    reference ? fetchStack(reference, layers.length, signal) : null,
  ]);
  if (!stack && !referenceStack) return {};
  const empty = () => new Uint8Array((shape.side + 2 * shape.margin) ** 2 * layers.length);
  const levels = stack ? stack.levels : empty();
  const lowest = ({ style, level }) => (style === "heat" ? 1 : level);
  const hasPixels = (layer, index) => reference || (stack && stack.highest[index] >= lowest(layer));
  const visible = layers.map((layer, index) => (layer && hasPixels(layer, index) ? layer : null));
  const asLines = visible.map((layer) => !reference && highZoom && layer?.style === "outline");
  const asRaster = visible.map((layer, index) => (asLines[index] ? null : layer));
  const referenceLevels = reference ? (referenceStack ? referenceStack.levels : empty()) : null;
  return {
    edges: visible.flatMap((layer, index) =>
      asLines[index]
        ? [{ index, lines: edgeLines(thresholdMask(levels, index, shape, layer.level), shape) }]
        : [],
    ),
    pieces: asRaster.some(Boolean) ? await bitmaps(drawTile(levels, shape, asRaster, referenceLevels)) : [],
  };
}

const bitmaps = (pieces) =>
  Promise.all(
    pieces.map(async ({ pixels, box }) => ({
      box,
      bitmap: await createImageBitmap(new ImageData(pixels, box.width, box.height)),
    })),
  );

/**
 * Return the clusters of each layer's regions at a scale: [[{boxes, box, count}, …], …], and their outlines in
 * the same order as pieces. layers: [{boxes, colour}].
 */
function clusters({ layers, scale, ratio }) {
  const found = layers.map(({ boxes }) => clustersAt(boxes, scale));
  return {
    clusters: found,
    pieces: found.flatMap((some, index) =>
      some.map((cluster) => drawOutline(cluster, layers[index].colour, scale, ratio)),
    ),
  };
}

const HANDLERS = { "photograph-tile": photographTile, "layer-tile": layerTile, clusters };

self.addEventListener("message", async ({ data }) => {
  if (data.type === "cancel") {
    controllers.get(data.number)?.abort();
    return;
  }
  const controller = new AbortController();
  controllers.set(data.number, controller);
  try {
    const answer = await HANDLERS[data.type](data, controller.signal);
    const transferred = [answer, ...(answer.pieces || [])].map(({ bitmap }) => bitmap).filter(Boolean);
    self.postMessage({ number: data.number, ...answer }, transferred);
  } catch (error) {
    self.postMessage({ number: data.number, error: String(error.message || error) });
  } finally {
    controllers.delete(data.number);
  }
});
