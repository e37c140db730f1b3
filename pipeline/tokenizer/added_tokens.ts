/**
 * Added tokens: cut out of the text before the pretokens are. Leftmost, then longest, as the
 * reference implementation's Aho-Corasick automaton does.
 * @module
 */
import { fail } from "../../core/errors.ts";
import type { AddedToken } from "./tokenizer_json.ts";

const WORD_BEFORE = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;
const WORD_AFTER = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
const SPACE_BEFORE = /\p{White_Space}*$/u;
const SPACE_AFTER = /^\p{White_Space}*/u;

/** Finds a set of added tokens in strings. */
export class AddedTokenMatcher {
  readonly #pattern: RegExp;
  readonly #tokens: Map<string, AddedToken>;

  /** @param tokens at least one */
  constructor(tokens: AddedToken[]) {
    this.#tokens = new Map(tokens.map((t) => [t.content, t]));
    const longestFirst = [...this.#tokens.keys()].sort((a, b) => b.length - a.length);
    this.#pattern = new RegExp(longestFirst.map(escape).join("|"), "g");
  }

  /**
   * Calls `onText` for every piece between the tokens and `onToken` for every token, in order.
   * @param specialTokens whether special tokens count; where not they are text
   */
  split(
    text: string,
    specialTokens: boolean,
    onText: (piece: string) => void,
    onToken: (id: number) => void,
  ): void {
    let done = 0;
    for (const match of text.matchAll(this.#pattern)) {
      const token = this.#tokens.get(match[0]) ?? fail(`${match[0]} is no added token`);
      let start = match.index;
      let end = start + match[0].length;
      if (start < done || token.special && !specialTokens) continue;
      if (token.singleWord) {
        const before = text.slice(Math.max(0, start - 2), start);
        const after = text.slice(end, end + 2);
        if (WORD_BEFORE.test(before) || WORD_AFTER.test(after)) continue;
      }
      if (token.lstrip) start -= lengthOf(SPACE_BEFORE, text.slice(done, start));
      if (token.rstrip) end += lengthOf(SPACE_AFTER, text.slice(end));
      if (start > done) onText(text.slice(done, start));
      onToken(token.id);
      done = end;
    }
    if (done < text.length) onText(done ? text.slice(done) : text);
  }
}

/** Characters that a pattern finds in a text. */
const lengthOf = (pattern: RegExp, text: string) => pattern.exec(text)?.[0].length ?? 0;

const escape = (text: string) => text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");

/**
 * The ids of runs of 2, 3, ... spaces, where these are all the added tokens there are: such runs
 * are found in the bytes, which is much faster. Index is the run's length; 0 at 0 and 1.
 */
export function spaceRuns(tokens: AddedToken[]): Uint16Array | null {
  const ids = new Uint16Array(tokens.length + 2);
  for (const token of tokens) {
    const { content, lstrip, rstrip, singleWord } = token;
    if (!/^ {2,}$/.test(content) || lstrip || rstrip || singleWord) return null;
    if (content.length >= ids.length) return null; // a gap in the lengths
    ids[content.length] = token.id;
  }
  return ids;
}
