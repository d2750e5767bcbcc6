// Numbers as the server has them: rounded by their exact decimal value, and scores as probabilities.

export const round = (value, digits) => Number(value.toFixed(digits));

/** To the nearest whole number, halves to the even one, as numpy and Python round. */
export function even(value) {
  const low = Math.floor(value);
  const rest = value - low;
  return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
}

/** A float32 with no more digits than its own precision has. */
export function shortest(value) {
  for (let digits = 1; digits < 10 && Number.isFinite(value); digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}

export function softmax(scores) {
  const top = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Array.from(scores, (score) => Math.exp(score - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

export const sigmoid = (score) => 0.5 * (1 + Math.tanh(score / 2));

/** Scores as probabilities; `auto` takes those that sum to one for such, others for logits. */
export function probabilities(scores, activation) {
  const values = Array.from(scores, Number);
  const sum = values.reduce((a, b) => a + b, 0);
  const ready = Math.min(...values) >= 0 && Math.abs(sum - 1) < 1e-3;
  const how = activation === "auto" ? (ready ? "none" : "softmax") : activation;
  if (how === "softmax") return softmax(values);
  return how === "sigmoid" ? values.map(sigmoid) : values;
}

export const argmax = (values) =>
  values.reduce((best, value, index) => (value > values[best] ? index : best), 0);
