// A packaged model in this browser:
//
//   import { load } from "./market.js";
//   const model = await load(".");
//   const answer = await model.predict({ text: "…" });
//
// Bodies and answers are those of the server's POST /predict. Pictures may also be a File, a Blob, an
// ImageData, an ImageBitmap, or an element of the page. The model runs in a worker, so the page stays alive.

import { MarketError, noWasm, unreachable } from "./errors.js";

export { MarketError };
const KEPT = 20; // latencies that are remembered

/** Load the model of a folder; `onprogress(done, total)` is told bytes. Raises MarketError. */
export async function load(base = ".", { onprogress } = {}) {
  if (typeof WebAssembly === "undefined") throw noWasm();
  const root = new URL(base.endsWith("/") ? base : `${base}/`, import.meta.url);
  const model = new Model(new Worker(new URL("worker.js", root), { type: "module" }));
  try {
    return await model.open(root.href, onprogress);
  } catch (error) {
    model.close();
    throw error;
  }
}

class Model {
  #worker;
  #waiting = new Map();
  #count = 0;
  #progress = () => {};

  constructor(worker) {
    this.#worker = worker;
    /** Milliseconds of the last answers on this device, the newest last. */
    this.latencies = [];
    worker.onmessage = ({ data }) => this.#hear(data);
    worker.onerror = (event) => {
      event.preventDefault();
      const error = event.message ? MarketError.of(event) : unreachable("worker.js");
      for (const { fail } of this.#waiting.values()) fail(error);
      this.#waiting.clear();
    };
  }

  async open(base, onprogress) {
    if (onprogress) this.#progress = onprogress;
    const { release, schema } = await this.#ask({ base });
    /** Facts of the release: name, version, digest, titles, licences, task. */
    this.release = release;
    /** JSON schema of what `predict` takes. */
    this.schema = schema;
    return this;
  }

  get task() {
    return this.release.task;
  }

  /** Answer a body as the server's /predict does. Raises MarketError. */
  async predict(body) {
    const sent = Object.fromEntries(
      await Promise.all(
        Object.entries(body ?? {}).map(async ([name, value]) => [name, await portable(value)]),
      ),
    );
    const { answer, ms } = await this.#ask({ body: sent });
    this.latencies = [...this.latencies, ms].slice(-KEPT);
    return answer;
  }

  /** The median of the last answers in milliseconds; NaN before the first. */
  get latency() {
    const sorted = [...this.latencies].sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }

  close() {
    this.#worker.terminate();
  }

  #ask(message) {
    const id = ++this.#count;
    return new Promise((done, fail) => {
      this.#waiting.set(id, { done, fail });
      this.#worker.postMessage({ ...message, id });
    });
  }

  #hear({ id, progress, error, ...said }) {
    if (progress) return this.#progress(...progress);
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    return error ? waiting?.fail(MarketError.fromPlain(error)) : waiting?.done(said);
  }
}

/** Elements of the page as bitmaps, which a worker can be handed. */
async function portable(value) {
  const isElement = typeof Element !== "undefined" && value instanceof Element;
  return isElement ? createImageBitmap(value, { colorSpaceConversion: "none" }) : value;
}
