// Resizing as Pillow does it, to the pixel: every target pixel is a weighted sum over the source, weights in
// fixed point with 22 bits, along rows and along columns, each pass rounded to 8 bits. Which pass comes first
// shows in single pixels: rows do, unless the height shrinks by more than twice as many pixels as the width.

const BITS = 22;
const HALF = 1 << (BITS - 1);
const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));
const KERNELS = {
  bilinear: { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    at(x) {
      const [a, far] = [-0.5, Math.abs(x)];
      if (far < 1) return ((a + 2) * far - (a + 3)) * far * far + 1;
      return far < 2 ? (((far - 5) * far + 8) * far - 4) * a : 0;
    },
  },
  lanczos: { support: 3, at: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/** For each of `size` target pixels along [from, to) of `length` source pixels: where it begins, its weights. */
function weights(length, from, to, size, kernel) {
  const scale = Math.fround(to - from) / size;
  const wide = Math.max(scale, 1);
  const support = kernel.support * wide;
  return Array.from({ length: size }, (_, place) => {
    const center = from + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const last = Math.min(length, Math.trunc(center + support + 0.5));
    const values = [];
    for (let x = first; x < last; x++) values.push(kernel.at((x - center + 0.5) * (1 / wide)));
    const sum = values.reduce((a, b) => a + b, 0);
    const fixed = values.map((value) => {
      const share = (sum === 0 ? value : value / sum) * (1 << BITS);
      return Math.trunc(share < 0 ? share - 0.5 : share + 0.5);
    });
    return { first, fixed };
  });
}

const clip = (value) => (value < 0 ? 0 : value > 255 ? 255 : value);

/** Rows [top, bottom) of an image, each resampled to the parts. */
function alongRows({ width, channels, data }, parts, top, bottom) {
  const made = new Uint8Array(parts.length * (bottom - top) * channels);
  let out = 0;
  for (let y = top; y < bottom; y++) {
    for (const { first, fixed } of parts) {
      const start = (y * width + first) * channels;
      for (let channel = 0; channel < channels; channel++) {
        let sum = HALF;
        for (let k = 0, at = start + channel; k < fixed.length; k++, at += channels)
          sum += data[at] * fixed[k];
        made[out++] = clip(sum >> BITS);
      }
    }
  }
  return { width: parts.length, height: bottom - top, channels, data: made };
}

function alongColumns({ width, channels, data }, parts) {
  const line = width * channels;
  const made = new Uint8Array(parts.length * line);
  const sums = new Int32Array(line);
  parts.forEach(({ first, fixed }, y) => {
    sums.fill(HALF);
    fixed.forEach((weight, k) => {
      const start = (first + k) * line;
      for (let x = 0; x < line; x++) sums[x] += data[start + x] * weight;
    });
    for (let x = 0; x < line; x++) made[y * line + x] = clip(sums[x] >> BITS);
  });
  return { width, height: parts.length, channels, data: made };
}

function nearest({ width, height, channels, data }, wide, high, [left, top, right, bottom]) {
  const places = (from, to, size, length) => {
    const step = Math.fround(to - from) / size;
    let at = from + step * 0.5;
    return Array.from({ length: size }, () => {
      const place = Math.min(length - 1, Math.max(0, Math.floor(at)));
      at += step;
      return place;
    });
  };
  const columns = places(left, right, wide, width);
  const made = new Uint8Array(wide * high * channels);
  let out = 0;
  for (const y of places(top, bottom, high, height)) {
    for (const x of columns) {
      for (let channel = 0; channel < channels; channel++)
        made[out++] = data[(y * width + x) * channels + channel];
    }
  }
  return { width: wide, height: high, channels, data: made };
}

/** An image {width, height, channels, data} at another size; `box` (x0, y0, x1, y1) is the part that is taken. */
export function resize(image, width, height, filter, box = [0, 0, image.width, image.height]) {
  const [left, top, right, bottom] = box.map(Math.fround); // as Pillow hands it on
  const rows = width !== image.width || left !== 0 || right !== width;
  const columns = height !== image.height || top !== 0 || bottom !== height;
  if (!rows && !columns) return image;
  if (filter === "nearest") return nearest(image, width, height, [left, top, right, bottom]);
  const kernel = KERNELS[filter];
  const down = weights(image.height, top, bottom, height, kernel);
  if (!rows) return alongColumns(image, down);
  const across = weights(image.width, left, right, width, kernel);
  if (!columns) return alongRows(image, across, 0, image.height);
  const less = image.height - height;
  if (less > 0 && less > 2 * (image.width - width))
    return alongRows(alongColumns(image, down), across, 0, height);
  const first = down[0].first;
  const end = down.at(-1).first + down.at(-1).fixed.length;
  const between = alongRows(image, across, first, end);
  return alongColumns(
    between,
    down.map((part) => ({ ...part, first: part.first - first })),
  );
}

export function crop({ width, channels, data }, left, top, wide, high) {
  const made = new Uint8Array(wide * high * channels);
  for (let y = 0; y < high; y++) {
    const start = ((top + y) * width + left) * channels;
    made.set(data.subarray(start, start + wide * channels), y * wide * channels);
  }
  return { width: wide, height: high, channels, data: made };
}
