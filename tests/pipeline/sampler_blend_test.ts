import { UserError } from "../../core/errors.ts";
import { Blend, BLEND_BLOCK, parseMix } from "../../pipeline/selection/blend.ts";
import { assert, assertEquals, assertThrows } from "../assert.ts";

const source = (rows: number, share: number, tokensPerRow = 1000) => ({
  rows,
  share,
  tokensPerRow,
});

Deno.test("sampler: a blend holds its quotas in every block", () => {
  const blend = new Blend([source(5000, 0.8), source(300, 0.1), source(700, 0.1)], 3);
  assertEquals(blend.quotas, [800, 100, 100]);
  for (const block of [0, 1, 17]) {
    const counts = [0, 0, 0];
    for (let i = 0; i < BLEND_BLOCK; i++) counts[blend.at(block * BLEND_BLOCK + i).source]!++;
    assertEquals(counts, [800, 100, 100]);
  }
  // Thirds are cut to whole rows that still make a block.
  const thirds = new Blend([source(9, 1 / 3), source(9, 1 / 3), source(9, 1 / 3)], 0);
  assertEquals(thirds.quotas, [334, 333, 333]);
});

Deno.test("sampler: shares of a blend are of tokens, not of rows", () => {
  const blend = new Blend([source(100, 0.5, 1000), source(100, 0.5, 250)], 0);
  assertEquals(blend.quotas, [200, 800]);
});

Deno.test("sampler: each source of a blend goes through its epochs row by row", () => {
  const blend = new Blend([source(500, 0.5), source(500, 0.3), source(70, 0.2)], 8);
  const seen = new Map<string, Set<number>>();
  const first: number[][] = [[], [], []];
  for (let i = 0; i < 10_000; i++) {
    const { source, epoch, row } = blend.at(i);
    const key = `${source}:${epoch}`;
    if (!seen.has(key)) seen.set(key, new Set());
    assert(!seen.get(key)!.has(row), `row ${row} twice in epoch ${key}`);
    seen.get(key)!.add(row);
    first[source]!.push(row);
  }
  assertEquals([...seen].filter(([key]) => key.startsWith("0:")).map(([, s]) => s.size), [
    ...Array(10).fill(500),
  ]);
  assertEquals(seen.get("2:27")!.size, 70);
  // Sources of equal size do not go in step, and another seed has another order.
  const equal = first[0]!.slice(0, 300).filter((row, i) => row === first[1]![i]).length;
  assert(equal < 10, `${equal} in step`);
  const other = new Blend(blend.sources, 9);
  const same = Array.from({ length: 1000 }, (_, i) => i)
    .filter((i) => JSON.stringify(other.at(i)) === JSON.stringify(blend.at(i))).length;
  assert(same < 20, `${same} of 1000 alike`);
});

Deno.test("sampler: mixes are read, and refused where they do not add up", () => {
  assertEquals(parseMix("a/b=0.8, c=.2"), [{ path: "a/b", share: 0.8 }, { path: "c", share: 0.2 }]);
  assertEquals(parseMix("x=y=1"), [{ path: "x=y", share: 1 }]);
  assertThrows(() => parseMix("a=0.8,b=0.1"), UserError, "add up to 0.9, not 1");
  for (const text of ["a", "a=", "=1", "a=b", "a=0,b=1", ""]) {
    assertThrows(() => parseMix(text), UserError, "folder=share");
  }
  assertThrows(() => new Blend([source(1, 0.9)], 0), UserError, "add up to 0.9");
  assertThrows(() => new Blend([source(1, 0.9999), source(9, 0.0001)], 0), UserError, "number 2");
  assertThrows(() => new Blend([source(0, 0.5), source(9, 0.5)], 0), UserError, "has no rows");
});
