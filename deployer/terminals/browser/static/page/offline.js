// The service worker from the page's side: what it has kept, how far it is, what went wrong.

import * as errors from "../errors.js";
import { MarketError } from "../errors.js";

const REASONS = {
  "storage-full": () => errors.storageFull(),
  "wrong-file": (path) => errors.wrongFile(path),
  "missing-file": (path, status) => errors.missing(path, status),
  unreachable: (path) => errors.unreachable(path),
};

const PATIENCE = 3000; // milliseconds for the reason of a worker that gave up

/**
 * Keep the folder on this device. Resolves when it is kept, or when it cannot be; `tell` hears
 * {state: "saving" | "kept" | "online", progress, why, newer} as things go on.
 */
export async function keep(tell) {
  const workers = navigator.serviceWorker;
  if (!workers) return tell({ state: "online", why: window.isSecureContext ? "noWorker" : "insecure" });
  let refusal = null;
  // The worker's last word and its end come by different ways, in either order.
  const heard = new Promise((resolve) => {
    workers.addEventListener("message", ({ data }) => {
      if (data.progress) tell({ state: "saving", progress: data.progress });
      if (!data.refused) return;
      refusal = REASONS[data.refused.code]?.(data.refused.path, data.refused.status) ?? null;
      resolve();
    });
  });
  workers.startMessages();
  let registration;
  try {
    registration = await workers.register("sw.js", { updateViaCache: "none" });
  } catch (error) {
    // Offline the script cannot be looked at anew, but what was kept goes on working.
    if (workers.controller) return tell({ state: "kept" });
    return tell({ state: "online", why: "noWorker", error: MarketError.of(error) });
  }
  if (registration.active) {
    tell({ state: "kept" });
    if (registration.waiting) tell({ state: "kept", newer: registration.waiting });
    registration.addEventListener("updatefound", () => watch(registration.installing));
    if (registration.installing) watch(registration.installing);
    return undefined;
  }
  const installed = await settled(registration.installing ?? registration.waiting);
  if (!installed) await Promise.race([heard, new Promise((resolve) => setTimeout(resolve, PATIENCE))]);
  return tell(
    installed ? { state: "kept" } : { state: "online", error: refusal ?? MarketError.of("service worker") },
  );

  async function watch(worker) {
    if (await settled(worker, "installed")) tell({ state: "kept", newer: worker });
    else tell({ state: "kept" });
  }
}

/** Whether a worker comes to a state rather than be thrown away. */
function settled(worker, wanted = "activated") {
  return new Promise((done) => {
    const look = () => {
      if (worker.state === wanted || worker.state === "activated") done(true);
      if (worker.state === "redundant") done(false);
    };
    worker.addEventListener("statechange", look);
    look();
  });
}

/** Let a newer package take over, and begin anew with it. */
export function use(worker) {
  navigator.serviceWorker.addEventListener("controllerchange", () => location.reload(), { once: true });
  worker.postMessage("use");
}
