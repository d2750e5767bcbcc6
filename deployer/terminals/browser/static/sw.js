// Keeps every file of this folder, checked against its digest, so that the page works without a network.
// A new package has another list, so the browser installs it beside the old one: whole, or not at all.

const RELEASE = "{{release}}";
const FILES = {{files}};
const SCOPE = self.registration.scope;
const NAME = `${SCOPE}#${RELEASE}`;
const TYPES = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  json: "application/json",
  webmanifest: "application/manifest+json",
  svg: "image/svg+xml",
};

class Refused extends Error {
  constructor(code, path, status = 0) {
    super(`${code}: ${path}`);
    Object.assign(this, { code, path, status });
  }
}

async function tell(message) {
  const all = await self.clients.matchAll({ includeUncontrolled: true, type: "window" });
  for (const client of all) if (client.url.startsWith(SCOPE)) client.postMessage({ release: RELEASE, ...message });
}

async function digest(bytes) {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The bytes of a file if some cache of this folder has them already, else undefined. */
async function kept(path, sha256) {
  for (const name of await caches.keys()) {
    if (!name.startsWith(`${SCOPE}#`)) continue;
    const found = await (await caches.open(name)).match(SCOPE + path);
    const bytes = await found?.arrayBuffer();
    if (bytes && (await digest(bytes)) === sha256) return bytes;
  }
  return undefined;
}

async function fetched(path, onbytes) {
  const parts = [];
  let response;
  try {
    response = await fetch(SCOPE + path, { cache: "no-cache" });
    if (!response.ok) throw new Refused("missing-file", path, response.status);
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) return await new Blob(parts).arrayBuffer();
      parts.push(value);
      onbytes(value.length);
    }
  } catch (error) {
    throw error instanceof Refused ? error : new Refused("unreachable", path);
  }
}

async function keepAll() {
  const cache = await caches.open(NAME);
  const total = Object.values(FILES).reduce((sum, [size]) => sum + size, 0);
  let [done, told] = [0, 0];
  const count = (bytes) => {
    done += bytes;
    if (done - told > 1 << 18 || done === total) tell({ progress: [(told = done), total] });
  };
  try {
    for (const [path, [size, sha256]] of Object.entries(FILES)) {
      let bytes = await kept(path, sha256);
      if (bytes) count(size);
      else bytes = await fetched(path, count);
      if ((await digest(bytes)) !== sha256) throw new Refused("wrong-file", path);
      const type = TYPES[path.split(".").pop()] ?? "application/octet-stream";
      await cache.put(SCOPE + path, new Response(bytes, { headers: { "content-type": type } }));
    }
  } catch (error) {
    const code = error.name === "QuotaExceededError" ? "storage-full" : (error.code ?? "failed");
    await tell({ refused: { code, path: error.path ?? "", status: error.status ?? 0 } });
    throw error;
  }
}

async function dropOthers() {
  for (const name of await caches.keys()) {
    if (name.startsWith(`${SCOPE}#`) && name !== NAME) await caches.delete(name);
  }
  await self.clients.claim();
}

/** A file of the list out of the cache; another one, or one that the browser has thrown away, from the server. */
async function answer(request, path) {
  const cache = await caches.open(NAME);
  return (await cache.match(SCOPE + path)) ?? fetch(request);
}

self.addEventListener("install", (event) => event.waitUntil(keepAll()));
self.addEventListener("activate", (event) => event.waitUntil(dropOthers()));
self.addEventListener("message", (event) => event.data === "use" && self.skipWaiting());
self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  const plain = url.split(/[?#]/)[0];
  const path = plain === SCOPE ? "index.html" : plain.slice(SCOPE.length);
  if (method === "GET" && plain.startsWith(SCOPE) && Object.hasOwn(FILES, path)) {
    event.respondWith(answer(event.request, path));
  }
});
