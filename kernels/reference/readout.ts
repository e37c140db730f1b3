/**
 * From rows of hidden states to the features of items (words, pairs of entities, whole texts): each slot
 * of an item is a weighted sum of rows, in float64.
 *
 *   features[n, s d + c] = sum over j of weight[j] hidden[row[j], c],  j in the list of item n, slot s
 *
 * @module
 */

/** One row that a slot of an item reads. */
export interface ReadoutEntry {
  /** The item whose slot this is a part of. */
  item: number;
  /** The slot of the item. */
  slot: number;
  /** The row that is added. */
  row: number;
  /** What the row is multiplied with. */
  weight: number;
}

/** Forward. `hidden` (rows, d); the features are (items, slots d). */
export function readout(
  hidden: Float64Array,
  d: number,
  entries: readonly ReadoutEntry[],
  items: number,
  slots: number,
): Float64Array {
  const features = new Float64Array(items * slots * d);
  for (const { item, slot, row, weight } of entries) {
    for (let c = 0; c < d; c++) {
      const at = (item * slots + slot) * d + c;
      features[at] = (features[at] ?? 0) + weight * (hidden[row * d + c] ?? 0);
    }
  }
  return features;
}

/** Backward: the gradient of `hidden` (rows, d) from that of the features. */
export function readoutBackward(
  dfeatures: Float64Array,
  d: number,
  entries: readonly ReadoutEntry[],
  rows: number,
  slots: number,
): Float64Array {
  const dhidden = new Float64Array(rows * d);
  for (const { item, slot, row, weight } of entries) {
    for (let c = 0; c < d; c++) {
      const at = row * d + c;
      dhidden[at] = (dhidden[at] ?? 0) + weight * (dfeatures[(item * slots + slot) * d + c] ?? 0);
    }
  }
  return dhidden;
}
