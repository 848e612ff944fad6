// The photograph's tiles for OpenSeadragon, decoded beside the page's thread.
//
// Knows:   how a pyramid's levels and tiles are counted, and OpenSeadragon's way to ask for one.
// Ignores: what is drawn over them.

import { address } from "./api.js";

const { OpenSeadragon } = window;

/** The tiles of a level that show a box of the photograph: {columns: [first, last], rows: [first, last]}. */
export function covering(tiles, level, { x, y, width, height }) {
  const last = tiles.levels.length - 1;
  const side = tiles.size * 2 ** (last - level);
  const { columns, rows } = tiles.levels[level];
  const within = (value, count) => Math.min(Math.max(Math.floor(value / side), 0), count - 1);
  return {
    columns: [within(x, columns), within(x + width - 1e-6, columns)],
    rows: [within(y, rows), within(y + height - 1e-6, rows)],
  };
}

/** A tile source in one of the views: "colour", "redfree", "enhanced". */
export function source(photograph, view, errands) {
  const { id, width, height, tiles } = photograph;
  const last = tiles.levels.length - 1;
  const made = new OpenSeadragon.TileSource({
    width,
    height,
    tileSize: tiles.size,
    tileOverlap: 0,
    minLevel: 0,
    maxLevel: last,
    ready: true,
  });
  Object.assign(made, {
    getLevelScale: (level) => 2 ** (level - last),
    getNumTiles: (level) => new OpenSeadragon.Point(tiles.levels[level].columns, tiles.levels[level].rows),
    getTileUrl: (level, column, row) => `${address.tile(id, level, column, row)}#${view}`,
    getTileHashKey: (level, column, row) => `${id}/${view}/${level}/${column}_${row}`,
    downloadTileStart(job) {
      const { level, x, y } = job.tile;
      const { width: across, height: down } = tiles.levels[level];
      const errand = errands.ask({
        ask: "photograph",
        view,
        address: address.tile(id, level, x, y),
        coarsest: address.tile(id, 0, 0, 0),
        place: { x: x * tiles.size, y: y * tiles.size, width: across, height: down },
      });
      job.userData.errand = errand;
      errand.answer.then(
        ({ bitmap }) => job.finish(bitmap, null, "imageBitmap"),
        (error) => job.fail(error.message, null),
      );
    },
    downloadTileAbort(job) {
      job.userData.errand?.stop();
    },
  });
  return made;
}
