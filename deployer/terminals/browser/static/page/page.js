// The demo page: keeps the folder on the device, loads the model, takes input, shows answers.

import { load, MarketError } from "../market.js";
import { shown } from "./answers.js";
import { at, h } from "./dom.js";
import { build } from "./inputs.js";
import { keep, use } from "./offline.js";
import { bytes, language, of, say, switchLanguage } from "./words.js";

const page = { release: null, examples: [], model: null, offline: { state: "" }, last: null, problem: null };

async function read(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

async function start() {
  at("language").addEventListener("click", () => {
    switchLanguage();
    speak();
  });
  speak();
  try {
    page.release = await read("release.json");
    speak();
    await keep((news) => {
      page.offline = { ...page.offline, ...news };
      if (news.progress) progress("loading", ...news.progress);
      if (news.error) page.problem = news.error;
      status();
    });
    progress("loading", 0, 0);
    page.model = await load(".", {
      onprogress: (done, total) => progress(done < total ? "loading" : "starting", done, total),
    });
    page.examples = (await read("model/manifest.json")).examples ?? [];
  } catch (error) {
    page.problem = MarketError.of(error);
  }
  at("loading").hidden = true;
  document.documentElement.dataset.ready = page.model ? "yes" : "no";
  speak();
}

/** Everything that has words, in the language that was chosen. */
function speak() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-say]")) node.textContent = say(node.dataset.say);
  at("language").textContent = say("other");
  at("language").lang = language === "zh" ? "en" : "zh-CN";
  if (page.release) {
    const title = of(page.release.title) || page.release.name;
    document.title = title;
    at("title").textContent = title;
    at("summary").textContent = of(page.release.summary);
    facts();
  }
  status();
  problem();
  if (page.model) {
    forms();
    answer();
  }
}

function progress(what, done, total) {
  at("loading-what").textContent = say(what);
  at("loading-bytes").textContent = total ? `${bytes(done)} / ${bytes(total)}` : "";
  if (total) at("loading-bar").value = done / total;
  else at("loading-bar").removeAttribute("value");
}

function facts() {
  const { vendor, version, digest, license, engine, size } = page.release;
  const copied = h(
    "button.plain",
    {
      type: "button",
      onclick: async (event) => {
        await navigator.clipboard?.writeText(digest);
        event.target.textContent = say("copied");
      },
    },
    say("copy"),
  );
  const rows = {
    vendor,
    version,
    size: bytes(size),
    license: license.package || say("unmeasured"),
    ...(license.weights && license.weights !== license.package ? { weights: license.weights } : {}),
    runtime: say("runtimeOf", engine),
    digest: h("span", {}, h("code", { title: digest }, `${digest.slice(0, 15)}…`), " ", copied),
    latency: latency(),
  };
  if (!license.package) delete rows.license;
  at("facts").replaceChildren(
    ...Object.entries(rows).flatMap(([key, value]) => [
      h("dt", {}, say(key)),
      h("dd", { id: `fact-${key}` }, value),
    ]),
  );
}

function latency() {
  const { model } = page;
  if (!model?.latencies.length) return h("span.muted", {}, say("unmeasured"));
  const value = model.latency;
  return h(
    "span",
    {},
    `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`,
    h("small", {}, say("latencyOf", model.latencies.length)),
  );
}

/** The header's state: a shape and a word; and the newer version, if there is one. */
function status() {
  const { state, progress: kept, why, newer } = page.offline;
  const share = kept ? Math.floor((100 * kept[0]) / kept[1]) : 0;
  const [shape, tone, words] = {
    saving: ["◐", "busy", say("saving", share)],
    kept: ["●", "ok", say("offline")],
    online: ["▲", "warn", say("onlineOnly")],
  }[state] ?? ["○", "", ""];
  const node = at("offline");
  node.className = `state ${tone}`;
  node.dataset.state = state;
  node.title = why ? say(why) : "";
  node.replaceChildren(...(words ? [h("i", { "aria-hidden": "true" }, shape), h("span", {}, words)] : []));
  const notes = [];
  if (why) notes.push(h("p.note", {}, say(why)));
  if (newer) {
    const button = h("button", { type: "button", onclick: () => use(newer) }, say("use"));
    notes.push(h("div.note.ok", {}, h("p", {}, say("newer")), button));
  }
  at("news").replaceChildren(...notes);
}

function problem() {
  const { problem: error } = page;
  if (!error) return at("problem").replaceChildren();
  const again =
    error.code !== "bad-input" &&
    h("button", { type: "button", onclick: () => location.reload() }, say("retry"));
  return at("problem").replaceChildren(
    h(
      "div.note.bad",
      {},
      h("p", {}, of(error.why)),
      of(error.next) ? h("p.muted", {}, of(error.next)) : null,
      again || null,
    ),
  );
}

function forms() {
  const values = Array.from(document.querySelectorAll("#form textarea"), (box) => box.value);
  const fill = build(page.model.schema, send, fail);
  document
    .querySelectorAll("#form textarea")
    .forEach((box, index) => (box.value = values[index] ?? box.value));
  const titled = page.examples.filter(({ request }) => request && !request.state && !("last" in request));
  at("quick").replaceChildren(
    ...titled.map((example, index) =>
      h(
        "button",
        { type: "button", "data-example": index, onclick: () => fill(example.request) },
        of({ zh: example.title_zh, en: example.title_en }) || String(index + 1),
      ),
    ),
  );
  at("examples").hidden = !titled.length;
}

async function send(request, picture = null) {
  const button = at("run");
  page.problem = null;
  at("answer").setAttribute("aria-busy", "true");
  if (button) button.disabled = true;
  try {
    const body = await page.model.predict(request);
    page.last = { body, request, picture };
    page.problem = null;
  } catch (error) {
    fail(error);
  }
  at("answer").removeAttribute("aria-busy");
  if (button) button.disabled = false;
  problem();
  facts();
  await answer();
}

function fail(error) {
  page.problem = MarketError.of(error);
  page.last = null;
  problem();
  answer();
}

async function answer() {
  const { last, model } = page;
  const section = at("answer");
  section.hidden = !last;
  if (!last) return;
  const nodes = await shown(last.body, {
    schema: model.schema,
    request: last.request,
    picture: last.picture,
  });
  const raw = h(
    "details",
    { open: !nodes.length },
    h("summary", {}, say("raw")),
    h("pre", { tabindex: "0" }, printed(last.body)),
  );
  section.replaceChildren(h("h2", {}, say("answer")), ...nodes, raw);
  section.dataset.answers = String(Number(section.dataset.answers ?? 0) + 1);
}

/** JSON without the bulk of masks and vectors. */
function printed(body) {
  const short = (key, value) => {
    if (typeof value === "string" && value.length > 200) return `${value.slice(0, 60)}… (${value.length})`;
    const long = Array.isArray(value) && value.length > 16 && typeof value[0] === "number";
    return long ? [...value.slice(0, 8), `… (${value.length})`] : value;
  };
  return JSON.stringify(body, short, 1);
}

start();
