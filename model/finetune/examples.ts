/** Supervised examples: prompts whose answers are learned, and batches of them. @module */
import type { CountedBatch } from "../batch.ts";
import { Random } from "../random.ts";
import { IGNORED_TARGET } from "../types.ts";

/** A prompt that begins with the boundary token, and the answer that the model learns to give. */
export interface SupervisedExample {
  prompt: number[];
  answer: number[];
}

/** Positions that an example takes: the answer's last token is only predicted. */
export function exampleLength({ prompt, answer }: SupervisedExample): number {
  return prompt.length + answer.length - 1;
}

/** The examples of a step, 0 to steps - 1, in an order shuffled anew for each epoch by the seed. */
export function examplesOfStep<T>(
  examples: readonly T[],
  step: number,
  examplesPerStep: number,
  seed: number,
): T[] {
  const stepsPerEpoch = Math.ceil(examples.length / examplesPerStep);
  const epoch = Math.floor(step / stepsPerEpoch), first = step % stepsPerEpoch * examplesPerStep;
  const order = [...examples], random = new Random(seed, `finetuning order of epoch ${epoch}`);
  for (let i = order.length - 1; i > 0; i--) {
    const j = random.integer(i + 1);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order.slice(first, first + examplesPerStep);
}

/**
 * Packs examples into as few rows as first-fit takes, and rows into micro-batches. Each example
 * begins a document, so that rows may hold several; only the answers are scored.
 * @throws {RangeError} for an example that is longer than a row.
 */
export function packExamples(
  examples: readonly SupervisedExample[],
  batchSize: number,
  length: number,
  endOfText: number,
): CountedBatch[] {
  const rows: { used: number; examples: SupervisedExample[] }[] = [];
  for (const example of examples) {
    const size = exampleLength(example);
    if (size > length) throw new RangeError(`An example of ${size} tokens in rows of ${length}`);
    let row = rows.find((r) => r.used + size <= length);
    if (!row) rows.push(row = { used: 0, examples: [] });
    row.examples.push(example);
    row.used += size;
  }
  const batches: CountedBatch[] = [];
  for (let at = 0; at < rows.length; at += batchSize) {
    const batch: CountedBatch = {
      tokens: new Uint32Array(batchSize * length).fill(endOfText),
      starts: new Uint8Array(batchSize * length).fill(1),
      targets: new Int32Array(batchSize * length).fill(IGNORED_TARGET),
      scored: 0,
    };
    rows.slice(at, at + batchSize).forEach((row, r) => {
      let base = r * length;
      for (const example of row.examples) {
        placeExample(batch, base, example);
        base += exampleLength(example);
      }
    });
    batches.push(batch);
  }
  return batches;
}

/** Writes one example at position `base` of a batch. */
function placeExample(batch: CountedBatch, base: number, example: SupervisedExample): void {
  const { prompt, answer } = example;
  batch.tokens.set(prompt, base);
  batch.tokens.set(answer.slice(0, -1), base + prompt.length);
  batch.starts.fill(0, base + 1, base + exampleLength(example));
  batch.targets.set(answer, base + prompt.length - 1);
  batch.scored += answer.length;
}
