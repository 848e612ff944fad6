// Numbers, areas, lengths and times as text.
//
// Knows:   pixels and, where the pixel spacing is known, millimetres; the reader's own time.
// Ignores: what is measured.

const integer = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const calendar = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" });

/** Format a date with its time: "28 Nov 2026, 22:50", in the reader's language. */
export const formatDate = (date) => calendar.format(date);

/** Format a time: "22:50" today, else with its date. */
export const formatTime = (date) =>
  (date.toDateString() === new Date().toDateString() ? clock : calendar).format(date);

export const formatNumber = (value) => integer.format(value);

/** Format an area: "1,204 px", or "0.0842 mm²" if the pixel spacing (mm) is known. */
export function formatArea(pixels, spacing) {
  if (spacing === null || spacing === undefined) return `${formatNumber(pixels)} px`;
  const area = pixels * spacing ** 2;
  return `${squareMillimetres(area, area >= 10 ? 1 : area >= 0.1 ? 3 : 4)} mm²`;
}

/**
 * Return an area, mm², without its unit, with two digits that are not 0 where fewer decimals show none, as in reports
 * and tables (writers/tables.py). decimals: smallest number of decimals.
 */
function squareMillimetres(area, decimals) {
  return area.toFixed(area > 0 ? Math.max(decimals, 1 - Math.floor(Math.log10(area))) : decimals);
}

/** Format a length: "312 px", or "312 px · 1.248 mm" if the pixel spacing (mm) is known. */
export function formatLength(pixels, spacing) {
  const text = `${pixels >= 100 ? formatNumber(pixels) : pixels.toFixed(1)} px`;
  return spacing ? `${text} · ${(pixels * spacing).toFixed(3)} mm` : text;
}
