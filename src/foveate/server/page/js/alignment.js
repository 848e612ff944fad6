// How the pixels of one photograph of an eye correspond to those of another: shift, scale and rotation.
//
// Knows:   fields of view, and where optic disc and fovea are. Ignores: how photographs are shown.
//
// A link maps a place of the first photograph to one of the second: second = factor * R(angle) * first + {x, y},
// in px; R turns by an angle in radians, clockwise, since y counts down.

import { initialGrid } from "./etdrs.js";

export const SAME = { factor: 1, angle: 0, x: 0, y: 0 };

const LARGEST_ANGLE = Math.PI / 6; // heads tilt by less: beyond it a landmark is wrong, or it is the other eye
const SAME_SCALE = 1.2; // up to this factor, scales by field and by landmarks differ by chance: our choice
const ROUNDED_PX = 0.1; // places of a grid are rounded to it

/** Return the place in the second photograph of a place in the first. */
export function mapped({ factor, angle, x, y }, point) {
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return {
    x: factor * (cos * point.x - sin * point.y) + x,
    y: factor * (sin * point.x + cos * point.y) + y,
  };
}

/** Return the link that takes one place to another, with a factor and an angle. */
export function linkThrough(from, to, factor, angle) {
  const turned = mapped({ factor, angle, x: 0, y: 0 }, from);
  return { factor, angle, x: to.x - turned.x, y: to.y - turned.y };
}

/** Return the link back. */
export function inverse({ factor, angle, x, y }) {
  return linkThrough({ x, y }, { x: 0, y: 0 }, 1 / factor, -angle);
}

/** Return the link that lays the fields of view on each other; nothing is turned. */
export function linkByFields(first, second) {
  const [from, to] = [first.result?.field, second.result?.field];
  return from && to ? linkThrough(from, to, to.radius / from.radius, 0) : SAME;
}

/**
 * Return the link that lays the middle between disc and fovea on each other, and turns the line between both.
 * null where a photograph lacks one of them, or they contradict each other: another eye, or a wrong place.
 *
 * The scale is that of the fields of view, which are known more exactly, unless the landmarks say that it is
 * another camera's.
 */
export function linkByLandmarks(first, second) {
  const [from, to] = [landmarksOf(first), landmarksOf(second)];
  if (!from || !to) return null;
  const angle = normalised(to.angle - from.angle);
  if (Math.abs(angle) > LARGEST_ANGLE) return null;
  const byFields = linkByFields(first, second).factor;
  const byDistance = to.distance / from.distance;
  const isSameCamera = Math.max(byDistance / byFields, byFields / byDistance) < SAME_SCALE;
  return linkThrough(from.middle, to.middle, isSameCamera ? byFields : byDistance, angle);
}

/** Return an angle between -pi and pi. */
const normalised = (angle) => Math.atan2(Math.sin(angle), Math.cos(angle));

/** Return where the line from fovea to disc lies, by the placed grid, else by the program's: or null. */
function landmarksOf({ grid, result }) {
  const suggested = result?.suggested_grid;
  const placed = grid && (suggested || !isInTheMiddle(grid, result.field)) ? grid : suggested;
  if (!placed) return null;
  const { fovea, disc } = placed;
  const [right, down] = [disc.x - fovea.x, disc.y - fovea.y];
  return {
    middle: { x: (fovea.x + disc.x) / 2, y: (fovea.y + disc.y) / 2 },
    angle: Math.atan2(down, right),
    distance: Math.hypot(right, down),
  };
}

/** Return whether nobody has moved a grid from where the page lays it if the program finds no place. */
function isInTheMiddle(grid, field) {
  const start = initialGrid(field);
  return ["fovea", "disc"].every(
    (part) => Math.hypot(grid[part].x - start[part].x, grid[part].y - start[part].y) < 2 * ROUNDED_PX,
  );
}
