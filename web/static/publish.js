// Sends the large files of the publishing form in pieces that can be taken up again; small ones go with the form.
const SMALL = 4 << 20, READ = 4 << 20;
const K = new Uint32Array(64), START = new Uint32Array(8);
{ // the constants of SHA-256: fractions of roots of the first primes
  const fraction = (x) => ((x - Math.floor(x)) * 2 ** 32) >>> 0;
  for (let n = 2, i = 0; i < 64; n++) {
    let prime = true;
    for (let d = 2; d * d <= n; d++) if (n % d === 0) { prime = false; break; }
    if (!prime) continue;
    if (i < 8) START[i] = fraction(Math.sqrt(n));
    K[i++] = fraction(Math.cbrt(n));
  }
}

class Sha256 {
  constructor() { this.h = START.slice(); this.rest = new Uint8Array(0); this.length = 0; this.w = new Uint32Array(64); }
  update(data) {
    this.length += data.length;
    const whole = new Uint8Array(this.rest.length + data.length);
    whole.set(this.rest); whole.set(data, this.rest.length);
    const end = whole.length - (whole.length % 64);
    this.blocks(whole, end);
    this.rest = whole.slice(end);
  }
  blocks(bytes, end) {
    const w = this.w, h = this.h, view = new DataView(bytes.buffer, bytes.byteOffset);
    for (let at = 0; at < end; at += 64) {
      for (let i = 0; i < 16; i++) w[i] = view.getUint32(at + 4 * i);
      for (let i = 16; i < 64; i++) {
        const x = w[i - 15], y = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3))
          + (((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10));
      }
      let [a, b, c, d, e, f, g, j] = h;
      for (let i = 0; i < 64; i++) {
        const s = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
        const t = (j + s + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
        const r = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
        const u = (r + ((a & b) ^ (a & c) ^ (b & c))) | 0;
        j = g; g = f; f = e; e = (d + t) | 0; d = c; c = b; b = a; a = (t + u) | 0;
      }
      h[0] += a; h[1] += b; h[2] += c; h[3] += d; h[4] += e; h[5] += f; h[6] += g; h[7] += j;
    }
  }
  hex() {
    const bits = this.length * 8, tail = new Uint8Array(this.rest.length < 56 ? 64 : 128);
    tail.set(this.rest); tail[this.rest.length] = 0x80;
    const view = new DataView(tail.buffer);
    view.setUint32(tail.length - 8, Math.floor(bits / 2 ** 32)); view.setUint32(tail.length - 4, bits >>> 0);
    this.blocks(tail, tail.length);
    return [...this.h].map((x) => x.toString(16).padStart(8, "0")).join("");
  }
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function hashed(file, tell) {
  const sha = new Sha256();
  for (let at = 0; at < file.size; at += READ) {
    sha.update(new Uint8Array(await file.slice(at, at + READ).arrayBuffer()));
    tell(Math.min(at + READ, file.size));
    await pause(0); // the page stays alive
  }
  return sha.hex();
}

async function asked(method, path, options = {}) {
  const answer = await fetch(path, { method, headers: { Accept: "application/json", ...options.headers }, body: options.body });
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error([told.title, told.detail, told.next].filter(Boolean).join(" ")), { status: answer.status, code: told.code });
  return told;
}

async function sent(file, sha256, tell, form) {
  const json = { "Content-Type": "application/json" };
  let upload = await asked("POST", "/api/uploads", { headers: json, body: JSON.stringify({ sha256, size: file.size }) });
  for (let broken = 0; !upload.complete;) {
    tell(upload.offset);
    try {
      const piece = file.slice(upload.offset, upload.offset + upload.chunk);
      upload = await asked("PATCH", `/api/uploads/${upload.id}`, { headers: { "Upload-Offset": String(upload.offset), "Content-Type": "application/octet-stream" }, body: piece });
      broken = 0;
    } catch (error) {
      if (error.status && error.code !== "upload-offset-wrong" && error.status < 500) throw error;
      if (++broken > 8) throw error;
      form.dispatchEvent(new CustomEvent("broken"));
      await pause(Math.min(500 * 2 ** broken, 15000));
      upload = await asked("GET", `/api/uploads/${upload.id}`).catch(() => upload);
    }
  }
  tell(file.size);
}

function row(list, title) {
  const item = document.createElement("li"), bar = document.createElement("progress"), text = document.createElement("span");
  bar.max = 1; bar.value = 0; bar.setAttribute("aria-label", title);
  text.textContent = title;
  item.append(text, bar);
  list.append(item);
  return { item, bar, text };
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("[data-publish]")) return;
  const inputs = [...form.querySelectorAll('input[name="files"][type="file"], input[name="folder"]')];
  const large = inputs.flatMap((input) => [...input.files].filter((file) => file.size > SMALL).map((file) => ({ input, file })));
  if (!large.length) return;
  event.preventDefault();
  const button = form.querySelector("button.seal"), list = form.querySelector(".sending"), done = [];
  button.disabled = true;
  list.replaceChildren();
  try {
    for (const { input, file } of large) {
      const shown = row(list, form.dataset.hashing.replace("{name}", file.name));
      const tell = (at) => { shown.bar.value = at / file.size; };
      const broke = () => { shown.text.textContent = form.dataset.trying; };
      form.addEventListener("broken", broke);
      const sha256 = await hashed(file, tell);
      shown.text.textContent = form.dataset.sending.replace("{name}", file.name);
      await sent(file, sha256, (at) => { shown.text.textContent = form.dataset.sending.replace("{name}", file.name); tell(at); }, form);
      form.removeEventListener("broken", broke);
      const path = input.name === "folder" ? file.webkitRelativePath.split("/").slice(1).join("/") : file.name;
      done.push({ path, sha256, size: file.size });
    }
    for (const input of inputs) { // the small ones still go with the form
      const kept = new DataTransfer();
      for (const file of input.files) if (file.size <= SMALL) kept.items.add(file);
      input.files = kept.files;
    }
    form.elements.uploaded.value = JSON.stringify(done);
    form.submit();
  } catch (error) {
    const said = document.createElement("li");
    said.className = "tone-bad";
    said.textContent = `✕ ${error.message || form.dataset.failed}`;
    list.append(said);
    button.disabled = false;
  }
});
