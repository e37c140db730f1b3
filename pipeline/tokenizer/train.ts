/** Training a byte-level BPE tokenizer and writing it in Hugging Face's format. @module */
import { fail, UserError } from "../../core/errors.ts";
import { byteAt, nth } from "../../core/nth.ts";
import { byteStandIns } from "./characters.ts";
import { learnMerges } from "./learn_merges.ts";
import { PretokenCounter } from "./pretoken_counts.ts";
import { MAX_VOCABULARY } from "./tokenizer_json.ts";

/** The special tokens, whose ids are their places here. */
const SPECIAL_TOKENS = ["<|endoftext|>", "<|padding|>"];
/** The special tokens and the bytes. */
export const SMALLEST_VOCABULARY: number = SPECIAL_TOKENS.length + 256;

/** Training's choices. */
export interface TrainTokenizerOptions {
  /** Pairs that occur less often do not become tokens (default 2). */
  minimumCount?: number;
  /** Told how many entries there are. */
  onProgress?: (entries: number) => void;
}

/** A `tokenizer.json`, as it is written. */
export interface TokenizerJson {
  /** Of the format: "1.0". */
  version: string;
  /** The vocabulary by token, and the merges in their order. */
  model: { type: "BPE"; vocab: Record<string, number>; merges: string[]; [key: string]: unknown };
  /** Normaliser, pre-tokenizer, decoder, added tokens. */
  [key: string]: unknown;
}

/**
 * Trains a byte-level BPE tokenizer of GPT-NeoX's kind (NFC, no prefix space) on `texts`, by the
 * rules of Hugging Face's trainer: the highest count first, then the smaller pair of ids. Equal
 * texts give an equal tokenizer. `<|endoftext|>` is 0, `<|padding|>` 1, the bytes follow.
 * @param vocabularySize ids in all; fewer come out where the texts hold too few repeated pairs
 * @throws {UserError} where the size is impossible or there is no text.
 */
export function trainTokenizer(
  texts: Iterable<string>,
  vocabularySize: number,
  options: TrainTokenizerOptions = {},
): TokenizerJson {
  const counter = new PretokenCounter();
  for (const text of texts) counter.add(text);
  return trainFromCounts(counter, vocabularySize, options);
}

/** As {@linkcode trainTokenizer}, from pretokens already counted. */
export function trainFromCounts(
  counter: PretokenCounter,
  vocabularySize: number,
  options: TrainTokenizerOptions = {},
): TokenizerJson {
  if (vocabularySize < SMALLEST_VOCABULARY || vocabularySize > MAX_VOCABULARY) {
    throw new UserError(
      `Cannot train a tokenizer of ${vocabularySize} entries: choose from ${SMALLEST_VOCABULARY} to ${MAX_VOCABULARY}`,
    );
  }
  if (counter.textBytes === 0) {
    throw new UserError("Cannot train a tokenizer: there is no text; give a corpus or input files");
  }
  const standIns = byteStandIns();
  const alphabet = [...standIns].sort();
  const tokens = [...SPECIAL_TOKENS, ...alphabet];
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges: string[] = [];
  const byteIds = standIns.map((c) => ids.get(c) ?? fail(`the byte ${c} has no token`));
  learnMerges(counter.table(), {
    begin(bytes, start, end, out, at) {
      for (let i = start; i < end; i++) out[at + i - start] = nth(byteIds, byteAt(bytes, i));
      return end - start;
    },
    firstId: tokens.length,
    vocabularySize,
    minimumCount: Math.max(1, options.minimumCount ?? 2),
    existing: (left, right) => ids.get(nth(tokens, left) + nth(tokens, right)),
    onMerge: ({ left, right, merged }) => {
      tokens[merged] = nth(tokens, left) + nth(tokens, right);
      ids.set(tokens[merged], merged);
      merges.push(`${tokens[left]} ${tokens[right]}`);
      options.onProgress?.(tokens.length);
    },
  });
  return describe(tokens, merges);
}

/** The `tokenizer.json` of a vocabulary, its ids in order. */
function describe(tokens: string[], merges: string[]): TokenizerJson {
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: SPECIAL_TOKENS.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: { type: "NFC" },
    pre_tokenizer: { ...byteLevel, use_regex: true },
    post_processor: { ...byteLevel, use_regex: true },
    decoder: { ...byteLevel, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
    },
  };
}
