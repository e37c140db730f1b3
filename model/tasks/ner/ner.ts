/**
 * Named entities: CoNLL files, and the entity-level F1 that BioBERT reports (`conlleval`): an entity
 * counts where its first token, its last token and its type are all right.
 * @module
 */
import { nth } from "../../../core/nth.ts";
import { fail, UserError } from "../../../core/errors.ts";
import { precisionRecall } from "../core/classification.ts";
import type { Counts } from "../core/task.ts";
import { readTagged } from "../formats/conll.ts";
import type { TaggedTokens } from "../formats/types.ts";

/** A sentence: its tokens, and their tags such as O, B-Disease, I-Disease. */
export interface TaggedSentence {
  /** Its words. */
  tokens: string[];
  /** O, B-type or I-type, one for each word. */
  tags: string[];
  /** The line of its first token, from 1, for messages. */
  line: number;
}

/** An entity: tokens [start, end) of a sentence. */
export interface Entity {
  /** What kind of entity. */
  type: string;
  /** Its first token. */
  start: number;
  /** The token after its last. */
  end: number;
}

/**
 * Reads a CoNLL file: a token per line, its tag in the last column (tabs or spaces between), a blank
 * line between sentences; -DOCSTART- lines are skipped. Bare tags and the scheme BIOES are read too.
 * @throws {UserError} naming the file and the line, for what is no tag.
 */
export function readConll(path: string): TaggedSentence[] {
  return taggedSentences(readTagged(path));
}

/** Sentences of any format, without what tagging does not look at. */
export function taggedSentences(sentences: readonly TaggedTokens[]): TaggedSentence[] {
  return sentences.map(({ tokens, tags, line }) => ({ tokens, tags, line }));
}

/**
 * The entities of a sentence's tags. As conlleval has it, I-type begins an entity too where the tag
 * before is O or of another type, so that no prediction is thrown away for its form.
 */
export function entitiesOf(tags: readonly string[]): Entity[] {
  const entities: Entity[] = [];
  let open: Entity | undefined;
  tags.forEach((tag, i) => {
    const type = tag === "O" ? undefined : tag.slice(2);
    if (open && tag.startsWith("I-") && open.type === type) {
      open.end = i + 1;
      return;
    }
    open = type === undefined ? undefined : { type, start: i, end: i + 1 };
    if (open) entities.push(open);
  });
  return entities;
}

/** Right, wrong and missed entities of one sentence by type. */
export type EntityCounts = Map<string, Counts>;

/** Compares the entities of one sentence. */
export function compareEntities(gold: Entity[], predicted: Entity[]): EntityCounts {
  const counts: EntityCounts = new Map();
  const of = (type: string) => {
    const own = counts.get(type) ??
      { truePositives: 0, falsePositives: 0, falseNegatives: 0 };
    counts.set(type, own);
    return own;
  };
  const key = (e: Entity) => `${e.start} ${e.end} ${e.type}`;
  const left = new Set(gold.map(key));
  for (const entity of predicted) {
    if (left.delete(key(entity))) of(entity.type).truePositives++;
    else of(entity.type).falsePositives++;
  }
  for (const entity of gold) if (left.has(key(entity))) of(entity.type).falseNegatives++;
  return counts;
}

/**
 * Makes sure that a system's file has the sentences of the gold file.
 * @throws {UserError} at the first token that differs: the tags would not be of the same text.
 */
export function checkSameText(
  gold: readonly TaggedSentence[],
  system: readonly TaggedSentence[],
  files: { gold: string; system: string },
): void {
  if (gold.length !== system.length) {
    throw new UserError(
      `Cannot compare ${files.system} with ${files.gold}: they have ${system.length} and ` +
        `${gold.length} sentences; give tags for every sentence of the gold file, in its order`,
    );
  }
  gold.forEach((sentence, s) => {
    const other = nth(system, s);
    const length = Math.max(sentence.tokens.length, other.tokens.length);
    for (let i = 0; i < length; i++) {
      if (sentence.tokens[i] === other.tokens[i]) continue;
      const [want, got] = [sentence, other].map((t) =>
        i < t.tokens.length ? `"${t.tokens[i]}"` : "the sentence's end"
      );
      throw new UserError(
        `Cannot compare ${files.system} with ${files.gold}: line ${other.line + i} has ${got}, ` +
          `the gold file's line ${sentence.line + i} has ${want}`,
      );
    }
  });
}

/**
 * Compares predicted tags with the golden ones, sentence by sentence.
 * @param types predictions of other types are not looked at; all are by default
 */
export function countTags(
  sentences: readonly TaggedSentence[],
  predicted: readonly string[][],
  types?: readonly string[],
): EntityCounts[] {
  return sentences.map((s, i) => {
    const found = entitiesOf(nth(predicted, i)).filter((e) => types?.includes(e.type) ?? true);
    return compareEntities(entitiesOf(s.tags), found);
  });
}

/** Sums counts over sentences (or a resample of them), of one type or of all. */
export function sumEntityCounts(
  sentences: readonly EntityCounts[],
  type?: string,
  indices?: ArrayLike<number>,
): Counts {
  const sum = { truePositives: 0, falsePositives: 0, falseNegatives: 0 };
  const add = (counts: Counts | undefined) => {
    if (!counts) return;
    sum.truePositives += counts.truePositives;
    sum.falsePositives += counts.falsePositives;
    sum.falseNegatives += counts.falseNegatives;
  };
  for (let i = 0; i < (indices ?? sentences).length; i++) {
    const counts = sentences[indices?.[i] ?? i] ?? fail("there is no such sentence");
    if (type !== undefined) add(counts.get(type));
    else counts.forEach(add);
  }
  return sum;
}

/** F1 of a type, or of all entities together, as a statistic over sentences. */
export function entityF1Of(
  sentences: readonly EntityCounts[],
  type?: string,
): (indices: Uint32Array) => number {
  return (indices: Uint32Array) => precisionRecall(sumEntityCounts(sentences, type, indices)).f1;
}
