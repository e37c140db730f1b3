/**
 * Byte classes and names for scanning XML 1.0 in UTF-8 without decoding it.
 * @module
 */

/** Bytes the scanner names. */
export const LT = 0x3c;
export const GT = 0x3e;
export const AMP = 0x26;
export const SLASH = 0x2f;
export const BANG = 0x21;
export const QUESTION = 0x3f;
export const QUOTE = 0x22;
export const APOSTROPHE = 0x27;
export const EQUALS = 0x3d;
export const SPACE = 0x20;
export const HASH = 0x23;
export const SEMICOLON = 0x3b;
export const OPEN_BRACKET = 0x5b;
export const CLOSE_BRACKET = 0x5d;
export const DASH = 0x2d;

const table = (is: (byte: number) => boolean) =>
  Uint8Array.from({ length: 256 }, (_, byte) => Number(is(byte)));

/** 1 for TAB, LF, CR and SPACE: XML's own white space. */
export const WHITE: Uint8Array = table((c) => c === 9 || c === 10 || c === 13 || c === 32);
const control = (c: number) => c < 32 && WHITE[c] === 0;
/** 0 for the bytes of character data that need no thought: legal ASCII but `<`, `&` and `]`. */
export const STOPS_TEXT: Uint8Array = table((c) =>
  c === LT || c === AMP || c === CLOSE_BRACKET || c >= 0x80 || control(c)
);
/** 0 for the bytes of an attribute value that need no thought. */
export const STOPS_VALUE: Uint8Array = table((c) =>
  c === LT || c === AMP || c === QUOTE || c === APOSTROPHE || c >= 0x80 || c < 32
);
/** 1 for bytes that may start a name; every byte above ASCII counts, see {@linkcode isName}. */
export const NAME_START: Uint8Array = table((c) =>
  c >= 0x61 && c <= 0x7a || c >= 0x41 && c <= 0x5a || c === 0x5f || c === 0x3a || c >= 0x80
);
/** 1 for bytes that may stand inside a name. */
export const NAME: Uint8Array = table((c) =>
  NAME_START[c] === 1 || c >= 0x30 && c <= 0x39 || c === DASH || c === 0x2e
);

// Productions 4 and 4a of XML 1.0, fifth edition.
const START = ":A-Z_a-z\\u{C0}-\\u{D6}\\u{D8}-\\u{F6}\\u{F8}-\\u{2FF}\\u{370}-\\u{37D}" +
  "\\u{37F}-\\u{1FFF}\\u{200C}-\\u{200D}\\u{2070}-\\u{218F}\\u{2C00}-\\u{2FEF}" +
  "\\u{3001}-\\u{D7FF}\\u{F900}-\\u{FDCF}\\u{FDF0}-\\u{FFFD}\\u{10000}-\\u{EFFFF}";
const FULL_NAME = new RegExp(
  `^[${START}][${START}\\-.0-9\\u{B7}\\u{300}-\\u{36F}\\u{203F}-\\u{2040}]*$`,
  "u",
);

/** True where `text` is an XML 1.0 name. */
export function isName(text: string): boolean {
  return FULL_NAME.test(text);
}

/** True where `code` is a character that XML 1.0 allows (production 2). */
export function isXmlChar(code: number): boolean {
  return code === 9 || code === 10 || code === 13 || code >= 0x20 && code <= 0xd7ff ||
    code >= 0xe000 && code <= 0xfffd || code >= 0x10000 && code <= 0x10ffff;
}

const encoder = new TextEncoder();
/** The UTF-8 bytes of `text`. */
export const bytesOf = (text: string): Uint8Array => encoder.encode(text);

/** True where `word` stands in `bytes` at `at`. Reads past the end compare unequal. */
export function startsAt(bytes: Uint8Array, at: number, word: Uint8Array): boolean {
  for (let i = 0; i < word.length; i++) if (bytes[at + i] !== word[i]) return false;
  return true;
}
