// Plays a browser: onnxruntime-web's WebAssembly in Node. Same frames as child.py, see there.
// Arguments: the folder that has node_modules, the numbers of the pipes for answers and of the lifeline.
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";

const LONGEST_HEADER = 1 << 20;
const LARGEST_BODY = 2 ** 31;
const [folder, answers, lifeline] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];

// A thread of its own waits for the end of the pipe, so that a hanging graph ends with the parent too.
new Worker(
  `const fs = require("node:fs");
   try { while (fs.readSync(${lifeline}, Buffer.alloc(16)) > 0); } catch {}
   process.kill(process.pid, "SIGKILL");`,
  { eval: true },
).unref();

const TYPES = {
  float32: Float32Array,
  float64: Float64Array,
  float16: globalThis.Float16Array ?? Uint16Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
};

function readExactly(size) {
  const whole = new Uint8Array(size);
  let at = 0;
  while (at < size) {
    const count = fs.readSync(0, whole, at, Math.min(size - at, 1 << 20));
    if (count === 0) process.exit(0);
    at += count;
  }
  return whole;
}

function readFrame() {
  const length = new DataView(readExactly(4).buffer).getUint32(0);
  if (length > LONGEST_HEADER) throw new Error("the header is too long");
  const header = JSON.parse(new TextDecoder().decode(readExactly(length)));
  const specs = header.tensors ?? [];
  if (specs.reduce((sum, spec) => sum + spec.bytes, 0) > LARGEST_BODY) throw new Error("too many bytes");
  const feeds = {};
  for (const spec of specs) feeds[spec.name] = { ...spec, body: readExactly(spec.bytes) };
  return [header, feeds];
}

function writeAll(bytes) {
  let at = 0;
  while (at < bytes.length) {
    try {
      at += fs.writeSync(answers, bytes, at, bytes.length - at);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
    }
  }
}

function say(header, tensors = []) {
  const specs = tensors.map(({ name, dtype, shape, body }) => ({ name, dtype, shape, bytes: body.length }));
  const head = new TextEncoder().encode(JSON.stringify({ ...header, tensors: specs }));
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, head.length);
  writeAll(length);
  writeAll(head);
  for (const { body } of tensors) writeAll(body);
}

function toTensor(ort, { dtype, shape, body }) {
  if (dtype === "string") return new ort.Tensor("string", JSON.parse(new TextDecoder().decode(body)), shape);
  const Type = TYPES[dtype];
  if (Type === undefined) throw new Error(`no tensors of the type ${dtype}`);
  return new ort.Tensor(dtype, new Type(body.buffer, 0, body.length / Type.BYTES_PER_ELEMENT), shape);
}

function fromTensor(name, tensor) {
  const { data, type, dims } = tensor;
  const body =
    type === "string"
      ? new TextEncoder().encode(JSON.stringify(data))
      : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return { name, dtype: type, shape: [...dims], body };
}

const dist = path.join(folder, "node_modules", "onnxruntime-web", "dist");
const ort = await import(pathToFileURL(path.join(dist, "ort.node.min.mjs")).href);
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
const sessions = {};

async function open({ role, path: file, external = [] }) {
  const beside = (name) => new Uint8Array(fs.readFileSync(path.join(path.dirname(file), name)));
  const options = {
    executionProviders: ["wasm"],
    externalData: external.map((name) => ({ path: name, data: beside(name) })),
  };
  await sessions[role]?.release();
  delete sessions[role];
  sessions[role] = await ort.InferenceSession.create(new Uint8Array(fs.readFileSync(file)), options);
  return [];
}

async function run({ role, outputs }, feeds) {
  const given = Object.fromEntries(Object.entries(feeds).map(([name, spec]) => [name, toTensor(ort, spec)]));
  const session = sessions[role];
  const made = outputs.length ? await session.run(given, outputs) : await session.run(given);
  const names = outputs.length ? outputs : session.outputNames;
  return names.map((name) => fromTensor(name, made[name]));
}

const { version } = JSON.parse(fs.readFileSync(path.join(dist, "..", "package.json"), "utf8"));
say({ ok: true, versions: { "onnxruntime-web": version, node: process.versions.node } });
for (;;) {
  const [header, feeds] = readFrame();
  const [wall, cpu] = [process.hrtime.bigint(), process.cpuUsage()];
  try {
    const made = await (header.op === "open" ? open(header) : run(header, feeds));
    const spent = process.cpuUsage(cpu);
    const seconds = Number(process.hrtime.bigint() - wall) / 1e9;
    say({ ok: true, seconds, cpu: (spent.user + spent.system) / 1e6 }, made);
  } catch (error) {
    say({ ok: false, why: String(error?.message ?? error).slice(0, 4000) });
  }
}
