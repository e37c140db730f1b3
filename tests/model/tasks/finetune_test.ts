import { Interrupted, UserError } from "../../../core/errors.ts";
import { exists, sha256 } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import { checkpointPath, listCheckpoints } from "../../../model/training/checkpoint.ts";
import { openReader } from "../../../model/tasks/core/reader.ts";
import { choiceTask } from "../../../model/tasks/core/choice_task.ts";
import { learnedTask } from "../../../model/tasks/core/finetune.ts";
import type { TaskData } from "../../../model/tasks/core/task.ts";
import type { ChoiceAnswer, ChoiceItem } from "../../../model/tasks/core/choices.ts";
import { answerExample, packExamples } from "../../../model/tasks/core/examples.ts";
import {
  FINETUNE_DEFAULTS,
  type FinetuneRequest,
  finetuneRun,
} from "../../../model/tasks/core/run.ts";
import { exportRun } from "../../../model/training/export.ts";
import { writeModelFolder } from "../../../model/weights/folder.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { readMetrics } from "../../../model/training/metrics.ts";
import { ReferenceModel } from "../../../model/mamba/reference.ts";
import { readRun } from "../../../model/training/run_file.ts";
import type { MakeModel } from "../../../model/mamba/types.ts";
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "../../assert.ts";
import { byteTokenizerJson, givenOf, MINIATURE_READER } from "./helpers.ts";
import { makeReference, silentReporter, withFolder } from "../helpers.ts";

const EXAMPLES = [
  answerExample([0, 11, 12], [7]),
  answerExample([0, 13], [8, 9]),
  answerExample([0, 14, 15, 16], [7]),
];

Deno.test("packExamples() starts a document at each example and scores answers alone", () => {
  assertEquals(EXAMPLES.map((e) => e.tokens.length), [3, 3, 4]);
  const [batch, ...rest] = packExamples(EXAMPLES, 2, 7, 0);
  assertEquals(rest.length, 0);
  const x = -100;
  assertEquals([...batch!.tokens], [0, 11, 12, 0, 13, 8, 0, 0, 14, 15, 16, 0, 0, 0]);
  assertEquals([...batch!.starts], [1, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1]);
  assertEquals([...batch!.targets], [x, x, 7, x, 8, 9, x, x, x, x, 7, x, x, x]);
  assertEquals(batch!.scored, 4);
  const single = packExamples(EXAMPLES, 1, 4, 0);
  assertEquals(single.map((b) => b.scored), [1, 2, 1]);
  assertThrows(() => packExamples(EXAMPLES, 1, 3, 0), RangeError, "4 tokens do not fit a row of 3");
});

Deno.test("packed examples have the loss and the gradients of examples apart", async () => {
  const read = initialParameters(MINIATURE_READER, 2);
  const gradients = [7, 4].map((length) => {
    const model = new ReferenceModel(MINIATURE_READER, length === 7 ? 2 : 1, length);
    model.writeParameters(read);
    for (const batch of packExamples(EXAMPLES, model.batchSize, length, 0)) {
      model.accumulate(batch, 1 / 4);
    }
    return model.gradients;
  });
  for (const [name, values] of gradients[0]!) {
    const other = gradients[1]!.get(name)!;
    values.forEach((v, i) => assertAlmostEquals(v, other[i]!, 1e-10, name));
  }
  await Promise.resolve();
});

/** Questions whose answer is in their last letter. */
function questions(count: number, first: number): ChoiceItem[] {
  return Array.from({ length: count }, (_, i) => ({
    id: `${first + i}`,
    prompt: `question ${(first + i) % 7}: ${i % 2 ? "N" : "Y"}`,
    gold: i % 2,
  }));
}

const DATA: TaskData<ChoiceItem> = {
  labels: ["yes", "no"],
  train: questions(22, 0),
  develop: questions(6, 30),
  test: questions(20, 40),
  path: "invented",
  sha256: sha256("letters"),
};

const LETTERS = choiceTask<ChoiceItem>({ choicesOf: (items) => [...items] }, {
  name: "letters",
  evaluation: { summary: "", description: "", options: {}, examples: [] },
  read: () => DATA,
});

/** A request to fine-tune a miniature model under `dir`. */
function prepare(
  dir: string,
  changes: Partial<FinetuneRequest<ChoiceAnswer[]>> = {},
): FinetuneRequest<ChoiceAnswer[]> {
  const path = join(dir, "base");
  if (!exists(path)) {
    const read = initialParameters(MINIATURE_READER, 3);
    const tokenizer = new TextEncoder().encode(JSON.stringify(byteTokenizerJson()));
    writeModelFolder(path, { config: MINIATURE_READER, read, tokenizer });
  }
  const { folder, tokenizer } = openReader(path);
  return {
    task: learnedTask(LETTERS, DATA, {
      tokenizer,
      labels: DATA.labels,
      maxTokens: 64,
      signal: new AbortController().signal,
    }),
    init: path,
    base: folder,
    tokenizer,
    out: join(dir, "run"),
    epochs: 4,
    config: {
      ...FINETUNE_DEFAULTS,
      batch: { rows: 2, accumulate: 4 },
      optimizer: { learning_rate: 0.03, weight_decay: 0.01 },
    },
    resume: false,
    makeModel: makeReference,
    reporter: silentReporter(),
    signal: new AbortController().signal,
    ...changes,
  };
}

Deno.test("fine-tuning learns a task, chooses by development, and beats its base", () =>
  withFolder(async (dir) => {
    const request = prepare(dir);
    const result = await finetuneRun(request);
    assertEquals(result.developmentScore, 1);
    assertEquals(result.answers.map((a) => a.predicted), DATA.test.map((item) => item.gold));
    const metrics = readMetrics(request.out);
    assertEquals(metrics.map((m) => m.step), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert(metrics.at(-1)!.loss < metrics[0]!.loss - 1, `${metrics.at(-1)!.loss}`);
    assertEquals(metrics.filter((m) => "dev_score" in m).map((m) => m.step), [3, 6, 9, 12]);
    // Perplexity of documents is another thing than the loss on a task's answers.
    assert(metrics.every((m) => m.validation_loss === undefined));
    // Warm-up over a tenth of 12 steps is 1 step; the cosine ends at zero.
    assertAlmostEquals(metrics[0]!.learning_rate, 0.03, 1e-12);
    assertAlmostEquals(metrics.at(-1)!.learning_rate, 0, 1e-12);
    // What was read counts, not the padding of rows: four epochs of the training examples.
    const read = request.task.examples.reduce((sum, e) => sum + e.tokens.length, 0);
    assertEquals(metrics.at(-1)!.tokens, 4 * read);
    assertEquals(listCheckpoints(request.out).map((c) => c.step), [result.step]);
    const { config, task } = readRun(request.out);
    assertEquals([config.steps, task], [12, "letters"]);
    assert(exists(join(result.checkpoint, "tokenizer.json")));
    const exported = join(dir, "exported");
    assertEquals(exportRun(request.out, exported).step, result.step);
    const card = Deno.readTextFileSync(join(exported, "README.md"));
    assert(card.includes("fine-tuned on the task letters") && !card.includes("erplexity"));
    // A finished run is evaluated again, not trained again.
    const again = await finetuneRun({ ...request, resume: true });
    assertEquals(again.answers, result.answers);
    assertEquals(readRun(request.out).resumed, []);

    const report = LETTERS.report({
      data: DATA,
      systems: [
        { role: "model", name: "tuned", answers: result.answers },
        { role: "base", name: "base", answers: result.baseAnswers ?? [] },
      ],
      purpose: "finetune",
      given: givenOf(),
      seed: 0,
    });
    assertStringIncludes(report.text, "It is better than its base. It is better than the trivial");
    const json = report.json as Record<string, Record<string, number>>;
    assertEquals([json.majority!.name, json.majority!.accuracy], ["always yes", 0.5]);
    const { comparison, comparison_with_trivial } = report.json as Record<
      string,
      { accuracy: { difference: number }; mcnemar: { p: number } }
    >;
    assertEquals(json.model!.accuracy, 1);
    assert(comparison!.accuracy.difference > 0.3, `${comparison!.accuracy.difference}`);
    assert(comparison!.mcnemar.p < 0.05);
    assertEquals(comparison_with_trivial!.accuracy.difference, 0.5);
    request.base.close();
  }));

Deno.test("fine-tuning tells each epoch's losses and score, with a bar in every phase", () =>
  withFolder(async (dir) => {
    const reporter = silentReporter();
    const bars = new Map<string, { total: number; most: number }>();
    reporter.progress = (label, total) => {
      const bar = bars.get(label) ?? { total, most: 0 };
      bars.set(label, bar);
      return {
        update(done) {
          bar.most = Math.max(bar.most, done);
        },
        finish() {},
      };
    };
    const request = prepare(dir, { epochs: 2, reporter });
    await finetuneRun(request);
    assertEquals(Object.fromEntries(bars), {
      "Fine-tuning": { total: 6, most: 6 },
      "Development": { total: 6, most: 6 },
      "Testing": { total: 20, most: 20 },
      "Testing the base model": { total: 20, most: 20 },
    });
    const metrics = readMetrics(request.out) as { loss: number; dev_score?: number }[];
    const mean = (metrics[0]!.loss + metrics[1]!.loss + metrics[2]!.loss) / 3;
    const [first] = reporter.logged.filter((line) => line.startsWith("Epoch "));
    assertStringIncludes(
      first ?? "",
      `Epoch 1 of 2: training loss ${mean.toFixed(4)}, development score ` +
        `${metrics[2]!.dev_score!.toFixed(4)}, development loss `,
    );
    assertStringIncludes(first ?? "", ", the best so far");
    request.base.close();
  }));

Deno.test("a stopped fine-tuning run goes on to the same bytes", () =>
  withFolder(async (dir) => {
    const whole = prepare(dir, { out: join(dir, "whole"), epochs: 2 });
    const expected = await finetuneRun(whole);
    const out = join(dir, "stopped");
    const abort = new AbortController();
    let updates = 0;
    const makeModel: MakeModel = async (config, shape) => {
      const made = await makeReference(config, shape);
      const { model } = made;
      const update = model.update.bind(model);
      model.update = (options) => {
        update(options);
        if (++updates === 4) abort.abort();
      };
      return made;
    };
    const first = prepare(dir, { out, epochs: 2, makeModel, signal: abort.signal });
    const stopped = await assertRejects(() => finetuneRun(first), Interrupted);
    assert(stopped.message.includes("Stopped after step 4 of 6"));
    const again = prepare(dir, { out, epochs: 2, resume: true });
    const result = await finetuneRun(again);
    assertEquals([result.step, result.answers.map((a) => a.logProbabilities)], [
      expected.step,
      expected.answers.map((a) => a.logProbabilities),
    ]);
    const weights = (checkpoint: string) =>
      Deno.readFileSync(join(checkpoint, "model.safetensors"));
    assertEquals(weights(result.checkpoint), weights(expected.checkpoint));
    assertEquals(readMetrics(out).map((m) => m.loss), readMetrics(whole.out).map((m) => m.loss));
    // Killed before the best checkpoint was the only one.
    const older = checkpointPath(out, 1);
    Deno.mkdirSync(older);
    for (const { name } of Deno.readDirSync(result.checkpoint)) {
      Deno.copyFileSync(join(result.checkpoint, name), join(older, name));
    }
    await finetuneRun(again);
    assertEquals(listCheckpoints(out).map((c) => c.step), [result.step]);
    for (const request of [whole, first, again]) request.base.close();
  }));

Deno.test("a fine-tuning run refuses another run's folder and other data", () =>
  withFolder(async (dir) => {
    const request = prepare(dir, { epochs: 1 });
    await finetuneRun(request);
    await assertRejects(() => finetuneRun(request), UserError, "there is one already");
    const other = { ...request, resume: true, task: { ...request.task, sha256: sha256("other") } };
    await assertRejects(() => finetuneRun(other), UserError, "Cannot resume");
    const longer = { ...request, resume: true, epochs: 2 };
    await assertRejects(() => finetuneRun(longer), UserError, "other settings (steps: 3 -> 6)");
    request.base.close();
  }));

Deno.test("openReader() asks for a tokenizer where the model has none, and for the right one", () =>
  withFolder((dir) => {
    const bare = join(dir, "bare");
    const read = initialParameters(MINIATURE_READER, 3);
    writeModelFolder(bare, { config: MINIATURE_READER, read });
    assertThrows(() => openReader(bare), UserError, "or name it by --tokenizer");
    const file = join(dir, "tokenizer.json");
    const json = byteTokenizerJson();
    Deno.writeTextFileSync(file, JSON.stringify(json));
    const reader = openReader(bare, { tokenizerFile: file });
    assertEquals(reader.tokenizer.endOfText, 0);
    reader.folder.close();
    const model = json.model as { vocab: Record<string, number>; merges: string[] };
    model.vocab["ĠyesĠno"] = 300;
    model.merges.push("Ġyes Ġno");
    Deno.writeTextFileSync(file, JSON.stringify(json));
    assertThrows(
      () => openReader(bare, { tokenizerFile: file }),
      UserError,
      "has 301 ids and the model's embedding",
    );
  }));

Deno.test("openReader() makes random weights of a preset with a tokenizer, by seed", () =>
  withFolder((dir) => {
    const tokenizerFile = join(dir, "tokenizer.json");
    Deno.writeTextFileSync(tokenizerFile, JSON.stringify(byteTokenizerJson()));
    assertThrows(() => openReader("random:tiny"), UserError, "name one with --tokenizer");
    assertThrows(() => openReader("random:huge", { tokenizerFile }), UserError, "choose tiny");
    const norm = (seed: number) => {
      const { folder, tokenizer } = openReader("random:tiny", { tokenizerFile, seed });
      assertEquals(folder.config.vocabSize, tokenizer.vocabularySize);
      return folder.read("backbone.layers.0.mixer.in_proj.weight").slice(0, 9);
    };
    assertEquals(norm(1), norm(1));
    assert(norm(1).join() !== norm(2).join());
  }));
