/**
 * A linear map of sparse features, in float64: each item (a word, a sentence) has a list of features out
 * of many that are 0 or 1, and a feature adds its row of a table to the item's logits.
 *
 *   logits[n, k] = sum over the features f of item n of table[f, k]
 *
 * @module
 */

/** The logits (items, K) that features add. `table` is (F, K); a feature that is listed twice counts twice. */
export function sparseLogits(
  features: readonly ArrayLike<number>[],
  table: Float64Array,
  labels: number,
): Float64Array {
  const logits = new Float64Array(features.length * labels);
  features.forEach((own, item) => {
    for (let i = 0; i < own.length; i++) {
      for (let k = 0; k < labels; k++) {
        const at = item * labels + k;
        logits[at] = (logits[at] ?? 0) + (table[(own[i] ?? 0) * labels + k] ?? 0);
      }
    }
  });
  return logits;
}

/** The gradient of the table (F, K) from that of the logits (items, K). */
export function sparseLogitsBackward(
  features: readonly ArrayLike<number>[],
  dlogits: Float64Array,
  size: { features: number; labels: number },
): Float64Array {
  const { labels } = size;
  const dtable = new Float64Array(size.features * labels);
  features.forEach((own, item) => {
    for (let i = 0; i < own.length; i++) {
      for (let k = 0; k < labels; k++) {
        const at = (own[i] ?? 0) * labels + k;
        dtable[at] = (dtable[at] ?? 0) + (dlogits[item * labels + k] ?? 0);
      }
    }
  });
  return dtable;
}
