// Answers for people: labels with bars, masks over the picture, boxes, marked words, the head of a vector.

import { h } from "./dom.js";
import { of, percent, say } from "./words.js";

const DRAWN = ["#0b6bcb", "#c2410c", "#15803d", "#7e22ce", "#a16207", "#be185d"]; // on pictures, whatever the theme

/** The nodes that show an answer; `picture` is the Blob that was given, `request` the body. */
export async function shown(answer, { schema, request, picture }) {
  const title = (label) => of(schema["x-label-titles"]?.[label]) || label;
  const bitmap =
    picture && schema["x-field"] === "image" ? await createImageBitmap(picture).catch(() => null) : null;
  if (answer.results?.[0]?.mask || (answer.width && answer.results && !answer.results.length)) {
    return [await masks(answer, bitmap, title)];
  }
  if (answer.width && (answer.regions ?? answer.results)) return [boxes(answer, bitmap, title)];
  if (answer.embeddings) return answer.embeddings.map(vector);
  if (answer.scores)
    return [
      bars(
        [request.sentences].flat().map((text, at) => [text, answer.scores[at]]),
        true,
      ),
    ];
  if (answer.mime) return [kind(answer)];
  if (answer.results?.[0]?.entities) return [entities(answer.results[0], request.text, title)];
  if (answer.results?.[0]?.label !== undefined) return [labels(answer, bitmap, title, request)];
  if (answer.results?.[0]?.value !== undefined) return [numbers(answer.results)];
  return [];
}

const score = (value) => percent(value, 1);

/** Rows of name and share, the largest first where `sorted`. */
function bars(rows, sorted = false) {
  const long = rows.some(([name]) => name.length > 24);
  const order = sorted ? [...rows].sort((a, b) => b[1] - a[1]) : rows;
  const best = Math.max(...rows.map(([, value]) => value));
  const nodes = order.flatMap(([name, value]) => [
    h(value === best ? "dt.first" : "dt", {}, name),
    h("dd", {}, h("progress", { max: 1, value: Math.max(0, value), "aria-label": name })),
    h("dd", {}, sorted ? value.toFixed(4) : score(value)),
  ]);
  return h(long ? "dl.bars.stacked" : "dl.bars", {}, nodes);
}

function labels({ results }, bitmap, title, request) {
  const several = results.length > 1 && results.every(({ scores }) => scores);
  if (several) return table(results, title, request);
  const [{ scores }] = results;
  const rows = scores
    ? Object.entries(scores).map(([label, value]) => [title(label), value])
    : results.map((one) => [title(one.label), one.score ?? 1]);
  const list = bars(rows.sort((a, b) => b[1] - a[1]));
  return bitmap ? h("div.sides", {}, list, figure(canvasOf(bitmap), say("picture"))) : list;
}

function table(results, title, request) {
  const texts = [request.text ?? []].flat();
  const rows = results.map((one, at) =>
    h(
      "tr",
      {},
      h("td", {}, texts[at] ?? String(at + 1)),
      h("td", {}, title(one.label)),
      h("td", {}, score(one.score)),
    ),
  );
  const head = h(
    "tr",
    {},
    ["text", "label", "score"].map((key) => h("th", { scope: "col" }, say(key))),
  );
  return h("div.scroll", {}, h("table", {}, h("thead", {}, head), h("tbody", {}, rows)));
}

function kind({ description, mime, group, extensions, score: sure }) {
  return h(
    "dl.bars",
    {},
    h("dt.first", {}, `${description} · ${group}`),
    h("dd", {}, h("progress", { max: 1, value: sure, "aria-label": description })),
    h("dd", {}, score(sure)),
    h("dt.muted", {}, h("span.mono", {}, mime)),
    h("dd", {}, extensions.map((ending) => `.${ending}`).join(" ")),
    h("dd", {}),
  );
}

function numbers(results) {
  return h(
    "div.scroll",
    {},
    h(
      "table",
      {},
      h(
        "tbody",
        {},
        results.map(({ value }, at) =>
          h("tr", {}, h("th", { scope: "row" }, String(at + 1)), h("td", {}, String(value))),
        ),
      ),
    ),
  );
}

function vector(values) {
  const head = values
    .slice(0, 8)
    .map((value) => value.toFixed(4))
    .join(", ");
  return h(
    "div",
    {},
    h("p", {}, `${say("dimensions", values.length)} · `, h("span.muted", {}, say("head"))),
    h("p.mono.vector", {}, `[${head}${values.length > 8 ? ", …" : ""}]`),
  );
}

function entities({ tokens, entities: found }, text, title) {
  const letters = Array.from(text);
  const nodes = [];
  let from = 0;
  for (const { start, end, label } of [...found].sort((a, b) => a.start - b.start)) {
    nodes.push(letters.slice(from, start).join(""));
    nodes.push(
      h(
        "mark",
        {},
        letters.slice(start, end).join(""),
        h("small", {}, title(label) === label ? (say("entity", label) ?? label) : title(label)),
      ),
    );
    from = end;
  }
  nodes.push(letters.slice(from).join(""));
  const words = tokens.map((one) => one.text).join(" / ");
  return h(
    "div",
    {},
    h("p.entities", {}, nodes),
    found.length ? null : h("p.hint", {}, say("noEntities")),
    h("p.words", {}, words),
  );
}

// Pictures

function canvasOf(bitmap) {
  const canvas = h("canvas", { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return canvas;
}

function figure(canvas, caption, cut = false) {
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", caption);
  return h("figure", {}, h(cut ? "div.seen.cut" : "div.seen", {}, canvas), h("figcaption", {}, caption));
}

/** Each mask laid over the picture, and of the largest one what it cuts out. */
async function masks({ results }, bitmap, title) {
  if (!bitmap || !results.length) return h("p", {}, say("nothing"));
  const over = canvasOf(bitmap);
  let cut = null;
  for (const [index, { mask }] of results.entries()) {
    const grey = await createImageBitmap(blob(mask.base64), { colorSpaceConversion: "none" });
    const layer = alphaOf(grey);
    if (!cut) {
      cut = canvasOf(bitmap);
      const pen = cut.getContext("2d");
      pen.globalCompositeOperation = "destination-in";
      pen.drawImage(layer, 0, 0);
    }
    const tint = layer.getContext("2d");
    tint.globalCompositeOperation = "source-in";
    tint.fillStyle = DRAWN[index % DRAWN.length];
    tint.fillRect(0, 0, layer.width, layer.height);
    const pen = over.getContext("2d");
    pen.globalAlpha = 0.5;
    pen.drawImage(layer, 0, 0);
  }
  const captions = results.map(({ label, area }) => say("masked", title(label), percent(area)));
  return h("div.sides", {}, figure(over, captions.join("; ")), figure(cut, say("cutout"), true));
}

/** A grey picture as the opacity of a canvas. */
function alphaOf(grey) {
  const canvas = canvasOf(grey);
  const pen = canvas.getContext("2d");
  const pixels = pen.getImageData(0, 0, grey.width, grey.height);
  for (let at = 0; at < pixels.data.length; at += 4) pixels.data[at + 3] = pixels.data[at];
  pen.putImageData(pixels, 0, 0);
  return canvas;
}

const blob = (text) =>
  new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))], { type: "image/png" });

function boxes(answer, bitmap, title) {
  const found = (answer.regions ?? answer.results).map(({ label, score: sure, box }) => ({
    name: title(label),
    sure,
    box: Array.isArray(box) ? box : [box.xmin, box.ymin, box.xmax, box.ymax],
  }));
  const list = found.length ? bars(found.map(({ name, sure }) => [name, sure])) : h("p", {}, say("nothing"));
  if (!bitmap) return list;
  const canvas = canvasOf(bitmap);
  const pen = canvas.getContext("2d");
  const unit = Math.max(bitmap.width, bitmap.height) / 400;
  const names = [...new Set(found.map(({ name }) => name))];
  pen.lineWidth = 2 * unit;
  pen.font = `600 ${13 * unit}px sans-serif`;
  for (const {
    name,
    box: [left, top, right, bottom],
  } of found) {
    pen.strokeStyle = pen.fillStyle = DRAWN[names.indexOf(name) % DRAWN.length];
    pen.strokeRect(left, top, right - left, bottom - top);
    const width = pen.measureText(name).width + 8 * unit;
    pen.fillRect(left, Math.max(0, top - 18 * unit), width, 18 * unit);
    pen.fillStyle = "#fff";
    pen.fillText(name, left + 4 * unit, Math.max(0, top - 18 * unit) + 13 * unit);
  }
  return h("div.sides", {}, figure(canvas, say("picture")), list);
}
