/**
 * Sentences with entities and the relations between them: what a joint model learns of annotated
 * documents. A relation of a whole document, which relates what mentions stand for, may stand between any
 * mentions of the two in one sentence.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { type AnnotatedDocument, readRecords } from "../formats/mod.ts";
import { NOT_EVALUATED } from "../formats/chemprot.ts";
import { pairedRelations } from "../formats/pairs.ts";
import { sentencesOf, separateMentions, tokensOf } from "../formats/sentences.ts";
import type { Span } from "../formats/types.ts";
import type { Entity } from "../ner/ner.ts";

/** A relation between two entities of a sentence, by their numbers. */
export interface SentenceRelation {
  first: number;
  second: number;
  type: string;
}

/** A sentence: its words, its entities as words [start, end), and how these are related. */
export interface JointSentence {
  /** Its document. */
  document: string;
  /** Where it lies in the document's text. */
  span: Span;
  words: string[];
  /** The document's text, where it is new. */
  text?: string;
  /** Where each word lies in the document's text. */
  places: readonly Span[];
  entities: Entity[];
  relations: SentenceRelation[];
}

/** Sentences, and what of the documents they cannot hold. */
export interface JointSentences {
  sentences: JointSentence[];
  /** Mentions that overlap longer ones. */
  overlapping: number;
  /** Relations that hold between no two kept mentions of one sentence. */
  across: number;
}

/**
 * The sentences of documents.
 * @param spans the sentences to take, by document; by default they are found
 */
function jointSentences(
  documents: readonly AnnotatedDocument[],
  spans?: ReadonlyMap<string, readonly Span[]>,
): JointSentences {
  const sentences: JointSentence[] = [];
  let overlapping = 0;
  let across = 0;
  for (const document of documents) {
    const kept = separateMentions(document);
    overlapping += document.mentions.length - kept.length;
    const related = pairedRelations(document).filter(({ type }) => type !== NOT_EVALUATED);
    const within = new Set<number>();
    for (const span of spans?.get(document.id) ?? sentencesOf(document)) {
      const places = tokensOf(document.text, span.start, span.end);
      const numbers = new Map<string, number>();
      const entities: Entity[] = [];
      const inside = kept.map((mention) => ({
        mention,
        start: mention.spans[0]?.start ?? 0,
        end: mention.spans.at(-1)?.end ?? 0,
      })).filter(({ start, end }) => start >= span.start && end <= span.end)
        .sort((a, b) => a.start - b.start);
      for (const { mention, start, end } of inside) {
        const from = places.findIndex((word) => word.end > start);
        const to = places.findLastIndex((word) => word.start < end) + 1;
        if (from < 0 || to <= from) continue;
        numbers.set(mention.id, entities.length);
        entities.push({ type: mention.type, start: from, end: to });
      }
      const relations = new Map<string, SentenceRelation>();
      related.forEach(({ type, pairs }, r) => {
        for (const pair of pairs) {
          const first = numbers.get(pair.first.id);
          const second = numbers.get(pair.second.id);
          if (first === undefined || second === undefined || first === second) continue;
          within.add(r);
          const key = `${first} ${second}`;
          // Of several relations between two entities the first in the file is learned.
          if (!relations.has(key)) relations.set(key, { first, second, type });
        }
      });
      sentences.push({
        document: document.id,
        span,
        words: places.map(({ text }) => text),
        places,
        entities,
        relations: [...relations.values()],
      });
    }
    across += related.length - within.size;
  }
  return { sentences, overlapping, across };
}

/**
 * The sentences of a file or folder of annotated documents, of any format.
 * @param spans as in {@linkcode jointSentences}
 * @throws {UserError} where it holds no documents, or naming the line that cannot be read.
 */
export function readJoint(
  path: string,
  format: string | undefined,
  spans?: ReadonlyMap<string, readonly Span[]>,
): JointSentences {
  const { format: { name, kind }, records } = readRecords(path, format);
  if (kind === "document") return jointSentences(records as AnnotatedDocument[], spans);
  throw new UserError(
    `Cannot use ${path}: read as ${name}, it holds no documents with entities and relations; name ` +
      `another file, or its format with --format`,
  );
}

/** Types of two entities that may be related, in the order of the relation's arguments. */
const pairTypes = (first: Entity, second: Entity): string => `${first.type} > ${second.type}`;

/** The pairs of types that are related anywhere in some sentences. */
export function relatedTypes(sentences: readonly JointSentence[]): string[] {
  const types = new Set<string>();
  for (const { entities, relations } of sentences) {
    for (const { first, second } of relations) {
      const one = entities[first];
      const other = entities[second];
      if (one && other) types.add(pairTypes(one, other));
    }
  }
  return [...types].sort();
}

/**
 * The pairs of a sentence's entities that may be related. Where both orders are possible, the order of
 * the text stands, and so the relation of two entities of one type has no direction.
 */
export function candidatePairs(
  entities: readonly Entity[],
  types: ReadonlySet<string>,
): { first: number; second: number }[] {
  const pairs: { first: number; second: number }[] = [];
  entities.forEach((one, first) =>
    entities.forEach((other, second) => {
      if (first === second || !types.has(pairTypes(one, other))) return;
      const both = types.has(pairTypes(other, one));
      if (!both || first < second) pairs.push({ first, second });
    })
  );
  return pairs;
}

/** The type of the relation of two entities, whichever comes first; undefined for none. */
export const relationOf = (
  relations: readonly SentenceRelation[],
  first: number,
  second: number,
): string | undefined =>
  (relations.find((r) => r.first === first && r.second === second) ??
    relations.find((r) => r.first === second && r.second === first))?.type;

/** Tags of the scheme IOB2 for entities. */
export function tagsOfEntities(words: number, entities: readonly Entity[]): string[] {
  const tags = new Array<string>(words).fill("O");
  for (const { type, start, end } of entities) {
    for (let i = start; i < end; i++) tags[i] = `${i === start ? "B" : "I"}-${type}`;
  }
  return tags;
}
