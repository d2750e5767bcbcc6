// Chinese words with their tags, by a model of the LAC family; see the server's pipeline of the same name.

import { textField } from "../fields.js";

const MOST_CHARACTERS = 10_000;

class LexicalAnalysis {
  constructor(engine, recipe) {
    Object.assign(this, { engine, recipe });
  }

  async predict(body) {
    const tokens = await this.words(textField(body, "text", MOST_CHARACTERS));
    const entities = tokens
      .filter(({ tag }) => this.recipe.entities.includes(tag))
      .map(({ text, tag, start, end }) => ({ text, label: tag, start, end }));
    return { results: [{ tokens, entities }] };
  }

  /** Tokens that tile the text; offsets in characters. */
  async words(text) {
    const { tags, transitions, start } = this.recipe;
    const letters = Array.from(text);
    const rows = await this.scores(letters);
    const path = viterbi(rows, transitions, start).map((index) => tags[index]);
    const starts = path.flatMap((tag, place) => (place === 0 || !tag.endsWith("-I") ? [place] : []));
    return starts.map((from, index) => {
      const end = starts[index + 1] ?? letters.length;
      const cut = path[from].lastIndexOf("-");
      return {
        text: letters.slice(from, end).join(""),
        tag: path[from].slice(0, Math.max(cut, 0)) || path[from],
        start: from,
        end,
      };
    });
  }

  async scores(letters) {
    const { ids, normalize, unknown, tags } = this.recipe;
    const known = letters.map((letter) => ids[normalize[letter] ?? letter] ?? unknown);
    const feeds = {
      token_ids: { data: BigInt64Array.from(known, BigInt), dims: [1, known.length] },
      length: { data: BigInt64Array.of(BigInt(known.length)), dims: [1] },
    };
    const name = this.engine.outputs[0].name;
    const { data, dims } = (await this.engine.run(feeds, [name]))[name];
    return known.map((_, place) => data.subarray(place * dims[2], place * dims[2] + tags.length));
  }
}

/** The best path of tags, in numbers of 32 bits as in the server. */
function viterbi(scores, transitions, start) {
  let best = Array.from(scores[0], (score, tag) => Math.fround(score + Math.fround(start[tag])));
  const steps = [];
  for (const row of scores.slice(1)) {
    const from = Array.from(row, () => 0);
    const next = Array.from(row, (score, tag) => {
      let most = -Infinity;
      best.forEach((value, before) => {
        const arriving = Math.fround(value + Math.fround(transitions[before][tag]));
        if (arriving > most) [most, from[tag]] = [arriving, before];
      });
      return Math.fround(most + score);
    });
    steps.push(from);
    best = next;
  }
  const path = [best.indexOf(Math.max(...best))];
  for (const from of steps.reverse()) path.push(from[path.at(-1)]);
  return path.reverse();
}

export const load = (engine, recipe) => new LexicalAnalysis(engine, recipe);
