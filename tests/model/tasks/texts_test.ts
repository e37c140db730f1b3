/** Texts with several labels, with scores, without a development split, and in folds. */
import { UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { classify } from "../../../model/tasks/classify/task.ts";
import { evaluateTask, variantOf } from "../../../model/tasks/core/evaluate.ts";
import { finetuneOverSeeds } from "../../../model/tasks/core/finetune.ts";
import { predictTask } from "../../../model/tasks/core/predict.ts";
import { allUnits } from "../../../model/tasks/core/report.ts";
import { FINETUNE_DEFAULTS } from "../../../model/tasks/core/run.ts";
import type { AnyTask } from "../../../model/tasks/core/task.ts";
import type { LabelledText } from "../../../model/tasks/formats/mod.ts";
import { readRecords } from "../../../model/tasks/formats/mod.ts";
import { findFolds, findSplits } from "../../../model/tasks/formats/splits.ts";
import {
  byDocument,
  labelSetMeasures,
  type LabelSets,
} from "../../../model/tasks/multilabel/measures.ts";
import { multilabel } from "../../../model/tasks/multilabel/task.ts";
import { pearson, ranks, spearman } from "../../../model/tasks/regression/measures.ts";
import { regression, scaleOf } from "../../../model/tasks/regression/task.ts";
import { relations } from "../../../model/tasks/relations/task.ts";
import { writeModelFolder } from "../../../model/weights/folder.ts";
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "../../assert.ts";
import { makeReference, silentReporter, withFolder } from "../helpers.ts";
import { byteTokenizerJson, givenOf, MINIATURE_READER, put } from "./helpers.ts";

const textsIn = (path: string) => readRecords(path).records as LabelledText[];

Deno.test("labels of a cell: lists, commas between labels that stand alone, and what means none", () =>
  withFolder((dir) => {
    put(dir, {
      // BLUE's header has a column for a second text that no row has.
      "blue.tsv": "index\tsentence1\tsentence2\tlabel\n" +
        "10072428_s0\tCells grow.\tevading death,growing\n10072428_s1\tCells rest.\t\n" +
        "10072429_s0\tCells grow on.\tgrowing\n10072429_s1\tCells live.\tevading death\n",
      "lists.tsv":
        "text\tlabels\nCells grow.\t['growing', 'evading death']\nThey rest.\t['NULL']\n",
      // A label with a comma of its own is one label.
      "one.tsv": "text\tlabel\nA b c.\tyes, surely\nD e f.\tno\n",
      "quoted.tsv": 'text\tlabel\n"He said ""no""."\tA\n"Both" were "there"\tB\n',
      "list.json": '[{"sentence": "A b c.", "label": "x"}, {"sentence": "D e.", "label": "y"}]',
    });
    const blue = textsIn(join(dir, "blue.tsv"));
    assertEquals(blue.map(({ text, labels, document }) => [text, labels, document]), [
      ["Cells grow.", ["evading death", "growing"], "10072428"],
      ["Cells rest.", [], "10072428"],
      ["Cells grow on.", ["growing"], "10072429"],
      ["Cells live.", ["evading death"], "10072429"],
    ]);
    assertEquals(textsIn(join(dir, "lists.tsv")).map((t) => t.labels), [
      ["growing", "evading death"],
      [],
    ]);
    assertEquals(textsIn(join(dir, "one.tsv")).map((t) => t.labels), [["yes, surely"], ["no"]]);
    assertEquals(textsIn(join(dir, "quoted.tsv")).map((t) => t.text), [
      'He said "no".',
      '"Both" were "there"',
    ]);
    assertEquals(textsIn(join(dir, "list.json")).map((t) => [t.text, t.labels]), [
      ["A b c.", ["x"]],
      ["D e.", ["y"]],
    ]);
    put(dir, { "scores.tsv": "sentence1\tsentence2\tscore\na b\tc d\t1.5\ne f\tg h\t\n" });
    assertThrows(() => textsIn(join(dir, "scores.tsv")), UserError, "line 3: it has no score");
  }));

Deno.test("the Hallmarks of Cancer in BLUE's form: a list of labels behind each sentence", () =>
  withFolder((dir) => {
    put(dir, {
      "100.txt": "Cells divide.\t['Growth', 'Death']\nNothing.\t['NULL']\n",
      "101.txt": "They move.\t['Motion']\n",
    });
    assertEquals(textsIn(dir).map(({ document, labels }) => [document, labels]), [
      ["100", ["Death", "Growth"]],
      ["100", []],
      ["101", ["Motion"]],
    ]);
    put(dir, { "101.txt": "They move.\t['Motion']\nno labels\n" });
    assertThrows(() => textsIn(dir), UserError, "101.txt, line 2");
  }));

Deno.test("measures of label sets by hand, of texts and of documents", () => {
  const set = (gold: number[], predicted: number[]) => ({
    gold: new Set(gold),
    predicted: new Set(predicted),
  });
  const sets = [set([0, 1], [0]), set([], []), set([2], [1, 2]), set([1], [])];
  const value = (key: string, of: LabelSets[] = sets, prefix = "") => {
    const measure = labelSetMeasures(of, 4, prefix).find((m) => m.key === key);
    return measure ? measure.statistic(allUnits(measure.count)) : NaN;
  };
  // 2 right, 1 wrong, 2 missed.
  assertAlmostEquals(value("f1_micro"), 4 / 7, 1e-12);
  assertAlmostEquals(value("precision_micro"), 2 / 3, 1e-12);
  assertAlmostEquals(value("recall_micro"), 1 / 2, 1e-12);
  // Label 0: 1, label 1: 0, label 2: 1; label 3 does not occur.
  assertAlmostEquals(value("f1_macro"), 2 / 3, 1e-12);
  // Precision 1, 1, 1/2, 0 and recall 1/2, 1, 1, 0: means 5/8 and 5/8.
  assertAlmostEquals(value("f1_examples"), 5 / 8, 1e-12);
  assertEquals(value("exact"), 1 / 4);
  const documents = byDocument(sets, ["a", "a", "b", "b"]);
  assertEquals(documents, [set([0, 1], [0]), set([2, 1], [1, 2])]);
  assertAlmostEquals(value("document_f1_micro", documents, "document"), 6 / 7, 1e-12);
});

Deno.test("correlations by hand: ties share ranks, and what does not vary correlates with nothing", () => {
  const all = allUnits(4);
  assertAlmostEquals(pearson([1, 2, 3, 4], [2, 4, 6, 8], all), 1, 1e-12);
  assertAlmostEquals(pearson([1, 2, 3, 5], [1, 3, 2, 4], all), 0.8315218406, 1e-9);
  assertEquals(pearson([1, 2, 3, 4], [2.2, 2.2, 2.2, 2.2], all), 0);
  assertEquals([...ranks([3, 1, 3, 2])], [3.5, 1, 3.5, 2]);
  assertAlmostEquals(spearman([1, 2, 3, 4], [1, 8, 27, 64], all), 1, 1e-12);
  assertEquals(pearson([1, 2, 9, 9], [5, 6, 0, 0], Uint32Array.of(0, 1)), 1);
});

Deno.test("splits: a missing or empty development split, a set that has none, numbered folds", () =>
  withFolder((dir) => {
    const rows = (count: number) =>
      Array.from({ length: count }, (_, i) => `Loss of @GENE$ in @DISEASE$ ${i}.\t${i % 2}\n`)
        .join("");
    put(dir, {
      "gad/1/train.tsv": rows(20),
      "gad/1/dev.tsv": "",
      "gad/1/test.tsv": rows(4),
      "gad/10/train.tsv": rows(20),
      "gad/10/test.tsv": rows(4),
      "gad/2/train.tsv": rows(20),
      "gad/2/test.tsv": rows(4),
      "alone.tsv": rows(40),
    });
    assertEquals(findFolds(join(dir, "gad")).map((f) => f.name), ["1", "2", "10"]);
    assertEquals(findFolds(join(dir, "gad/1")), []);
    assertEquals(findSplits(join(dir, "gad/1")), {
      train: join(dir, "gad/1/train.tsv"),
      develop: undefined,
      test: join(dir, "gad/1/test.tsv"),
    });
    const fold = relations.read(givenOf({ data: join(dir, "gad/1") }), "finetune");
    assertEquals([fold.train.length, fold.develop.length, fold.test.length], [18, 2, 4]);
    assertStringIncludes(fold.notes?.join() ?? "", "no development split: 2 training items");
    const alone = relations.read(givenOf({ data: join(dir, "alone.tsv") }), "finetune");
    assertEquals([alone.train.length, alone.develop.length, alone.test.length], [32, 4, 4]);
    assertEquals(alone, relations.read(givenOf({ data: join(dir, "alone.tsv") }), "finetune"));
    const texts = [...alone.train, ...alone.develop, ...alone.test].map((t) => t.text);
    assertEquals(new Set(texts).size, 40);
    // A development split that is there but cannot be read is not passed over.
    put(dir, { "gad/1/dev.tsv": "what is this\nno table\n" });
    assertThrows(() => findSplits(join(dir, "gad/1")), UserError, "the development");
  }));

/** A request to teach a task from files, by a head, on the float64 model. */
function requestOf(dir: string, options: Record<string, string>, out: string) {
  const path = join(dir, "base");
  try {
    const read = initialParameters(MINIATURE_READER, 3);
    const tokenizer = new TextEncoder().encode(JSON.stringify(byteTokenizerJson()));
    writeModelFolder(path, { config: MINIATURE_READER, read, tokenizer });
  } catch (error) {
    if (!(error instanceof UserError)) throw error; // it is there already
  }
  return {
    given: givenOf(options),
    model: { name: path, folder: () => Promise.resolve(path) },
    out: join(dir, out),
    epochs: 12,
    config: {
      ...FINETUNE_DEFAULTS,
      batch: { rows: 2, accumulate: 4 },
      optimizer: { learning_rate: 0.03, weight_decay: 0, head_learning_rate: 0.06 },
    },
    maxTokens: 64,
    head: { context: "both" as const, crf: false },
    seed: 0,
    seeds: 1,
    resume: false,
    makeModel: makeReference,
    reporter: silentReporter(),
    signal: new AbortController().signal,
  };
}

/** Answers as the float64 model gives them. */
const asked = (options: Record<string, string>) => ({
  given: givenOf(options),
  maxTokens: 64,
  batchSize: 4,
  seed: 0,
  makeModel: makeReference,
  reporter: silentReporter(),
  signal: new AbortController().signal,
});

Deno.test("multilabel: taught, kept with the model, evaluated, compared and predicted", () =>
  withFolder(async (dir) => {
    const rows = (count: number, first: number) =>
      "index\tsentence\tlabels\n" +
      Array.from({ length: count }, (_, i) => {
        const n = first + i;
        const labels = [...n & 1 ? ["Growth"] : [], ...n & 2 ? ["Death"] : []];
        const said = `${n & 1 ? "yes" : "."} ${n & 2 ? "no" : "."}`;
        return `${1000 + Math.floor(n / 2)}_s${n % 2}\t${said}\t${labels.join(",")}\n`;
      }).join("");
    put(dir, {
      "set/train.tsv": rows(32, 0),
      "set/dev.tsv": rows(8, 0),
      "set/test.tsv": rows(10, 3),
    });
    const data = join(dir, "set");
    // The files say which of the tasks of labelled texts it is.
    assertEquals(variantOf(classify as AnyTask, givenOf({ data })).name, "multilabel");
    const request = requestOf(dir, { data }, "run");
    const json = await finetuneOverSeeds(classify as AnyTask, request);
    const model = json.model as Record<string, number | string>;
    assertEquals([model.micro_f1, model.macro_f1, model.document_micro_f1], [1, 1, 1]);
    assertEquals((json.constant as { name: string }).name, "always Death, Growth");
    assertEquals((json.constant as Record<string, number>).micro_recall, 1);
    const checkpoint = String(model.name);
    const config = JSON.parse(Deno.readTextFileSync(join(checkpoint, "config.json")));
    assertEquals(config.finetuning_task, "multilabel");
    assertEquals(config.id2label, { "0": "Death", "1": "Growth" });
    assertEquals(config.pubmamba_head.loss, "sigmoid");

    const tuned = { name: checkpoint, folder: () => Promise.resolve(checkpoint) };
    const gold = join(data, "test.tsv");
    const again = await evaluateTask(multilabel as AnyTask, {
      ...asked({ gold, train: join(data, "train.tsv") }),
      model: tuned,
      out: join(dir, "results"),
    });
    assertEquals([again.micro_f1, again.texts], [1, 10]);
    const plain = join(dir, "base");
    await assertRejects(
      () =>
        evaluateTask(multilabel as AnyTask, {
          ...asked({ gold }),
          model: { name: plain, folder: () => Promise.resolve(plain) },
          out: join(dir, "results"),
        }),
      UserError,
      "it has no head that was taught the task",
    );
    put(dir, { "system.tsv": Deno.readTextFileSync(gold).replace(/Growth,Death/g, "Growth") });
    const system = await evaluateTask(multilabel as AnyTask, {
      ...asked({ gold }),
      system: join(dir, "system.tsv"),
      out: join(dir, "results"),
    });
    assertEquals([system.micro_precision, Number(system.micro_recall) < 1], [1, true]);

    put(dir, { "new.txt": "yes .\n. no\n" });
    const { output } = await predictTask(multilabel as AnyTask, {
      ...asked({ input: join(dir, "new.txt") }),
      model: tuned,
    });
    const lines = output.trimEnd().split("\n").map((line) => JSON.parse(line));
    assertEquals(lines.map((l) => [l.text, l.labels]), [["yes .", ["Growth"]], [". no", [
      "Death",
    ]]]);
    assert(lines[0].probabilities.Growth > 0.5 && lines[0].probabilities.Death < 0.5);
  }));

Deno.test("regression: scores are learned on their own scale, which the model keeps", () =>
  withFolder(async (dir) => {
    const rows = (count: number, first: number) =>
      "sentence1\tsentence2\tscore\n" +
      Array.from({ length: count }, (_, i) => {
        const alike = (first + i) % 2;
        return `${"abc"[i % 3]}\t${alike ? "yes" : "no"}\t${alike ? "103.5" : "100"}\n`;
      }).join("");
    put(dir, {
      "set/train.tsv": rows(24, 0),
      "set/dev.tsv": rows(6, 1),
      "set/test.tsv": rows(8, 0),
    });
    const data = join(dir, "set");
    assertEquals(variantOf(classify as AnyTask, givenOf({ data })).name, "regression");
    const json = await finetuneOverSeeds(regression as AnyTask, requestOf(dir, { data }, "run"));
    const model = json.model as Record<string, number | string>;
    assert(Number(model.pearson_s_r) > 0.99, `${model.pearson_s_r}`);
    assert(Number(model.mean_squared_error) < 0.5, `${model.mean_squared_error}`);
    assertEquals((json.constant as Record<string, number>).pearson_s_r, 0);
    const checkpoint = String(model.name);
    const config = JSON.parse(Deno.readTextFileSync(join(checkpoint, "config.json")));
    assertEquals(scaleOf([config.id2label["0"]]), { mean: 101.75, deviation: 1.75 });
    put(dir, {
      "new.jsonl": '{"text": "a", "text_pair": "yes"}\n{"text": "a", "text_pair": "no"}\n',
    });
    const { output } = await predictTask(regression as AnyTask, {
      ...asked({ input: join(dir, "new.jsonl") }),
      model: { name: checkpoint, folder: () => Promise.resolve(checkpoint) },
    });
    const [first = NaN, second = NaN] = output.trimEnd().split("\n")
      .map((line) => Number(JSON.parse(line).score));
    assert(Math.abs(first - 103.5) < 1 && Math.abs(second - 100) < 1, `${first} ${second}`);
  }));

Deno.test("folds are learned one after the other, and their mean is told", () =>
  withFolder(async (dir) => {
    const rows = (count: number) =>
      Array.from(
        { length: count },
        (_, i) => `@GENE$ ${i % 2 ? "yes" : "no"} @DISEASE$\t${i % 2}\n`,
      )
        .join("");
    for (const fold of [1, 2]) {
      put(dir, {
        [`gad/${fold}/train.tsv`]: rows(20),
        [`gad/${fold}/dev.tsv`]: "",
        [`gad/${fold}/test.tsv`]: "index\tsentence\tlabel\n" +
          rows(6).trimEnd().split("\n").map((row, i) => `${i}\t${row}\n`).join(""),
      });
    }
    const request = requestOf(dir, { data: join(dir, "gad") }, "run");
    const json = await finetuneOverSeeds(relations as AnyTask, request);
    const folds = json.folds as { model: { name: string }; majority: { name: string } }[];
    assertEquals(folds.map(({ model }) => model.name.includes(`fold-${folds.length}`)), [
      false,
      true,
    ]);
    // A system that never finds a relation would be no floor.
    assertEquals(folds.map(({ majority }) => majority.name), ["always 1", "always 1"]);
    const { mean } = json.spread as { mean: number };
    assert(mean > 0.6, `${mean}`);
    assertStringIncludes(
      request.reporter.lines.join("\n"),
      "fold                development score  test score",
    );
  }));
