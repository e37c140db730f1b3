/**
 * Characters as the byte-level pre-tokenizer sees them: the class of every code point, and the
 * printable stand-in of every byte.
 * @module
 */

// Classes of the GPT-2 pattern ` ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+`; all else is 0.
/** The class of letters, `\p{L}`. */
export const LETTER = 1;
/** The class of digits and other numbers, `\p{N}`. */
export const NUMBER = 2;
/** The class of white space, `\s`. */
export const SPACE = 3;

/** Unicode's White_Space, which JavaScript's `\s` is not: that has U+FEFF and lacks U+0085. */
const WHITE_SPACE = [
  0x9,
  0xa,
  0xb,
  0xc,
  0xd,
  0x20,
  0x85,
  0xa0,
  0x1680,
  0x2028,
  0x2029,
  0x202f,
  0x205f,
  0x3000,
  ...Array.from({ length: 11 }, (_, i) => 0x2000 + i),
];

/** Planes 4 to 13 hold no character, and from U+E01F0 on there are only private ones. */
const LAST_CLASSIFIED = 0x3ffff;

let table: Uint8Array | undefined;

/** The class of each code point, indexed by code point; made once, on first use. */
export function characterClasses(): Uint8Array {
  if (table) return table;
  table = new Uint8Array(0x110000);
  // Runs found by the regular expression engine itself: one pass per block instead of one call per character.
  const block = 0x4000;
  const units = new Uint16Array(block * 2);
  for (let first = 0; first <= LAST_CLASSIFIED; first += block) {
    let n = 0;
    for (let cp = first; cp < first + block; cp++) {
      if (cp < 0x10000) {
        units[n++] = cp >= 0xd800 && cp < 0xe000 ? 0xfffd : cp; // surrogates are no characters
      } else {
        units[n++] = 0xd7c0 + (cp >> 10);
        units[n++] = 0xdc00 + (cp & 0x3ff);
      }
    }
    const text = new TextDecoder("utf-16le", { ignoreBOM: true })
      .decode(new Uint8Array(units.buffer, 0, n * 2));
    const unitsEach = first < 0x10000 ? 1 : 2;
    for (const [pattern, kind] of [[/\p{L}+/gu, LETTER], [/\p{N}+/gu, NUMBER]] as const) {
      for (const { index, 0: run } of text.matchAll(pattern)) {
        table.fill(kind, first + index / unitsEach, first + (index + run.length) / unitsEach);
      }
    }
  }
  for (const cp of WHITE_SPACE) table[cp] = SPACE;
  return table;
}

/**
 * The printable character that stands for each byte in a byte-level vocabulary (GPT-2's
 * `bytes_to_unicode`): itself where it prints, else the next code point from U+0100 on.
 */
export function byteStandIns(): string[] {
  const prints = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(prints(b) ? b : next++));
}
