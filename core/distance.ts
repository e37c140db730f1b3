/** How far two words are apart, for "did you mean". @module */

/** Levenshtein distance: the fewest letters to insert, remove or replace. */
export function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(
        Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + Number(a[i - 1] !== b[j - 1])),
      );
    }
    row = next;
  }
  return row[b.length]!;
}
