/**
 * From annotated documents to texts to classify: each pair of entities in a sentence whose types are
 * related somewhere in the set, the first argument marked by << >> and the second by [[ ]], as SciBERT's
 * ChemProt has them. A pair that is not related has the label "false".
 * @module
 */
import { mentionRelations } from "./brat.ts";
import { sentencesOf } from "./sentences.ts";
import type { AnnotatedDocument, LabelledText, Mention, Span } from "./types.ts";

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

/** The pairs of all documents, and how many relations lie across sentences and are in none. */
export function pairsOf(
  documents: readonly AnnotatedDocument[],
): { texts: LabelledText[]; across: number } {
  const types = new Set<string>();
  const relationsOf = documents.map((document) => {
    const byId = new Map(document.mentions.map((m) => [m.id, m]));
    return mentionRelations(document).flatMap(({ type, arguments: args }) => {
      const first = byId.get(args[0]?.entity ?? "");
      const second = byId.get(args[1]?.entity ?? "");
      if (!first || !second) return [];
      types.add(`${first.type}\t${second.type}`);
      return [{ type, first, second }];
    });
  });
  const texts: LabelledText[] = [];
  let across = 0;
  documents.forEach((document, d) => {
    const labels = new Map<string, Set<string>>();
    for (const { type, first, second } of relationsOf[d] ?? []) {
      const key = `${first.id}\t${second.id}`;
      labels.set(key, (labels.get(key) ?? new Set()).add(type));
    }
    for (const sentence of sentencesOf(document)) {
      const inside = document.mentions.filter((m) =>
        startOf(m) >= sentence.start && endOf(m) <= sentence.end
      );
      for (const first of inside) {
        for (const second of inside) {
          if (first === second || !types.has(`${first.type}\t${second.type}`)) continue;
          const key = `${first.id}\t${second.id}`;
          const own = labels.get(key);
          // Where both orders are possible, the order that is related stands, else that of the text.
          const turned = labels.has(`${second.id}\t${first.id}`);
          const both = types.has(`${second.type}\t${first.type}`);
          if (!own && both && (turned || startOf(first) > startOf(second))) continue;
          labels.delete(key);
          const text = markPair(document.text, sentence, first, second);
          if (text === undefined) continue;
          texts.push({
            kind: "text",
            id: `${document.id}.${first.id}.${second.id}`,
            text,
            labels: own ? [...own].sort() : [NO_RELATION],
          });
        }
      }
    }
    across += labels.size;
  });
  return { texts, across };
}
