// Any graph at all, its inputs and outputs as nested lists; see the server's pipeline of the same name.

import { arrayOf } from "../engine.js";
import { badInput } from "../errors.js";

const signature = ({ name, datatype, shape }) => `${name} ${datatype} [${shape.join(", ")}]`;
const NO_NUMBER = { en: "holds what is not a number of its datatype", zh: "含有不属于该 datatype 的值" };

class Tensors {
  constructor(engine) {
    this.engine = engine;
  }

  async predict(body) {
    const { inputs, outputs } = this.engine;
    const all = inputs.map(signature).join("; ");
    const given = "rows" in body && inputs.length === 1 ? { [inputs[0].name]: body.rows } : body.inputs;
    if (given === null || typeof given !== "object" || Array.isArray(given)) {
      throw badInput("inputs", { en: "is not an object of named inputs", zh: "不是以输入名为键的对象" }, all);
    }
    for (const name of Object.keys(given)) {
      if (!inputs.some((spec) => spec.name === name)) {
        throw badInput(
          `inputs.${name.slice(0, 80)}`,
          { en: "is no input of this model", zh: "不是该模型的输入" },
          all,
        );
      }
    }
    const feeds = Object.fromEntries(inputs.map((spec) => [spec.name, read(spec, given, all)]));
    const made = await this.engine.run(feeds);
    return {
      outputs: Object.fromEntries(outputs.map(({ name, datatype }) => [name, nested(made[name], datatype)])),
    };
  }
}

function read(spec, given, all) {
  const where = `inputs.${spec.name}`;
  if (!(spec.name in given)) throw badInput(where, { en: "is missing", zh: "缺失" }, all);
  const value = given[spec.name];
  const dims = [];
  for (let level = value; Array.isArray(level) && dims.length <= spec.shape.length; level = level[0]) {
    dims.push(level.length);
    if (!level.length) break;
  }
  const fits =
    dims.length === spec.shape.length &&
    dims.every((side, at) => spec.shape[at] < 0 || spec.shape[at] === side);
  if (!fits) {
    throw badInput(
      where,
      { en: `has shape [${dims.join(", ")}]`, zh: `的形状是 [${dims.join(", ")}]` },
      signature(spec),
    );
  }
  const flat = Array.isArray(value) ? value.flat(Infinity) : [value];
  if (flat.length !== dims.reduce((a, b) => a * b, 1)) {
    throw badInput(where, { en: "has lists of different lengths", zh: "各行长度不一" }, signature(spec));
  }
  const data = arrayOf(spec.datatype, flat.length);
  flat.forEach((one, at) => (data[at] = element(one, spec, where)));
  return { data, dims };
}

function element(value, spec, where) {
  const { datatype } = spec;
  const ok = {
    string: datatype === "BYTES",
    boolean: datatype === "BOOL",
    number: datatype.startsWith("FP") || (/INT/.test(datatype) && Number.isInteger(value)),
  };
  if (!ok[typeof value]) throw badInput(where, NO_NUMBER, signature(spec));
  return datatype.endsWith("INT64") ? BigInt(value) : value;
}

function nested({ data, dims }, datatype) {
  const plain = (value) =>
    typeof value === "bigint" ? Number(value) : datatype === "BOOL" ? Boolean(value) : value;
  let values = Array.from(data, plain);
  for (const side of dims.slice(1).reverse()) {
    const rows = [];
    for (let at = 0; at < values.length; at += side) rows.push(values.slice(at, at + side));
    values = rows;
  }
  return dims.length ? values : values[0];
}

export const load = (engine) => new Tensors(engine);
