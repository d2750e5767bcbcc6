// Fields of a body, with the bounds and words of the server.

import { badInput } from "./errors.js";

const NO_TEXT = { en: "is not a text", zh: "不是文本" };
const EMPTY = { en: "is empty", zh: "是空的" };
const NO_NUMBER = { en: "is not a number in range", zh: "不是范围内的数" };

function checked(value, where, limit) {
  if (typeof value !== "string") throw badInput(where, NO_TEXT, "string");
  if (!value.trim()) throw badInput(where, EMPTY, "string");
  const count = value.length > limit ? Array.from(value).length : 0;
  if (count > limit) {
    const why = { en: `has ${count} characters`, zh: `有 ${count} 个字符` };
    throw badInput(where, why, { en: `at most ${limit} characters`, zh: `至多 ${limit} 个字符` });
  }
  return value;
}

export function textField(body, name, limit = 100_000) {
  return checked(body[name], name, limit);
}

export function textsField(body, name, most = 256, limit = 100_000) {
  const value = body[name];
  if (typeof value === "string") return [checked(value, name, limit)];
  if (!Array.isArray(value) || !value.length) {
    const why = { en: "is neither a text nor a list of texts", zh: "既不是文本，也不是文本列表" };
    throw badInput(name, why, "string | [string, …]");
  }
  if (value.length > most) {
    const why = { en: `has ${value.length} texts`, zh: `含有 ${value.length} 条文本` };
    throw badInput(name, why, {
      en: `at most ${most} texts in a request`,
      zh: `每次请求至多 ${most} 条文本`,
    });
  }
  return value.map((item, index) => checked(item, `${name}[${index}]`, limit));
}

/** Bytes: of a Blob, an ArrayBuffer, {"base64": …}, a base64 text or a data: URL. */
export async function bytesField(body, name) {
  let value = body[name];
  if (value instanceof Blob) value = await value.arrayBuffer();
  if (value instanceof ArrayBuffer) value = new Uint8Array(value);
  if (value && typeof value === "object" && Object.keys(value).join() === "base64") value = value.base64;
  if (typeof value === "string") value = fromBase64(value, name);
  if (!(value instanceof Uint8Array)) {
    throw badInput(name, { en: "holds no bytes", zh: "没有数据" }, '{"base64": "…"}');
  }
  if (!value.length) throw badInput(name, EMPTY, '{"base64": "…"}');
  return value;
}

function fromBase64(text, name) {
  const encoded = text.startsWith("data:") ? text.slice(text.indexOf(",") + 1) : text;
  try {
    return Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  } catch {
    throw badInput(name, { en: "is not valid base64", zh: "不是有效的 base64" }, '{"base64": "…"}');
  }
}

export function toBase64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000)
    text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

export function intField(body, name, byDefault, least, most) {
  const value = body[name] ?? byDefault;
  if (!Number.isInteger(value) || value < least || value > most) {
    const why = { en: "is not a whole number in range", zh: "不是范围内的整数" };
    throw badInput(name, why, `${least} … ${most}`);
  }
  return value;
}

export function floatField(body, name, byDefault, least, most) {
  const value = body[name] ?? byDefault;
  if (typeof value !== "number" || !(value >= least && value <= most)) {
    throw badInput(name, NO_NUMBER, `${least} … ${most}`);
  }
  return value;
}

export function boolField(body, name, byDefault) {
  const value = body[name] ?? byDefault;
  if (typeof value === "boolean") return value;
  throw badInput(name, { en: "is neither true nor false", zh: "既不是 true 也不是 false" }, "true | false");
}
