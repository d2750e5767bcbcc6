// A label for each text; see the server's pipeline of the same name.

import { boolField, textsField } from "../fields.js";
import { argmax, round, softmax } from "../numbers.js";
import { ngramFeeds } from "../text/ngrams.js";

export class TextClassification {
  constructor(engine, recipe, tokens) {
    Object.assign(this, { engine, recipe, tokens });
    if (tokens) this.encoder = new tokens.TextEncoder(engine, recipe.encoder);
  }

  async predict(body) {
    const texts = textsField(body, "text");
    const truncate = boolField(body, "truncate", false);
    const items = this.encoder?.encode(texts, "text", truncate);
    const rows = await (items ? this.ofTokens(items) : this.scores(ngramFeeds(texts, this.recipe.analyzer)));
    const answer = { results: rows.map((row) => this.result(row)) };
    return items ? { ...answer, usage: { prompt_tokens: this.tokens.counted(items) } } : answer;
  }

  async ofTokens(items) {
    const found = new Array(items.length);
    for (const group of this.tokens.batches(items)) {
      const rows = await this.scores(this.encoder.feeds(group.map((index) => items[index])));
      group.forEach((index, row) => (found[index] = rows[row]));
    }
    return found;
  }

  /** Probabilities of each row. */
  async scores(feeds) {
    const name = this.engine.outputs[0].name;
    const { data } = (await this.engine.run(feeds, [name]))[name];
    const count = this.recipe.labels.length;
    return Array.from({ length: data.length / count }, (_, row) => {
      const logits = Array.from(data.subarray(row * count, (row + 1) * count), Number);
      return this.recipe.function === "sigmoid"
        ? logits.map((one) => 1 / (1 + Math.exp(-one)))
        : softmax(logits);
    });
  }

  result(scores) {
    const { labels } = this.recipe;
    const named = Object.fromEntries(labels.map((label, at) => [label, round(scores[at], 6)]));
    const label = labels[argmax(scores)];
    return { label, score: named[label], scores: named };
  }
}

export async function load(engine, recipe) {
  const tokens = recipe.encoder ? await import("../text/tokens.js") : null;
  return new TextClassification(engine, recipe, tokens);
}
