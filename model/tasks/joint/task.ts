/** Entities and the relations between them, by one model. @module */
import { UserError } from "../../../core/errors.ts";
import { readRawSentences } from "../ner/text.ts";
import type { JudgedItem } from "../core/error_page.ts";
import { reportSystems } from "../core/report.ts";
import type { Given, Purpose, Score, Task, TaskData } from "../core/task.ts";
import { FORMAT, readReleased, TRAIN } from "../formats/released.ts";
import type { Span } from "../formats/types.ts";
import { Dictionary } from "../ner/dictionary.ts";
import { entitiesOf } from "../ner/ner.ts";
import { markedSentence } from "../ner/ner_report.ts";
import { entityTypes, tagsOf } from "../ner/tagger.ts";
import {
  type JointAnswer,
  jointApproach,
  type JointItem,
  jointLabels,
  NO_RELATION,
  type PartWeights,
  readLabels,
} from "./head.ts";
import { countSentences, jointMeasures, type Parts } from "./score.ts";
import {
  candidatePairs,
  readJoint,
  relatedTypes,
  relationOf,
  tagsOfEntities,
} from "./sentences.ts";

/** Sentences by their use, and which parts of them are learned. */
interface JointData extends TaskData<JointItem> {
  parts: Parts;
}

const PARTS: readonly Parts[] = ["joint", "entities", "relations"];

const RESAMPLES = 2000;

const partsOf = (given: Given): Parts =>
  PARTS.find((name) => name === given.string("parts")) ?? "joint";

/** A sentence as the tagger has it. */
const tagged = ({ words, entities }: JointItem) => ({
  tokens: words,
  tags: tagsOfEntities(words.length, entities),
  line: 0,
});

/**
 * How much words and pairs weigh: as if each part's mean loss were taken, and that of the relations
 * multiplied with their weight. There are many more words than pairs.
 */
function weightsOf(items: readonly JointItem[], parts: Parts, relationWeight: number): PartWeights {
  const pairs = new Set(relatedTypes(items));
  const words = items.reduce((sum, { words }) => sum + words.length, 0);
  const all = items.reduce((sum, item) => sum + candidatePairs(item.entities, pairs).length, 0);
  if (parts === "entities") return { words: 1, pairs: 0 };
  if (parts === "relations") return { words: 0, pairs: 1 };
  const count = words + all;
  // The loss is summed over all items and divided by their number.
  return {
    words: count / (words * (1 + relationWeight)),
    pairs: all ? relationWeight * count / (all * (1 + relationWeight)) : 0,
  };
}

const labelsOf = (...splits: JointItem[][]): string[] => {
  const items = splits.flat();
  return jointLabels({
    tags: tagsOf(entityTypes(items.map(tagged))),
    relations: [...new Set(items.flatMap((item) => item.relations.map((r) => r.type)))]
      .filter((type) => type !== NO_RELATION).sort(),
    pairs: relatedTypes(items),
  });
};

function readData(given: Given, purpose: Purpose): JointData {
  const format = given.string("format");
  const parts = partsOf(given);
  const notes: string[] = [];
  const unweighted: PartWeights = { words: 1, pairs: 1 };
  const read = (paths: readonly string[]) =>
    paths.map((path) => {
      const { sentences, overlapping, across } = readJoint(path, format);
      if (overlapping) {
        notes.push(`${path}: ${overlapping} entities overlap longer ones and are left out`);
      }
      if (across) {
        notes.push(
          `${path}: ${across} relations hold between no two of the kept entities of one sentence and ` +
            "are left out",
        );
      }
      return sentences.map((sentence): JointItem => ({ ...sentence, weights: unweighted }));
    });
  const relationWeight = given.number("relation-weight") ?? 1;
  const data = readReleased(given, purpose, {
    read,
    labelsOf,
    settings: [parts, String(relationWeight)],
    groupOf: ({ document }) => document,
  });
  const weights = weightsOf(data.train, parts, relationWeight);
  // Without its part a sentence has nothing to learn.
  const train = data.train.map((item) => ({ ...item, weights })).filter((item) =>
    parts !== "relations" || item.entities.length > 1
  );
  if (purpose === "finetune" && parts !== "entities" && !readLabels(data.labels).pairs.size) {
    throw new UserError(
      `Cannot teach relations with ${data.path}: it relates no two entities of one sentence`,
    );
  }
  return { ...data, train, parts, notes: [...notes, ...data.notes ?? []] };
}

function scoreJoint(
  data: TaskData<JointItem>,
  items: readonly JointItem[],
  answers: readonly JointAnswer[],
): Score {
  const { parts = "joint" } = data as Partial<JointData>;
  const { pairs, tags } = readLabels(data.labels);
  const counts = countSentences(items, answers, pairs);
  let nll = 0;
  let words = 0;
  items.forEach((item, i) =>
    tagged(item).tags.forEach((tag, w) => {
      nll -= answers[i]?.scores?.[w]?.[tags.indexOf(tag)] ?? NaN;
      words++;
    })
  );
  return {
    measures: jointMeasures(counts, parts),
    resamples: RESAMPLES,
    right: counts.map(({ entities, found }) =>
      entities.falsePositives + entities.falseNegatives + found.falsePositives +
          found.falseNegatives === 0
    ),
    loss: nll / words,
  };
}

/**
 * The trivial system: entities by a dictionary of the training split, and for every pair of them the
 * commonest relation of their types there.
 */
function trivialAnswers({ train, test, labels }: TaskData<JointItem>): JointAnswer[] {
  const { pairs } = readLabels(labels);
  const counts = new Map<string, Map<string, number>>();
  for (const { entities, relations } of train) {
    for (const { first, second, type } of relations) {
      const key = `${entities[first]?.type} > ${entities[second]?.type}`;
      const own = counts.get(key) ?? new Map<string, number>();
      own.set(type, (own.get(type) ?? 0) + 1);
      counts.set(key, own);
    }
  }
  const commonest = new Map([...counts].map(([key, own]) => [
    key,
    [...own].sort((a, b) => b[1] - a[1])[0]?.[0] ?? NO_RELATION,
  ]));
  const dictionary = new Dictionary(train.map(tagged));
  return test.map((item) => {
    const tags = dictionary.tag([...item.words]);
    const found = entitiesOf(tags);
    const typeOf = (list: typeof found, first: number, second: number) =>
      commonest.get(`${list[first]?.type} > ${list[second]?.type}`) ?? NO_RELATION;
    return {
      tags,
      given: candidatePairs(item.entities, pairs)
        .map(({ first, second }) => typeOf(item.entities, first, second)),
      found: candidatePairs(found, pairs).flatMap(({ first, second }) => {
        const type = typeOf(found, first, second);
        return type === NO_RELATION ? [] : [{ first, second, type }];
      }),
    };
  });
}

/** The sentences that have entities or where some were found, with these marked. */
function judgedItems(data: TaskData<JointItem>, answers: readonly JointAnswer[]): JudgedItem[] {
  const { right = [] } = scoreJoint(data, data.test, answers);
  return data.test.flatMap((item, i): JudgedItem[] => {
    const answer = answers[i];
    if (!answer || !item.entities.length && right[i]) return [];
    return [{
      id: `${item.document}, from ${item.span.start}`,
      right: right[i] === true,
      html: markedSentence(tagged(item), answer.tags),
    }];
  });
}

/** A relation as samples have it: the words of both entities. */
const worded = (
  words: readonly string[],
  entities: readonly { start: number; end: number; type: string }[],
  relations: readonly { first: number; second: number; type: string }[],
) =>
  relations.map(({ first, second, type }) => {
    const of = (number: number) => {
      const { start = 0, end = 0 } = entities[number] ?? {};
      return words.slice(start, end).join(" ");
    };
    return { type, first: of(first), second: of(second) };
  });

/** Entities, and the relations between them. */
export const joint: Task<JointItem, JointAnswer> = {
  name: "joint",
  units: "sentences",
  approaches: [],
  headed: (choice) => jointApproach({ ...choice, crf: false }),
  evaluation: {
    summary: "Score entities and relations of one system: F1 of each, and end to end",
    description:
      "Reads documents with entities and relations in any format that tasks formats lists (BC5CDR's " +
      "PubTator or BioC, ChemProt and DrugProt as released, BRAT, BigBIO), sentence by sentence. " +
      "Relations are scored twice: between the golden entities, and end to end, where both entities " +
      "and the relation have to be right. With --system, another file of the same documents, whose " +
      "relations count end to end.",
    options: {
      gold: { type: "string", placeholder: "F", help: "the golden documents", required: true },
      format: FORMAT,
      train: TRAIN,
    },
    examples: [
      "deno task evaluate joint --gold CDR_TestSet.PubTator.txt " +
      "--model runs/joint/checkpoints/step-00001430",
    ],
  },
  finetuning: {
    summary: "Teach one model entities and the relations between them, and test it",
    description:
      "Trains on the train split of a folder by one head for both parts, with the loss of words and, " +
      "weighted, that of pairs of entities. Takes the epoch with the best mean of both F1 on the " +
      "development split. --parts teaches one part alone; --ablation teaches entities alone, " +
      "relations alone and both together, and prints the three side by side.",
    options: {
      data: {
        type: "string",
        placeholder: "DIR",
        help:
          "a folder whose files or folders are called train, dev and test, or one set to be split",
        required: true,
      },
      format: FORMAT,
      parts: {
        type: "string",
        help: "what is learned",
        choices: [...PARTS],
        default: "joint",
      },
      "relation-weight": {
        type: "number",
        help: "what the mean loss of pairs is multiplied with, that of words counting 1",
        min: 0.001,
        default: 1,
      },
      ablation: {
        type: "boolean",
        help: "teach each part alone and both together, each in a folder of its own under --out",
      },
    },
    defaults: {
      epochs: 10,
      learningRate: 5e-5,
      head: { crf: false, dropout: 0.2, learningRate: 1e-3 },
    },
    variants: { asked: "ablation", option: "parts", values: [...PARTS] },
    examples: [
      "deno task finetune joint --model mamba-130m-hf --data bc5cdr --out runs/joint",
      "deno task finetune joint --model mamba-130m-hf --data chemprot --out runs/joint --ablation",
    ],
  },
  prediction: {
    summary: "Find the entities of new text and how they are related",
    description:
      "Reads a text per line, or the field text of each line of JSON (.jsonl), and prints a line of " +
      "JSON per text with its entities (first and last character, type, words) and the relations " +
      "between them, by the entities' numbers.",
    options: {
      input: { type: "string", placeholder: "F", help: "the file of texts", required: true },
    },
    examples: [
      "deno task predict joint --model runs/joint/checkpoints/step-00001430 --input abstracts.txt",
    ],
    read: (given) =>
      readRawSentences(given.string("input") ?? "").map(({ tokens, source }): JointItem => ({
        document: String(source.document),
        span: { start: 0, end: source.text.length },
        words: tokens,
        places: source.spans.map(([start, end]) => ({ start, end })),
        text: source.text,
        entities: [],
        relations: [],
        weights: { words: 1, pairs: 0 },
      })),
    write({ items, answers }) {
      const lines = new Map<
        string,
        Record<"entities" | "relations", unknown[]> & { text: string }
      >();
      items.forEach(({ document, places, text = "" }, i) => {
        const { tags = [], found = [] } = answers[i] ?? {};
        const line = lines.get(document) ?? { text, entities: [], relations: [] };
        lines.set(document, line);
        const before = line.entities.length;
        for (const { type, start, end } of entitiesOf(tags)) {
          const from = places[start]?.start ?? 0;
          const to = places[end - 1]?.end ?? 0;
          line.entities.push({ start: from, end: to, type, text: text.slice(from, to) });
        }
        for (const { first, second, type } of found) {
          line.relations.push({ type, first: before + first, second: before + second });
        }
      });
      return [...lines.values()].map((line) => JSON.stringify(line) + "\n").join("");
    },
  },
  read: readData,
  readAnswers(path, { test, labels, path: gold }) {
    const spans = Map.groupBy(test, ({ document }) => document);
    const { sentences } = readJoint(
      path,
      undefined,
      new Map<string, Span[]>([...spans].map(([id, own]) => [id, own.map(({ span }) => span)])),
    );
    const keyOf = ({ document, span }: Pick<JointItem, "document" | "span">) =>
      `${document} ${span.start}`;
    const said = new Map(sentences.map((sentence) => [keyOf(sentence), sentence]));
    const stranger = sentences.find(({ document }) => !spans.has(document));
    if (stranger) {
      throw new UserError(
        `Cannot compare ${path} with ${gold}: the document ${stranger.document} is not in the gold file`,
      );
    }
    const { pairs } = readLabels(labels);
    return test.map((item): JointAnswer => {
      const own = said.get(keyOf(item));
      if (own && own.words.join(" ") !== item.words.join(" ")) {
        throw new UserError(
          `Cannot compare ${path} with ${gold}: the texts of the document ${item.document} differ`,
        );
      }
      const numbers = new Map(own?.entities.map((e, i) => [`${e.start} ${e.end} ${e.type}`, i]));
      const same = (number: number) => {
        const { start, end, type } = item.entities[number] ?? { start: -1, end: -1, type: "" };
        return numbers.get(`${start} ${end} ${type}`) ?? -1;
      };
      return {
        tags: tagsOfEntities(item.words.length, own?.entities ?? []),
        given: candidatePairs(item.entities, pairs).map(({ first, second }) =>
          relationOf(own?.relations ?? [], same(first), same(second)) ?? NO_RELATION
        ),
        found: own?.relations ?? [],
      };
    });
  },
  answersNameLabels: true,
  fit(data, labels) {
    const known = readLabels(labels);
    const own = readLabels(data.labels);
    const strange = [
      ...own.tags.filter((tag) => !known.tags.includes(tag)),
      ...own.relations.filter((type) => !known.relations.includes(type)),
    ];
    if (strange.length) {
      throw new UserError(
        `Cannot ask the model for the entities and relations of ${data.path}: it was taught ` +
          `${[...known.tags, ...known.relations].join(", ")}, and the data have also ` +
          `${strange.join(", ")}; give data with the labels it was taught`,
      );
    }
    return { ...data, labels };
  },
  score: scoreJoint,
  report(request) {
    const { data } = request;
    const { test, train } = data;
    return reportSystems({
      request,
      name: "joint",
      units: "sentences",
      score: (answers) => scoreJoint(data, test, answers),
      trivial: train.length
        ? {
          key: "dictionary",
          name: "dictionary and commonest relation of the training split",
          score: scoreJoint(data, test, trivialAnswers(data)),
        }
        : undefined,
      details() {
        const entities = test.reduce((sum, item) => sum + item.entities.length, 0);
        const relations = test.reduce((sum, item) => sum + item.relations.length, 0);
        return {
          text: `${entities} golden entities, ${relations} golden relations`,
          json: { entities, relations },
        };
      },
      judged: (answers) => judgedItems(data, answers),
      config: {
        output_type: "entities_and_relations",
        metric_list: [{ metric: "f1_mean", higher_is_better: true }],
      },
      samples: (answers) =>
        test.map((item, i) => {
          const { tags = [], found = [] } = answers[i] ?? {};
          return {
            doc_id: i,
            doc: { id: item.document, tokens: item.words },
            target: {
              tags: tagged(item).tags,
              relations: worded(item.words, item.entities, item.relations),
            },
            prediction: { tags, relations: worded(item.words, entitiesOf(tags), found) },
          };
        }),
    });
  },
};
