// Texts to vectors; see the server's pipeline of the same name.

import { boolField, textsField } from "../fields.js";
import { TextEncoder, batches, counted } from "../text/tokens.js";

export class FeatureExtraction {
  constructor(engine, recipe) {
    Object.assign(this, { engine, recipe });
    this.encoder = new TextEncoder(engine, recipe.encoder);
  }

  async predict(body) {
    const items = this.encoder.encode(textsField(body, "text"), "text", boolField(body, "truncate", false));
    const vectors = await this.vectors(items);
    return {
      embeddings: vectors.map((vector) => Array.from(vector)),
      dimensions: vectors[0].length,
      usage: { prompt_tokens: counted(items) },
    };
  }

  /** A Float32Array for each text, in their order. */
  async vectors(items) {
    const { output } = this.recipe;
    const found = new Array(items.length);
    for (const group of batches(items)) {
      const batch = group.map((index) => items[index]);
      const hidden = (await this.engine.run(this.encoder.feeds(batch), [output]))[output];
      group.forEach((index, row) => (found[index] = this.pool(hidden, row, items[index].ids.length)));
    }
    return found;
  }

  /** Row `row` of the graph's output as one vector; `length` tokens of it are the text's. */
  pool({ data, dims }, row, length) {
    const { pooling, normalize } = this.recipe;
    const width = dims.at(-1);
    const lines = dims.length === 2 ? 1 : dims[1];
    const counts =
      dims.length === 2 || pooling === "cls"
        ? 1
        : this.encoder.names.includes("attention_mask")
          ? length
          : lines;
    const vector = new Float32Array(width);
    const start = row * lines * width;
    for (let line = 0; line < counts; line++) {
      for (let at = 0; at < width; at++) vector[at] += data[start + line * width + at];
    }
    const norm = normalize ? Math.max(Math.hypot(...vector.map((value) => value / counts)), 1e-12) : 1;
    return vector.map((value) => value / counts / norm);
  }
}

export const load = (engine, recipe) => new FeatureExtraction(engine, recipe);
