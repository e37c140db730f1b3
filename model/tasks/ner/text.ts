/** Raw text for the tagger, and its tags as entities of the text. @module */
import { nth } from "../../../core/nth.ts";
import { UserError } from "../../../core/errors.ts";
import { readTextInput } from "../../../core/text_input.ts";
import { entitiesOf, type TaggedSentence } from "./ner.ts";

/** A sentence of a text that has no tags as yet. */
export interface RawSentence extends TaggedSentence {
  source: {
    /** The number of the text in its file, from 0. */
    document: number;
    text: string;
    /** First and last character (exclusive) of each word in the text. */
    spans: readonly (readonly [number, number])[];
  };
}

/** An entity as characters [start, end) of a text. */
interface TextEntity {
  start: number;
  end: number;
  type: string;
  text: string;
}

/** A run of letters and digits with their marks, or any other visible character by itself. */
const WORD = /[\p{L}\p{N}\p{M}]+|[^\s\p{L}\p{N}\p{M}]/gu;

/** Where a sentence ends: after its mark and closing brackets, before a capital, a digit or an opening. */
const SENTENCE_END = /(?<=[.!?][)\]"'”’]*)\s+(?=[\p{Lu}\p{N}("“‘[])/gu;

/** Words before a full stop that end no sentence. */
const ABBREVIATION = /(?:^|[\s(])(?:e\.g|i\.e|vs|cf|Fig|Figs|approx|et al|Dr|no|No|\p{L})\.$/u;

/** The stretches of a text that are sentences: characters [start, end). */
function sentenceSpans(text: string): [number, number][] {
  const spans: [number, number][] = [];
  let start = 0;
  for (const { index, 0: gap } of text.matchAll(SENTENCE_END)) {
    if (ABBREVIATION.test(text.slice(start, index))) continue;
    spans.push([start, index]);
    start = index + gap.length;
  }
  spans.push([start, text.length]);
  return spans.filter(([from, to]) => text.slice(from, to).trim() !== "");
}

/**
 * A text as sentences of words, split as the public sets of named entities are: punctuation and
 * hyphens are words by themselves.
 */
export function rawSentences(text: string, document: number): RawSentence[] {
  return sentenceSpans(text).map(([from, to]) => {
    const spans = [...text.slice(from, to).matchAll(WORD)].map((match) => {
      const start = from + match.index;
      return [start, start + match[0].length] as const;
    });
    const tokens = spans.map(([start, end]) => text.slice(start, end));
    const source = { document, text, spans };
    return { tokens, tags: tokens.map(() => "O"), line: document + 1, source };
  }).filter(({ tokens }) => tokens.length > 0);
}

/**
 * The texts of a file: each line, or the field "text" of each line of JSON.
 * @throws {UserError} as readTextInput does, or where there is no word in it.
 */
export function readRawSentences(path: string): RawSentence[] {
  const sentences: RawSentence[] = [];
  let document = 0;
  for (const { text } of readTextInput(path)) {
    for (const sentence of rawSentences(text, document)) sentences.push(sentence);
    document++;
  }
  if (!sentences.length) throw new UserError(`Cannot tag ${path}: there is no word in it`);
  return sentences;
}

/** The entities of a tagged sentence in its text. */
export function textEntities(
  { source: { text, spans } }: RawSentence,
  tags: readonly string[],
): TextEntity[] {
  return entitiesOf(tags).map(({ type, start, end }) => {
    const from = nth(spans, start)[0];
    const to = nth(spans, end - 1)[1];
    return { start: from, end: to, type, text: text.slice(from, to) };
  });
}

/** Lines of JSON, one per text, with its entities in order. */
export function entityLines(
  sentences: readonly RawSentence[],
  tags: readonly (readonly string[])[],
): string {
  const texts = new Map<number, { text: string; entities: TextEntity[] }>();
  sentences.forEach((sentence, i) => {
    const { document, text } = sentence.source;
    const known = texts.get(document) ?? { text, entities: [] };
    known.entities.push(...textEntities(sentence, nth(tags, i)));
    texts.set(document, known);
  });
  return [...texts.values()].map((line) => JSON.stringify(line) + "\n").join("");
}

/** The CoNLL format: a word and its tag per line, an empty line between sentences. */
export function conllLines(
  sentences: readonly TaggedSentence[],
  tags: readonly (readonly string[])[],
): string {
  return sentences.map(({ tokens }, i) =>
    tokens.map((token, w) => `${token}\t${nth(tags, i)[w]}\n`).join("")
  ).join("\n");
}
