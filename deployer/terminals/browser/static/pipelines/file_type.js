// What a file is, by its content; see the server's pipeline of the same name.

import { bytesField, textField } from "../fields.js";
import { argmax, round } from "../numbers.js";

const GENERIC = ["txt", "unknown"];
const isBlank = (byte) => byte === 32 || (byte >= 9 && byte <= 13);

class FileTypes {
  constructor(engine, recipe) {
    Object.assign(this, { engine, recipe });
  }

  async predict(body) {
    const { label, score } = await this.guess(await bytesField(body, "file"));
    const kind = this.recipe.kinds[label] ?? {};
    const endings = kind.extensions ?? [];
    const answer = {
      label,
      score: round(score, 4),
      mime: kind.mime_type || "application/octet-stream",
      group: kind.group || "unknown",
      description: kind.description || label,
      extensions: endings,
    };
    if (!("name" in body)) return answer;
    const name = textField(body, "name", 1024).toLowerCase();
    const told = endings.length && !GENERIC.includes(label);
    return { ...answer, name_fits: told ? endings.some((ending) => name.endsWith(`.${ending}`)) : null };
  }

  /** Label and score; a few bytes are told apart without the model. */
  async guess(data) {
    const { config } = this.recipe;
    const numbers = this.features(data);
    const least = config.min_file_size_for_dl;
    if (data.length < least || numbers[least - 1] === config.padding_token) {
      return { label: isText(data.subarray(0, config.block_size)) ? "txt" : "unknown", score: 1 };
    }
    const [input, output] = [this.engine.inputs[0].name, this.engine.outputs[0].name];
    const feeds = { [input]: { data: numbers, dims: [1, numbers.length] } };
    const scores = (await this.engine.run(feeds, [output]))[output].data;
    const best = argmax(scores);
    return { label: this.trusted(config.target_labels_space[best], scores[best]), score: scores[best] };
  }

  /** Both ends of the file without white space, padded at the seam. */
  features(data) {
    const { block_size: block, beg_size: first, end_size: last, padding_token: padding } = this.recipe.config;
    const numbers = new Int32Array(first + last).fill(padding);
    let [from, to] = [0, Math.min(block, data.length)];
    while (from < to && isBlank(data[from])) from++;
    numbers.set(data.subarray(from, Math.min(to, from + first)));
    [from, to] = [Math.max(0, data.length - block), data.length];
    while (to > from && isBlank(data[to - 1])) to--;
    const tail = data.subarray(Math.max(from, to - last), to);
    numbers.set(tail, first + last - tail.length);
    return numbers;
  }

  /** The guess, a plainer name for it, or only text or not when it is unsure. */
  trusted(label, score) {
    const { config, kinds } = this.recipe;
    const answer = config.overwrite_map[label] ?? label;
    if (score >= (config.thresholds[label] ?? config.medium_confidence_threshold)) return answer;
    return kinds[answer]?.is_text ? "txt" : "unknown";
  }
}

function isText(bytes) {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

export const load = (engine, recipe) => new FileTypes(engine, recipe);
