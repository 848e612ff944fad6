// The grid of the Early Treatment Diabetic Retinopathy Study (ETDRS report 10, 1991).
//
// Knows:   the grid's circles, spokes and nine fields, and where a new grid is placed.
// Ignores: what lies in the fields (the server counts that), and how a pointer moves the grid.
//
// Circles of 1, 3 and 6 mm diameter around the fovea; diagonals divide the two outer rings into four fields
// each.

export const RADII_MM = [0.5, 1.5, 3];
const DISC_TO_FOVEA_MM = 4.5; // rule of thumb, the same as the server's, where the pixel spacing is not known
const DISC_DIAMETER_MM = 1.8;

/** The fields in the order of the table, with the server's names. */
export const FIELDS = [
  ["centre", "Centre"],
  ["inner_superior", "Inner superior"],
  ["inner_nasal", "Inner nasal"],
  ["inner_inferior", "Inner inferior"],
  ["inner_temporal", "Inner temporal"],
  ["outer_superior", "Outer superior"],
  ["outer_nasal", "Outer nasal"],
  ["outer_inferior", "Outer inferior"],
  ["outer_temporal", "Outer temporal"],
  ["outside", "Outside the grid"],
];

// From fovea to disc, in radii of a 45-degree field: our choice, the same as the server's, corrected by hand.
const DISC_OFFSET = { x: 0.48, y: -0.06 };

/** Return a new grid in the middle of a field of view: {fovea: {x, y}, disc: {x, y}}, px. */
export function initialGrid({ x, y, radius }) {
  return { fovea: { x, y }, disc: { x: x + DISC_OFFSET.x * radius, y: y + DISC_OFFSET.y * radius } };
}

/**
 * Return the pixels per millimetre: from the pixel spacing, else from the distance between fovea and disc.
 */
export function pixelsPerMm({ fovea, disc }, spacing) {
  return spacing ? 1 / spacing : Math.hypot(disc.x - fovea.x, disc.y - fovea.y) / DISC_TO_FOVEA_MM;
}

/** Return the usual disc diameter in px: the unit in which distances on the retina are given. */
export const discDiameter = (grid, spacing) => DISC_DIAMETER_MM * pixelsPerMm(grid, spacing);

/** Return the lines that divide the rings: [x1, y1, x2, y2] from the inner circle to the outer one. */
export function spokes({ fovea }, perMm) {
  const [inner, , outer] = RADII_MM.map((radius) => radius * perMm * Math.SQRT1_2);
  return [
    [1, 1],
    [1, -1],
    [-1, 1],
    [-1, -1],
  ].map(([right, down]) => [
    fovea.x + right * inner,
    fovea.y + down * inner,
    fovea.x + right * outer,
    fovea.y + down * outer,
  ]);
}
