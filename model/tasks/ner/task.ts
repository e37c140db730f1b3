/** Named entities as a task. @module */
import { fail } from "../../../core/errors.ts";
import { nth } from "../../../core/nth.ts";
import type { OptionSpec } from "../../../core/cli.ts";
import { ratioMeasures } from "../core/classification.ts";
import type { JudgedItem } from "../core/error_page.ts";
import { headApproach } from "../core/head_approach.ts";
import { reportSystems } from "../core/report.ts";
import type { Approach, Score, Task } from "../core/task.ts";
import { FORMAT, readReleased } from "../formats/released.ts";
import { readSentences } from "../formats/views.ts";
import { Dictionary } from "./dictionary.ts";
import {
  checkSameText,
  countTags,
  type EntityCounts,
  sumEntityCounts,
  type TaggedSentence,
  taggedSentences,
} from "./ner.ts";
import { TAG_HEAD } from "./head.ts";
import {
  confusionSection,
  markedSentence,
  NER_RESAMPLES,
  typeConfusion,
  typeTable,
} from "./ner_report.ts";
import { conllLines, entityLines, type RawSentence, readRawSentences } from "./text.ts";
import { chooseTypes, fitTypes, type NerData, parseTypes } from "./types.ts";
import {
  decodeTags,
  entityTypes,
  scoreTags,
  taggingExamples,
  taggingRowLength,
  type TagScores,
  tagSet,
  tagsOf,
} from "./tagger.ts";

/** What was said of one sentence. */
export interface TagAnswer {
  /** One per word. */
  tags: string[];
  /** A model's ln p by word and tag, in the order of {@linkcode tagsOf}. */
  scores?: TagScores;
}

/** Tags as tokens, predicted at the second reading of each word. */
const TAG_TOKENS: Approach<TaggedSentence, TagAnswer> = {
  name: "words",
  rowLength: (items, { tokenizer, maxTokens }) => taggingRowLength(items, tokenizer, maxTokens),
  examples: (items, { tokenizer, labels, maxTokens }) =>
    taggingExamples(items, tagSet(labels, tokenizer), tokenizer, maxTokens),
  async answer(items, { model }, reader) {
    const set = tagSet(reader.labels, reader.tokenizer);
    const all = await scoreTags(items, set, model, reader.tokenizer, reader);
    return all.map((scores) => ({ tags: decodeTags(scores, set.tags), scores }));
  },
};

const TYPES: OptionSpec = {
  type: "string",
  placeholder: "A,B=C",
  help: "only entities of these types count; B=C takes the files' B as C",
};

/** Names of chemicals, diseases and the like, in sentences that are split into words. */
export const ner: Task<TaggedSentence, TagAnswer> = {
  name: "ner",
  units: "sentences",
  approaches: [TAG_TOKENS],
  headed: (choice) => headApproach(TAG_HEAD, choice),
  evaluation: {
    summary: "Score tagged named entities: entity-level precision, recall and F1",
    description:
      "Counts entities as conlleval does: bounds and type must both be right. With --system, reads " +
      "two files of the same sentences, in any format that tasks formats lists. With --model, a " +
      "model that finetune ner has made tags the sentences. The intervals are 95% bootstrap intervals over sentences.",
    options: {
      gold: { type: "string", placeholder: "F", help: "the golden entities", required: true },
      format: FORMAT,
      train: {
        type: "string",
        placeholder: "F.tsv",
        help: "the training split, to put a dictionary of its entities beside the model",
      },
      types: TYPES,
    },
    examples: [
      "deno task evaluate ner --gold BC5CDR-IOB/test.tsv --system predictions.tsv",
      "deno task evaluate ner --gold BC5CDR-IOB/test.tsv --model runs/ner/checkpoints/step-00001430",
    ],
  },
  finetuning: {
    summary: "Teach a model to tag named entities, and test it beside its base",
    description:
      "Trains on the train split of a folder, in any format that tasks formats lists. A head " +
      "of labels reads each sentence from both ends and tags its words together; with --approach words " +
      "the model reads each sentence twice and predicts a token per tag. Takes the epoch with the best " +
      "entity-level F1 on the development split, then tags the test split once, beside a dictionary of " +
      "the training split's entities and, where it can answer, the base model.",
    options: {
      data: {
        type: "string",
        placeholder: "DIR",
        help: "a folder whose files or folders are called train, dev (or devel) and test",
        required: true,
      },
      format: FORMAT,
      types: TYPES,
    },
    defaults: {
      epochs: 6,
      learningRate: 5e-5,
      head: {
        crf: true,
        dropout: 0.2,
        tokenDropout: 0.2,
        stateDropout: 0.3,
        learningRate: 1e-3,
        rateAtWidth64: 3e-3,
        sparse: 2 ** 18,
      },
    },
    examples: ["deno task finetune ner --model mamba-130m-hf --data BC5CDR-IOB --out runs/ner"],
  },
  prediction: {
    summary: "Tag the named entities of new text",
    description:
      "Reads a text per line, or the field text of each line of JSON (.jsonl), splits it into " +
      "sentences and words, and tags them with the entity types that the model was taught. Prints a " +
      "line of JSON per text with its entities: first and last character, type, words.",
    options: {
      input: { type: "string", placeholder: "F", help: "the file of texts", required: true },
      format: {
        type: "string",
        help: "entities per text, or a tag per word",
        choices: ["jsonl", "conll"],
        default: "jsonl",
      },
    },
    examples: [
      "deno task predict ner --model runs/ner/checkpoints/step-00001430 --input abstracts.txt",
    ],
    read: (given) => readRawSentences(given.string("input") ?? fail("--input was not asked for")),
    write({ items, answers, given }) {
      const tags = answers.map((answer) => answer.tags);
      return given.string("format") === "conll"
        ? conllLines(items, tags)
        : entityLines(items as readonly RawSentence[], tags);
    },
  },
  read(given, purpose): NerData {
    const types = given.string("types");
    const format = given.string("format");
    const notes: string[] = [];
    const read = (paths: readonly string[]) => {
      const splits = paths.map((path) => {
        const view = readSentences(path, format);
        notes.push(...view.notes);
        return taggedSentences(view.items);
      });
      return types === undefined ? splits : chooseTypes(splits, parseTypes(types));
    };
    // What is scored decides the tags; a training split beside it only feeds the dictionary.
    const labelsOf = (first: TaggedSentence[] = [], ...others: TaggedSentence[][]) =>
      tagsOf(entityTypes(purpose === "evaluate" ? first : [first, ...others].flat()));
    const settings = types === undefined ? [] : [types];
    const data = readReleased(given, purpose, { read, labelsOf, settings });
    return { ...data, notes: [...notes, ...data.notes ?? []] };
  },
  readAnswers(path, { test, path: gold }) {
    const system = taggedSentences(readSentences(path).items);
    checkSameText(test, system, { gold, system: path });
    return system.map(({ tags }) => ({ tags }));
  },
  answersNameLabels: true,
  fit: fitTypes,
  score: scoreTagged,
  report(request) {
    const data: NerData = request.data;
    const { test, train } = data;
    const found = new Dictionary(train);
    const dictionary = test.map((s) => ({ tags: found.tag(s.tokens) }));
    return reportSystems({
      request,
      name: "ner",
      units: "sentences",
      score: (answers) => scoreTagged(data, test, answers),
      trivial: train.length
        ? {
          key: "dictionary",
          name: "dictionary of the training split",
          score: scoreTagged(data, test, dictionary),
        }
        : undefined,
      details: (answers) => {
        const { text, json, html = [] } = typeTable(countsOf(data, test, answers));
        const confusion = typeConfusion(test, answers.map((a) => a.tags), data.scored);
        return {
          text,
          json: { ...json, confusion },
          html: [...html, confusionSection(confusion)],
        };
      },
      judged: (answers) => judgedSentences(data, answers),
      config: { output_type: "tags", metric_list: [{ metric: "f1", higher_is_better: true }] },
      samples: (answers) =>
        test.map(({ tokens, tags }, i) => ({
          doc_id: i,
          doc: { tokens },
          target: tags,
          prediction: nth(answers, i).tags,
        })),
    });
  },
};

function countsOf(
  { scored }: NerData,
  items: readonly TaggedSentence[],
  answers: readonly TagAnswer[],
): EntityCounts[] {
  return countTags(items, answers.map((a) => a.tags), scored);
}

/** Entity-level measures; a sentence is right where all its entities are, and no others. */
function scoreTagged(
  data: NerData,
  items: readonly TaggedSentence[],
  answers: readonly TagAnswer[],
): Score {
  const sums = countsOf(data, items, answers).map((counts) => sumEntityCounts([counts]));
  return {
    measures: ratioMeasures(sums),
    resamples: NER_RESAMPLES,
    right: sums.map((c) => c.falsePositives + c.falseNegatives === 0),
    loss: lossOf(items, answers, data.labels),
  };
}

/**
 * The sentences with an entity too many, too few, or of another type or extent, and those whose
 * entities were all found; sentences without any are left out.
 */
function judgedSentences(data: NerData, answers: readonly TagAnswer[]): JudgedItem[] {
  const counts = countsOf(data, data.test, answers);
  return data.test.flatMap((sentence, i): JudgedItem[] => {
    const answer = answers[i];
    const own = counts[i];
    if (!answer || !own) return [];
    const { truePositives, falsePositives, falseNegatives } = sumEntityCounts([own]);
    const wrong = falsePositives + falseNegatives;
    if (wrong + truePositives === 0) return [];
    return [{
      id: `Sentence ${i + 1}, line ${sentence.line}`,
      right: wrong === 0,
      loss: answer.scores ? lossOf([sentence], [answer], data.labels) : wrong || undefined,
      html: markedSentence(sentence, answer.tags, data.scored),
    }];
  });
}

/** Mean negative log-probability of the golden tags of all words, in nats. */
function lossOf(
  items: readonly TaggedSentence[],
  answers: readonly TagAnswer[],
  tags: readonly string[],
): number {
  let nll = 0;
  let words = 0;
  items.forEach((item, s) =>
    item.tags.forEach((tag, i) => {
      nll -= nth(answers, s).scores?.[i]?.[tags.indexOf(tag)] ?? NaN;
      words++;
    })
  );
  return nll / words;
}
