// What is refused: in both languages, with the one next step.

const pick = (words) => (typeof words === "string" ? { en: words, zh: words } : words);

/** A refusal by name; `why` and `next` are {en, zh}. It survives postMessage as `toPlain` and `fromPlain`. */
export class MarketError extends Error {
  constructor(code, why, next = { en: "", zh: "" }, more = {}) {
    super(pick(why).en);
    this.name = "MarketError";
    Object.assign(this, more, { code, why: pick(why), next: pick(next) });
  }

  toPlain() {
    const { code, why, next, where } = this;
    return { code, why, next, where };
  }

  static fromPlain({ code, why, next, where }) {
    return new MarketError(code, why, next, { where });
  }

  /** Any error as one of ours. */
  static of(error) {
    if (error instanceof MarketError) return error;
    const said = String(error?.message ?? error).slice(0, 500);
    if (error?.name === "QuotaExceededError") return storageFull();
    if (/WebAssembly|wasm/i.test(said) && typeof WebAssembly === "undefined") return noWasm();
    if (/memory|allocat/i.test(said)) {
      return new MarketError(
        "out-of-memory",
        {
          en: `This device has too little memory for the model: ${said}`,
          zh: `本设备内存不够运行这个模型：${said}`,
        },
        { en: "Close other tabs and try again.", zh: "请关闭其他标签页再试。" },
      );
    }
    return new MarketError(
      "failed",
      { en: `The model did not run: ${said}`, zh: `模型没有运行成功：${said}` },
      {
        en: "Reload the page; if it happens again, try another browser.",
        zh: "请刷新页面；若仍然失败，请换个浏览器。",
      },
    );
  }
}

/** An input that cannot be answered: its place, why, and what was expected. */
export function badInput(where, why, expected = "") {
  const [wants, said] = [pick(expected), pick(why)];
  return new MarketError(
    "bad-input",
    { en: `${where} ${said.en}`, zh: `${where} ${said.zh}` },
    wants.en ? { en: `Expected: ${wants.en}`, zh: `应为：${wants.zh}` } : { en: "", zh: "" },
    { where },
  );
}

export const noWasm = () =>
  new MarketError(
    "no-wasm",
    {
      en: "This browser does not run WebAssembly, which the model needs.",
      zh: "这个浏览器不能运行 WebAssembly，而模型需要它。",
    },
    {
      en: "Use a current Chrome, Edge, Firefox or Safari, and allow WebAssembly.",
      zh: "请使用新版 Chrome、Edge、Firefox 或 Safari，并允许 WebAssembly。",
    },
  );

export const storageFull = () =>
  new MarketError(
    "storage-full",
    {
      en: "This device has no room to keep the model for offline use.",
      zh: "本设备空间不够，无法保存模型供离线使用。",
    },
    {
      en: "Free some storage and reload. Online, the page works all the same.",
      zh: "请清出一些空间后刷新。联网时仍可使用。",
    },
  );

export const unreachable = (path) =>
  new MarketError(
    "unreachable",
    { en: `${path} could not be fetched.`, zh: `取不到 ${path}。` },
    { en: "Check the network and the file server, then reload.", zh: "请检查网络和文件服务器，然后刷新。" },
  );

export const missing = (path, status) =>
  new MarketError(
    "missing-file",
    { en: `The file server answered ${status} for ${path}.`, zh: `文件服务器对 ${path} 答复了 ${status}。` },
    { en: "Copy the whole folder to the server again.", zh: "请把整个目录重新拷贝到服务器。" },
  );

export const wrongFile = (path) =>
  new MarketError(
    "wrong-file",
    {
      en: `${path} is not the file that was packaged: its digest differs.`,
      zh: `${path} 不是打包时的文件：摘要不一致。`,
    },
    { en: "Copy the folder to the server again, unchanged.", zh: "请把目录原样重新拷贝到服务器。" },
  );
