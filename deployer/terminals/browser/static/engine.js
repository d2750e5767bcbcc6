// The graph in ONNX Runtime's WebAssembly: one thread, which any file server can serve.
// (Threads would need the headers Cross-Origin-Opener-Policy and -Embedder-Policy.)

import * as ort from "./runtime/ort.js";
import { MarketError, noWasm, unreachable, missing } from "./errors.js";
import { bytesOf, unpacked } from "./files.js";

const TYPES = {
  BOOL: ["bool", Uint8Array],
  INT8: ["int8", Int8Array],
  INT16: ["int16", Int16Array],
  INT32: ["int32", Int32Array],
  INT64: ["int64", BigInt64Array],
  UINT8: ["uint8", Uint8Array],
  UINT16: ["uint16", Uint16Array],
  UINT32: ["uint32", Uint32Array],
  UINT64: ["uint64", BigUint64Array],
  FP16: ["float16", globalThis.Float16Array],
  FP32: ["float32", Float32Array],
  FP64: ["float64", Float64Array],
  BYTES: ["string", Array],
};

/** The array that holds a datatype's values. */
export function arrayOf(datatype, size) {
  const kind = TYPES[datatype]?.[1];
  if (kind) return new kind(size);
  throw new MarketError(
    "old-browser",
    {
      en: `This browser has no numbers of the type ${datatype}.`,
      zh: `这个浏览器没有 ${datatype} 类型的数。`,
    },
    { en: "Use a newer browser.", zh: "请使用更新的浏览器。" },
  );
}

async function json(base, path) {
  const response = await fetch(new URL(path, base), { cache: "no-cache" }).catch(() => {
    throw unreachable(path);
  });
  if (!response.ok) throw missing(path, response.status);
  return response.json();
}

/** The engine with its recipe and the facts of the release; `onprogress(done, total)` is told bytes. */
export async function open(base, onprogress) {
  const [release, recipe] = await Promise.all([json(base, "release.json"), json(base, "recipe.json")]);
  const total = release.loads.reduce((sum, entry) => sum + entry.size, 0);
  let done = 0;
  const files = {};
  for (const entry of release.loads) {
    files[entry.path] = await bytesOf(base, entry, (count) => onprogress((done += count), total));
  }
  return { engine: await Engine.start(files, recipe), recipe, release };
}

class Engine {
  static async start(files, recipe) {
    const engine = new Engine();
    engine.files = files;
    engine.inputs = recipe.inputs;
    engine.outputs = recipe.outputs;
    engine.types = Object.fromEntries(
      recipe.inputs.map(({ name, datatype }) => [name, TYPES[datatype]?.[0]]),
    );
    ort.env.logLevel = "error";
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmBinary = await unpacked(files["runtime/ort.wasm.packed"]);
    const { graph, external } = recipe;
    try {
      engine.session = await ort.InferenceSession.create(files[`model/${graph}`], {
        executionProviders: ["wasm"],
        externalData: external.map((path) => ({ path, data: files[`model/${path}`] })),
      });
    } catch (error) {
      throw refused(error);
    }
    ort.env.wasm.wasmBinary = undefined;
    for (const path of ["runtime/ort.wasm.packed", ...[graph, ...external].map((name) => `model/${name}`)]) {
      delete files[path]; // the session has its own copy
    }
    return engine;
  }

  /** A JSON file of the folder that was loaded along. */
  json(path) {
    return JSON.parse(new TextDecoder().decode(this.files[path]));
  }

  /** Run once: feeds {name: {data, dims}} to outputs {name: {data, dims}}; all outputs when none is named. */
  async run(feeds, outputs = []) {
    const given = {};
    for (const [name, { data, dims }] of Object.entries(feeds)) {
      given[name] = new ort.Tensor(this.types[name], data, dims);
    }
    const made = await (outputs.length ? this.session.run(given, outputs) : this.session.run(given));
    return Object.fromEntries(
      Object.entries(made).map(([name, tensor]) => [name, { data: tensor.data, dims: [...tensor.dims] }]),
    );
  }
}

function refused(error) {
  const said = String(error?.message ?? error).slice(0, 300);
  if (/both async and sync fetching of the wasm failed|no available backend|CompileError/i.test(said))
    return noWasm();
  return new MarketError(
    "graph-refused",
    {
      en: `The browser's engine did not take the graph: ${said}`,
      zh: `浏览器的推理引擎没有接受这个模型：${said}`,
    },
    { en: "Package another variant of the model.", zh: "请换这个模型的另一个版本来打包。" },
  );
}
