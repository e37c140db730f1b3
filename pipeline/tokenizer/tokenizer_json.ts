/**
 * Hugging Face's `tokenizer.json`, the byte-level BPE kind: read, checked, reduced to what encoding
 * and decoding need. Other kinds are refused by name.
 * @module
 */
import { shown, UserError } from "../../core/errors.ts";
import { readJson } from "../../core/files.ts";
import { byteStandIns } from "./characters.ts";

/** A token matched in the text before the model runs. */
export interface AddedToken {
  id: number;
  content: string;
  /** Matched only on request: the text of a document must not be able to write it. */
  special: boolean;
  /** Matched in the normalised text rather than in the text as given. */
  normalized: boolean;
  /** Takes the white space at its left, or right, with it. */
  lstrip: boolean;
  rstrip: boolean;
  /** Matched only where no word character touches it. */
  singleWord: boolean;
}

/** Byte strings by id, one after the other: an object each would take 20 times the room. */
export class TokenBytes {
  readonly #bytes: Uint8Array;
  readonly #starts: Uint32Array;

  /**
   * @param bytes all of them, by id
   * @param starts where each begins; one entry more at the end
   */
  constructor(bytes: Uint8Array, starts: Uint32Array) {
    this.#bytes = bytes;
    this.#starts = starts;
  }

  /** One more than the highest id. */
  get size(): number {
    return this.#starts.length - 1;
  }

  /** The bytes of a token; none for an id beyond the vocabulary. */
  get(id: number): Uint8Array {
    return this.#bytes.subarray(this.#starts[id] ?? 0, this.#starts[id + 1] ?? 0);
  }
}

/** What a tokenizer is made of. */
export interface TokenizerDefinition {
  /** Every token's bytes by id, none where no token has the id. Added tokens included. */
  bytes: TokenBytes;
  /** The id of each single byte; 0 for bytes that UTF-8 never has, where the file lacks them. */
  byteIds: Uint16Array;
  /** Merges in order of rank: left id, right id, merged id. */
  merges: Uint16Array;
  added: AddedToken[];
  /** Whether text is put into Unicode's NFC first. */
  nfc: boolean;
  /** Whether a space is put before text that does not begin with one. */
  prefixSpace: boolean;
  /** The token that separates documents. */
  endOfText: number;
}

/** Ids are written as 16-bit numbers everywhere. */
export const MAX_VOCABULARY = 65_535;

/** Added tokens become one pattern, which cannot be of any length. */
const MAX_ADDED_CHARACTERS = 1 << 20;

/** Names of the end-of-text token, in order of preference. */
const END_OF_TEXT = ["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[EOS]"];

/** The most bytes of a tokenizer.json: three times what one with all ids of 16 bits takes. */
const MAX_TOKENIZER_BYTES: number = 1 << 24;

/**
 * Reads and parses a tokenizer.json, of any kind.
 * @throws {UserError} where it is missing, too long or no JSON.
 */
export function readTokenizerJson<T = unknown>(path: string): T {
  return readJson<T>(path, "tokenizer", MAX_TOKENIZER_BYTES);
}

type Json = Record<string, unknown>;
/** Bytes that no UTF-8 text contains need no token. */
const inUtf8 = (byte: number) => byte !== 0xc0 && byte !== 0xc1 && byte < 0xf5;
const isObject = (v: unknown): v is Json => typeof v === "object" && v !== null;

/**
 * Checks a parsed `tokenizer.json`.
 * @param file named in the errors
 * @throws {UserError} naming the kind and the file where it is not byte-level BPE, or is broken.
 */
export function parseTokenizerJson(json: unknown, file: string): TokenizerDefinition {
  const fail = (what: string): never => {
    throw new UserError(
      `Cannot use the tokenizer ${file}: ${what}; a byte-level BPE tokenizer.json is needed, such as GPT-NeoX's or GPT-2's`,
    );
  };
  if (!isObject(json) || !isObject(json.model)) return fail("it has no model");
  const model = json.model;
  const kind = kindOf(model.type ?? (model.merges ? "BPE" : "unknown"));
  if (kind !== "BPE") fail(`it is of the kind ${kind}`);
  const prefixSpace = checkPreTokenizer(json, fail);
  const nfc = checkNormalizer(json.normalizer, fail);
  if (model.byte_fallback === true) fail("it is BPE with byte fallback (SentencePiece)");
  if (model.ignore_merges === true) fail("it is BPE that ignores merges (Llama 3's kind)");
  if (model.dropout) fail(`it is BPE with dropout ${shown(model.dropout)}`);
  for (const affix of ["continuing_subword_prefix", "end_of_word_suffix"]) {
    if (model[affix]) fail(`it is BPE with the ${affix} ${shown(model[affix])}`);
  }
  if (isObject(json.decoder) && json.decoder.type !== "ByteLevel") {
    fail(`its decoder is of the kind ${kindOf(json.decoder.type)}`);
  }
  if (!isObject(model.vocab)) return fail("it has no vocabulary");
  const vocabulary = new Map<string, number>();
  const entries = model.vocab as Record<string, number>;
  let size = 0;
  const count = (id: unknown) => {
    if (!Number.isSafeInteger(id) || (id as number) < 0) fail(`it has the id ${shown(id)}`);
    size = Math.max(size, id as number + 1);
  };
  for (const [name, id] of Object.entries(entries)) {
    count(id);
    // Every name needs an id of its own: more names are more ids, whatever the ids say.
    if (vocabulary.size <= MAX_VOCABULARY) vocabulary.set(name, id);
  }
  const added = parseAddedTokens(json.added_tokens, fail);
  for (const token of added) count(token.id);
  size = Math.max(size, vocabulary.size);
  if (size > MAX_VOCABULARY) {
    throw new UserError(
      `Cannot use the tokenizer ${file}: its vocabulary has ${size} ids, and 16-bit shards hold at ` +
        `most ${MAX_VOCABULARY}; make a smaller one with "pipeline train-tokenizer"`,
    );
  }
  checkDistinct(vocabulary, added, fail);
  const special = added.filter((a) => a.special);
  const end = END_OF_TEXT.map((name) => special.find((a) => a.content === name))
    .find((a) => a !== undefined);
  if (!end) return fail(`none of its special tokens ends a text (${END_OF_TEXT.join(", ")})`);
  const standIns = byteStandIns();
  return {
    bytes: tokenBytes(size, vocabulary, added, standIns),
    byteIds: Uint16Array.from(
      standIns,
      (c, b) => vocabulary.get(c) ?? (inUtf8(b) ? fail(`its vocabulary lacks the byte ${b}`) : 0),
    ),
    merges: parseMerges(model.merges, vocabulary, end, fail),
    added,
    nfc,
    prefixSpace,
    endOfText: end.id,
  };
}

function checkPreTokenizer(json: Json, fail: (what: string) => never): boolean {
  let pre = json.pre_tokenizer;
  if (isObject(pre) && pre.type === "Sequence" && Array.isArray(pre.pretokenizers)) {
    if (pre.pretokenizers.length !== 1) {
      fail(
        `its pre-tokenizer is a sequence of ${
          pre.pretokenizers.map((p) => kindOf(isObject(p) ? p.type : p)).join(", ")
        }`,
      );
    }
    pre = pre.pretokenizers[0];
  }
  if (!isObject(pre)) return fail("it is BPE without a pre-tokenizer");
  if (pre.type !== "ByteLevel") fail(`its pre-tokenizer is of the kind ${kindOf(pre.type)}`);
  if (pre.use_regex === false) fail("its ByteLevel pre-tokenizer splits by no pattern");
  return pre.add_prefix_space === true;
}

/** Whether NFC is asked for. Sequences may hold sequences, to any depth: none is gone into twice. */
function checkNormalizer(normalizer: unknown, fail: (what: string) => never): boolean {
  let nfc = false;
  const waiting: unknown[] = [normalizer];
  for (let next = waiting.pop(); next !== undefined || waiting.length > 0; next = waiting.pop()) {
    if (!isObject(next)) continue;
    if (next.type === "Sequence" && Array.isArray(next.normalizers)) {
      for (const inner of next.normalizers) waiting.push(inner);
    } else if (next.type === "NFC") nfc = true;
    else fail(`its normalizer is of the kind ${kindOf(next.type)}`);
  }
  return nfc;
}

const textLength = (text: unknown) => typeof text === "string" ? text.length : 0;

/** A kind as it is told, where it may be anything. */
const kindOf = (type: unknown) => typeof type === "string" ? type.slice(0, 100) : shown(type);

/**
 * Every id stands for one token. Were a piece of text to have the id that ends documents, every
 * document could write that boundary.
 */
function checkDistinct(
  vocabulary: ReadonlyMap<string, number>,
  added: readonly AddedToken[],
  fail: (what: string) => never,
): void {
  const names = new Map<number, string>();
  const take = (id: number, name: string) => {
    const other = names.get(id) ?? name;
    if (other !== name) {
      fail(`${shown(other)} and ${shown(name)} have the same id, ${id}`);
    }
    names.set(id, name);
  };
  for (const [name, id] of vocabulary) take(id, name);
  for (const { id, content } of added) take(id, content);
}

function parseAddedTokens(list: unknown, fail: (what: string) => never): AddedToken[] {
  if (list === undefined || list === null) return [];
  if (!Array.isArray(list)) return fail("its added_tokens are no list");
  const letters = list.reduce(
    (sum: number, entry: unknown) => sum + (isObject(entry) ? textLength(entry.content) : 0),
    0,
  );
  if (list.length > MAX_VOCABULARY || letters > MAX_ADDED_CHARACTERS) {
    return fail(`it has ${list.length} added tokens of ${letters} characters`);
  }
  return list.map((entry) => {
    if (!isObject(entry) || typeof entry.content !== "string" || !entry.content) {
      return fail("one of its added tokens has no content");
    }
    return {
      id: entry.id as number, // checked with the vocabulary's
      content: entry.content,
      special: entry.special === true,
      normalized: entry.normalized === undefined
        ? entry.special !== true
        : entry.normalized === true,
      lstrip: entry.lstrip === true,
      rstrip: entry.rstrip === true,
      singleWord: entry.single_word === true,
    };
  });
}

function parseMerges(
  list: unknown,
  vocabulary: Map<string, number>,
  end: AddedToken,
  fail: (what: string) => never,
): Uint16Array {
  if (!Array.isArray(list)) return fail("it has no merges");
  const merges = new Uint16Array(list.length * 3);
  for (let rank = 0; rank < list.length; rank++) {
    const merge: unknown = list[rank];
    let left: string;
    let right: string;
    if (typeof merge === "string") {
      const cut = merge.indexOf(" ");
      left = merge.slice(0, cut);
      right = merge.slice(cut + 1);
    } else {
      if (
        !Array.isArray(merge) || merge.length !== 2 || !merge.every((m) => typeof m === "string")
      ) {
        return fail(`its merge ${rank} is no pair of tokens`);
      }
      [left, right] = merge as [string, string];
    }
    const a = vocabulary.get(left);
    const b = vocabulary.get(right);
    const c = vocabulary.get(left + right);
    if (a === undefined || b === undefined || c === undefined) {
      return fail(`its merge ${rank} (${shown(merge)}) names tokens outside the vocabulary`);
    }
    if (c === end.id) fail(`its merge ${rank} makes ${shown(end.content)}, which ends documents`);
    merges[rank * 3] = a;
    merges[rank * 3 + 1] = b;
    merges[rank * 3 + 2] = c;
  }
  return merges;
}

function tokenBytes(
  size: number,
  vocabulary: Map<string, number>,
  added: AddedToken[],
  standIns: string[],
): TokenBytes {
  const byteOf = new Int16Array(0x200).fill(-1); // a stand-in's code unit is below U+0200
  standIns.forEach((c, b) => byteOf[c.charCodeAt(0)] = b);
  const names = new Array<string>(size).fill("");
  const literal = new Set<number>();
  let room = 0;
  for (const [name, id] of vocabulary) {
    names[id] = name;
    room += name.length * 3;
  }
  for (const { id, content } of added) {
    names[id] = content;
    room += content.length * 3;
    literal.add(id);
  }
  const bytes = new Uint8Array(room);
  const starts = new Uint32Array(size + 1);
  const encoder = new TextEncoder();
  let at = 0;
  names.forEach((name, id) => {
    const start = at;
    let plain = literal.has(id);
    for (let i = 0; i < name.length && !plain; i++) {
      const byte = byteOf[name.charCodeAt(i)] ?? -1;
      bytes[at++] = byte;
      // A special token's name may be in the vocabulary too, in characters that stand for no byte.
      plain = byte < 0;
    }
    if (plain) at = start + encoder.encodeInto(name, bytes.subarray(start)).written;
    starts[id + 1] = at;
  });
  return new TokenBytes(bytes.slice(0, at), starts);
}
