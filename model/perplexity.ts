/** Loss on held-out rows. @module */
import { makeBatch } from "./batch.ts";
import type { RowSource } from "./corpus.ts";
import type { TrainableModel } from "./types.ts";

/** Summed negative log-likelihood of one or more whole rows. */
export interface RowLoss {
  nll: number;
  targets: number;
}

/**
 * Evaluates rows [0, count) of a source with as few batches as possible. Yields one entry a row
 * where the model tells rows apart, otherwise one a batch.
 */
export async function* rowLosses(
  model: TrainableModel,
  source: RowSource,
  count: number,
  endOfText: number,
): AsyncGenerator<RowLoss> {
  const { batchSize, sequenceLength } = model;
  for (let at = 0; at < count; at += batchSize) {
    const rows = Array.from(
      { length: Math.min(batchSize, count - at) },
      (_, i) => source.row(at + i),
    );
    const batch = makeBatch(rows, batchSize, sequenceLength, endOfText);
    const { nll, targets, rowNll } = await model.evaluate(batch);
    if (!rowNll) {
      yield { nll, targets };
      continue;
    }
    for (let r = 0; r < rows.length; r++) {
      const own = batch.targets.subarray(r * sequenceLength, (r + 1) * sequenceLength);
      yield { nll: rowNll[r]!, targets: own.reduce((sum, t) => sum + Number(t >= 0), 0) };
    }
  }
}

/** Mean negative log-likelihood of a scored token, in nats, over rows [0, count). */
export async function meanLoss(
  model: TrainableModel,
  source: RowSource,
  count: number,
  endOfText: number,
): Promise<number> {
  let nll = 0, targets = 0;
  for await (const one of rowLosses(model, source, Math.min(count, source.rows), endOfText)) {
    nll += one.nll;
    targets += one.targets;
  }
  return nll / targets;
}
