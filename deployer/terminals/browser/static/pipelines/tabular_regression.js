// A number for each row of a table; see the server's pipeline of the same name.

import { shortest } from "../numbers.js";
import { Table } from "../tables/rows.js";

export class TabularRegression {
  constructor(engine, recipe) {
    Object.assign(this, { engine, recipe, wanted: recipe.wanted ?? [recipe.output] });
    this.table = new Table(engine, recipe);
  }

  async predict(body) {
    const rows = this.table.rows(body.rows);
    const count = this.table.atOnce;
    const results = [];
    for (let start = 0; start < rows.length; start += count) {
      const some = rows.slice(start, start + count);
      const answer = await this.engine.run(this.table.feeds(some, start), this.wanted);
      results.push(...this.results(answer, some.length));
    }
    return { results };
  }

  results(answer, count) {
    const { data } = answer[this.wanted[0]];
    const width = data.length / count;
    const single = data instanceof Float32Array;
    const said = (value) => (single ? shortest(value) : Number(value));
    return Array.from({ length: count }, (_, row) => {
      const values = Array.from(data.slice(row * width, (row + 1) * width), said);
      if (width === 1) return { value: values[0] };
      const names = this.recipe.targets.length ? this.recipe.targets : values.map((_, place) => `y${place}`);
      return { values: Object.fromEntries(values.map((value, at) => [names[at], value])) };
    });
  }
}

export const load = (engine, recipe) => new TabularRegression(engine, recipe);
