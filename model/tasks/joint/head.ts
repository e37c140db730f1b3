/**
 * One head for entities and relations. Its outputs are the tags of words and, behind them, the relations
 * of pairs; its slots are a word's and, behind it, those of a pair: the means of both entities and the
 * whole text. A word leaves the slots of pairs empty and a pair those of words, so that each output
 * learns from what it is asked of; both parts' losses are added with a weight (as BiomedParse does), and
 * the model below them is one.
 *
 * What is answered is restricted to the part that was asked: a word is weighed among tags, a pair among
 * relations.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { headApproach, type HeadForm, type HeadOutput, logSoftmax } from "../core/head_approach.ts";
import { type Mark, type MarkedItem, type MarkedText, textLimit } from "../core/head_examples.ts";
import type { HeadApproach, HeadChoice, TaskReader } from "../core/task.ts";
import { entitiesOf, type Entity } from "../ner/ner.ts";
import { decodeTags } from "../ner/tagger.ts";
import {
  candidatePairs,
  type JointSentence,
  relationOf,
  type SentenceRelation,
} from "./sentences.ts";

/** The outputs of a joint model, as its labels name them. */
export interface JointLabels {
  /** Tags of words. */
  tags: string[];
  /** Relations of pairs, "false" first. */
  relations: string[];
  /** Types of entities that may be related. */
  pairs: Set<string>;
}

/** The relation of two entities that are not related. */
export const NO_RELATION = "false";

const RELATION = "relation: ";
const PAIR = "pair: ";

/** A joint model's label set, in order; that of which types may be related has outputs that nobody asks. */
export const jointLabels = (
  { tags, relations, pairs }: { tags: string[]; relations: string[]; pairs: string[] },
): string[] => [
  ...tags,
  ...[NO_RELATION, ...relations].map((type) => RELATION + type),
  ...pairs.map((types) => PAIR + types),
];

/** What a label set says. */
export function readLabels(labels: readonly string[]): JointLabels {
  const behind = (prefix: string) =>
    labels.filter((label) => label.startsWith(prefix)).map((label) => label.slice(prefix.length));
  return {
    tags: labels.filter((label) => !label.startsWith(RELATION) && !label.startsWith(PAIR)),
    relations: behind(RELATION),
    pairs: new Set(behind(PAIR)),
  };
}

/** How much each part of the loss weighs; a part of weight 0 is not learned. */
export interface PartWeights {
  words: number;
  pairs: number;
}

/** What was said of one sentence. */
export interface JointAnswer {
  tags: string[];
  /** By word and tag: ln p. */
  scores?: number[][];
  /** The relations of the golden entities' candidate pairs, in their order. */
  given: string[];
  /** Relations between entities that were found, by these entities' numbers; without "false". */
  found: SentenceRelation[];
}

/** What is asked of a sentence: its words, or the pairs of some entities. */
interface Asked {
  words: readonly string[];
  entities: readonly Entity[];
  relations: readonly SentenceRelation[];
  weights: PartWeights;
}

const NOTHING: Mark = { kind: "mean", from: 0, to: 0 };

/** A text's items read at most so many places of each of its tokens, for which the device has room. */
const PLACES_PER_TOKEN = 6;

/**
 * A sentence as texts of at most `limit` tokens. All of its words are in the first one, or where they do
 * not fit in several; pairs are where both entities are, in further readings of the same tokens where
 * there are very many.
 */
function sentenceTexts(
  asked: Asked,
  limit: number,
  { tokenizer, labels }: TaskReader,
): { text: MarkedText; words: number[]; pairs: { first: number; second: number }[] }[] {
  const { tags, relations, pairs: types } = readLabels(labels);
  const { words, entities, weights } = asked;
  const gold = new Map<number, string>();
  for (const { type, start, end } of entities) {
    for (let i = start; i < end; i++) gold.set(i, `${i === start ? "B" : "I"}-${type}`);
  }
  const encoded = words.map((word) => [...tokenizer.encode(` ${word}`)]);
  const out: { text: MarkedText; words: number[]; pairs: { first: number; second: number }[] }[] =
    [];
  const pairs = weights.pairs ? candidatePairs(entities, types) : [];
  for (let first = 0; first < words.length;) {
    const tokens: number[] = [];
    const at: { from: number; to: number }[] = [];
    let end = first;
    while (end < words.length && tokens.length + (encoded[end]?.length ?? 0) <= limit) {
      const from = tokens.length;
      tokens.push(...encoded[end] ?? []);
      at.push({ from, to: tokens.length });
      end++;
    }
    if (end === first) {
      throw new UserError(
        `Cannot read the word "${words[first]?.slice(0, 40)}": it takes ${
          encoded[first]?.length
        } ` +
          `tokens, more than --max-tokens leaves for it, ${limit}`,
      );
    }
    const place = (word: number) => at[word - first] ?? { from: 0, to: 0 };
    const spanOf = ({ start, end }: Entity): Mark => ({
      kind: "mean",
      from: place(start).from,
      to: place(end - 1).to,
    });
    let items: MarkedItem[] = [];
    let own: { words: number[]; pairs: typeof pairs } = { words: [], pairs: [] };
    if (weights.words) {
      for (let word = first; word < end; word++) {
        items.push({
          marks: [{ kind: "word", ...place(word) }, NOTHING, NOTHING, NOTHING],
          target: Math.max(0, tags.indexOf(gold.get(word) ?? "O")),
          weight: weights.words,
        });
        own.words.push(word);
      }
    }
    let places = items.length;
    const flush = () => {
      if (items.length) out.push({ text: { tokens, items }, ...own });
      items = [];
      own = { words: [], pairs: [] };
      places = 0;
    };
    for (const pair of pairs) {
      const one = entities[pair.first];
      const other = entities[pair.second];
      const inside = (e: Entity | undefined) => e && e.start >= first && e.end <= end;
      if (!one || !other || !inside(one) || !inside(other)) continue;
      const marks = [spanOf(one), spanOf(other)];
      const taken = marks.reduce((sum, m) => sum + (m.kind === "mean" ? m.to - m.from : 0), 1);
      const full = items.length >= tokens.length ||
        places + taken > PLACES_PER_TOKEN * tokens.length;
      if (full && items.length) flush();
      const type = relationOf(asked.relations, pair.first, pair.second) ?? NO_RELATION;
      items.push({
        marks: [NOTHING, ...marks, { kind: "text" }],
        target: tags.length + Math.max(0, relations.indexOf(type)),
        weight: weights.pairs,
      });
      own.pairs.push(pair);
      places += taken;
    }
    flush();
    first = end;
  }
  return out;
}

/** What is read off a part's outputs. */
const partOf = (logits: Float32Array, labels: number, item: number, from: number, to: number) =>
  logSoftmax(logits.subarray(item * labels + from, item * labels + to));

/** What the outputs say of what was asked of a sentence. */
interface Said {
  /** By word that was asked of: ln p of each tag. */
  scores: number[][];
  /** By the numbers of a pair's entities, "first second": its relation. */
  relations: Map<string, string>;
}

/** Sentences of which some part is asked. */
function formOf(context: HeadChoice["context"]): HeadForm<Asked, Said> {
  return {
    loss: "softmax",
    marks: 4,
    sequence: false,
    texts: (asked, limit, reader) => sentenceTexts(asked, limit, reader).map(({ text }) => text),
    answer(asked, { logits }: HeadOutput, reader) {
      const { tags, relations } = readLabels(reader.labels);
      const count = reader.labels.length;
      const scores: number[][] = [];
      const said = new Map<string, string>();
      // The same texts again: what each item is of.
      const texts = sentenceTexts(asked, textLimit(context, reader.maxTokens), reader);
      texts.forEach(({ words, pairs }, t) => {
        const own = logits[t] ?? new Float32Array();
        words.forEach((_, i) => scores.push(partOf(own, count, i, 0, tags.length)));
        pairs.forEach(({ first, second }, i) => {
          const to = tags.length + relations.length;
          const row = partOf(own, count, words.length + i, tags.length, to);
          const best = row.indexOf(Math.max(...row));
          said.set(`${first} ${second}`, relations[best] ?? NO_RELATION);
        });
      });
      return { scores, relations: said };
    },
  };
}

/** A sentence with what of it is learned. */
export interface JointItem extends JointSentence {
  weights: PartWeights;
}

const WORDS: PartWeights = { words: 1, pairs: 0 };
const PAIRS: PartWeights = { words: 0, pairs: 1 };

/**
 * The approach of a joint task: words first; then, of the same weights, the pairs of the golden entities,
 * and those of the entities that were found.
 */
export function jointApproach(choice: HeadChoice): HeadApproach<JointItem, JointAnswer> {
  const inner = headApproach(formOf(choice.context), choice);
  const whole = (item: JointItem): Asked => item;
  return {
    name: "head",
    head: (labels) => inner.head(labels),
    rows: (textRows) => inner.rows(textRows),
    rowLength: (items, reader) =>
      inner.rowLength(items.map((item) => ({ ...whole(item), weights: WORDS })), reader),
    examples: (items, reader) => inner.examples(items.map(whole), reader),
    async answer(items, made, reader) {
      const { tags, pairs } = readLabels(reader.labels);
      const quiet: TaskReader = { ...reader, onProgress: undefined };
      const asked = (weights: PartWeights) => items.map((item) => ({ ...whole(item), weights }));
      const read = await inner.answer(asked(WORDS), made, quiet);
      const tagged = read.map(({ scores }) => decodeTags(scores, tags));
      const given = await inner.answer(asked(PAIRS), made, quiet);
      const found = tagged.map((own) => entitiesOf(own));
      const ofFound = await inner.answer(
        items.map((item, i) => ({
          words: item.words,
          entities: found[i] ?? [],
          relations: [],
          weights: PAIRS,
        })),
        made,
        reader,
      );
      return items.map((item, i): JointAnswer => ({
        tags: tagged[i] ?? [],
        scores: read[i]?.scores ?? [],
        given: candidatePairs(item.entities, pairs).map(({ first, second }) =>
          given[i]?.relations.get(`${first} ${second}`) ?? NO_RELATION
        ),
        found: [...ofFound[i]?.relations ?? []].flatMap(([key, type]) => {
          if (type === NO_RELATION) return [];
          const [first = 0, second = 0] = key.split(" ").map(Number);
          return [{ first, second, type }];
        }),
      }));
    },
  };
}
