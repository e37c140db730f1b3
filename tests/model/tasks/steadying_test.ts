/** What steadies fine-tuning: early stopping, class weights, layers that begin anew, several seeds. */
import { Interrupted, UserError } from "../../../core/errors.ts";
import { sha256 } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import { classify } from "../../../model/tasks/classify/task.ts";
import { balanceClasses } from "../../../model/tasks/core/class_weights.ts";
import { finetuneOverSeeds, learnedTask } from "../../../model/tasks/core/finetune.ts";
import { openReader } from "../../../model/tasks/core/reader.ts";
import {
  FINETUNE_DEFAULTS,
  type FinetuneRequest,
  finetuneRun,
} from "../../../model/tasks/core/run.ts";
import { settingsOf, tune } from "../../../model/tasks/core/tuning.ts";
import type { AnyTask, TaskData } from "../../../model/tasks/core/task.ts";
import type { RelationExample } from "../../../model/tasks/relations/relations.ts";
import { relations } from "../../../model/tasks/relations/task.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { parameterList } from "../../../model/mamba/parameters.ts";
import type { HeadConfig } from "../../../model/mamba/head.ts";
import type { MakeModel } from "../../../model/mamba/types.ts";
import { readMetrics } from "../../../model/training/metrics.ts";
import { doneResult, readRun } from "../../../model/training/run_file.ts";
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
import { byteTokenizerJson, givenOf, MINIATURE_READER } from "./helpers.ts";

/** Every fourth is positive. */
const examples = (count: number): RelationExample[] =>
  Array.from({ length: count }, (_, i) => ({
    text: `<< ${"abc"[i % 3]} >> ${i % 4 ? "no" : "yes"} [[ d ]]`,
    label: i % 4 ? "false" : "POSITIVE",
  }));

const DATA: TaskData<RelationExample> = {
  labels: ["POSITIVE", "false"],
  negative: "false",
  train: examples(16),
  develop: examples(4),
  test: examples(4),
  path: "invented",
  sha256: sha256("steadying"),
};

function writeBase(dir: string, config = MINIATURE_READER): string {
  const path = join(dir, "base");
  const read = initialParameters(config, 3);
  const tokenizer = new TextEncoder().encode(JSON.stringify(byteTokenizerJson()));
  writeModelFolder(path, { config, read, tokenizer });
  return path;
}

/** A request to teach relations by a head; two steps an epoch. */
function requestOf(
  base: string,
  out: string,
  changes: Partial<FinetuneRequest<unknown[]>> = {},
): FinetuneRequest<unknown[]> {
  const { folder, tokenizer } = openReader(base);
  const reader = { tokenizer, labels: DATA.labels, maxTokens: 64 };
  const approach = relations.headed?.({ context: "forward", crf: false });
  return {
    task: learnedTask(relations, DATA, reader, approach),
    init: base,
    base: folder,
    tokenizer,
    out,
    epochs: 6,
    config: {
      ...FINETUNE_DEFAULTS,
      batch: { rows: 2, accumulate: 4 },
      optimizer: { learning_rate: 0.01, weight_decay: 0 },
    },
    resume: false,
    makeModel: makeReference,
    reporter: silentReporter(),
    signal: new AbortController().signal,
    ...changes,
  };
}

/** A request whose examinations have these scores from epoch `from` on, and ever lower losses. */
function scripted(
  request: FinetuneRequest<unknown[]>,
  scores: readonly number[],
  from = 1,
): FinetuneRequest<unknown[]> {
  let epoch = from;
  const develop = () => {
    const score = scores[epoch - 1] ?? NaN;
    return Promise.resolve({ score, loss: 1 / epoch++ });
  };
  return { ...request, task: { ...request.task, develop } };
}

Deno.test("early stopping ends a run after epochs without a higher score, and resumes exactly", () =>
  withFolder(async (dir) => {
    const base = writeBase(dir);
    const steadying = { early_stopping: 2 };
    const scores = [0.25, 0.5, 0.5, 0.25, 1, 1];
    const reporter = silentReporter();
    const whole = requestOf(base, join(dir, "whole"), { steadying, reporter });
    const result = await finetuneRun(scripted(whole, scores));
    // Epochs 3 and 4 are no better than epoch 2; of equal scores the lower loss is chosen.
    assertEquals(readMetrics(whole.out).map((m) => m.step), [1, 2, 3, 4, 5, 6, 7, 8]);
    assertEquals([result.step, result.developmentScore, result.endedEarly], [6, 0.5, 8]);
    assertEquals(doneResult(whole.out), { step: 6, dev_score: 0.5, ended_early: 8 });
    const { finetuning, config } = readRun(whole.out);
    assertEquals([finetuning?.early_stopping, config.steps], [2, 12]);
    assert(
      reporter.logged.includes(
        "Stopped early after epoch 4 of 6: the development score did not rise for 2 epochs",
      ),
      reporter.logged.join("\n"),
    );
    // Stopped by a signal within epoch 3, and gone on with.
    const out = join(dir, "stopped");
    const abort = new AbortController();
    let updates = 0;
    const makeModel: MakeModel = async (config, shape) => {
      const made = await makeReference(config, shape);
      const update = made.model.update.bind(made.model);
      made.model.update = (options) => {
        update(options);
        if (++updates === 5) abort.abort();
      };
      return made;
    };
    const first = requestOf(base, out, { steadying, makeModel, signal: abort.signal });
    await assertRejects(() => finetuneRun(scripted(first, scores)), Interrupted, "after step 5");
    const again = { ...requestOf(base, out, { steadying }), resume: true };
    const impatient = { ...again, steadying: { early_stopping: 1 } };
    await assertRejects(() => finetuneRun(impatient), UserError, "early_stopping: 2 -> 1");
    const resumed = await finetuneRun(scripted(again, scores, 3));
    assertEquals([resumed.step, resumed.endedEarly], [6, 8]);
    const weights = (folder: string) =>
      sha256(Deno.readFileSync(join(folder, "model.safetensors")));
    assertEquals(weights(resumed.checkpoint), weights(result.checkpoint));
    for (const { base } of [whole, first, again]) base.close();
  }));

Deno.test("a run that was killed after it had ended early learns no further", () =>
  withFolder(async (dir) => {
    const request = requestOf(writeBase(dir), join(dir, "run"), {
      steadying: { early_stopping: 1 },
    });
    const reporter = silentReporter();
    reporter.log = (line) => {
      if (line.startsWith("Stopped early")) throw new Error("killed");
    };
    await assertRejects(
      () => finetuneRun(scripted({ ...request, reporter }, [0.5, 0.25])),
      Error,
      "killed",
    );
    assertEquals(doneResult(request.out), undefined);
    const again = { ...request, resume: true };
    const result = await finetuneRun(scripted(again, []));
    assertEquals([result.step, result.endedEarly], [2, 4]);
    Deno.removeSync(join(request.out, "DONE"));
    // The best checkpoint alone is left, from which epoch 2 is learned again and no other.
    await finetuneRun(scripted(again, [0.5, 0.25], 2));
    assertEquals(doneResult(request.out), { step: 2, dev_score: 0.5, ended_early: 4 });
    assertEquals(readMetrics(request.out).map((m) => m.step), [1, 2, 3, 4]);
    request.base.close();
  }));

const HEAD: HeadConfig = { loss: "softmax", labels: 3, slots: 1, crf: false, context: "forward" };

/** Texts of one item each. */
const itemsOf = (targets: readonly (readonly [target: number, weight: number])[]) =>
  targets.map(([target, weight]) => ({
    tokens: [0, 1],
    targets: [],
    items: [{ slots: [{ positions: [1], backward: false }], target, weight }],
  }));

Deno.test("balanced class weights give every label that occurs the same part of the loss", () => {
  const given = itemsOf([[0, 1], [0, 1], [0, 1], [2, 1], [2, 0]]);
  const { examples, weights } = balanceClasses(given, HEAD, ["none", "rare", "some"]);
  // 4 / (2 * 3) and 4 / (2 * 1); what is not learned stays so, and counts for nothing.
  const own = examples.flatMap(({ items = [] }) => items.map(({ weight }) => weight));
  [2 / 3, 2 / 3, 2 / 3, 2, 0].forEach((w, i) => assertAlmostEquals(own[i] ?? NaN, w, 1e-12));
  assertEquals(Object.keys(weights), ["none", "some"]);
  assertAlmostEquals(weights.none ?? NaN, 2 / 3, 1e-12);
  assertEquals(weights.some, 2);
  assertEquals(given[0]?.items[0]?.weight, 1);
  const refused = (head: HeadConfig | undefined, why: string, some = given) =>
    assertThrows(() => balanceClasses(some, head, []), UserError, why);
  refused(undefined, "give --approach head");
  refused({ ...HEAD, crf: true }, "give --no-crf");
  refused({ ...HEAD, loss: "squared" }, "does not choose one label");
  refused(HEAD, "weighted against each other", itemsOf([[0, 1], [1, 0.5]]));
});

Deno.test("class weights change what is learned and are recorded", () =>
  withFolder(async (dir) => {
    const base = writeBase(dir);
    // The first step takes all examples, of which a quarter is positive.
    const config = { ...FINETUNE_DEFAULTS, batch: { rows: 4, accumulate: 4 } };
    const firstLoss = async (
      out: string,
      class_weights: "none" | "balanced" = "none",
      target?: number,
    ) => {
      const steadying = { class_weights };
      const request = requestOf(base, join(dir, out), { epochs: 1, config, steadying });
      const { task } = request;
      const learned = task.examples.filter(({ items }) =>
        target === undefined || items?.[0]?.target === target
      );
      await finetuneRun({ ...request, task: { ...task, examples: learned } });
      request.base.close();
      return readMetrics(request.out)[0]?.loss ?? NaN;
    };
    const plain = await firstLoss("plain");
    const balanced = await firstLoss("balanced", "balanced");
    const positive = await firstLoss("positive", "none", 0);
    const negative = await firstLoss("negative", "none", 1);
    assertAlmostEquals(plain, positive / 4 + negative * 3 / 4, 1e-6);
    assertAlmostEquals(balanced, positive / 2 + negative / 2, 1e-6);
    assert(Math.abs(plain - balanced) > 1e-4, `${plain} ${balanced}`);
    const recorded = readRun(join(dir, "balanced"));
    assertEquals(recorded.finetuning?.class_weights, "balanced");
    assertEquals(recorded.label_weights, { POSITIVE: 2, false: 16 / 24 });
    assertEquals(readRun(join(dir, "plain")).label_weights, undefined);
  }));

Deno.test("the topmost layers begin anew by the seed, and all else as the base has it", () =>
  withFolder(async (dir) => {
    const layers = 3;
    const sizes = { ...MINIATURE_READER, layers };
    const base = writeBase(dir, sizes);
    const written = new Map<string, Float32Array>();
    let writes = 0;
    const makeModel: MakeModel = async (config, shape) => {
      const made = await makeReference(config, shape);
      const write = made.model.writeParameters.bind(made.model);
      made.model.writeParameters = (read) => {
        if (writes++ === 0) {
          for (const { name } of parameterList(config)) written.set(name, read(name).slice());
        }
        write(read);
      };
      return made;
    };
    const config = {
      ...FINETUNE_DEFAULTS,
      seed: 5,
      batch: { rows: 2, accumulate: 4 },
    };
    const request = requestOf(base, join(dir, "run"), {
      epochs: 1,
      config,
      makeModel,
      steadying: { reinitialize: 2 },
    });
    await finetuneRun(request);
    const own = initialParameters(sizes, 3);
    const drawn = initialParameters(sizes, 5);
    const isTop = (name: string) => /^backbone\.layers\.[12]\./.test(name);
    const digest = (values: ArrayLike<number> = []) =>
      sha256(new Uint8Array(Float32Array.from(values).buffer));
    let fresh = 0;
    for (const { name } of parameterList(sizes)) {
      const expected = isTop(name) ? drawn(name) : own(name);
      assertEquals(digest(written.get(name)), digest(expected), name);
      if (digest(expected) !== digest(own(name))) fresh++;
    }
    assert(fresh >= 2 * 5, `${fresh} tensors are not the base's`);
    assertEquals(readRun(request.out).finetuning?.reinitialize, 2);
    const tall = requestOf(base, join(dir, "tall"), { steadying: { reinitialize: layers + 1 } });
    await assertRejects(() => finetuneRun(tall), UserError, `the model has ${layers} layers`);
    const adapted = requestOf(base, join(dir, "adapted"), {
      config: { ...config, lora: { targets: "in_proj" } },
      steadying: { reinitialize: 1 },
    });
    await assertRejects(() => finetuneRun(adapted), UserError, "with --lora");
    for (const { base } of [request, tall, adapted]) base.close();
  }));

/** A request to learn yes and no over seeds; its set is written where it is not there. */
function seedsRequest(dir: string, base: string) {
  const data = join(dir, "set");
  Deno.mkdirSync(data, { recursive: true });
  for (const split of ["train", "dev", "test"]) {
    const rows = Array.from({ length: 8 }, (_, i) => `${i % 2 ? "yes" : "no"} ${i}\t${i % 2}`);
    Deno.writeTextFileSync(join(data, `${split}.tsv`), `text\tlabel\n${rows.join("\n")}\n`);
  }
  return {
    given: givenOf({ data }),
    model: { name: base, folder: () => Promise.resolve(base) },
    out: join(dir, "runs"),
    epochs: 1,
    config: { ...FINETUNE_DEFAULTS, batch: { rows: 2, accumulate: 2 } },
    maxTokens: 64,
    head: { context: "forward" as const, crf: false },
    seed: 4,
    seeds: 2,
    resume: false,
    makeModel: makeReference,
    reporter: silentReporter(),
    signal: new AbortController().signal,
  };
}

Deno.test("several seeds end in one table of their scores, mean and standard deviation", () =>
  withFolder(async (dir) => {
    const base = writeBase(dir);
    const request = seedsRequest(dir, base);
    const { reporter } = request;
    const json = await finetuneOverSeeds(classify as AnyTask, request);
    const scores = json.scores as { seed: string; development: number; test: number }[];
    assertEquals(scores.map(({ seed }) => seed), ["4", "5"]);
    const [first, second] = scores;
    assert(first && second);
    const mean = (first.test + second.test) / 2;
    const { spread } = json as { spread: Record<string, number> };
    assertAlmostEquals(spread.mean ?? NaN, mean, 1e-12);
    const deviation = Math.abs(first.test - second.test) / Math.SQRT2;
    assertAlmostEquals(spread.standard_deviation ?? NaN, deviation, 1e-12);
    const table = reporter.lines.at(-1) ?? "";
    const rows = table.split("\n").map((line) => line.trim().split(/ {2,}/));
    const cells = (name: string) => rows.find(([own]) => own === name)?.slice(1).map(Number);
    assertStringIncludes(table, "development score");
    for (const { seed, development, test } of scores) {
      assertEquals(cells(seed), [Number(development.toFixed(4)), Number(test.toFixed(4))]);
    }
    assertEquals(cells("mean")?.[1], Number(mean.toFixed(4)));
    assertEquals(cells("standard deviation")?.[1], Number(deviation.toFixed(4)));
  }));

/** Settings whose score grows with the learning rate and with the epochs that were learned. */
const GRID = settingsOf({ learningRates: [1, 2, 3, 4, 5], batches: [8], epochs: [4] });

Deno.test("a search halves the settings, gives the better ones more epochs, and resumes", () =>
  withFolder(async (dir) => {
    const search = async (out: string, resume: boolean, killAt = Infinity) => {
      const asked: string[] = [];
      const reporter = silentReporter();
      const settings = await tune({
        out,
        settings: GRID,
        subject: { data: "invented" },
        resume,
        reporter,
        develop({ learning_rate }, epochs) {
          if (asked.length === killAt) return Promise.reject(new Error("killed"));
          asked.push(`${learning_rate} for ${epochs}`);
          // The one that is best at first is not so in the end.
          const score = epochs === 4 && learning_rate === 5
            ? 0.1
            : (10 * learning_rate + epochs) / 100;
          return Promise.resolve(score);
        },
      });
      return { asked, settings, table: reporter.lines.at(-1) };
    };
    const whole = await search(join(dir, "whole"), false);
    assertEquals(whole.asked, [
      ...[1, 2, 3, 4, 5].map((rate) => `${rate} for 1`),
      ...[5, 4, 3].map((rate) => `${rate} for 2`),
      ...[5, 4].map((rate) => `${rate} for 4`),
    ]);
    assertEquals(whole.settings.map(({ learning_rate }) => learning_rate), [4, 5, 3, 2, 1]);
    assertEquals(whole.settings[0], {
      learning_rate: 4,
      batch: 8,
      epochs: 4,
      scores: [0.41, 0.42, 0.44],
    });
    assertStringIncludes(whole.table ?? "", "0.4100  0.4200   0.4400");
    const file = (out: string) => Deno.readTextFileSync(join(out, "tuning.json"));
    for (const killAt of [0, 3, 6, 9]) {
      const out = join(dir, `killed-${killAt}`);
      await assertRejects(() => search(out, false, killAt), Error, "killed");
      await assertRejects(() => search(out, false), UserError, "there is one already");
      const { asked, table } = await search(out, true);
      assertEquals(asked, whole.asked.slice(killAt));
      assertEquals([table, file(out)], [whole.table, file(join(dir, "whole"))]);
    }
  }));

Deno.test("finetune searches on the development split, then learns and tests with the best", () =>
  withFolder(async (dir) => {
    const tuning = { learningRates: [0.03, 1e-7], batches: [2, 4], epochs: [4] };
    const request = { ...seedsRequest(dir, writeBase(dir)), seeds: 1, tune: tuning };
    const abort = new AbortController();
    let updates = 0;
    const makeModel: MakeModel = async (config, shape) => {
      const made = await makeReference(config, shape);
      const update = made.model.update.bind(made.model);
      made.model.update = (options) => {
        update(options);
        if (++updates === 11) abort.abort();
      };
      return made;
    };
    const stopped = { ...request, makeModel, signal: abort.signal };
    await assertRejects(() => finetuneOverSeeds(classify as AnyTask, stopped), Interrupted);
    const again = { ...request, resume: true };
    const json = await finetuneOverSeeds(classify as AnyTask, again);
    const { chosen, settings } = json.tuning as {
      chosen: { learning_rate: number; batch: number };
      settings: { scores: number[] }[];
    };
    assertEquals(settings.map(({ scores }) => scores.length), [2, 2, 1, 1]);
    assertEquals(chosen.learning_rate, 0.03);
    const { config } = readRun(join(request.out, "run"));
    assertEquals(config.optimizer.learning_rate, 0.03);
    assertEquals(config.batch.rows * config.batch.accumulate, chosen.batch);
    assertEquals(config.steps, 4 * 8 / chosen.batch);
    assertEquals([...Deno.readDirSync(join(request.out, "tune"))].map(({ name }) => name), [
      "tuning.json",
    ]);
    // The same from the beginning, elsewhere.
    const other = await finetuneOverSeeds(classify as AnyTask, {
      ...request,
      out: join(dir, "whole"),
    });
    assertEquals(other.tuning, json.tuning);
    const odd = { ...request, out: join(dir, "odd"), tune: { ...tuning, batches: [3] } };
    await assertRejects(() => finetuneOverSeeds(classify as AnyTask, odd), UserError, "a multiple");
  }));
