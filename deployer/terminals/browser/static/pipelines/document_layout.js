// Regions of a page in the order in which it is read; see the server's pipeline of the same name.

import { round } from "../numbers.js";
import { readingOrder } from "../vision/detection.js";
import { pictureField } from "../vision/picture.js";
import { ObjectDetector, tenth } from "./object_detection.js";

class LayoutDetector extends ObjectDetector {
  async predict(body) {
    const picture = await pictureField(body);
    const found = await this.find(picture, body);
    const regions = found.map(({ label, score, box }) => ({
      label,
      score: round(score, 4),
      box: box.map(tenth),
    }));
    const order = readingOrder(regions.map(({ box }) => box));
    return { regions: order.map((at) => regions[at]), width: picture.width, height: picture.height };
  }
}

export const load = (engine, recipe) => new LayoutDetector(engine, recipe);
