/**
 * The relation of two marked entities by a head of labels: it reads the mean of each entity's states,
 * the mean of the states between the entities and of all states, and the state at the end of the text.
 * The words that name a relation stand beside or between the entities; a mean over them reaches each of
 * them directly, where the state at the end has to carry them there through all that follows.
 * What those words are, it has as sparse features besides.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import type { ChoiceAnswer } from "../core/choices.ts";
import { headAnswer } from "../core/choice_head.ts";
import type { HeadForm } from "../core/head_approach.ts";
import type { Mark, MarkedText } from "../core/head_examples.ts";
import type { TaskReader } from "../core/task.ts";
import { relationFeatures, type SentencePart } from "./words.ts";
import { NO_LABEL, type RelationExample, relationItems } from "./relations.ts";

/** Sparse features that a sentence has for each of its tokens, at the most. */
const SPARSE_PER_TOKEN = 16;

/** Sentences with two marked entities, one item each. */
export const RELATION_HEAD: HeadForm<RelationExample, ChoiceAnswer> = {
  loss: "softmax",
  marks: 5,
  sequence: false,
  texts: (example, limit, reader, sparse) => [relationText(example, limit, reader, sparse)],
  answer(example, output, { labels }, index) {
    const [item] = relationItems([example], labels);
    if (!item) throw new RangeError("A sentence is no item");
    return headAnswer({ ...item, id: String(index + 1) }, output);
  },
};

/**
 * The two entities with their marks, which stay in the text as tokens around the entities. Names of
 * chemicals have brackets of their own, so that marks have spaces within; where there are none such,
 * others will do.
 */
const MARKED = [/<<\s(.*?)\s>>|\[\[\s(.*?)\s\]\]/gs, /<<(.*?)>>|\[\[(.*?)\]\]/gs];

/** The marked entities of a sentence, as matches of which one has the first and one the second. */
function markedEntities(text: string): RegExpExecArray[] {
  for (const pattern of MARKED) {
    const matches = [...text.matchAll(pattern)];
    const has = (group: number) => matches.some((match) => match[group] !== undefined);
    if (has(1) && has(2)) return matches;
  }
  return [];
}

/**
 * A sentence as tokens. One that is too long loses its ends, those first that are farther from the
 * entities.
 * @throws {UserError} where the two entities are not marked, or are farther apart than `limit`.
 */
function relationText(
  { text, label }: RelationExample,
  limit: number,
  { tokenizer, labels }: TaskReader,
  sparse?: number,
): MarkedText {
  const tokens: number[] = [];
  const spans: { first?: Mark; second?: Mark } = {};
  const parts: SentencePart[] = [];
  const add = (part: string) => {
    const from = tokens.length;
    if (part.trim()) tokens.push(...tokenizer.encode(` ${part.trim()}`));
    return { kind: "mean" as const, from, to: tokens.length };
  };
  let end = 0;
  for (const match of markedEntities(text)) {
    const [whole, first, second] = match;
    add(text.slice(end, match.index));
    parts.push({ text: text.slice(end, match.index) });
    parts.push({ text: first ?? second ?? "", entity: first === undefined ? 2 : 1 });
    const isFirst = first !== undefined;
    add(isFirst ? "<<" : "[[");
    const span = add(first ?? second ?? "");
    add(isFirst ? ">>" : "]]");
    if (isFirst) spans.first ??= span;
    else spans.second ??= span;
    end = match.index + whole.length;
  }
  add(text.slice(end));
  parts.push({ text: text.slice(end) });
  const { first, second } = spans;
  if (!first || !second || first.kind === "text" || second.kind === "text") {
    throw new UserError(
      `Cannot read the sentence "${
        text.slice(0, 60)
      }": its two entities have to be marked, as in ` +
        `<< first >> and [[ second ]]`,
    );
  }
  const least = Math.min(first.from, second.from);
  const most = Math.max(first.to, second.to);
  if (most - least > limit) {
    throw new UserError(
      `Cannot read the sentence "${text.slice(0, 60)}": its entities are ${most - least} tokens ` +
        `apart, more than --max-tokens leaves, ${limit}`,
    );
  }
  const cut = Math.max(0, tokens.length - limit);
  // As much on either side, where there is as much.
  const before = Math.floor((limit - (most - least)) / 2);
  const from = cut ? Math.max(0, Math.min(least - before, tokens.length - limit)) : 0;
  const moved = (span: { from: number; to: number }): Mark => ({
    kind: "mean",
    from: span.from - from,
    to: Math.max(span.to, span.from + 1) - from,
  });
  // With their marks; where the entities lie within each other, all that they cover.
  const inner = { from: Math.min(first.to, second.to), to: Math.max(first.from, second.from) };
  const between = inner.to > inner.from ? inner : { from: least, to: most };
  const kept = tokens.slice(from, from + limit);
  const known = labels.indexOf(label);
  if (known < 0 && label !== NO_LABEL) {
    throw new UserError(
      `Cannot use the label "${label}": it is not among ${labels.join(", ")}`,
    );
  }
  return {
    tokens: kept,
    items: [{
      marks: [
        moved(first),
        moved(second),
        { kind: "text" },
        moved(between),
        { kind: "mean", from: 0, to: kept.length },
      ],
      target: Math.max(0, known),
      ...(sparse
        ? { sparse: relationFeatures(parts, sparse, SPARSE_PER_TOKEN * kept.length) }
        : {}),
    }],
    cut,
  };
}
