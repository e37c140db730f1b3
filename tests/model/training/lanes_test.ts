import { resolveConfig } from "../../../model/training/configuration.ts";
import { sharedBatches, stepBatches } from "../../../model/training/rows.ts";
import { shareOf } from "../../../model/training/share.ts";
import { queueGradients } from "../../../model/training/step.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { ReferenceModel } from "../../../model/mamba/reference.ts";
import type { CountedBatch } from "../../../model/mamba/batch.ts";
import { assert, assertEquals, assertThrows } from "../../assert.ts";
import { inventedCorpus, MINIATURE } from "../helpers.ts";

const corpus = inventedCorpus();
const rows = corpus.split("train");
const batchesOf = (accumulate: number): CountedBatch[] =>
  stepBatches(rows, 0, { seed: 3, batch: { rows: 1, accumulate } }, corpus);

Deno.test("the ranks' shares of a step are all of it, in order, with the same count of targets", () => {
  const batch = { rows: 2, accumulate: 8, lanes: 4 };
  const whole = stepBatches(rows, 16, { seed: 5, batch }, corpus);
  const scored = whole.reduce((sum, one) => sum + one.scored, 0);
  for (const size of [1, 2, 4]) {
    const parts = Array.from({ length: size }, (_, rank) => {
      const share = shareOf(batch, { rank, size });
      assertEquals(share.lanes, 4 / size);
      const part = sharedBatches(rows, 16, { seed: 5, share }, corpus);
      assertEquals(part.scored, scored);
      return part.batches;
    });
    assertEquals(parts.flat(), whole);
  }
});

Deno.test("without lanes, micro-batches are cut where there are too few for all ranks", () => {
  const share = (rows: number, accumulate: number, rank: number, size: number) =>
    shareOf({ rows, accumulate, lanes: 1 }, { rank, size });
  assertEquals(share(8, 1, 3, 4), { rows: 2, all: 4, first: 3, count: 1, lanes: 1 });
  assertEquals(share(8, 3, 1, 4), { rows: 2, all: 12, first: 3, count: 3, lanes: 1 });
  assertEquals(share(8, 6, 2, 3), { rows: 8, all: 6, first: 4, count: 2, lanes: 1 });
  assertThrows(() => share(3, 3, 0, 2), Error, "Cannot share steps of 9 rows");
  assertThrows(
    () => shareOf({ rows: 1, accumulate: 4, lanes: 4 }, { rank: 0, size: 3 }),
    Error,
    "Cannot share steps of 4 lanes (batch.lanes) among 3 ranks",
  );
});

Deno.test("lanes that cannot be are refused with what could be", () => {
  const batch = (given: object) => () => resolveConfig({ batch: given }, "a test");
  assertThrows(batch({ lanes: 3, accumulate: 3 }), Error, "it must be a power of two up to 1024");
  assertThrows(
    batch({ rows: 8, lanes: 4 }),
    Error,
    "set batch.accumulate to 4 and batch.rows to 2",
  );
  assertEquals(resolveConfig({ batch: { lanes: 2, accumulate: 4 } }, "a test").batch.lanes, 2);
});

/** The gradients of a step, by lanes. */
function gradients(batches: CountedBatch[], lanes: number): Map<string, Float64Array> {
  const model = new ReferenceModel(MINIATURE, 1, corpus.sequenceLength, { lanes });
  model.writeParameters(initialParameters(MINIATURE, 7));
  const scored = batches.reduce((sum, one) => sum + one.scored, 0);
  const part = { batches, scored, first: 0, lanes };
  queueGradients(model, part, { seed: 1, step: 0 });
  return model.gradients;
}

Deno.test("lanes are added as ((0 + 1) + (2 + 3)), each summed in order", () => {
  const batches = batchesOf(8);
  const scale = 1 / batches.reduce((sum, one) => sum + one.scored, 0);
  const one = (from: number, to: number) => {
    const model = new ReferenceModel(MINIATURE, 1, corpus.sequenceLength);
    model.writeParameters(initialParameters(MINIATURE, 7));
    for (const batch of batches.slice(from, to)) model.accumulate(batch, scale);
    return model.gradients;
  };
  const lanes = [one(0, 2), one(2, 4), one(4, 6), one(6, 8)];
  const plain = gradients(batches, 1);
  for (const [name, found] of gradients(batches, 4)) {
    const [a, b, c, d] = lanes.map((lane) => lane.get(name) ?? new Float64Array());
    const expected = found.map((_, i) =>
      ((a?.[i] ?? NaN) + (b?.[i] ?? NaN)) + ((c?.[i] ?? NaN) + (d?.[i] ?? NaN))
    );
    assertEquals(found, expected, name);
    const before = plain.get(name) ?? new Float64Array();
    assert(found.every((x, i) => Math.abs(x - (before[i] ?? NaN)) <= 1e-12), name);
  }
});
