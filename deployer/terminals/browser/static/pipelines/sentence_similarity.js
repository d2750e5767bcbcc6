// How near sentences lie to one text in meaning; see the server's pipeline of the same name.

import { boolField, textField, textsField } from "../fields.js";
import { round } from "../numbers.js";
import { counted } from "../text/tokens.js";
import { FeatureExtraction } from "./feature_extraction.js";

class SentenceSimilarity extends FeatureExtraction {
  async predict(body) {
    const [source, sentences] = [textField(body, "source"), textsField(body, "sentences")];
    const truncate = boolField(body, "truncate", false);
    const items = [
      ...this.encoder.encode([source], "source", truncate),
      ...this.encoder.encode(sentences, "sentences", truncate),
    ];
    const [one, ...others] = await this.vectors(items);
    const scores = others.map((other) => round(cosine(one, other), 6));
    return { scores, usage: { prompt_tokens: counted(items) } };
  }
}

/** 0 where a vector is empty. */
function cosine(one, other) {
  const dot = one.reduce((sum, value, at) => sum + value * other[at], 0);
  const lengths = Math.hypot(...one) * Math.hypot(...other);
  return Math.min(1, Math.max(-1, dot / Math.max(lengths, 1e-12)));
}

export const load = (engine, recipe) => new SentenceSimilarity(engine, recipe);
