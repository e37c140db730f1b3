/** How finely tokenizers cut text: tokens per word, bytes per token, and the same for lists of terms. */
import type { Tokenizer } from "./tokenizer.ts";

/** Sums over texts. */
export interface Fertility {
  /** Texts counted. */
  texts: number;
  /** Words, as white space separates them. */
  words: number;
  /** Bytes of UTF-8. */
  bytes: number;
  /** Tokens, without an end-of-text. */
  tokens: number;
  /** Texts that are a single token: of terms, those that the vocabulary knows. */
  single: number;
}

/** Counts of one tokenizer, by the kind of text. */
export class FertilityCounter {
  /** The sums by the kind of text. */
  readonly kinds = new Map<string, Fertility>();
  readonly #encoder = new TextEncoder();

  /** Begins with nothing counted. */
  constructor(readonly tokenizer: Tokenizer) {}

  /** Counts a text under `kind`. Words are what white space separates. */
  add(kind: string, text: string): void {
    let sums = this.kinds.get(kind);
    if (!sums) {
      sums = { texts: 0, words: 0, bytes: 0, tokens: 0, single: 0 };
      this.kinds.set(kind, sums);
    }
    const tokens = this.tokenizer.encode(text).length;
    sums.texts++;
    sums.words += text.match(/\S+/g)?.length ?? 0;
    sums.bytes += this.#encoder.encode(text).length;
    sums.tokens += tokens;
    sums.single += Number(tokens === 1);
  }
}
