/** How far two words are apart, for "did you mean". @module */

/** Levenshtein distance: the fewest letters to insert, remove or replace. */
export function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    let left = i;
    const next = [left];
    for (const [j, above] of row.slice(1).entries()) {
      const diagonal = row[j] ?? 0;
      left = Math.min(left + 1, above + 1, diagonal + Number(a[i - 1] !== b[j]));
      next.push(left);
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
