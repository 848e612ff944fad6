// The lesions' layers over the photograph: one canvas, rasters of tiles, redrawn as settings change.
//
// Knows:   which tiles are on the screen, which pictures of them are at hand, and how the two meet.
// Ignores: how a tile is drawn (raster.js), what a person may choose, and what the photograph shows.
//
// Panning and zooming only lay pictures that are at hand. Where one is missing or of earlier settings, the
// coarser or the earlier one is laid meanwhile; errands run from the middle of the screen outwards.

import { address } from "./api.js";
import { covering } from "./tiles.js";

const UNDER_WAY = 6; // errands at a time: the settings may change before more are done
const KEPT = 600; // pictures of tiles; most are small, being cut to what is drawn
const MARGIN = 2; // px of its neighbours around each tile of a stack, as the server has it
const PAUSE = 3000; // ms until a tile that failed is asked for again
const DEEP = 1.8; // screen px a pixel from which outlines are lines along pixel edges
const LINE = 2.2; // CSS px, of such a line; its dark rim is wider
const RIM = 2;

/**
 * canvas: laid over the photograph, of the same size.
 * view(): {x, y, scale, width, height}: the photograph's place, and the size of its pixels, on the screen in CSS
 * px; or null.
 */
export function layersOn(canvas, view, errands) {
  const context = canvas.getContext("2d");
  const pictures = new Map(); // key -> what is at hand of it, and of which settings and revision
  const jobs = [];
  let shown = null; // what was set, and `stamp`: its settings as one text
  let running = 0;
  let frame = 0;

  const key = (level, column, row) => `${level}/${column}_${row}`;

  /** Show what is set: {photograph, revision, drawn, reference, hidden}; drawn: the layers of raster.js. */
  function set(wanted) {
    if (shown?.id !== wanted.photograph.id) pictures.clear();
    shown = {
      ...wanted,
      id: wanted.photograph.id,
      tiles: wanted.photograph.tiles,
      stamp: JSON.stringify([wanted.drawn, wanted.reference]),
    };
    redraw();
  }

  /** Nothing more is shown. */
  function clear() {
    shown = null;
    jobs.length = 0;
    pictures.clear();
    redraw();
  }

  /** Pixels in a box were changed (all, where none is given): the tiles that show it are fetched anew. */
  function stale(box, revision) {
    if (!shown) return;
    shown.revision = revision;
    for (const [name, picture] of pictures) {
      const [level, column, row] = name.split(/[/_]/).map(Number);
      if (!box || touches(level, column, row, box)) picture.dirty = true;
    }
    redraw();
  }

  function touches(level, column, row, box) {
    const margin = 4 * 2 ** (shown.tiles.levels.length - 1 - level);
    const { columns, rows } = covering(shown.tiles, level, {
      x: box.x - margin,
      y: box.y - margin,
      width: box.width + 2 * margin,
      height: box.height + 2 * margin,
    });
    return column >= columns[0] && column <= columns[1] && row >= rows[0] && row <= rows[1];
  }

  function redraw() {
    if (!frame)
      frame = requestAnimationFrame(() => {
        frame = 0;
        draw();
      });
  }

  /** Lay everything now: called with each frame of the photograph. */
  function draw() {
    const here = view();
    const ratio = window.devicePixelRatio;
    const width = Math.round(canvas.clientWidth * ratio),
      height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    else context.clearRect(0, 0, width, height);
    if (!shown || !here || shown.hidden || !shown.drawn.some(Boolean)) return;
    const level = levelFor(here.scale * ratio);
    const deep = here.scale >= DEEP && level === shown.tiles.levels.length - 1;
    context.imageSmoothingEnabled = here.scale * ratio < 2;
    jobs.length = 0;
    for (const tile of visible(level, here)) {
      const name = key(level, tile.column, tile.row);
      const picture = pictures.get(name);
      if (!current(picture, deep) && !picture?.failed) jobs.push({ name, level, deep, ...tile });
      if (picture?.made) lay(picture, place(level, tile.column, tile.row, here, ratio), ratio, here);
      else layCoarser(level, tile, here, ratio);
    }
    run();
  }

  const current = (picture, deep) =>
    picture?.made && !picture.dirty && picture.stamp === shown.stamp && picture.deep === deep;

  /** The level whose pixels are nearest to those of the screen. */
  function levelFor(scale) {
    const last = shown.tiles.levels.length - 1;
    return Math.min(Math.max(last + Math.round(Math.log2(scale)), 0), last);
  }

  function visible(level, here) {
    const box = {
      x: -here.x / here.scale,
      y: -here.y / here.scale,
      width: here.width / here.scale,
      height: here.height / here.scale,
    };
    const { width, height } = shown.photograph;
    if (box.x >= width || box.y >= height || box.x + box.width <= 0 || box.y + box.height <= 0) return [];
    const { columns, rows } = covering(shown.tiles, level, box);
    const found = [];
    const middle = [(columns[0] + columns[1]) / 2, (rows[0] + rows[1]) / 2];
    for (let row = rows[0]; row <= rows[1]; row++) {
      for (let column = columns[0]; column <= columns[1]; column++) {
        found.push({ column, row, far: Math.hypot(column - middle[0], row - middle[1]) });
      }
    }
    return found.sort((one, other) => one.far - other.far);
  }

  /** Where a tile lies on the canvas, device px. */
  function place(level, column, row, here, ratio) {
    const unit = 2 ** (shown.tiles.levels.length - 1 - level) * here.scale * ratio;
    return {
      x: here.x * ratio + column * shown.tiles.size * unit,
      y: here.y * ratio + row * shown.tiles.size * unit,
      unit,
    };
  }

  function lay(picture, { x, y, unit }, ratio, here) {
    for (const { bitmap, box } of picture.pieces || []) {
      // on whole px of the screen, so that pieces meet
      const left = Math.round(x + box.x * unit),
        top = Math.round(y + box.y * unit);
      const right = Math.round(x + (box.x + box.width) * unit),
        bottom = Math.round(y + (box.y + box.height) * unit);
      if (right <= 0 || bottom <= 0 || left >= canvas.width || top >= canvas.height) continue;
      context.drawImage(bitmap, left, top, right - left, bottom - top);
    }
    for (const { path, colour, opacity } of picture.paths || []) {
      context.save();
      context.setTransform(unit, 0, 0, unit, x, y);
      context.lineJoin = context.lineCap = "square";
      context.globalAlpha = opacity;
      context.strokeStyle = "#0009";
      context.lineWidth = ((LINE + RIM) * ratio) / unit;
      context.stroke(path);
      context.strokeStyle = colour;
      context.lineWidth = (LINE * ratio) / unit;
      context.stroke(path);
      context.restore();
    }
  }

  /** Lay the part of the nearest coarser picture at hand, where the tile's own is not there yet. */
  function layCoarser(level, tile, here, ratio) {
    for (let coarser = level - 1; coarser >= 0; coarser--) {
      const factor = 2 ** (level - coarser);
      const column = Math.floor(tile.column / factor),
        row = Math.floor(tile.row / factor);
      const picture = pictures.get(key(coarser, column, row));
      if (!picture?.made) continue;
      const own = place(level, tile.column, tile.row, here, ratio);
      const side = shown.tiles.size * own.unit;
      context.save();
      context.beginPath();
      context.rect(own.x, own.y, side, side);
      context.clip();
      lay(picture, place(coarser, column, row, here, ratio), ratio, here);
      context.restore();
      return;
    }
  }

  function run() {
    while (running < UNDER_WAY && jobs.length) start(jobs.shift());
  }

  function start({ name, level, column, row, deep }) {
    const { id, reference, drawn, stamp } = shown;
    const picture = pictures.get(name) || { revision: shown.revision };
    if (picture.dirty) Object.assign(picture, { dirty: false, revision: shown.revision, errand: null });
    const errand = `${stamp} ${deep}`;
    if (picture.errand === errand) return;
    picture.errand = errand;
    pictures.delete(name); // and at the end again: what was wanted longest ago is forgotten first
    pictures.set(name, picture);
    running++;
    const revision = picture.revision;
    const { answer } = errands.ask({
      ask: "layers",
      address: address.stack(id, "corrected", level, column, row, revision),
      reference: reference ? address.stack(id, `reference-${reference}`, level, column, row, 0) : null,
      shape: { side: shown.tiles.size, margin: MARGIN },
      layers: drawn.map(
        (layer) => layer && { ...layer, thickness: level === shown.tiles.levels.length - 1 ? 2 : 1 },
      ),
      deep,
    });
    const wanted = () =>
      pictures.get(name) === picture && picture.errand === errand && picture.revision === revision;
    answer
      .then(
        (made) => {
          if (!wanted()) return close(made);
          close(picture);
          Object.assign(picture, {
            pieces: made.pieces,
            made: true,
            stamp,
            deep,
            errand: null,
            paths: paths(made.edges, drawn),
          });
        },
        () => {
          if (!wanted()) return;
          Object.assign(picture, { failed: true, errand: null });
          setTimeout(() => {
            picture.failed = false;
            redraw();
          }, PAUSE);
        },
      )
      .finally(() => {
        running--;
        forget();
        redraw();
      });
  }

  const close = ({ pieces = [] }) => pieces.forEach(({ bitmap }) => bitmap.close());

  function paths(edges = [], drawn) {
    return edges
      .filter(({ runs }) => runs.length)
      .map(({ index, runs }) => {
        const path = new Path2D();
        for (let at = 0; at < runs.length; at += 4) {
          path.moveTo(runs[at], runs[at + 1]);
          path.lineTo(runs[at + 2], runs[at + 3]);
        }
        return { path, colour: `rgb(${drawn[index].colour})`, opacity: drawn[index].opacity };
      });
  }

  function forget() {
    for (const [name, picture] of pictures) {
      if (pictures.size <= KEPT) break;
      close(picture);
      pictures.delete(name);
    }
  }

  /** How many pictures are still to come: 0 when what is on the screen is what is set. */
  const pending = () => running + jobs.length;

  return { set, clear, stale, redraw, draw, pending };
}
