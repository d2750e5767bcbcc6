// Files of the folder: fetched with their bytes counted, and checked against their digests.

import { missing, unreachable, wrongFile } from "./errors.js";

/** The bytes of a file; `entry` is {path, size, sha256}. Raises MarketError. */
export async function bytesOf(base, { path, sha256 }, onbytes = () => {}) {
  let response;
  const parts = [];
  try {
    response = await fetch(new URL(path, base), { cache: "no-cache" }); // never an older package's
    if (response.ok) {
      for (const reader = response.body.getReader(); ;) {
        const { done, value } = await reader.read();
        if (done) break;
        parts.push(value);
        onbytes(value.length);
      }
    }
  } catch {
    throw unreachable(path);
  }
  if (!response.ok) throw missing(path, response.status);
  const bytes = await new Blob(parts).arrayBuffer();
  // Browsers offer digests to secure pages only: https, or this machine.
  if (crypto.subtle && (await digest(bytes)) !== sha256) throw wrongFile(path);
  return new Uint8Array(bytes);
}

export async function digest(bytes) {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What zlib packed, unpacked. */
export async function unpacked(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
