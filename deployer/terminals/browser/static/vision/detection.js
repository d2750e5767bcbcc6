// From a detector's outputs to boxes; see the server's module of the same name for what the forms mean.

import { even, sigmoid, softmax } from "../numbers.js";
import { resize } from "./resample.js";

const MOST = 100; // boxes of an answer
const MOST_CELLS = 1000;
const MOST_CANDIDATES = 2000;

const highest = (row) => row.reduce((best, value) => Math.max(best, value), 0);
const order = (keys) => keys.map((_, index) => index).sort((a, b) => keys[b] - keys[a]);

/** {scores: [n][classes], boxes: [n][x0, y0, x1, y1]} of outputs with a box a row. */
export function decodeBoxes(answer, decoder, [height, width]) {
  const found = Object.fromEntries(
    Object.entries(decoder.roles).map(([role, name]) => [role, Array.from(answer[name].data, Number)]),
  );
  const wide = answer[decoder.roles.boxes].dims.at(-1);
  const rows = [];
  for (let at = 0; at < found.boxes.length; at += wide) rows.push(found.boxes.slice(at, at + wide));
  if (!rows.length) return { scores: [], boxes: [] };
  const sides = decoder.normalized ? [width, height, width, height] : [1, 1, 1, 1];
  const boxes = rows.map((row) => corners(row, decoder.form).map((value, side) => value * sides[side]));
  const scores = classScores(rows, found.scores, found.labels, decoder).map((row, index) =>
    boxes[index].every(Number.isFinite)
      ? row.map((one) => (Number.isFinite(one) ? one : 0))
      : row.map(() => 0),
  );
  const best = order(scores.map(highest)).slice(0, MOST_CELLS);
  return {
    scores: best.map((index) => scores[index]),
    boxes: best.map((index) => boxes[index].map((value) => (Number.isFinite(value) ? value : 0))),
  };
}

function corners([a, b, c, d], form) {
  if (form === "xyxy") return [a, b, c, d];
  if (form === "yxyx") return [b, a, d, c];
  return form === "xywh" ? [a, b, a + c, b + d] : [a - c / 2, b - d / 2, a - c / 2 + c, b - d / 2 + d];
}

function classScores(rows, scores, labels, { classes, activation }) {
  const told = scores ?? rows.map((row) => (row.length > 4 ? row[4] : 1));
  const named = labels ?? (rows[0].length > 5 ? rows.map((row) => row[5]) : null);
  if (activation === "softmax" || (!named && told.length !== rows.length)) {
    const each = told.length / rows.length;
    return rows.map((_, index) =>
      ofClasses(told.slice(index * each, (index + 1) * each), classes, activation),
    );
  }
  return rows.map((_, index) => {
    const row = new Array(classes).fill(0);
    const label = named ? (Number.isNaN(named[index]) ? -1 : named[index]) : 0;
    const score = activation === "sigmoid" ? sigmoid(told[index]) : told[index];
    if (label >= 0 && label < classes) row[Math.trunc(label)] = score;
    return row;
  });
}

/** Scores of each class; of a softmax the class beyond the labels is nothing at all. */
function ofClasses(scores, classes, activation) {
  if (activation === "softmax") return softmax(scores).slice(0, classes);
  return activation === "sigmoid" ? scores.map(sigmoid) : scores;
}

/** The same of PaddleDetection's PicoDet: for each stride scores, then for each stride distances. */
export function decodeCells(answer, { outputs }, [height, width]) {
  const half = outputs.length / 2;
  const [allScores, allBoxes] = [[], []];
  for (let level = 0; level < half; level++) {
    const [scores, spread] = [answer[outputs[level]], answer[outputs[half + level]]];
    const [classes, reach] = [scores.dims.at(-1), spread.dims.at(-1) / 4];
    const stride = 8 << level;
    const columns = Math.ceil(width / stride);
    const rowOf = (cell) => Array.from(scores.data.subarray(cell * classes, (cell + 1) * classes));
    const cells = Array.from({ length: scores.data.length / classes }, (_, cell) => cell);
    const keys = cells.map((cell) => Math.max(...rowOf(cell)));
    for (const cell of order(keys).slice(0, MOST_CELLS)) {
      const sides = [0, 1, 2, 3].map((side) => {
        const start = (cell * 4 + side) * reach;
        return (
          softmax(spread.data.subarray(start, start + reach)).reduce(
            (sum, share, at) => sum + share * at,
            0,
          ) * stride
        );
      });
      const [x, y] = [
        (cell % columns) * stride + stride / 2,
        Math.floor(cell / columns) * stride + stride / 2,
      ];
      const box = [x - sides[0], y - sides[1], x + sides[2], y + sides[3]];
      allScores.push(rowOf(cell));
      allBoxes.push(box.map((value, side) => Math.min(side % 2 ? height : width, Math.max(0, value))));
    }
  }
  return { scores: allScores, boxes: allBoxes };
}

/** The picture at the graph's size, and `back`, which leads boxes to the picture that was sent. */
export function place(picture, [height, width], fit, filter, fill) {
  const whole = [picture.width, picture.height];
  const leading = (corner, ratio) => (box) =>
    box.map((value, side) => {
      const axis = side % 2;
      return Math.min(whole[axis], Math.max(0, (value - corner[axis]) / ratio[axis]));
    });
  if (fit === "stretch") {
    const made = resize(picture, width, height, filter);
    return { picture: made, back: leading([0, 0], [width / whole[0], height / whole[1]]) };
  }
  const scale = Math.min(width / whole[0], height / whole[1]);
  const inner = whole.map((side) => Math.max(1, even(side * scale)));
  const spare = [width - inner[0], height - inner[1]];
  const corner = fit === "letterbox" ? spare.map((side) => side >> 1) : [0, 0];
  const ground = { width, height, channels: 3, data: new Uint8Array(width * height * 3).fill(fill) };
  const small = resize(picture, inner[0], inner[1], filter);
  for (let y = 0; y < inner[1]; y++) {
    const line = small.data.subarray(y * inner[0] * 3, (y + 1) * inner[0] * 3);
    ground.data.set(line, ((corner[1] + y) * width + corner[0]) * 3);
  }
  return { picture: ground, back: leading(corner, [inner[0] / whole[0], inner[1] / whole[1]]) };
}

/** [class, row] of those to keep, from the highest score: of each class without doubles, MOST at most. */
export function pick(scores, boxes, least, overlap) {
  const found = [];
  const classes = scores[0]?.length ?? 0;
  for (let label = 0; label < classes; label++) {
    scores.forEach((row, index) => row[label] > least && found.push([label, index]));
  }
  const by = (a, b) => scores[b[1]][b[0]] - scores[a[1]][a[0]];
  const candidates = found.sort(by).slice(0, MOST_CANDIDATES);
  const kept = [];
  for (const label of [...new Set(candidates.map(([one]) => one))].sort((a, b) => a - b)) {
    let rest = candidates.filter(([one]) => one === label);
    for (let taken = 0; rest.length && taken < MOST; taken++) {
      const [first, ...others] = rest;
      kept.push(first);
      rest = others.filter(([, index]) => shared(boxes[first[1]], boxes[index]) <= overlap);
    }
  }
  return kept.sort(by).slice(0, MOST);
}

/** Intersection over union. */
function shared(one, other) {
  const side = (low, high) => Math.max(0, Math.min(one[high], other[high]) - Math.max(one[low], other[low]));
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  const inner = side(0, 2) * side(1, 3);
  return inner / Math.max(area(one) + area(other) - inner, 1e-9);
}

/** Indices of boxes line by line from the top, each line from the left. */
export function readingOrder(boxes) {
  const middles = boxes.map((box) => (box[1] + box[3]) / 2);
  const heights = boxes.map((box) => box[3] - box[1]);
  const lines = [];
  for (const index of boxes.map((_, at) => at).sort((a, b) => middles[a] - middles[b])) {
    const last = lines.at(-1)?.at(-1);
    const joins =
      last !== undefined && middles[index] - middles[last] < Math.min(heights[index], heights[last]) / 2;
    joins ? lines.at(-1).push(index) : lines.push([index]);
  }
  return lines.flatMap((line) => line.sort((a, b) => boxes[a][0] - boxes[b][0]));
}
