// Hashed character n-grams, the features of linear text models; see the server's text/features.py.

const SPACES = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u; // as Python parts words
const UTF8 = new globalThis.TextEncoder();

function fnv1a(text) {
  let value = 0x811c9dc5;
  for (const byte of UTF8.encode(text)) value = Math.imul(value ^ byte, 0x01000193);
  return value >>> 0;
}

function clean(text, { normalize, lowercase }) {
  const form = text.normalize(normalize);
  return (lowercase ? form.toLowerCase() : form).split(SPACES).filter(Boolean).join(" ");
}

/** [bucket, weight] in rising order; none for a text without characters. */
function features(text, analyzer) {
  const letters = Array.from(clean(text, analyzer));
  const [low, high] = analyzer.ngrams;
  const counts = new Map();
  for (let size = low; size <= high; size++) {
    for (let start = 0; start + size <= letters.length; start++) {
      const bucket = (fnv1a(letters.slice(start, start + size).join("")) % analyzer.buckets) + 1;
      counts.set(bucket, (counts.get(bucket) ?? 0) + 1);
    }
  }
  const found = [...counts]
    .sort((a, b) => a[0] - b[0])
    .map(([bucket, count]) => [bucket, 1 + Math.log(count)]);
  const norm = Math.sqrt(found.reduce((sum, [, weight]) => sum + weight * weight, 0)) || 1;
  return found.map(([bucket, weight]) => [bucket, weight / norm]);
}

/** The graph's inputs `ids` and `weights`, padded with 0 to the longest. */
export function ngramFeeds(texts, analyzer) {
  const rows = texts.map((text) => features(text, analyzer));
  const width = Math.max(1, ...rows.map((row) => row.length));
  const ids = new BigInt64Array(rows.length * width);
  const weights = new Float32Array(rows.length * width);
  rows.forEach((row, number) =>
    row.forEach(([bucket, weight], at) => {
      ids[number * width + at] = BigInt(bucket);
      weights[number * width + at] = weight;
    }),
  );
  const dims = [rows.length, width];
  return { ids: { data: ids, dims }, weights: { data: weights, dims } };
}
