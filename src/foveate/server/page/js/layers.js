// The layers of the lesions over the photograph: one canvas, filled with the pictures of its tiles.
//
// Knows:   which tiles are on the screen, which pictures of them are loaded, and how both are placed.
// Ignores: how a tile is drawn (raster.js), what a person may set, and what the photograph shows.
//
// A move only places pictures that are loaded. If a picture is missing or has earlier settings, a coarser or
// the earlier one is shown meanwhile; pictures are requested from the middle of the screen outwards.

import { address } from "./api.js";
import { drawCounts } from "./clusters.js";
import { edgePath } from "./outlines.js";
import { isLight } from "./raster.js";
import { tilesCovering } from "./tiles.js";

const CONCURRENT = 6; // requests: settings may change before more of them are answered
const MAX_PICTURES = 600; // most are small, since they are cropped to what is drawn
const MARGIN = 2; // px of its neighbours around each tile of a stack, as on the server
const RETRY_MS = 3000; // until a tile that failed is requested again
const LINES_FROM = 1.8; // screen px for each px of the photograph, from which outlines run along pixel edges
const LINE_WIDTH = 2.2; // CSS px of such a line, without its dark halo
const HALO_WIDTH = 2;
const DASH = 6; // CSS px of a broken line, and of its gaps

/**
 * Create the layers on a canvas that covers the photograph's pane.
 *
 * placement(): {x, y, scale, width, height} of the photograph on the screen, CSS px; or null. worker: a
 * worker client.
 */
export function createLayers(canvas, placement, worker) {
  const context = canvas.getContext("2d");
  const pictures = new Map(); // tile key -> its picture, with the settings and the revision that it shows
  const requests = new Set(); // under way
  let queue = []; // tiles to request
  let failures = 0; // tiles on the screen whose request failed and will be repeated
  let settings = null;
  let frame = 0;
  const clustered = new Map(); // level -> its clusters, and which of them each tile leaves out
  let clusterRequests = 0; // under way
  let counts = []; // of clusters, where they are drawn

  const tileKey = (level, column, row) => `${level}/${column}_${row}`;
  const lastLevel = () => settings.tiles.levels.length - 1;

  /**
   * Show layers: {photograph, revision, layers, regions, reference, referenceRevision, hidden}; `layers` as in
   * raster.js; regions: for each layer the boxes of its regions, null while they are not known.
   */
  function show(next) {
    if (settings?.id !== next.photograph.id) reset();
    else if (clusterInput(settings).some((input, index) => input !== clusterInput(next)[index])) dropClusters();
    settings = {
      ...next,
      id: next.photograph.id,
      tiles: next.photograph.tiles,
      stamp: JSON.stringify([next.layers, next.reference, next.referenceRevision, next.photograph.finished]),
    };
    redraw();
  }

  /** Show nothing. */
  function clear() {
    reset();
    settings = null;
    redraw();
  }

  function reset() {
    queue = [];
    dropClusters();
    for (const { cancel } of requests) cancel();
    for (const picture of pictures.values()) closeBitmaps(picture);
    pictures.clear();
  }

  /** Request the tiles that show a box again, at a new revision; all tiles if there is no box. */
  function invalidate(box, revision) {
    if (!settings) return;
    settings.revision = revision;
    for (const [key, picture] of pictures) {
      const [level, column, row] = key.split(/[/_]/).map(Number);
      if (!box || touches(level, column, row, box)) picture.outdated = true;
    }
    redraw();
  }

  function touches(level, column, row, box) {
    const margin = 4 * 2 ** (lastLevel() - level);
    const { columns, rows } = tilesCovering(settings.tiles, level, {
      x: box.x - margin,
      y: box.y - margin,
      width: box.width + 2 * margin,
      height: box.height + 2 * margin,
    });
    return column >= columns[0] && column <= columns[1] && row >= rows[0] && row <= rows[1];
  }

  function redraw() {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      draw();
    });
  }

  /** Place all pictures now: called with each frame of the photograph. */
  function draw() {
    const current = placement();
    const ratio = window.devicePixelRatio;
    const width = Math.round(canvas.clientWidth * ratio),
      height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    else context.clearRect(0, 0, width, height);
    queue = [];
    counts = [];
    failures = 0;
    if (!settings || !current || settings.hidden || !settings.layers.some(Boolean)) return;
    const level = nearestLevel(current.scale * ratio);
    const highZoom = current.scale >= LINES_FROM && level === lastLevel();
    context.imageSmoothingEnabled = current.scale * ratio < 2;
    for (const tile of visibleTiles(level, current)) {
      const picture = pictures.get(tile.key);
      tile.left = leftOut(tile);
      if (picture?.failed === requestName(picture, highZoom, tile.left) && !picture.outdated) failures++;
      else if (!isCurrent(picture, highZoom, tile.left)) queue.push({ ...tile, highZoom });
      if (picture?.loaded) place(picture, tilePosition(tile, current, ratio), ratio);
      else placeCoarser(tile, current, ratio);
    }
    placeClusters(level, current, ratio);
    sendRequests();
  }

  // ---- clusters: one outline and a count in place of many outlines ----

  /** Return what clusters depend on: for each layer its regions, null where it has no outlines. */
  const clusterInput = ({ layers, regions, reference }) =>
    layers.map((layer, index) => (layer?.style === "outline" && !reference ? (regions?.[index] ?? null) : null));

  function dropClusters() {
    for (const { outlines } of clustered.values()) outlines.forEach(({ bitmap }) => bitmap.close());
    clustered.clear();
  }

  /**
   * Return the clusters of a level: {clusters: [[…], …] for each layer, outlines, tiles}. They are found and
   * drawn beside the page's thread; until then, all outlines are shown.
   */
  function clustersOf(level) {
    const ratio = window.devicePixelRatio;
    if (clustered.size && clustered.values().next().value.ratio !== ratio) dropClusters(); // another screen
    if (!clustered.has(level)) {
      const none = { clusters: settings.layers.map(() => []), outlines: [], tiles: new Map(), ratio };
      clustered.set(level, none);
      const boxes = level < lastLevel() ? clusterInput(settings) : [];
      if (boxes.some((some) => some?.length)) requestClusters(level, boxes, none);
    }
    return clustered.get(level);
  }

  function requestClusters(level, boxes, none) {
    const ratio = window.devicePixelRatio;
    const isWanted = () => clustered.get(level) === none;
    clusterRequests++;
    worker
      .request("clusters", {
        layers: settings.layers.map((layer, index) => ({ colour: layer?.colour, boxes: boxes[index] ?? [] })),
        scale: 2 ** (level - lastLevel()) / ratio,
        ratio,
      })
      .answer.then(
        ({ clusters, pieces }) => {
          if (isWanted()) clustered.set(level, { clusters, outlines: pieces, tiles: new Map(), ratio });
          else pieces.forEach(({ bitmap }) => bitmap.close());
        },
        () => isWanted() && setTimeout(() => isWanted() && clustered.delete(level), RETRY_MS),
      )
      .finally(() => {
        clusterRequests--;
        redraw();
      });
  }

  /** Return what a tile leaves out: {boxes, name}: for each layer boxes in px of the tile, and all as a text. */
  function leftOut({ level, column, row, key }) {
    const { clusters, tiles } = clustersOf(level);
    if (tiles.has(key)) return tiles.get(key);
    const factor = 2 ** (lastLevel() - level),
      { size } = settings.tiles;
    const inTile = ({ x, y, width, height }) => ({
      left: Math.floor(x / factor) - column * size,
      top: Math.floor(y / factor) - row * size,
      right: Math.ceil((x + width) / factor) - column * size,
      bottom: Math.ceil((y + height) / factor) - row * size,
    });
    const isIn = ({ left, top, right, bottom }) =>
      right > -MARGIN && bottom > -MARGIN && left < size + MARGIN && top < size + MARGIN;
    const boxes = clusters.map((some) => some.flatMap(({ boxes: members }) => members.map(inTile).filter(isIn)));
    const left = { boxes, name: boxes.some(({ length }) => length) ? JSON.stringify(boxes) : "" };
    tiles.set(key, left);
    return left;
  }

  /** Place the common outlines and the counts of the clusters that are on the screen. */
  function placeClusters(level, current, ratio) {
    const shown = [];
    const { clusters: all, outlines } = clustersOf(level);
    let next = 0;
    all.forEach((clusters, index) => {
      for (const cluster of clusters) {
        const { bitmap, x, y, unit } = outlines[next++];
        const { colour, opacity } = settings.layers[index];
        const left = current.x + cluster.box.x * current.scale,
          top = current.y + cluster.box.y * current.scale;
        const right = left + cluster.box.width * current.scale,
          bottom = top + cluster.box.height * current.scale;
        if (right < 0 || bottom < 0 || left > current.width || top > current.height) continue;
        const factor = (current.scale * ratio) / unit;
        context.globalAlpha = opacity;
        context.drawImage(
          bitmap,
          (current.x + x * current.scale) * ratio,
          (current.y + y * current.scale) * ratio,
          bitmap.width * factor,
          bitmap.height * factor,
        );
        shown.push({ x: (left + right) / 2, y: top, count: cluster.count, colour, box: cluster.box });
      }
    });
    context.globalAlpha = 1;
    counts = drawCounts(context, shown, ratio);
  }

  /** Return the box of the cluster whose count lies at a point of the canvas, CSS px; or null. */
  const countAt = (x, y) =>
    counts.find(({ left, top, right, bottom }) => x >= left && x <= right && y >= top && y <= bottom)?.box ?? null;

  /** Return the width of a layer's outline, px: at low zoom, thicker for colours near that of the retina. */
  const thickness = (level, { colour }) =>
    level === lastLevel() || window.devicePixelRatio > 1.4 || !isLight(colour) ? 2 : 1;

  const isCurrent = (picture, highZoom, left) =>
    picture?.loaded &&
    !picture.outdated &&
    picture.stamp === settings.stamp &&
    picture.highZoom === highZoom &&
    picture.left === left.name;

  /** Name what a request is for: the settings, and the revision of the corrections. */
  const requestName = (picture, highZoom, left) =>
    `${settings.stamp} ${highZoom} ${picture?.revision} ${left.name}`;

  /** Return the level whose pixels are nearest in size to those of the screen. */
  const nearestLevel = (scale) =>
    Math.min(Math.max(lastLevel() + Math.round(Math.log2(scale)), 0), lastLevel());

  /** Return the tiles on the screen, those in the middle first. */
  function visibleTiles(level, current) {
    const box = {
      x: -current.x / current.scale,
      y: -current.y / current.scale,
      width: current.width / current.scale,
      height: current.height / current.scale,
    };
    const { width, height } = settings.photograph;
    if (box.x >= width || box.y >= height || box.x + box.width <= 0 || box.y + box.height <= 0) return [];
    const { columns, rows } = tilesCovering(settings.tiles, level, box);
    const middle = [(columns[0] + columns[1]) / 2, (rows[0] + rows[1]) / 2];
    const tiles = [];
    for (let row = rows[0]; row <= rows[1]; row++) {
      for (let column = columns[0]; column <= columns[1]; column++) {
        const distance = Math.hypot(column - middle[0], row - middle[1]);
        tiles.push({ level, column, row, key: tileKey(level, column, row), distance });
      }
    }
    return tiles.sort((a, b) => a.distance - b.distance);
  }

  /**
   * Return where a tile lies on the canvas: {x, y, unit}, device px; `unit` is the size of one of its pixels.
   */
  function tilePosition({ level, column, row }, current, ratio) {
    const unit = 2 ** (lastLevel() - level) * current.scale * ratio;
    return {
      x: current.x * ratio + column * settings.tiles.size * unit,
      y: current.y * ratio + row * settings.tiles.size * unit,
      unit,
    };
  }

  function place(picture, { x, y, unit }, ratio) {
    for (const { bitmap, box } of picture.pieces || []) {
      // on whole px of the screen, so that pieces meet
      const left = Math.round(x + box.x * unit),
        top = Math.round(y + box.y * unit);
      const right = Math.round(x + (box.x + box.width) * unit),
        bottom = Math.round(y + (box.y + box.height) * unit);
      if (right <= 0 || bottom <= 0 || left >= canvas.width || top >= canvas.height) continue;
      context.drawImage(bitmap, left, top, right - left, bottom - top);
    }
    for (const { path, colour, opacity, halo, dashed } of picture.paths || []) {
      context.save();
      context.setTransform(unit, 0, 0, unit, x, y);
      context.lineJoin = context.lineCap = "square";
      context.globalAlpha = opacity;
      context.strokeStyle = halo;
      context.lineWidth = ((LINE_WIDTH + HALO_WIDTH) * ratio) / unit;
      context.stroke(path);
      context.strokeStyle = colour;
      if (dashed) context.setLineDash([(DASH * ratio) / unit, (DASH * ratio) / unit]);
      context.lineWidth = (LINE_WIDTH * ratio) / unit;
      context.stroke(path);
      context.restore();
    }
  }

  /** Place the part of the nearest coarser picture that is loaded, where the tile's own is not. */
  function placeCoarser(tile, current, ratio) {
    for (let level = tile.level - 1; level >= 0; level--) {
      const factor = 2 ** (tile.level - level);
      const coarser = { level, column: Math.floor(tile.column / factor), row: Math.floor(tile.row / factor) };
      const picture = pictures.get(tileKey(level, coarser.column, coarser.row));
      if (!picture?.loaded) continue;
      const { x, y, unit } = tilePosition(tile, current, ratio);
      context.save();
      context.beginPath();
      context.rect(x, y, settings.tiles.size * unit, settings.tiles.size * unit);
      context.clip();
      place(picture, tilePosition(coarser, current, ratio), ratio);
      context.restore();
      return;
    }
  }

  function sendRequests() {
    while (requests.size < CONCURRENT && queue.length) sendRequest(queue.shift());
  }

  function sendRequest({ key, level, column, row, highZoom, left }) {
    const { photograph, reference, referenceRevision, layers, stamp, revision } = settings;
    const picture = pictures.get(key) || { revision };
    if (picture.outdated) Object.assign(picture, { outdated: false, revision, requested: null });
    const requested = requestName(picture, highZoom, left);
    if (picture.requested === requested) return;
    Object.assign(picture, { requested, failed: null });
    pictures.delete(key); // and added at the end: the least recently requested picture is dropped first
    pictures.set(key, picture);
    const isWanted = () => pictures.get(key) === picture && picture.requested === requested;
    const request = worker.request("layer-tile", {
      address: address.stack(photograph, "corrected", level, column, row, picture.revision),
      reference: reference
        ? address.stack(photograph, `reference-${reference}`, level, column, row, referenceRevision)
        : null,
      shape: { side: settings.tiles.size, margin: MARGIN },
      layers: layers.map(
        (layer, index) =>
          layer && { ...layer, thickness: thickness(level, layer), leftOut: left.boxes[index] ?? [] },
      ),
      highZoom,
    });
    requests.add(request);
    request.answer
      .then(
        (answer) => {
          if (!isWanted()) return closeBitmaps(answer);
          closeBitmaps(picture);
          const paths = linePaths(answer.edges, layers);
          Object.assign(picture, {
            pieces: answer.pieces,
            paths,
            loaded: true,
            stamp,
            highZoom,
            left: left.name,
            requested: null,
          });
        },
        () => {
          if (isWanted()) retryLater(picture, requested);
        },
      )
      .finally(() => {
        requests.delete(request);
        dropOldest();
        redraw();
      });
  }

  function retryLater(picture, requested) {
    Object.assign(picture, { failed: requested, requested: null });
    setTimeout(() => {
      if (picture.failed === requested) picture.failed = null;
      redraw();
    }, RETRY_MS);
  }

  const closeBitmaps = ({ pieces = [] }) => pieces.forEach(({ bitmap }) => bitmap.close());

  const linePaths = (edges = [], layers) =>
    edges
      .filter(({ lines }) => lines.length)
      .map(({ index, lines }) => ({
        path: edgePath(lines),
        colour: `rgb(${layers[index].colour})`,
        opacity: layers[index].opacity,
        dashed: layers[index].dashed,
        halo: isLight(layers[index].colour) ? "#0009" : "#fff9",
      }));

  function dropOldest() {
    for (const [key, picture] of pictures) {
      if (pictures.size <= MAX_PICTURES) break;
      closeBitmaps(picture);
      pictures.delete(key);
    }
  }

  /** Return how many pictures are not loaded yet: 0 if the screen shows the current settings. */
  const pending = () => requests.size + queue.length + failures + clusterRequests;

  return { show, clear, invalidate, redraw, draw, pending, countAt, counts: () => counts };
}
