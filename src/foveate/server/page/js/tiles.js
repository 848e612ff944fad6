// The photograph's tiles for OpenSeadragon, decoded by the tile worker.
//
// Knows:   how the levels and tiles of a pyramid are counted, and how OpenSeadragon requests a tile.
// Ignores: what is drawn over them.

import { address } from "./api.js";

const { OpenSeadragon } = window;

/**
 * Return the tiles of a level that show a box of the photograph: {columns: [first, last], rows: [first,
 * last]}.
 */
export function tilesCovering(tiles, level, { x, y, width, height }) {
  const last = tiles.levels.length - 1;
  const side = tiles.size * 2 ** (last - level);
  const { columns, rows } = tiles.levels[level];
  const tileAt = (value, count) => Math.min(Math.max(Math.floor(value / side), 0), count - 1);
  return {
    columns: [tileAt(x, columns), tileAt(x + width - 1e-6, columns)],
    rows: [tileAt(y, rows), tileAt(y + height - 1e-6, rows)],
  };
}

/** Return a tile source of the photograph in "colour", "redfree" or "enhanced". */
export function photographTileSource(photograph, view, worker) {
  const { id, width, height, tiles } = photograph;
  const last = tiles.levels.length - 1;
  const source = new OpenSeadragon.TileSource({
    width,
    height,
    tileSize: tiles.size,
    tileOverlap: 0,
    minLevel: 0,
    maxLevel: last,
    ready: true,
  });
  return Object.assign(source, {
    getLevelScale: (level) => 2 ** (level - last),
    getNumTiles: (level) => new OpenSeadragon.Point(tiles.levels[level].columns, tiles.levels[level].rows),
    getTileUrl: (level, column, row) => `${address.tile(id, level, column, row)}#${view}`,
    getTileHashKey: (level, column, row) => `${id}/${view}/${level}/${column}_${row}`,
    downloadTileStart(job) {
      const { level, x, y } = job.tile;
      const { width: levelWidth, height: levelHeight } = tiles.levels[level];
      const request = worker.request("photograph-tile", {
        view,
        address: address.tile(id, level, x, y),
        coarsest: address.tile(id, 0, 0, 0),
        position: { x: x * tiles.size, y: y * tiles.size, width: levelWidth, height: levelHeight },
      });
      job.userData.request = request;
      request.answer.then(
        ({ bitmap }) => job.finish(bitmap, null, "imageBitmap"),
        (error) => job.fail(error.message, null),
      );
    },
    downloadTileAbort(job) {
      job.userData.request?.cancel();
    },
  });
}
