/**
 * From annotated documents to texts to classify: each pair of entities in a sentence whose types are
 * related somewhere in the set, the first argument marked by << >> and the second by [[ ]], as SciBERT's
 * ChemProt has them. A pair that is not related has the label "false".
 * @module
 */
import { NOT_EVALUATED } from "./chemprot.ts";
import { sentencesOf } from "./sentences.ts";
import type { AnnotatedDocument, DocumentRelation, LabelledText, Mention, Span } from "./types.ts";

/** The label of a pair without a relation. */
const NO_RELATION = "false";

const startOf = (m: Mention): number => m.spans[0]?.start ?? 0;
const endOf = (m: Mention): number => m.spans.at(-1)?.end ?? 0;

/** A sentence with its pair marked; undefined where the two overlap. */
function markPair(
  text: string,
  sentence: Span,
  first: Mention,
  second: Mention,
): string | undefined {
  if (startOf(first) < endOf(second) && startOf(second) < endOf(first)) return undefined;
  const marks = [
    { at: startOf(first), mark: "<< " },
    { at: endOf(first), mark: " >>" },
    { at: startOf(second), mark: "[[ " },
    { at: endOf(second), mark: " ]]" },
  ].sort((a, b) => b.at - a.at || (a.mark.startsWith(" ") ? -1 : 1));
  let out = text.slice(sentence.start, sentence.end);
  for (const { at, mark } of marks) {
    const place = at - sentence.start;
    out = out.slice(0, place) + mark + out.slice(place);
  }
  return out.trim();
}

/** A relation with every pair of mentions that it may stand between. */
export interface PairedRelation {
  type: string;
  pairs: { first: Mention; second: Mention }[];
}

/**
 * A document's relations by pairs of mentions. One of the whole document, which relates what mentions
 * stand for, may stand between any mentions of the two.
 */
export function pairedRelations(document: AnnotatedDocument): PairedRelation[] {
  const named = (relation: DocumentRelation, i: number) => {
    const entity = relation.arguments[i]?.entity ?? "";
    return document.mentions.filter((mention) =>
      relation.level === "mention" ? mention.id === entity : mention.identifiers.includes(entity)
    );
  };
  return document.relations.filter(({ type }) => type !== NOT_EVALUATED).map((relation) => ({
    type: relation.type,
    pairs: named(relation, 0).flatMap((first) =>
      named(relation, 1).map((second) => ({ first, second }))
    ),
  }));
}

/** The pairs of all documents, and how many relations lie across sentences and are in none. */
export function pairsOf(
  documents: readonly AnnotatedDocument[],
): { texts: LabelledText[]; across: number } {
  const relationsOf = documents.map(pairedRelations);
  const types = new Set(
    relationsOf.flat().flatMap(({ pairs }) =>
      pairs.map(({ first, second }) => `${first.type}\t${second.type}`)
    ),
  );
  const texts: LabelledText[] = [];
  let across = 0;
  documents.forEach((document, d) => {
    const own = relationsOf[d] ?? [];
    const related = new Map<string, PairedRelation[]>();
    for (const relation of own) {
      for (const { first, second } of relation.pairs) {
        const key = `${first.id}\t${second.id}`;
        related.set(key, [...related.get(key) ?? [], relation]);
      }
    }
    const within = new Set<PairedRelation>();
    for (const sentence of sentencesOf(document)) {
      const inside = document.mentions.filter((m) =>
        startOf(m) >= sentence.start && endOf(m) <= sentence.end
      );
      for (const first of inside) {
        for (const second of inside) {
          if (first === second || !types.has(`${first.type}\t${second.type}`)) continue;
          const found = related.get(`${first.id}\t${second.id}`) ?? [];
          // Where both orders are possible, the order that is related stands, else that of the text.
          const turned = related.has(`${second.id}\t${first.id}`);
          const both = types.has(`${second.type}\t${first.type}`);
          if (!found.length && both && (turned || startOf(first) > startOf(second))) continue;
          for (const relation of found) within.add(relation);
          const text = markPair(document.text, sentence, first, second);
          if (text === undefined) continue;
          const labels = [...new Set(found.map((relation) => relation.type))].sort();
          // A pair with two relations is an example of each, as in BLUE's ChemProt.
          for (const label of labels.length ? labels : [NO_RELATION]) {
            texts.push({
              kind: "text",
              id: `${document.id}.${first.id}.${second.id}`,
              text,
              document: document.id,
              labels: [label],
            });
          }
        }
      }
    }
    across += own.filter((relation) => !within.has(relation)).length;
  });
  return { texts, across };
}
