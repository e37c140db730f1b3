/**
 * Extending a tokenizer with the words of a domain: merges are learned on top of its own, so old
 * ids stay what they are, and each new token is made of old pieces.
 * @module
 */
import { fail, UserError } from "../../core/errors.ts";
import { learnMerges } from "./learn_merges.ts";
import { MergeTable } from "./merges.ts";
import { PretokenCounter } from "./pretoken_counts.ts";
import { MAX_VOCABULARY, parseTokenizerJson, readTokenizerJson } from "./tokenizer_json.ts";

/** A tokenizer.json with its parts that change. */
export interface ExtensibleJson {
  /** The vocabulary and the merges. */
  model: { vocab: Record<string, number>; merges: unknown[]; [key: string]: unknown };
  /** Tokens outside the vocabulary. */
  added_tokens?: { id: number; content: string }[];
  /** All else, which stays. */
  [key: string]: unknown;
}

/** An extended tokenizer. */
export interface Extension {
  /** The tokenizer.json. */
  json: ExtensibleJson;
  /** The first new id; the old ones are those below. */
  firstId: number;
  /** How many tokens were added; fewer than asked for where the text has too few pairs. */
  added: number;
}

/** A counter of pretokens for the tokenizer in `path`, to be given to {@linkcode extendTokenizer}. */
export function counterFor(path: string): PretokenCounter {
  return new PretokenCounter(parseTokenizerJson(readTokenizerJson(path), path).nfc);
}

/**
 * Adds up to `count` tokens learned from counted pretokens to the tokenizer in `path`.
 * @param minimumCount pairs that occur less often do not become tokens
 * @throws {UserError} where the tokenizer is of another kind, there is no text, or the vocabulary
 *   would pass what 16 bits hold.
 */
export function extendTokenizer(
  path: string,
  counter: PretokenCounter,
  count: number,
  minimumCount = 2,
): Extension {
  const json = readTokenizerJson<ExtensibleJson>(path);
  const definition = parseTokenizerJson(json, path);
  const firstId = definition.bytes.size;
  if (firstId + count > MAX_VOCABULARY) {
    throw new UserError(
      `Cannot add ${count} tokens to ${path}: it has ${firstId} ids, and with them more than ` +
        `${MAX_VOCABULARY}; add at most ${MAX_VOCABULARY - firstId}`,
    );
  }
  if (counter.textBytes === 0) {
    throw new UserError(`Cannot extend ${path}: there is no text; give a corpus or input files`);
  }
  const vocabulary = new Map(Object.entries(json.model.vocab));
  const names = new Map([...vocabulary].map(([name, id]) => [id, name]));
  const nameOf = (id: number) => names.get(id) ?? fail(`no token has the id ${id}`);
  const added = json.added_tokens ?? [];
  const pairs = typeof json.model.merges[0] !== "string";
  // Tokenizers of Hugging Face number added tokens by the vocabulary's size unless it has them.
  for (const { id, content } of added) vocabulary.set(content, id);
  const merges: unknown[] = [...json.model.merges];
  const table = new MergeTable(definition.merges, definition.byteIds);
  const runsOfSpaces = added.some(({ content }) => /^ {2,}$/.test(content));
  let next = firstId;
  learnMerges(counter.table(), {
    begin(bytes, start, end, ids, at) {
      // Runs of spaces never reach the model where they are added tokens.
      if (runsOfSpaces && bytes[start] === 32 && bytes[start + 1] === 32) return 0;
      const n = table.merge(bytes, start, end);
      ids.set(table.ids.subarray(0, n), at);
      return n;
    },
    firstId,
    vocabularySize: firstId + count,
    minimumCount,
    existing: (left, right) => vocabulary.get(nameOf(left) + nameOf(right)),
    onMerge({ left, right, merged }) {
      const a = nameOf(left);
      const b = nameOf(right);
      vocabulary.set(a + b, merged);
      names.set(merged, a + b);
      merges.push(pairs ? [a, b] : `${a} ${b}`);
      next = Math.max(next, merged + 1);
    },
  });
  const byId = [...vocabulary].sort((x, y) => x[1] - y[1]);
  return {
    json: { ...json, model: { ...json.model, vocab: Object.fromEntries(byId), merges } },
    firstId,
    added: next - firstId,
  };
}

/**
 * The old pieces of every id of an extended tokenizer from `firstId` on: what the base makes of its
 * bytes.
 * @returns for each new id in order, ids of the base
 * @throws {UserError} where `extended` does not keep the base's ids.
 */
export function oldPieces(basePath: string, extendedPath: string): number[][] {
  const base = parseTokenizerJson(readTokenizerJson(basePath), basePath);
  const extended = parseTokenizerJson(readTokenizerJson(extendedPath), extendedPath);
  const text = (bytes: Uint8Array) => String.fromCharCode(...bytes);
  for (let id = 0; id < base.bytes.size; id++) {
    const before = text(base.bytes.get(id));
    const after = text(extended.bytes.get(id));
    if (before !== after) {
      throw new UserError(
        `Cannot use ${extendedPath} as an extension of ${basePath}: id ${id} is ` +
          `${JSON.stringify(after)}, not ${
            JSON.stringify(before)
          }; make it with "pipeline extend-tokenizer"`,
      );
    }
  }
  const table = new MergeTable(base.merges, base.byteIds);
  const pieces: number[][] = [];
  for (let id = base.bytes.size; id < extended.bytes.size; id++) {
    const bytes = extended.bytes.get(id);
    const n = table.merge(bytes, 0, bytes.length);
    pieces.push(Array.from(table.ids.subarray(0, n)));
  }
  return pieces;
}
