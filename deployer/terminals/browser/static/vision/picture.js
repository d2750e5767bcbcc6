// Pictures: decoded by the browser, upright, as RGB on white; and laid out as graphs take them.

import { arrayOf } from "../engine.js";
import { badInput } from "../errors.js";
import { bytesField } from "../fields.js";
import { even } from "../numbers.js";
import { resize } from "./resample.js";

const MOST_PIXELS = 40_000_000;
const EXPECTED = {
  en: "a PNG, JPEG, WebP, GIF or BMP picture of at most 40 million pixels",
  zh: "PNG、JPEG、WebP、GIF 或 BMP 图片，至多 4000 万像素",
};
// Colours stay as they are in the file, as in the server.
const DECODING = { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" };

/** The picture in a field of a body as {width, height, channels: 3, data}. */
export async function pictureField(body, name = "image") {
  const value = body[name];
  if (value instanceof ImageData) return rgb(value.data, value.width, value.height, name);
  if (value instanceof ImageBitmap) return fromBitmap(value, name);
  const blob = value instanceof Blob && value.size ? value : new Blob([await bytesField(body, name)]);
  return decode(blob, name);
}

async function decode(blob, name) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, DECODING);
  } catch {
    throw badInput(
      name,
      { en: "is not a picture that this browser reads", zh: "不是这个浏览器能读的图片" },
      EXPECTED,
    );
  }
  return fromBitmap(bitmap, name);
}

function fromBitmap(bitmap, name) {
  const { width, height } = bitmap;
  checkSize(width, height, name);
  const canvas = drawing(width, height);
  canvas.fillStyle = "white";
  canvas.fillRect(0, 0, width, height);
  canvas.drawImage(bitmap, 0, 0);
  bitmap.close();
  return rgb(canvas.getImageData(0, 0, width, height).data, width, height, name);
}

function drawing(width, height) {
  return new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
}

function checkSize(width, height, name) {
  if (width * height > MOST_PIXELS) {
    const why = { en: `has ${width} × ${height} pixels`, zh: `有 ${width} × ${height} 像素` };
    throw badInput(name, why, EXPECTED);
  }
}

/** RGBA pixels as RGB, on white. */
function rgb(rgba, width, height, name) {
  checkSize(width, height, name);
  const data = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    const alpha = rgba[from + 3];
    for (let channel = 0; channel < 3; channel++) {
      const sum = rgba[from + channel] * alpha + 255 * (255 - alpha) + 128;
      data[to++] = (sum + (sum >> 8)) >> 8;
    }
  }
  return { width, height, channels: 3, data };
}

/** Squeezed through JPEG at its usual quality, which some networks were trained on. */
export async function throughJpeg(image) {
  const { width, height, data } = image;
  const canvas = drawing(width, height);
  const pixels = canvas.createImageData(width, height);
  for (let from = 0, to = 0; from < data.length; to++) {
    pixels.data[to] = to % 4 === 3 ? 255 : data[from++];
  }
  pixels.data[width * height * 4 - 1] = 255;
  canvas.putImageData(pixels, 0, 0);
  return decode(await canvas.canvas.convertToBlob({ type: "image/jpeg", quality: 0.75 }), "image");
}

function grey({ width, height, data }) {
  const made = new Uint8Array(width * height);
  for (let at = 0, to = 0; at < data.length; at += 3) {
    made[to++] = (data[at] * 19595 + data[at + 1] * 38470 + data[at + 2] * 7471 + 0x8000) >> 16;
  }
  return { width, height, channels: 1, data: made };
}

/** The centre `crop` [h, w] of the picture scaled to the short side `short`, in one step from the source. */
export function resizeShort(image, short, crop, filter) {
  const { width, height } = image;
  const scale = short / Math.min(width, height);
  const [high, wide] = crop.map((side) => Math.min(side, short));
  const [left, top] = [(width - wide / scale) / 2, (height - high / scale) / 2];
  const box = [
    Math.max(left, 0),
    Math.max(top, 0),
    Math.min(left + wide / scale, width),
    Math.min(top + high / scale, height),
  ];
  return resize(image, crop[1], crop[0], filter, box);
}

/** (pixel × scale - mean) / std as {data, dims}, in the order of `channels` and the layout of the graph. */
export function tensor(image, { layout, channels, mean, std, scale }, datatype) {
  const { width, height, channels: count, data } = channels === "L" ? grey(image) : image;
  const spread = std.map(Math.fround);
  const factor = spread.map((one) => Math.fround(Math.fround(scale) / one));
  const shift = mean.map((one, index) => Math.fround(Math.fround(one) / spread[index]));
  const area = width * height;
  const made = arrayOf(datatype, area * count);
  for (let pixel = 0; pixel < area; pixel++) {
    for (let channel = 0; channel < count; channel++) {
      const byte = data[pixel * count + (channels === "BGR" ? count - 1 - channel : channel)];
      const value = Math.fround(Math.fround(byte * factor[channel]) - shift[channel]);
      const place = layout === "NCHW" ? channel * area + pixel : pixel * count + channel;
      made[place] = datatype === "UINT8" ? Math.min(255, Math.max(0, even(value))) : value;
    }
  }
  return { data: made, dims: layout === "NCHW" ? [1, count, height, width] : [1, height, width, count] };
}
