// The photograph in other colours: red-free, and with local contrast.
//
// Knows:   pixels of one tile, and the photograph's brightness around each place.
// Ignores: where tiles come from. Nothing of this reaches the model: it is for the eye only.

const DARK = 12; // level of green below which a pixel is outside the field of view
const REACH = 4; // px of the coarsest tile: about a 60th of the photograph, as wide as a disc's half
const MIDDLE = [168, 112, 70]; // what the surroundings themselves become: a retina evenly lit, our choice
// How much stronger differences to them become; 4 in Graham 2015, which is harsh. Noise is in red and blue.
const GAIN = [1.7, 3.2, 1.7];

/** Green alone, as grey: vessels, blood and exudates stand out, as in light without red. */
export function redFree({ data }) {
  for (let at = 0; at < data.length; at += 4) data[at] = data[at + 2] = data[at + 1];
}

/** The mean colour around each pixel of the coarsest tile, over the field of view alone. */
export function surroundings({ data, width, height }) {
  const weight = new Float32Array(width * height);
  const sums = [0, 1, 2].map(() => new Float32Array(width * height));
  for (let at = 0; at < weight.length; at++) {
    if (data[4 * at + 1] < DARK && data[4 * at] < 3 * DARK) continue;
    weight[at] = 1;
    sums.forEach((sum, channel) => {
      sum[at] = data[4 * at + channel];
    });
  }
  for (let pass = 0; pass < 3; pass++) {
    // three boxes are nearly a Gaussian
    for (const plane of [weight, ...sums]) blur(plane, width, height);
  }
  const mean = sums.map((sum, channel) =>
    sum.map((value, at) => (weight[at] > 0.01 ? value / weight[at] : MIDDLE[channel])),
  );
  return { width, height, mean };
}

function blur(plane, width, height) {
  const pass = (count, length, start, step) => {
    const kept = new Float32Array(length);
    for (let line = 0; line < count; line++) {
      const first = start(line);
      let sum = 0;
      const value = (at) => (at < 0 || at >= length ? 0 : plane[first + at * step]);
      for (let at = -REACH; at <= REACH; at++) sum += value(at);
      for (let at = 0; at < length; at++) {
        kept[at] = sum / (2 * REACH + 1);
        sum += value(at + REACH + 1) - value(at - REACH);
      }
      for (let at = 0; at < length; at++) plane[first + at * step] = kept[at];
    }
  };
  pass(height, width, (row) => row * width, 1);
  pass(width, height, (column) => column, width);
}

/**
 * Strengthen what differs from its surroundings.
 *
 * place: {x, y, width, height}: the tile's first pixel in its level, and that level's size.
 */
export function enhance({ data, width, height }, place, { width: across, height: down, mean }) {
  const left = new Int32Array(width),
    share = new Float32Array(width);
  for (let column = 0; column < width; column++) {
    const x = Math.min(Math.max(((place.x + column + 0.5) / place.width) * across - 0.5, 0), across - 1.001);
    left[column] = x;
    share[column] = x - left[column];
  }
  for (let row = 0; row < height; row++) {
    const y = Math.min(Math.max(((place.y + row + 0.5) / place.height) * down - 0.5, 0), down - 1.001);
    const top = Math.floor(y),
      low = y - top;
    for (let column = 0; column < width; column++) {
      const at = (row * width + column) * 4;
      if (data[at + 1] < DARK && data[at] < 3 * DARK) continue;
      const first = top * across + left[column],
        right = share[column];
      for (let channel = 0; channel < 3; channel++) {
        const m = mean[channel];
        const above = m[first] + (m[first + 1] - m[first]) * right;
        const below = m[first + across] + (m[first + across + 1] - m[first + across]) * right;
        data[at + channel] =
          MIDDLE[channel] + GAIN[channel] * (data[at + channel] - (above + (below - above) * low));
      }
    }
  }
}
