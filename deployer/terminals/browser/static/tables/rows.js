// Rows of a table to a graph's inputs; see the server's tables/rows.py for what cells may hold.

import { arrayOf } from "../engine.js";
import { badInput } from "../errors.js";

const MOST_ROWS = 10_000;
const MOST_CELLS = 1_000_000;
const LONGEST = 10_000; // characters of a cell
const YES = ["true", "1", "yes"];
const NO = ["false", "0", "no"];
const KINDS = { number: "数", category: "类别", text: "文本", boolean: "true 或 false" };
const MISSING = { en: "is missing", zh: "缺失" };
const NO_NUMBER = { en: "is not a number", zh: "不是数" };
const MOST_FLOAT = { FP16: 65504, FP32: 3.4028234663852886e38, FP64: Number.MAX_VALUE };

/** A cell that its column cannot hold. */
class Unfit extends Error {
  constructor(en, zh) {
    super(en);
    this.why = { en, zh };
  }
}

export class Table {
  constructor(engine, { columns, parts, at_once }) {
    Object.assign(this, { columns, atOnce: at_once });
    this.parts = parts.map((part) => ({
      ...part,
      datatype: engine.inputs.find(({ name }) => name === part.name).datatype,
    }));
  }

  /** The cells of each row in the order of the columns. */
  rows(value) {
    const given = value && typeof value === "object" && !Array.isArray(value) ? [value] : value;
    const named = this.columns.slice(0, 20).join(", ") + (this.columns.length > 20 ? ", …" : "");
    if (!Array.isArray(given) || !given.length) {
      throw badInput(
        "rows",
        { en: "is neither a row nor a list of rows", zh: "既不是一行，也不是多行的列表" },
        named,
      );
    }
    const most = Math.min(MOST_ROWS, Math.max(1, Math.floor(MOST_CELLS / this.columns.length)));
    if (given.length > most) {
      throw badInput(
        "rows",
        { en: `has ${given.length} rows`, zh: `有 ${given.length} 行` },
        { en: `at most ${most} rows`, zh: `至多 ${most} 行` },
      );
    }
    return given.map((row, number) => this.cells(row, `rows[${number}]`, named));
  }

  cells(row, where, named) {
    if (Array.isArray(row)) {
      if (row.length === this.columns.length) return row;
      throw badInput(where, { en: `has ${row.length} values`, zh: `有 ${row.length} 个值` }, named);
    }
    if (row === null || typeof row !== "object") {
      throw badInput(where, { en: "is neither an object nor a list", zh: "既不是对象，也不是列表" }, named);
    }
    for (const name of Object.keys(row)) {
      if (!this.columns.includes(name)) {
        throw badInput(
          `${where}.${name.slice(0, 80)}`,
          { en: "is not a column of this model", zh: "不是该模型的列" },
          named,
        );
      }
    }
    return this.columns.map((name) => row[name] ?? null);
  }

  /** The graph's inputs for rows of cells; `first` is the number of the first one. */
  feeds(rows, first) {
    return Object.fromEntries(
      this.parts.map(({ name, flat, columns, datatype }) => {
        const lines = rows.map((row, number) =>
          columns.flatMap((column) => {
            const cell = row[this.columns.indexOf(column.name)];
            try {
              return spread(value(cell, column, datatype), column);
            } catch (unfit) {
              if (!(unfit instanceof Unfit)) throw unfit;
              throw badInput(`rows[${first + number}].${column.name}`, unfit.why, expected(column));
            }
          }),
        );
        const data = arrayOf(datatype, lines.length * lines[0].length);
        const big = datatype.endsWith("INT64");
        lines.flat().forEach((one, at) => (data[at] = big ? BigInt(one) : one));
        return [name, { data, dims: flat ? [lines.length] : [lines.length, lines[0].length] }];
      }),
    );
  }
}

const spread = (one, { encode, categories }) =>
  encode === "one-hot" ? categories.map((_, place) => (place === one ? 1 : 0)) : [one];

/** One cell as the input takes it. */
function value(cell, column, datatype) {
  if (cell !== null && cell !== undefined) return reading(cell, column, datatype);
  if (!("default" in column)) throw new Unfit(MISSING.en, MISSING.zh);
  if (column.default !== null) return reading(column.default, column, datatype);
  if (column.encode === "one-hot") return -1; // is no category's place
  return datatype === "BYTES" ? "" : NaN;
}

function reading(cell, column, datatype) {
  if (column.type === "number") return number(cell, datatype);
  if (column.type === "boolean") return truth(cell);
  if (column.type === "text") return text(cell);
  if (!["string", "number", "boolean"].includes(typeof cell))
    throw new Unfit("is not a category", "不是类别");
  if (!column.categories.length) return text(String(cell));
  const found = column.codes[String(cell)];
  if (found === undefined) throw new Unfit("is not one of the categories", "不在类别之列");
  return found;
}

function number(cell, datatype) {
  let one = cell;
  if (typeof cell === "string") {
    const said = cell.trim();
    one = said.length <= 64 && /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(said) ? Number(said) : null;
  }
  if (typeof one !== "number" || Number.isNaN(one)) throw new Unfit(NO_NUMBER.en, NO_NUMBER.zh);
  const most = MOST_FLOAT[datatype];
  if (!most && !Number.isInteger(one)) throw new Unfit("is not a whole number", "不是整数");
  const bits = most ? 0 : Number(datatype.replace(/\D+/, ""));
  const unsigned = datatype.startsWith("U");
  const fits = most
    ? Math.abs(one) <= most
    : one >= (unsigned ? 0 : -(2 ** (bits - 1))) && one < 2 ** (unsigned ? bits : bits - 1);
  if (!fits) throw new Unfit("is out of range", "超出范围");
  return one;
}

function truth(cell) {
  const said = typeof cell === "object" ? "" : String(cell).trim().toLowerCase();
  if (![...YES, ...NO].includes(said))
    throw new Unfit("is neither true nor false", "既不是 true 也不是 false");
  return YES.includes(said) ? 1 : 0;
}

function text(cell) {
  if (typeof cell !== "string") throw new Unfit("is not a text", "不是文本");
  const count = cell.length > LONGEST ? Array.from(cell).length : 0;
  if (count > LONGEST) throw new Unfit(`has ${count} characters`, `有 ${count} 个字符`);
  return cell;
}

function expected({ type, categories }) {
  if (categories.length) {
    const listed = categories.slice(0, 20).join(", ") + (categories.length > 20 ? ", …" : "");
    return { en: `one of ${listed}`, zh: `${listed} 之一` };
  }
  return { en: type === "boolean" ? "true | false" : `a ${type}`, zh: KINDS[type] };
}
