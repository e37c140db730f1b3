/**
 * Named entities by a causal language model. A sentence is read twice, so that each word of the
 * second reading is seen with the whole sentence before it; at the last token of a word there the
 * model predicts the word's tag, as one of a few tokens. That makes the tied head a token
 * classifier, learned by ordinary training steps, and a batch of sentences one forward pass.
 * @module
 */
import { nth } from "../../../core/nth.ts";
import { Interrupted, UserError } from "../../../core/errors.ts";
import type { Tokenizer } from "../../../pipeline/tokenizer/mod.ts";
import type { SupervisedExample } from "../core/examples.ts";
import { IGNORED_TARGET, type TrainableModel } from "../../mamba/types.ts";
import type { TaggedSentence } from "./ner.ts";
import { logitsOfSegments, logProbability } from "../core/scorer.ts";

/** Single characters are single tokens in every byte-level vocabulary. */
const TAG_CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/** The tags of a task and the token that stands for each. */
interface TagSet {
  /** O, then B-type and I-type of each type in alphabetical order. */
  tags: readonly string[];
  ids: number[];
}

/** The tags of some entity types: O, then B-type and I-type of each in alphabetical order. */
export function tagsOf(types: readonly string[]): string[] {
  return ["O", ...[...types].sort().flatMap((type) => [`B-${type}`, `I-${type}`])];
}

/** The entity types of some tags. */
export function typesOf(tags: readonly string[]): string[] {
  return [...new Set(tags.filter((tag) => tag !== "O").map((tag) => tag.slice(2)))].sort();
}

/**
 * Tags with the tokens that stand for them.
 * @throws {UserError} for more types than there are characters to stand for their tags.
 */
export function tagSet(tags: readonly string[], tokenizer: Tokenizer): TagSet {
  if (tags.length > TAG_CHARACTERS.length) {
    throw new UserError(
      `Cannot tag ${typesOf(tags).length} entity types: at most ${
        (TAG_CHARACTERS.length - 1) / 2
      } can be ` +
        `told apart; give data of fewer types`,
    );
  }
  return { tags, ids: tags.map((_, i) => nth(tokenizer.encode(nth(TAG_CHARACTERS, i)), 0)) };
}

/** The entity types that occur in sentences, in alphabetical order. */
export function entityTypes(sentences: readonly TaggedSentence[]): string[] {
  const types = new Set<string>();
  for (const { tags } of sentences) {
    for (const type of typesOf(tags)) types.add(type);
  }
  return [...types].sort();
}

/** A stretch of a sentence as the model reads it, twice. */
interface TagPiece {
  tokens: number[];
  /** Position in `tokens` of the last token of each word's second reading. */
  positions: number[];
  /** Index of the first word in the sentence. */
  first: number;
}

/**
 * A sentence as pieces of at most `limit` tokens; one, unless it is very long.
 * @throws {UserError} for a word that alone is too long.
 */
export function tagPieces(words: string[], tokenizer: Tokenizer, limit: number): TagPiece[] {
  const encoded = words.map((word) => [...tokenizer.encode(` ${word}`)]);
  const between = [...tokenizer.encode("\n")];
  const fixed = 1 + between.length;
  const pieces: TagPiece[] = [];
  for (let first = 0; first < words.length;) {
    let end = first;
    let length = 0;
    while (end < words.length && fixed + 2 * (length + nth(encoded, end).length) <= limit) {
      length += nth(encoded, end++).length;
    }
    if (end === first) {
      throw new UserError(
        `Cannot tag the word "${nth(words, first).slice(0, 40)}": it takes ` +
          `${fixed + 2 * nth(encoded, first).length} tokens, more than --max-tokens ${limit}`,
      );
    }
    const own = encoded.slice(first, end);
    const tokens = [tokenizer.endOfText, ...own.flat(), ...between];
    const positions = own.map((word) => tokens.push(...word) - 1);
    pieces.push({ tokens, positions, first });
    first = end;
  }
  return pieces;
}

/** Sentences as examples to learn their tags from. */
export function taggingExamples(
  sentences: readonly TaggedSentence[],
  set: TagSet,
  tokenizer: Tokenizer,
  limit: number,
): SupervisedExample[] {
  return sentences.flatMap(({ tokens: words, tags }) =>
    tagPieces(words, tokenizer, limit).map(({ tokens, positions, first }) => {
      const targets = new Array<number>(tokens.length).fill(IGNORED_TARGET);
      positions.forEach((at, i) =>
        targets[at] = nth(set.ids, set.tags.indexOf(nth(tags, first + i)))
      );
      return { tokens, targets };
    })
  );
}

/** The model's opinion of one sentence: ln p by word and tag, over the whole vocabulary. */
export type TagScores = number[][];

/** Tags sentences; calls `onProgress` with the number done. */
export async function scoreTags(
  sentences: readonly TaggedSentence[],
  set: TagSet,
  model: TrainableModel,
  tokenizer: Tokenizer,
  options: { onProgress?: (done: number) => void; signal?: AbortSignal } = {},
): Promise<TagScores[]> {
  const scores: TagScores[] = sentences.map(({ tokens }) => tokens.map(() => []));
  const atOnce = 4 * model.batchSize;
  for (let at = 0; at < sentences.length; at += atOnce) {
    if (options.signal?.aborted) throw new Interrupted("Interrupted: no results were written");
    const segments = sentences.slice(at, at + atOnce).flatMap(({ tokens: words }, i) =>
      tagPieces(words, tokenizer, model.sequenceLength).map(({ tokens, positions, first }) => ({
        tokens,
        wanted: positions.map((offset, word) => ({
          offset,
          use: (logits: Float32Array) => {
            nth(scores, at + i)[first + word] = set.ids.map((id) => logProbability(logits, id));
          },
        })),
      }))
    );
    await logitsOfSegments(model, segments);
    options.onProgress?.(Math.min(at + atOnce, sentences.length));
  }
  return scores;
}

/**
 * The most probable tags of a sentence among the well-formed ones, where I-type follows B-type or
 * I-type (Viterbi).
 */
export function decodeTags(scores: TagScores, tags: readonly string[]): string[] {
  const follows = (tag: string, before: string | undefined) =>
    !tag.startsWith("I-") || before !== undefined && before !== "O" &&
      before.slice(2) === tag.slice(2);
  let best = tags.map((tag, t) => follows(tag, undefined) ? scores[0]?.[t] ?? 0 : -Infinity);
  const back: number[][] = [];
  for (const word of scores.slice(1)) {
    const from = tags.map((tag) => {
      let chosen = -1;
      tags.forEach((before, b) => {
        if (follows(tag, before) && (chosen < 0 || nth(best, b) > nth(best, chosen))) chosen = b;
      });
      return chosen;
    });
    back.push(from);
    best = tags.map((_, t) => nth(best, nth(from, t)) + nth(word, t));
  }
  if (!scores.length) return [];
  let tag = best.indexOf(Math.max(...best));
  const path = [tag];
  for (const from of back.reverse()) path.push(tag = nth(from, tag));
  return path.reverse().map((t) => nth(tags, t));
}

/** Tokens per row that sentences need: a multiple of 64, at most `maxTokens`. */
export function taggingRowLength(
  sentences: readonly TaggedSentence[],
  tokenizer: Tokenizer,
  maxTokens: number,
): number {
  let longest = 1;
  for (const { tokens } of sentences) {
    for (const piece of tagPieces(tokens, tokenizer, maxTokens)) {
      longest = Math.max(longest, piece.tokens.length);
    }
  }
  return Math.min(maxTokens, Math.ceil(longest / 64) * 64);
}
