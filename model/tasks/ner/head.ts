/** Named entities by a head of labels: a tag for each word, neighbours decoded together. @module */
import { UserError } from "../../../core/errors.ts";
import { crf, type CrfParameters, viterbi } from "../../../kernels/reference/crf.ts";
import { type HeadForm, type HeadOutput, logSoftmax } from "../core/head_approach.ts";
import type { MarkedText } from "../core/head_examples.ts";
import type { TaskReader } from "../core/task.ts";
import type { TaggedSentence } from "./ner.ts";
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
): MarkedText[] {
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
    current.items.push({ marks: [{ kind: "word", from, to: current.tokens.length }], target });
  });
  return texts;
}

/** Whether a tag may follow another, or begin a sentence: I-type follows B-type or I-type alone. */
const follows = (tag: string, before: string | undefined): boolean =>
  !tag.startsWith("I-") || before !== undefined && before !== "O" &&
    before.slice(2) === tag.slice(2);

/** A field in which tags that may not follow each other never do. */
function wellFormed(field: CrfParameters, labels: readonly string[]): CrfParameters {
  const { length } = labels;
  return {
    begin: field.begin.map((x, k) => follows(labels[k] ?? "O", undefined) ? x : -Infinity),
    end: field.end,
    transition: field.transition.map((x, at) =>
      follows(labels[at % length] ?? "O", labels[Math.floor(at / length)]) ? x : -Infinity
    ),
  };
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
    const emissions = Float64Array.from(own);
    path.push(...viterbi(emissions, wellFormed(field, labels)).map((k) => labels[k] ?? "O"));
    // The gradient is each tag's probability less 1 for the target, which here is tag 0 throughout.
    const { demissions } = crf(emissions, new Uint8Array(words), field);
    for (let w = 0; w < words; w++) {
      const row = demissions.subarray(w * count, (w + 1) * count);
      scores.push(Array.from(row, (x, k) => Math.log(Math.max(x + Number(k === 0), LEAST))));
    }
  }
  return { tags: path, scores };
}

/** No probability counts as smaller: a difference of rounded numbers may even be below 0. */
const LEAST = 1e-12;
