/** Splits by label, for development and cross-validation. @module */
import { nth } from "../../../core/nth.ts";
import { Random } from "../../mamba/random.ts";

/**
 * The fold, 0 to `folds` - 1, of each item: shuffled by seed within each label and dealt in turn, so
 * that folds are equally large and hold the labels in equal shares.
 * @param labels the label number of each item
 * @param purpose keeps the shuffles of different sets apart
 */
export function dealFolds(
  labels: readonly number[],
  folds: number,
  seed: number,
  purpose: string,
): number[] {
  const dealt = new Array<number>(labels.length).fill(0);
  let next = 0;
  for (const label of [...new Set(labels)].sort((a, b) => a - b)) {
    const own = labels.flatMap((l, i) => l === label ? [i] : []);
    const random = new Random(seed, `${purpose} folds of label ${label}`);
    for (let i = own.length - 1; i > 0; i--) {
      const j = random.integer(i + 1);
      [own[i], own[j]] = [nth(own, j), nth(own, i)];
    }
    for (const index of own) dealt[index] = next++ % folds;
  }
  return dealt;
}
