// What the page says, in Chinese and in English.

const WORDS = {
  zh: {
    other: "English",
    skip: "跳到试用",
    try: "试用",
    facts: "这个模型",
    examples: "试试这些",
    private: "模型在你的浏览器里运行：你的内容不会离开这台设备。",
    loading: "正在下载模型和推理引擎",
    starting: "正在启动模型",
    run: "运行",
    pick: "选图片",
    camera: "拍照",
    dropPicture: "也可以把图片拖到这里，或直接粘贴",
    pickFile: "选文件",
    dropFile: "也可以把文件拖到这里",
    text: "文本",
    source: "原句",
    sentences: "与之比较的句子，每行一句",
    rows: "数据（JSON）",
    answer: "结果",
    raw: "原始 JSON",
    nothing: "没有找到任何内容。",
    noEntities: "这段文字里没有找到人名、地名、机构或时间。",
    latency: "延迟",
    latencyOf: (count) => (count > 1 ? `本设备此刻，最近 ${count} 次的中位数` : "本设备此刻，第一次，含预热"),
    unmeasured: "未测",
    license: "许可",
    weights: "权重许可",
    size: "模型大小",
    version: "版本",
    digest: "摘要",
    runtime: "推理引擎",
    runtimeOf: (name) => `${name}，WebAssembly 单线程`,
    vendor: "来自",
    copy: "复制",
    copied: "已复制",
    offline: "可离线使用",
    saving: (percent) => `正在保存到本机 ${percent}%`,
    onlineOnly: "仅联网可用",
    insecure: "这个地址不是 https，浏览器不允许保存到本机；用 https 或 localhost 打开就能离线使用。",
    noWorker: "这个浏览器不能保存网页供离线使用。",
    newer: "有新版本，已经下载好。",
    use: "换用新版本",
    retry: "刷新重试",
    dimensions: (count) => `${count} 维向量`,
    head: "前 8 个数",
    masked: (label, share) => `${label}，占画面 ${share}`,
    cutout: "抠出的部分",
    picture: "输入的图片",
    badJson: (said) => `这不是有效的 JSON：${said}`,
    score: "得分",
    label: "标签",
    entity: (label) => ({ PER: "人名", LOC: "地名", ORG: "机构", TIME: "时间" })[label],
  },
  en: {
    other: "中文",
    skip: "Skip to the trial",
    try: "Try it",
    facts: "This model",
    examples: "Try these",
    private: "The model runs in your browser: what you give it stays on this device.",
    loading: "Downloading the model and its engine",
    starting: "Starting the model",
    run: "Run",
    pick: "Choose a picture",
    camera: "Take a photo",
    dropPicture: "Or drop a picture here, or paste one",
    pickFile: "Choose a file",
    dropFile: "Or drop a file here",
    text: "Text",
    source: "Sentence",
    sentences: "Sentences to compare with it, one a line",
    rows: "Data (JSON)",
    answer: "Answer",
    raw: "Raw JSON",
    nothing: "Nothing was found.",
    noEntities: "No person, place, organisation or time was found in this text.",
    latency: "Latency",
    latencyOf: (count) =>
      count > 1
        ? `this device, now: median of the last ${count}`
        : "this device, now: the first, warm-up included",
    unmeasured: "not measured",
    license: "Licence",
    weights: "Weights' licence",
    size: "Model size",
    version: "Version",
    digest: "Digest",
    runtime: "Engine",
    runtimeOf: (name) => `${name}, WebAssembly, one thread`,
    vendor: "From",
    copy: "Copy",
    copied: "Copied",
    offline: "Works offline",
    saving: (percent) => `Saving to this device ${percent} %`,
    onlineOnly: "Online only",
    insecure:
      "This address is not https, so the browser may keep nothing; open it over https or as localhost to use it offline.",
    noWorker: "This browser cannot keep pages for offline use.",
    newer: "A new version has been downloaded.",
    use: "Use the new version",
    retry: "Reload",
    dimensions: (count) => `A vector of ${count} numbers`,
    head: "the first 8",
    masked: (label, share) => `${label}, ${share} of the picture`,
    cutout: "what was cut out",
    picture: "the picture that was given",
    badJson: (said) => `This is not valid JSON: ${said}`,
    score: "Score",
    label: "Label",
    entity: (label) => ({ PER: "person", LOC: "place", ORG: "organisation", TIME: "time" })[label],
  },
};
const KEY = "market-language";

/** "zh" or "en": as was chosen here, else as the browser prefers. */
export let language = remembered() ?? (/^zh/i.test(navigator.language) ? "zh" : "en");

function remembered() {
  try {
    const kept = localStorage.getItem(KEY);
    return kept in WORDS ? kept : null;
  } catch {
    return null; // storage may be forbidden
  }
}

export function switchLanguage() {
  language = language === "zh" ? "en" : "zh";
  try {
    localStorage.setItem(KEY, language);
  } catch {
    // the choice holds until the page is closed
  }
}

/** The words for a key; some take values. */
export const say = (key, ...values) => {
  const words = WORDS[language][key];
  return typeof words === "function" ? words(...values) : words;
};

/** Of {zh, en} the one to show, the other where there is only that. */
export const of = (both) => both?.[language] || both?.zh || both?.en || "";

export function bytes(count) {
  const units = ["B", "KB", "MB", "GB"];
  let [value, unit] = [count, 0];
  for (; value >= 1000 && unit < 3; unit++) value /= 1000;
  return `${value.toFixed(unit && value < 100 ? 1 : 0)} ${units[unit]}`;
}

export const percent = (share, digits = 1) =>
  `${(share * 100).toFixed(digits)}${language === "zh" ? "%" : " %"}`;
