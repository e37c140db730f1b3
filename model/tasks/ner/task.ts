/** Named entities as a task. @module */
import { UserError } from "../../../core/errors.ts";
import { exists, hashFile, sha256 } from "../../../core/files.ts";
import { join, resolve } from "../../../core/std.ts";
import { measureFields } from "../core/results_files.ts";
import type { Approach, ReportRequest, Task, TaskReport } from "../core/task.ts";
import { Dictionary } from "./dictionary.ts";
import { checkSameText, countTags, entityF1Of, readConll, type TaggedSentence } from "./ner.ts";
import {
  compareNer,
  formatNer,
  formatNerSystems,
  measureNer,
  NER_RESAMPLES,
  nerJson,
} from "./ner_report.ts";
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

/** Names of chemicals, diseases and the like, in sentences that are split into words. */
export const ner: Task<TaggedSentence, TagAnswer> = {
  name: "ner",
  units: "sentences",
  approaches: [TAG_TOKENS],
  evaluation: {
    summary: "Score tagged named entities: entity-level precision, recall and F1",
    description:
      "Counts entities as conlleval does: bounds and type must both be right. With --system, reads " +
      "two CoNLL files of the same sentences (a token and its tag per line, a blank line between " +
      "sentences). With --model, a model that finetune ner has made tags the sentences. The " +
      "intervals are 95% bootstrap intervals over sentences.",
    options: {
      gold: { type: "string", placeholder: "F.tsv", help: "the golden tags", required: true },
    },
    examples: [
      "deno task evaluate ner --gold BC5CDR-IOB/test.tsv --system predictions.tsv",
      "deno task evaluate ner --gold BC5CDR-IOB/test.tsv --model runs/ner/checkpoints/step-00001430",
    ],
  },
  finetuning: {
    summary: "Teach a model to tag named entities, and test it beside its base",
    description:
      "Trains on a folder's train.tsv in the CoNLL format. The model reads each sentence twice and " +
      "predicts the tag of each word in the second reading. Takes the epoch with the best " +
      "entity-level F1 on devel.tsv, then tags test.tsv once, beside the base model and a dictionary " +
      "of the training split's entities.",
    options: {
      data: {
        type: "string",
        placeholder: "DIR",
        help: "a folder with train.tsv, devel.tsv (or dev.tsv) and test.tsv",
        required: true,
      },
    },
    defaults: { epochs: 10, learningRate: 5e-5 },
    examples: ["deno task finetune ner --model mamba-130m-hf --data BC5CDR-IOB --out runs/ner"],
  },
  read(given, purpose) {
    if (purpose === "evaluate") {
      const gold = given.string("gold")!;
      const test = readConll(gold);
      const path = resolve(gold);
      const labels = entityTypes(test);
      return { labels, train: [], develop: [], test, path, sha256: hashFile(gold) };
    }
    const data = given.string("data")!;
    const files = ["train", exists(join(data, "dev.tsv")) ? "dev" : "devel", "test"]
      .map((split) => join(data, `${split}.tsv`));
    const [train, develop, test] = files.map(readConll);
    if (!train!.length || !develop!.length || !test!.length) {
      throw new UserError(`Cannot fine-tune on ${data}: one of its files holds no sentence`);
    }
    return {
      labels: entityTypes([...train!, ...develop!, ...test!]),
      train: train!,
      develop: develop!,
      test: test!,
      path: resolve(data),
      sha256: sha256(files.map((file) => hashFile(file)).join("\n")),
    };
  },
  readAnswers(path, { test, path: gold }) {
    const system = readConll(path);
    checkSameText(test, system, { gold, system: path });
    return system.map(({ tags }) => ({ tags }));
  },
  score(items, answers, labels) {
    const counts = countTags(items, answers.map((a) => a.tags));
    return {
      measures: [{
        key: "f1",
        name: "F1",
        count: items.length,
        statistic: entityF1Of(counts),
      }],
      resamples: NER_RESAMPLES,
      loss: lossOf(items, answers, labels),
    };
  },
  report: (request) => request.purpose === "finetune" ? reportTaught(request) : reportOne(request),
};

/** Mean negative log-probability of the golden tags of all words, in nats. */
function lossOf(
  items: readonly TaggedSentence[],
  answers: readonly TagAnswer[],
  labels: readonly string[],
): number {
  const tags = tagsOf(labels);
  let nll = 0;
  let words = 0;
  items.forEach((item, s) =>
    item.tags.forEach((tag, i) => {
      nll -= answers[s]!.scores?.[i]?.[tags.indexOf(tag)] ?? NaN;
      words++;
    })
  );
  return nll / words;
}

/** What goes into the results file of a system. */
function resultsOf(test: readonly TaggedSentence[], answers: readonly TagAnswer[]) {
  return {
    name: "ner",
    count: test.length,
    config: { output_type: "tags", metric_list: [{ metric: "f1", higher_is_better: true }] },
    samples: test.map(({ tokens, tags }, i) => ({
      doc_id: i,
      doc: { tokens },
      target: tags,
      prediction: answers[i]!.tags,
    })),
  };
}

/** One system by type of entity. */
function reportOne({ data, systems, seed }: ReportRequest<TaggedSentence, TagAnswer>): TaskReport {
  const { test } = data;
  const { answers } = systems[0]!;
  const measures = measureNer(countTags(test, answers.map((a) => a.tags)), seed);
  const json = { ...nerJson(measures), sentences: test.length };
  const fields = measureFields("f1", measures.all.f1);
  return {
    score: measures.all.f1.value,
    notes: [],
    text: formatNer(measures),
    json,
    results: { ...resultsOf(test, answers), fields, more: { ner: json } },
  };
}

/** A model that was taught, beside its base and a dictionary of the training split. */
function reportTaught(request: ReportRequest<TaggedSentence, TagAnswer>): TaskReport {
  const { data: { train, test }, systems, seed, development } = request;
  const [model, base] = systems;
  const dictionary = new Dictionary(train);
  const found = test.map((s) => dictionary.tag(s.tokens));
  const counts = [found, ...systems.map((s) => s.answers.map((a) => a.tags))]
    .map((tags) => countTags(test, tags));
  const [trivial, own, other] = counts.map((c) => measureNer(c, seed));
  const json = {
    development: { step: development?.step, f1: development?.score },
    dictionary: nerJson(trivial!),
    model: { name: model!.name, ...nerJson(own!) },
    base: { name: base!.name, ...nerJson(other!) },
    comparison: compareNer(counts[1]!, counts[2]!, seed),
  };
  const table = formatNerSystems([
    { name: "dictionary of the training split", measures: trivial! },
    { name: model!.name, measures: own! },
    { name: base!.name, measures: other! },
  ]);
  const fields = {
    ...measureFields("f1", own!.all.f1),
    "precision,none": own!.all.precision,
    "recall,none": own!.all.recall,
  };
  return {
    score: own!.all.f1.value,
    notes: [],
    text: `${table}\n\n${formatNer(own!)}`,
    json,
    results: { ...resultsOf(test, model!.answers), fields, more: json },
  };
}
