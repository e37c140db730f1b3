/**
 * Places in a text, as files count them. PubTator, BRAT, BioC and BigBIO come from programs that count
 * characters (code points); JavaScript counts UTF-16 units. They differ after a character beyond U+FFFF.
 * @module
 */

/** Converts between the two counts of one text. */
export interface Offsets {
  /** From characters to UTF-16 units. */
  toUnits(characters: number): number;
  /** From UTF-16 units to characters. */
  toCharacters(units: number): number;
}

const SAME: Offsets = { toUnits: (n) => n, toCharacters: (n) => n };

/** The two counts of a text. */
export function offsetsOf(text: string): Offsets {
  if (!/[\ud800-\udbff]/.test(text)) return SAME;
  const starts: number[] = [];
  let units = 0;
  for (const character of text) {
    starts.push(units);
    units += character.length;
  }
  starts.push(units);
  const characters = new Map(starts.map((unit, i) => [unit, i]));
  return {
    toUnits: (n) => starts[n] ?? units + (n - starts.length + 1),
    toCharacters: (n) => characters.get(n) ?? n,
  };
}
