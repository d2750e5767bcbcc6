// Masks of the labels in a picture; see the server's pipeline of the same name.

import { boolField, floatField, intField, toBase64 } from "../fields.js";
import { even, round, sigmoid } from "../numbers.js";
import { pictureField, tensor } from "../vision/picture.js";
import { greyPng } from "../vision/png.js";
import { resize } from "../vision/resample.js";

const MOST_MASKS = 32;

class ImageSegmenter {
  constructor(engine, recipe) {
    Object.assign(this, { engine, recipe });
  }

  async predict(body) {
    const { recipe, engine } = this;
    const threshold = floatField(body, "threshold", recipe.threshold, 0, 1);
    const soft = boolField(body, "soft", recipe.soft);
    const count = intField(body, "top_k", 10, 1, MOST_MASKS);
    const picture = await pictureField(body);
    const { width, height } = picture;
    const seen = resize(picture, recipe.size[1], recipe.size[0], recipe.filter);
    const feeds = { [engine.inputs[0].name]: tensor(seen, recipe.pixels, engine.inputs[0].datatype) };
    const maps = (await engine.run(feeds, [recipe.output]))[recipe.output];
    const parts = this.parts(maps, threshold)
      .sort((a, b) => b.count - a.count)
      .slice(0, count);
    const results = [];
    for (const part of parts) {
      const mask = toBase64(await greyPng(maskOf(part, width, height, threshold, soft, recipe.exclusive)));
      results.push({
        label: part.label,
        score: round(part.score, 6),
        area: round(part.area, 6),
        mask: { base64: mask },
      });
    }
    return { results, width, height };
  }

  /** The labels that are there at all, each with its chances and the pixels that it takes. */
  parts({ data, dims }, threshold) {
    const { labels, hidden, numbered, exclusive, least } = this.recipe;
    const [high, wide] =
      dims.length === 4 && this.recipe.layout === "NHWC" ? dims.slice(1, 3) : dims.slice(-2);
    const area = high * wide;
    const chances = numbered ? null : this.chances(data, area);
    const likeliest = numbered ? Array.from(data, Number) : exclusive ? winners(chances, area) : null;
    const bound = Math.fround(threshold);
    const found = [];
    labels.forEach((label, number) => {
      if (hidden.includes(label)) return;
      const taken = new Uint8Array(area);
      const mine = numbered
        ? Float32Array.from(likeliest, (one) => (one === number ? 1 : 0))
        : chances[number];
      let [count, sum] = [0, 0];
      for (let at = 0; at < area; at++) {
        if (mine[at] >= bound && (!likeliest || likeliest[at] === number)) {
          taken[at] = 1;
          count += 1;
          sum += mine[at];
        }
      }
      if (count && count / area >= least) {
        found.push({
          label,
          chances: mine,
          taken,
          wide,
          high,
          count,
          area: count / area,
          score: sum / count,
        });
      }
    });
    return found;
  }

  /** Probabilities of each label: a Float32Array of the map's pixels. */
  chances(data, area) {
    const { labels, layout } = this.recipe;
    const clean = (value) =>
      Number.isNaN(value) ? 0 : Math.max(-3.4028234663852886e38, Math.min(3.4028234663852886e38, value));
    const maps = labels.map((_, label) => {
      const at =
        layout === "NHWC" ? (pixel) => pixel * labels.length + label : (pixel) => label * area + pixel;
      return Float32Array.from({ length: area }, (_, pixel) => clean(Number(data[at(pixel)])));
    });
    return activated(maps, this.recipe.activation, area);
  }
}

function activated(maps, activation, area) {
  const how = activation === "auto" ? guess(maps, area) : activation;
  if (how === "sigmoid") return maps.map((map) => map.map(sigmoid));
  if (how !== "softmax") return maps.map((map) => map.map((value) => Math.min(1, Math.max(0, value))));
  const made = maps.map((map) => map.slice());
  for (let at = 0; at < area; at++) {
    const top = maps.reduce((best, map) => Math.max(best, map[at]), -Infinity);
    let sum = 0;
    for (const map of made) sum += map[at] = Math.exp(map[at] - top);
    for (const map of made) map[at] /= sum;
  }
  return made;
}

/** How scores become probabilities, by their look. */
function guess(maps, area) {
  let ready = maps.every((map) => map.every((value) => value >= 0 && value <= 1));
  for (let at = 0; ready && maps.length > 1 && at < area; at++) {
    ready = Math.abs(maps.reduce((sum, map) => sum + map[at], 0) - 1) < 1e-2;
  }
  if (ready) return "none";
  return maps.length === 1 ? "sigmoid" : "softmax";
}

function winners(maps, area) {
  const best = new Int32Array(area);
  for (let number = 1; number < maps.length; number++) {
    for (let at = 0; at < area; at++) if (maps[number][at] > maps[best[at]][at]) best[at] = number;
  }
  return best;
}

function maskOf({ chances, taken, wide, high }, width, height, threshold, soft, exclusive) {
  const byChance = soft || !exclusive;
  const values = byChance ? chances : taken;
  const data = Uint8Array.from(values, (value) => even(Math.fround(value * 255)));
  const mask = resize({ width: wide, height: high, channels: 1, data }, width, height, "bilinear");
  if (soft) return mask;
  const least = byChance ? threshold * 255 : 127.5;
  return { ...mask, data: mask.data.map((value) => (value >= least ? 255 : 0)) };
}

export const load = (engine, recipe) => new ImageSegmenter(engine, recipe);
