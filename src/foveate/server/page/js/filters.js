// The photograph in other colours: red-free, and with stronger local contrast.
//
// Knows:   the pixels of one tile, and the mean colour around each point of the photograph.
// Ignores: where tiles come from. Filters are for the eye: the model always gets the original pixels.

const DARK = 12; // green below which a pixel lies outside the field of view
const BLUR_RADIUS = 4; // px of the coarsest tile: a sixtieth of the photograph, about half a disc
const MEAN_COLOUR = [168, 112, 70]; // what the local mean is mapped to: an evenly lit retina, our choice
// How much differences from the local mean are amplified, by channel. Graham 2015 uses 4, which is harsh; red
// and blue are amplified less because they hold the noise.
const GAIN = [1.7, 3.2, 1.7];

/** Replace each pixel by its green channel, in which vessels, blood and exudates stand out. */
export function redFree({ data }) {
  for (let at = 0; at < data.length; at += 4) data[at] = data[at + 2] = data[at + 1];
}

/** Return the mean colour around each pixel of the coarsest tile, over the field of view only. */
export function localMean({ data, width, height }) {
  const weight = new Float32Array(width * height);
  const sums = [0, 1, 2].map(() => new Float32Array(width * height));
  for (let at = 0; at < weight.length; at++) {
    if (isOutside(data, 4 * at)) continue;
    weight[at] = 1;
    sums.forEach((sum, channel) => {
      sum[at] = data[4 * at + channel];
    });
  }
  for (let pass = 0; pass < 3; pass++) {
    // three box blurs come close to a Gaussian
    for (const plane of [weight, ...sums]) boxBlur(plane, width, height);
  }
  const mean = sums.map((sum, channel) =>
    sum.map((value, at) => (weight[at] > 0.01 ? value / weight[at] : MEAN_COLOUR[channel])),
  );
  return { width, height, mean };
}

const isOutside = (data, at) => data[at + 1] < DARK && data[at] < 3 * DARK;

function boxBlur(plane, width, height) {
  const blurLines = (count, length, start, step) => {
    const blurred = new Float32Array(length);
    for (let line = 0; line < count; line++) {
      const first = start(line);
      const value = (at) => (at < 0 || at >= length ? 0 : plane[first + at * step]);
      let sum = 0;
      for (let at = -BLUR_RADIUS; at <= BLUR_RADIUS; at++) sum += value(at);
      for (let at = 0; at < length; at++) {
        blurred[at] = sum / (2 * BLUR_RADIUS + 1);
        sum += value(at + BLUR_RADIUS + 1) - value(at - BLUR_RADIUS);
      }
      for (let at = 0; at < length; at++) plane[first + at * step] = blurred[at];
    }
  };
  blurLines(height, width, (row) => row * width, 1);
  blurLines(width, height, (column) => column, width);
}

/**
 * Amplify the difference of each pixel from the local mean.
 *
 * position: {x, y, width, height}: the tile's first pixel in its level, and the size of that level.
 */
export function enhanceContrast({ data, width, height }, position, { width: across, height: down, mean }) {
  const left = new Int32Array(width),
    share = new Float32Array(width);
  for (let column = 0; column < width; column++) {
    const x = interpolationPoint(position.x + column, position.width, across);
    left[column] = x;
    share[column] = x - left[column];
  }
  for (let row = 0; row < height; row++) {
    const y = interpolationPoint(position.y + row, position.height, down);
    const top = Math.floor(y),
      low = y - top;
    for (let column = 0; column < width; column++) {
      const at = (row * width + column) * 4;
      if (isOutside(data, at)) continue;
      const first = top * across + left[column],
        right = share[column];
      for (let channel = 0; channel < 3; channel++) {
        const m = mean[channel];
        const above = m[first] + (m[first + 1] - m[first]) * right;
        const below = m[first + across] + (m[first + across + 1] - m[first + across]) * right;
        data[at + channel] =
          MEAN_COLOUR[channel] + GAIN[channel] * (data[at + channel] - (above + (below - above) * low));
      }
    }
  }
}

/** Return where a pixel of a level lies in the mean's grid, kept inside so that its next neighbour exists. */
const interpolationPoint = (pixel, size, meanSize) =>
  Math.min(Math.max(((pixel + 0.5) / size) * meanSize - 0.5, 0), meanSize - 1.001);
