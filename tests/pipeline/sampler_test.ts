import { sampleRow } from "../../pipeline/selection/sampler.ts";
import { assert, assertEquals } from "../assert.ts";

Deno.test("sampler: every epoch visits every row once", () => {
  for (const rows of [1, 2, 3, 10, 64, 1000, 4097, 99_991]) {
    for (const epoch of [0, 1, 7]) {
      const seen = new Uint8Array(rows);
      for (let i = 0; i < rows; i++) seen[sampleRow(rows, 42, epoch * rows + i)]!++;
      assert(seen.every((n) => n === 1), `${rows} rows, epoch ${epoch}`);
    }
  }
});

Deno.test("sampler: seeds and epochs have orders of their own", () => {
  const order = (seed: number, epoch: number) =>
    Array.from({ length: 500 }, (_, i) => sampleRow(500, seed, epoch * 500 + i));
  const agree = (a: number[], b: number[]) => a.filter((row, i) => row === b[i]).length;
  const first = order(1, 0);
  assertEquals(order(1, 0), first);
  for (const other of [order(1, 1), order(2, 0), order(2 ** 32 + 1, 0)]) {
    assert(agree(first, other) < 10, `${agree(first, other)} of 500 in place`);
  }
});

Deno.test("sampler: places are uniform and neighbours independent", () => {
  // Chi-squared over 64 x 64 cells of (place, row): 4095 degrees of freedom, 5 sigma.
  const rows = 1 << 18;
  const cells = new Float64Array(64 * 64);
  let correlation = 0;
  let previous = 0.5;
  for (let i = 0; i < rows; i++) {
    const row = sampleRow(rows, 9, i);
    cells[(i >> 12) * 64 + (row >> 12)]!++;
    const u = row / rows;
    correlation += (u - 0.5) * (previous - 0.5);
    previous = u;
  }
  const expected = rows / cells.length;
  const chi2 = cells.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
  assert(Math.abs(chi2 - 4095) < 5 * Math.sqrt(2 * 4095), `chi-squared ${chi2}`);
  assert(Math.abs(correlation / rows * 12) < 0.01, `correlation ${correlation / rows * 12}`);
});
