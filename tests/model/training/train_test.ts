import { Interrupted, UserError } from "../../../core/errors.ts";
import { exists } from "../../../core/files.ts";
import { openSafetensors } from "../../../core/safetensors.ts";
import { join } from "../../../core/std.ts";
import { checkpointPath, listCheckpoints } from "../../../model/training/checkpoint.ts";
import { exportRun } from "../../../model/training/export.ts";
import { type ModelFolder, openModelFolder } from "../../../model/weights/folder.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { readMetrics } from "../../../model/training/metrics.ts";
import { parameterList } from "../../../model/mamba/parameters.ts";
import { evaluatePerplexity } from "../../../model/training/perplexity.ts";
import { ReferenceModel } from "../../../model/mamba/reference.ts";
import { reportAfterValidations } from "../../../model/report/run_report.ts";
import { readRun } from "../../../model/training/run_file.ts";
import { readEvents } from "../../../model/training/tensorboard.ts";
import { type TrainRequest, trainRun } from "../../../model/training/run.ts";
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "../../assert.ts";
import {
  inventedCorpus,
  makeReference,
  MINIATURE,
  silentReporter,
  withFolder,
} from "../helpers.ts";
import { observed, prepare } from "./miniature_run.ts";

const NORM = "backbone.norm_f.weight";

/** Every parameter of a folder. */
const allOf = (folder: ModelFolder) =>
  new Map(parameterList(folder.config).map((p) => [p.name, folder.read(p.name)]));

Deno.test("trainRun() learns, and leaves a whole run folder", () =>
  withFolder(async (dir) => {
    const request = prepare(dir, {
      config: {
        steps: 60,
        batch: { rows: 4 },
        optimizer: { learning_rate: 0.02 },
        checkpoint: { every: 20, keep: 2 },
        validation: { every: 30 },
      },
    });
    const listener = reportAfterValidations(request.out);
    const result = await trainRun({ ...request, listener });
    const metrics = readMetrics(request.out);
    assertEquals(metrics.map((m) => m.step), Array.from({ length: 60 }, (_, i) => i + 1));
    assertEquals(metrics.at(-1)!.tokens, 60 * 4 * 12);
    assert(metrics[0]!.loss > 2.9 && metrics.at(-1)!.loss < 0.8 * metrics[0]!.loss, "loss falls");
    assert(
      metrics.filter((m) => m.validation_loss !== undefined).map((m) => m.step).join() === "30,60",
    );
    assertEquals(result.validationLoss, metrics.at(-1)!.validation_loss);
    assert(result.finished && result.loss === metrics.at(-1)!.loss);
    const kept = listCheckpoints(request.out).map((c) => c.step);
    assertEquals(kept.slice(-2), [40, 60]);
    assertEquals(JSON.parse(Deno.readTextFileSync(join(request.out, "DONE"))).step, 60);
    const run = readRun(request.out);
    assertEquals(run.config.optimizer.beta2, 0.95);
    assertEquals(run.device, "float64 reference");
    assertEquals(run.parameters, parameterList(MINIATURE).reduce((sum, p) => sum + p.size, 0));
    const events = [...Deno.readDirSync(request.out)].find((e) => e.name.startsWith("events."))!;
    const read = readEvents(Deno.readFileSync(join(request.out, events.name)), events.name).slice(
      1,
    );
    assertEquals(read.map((e) => e.scalars.loss), metrics.map((m) => Math.fround(m.loss)));
    assert(exists(join(request.out, "report.html")), "rebuilt at each validation");
    using file = openSafetensors(join(result.checkpoint, "model.safetensors"));
    assertEquals(file.metadata, { format: "pt" });
    assert(Deno.readTextFileSync(join(result.checkpoint, "README.md")).includes("# run"));
  }));

Deno.test("trainRun() keeps a moving average of the weights, through a stop too", () =>
  withFolder(async (dir) => {
    const config = {
      steps: 9,
      batch: { rows: 2 },
      optimizer: { learning_rate: 0.01 },
      average: { decay: 0.9 },
      checkpoint: { every: 0 },
      validation: { every: 9 },
    };
    // By hand, in float64, from the weights after every step but the last.
    const average = new Map(
      parameterList(MINIATURE).map((p) =>
        [p.name, Float64Array.from(initialParameters(MINIATURE, 7)(p.name))] as const
      ),
    );
    const takeIn = async (model: Pick<ReferenceModel, "readParameters">) => {
      for (const [name, values] of await model.readParameters()) {
        const mean = average.get(name)!;
        values.forEach((v, i) => mean[i] = 0.9 * mean[i]! + 0.1 * v);
      }
    };
    const seen: Promise<void>[] = [];
    const makeModel = observed((step, model) => step > 1 && seen.push(takeIn(model)));
    const whole = prepare(dir, { out: join(dir, "whole"), config, makeModel });
    await trainRun(whole);
    await Promise.all(seen);
    const out = join(dir, "model");
    const exported = exportRun(whole.out, out, "last", "average");
    // The validation loss is the average's, so the card has it.
    Deno.removeSync(join(out, "tokenizer.json")); // it names ids only
    const evaluated = await evaluatePerplexity({
      model: out,
      corpus: whole.corpus,
      split: "validation",
      batchSize: 2,
      makeModel: makeReference,
      reporter: silentReporter(),
    });
    assertAlmostEquals(exported.validationPerplexity!, evaluated.perplexity, 1e-5);
    assertStringIncludes(
      Deno.readTextFileSync(join(out, "README.md")),
      "exponential moving average, decay 0.9",
    );
    const scored = exportRun(whole.out, join(dir, "scored"));
    assertEquals([scored.weights, scored.validationPerplexity], [
      "average",
      exported.validationPerplexity,
    ]);
    const trainedOut = exportRun(whole.out, join(dir, "trained"), "last", "trained");
    assertEquals(trainedOut.validationPerplexity, undefined);
    const folder = openModelFolder(out);
    const trained = openModelFolder(checkpointPath(whole.out, 9));
    await takeIn({ readParameters: () => Promise.resolve(allOf(trained)) });
    trained.close();
    for (const [name, values] of average) {
      folder.read(name).forEach((v, i) => assertAlmostEquals(v, values[i]!, 1e-6, name));
    }
    folder.close();
    const abort = new AbortController();
    const stopped = join(dir, "stopped");
    const stopping = observed((step) => step === 5 && abort.abort());
    const request = prepare(dir, {
      out: stopped,
      config,
      makeModel: stopping,
      signal: abort.signal,
    });
    await assertRejects(() => trainRun(request), Interrupted);
    await trainRun(prepare(dir, { out: stopped, config: {}, resume: true }));
    const [a, b] = [whole.out, stopped].map((run) =>
      Deno.readFileSync(join(checkpointPath(run, 9), "average.safetensors"))
    );
    assertEquals(a, b);
    const none = prepare(dir, { out: join(dir, "none"), config: { steps: 1 } });
    await trainRun(none);
    assertThrows(
      () => exportRun(none.out, join(dir, "no"), "last", "average"),
      UserError,
      "the run keeps none",
    );
  }));

Deno.test("an average that starts at random weights forgets them", () =>
  withFolder(async (dir) => {
    const config = {
      steps: 3,
      batch: { rows: 2 },
      optimizer: { learning_rate: 0.01 },
      average: { decay: 0.3 },
      checkpoint: { every: 1, keep: 3 },
    };
    const seen = new Map<number, Map<string, Float32Array>>();
    const makeModel = observed((step, model) => {
      model.readParameters().then((values) => seen.set(step - 1, values));
    });
    const request = prepare(dir, { init: "random:tiny", config, makeModel });
    await trainRun(request);
    // After update n the mean moves by 1 - min(0.3, (1 + n) / (10 + n)): 9/11, 9/12, and then 0.7.
    const [first, ...rest] = seen.get(0)?.get(NORM) ?? [];
    assert(first !== undefined && rest.length > 0);
    let average = first;
    for (const [n, fresh] of [[1, 9 / 11], [2, 9 / 12], [3, 0.7]] as const) {
      using weights = openSafetensors(join(checkpointPath(request.out, n), "model.safetensors"));
      using averages = openSafetensors(join(checkpointPath(request.out, n), "average.safetensors"));
      const now = weights.floats(NORM)[0] ?? NaN;
      assert(now !== average, "the weight moves");
      average += fresh * (now - average);
      assertAlmostEquals(averages.floats(NORM)[0] ?? NaN, average, 1e-6);
    }
  }));

Deno.test("trainRun() with accumulation equals one large batch", () =>
  withFolder(async (dir) => {
    const config = (rows: number, accumulate: number) => ({
      steps: 4,
      batch: { rows, accumulate },
      optimizer: { learning_rate: 0.01 },
    });
    const runs = [[6, 1], [2, 3], [1, 6]].map(([rows, accumulate]) =>
      prepare(dir, { out: join(dir, `run-${rows}`), config: config(rows!, accumulate!) })
    );
    const weights = [];
    for (const request of runs) {
      await trainRun(request);
      using file = openSafetensors(join(checkpointPath(request.out, 4), "model.safetensors"));
      weights.push(new Map([...file.tensors.keys()].map((n) => [n, file.floats(n)])));
      const [first, own] = [readMetrics(runs[0]!.out), readMetrics(request.out)];
      own.forEach((m, i) => assertAlmostEquals(m.loss, first[i]!.loss, 1e-6));
    }
    for (const [name, values] of weights[0]!) {
      for (const other of weights.slice(1)) {
        other.get(name)!.forEach((v, i) => assertAlmostEquals(v, values[i]!, 1e-6, name));
      }
    }
  }));

Deno.test("trainRun() stops at a loss that is not a number, naming step, tensor and checkpoint", () =>
  withFolder(async (dir) => {
    const bad = "backbone.layers.1.mixer.D";
    const makeModel = observed((step, model) => step === 8 && model.gradients.get(bad)!.fill(NaN));
    const request = prepare(dir, { makeModel });
    const error = await assertRejects(() => trainRun(request), UserError, "stopped at step 8");
    assert(error.message.includes("the gradient norm is NaN"), error.message);
    assert(error.message.includes(checkpointPath(request.out, 5)), error.message);
    assertEquals(readMetrics(request.out).at(-1)!.step, 7);
  }));

Deno.test("trainRun() keeps the best checkpoint besides the last ones", () =>
  withFolder(async (dir) => {
    // A learning rate that wrecks the model after a while: the best is early.
    const config = {
      steps: 30,
      batch: { rows: 4 },
      optimizer: { learning_rate: 3 },
      schedule: { kind: "linear", warmup: 30 },
      checkpoint: { every: 5, keep: 1 },
      validation: { every: 5 },
    };
    const request = prepare(dir, { config });
    await trainRun(request);
    const losses = readMetrics(request.out).filter((m) => m.validation_loss !== undefined);
    const best = losses.reduce((a, b) => b.validation_loss! < a.validation_loss! ? b : a).step;
    assert(best < 30);
    assertEquals(listCheckpoints(request.out).map((c) => c.step), [best, 30]);
  }));

Deno.test("trainRun() refuses bad input before it writes anything", () =>
  withFolder(async (dir) => {
    const good = inventedCorpus();
    const fails = async (changes: Partial<TrainRequest>, message: string) => {
      await assertRejects(() => trainRun(prepare(dir, changes)), UserError, message);
      assert(!exists(join(dir, "run")), message);
    };
    await fails({ corpus: inventedCorpus({ sequenceLength: 0 }) }, "sequence length is 0");
    await fails({ corpus: inventedCorpus({ rows: { train: 0 } }) }, "train split is empty");
    await fails(
      { corpus: inventedCorpus({ rows: { validation: 0 } }) },
      "validation split is empty",
    );
    await fails({ corpus: { ...good, tokenizerSha256: "0".repeat(64) } }, "another tokenizer");
    await fails({ corpus: { ...good, vocabularySize: 25 } }, "has 25 ids");
    await fails({ corpus: { ...good, endOfText: 3 } }, "ends documents with id 3");
    await fails(
      { init: join(dir, "nowhere") },
      "neither a model folder, nor a Hugging Face id, nor random:",
    );
    await fails({ init: "random:huge" }, 'Unknown preset "huge"');
    await fails({ init: undefined }, "--init");
    await fails({ config: { steps: 0 } }, "steps is 0");
    await fails({ resume: true }, "has no run.json");
    await trainRun(prepare(dir, { config: { steps: 1 } }));
    const again = (changes: Partial<TrainRequest>, message: string) =>
      assertRejects(() => trainRun(prepare(dir, changes)), UserError, message);
    await again({}, "there is one already; go on with it by --resume");
    await again({ resume: true, init: "random:tiny" }, "it was started from");
    const other = { ...good, manifestSha256: "1".repeat(64) };
    await again({ resume: true, corpus: other }, "is not the one it was started with");
  }));
