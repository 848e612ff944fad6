// The grid of the Early Treatment Diabetic Retinopathy Study, laid by hand on fovea and disc.
//
// Knows:   the grid's circles and fields, and where a grid is first laid.
// Ignores: what lies in the fields (the server counts that), and how a hand moves it.
//
// Circles of 1, 3 and 6 mm around the fovea, parted by its diagonals: nine fields (ETDRS report 10, 1991).

export const RADII_MM = [0.5, 1.5, 3];
export const DISC_TO_FOVEA_MM = 4.5; // a rule of thumb, as the server has it, where no spacing is known
export const DISC_MM = 1.8;

/** The fields in the order of the table, as the server names them. */
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

const DISC_AT = 0.48; // radii of a 45-degree field from fovea to disc: our choice, to be moved by hand

/** A grid as it is first laid, in the middle of a field of view: {fovea: {x, y}, disc: {x, y}}. */
export function first({ x, y, radius }) {
  return { fovea: { x, y }, disc: { x: x + DISC_AT * radius, y: y - 0.06 * radius } };
}

/** Pixels that a millimetre spans: by the photograph's spacing, else by the way from fovea to disc. */
export function pixelsPerMm({ fovea, disc }, spacing) {
  return spacing ? 1 / spacing : Math.hypot(disc.x - fovea.x, disc.y - fovea.y) / DISC_TO_FOVEA_MM;
}

/** Diameter of a disc of the usual size, px: the unit in which distances on the retina are told. */
export const discDiameter = (grid, spacing) => DISC_MM * pixelsPerMm(grid, spacing);

/** The lines that part the fields: [x1, y1, x2, y2] from the inner circle to the outer one. */
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

/** Which eye it is, by where the disc lies. */
export const eye = ({ fovea, disc }) => (disc.x >= fovea.x ? "right" : "left");
