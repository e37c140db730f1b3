/** Named entities by a head of labels: a tag for each word, neighbours decoded together. @module */
import { UserError } from "../../../core/errors.ts";
import type { CrfParameters } from "../../../kernels/reference/crf.ts";
import { type HeadForm, type HeadOutput, logSoftmax } from "../core/head_approach.ts";
import type { MarkedText } from "../core/head_examples.ts";
import type { TaskReader } from "../core/task.ts";
import type { TaggedSentence } from "./ner.ts";
import { FieldDecoder } from "./field.ts";
import { spellingFeatures } from "./spelling.ts";
import { decodeTags, type TagScores } from "./tagger.ts";

/** What is said of a sentence: tags, and ln p by word and tag. */
interface HeadTags {
  tags: string[];
  scores: TagScores;
}

/** Words of a sentence as the items of a head. */
export const TAG_HEAD: HeadForm<TaggedSentence, HeadTags> = {
  loss: "softmax",
  marks: 1,
  sequence: true,
  texts: sentenceTexts,
  answer: tagsOfOutput,
};

/**
 * A sentence as texts of at most `limit` tokens; one, unless it is very long.
 * @throws {UserError} for a word that alone is too long.
 */
function sentenceTexts(
  { tokens: words, tags }: TaggedSentence,
  limit: number,
  { tokenizer, labels }: TaskReader,
  sparse?: number,
): MarkedText[] {
  const spelling = sparse ? spellingFeatures(words, sparse) : [];
  const texts: { tokens: number[]; items: MarkedText["items"][number][] }[] = [];
  let current: typeof texts[number] | undefined;
  words.forEach((word, i) => {
    const ids = tokenizer.encode(` ${word}`);
    if (ids.length > limit) {
      throw new UserError(
        `Cannot tag the word "${word.slice(0, 40)}": it takes ${ids.length} tokens, more than ` +
          `--max-tokens leaves for it, ${limit}`,
      );
    }
    if (!current || current.tokens.length + ids.length > limit) {
      current = { tokens: [], items: [] };
      texts.push(current);
    }
    const from = current.tokens.length;
    current.tokens.push(...ids);
    // Of a sentence whose tags are to be found, the target is not looked at.
    const target = Math.max(0, labels.indexOf(tags[i] ?? "O"));
    const marks = [{ kind: "word" as const, from, to: current.tokens.length }];
    current.items.push({ marks, target, sparse: spelling[i] });
  });
  return texts;
}

/** Whether a tag may follow another, or begin a sentence: I-type follows B-type or I-type alone. */
const follows = (tag: string, before: string | undefined): boolean =>
  !tag.startsWith("I-") || before !== undefined && before !== "O" &&
    before.slice(2) === tag.slice(2);

/** Decoders of the fields that were met: a model's is the same for all of its sentences. */
const decoders = new WeakMap<CrfParameters, FieldDecoder>();

/** The decoder of a field in which tags that may not follow each other never do. */
function decoderOf(field: CrfParameters, labels: readonly string[]): FieldDecoder {
  const known = decoders.get(field);
  if (known) return known;
  const decoder = new FieldDecoder(
    field,
    (to, from) => follows(labels[to] ?? "O", from === undefined ? undefined : labels[from]),
  );
  decoders.set(field, decoder);
  return decoder;
}

function tagsOfOutput(
  _sentence: TaggedSentence,
  { logits, field }: HeadOutput,
  { labels }: TaskReader,
): HeadTags {
  const count = labels.length;
  const scores: TagScores = [];
  const path: string[] = [];
  for (const own of logits) {
    const words = own.length / count;
    if (!field) {
      const rows = Array.from(
        { length: words },
        (_, w) => logSoftmax(own.subarray(w * count, (w + 1) * count)),
      );
      scores.push(...rows);
      path.push(...decodeTags(rows, labels));
      continue;
    }
    const decoded = decoderOf(field, labels).decode(own);
    for (const k of decoded.path) path.push(labels[k] ?? "O");
    for (let w = 0; w < words; w++) {
      const row = decoded.marginals.subarray(w * count, (w + 1) * count);
      scores.push(Array.from(row, (x) => Math.log(Math.max(x, LEAST))));
    }
  }
  return { tags: path, scores };
}

/** No probability counts as smaller, so that a loss stays finite. */
const LEAST = 1e-12;
