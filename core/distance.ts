/** How far two words are apart, for "did you mean". @module */

/** The name that is nearest to a word, where one is near enough to be meant. */
export function nearest(word: string, names: Iterable<string>): string | undefined {
  const [near] = [...names].map((name) => ({ name, far: distance(word, name) }))
    .sort((a, b) => a.far - b.far);
  return near && near.far <= Math.min(3, word.length - 1) ? near.name : undefined;
}

/** `; did you mean "..."?` where a name is near a word, and otherwise what there is. */
export function meantOr(word: string, names: readonly string[], otherwise: string): string {
  const near = nearest(word, names);
  return near === undefined ? otherwise : `; did you mean "${near}"?`;
}

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
