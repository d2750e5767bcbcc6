// A label for each row of a table; see the server's pipeline of the same name.

import { argmax, probabilities, round } from "../numbers.js";
import { TabularRegression } from "./tabular_regression.js";

class TabularClassification extends TabularRegression {
  results(answer, count) {
    const { label, scores } = this.recipe;
    const given = label ? Array.from(answer[label].data) : new Array(count).fill(null);
    if (!scores) return given.map((value) => ({ label: this.name(value) }));
    const { data } = answer[scores];
    const width = data.length / count;
    return given
      .slice(0, count)
      .map((value, row) =>
        this.result(value, this.likely(Array.from(data.slice(row * width, (row + 1) * width), Number))),
      );
  }

  result(value, likely) {
    const { labels } = this.recipe;
    const best = argmax(likely);
    if (!labels.length) return { label: this.name(value), score: round(likely[best], 6) };
    const scores = Object.fromEntries(labels.map((label, at) => [label, round(likely[at], 6)]));
    const label = value === null ? labels[best] : this.name(value);
    return { label, score: scores[label] ?? Math.max(...Object.values(scores)), scores };
  }

  /** Probabilities by label; a single score is that of the second of two. */
  likely(row) {
    const { activation, labels } = this.recipe;
    if (row.length > 1) return probabilities(row, activation);
    let score = row[0];
    if (activation === "softmax" || activation === "sigmoid" || !(score >= 0 && score <= 1)) {
      score = probabilities(row, activation === "none" ? "none" : "sigmoid")[0];
    }
    return labels.length === 2 ? [1 - score, score] : [score];
  }

  name(value) {
    return typeof value === "string" ? value : (this.recipe.names[String(value)] ?? String(value));
  }
}

export const load = (engine, recipe) => new TabularClassification(engine, recipe);
