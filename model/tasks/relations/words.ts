/**
 * The words around two marked entities, as sparse features for a head: single words and pairs of words
 * between them, before them and after them, by which of the two comes first. These are the features that
 * relation extraction has long lived on (Zhou et al. 2005, "Exploring various knowledge in relation
 * extraction"), and the words of the entities, such as "receptor" and the end of "kinase".
 * @module
 */
import { featureOf, hashWith, textHash } from "../core/feature_hash.ts";

/** What a text is told to be. The order is a part of taught models. */
const KINDS = {
  order: 1,
  distance: 2,
  between: 3,
  betweenStem: 4,
  orderedStem: 5,
  betweenPair: 6,
  before: 7,
  beforePair: 8,
  justBefore: 9,
  after: 10,
  afterPair: 11,
  justAfter: 12,
  anywhere: 13,
  /** Words of the first and of the second entity, and the ends of these. */
  entities: [14, 15],
  entityEnds: [16, 17],
};

/** Letters of a word that stand for all of its forms. */
const STEM = 5;
/** Letters at the end of an entity's word that tell its kind. */
const END = 3;
/** Words before and after the entities that are looked at. */
const AROUND = 5;
/** Distances above are alike. */
const LARGEST_DISTANCE = 10;

/** A part of a sentence: text, which may be that of the first or of the second entity. */
export interface SentencePart {
  text: string;
  entity?: 1 | 2;
}

/** A word as a feature has it; an entity stands as one that no text has. */
interface Word {
  word: string;
  entity: boolean;
}

const stemOf = (word: string): string => word.slice(0, STEM);

/** Words, numbers and single other characters. */
const wordsIn = (text: string): string[] =>
  text.toLowerCase().match(/\p{L}+|\p{N}+|[^\s\p{L}\p{N}]/gu) ?? [];

/** A sentence in which an entity is one word. */
function wordsOf(parts: readonly SentencePart[]): Word[] {
  return parts.flatMap(({ text, entity }): Word[] =>
    entity
      ? [{ word: `\u0000${entity}`, entity: true }]
      : wordsIn(text).map((word) => ({ word, entity: false }))
  );
}

/**
 * The sparse features of a sentence, each once, of `features` that there may be.
 * @param most of them are taken at the most
 */
export function relationFeatures(
  parts: readonly SentencePart[],
  features: number,
  most: number,
): Uint32Array {
  const all = wordsOf(parts);
  const first = all.findIndex(({ entity }) => entity);
  const last = all.findLastIndex(({ entity }) => entity);
  const words = all.map(({ word }) => word);
  const hashes = new Set<number>();
  const tell = (text: string, kind: number) => hashes.add(textHash(text, kind));
  const pairs = (list: readonly string[], kind: number) => {
    for (let i = 0; i + 1 < list.length; i++) tell(`${list[i]} ${list[i + 1]}`, kind);
  };
  const order = `${words[first]} ${words[last]}`;
  // What is the same word has another meaning where the entities come in the other order.
  const ordered = (text: string, kind: number) =>
    hashes.add(hashWith(textHash(text, kind), textHash(order, KINDS.order)));
  const distance = Math.min(LARGEST_DISTANCE, (last - first) >> 1);
  tell(order, KINDS.order);
  ordered(String(distance), KINDS.distance);
  const span = words.slice(first, last + 1);
  for (const word of span.slice(1, -1)) {
    tell(word, KINDS.between);
    tell(stemOf(word), KINDS.betweenStem);
    ordered(stemOf(word), KINDS.orderedStem);
  }
  pairs(span, KINDS.betweenPair);
  const before = words.slice(Math.max(0, first - AROUND), first);
  const after = words.slice(last + 1, last + 1 + AROUND);
  for (const word of before) tell(stemOf(word), KINDS.before);
  for (const word of after) tell(stemOf(word), KINDS.after);
  pairs(before, KINDS.beforePair);
  pairs(after, KINDS.afterPair);
  ordered(before.at(-1) ?? "", KINDS.justBefore);
  ordered(after[0] ?? "", KINDS.justAfter);
  for (const { text, entity } of parts) {
    if (!entity) continue;
    for (const word of wordsIn(text)) {
      tell(word, KINDS.entities[entity - 1] ?? NaN);
      tell(word.slice(-END), KINDS.entityEnds[entity - 1] ?? NaN);
    }
  }
  for (const { word, entity } of all) if (!entity) tell(stemOf(word), KINDS.anywhere);
  const found = [...hashes].slice(0, most).map((hash) => featureOf(hash, features));
  return Uint32Array.from(found);
}
