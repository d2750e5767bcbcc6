// The forms: what a task takes, by its schema. Each has `fill(request)` for examples and calls `send(body)`.

import { badInput } from "../errors.js";
import { at, h } from "./dom.js";
import { say } from "./words.js";

/** Which form a task has, by the main field of its schema. */
export function kindOf({ "x-field": field, properties }) {
  if (field === "image") return "picture";
  if (field === "file") return "file";
  if (field === "text") return "text";
  return field === "source" && properties.sentences ? "pair" : "json";
}

export function build(schema, send, fail) {
  const form = at("form");
  const made = { picture: picker, file: picker, text: plain, pair, json }[kindOf(schema)];
  const { nodes, fill } = made({ schema, send, fail, kind: kindOf(schema) });
  form.replaceChildren(...nodes);
  form.hidden = false;
  return fill;
}

/** A picture or a file: chosen, taken, dropped or pasted, and run at once. */
function picker({ kind, send }) {
  const picture = kind === "picture";
  const field = picture ? "image" : "file";
  const take = (file) => file && send(picture ? { image: file } : { file, name: file.name || "file" }, file);
  const input = (more) =>
    h("input", {
      type: "file",
      hidden: true,
      accept: picture ? "image/*" : false,
      onchange: (event) => {
        take(event.target.files[0]);
        event.target.value = ""; // so that the same file can be chosen again
      },
      ...more,
    });
  const [files, camera] = [input({ id: "pick" }), input({ capture: "environment" })];
  const choose = h(
    "button.seal",
    { type: "button", onclick: () => files.click() },
    say(picture ? "pick" : "pickFile"),
  );
  const photo = h("button", { type: "button", onclick: () => camera.click() }, say("camera"));
  const touch = matchMedia("(pointer: coarse)").matches; // elsewhere `capture` does nothing
  const drop = h(
    "div.drop",
    {},
    h("div.actions", {}, choose, touch && picture ? photo : null),
    touch ? null : h("p.hint", {}, say(picture ? "dropPicture" : "dropFile")),
    files,
    camera,
  );
  listen(drop, take, picture);
  return { nodes: [drop], fill: (request) => send(request, blobOf(request[field])) };
}

let dropping = new AbortController();

function listen(drop, take, picture) {
  dropping.abort();
  dropping = new AbortController();
  const { signal } = dropping;
  document.addEventListener(
    "dragover",
    (event) => {
      event.preventDefault();
      drop.classList.add("over");
    },
    { signal },
  );
  document.addEventListener("dragleave", () => drop.classList.remove("over"), { signal });
  document.addEventListener(
    "drop",
    (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      take(event.dataTransfer.files[0]);
    },
    { signal },
  );
  if (picture) document.addEventListener("paste", (event) => take(event.clipboardData.files[0]), { signal });
}

/** The bytes of an example's field, to be shown. */
function blobOf(value) {
  const text = typeof value === "string" ? value : value.base64;
  return new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]);
}

function runButton() {
  return h("div.actions", {}, h("button.seal", { id: "run" }, say("run")));
}

function onSubmit(send) {
  at("form").onsubmit = (event) => {
    event.preventDefault();
    send();
  };
}

function area(id, name, more = {}) {
  const box = h("textarea", { id, rows: 4, spellcheck: "false", ...more });
  return { box, node: h("div", {}, h("label.name", { for: id }, name), box) };
}

function plain({ send }) {
  const { box, node } = area("text", say("text"));
  onSubmit(() => send({ text: box.value }));
  const fill = (request) => {
    box.value = Array.isArray(request.text) ? request.text.join("\n") : request.text;
    send(request);
  };
  return { nodes: [node, runButton()], fill };
}

function pair({ send }) {
  const one = area("source", say("source"), { rows: 2 });
  const others = area("sentences", say("sentences"));
  const lines = () =>
    others.box.value
      .split("\n")
      .map((line) => line.trim())
      .filter(Boolean);
  onSubmit(() => send({ source: one.box.value, sentences: lines() }));
  const fill = (request) => {
    one.box.value = request.source;
    others.box.value = [request.sentences].flat().join("\n");
    send(request);
  };
  return { nodes: [one.node, others.node, runButton()], fill };
}

function json({ schema, send, fail }) {
  const { box, node } = area("json", say("rows"), { class: "code" });
  box.value = JSON.stringify(blank(schema), null, 1);
  onSubmit(() => {
    let body;
    try {
      body = JSON.parse(box.value);
    } catch (error) {
      return fail(badInput("JSON", { zh: say("badJson", error.message), en: say("badJson", error.message) }));
    }
    return send(body);
  });
  const fill = (request) => {
    box.value = JSON.stringify(request, null, 1);
    send(request);
  };
  return { nodes: [node, runButton()], fill };
}

/** A body to be filled in: one row with the columns' names. */
function blank({ "x-columns": columns, "x-field": field }) {
  if (!columns) return { [field]: [] };
  const cell = ({ type, categories }) => categories?.[0] ?? { number: 0, boolean: false }[type] ?? "";
  return { rows: [Object.fromEntries(columns.map((column) => [column.name, cell(column)]))] };
}
