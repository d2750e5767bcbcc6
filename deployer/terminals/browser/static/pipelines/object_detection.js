// What there is in a picture and where; see the server's pipeline of the same name.

import { floatField } from "../fields.js";
import { even, round } from "../numbers.js";
import { decodeBoxes, decodeCells, pick, place } from "../vision/detection.js";
import { pictureField, tensor } from "../vision/picture.js";

const SIDES = ["xmin", "ymin", "xmax", "ymax"];
export const tenth = (value) => even(value * 10) / 10; // as numpy rounds to one digit

export class ObjectDetector {
  constructor(engine, recipe) {
    Object.assign(this, { engine, recipe });
  }

  async predict(body) {
    const picture = await pictureField(body);
    const found = await this.find(picture, body);
    const results = found.map(({ label, score, box }) => ({
      label,
      score: round(score, 4),
      box: Object.fromEntries(SIDES.map((side, at) => [side, tenth(box[at])])),
    }));
    return { results, width: picture.width, height: picture.height };
  }

  /** [{label, score, box}] in pixels of the picture, from the highest score down. */
  async find(picture, body) {
    const { recipe, engine } = this;
    const least = floatField(body, "min_score", recipe.least, 0, 1);
    const overlap = floatField(body, "max_overlap", recipe.overlap, 0, 1);
    const placed = place(picture, recipe.size, recipe.fit, recipe.filter, recipe.fill);
    const input = engine.inputs[0];
    const feeds = { [input.name]: tensor(placed.picture, recipe.pixels, input.datatype) };
    if (recipe.size_input) {
      feeds[recipe.size_input] = {
        data: BigInt64Array.from([recipe.size[1], recipe.size[0]], BigInt),
        dims: [1, 2],
      };
    }
    const { decoder } = recipe;
    const answer = await engine.run(feeds, decoder.outputs ?? Object.values(decoder.roles));
    const read = decoder.roles ? decodeBoxes : decodeCells;
    const { scores, boxes } = read(answer, decoder, recipe.size);
    const back = boxes.map(placed.back);
    return pick(scores, back, least, overlap)
      .map(([label, row]) => ({ label: recipe.labels[label], score: scores[row][label], box: back[row] }))
      .filter(({ label, box }) => label && box[2] > box[0] && box[3] > box[1]);
  }
}

export const load = (engine, recipe) => new ObjectDetector(engine, recipe);
