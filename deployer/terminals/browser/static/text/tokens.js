// Text to token ids through the model's tokenizer.json, padded for a batch, never cut unasked.

import { badInput } from "../errors.js";
import { Tokenizer } from "../runtime/tokenizers.js";

const ROWS = 16; // texts of one run

export class TextEncoder {
  constructor(engine, recipe) {
    Object.assign(this, recipe);
    this.tokenizer = new Tokenizer(engine.json(recipe.file), {});
  }

  /** {ids, types} of each text; one beyond the context is cut when asked for, else refused. */
  encode(texts, where, truncate) {
    return texts.map((text, index) => {
      const found = this.tokens(text);
      if (found.ids.length <= this.max_tokens) return found;
      if (truncate) return this.cut(text, found);
      throw this.tooLong(texts.length > 1 ? `${where}[${index}]` : where, found.ids.length);
    });
  }

  tokens(text, special = true) {
    const found = this.tokenizer.encode(text, { add_special_tokens: special, return_token_type_ids: true });
    return { ids: Array.from(found.ids), types: Array.from(found.token_type_ids ?? found.ids.map(() => 0)) };
  }

  /** The same without the text's end, but with the special tokens that come after it. */
  cut(text, { ids, types }) {
    const spare = ids.length - this.max_tokens;
    const bare = this.tokens(text, false).ids.length;
    const before = this.before(text, ids);
    const end = before + bare;
    const keep = (values) => [...values.slice(0, end - spare), ...values.slice(end)];
    return { ids: keep(ids), types: keep(types) };
  }

  /** How many special tokens stand before the text's own. */
  before(text, ids) {
    const first = this.tokens(text, false).ids[0];
    return ids.indexOf(first);
  }

  tooLong(place, count) {
    const most = this.max_tokens;
    return badInput(
      place,
      {
        en: `has ${count} tokens; the model reads ${most}`,
        zh: `有 ${count} 个 token，模型至多读取 ${most} 个`,
      },
      {
        en: `at most ${most} tokens, special ones included, or "truncate": true to cut`,
        zh: `至多 ${most} 个 token（含特殊 token），或用 "truncate": true 截断`,
      },
    );
  }

  /** The graph's inputs, int64 [batch, longest], padded at the end. */
  feeds(items) {
    const width = Math.max(...items.map(({ ids }) => ids.length));
    const filled = (fill, valuesOf) => {
      const data = new BigInt64Array(items.length * width).fill(BigInt(fill));
      items.forEach((item, row) =>
        valuesOf(item).forEach((value, at) => (data[row * width + at] = BigInt(value))),
      );
      return { data, dims: [items.length, width] };
    };
    const made = {
      input_ids: () => filled(this.pad_id, ({ ids }) => ids),
      attention_mask: () => filled(0, ({ ids }) => ids.map(() => 1)),
      token_type_ids: () => filled(0, ({ types }) => types),
    };
    return Object.fromEntries(this.names.map((name) => [name, made[name]()]));
  }
}

/** Indices in groups of like length, so that little is padded. */
export function batches(items) {
  const order = items.map((_, index) => index).sort((a, b) => items[a].ids.length - items[b].ids.length);
  const groups = [];
  for (let at = 0; at < order.length; at += ROWS) groups.push(order.slice(at, at + ROWS));
  return groups;
}

export const counted = (items) => items.reduce((sum, { ids }) => sum + ids.length, 0);
