import { makeBatch } from "../../../model/mamba/batch.ts";
import { IGNORED_TARGET as no } from "../../../model/mamba/types.ts";
import { assertEquals, assertThrows } from "../../assert.ts";

Deno.test("makeBatch() marks starts, predicts boundaries, and ignores padding and row ends", () => {
  const e = 9;
  const batch = makeBatch([[e, 1, 2, e, 3, e, e, e], [4, e, 5, 6, 7, 8, 1, 2]], 3, 8, e);
  assertEquals([...batch.starts.subarray(0, 16)], [1, 0, 0, 1, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]);
  assertEquals(
    [...batch.targets.subarray(0, 16)],
    [1, 2, e, 3, e, no, no, no, e, 5, 6, 7, 8, 1, 2, no],
  );
  assertEquals([...batch.tokens.subarray(0, 8)], [e, 1, 2, e, 3, e, e, e]);
  assertEquals(batch.scored, 12);
  assertEquals(new Set(batch.targets.subarray(16)), new Set([no]));
  assertThrows(() => makeBatch([[1]], 1, 2, e), RangeError);
});
