import { UserError } from "../../../core/errors.ts";
import { sha256 } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { choiceTask } from "../../../model/tasks/core/choice_task.ts";
import { type ChoiceItem, labelTokens } from "../../../model/tasks/core/choices.ts";
import { macroF1 } from "../../../model/tasks/core/classification.ts";
import { askModel, evaluateTask, fitted } from "../../../model/tasks/core/evaluate.ts";
import { learnedTask } from "../../../model/tasks/core/finetune.ts";
import { openReader } from "../../../model/tasks/core/reader.ts";
import { FINETUNE_DEFAULTS, finetuneRun } from "../../../model/tasks/core/run.ts";
import type { AnyTask } from "../../../model/tasks/core/task.ts";
import { ner, type TagAnswer } from "../../../model/tasks/ner/task.ts";
import { relations } from "../../../model/tasks/relations/task.ts";
import { exportRun } from "../../../model/training/export.ts";
import { openModelFolder, writeModelFolder } from "../../../model/weights/folder.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "../../assert.ts";
import { makeReference, silentReporter, withFolder } from "../helpers.ts";
import { byteTokenizer, byteTokenizerJson, givenOf, MINIATURE_READER } from "./helpers.ts";

const TOKENIZER = new TextEncoder().encode(JSON.stringify(byteTokenizerJson()));

/** A model folder with random weights, taught a task or not. */
function writeModel(path: string, taught?: { task: string; labels: string[] }): void {
  const read = initialParameters(MINIATURE_READER, 3);
  writeModelFolder(path, { config: MINIATURE_READER, read, tokenizer: TOKENIZER, taught });
}

/** What every call of evaluateTask in these tests has in common. */
function requestFor(dir: string, model: string, options: Record<string, string>) {
  return {
    given: givenOf(options),
    model: { name: model, folder: () => Promise.resolve(model) },
    out: join(dir, "results"),
    maxTokens: 256,
    batchSize: 2,
    seed: 0,
    makeModel: makeReference,
    reporter: silentReporter(),
    signal: new AbortController().signal,
  };
}

Deno.test("a label whose words begin another's can still be the answer", () => {
  const tokenizer = byteTokenizer();
  const [agonist, activator, other] = labelTokens(
    ["agonist", "agonist activator", "inhibitor"],
    tokenizer,
  );
  const end = tokenizer.endOfText;
  assertEquals([agonist, activator, other].map((tokens) => tokens!.at(-1)), [end, end, end]);
  // Neither begins the other any more, so that neither is the more probable one for any model.
  const begins = agonist!.every((token, i) => token === activator![i]);
  assertEquals(begins, false);
  // Sets without that trouble stay as they are: one reading of the prompt serves all of them.
  assertEquals(labelTokens(["yes", "no"], tokenizer).map((tokens) => tokens.length), [1, 1]);
});

Deno.test("fine-tuning learns labels of which one begins the other", () =>
  withFolder(async (dir) => {
    const path = join(dir, "base");
    writeModel(path);
    const { folder, tokenizer } = openReader(path);
    const items = (count: number): ChoiceItem[] =>
      Array.from({ length: count }, (_, i) => ({
        id: String(i),
        prompt: `q ${i % 3}: ${i % 2 ? "L" : "S"}`,
        gold: i % 2,
      }));
    const data = {
      labels: ["a", "a b"],
      train: items(24),
      develop: items(8),
      test: items(14),
      path: "invented",
      sha256: sha256("prefixes"),
    };
    const task = choiceTask<ChoiceItem>({ choicesOf: (list) => [...list] }, {
      name: "prefixes",
      evaluation: { summary: "", description: "", options: {}, examples: [] },
      read: () => data,
    });
    const signal = new AbortController().signal;
    const result = await finetuneRun({
      task: learnedTask(task, data, { tokenizer, labels: data.labels, maxTokens: 64, signal }),
      init: path,
      base: folder,
      tokenizer,
      out: join(dir, "run"),
      epochs: 16,
      config: {
        ...FINETUNE_DEFAULTS,
        batch: { rows: 2, accumulate: 4 },
        optimizer: { learning_rate: 0.05, weight_decay: 0 },
      },
      resume: false,
      makeModel: makeReference,
      reporter: silentReporter(),
      signal,
    });
    assertEquals(result.answers.map((a) => a.predicted), data.test.map((item) => item.gold));
    // The labels are kept with the checkpoint, and go with it where it is exported.
    const taught = { task: "prefixes", labels: ["a", "a b"] };
    const checkpoint = openModelFolder(result.checkpoint);
    assertEquals(checkpoint.taught, taught);
    checkpoint.close();
    const exported = join(dir, "exported");
    exportRun(join(dir, "run"), exported);
    const config = JSON.parse(Deno.readTextFileSync(join(exported, "config.json")));
    assertEquals(config.id2label, { "0": "a", "1": "a b" });
    assertEquals(config.label2id, { "a": 0, "a b": 1 });
    assertEquals(config.finetuning_task, "prefixes");
    folder.close();
  }));

Deno.test("relations are asked with the labels that the model was taught, not the file's", () =>
  withFolder(async (dir) => {
    const gold = join(dir, "test.jsonl");
    const line = (label: string) => JSON.stringify({ text: "<< a >> b [[ c ]]", label }) + "\n";
    Deno.writeTextFileSync(gold, line("AGONIST") + line("INHIBITOR"));
    const model = join(dir, "model");
    const labels = ["AGONIST", "ANTAGONIST", "INHIBITOR"];
    writeModel(model, { task: "relations", labels });
    const request = requestFor(dir, model, { gold });
    const asked = await askModel(
      relations as AnyTask,
      relations.read(request.given, "evaluate"),
      request.model,
      request,
    );
    assertEquals(asked.data.labels, labels);
    const answers = asked.answers as { item: ChoiceItem; logProbabilities: number[] }[];
    assertEquals(answers.map((a) => [a.logProbabilities.length, a.item.gold]), [[3, 0], [3, 2]]);
    assertStringIncludes(answers[0]!.item.prompt, "one of: agonist, antagonist, inhibitor.");
    // A label that the model was not taught cannot be answered: the files do not belong together.
    Deno.writeTextFileSync(gold, line("AGONIST") + line("SUBSTRATE"));
    const json = await assertRejects(
      () => evaluateTask(relations as AnyTask, request),
      UserError,
    );
    assertStringIncludes(json.message, "it was taught AGONIST, ANTAGONIST, INHIBITOR");
    assertStringIncludes(json.message, "SUBSTRATE");
  }));

Deno.test("macro F1 is over the labels that occur in the gold", () => {
  // Three labels, of which the gold has two; the third is answered once, wrongly.
  const items = { gold: [0, 0, 1, 1], predicted: [0, 2, 1, 1] };
  assertEquals(macroF1(items, 3), (2 / 3 + 1) / 2);
});

/** Two systems' relations with a negative label: two of six are relations. */
function writeNegatives(dir: string): { gold: string; system: string } {
  const gold = join(dir, "gold.jsonl");
  const system = join(dir, "system.jsonl");
  const labels = ["CPR:4", "CPR:3", "false", "false", "false", "false"];
  const lines = (list: string[]) =>
    list.map((label, i) => JSON.stringify({ text: `t${i}`, label }) + "\n").join("");
  Deno.writeTextFileSync(gold, lines(labels));
  Deno.writeTextFileSync(system, lines(labels.map(() => "false")));
  return { gold, system };
}

Deno.test("a label that means none is neither found nor missed: all false scores 0", () =>
  withFolder(async (dir) => {
    const files = writeNegatives(dir);
    const request = { ...requestFor(dir, "", files), model: undefined, system: files.system };
    const json = await evaluateTask(relations as AnyTask, request);
    assertEquals([json.micro_f1, json.micro_precision, json.micro_recall], [0, 0, 0]);
    assertEquals(json.micro_f1_interval, [0, 0]);
  }));

/** A CoNLL file of sentences such as "a/B-X b". */
function writeConll(path: string, ...sentences: string[]): string {
  const lines = sentences.map((text) =>
    text.split(" ").map((word) => {
      const [token, tag = "O"] = word.split("/");
      return `${token}\t${tag}\n`;
    }).join("")
  );
  Deno.writeTextFileSync(path, lines.join("\n"));
  return path;
}

Deno.test("a model's tags are its own: types of a file are mapped by name, or refused", () =>
  withFolder(async (dir) => {
    const taught = {
      task: "ner",
      labels: ["O", "B-Chemical", "I-Chemical", "B-Disease", "I-Disease"],
    };
    const read = (options: Record<string, string>) => {
      const given = givenOf(options);
      return fitted(ner, ner.read(given, "evaluate"), taught, given);
    };
    const gold = writeConll(join(dir, "d.tsv"), "has gout/B-DISEASE", "takes aspirin");
    const data = read({ gold });
    assertEquals([data.labels, data.test[0]!.tags], [taught.labels, ["O", "B-Disease"]]);
    // The file does not say where chemicals are: finding them is no mistake.
    const answers: TagAnswer[] = [{ tags: ["O", "B-Disease"] }, { tags: ["O", "B-Chemical"] }];
    const { measures: [f1] } = ner.score(data, data.test, answers);
    assertEquals(f1!.statistic(Uint32Array.of(0, 1)), 1);
    assertStringIncludes(data.notes!.join(), "also tags Chemical");

    const other = writeConll(join(dir, "g.tsv"), "BRCA1/B-Gene and gout/B-Disease");
    const refused = await assertRejects(
      () => Promise.resolve().then(() => read({ gold: other })),
      UserError,
    );
    assertStringIncludes(refused.message, "it was taught Chemical, Disease");
    assertStringIncludes(refused.message, "--types Disease");
    assertEquals(read({ gold: other, types: "Disease" }).test[0]!.tags, ["O", "O", "B-Disease"]);
    const renamed = read({ gold: other, types: "Gene=Chemical,Disease" });
    assertEquals(renamed.test[0]!.tags, ["B-Chemical", "O", "B-Disease"]);
    await assertRejects(
      () => Promise.resolve().then(() => read({ gold: other, types: "Drug" })),
      UserError,
      "the data have Disease, Gene",
    );
  }));

Deno.test("a model that was taught two types tags a file of one with the tokens of its own tags", () =>
  withFolder(async (dir) => {
    const model = join(dir, "model");
    const labels = ["O", "B-Chemical", "I-Chemical", "B-Disease", "I-Disease"];
    writeModel(model, { task: "ner", labels });
    const gold = writeConll(join(dir, "d.tsv"), "has gout/B-Disease");
    const asked: number[] = [];
    const request = requestFor(dir, model, { gold });
    const { answers } = await askModel(
      ner as AnyTask,
      ner.read(request.given, "evaluate"),
      request.model,
      request,
    );
    for (const answer of answers as TagAnswer[]) {
      asked.push(...answer.scores!.map((word) => word.length));
    }
    assertEquals(asked, [5, 5]);
  }));

Deno.test("a model that always says yes is not called a success for beating a worse base", () => {
  const test = Array.from({ length: 60 }, (_, i) => ({
    id: String(i),
    prompt: "p",
    gold: Number(i % 3 === 0),
  }));
  const data = { labels: ["yes", "no"], train: test, develop: [], test, path: "p", sha256: "" };
  const task = choiceTask<ChoiceItem>({ choicesOf: (list) => [...list] }, {
    name: "always",
    evaluation: { summary: "", description: "", options: {}, examples: [] },
    read: () => data,
  });
  const always = (label: number) =>
    test.map((item) => ({ item, logProbabilities: [-1, -1], predicted: label, truncated: 0 }));
  const { text } = task.report({
    data,
    systems: [
      { role: "model", name: "m", answers: always(0) },
      { role: "base", name: "b", answers: always(1) },
    ],
    purpose: "evaluate",
    given: givenOf(),
    seed: 0,
  });
  assertStringIncludes(
    text,
    "It is better than its base, but this does not show that it is better than the trivial system " +
      "(always yes).",
  );
  assert(!text.includes("It is better than its base."));
});
