// Off the page's thread: fetches and decodes tiles, changes a photograph's colours, draws layers.
//
// Knows:   the messages of tiles.js and layers.js, and what it keeps in memory.
// Ignores: what is on the screen.
//
// A message {ticket, ask, ...} is answered by {ticket, ...} once; {ticket, ask: "stop"} gives up on one.

import { draw, edges, highest, lit } from "./raster.js";
import { enhance, redFree, surroundings } from "./colours.js";

const PHOTOGRAPH_BYTES = 96e6; // compressed tiles of photographs that are kept: some hundred screens full
const STACK_BYTES = 192e6; // maps that are kept, one byte a pixel and lesion: our choice, for a laptop

/** A store that forgets what was not asked for longest. */
class Kept {
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

const photographs = new Kept(PHOTOGRAPH_BYTES);
const stacks = new Kept(STACK_BYTES);
const around = new Map(); // address of a photograph's coarsest tile -> its surroundings
const underWay = new Map(); // ticket -> AbortController

async function fetched(address, signal) {
  const answer = await fetch(address, { signal });
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  return answer.status === 204 ? null : answer.blob();
}

async function pixelsOf(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

async function photographBlob(address, signal) {
  const kept = photographs.get(address);
  if (kept) return kept;
  const blob = await fetched(address, signal);
  photographs.set(address, blob, blob.size);
  return blob;
}

/** One tile of the photograph in the colours that are asked for. */
async function photograph({ address, view, coarsest, place }, signal) {
  const blob = await photographBlob(address, signal);
  if (view === "colour") return { bitmap: await createImageBitmap(blob, { colorSpaceConversion: "none" }) };
  const picture = await pixelsOf(blob);
  if (view === "redfree") redFree(picture);
  if (view === "enhanced") {
    if (!around.has(coarsest)) {
      around.clear(); // one photograph at a time
      around.set(coarsest, surroundings(await pixelsOf(await photographBlob(coarsest, signal))));
    }
    enhance(picture, place, around.get(coarsest));
  }
  return { bitmap: await createImageBitmap(picture) };
}

/** {levels, highest} of a stack, or null where nothing is in it. */
async function stackOf(address, count, signal) {
  const kept = stacks.get(address);
  if (kept !== undefined) return kept;
  const blob = await fetched(address, signal);
  if (blob === null) {
    stacks.set(address, null, 64);
    return null;
  }
  const { data } = await pixelsOf(blob);
  const levels = new Uint8Array(data.length / 4);
  for (let at = 0; at < levels.length; at++) levels[at] = data[4 * at];
  const stack = { levels, highest: highest(levels, count) };
  stacks.set(address, stack, levels.length);
  return stack;
}

/** The picture of one tile's layers: pieces of {bitmap, box}, at deep zoom also the edges of outlined lesions. */
async function layers({ address, reference, shape, layers: wanted, deep }, signal) {
  const [stack, truth] = await Promise.all([
    stackOf(address, wanted.length, signal),
    reference ? stackOf(reference, wanted.length, signal) : null,
  ]);
  if (!stack && !truth) return {};
  const across = shape.side + 2 * shape.margin;
  const empty = () => new Uint8Array(across * across * wanted.length);
  const levels = stack ? stack.levels : empty();
  const needed = wanted.map((layer, index) =>
    layer && (reference || (stack && stack.highest[index] >= layer.level)) ? layer : null,
  );
  const lined = needed.map((layer) => !reference && deep && layer?.style === "outline");
  const answer = {
    edges: needed.flatMap((layer, index) =>
      lined[index] ? [{ index, runs: edges(lit(levels, index, shape, layer.level), shape) }] : [],
    ),
  };
  const filled = needed.map((layer, index) => (lined[index] ? null : layer));
  const drawn = filled.some(Boolean)
    ? draw(levels, shape, filled, reference ? (truth ? truth.levels : empty()) : null)
    : [];
  answer.pieces = await Promise.all(
    drawn.map(async ({ pixels, box }) => ({
      box,
      bitmap: await createImageBitmap(new ImageData(pixels, box.width, box.height)),
    })),
  );
  return answer;
}

const asked = { photograph, layers };

self.addEventListener("message", async ({ data }) => {
  if (data.ask === "stop") {
    underWay.get(data.ticket)?.abort();
    return;
  }
  const control = new AbortController();
  underWay.set(data.ticket, control);
  try {
    const answer = await asked[data.ask](data, control.signal);
    const moved = [answer, ...(answer.pieces || [])].map(({ bitmap }) => bitmap).filter(Boolean);
    self.postMessage({ ticket: data.ticket, ...answer }, moved);
  } catch (error) {
    self.postMessage({ ticket: data.ticket, error: String(error.message || error) });
  } finally {
    underWay.delete(data.ticket);
  }
});
