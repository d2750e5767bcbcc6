// Labels for pictures; see the server's pipeline of the same name.

import { intField } from "../fields.js";
import { probabilities, round } from "../numbers.js";
import { pictureField, resizeShort, tensor, throughJpeg } from "../vision/picture.js";
import { crop, resize } from "../vision/resample.js";

const MOST_LABELS = 1000;

class ImageClassifier {
  constructor(engine, recipe) {
    Object.assign(this, { engine, recipe });
  }

  async predict(body) {
    const { labels, activation, top_k, pixels } = this.recipe;
    const count = intField(body, "top_k", top_k, 1, MOST_LABELS);
    const [input, output] = [this.engine.inputs[0], this.engine.outputs[0].name];
    const picture = await this.prepare(await pictureField(body));
    const made = await this.engine.run({ [input.name]: tensor(picture, pixels, input.datatype) }, [output]);
    const likely = probabilities(made[output].data, activation);
    const best = likely.map((_, index) => index).sort((a, b) => likely[b] - likely[a]);
    return {
      results: best.slice(0, count).map((at) => ({ label: labels[at], score: round(likely[at], 6) })),
    };
  }

  /** The picture at the size that the graph takes. */
  async prepare(picture) {
    const { short, crop: inner, size, filter, jpeg } = this.recipe;
    if (short) return resizeShort(picture, short, inner, filter);
    let made = resize(picture, size[1], size[0], filter);
    if (jpeg) made = await throughJpeg(made);
    return crop(made, (size[1] - inner[1]) >> 1, (size[0] - inner[0]) >> 1, inner[1], inner[0]);
  }
}

export const load = (engine, recipe) => new ImageClassifier(engine, recipe);
