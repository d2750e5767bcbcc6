// The worker of market.js: opens the folder's graph, then answers bodies one after the other.

import { open } from "./engine.js";
import { MarketError } from "./errors.js";

let predictor;
let turn = Promise.resolve();

async function answer({ base, body }, id) {
  if (base) {
    const { engine, recipe, release } = await open(base, (done, total) =>
      postMessage({ progress: [done, total] }),
    );
    const { load } = await import(`./pipelines/${recipe.pipeline}.js`);
    predictor = await load(engine, recipe);
    return { id, release, schema: recipe.schema };
  }
  const start = performance.now();
  const made = await predictor.predict(body);
  return { id, answer: made, ms: performance.now() - start };
}

onmessage = ({ data: { id, ...asked } }) => {
  turn = turn.then(async () => {
    try {
      postMessage(await answer(asked, id));
    } catch (error) {
      postMessage({ id, error: MarketError.of(error).toPlain() });
    }
  });
};
