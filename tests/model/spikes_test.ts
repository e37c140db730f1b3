import { Interrupted, UserError } from "../../core/errors.ts";
import { join } from "../../core/std.ts";
import { checkpointPath, listCheckpoints, openCheckpoint } from "../../model/checkpoint.ts";
import type { TrainingCorpus } from "../../model/corpus.ts";
import { deviceModel } from "../../model/device_model.ts";
import { readMetrics } from "../../model/metrics.ts";
import { SpikeWatch } from "../../model/spikes.ts";
import { type TrainRequest, trainRun } from "../../model/train_run.ts";
import type { MakeModel, TrainableModel } from "../../model/types.ts";
import { sampleRow } from "../../pipeline/tokens/sampler.ts";
import { assert, assertAlmostEquals, assertEquals, assertRejects } from "../assert.ts";
import { inventedCorpus, makeReference, silentReporter, withFolder } from "./helpers.ts";
import { readingRun } from "./reading_run.ts";

Deno.test("SpikeWatch finds what lies far above the steps before", () => {
  const figures = (i: number) => ({ loss: 2 + 0.1 * Math.sin(i), gradNorm: 1 + 0.1 * Math.cos(i) });
  const steps = Array.from({ length: 30 }, (_, i) => figures(i));
  const watch = new SpikeWatch(4, 40, steps.slice(0, 9));
  assertEquals(watch.limits, { loss: Infinity, gradNorm: Infinity });
  for (const step of steps.slice(9)) assertEquals(watch.observe(step), []);
  const { limits } = watch, going = new SpikeWatch(4, 40, steps);
  assertEquals(going.limits, limits);
  const mean = steps.reduce((sum, s) => sum + s.loss, 0) / 30;
  const deviation = Math.sqrt(steps.reduce((sum, s) => sum + (s.loss - mean) ** 2, 0) / 29);
  assertAlmostEquals(limits.loss, mean + 4 * deviation, 1e-9);
  const [spike, ...others] = watch.observe({ loss: mean + 7 * deviation, gradNorm: 1 });
  assertEquals([spike!.what, others.length], ["loss", 0]);
  assertAlmostEquals(spike!.deviations, 7, 1e-6);
  assertEquals(new SpikeWatch(0, 40, steps).observe({ loss: 1e9, gradNorm: 1e9 }), []);
});

/** Rows of 0, 13, 13, 13 spoil the step they are in. */
const spoils = (row: ArrayLike<number>) => row[1] === 13 && row[2] === 13 && row[3] === 13;

/** A corpus whose rows are never seen twice here, some of them spoilt. */
function spoiltCorpus(base: TrainingCorpus, spoilt: (index: number) => boolean): TrainingCorpus {
  const rows = inventedCorpus({ rows: { train: 400 } });
  return {
    ...base,
    split(name) {
      const source = rows.split(name);
      return {
        rows: source.rows,
        row(index) {
          const row = source.row(index);
          row.fill(name === "train" && spoilt(index) ? 13 : 7, 1, 4);
          return row;
        },
      };
    },
  };
}

/** A model for which spoilt rows weigh a thousand times as much; `see` sees it before each update. */
const spoiling = (
  see: (step: number, model: TrainableModel) => void = () => {},
  makeModel: MakeModel = makeReference,
): MakeModel =>
async (config, shape) => {
  const made = await makeModel(config, shape), { model } = made;
  const { batchSize, sequenceLength } = shape;
  const accumulate = model.accumulate.bind(model), update = model.update.bind(model);
  model.accumulate = (batch, scale) => {
    const starts = Array.from({ length: batchSize }, (_, r) => r * sequenceLength);
    const bad = starts.some((at) => spoils(batch.tokens.subarray(at)));
    accumulate(batch, bad ? 1000 * scale : scale);
  };
  model.update = (options) => {
    see(options.step, model);
    update(options);
  };
  return made;
};

/** A run of 60 steps of 2 rows, with one spoilt row that comes in step 41. */
function prepare(dir: string, name: string, action: string, changes: Partial<TrainRequest> = {}) {
  const request = readingRun(dir, name, {
    makeModel: spoiling(),
    config: {
      steps: 60,
      batch: { rows: 2 },
      optimizer: { learning_rate: 0.005 },
      average: { decay: 0.9 },
      checkpoint: { every: 15, keep: 9 },
      validation: { every: 7, samples: 0 },
      spikes: { action, z_score: 12, window: 40 },
    },
    ...changes,
  });
  return { ...request, corpus: spoiltCorpus(request.corpus, (index) => index === SPOILT) };
}

/** The row that comes in step 41. */
const SPOILT = sampleRow(400, 0, 81);

const bytesOf = (run: string, step: number) =>
  ["model.safetensors", "optimizer.safetensors", "average.safetensors"].map((name) =>
    Deno.readFileSync(join(checkpointPath(run, step), name))
  );

Deno.test("spikes.action skip leaves a spiking step's update out, through a stop too", () =>
  withFolder(async (dir) => {
    const seen = new Map<number, Promise<Map<string, Float32Array>>>();
    const whole = prepare(dir, "whole", "skip", {
      makeModel: spoiling((step, model) => seen.set(step, model.readParameters())),
    });
    await trainRun(whole);
    const metrics = readMetrics(whole.out);
    assertEquals(metrics.filter((m) => m.skipped).map((m) => m.step), [41]);
    assert(metrics[40]!.loss > 100 && metrics[41]!.loss < 10);
    const { logged } = whole.reporter as ReturnType<typeof silentReporter>;
    const line = logged.find((l) => l.startsWith("Step 41: the loss"))!;
    assert(line.endsWith("; the update was left out"), line);
    // The weights before update 41 and before update 42 are the same.
    assertEquals(await seen.get(42)!, await seen.get(41)!);
    const stopAt = 30 + Math.floor(25 * Math.random()), abort = new AbortController();
    const stopped = prepare(dir, "stopped", "skip", {
      makeModel: spoiling((step) => step === stopAt && abort.abort()),
      signal: abort.signal,
    });
    await assertRejects(() => trainRun(stopped), Interrupted);
    await trainRun({ ...prepare(dir, "stopped", "skip"), config: {}, resume: true });
    assertEquals(bytesOf(stopped.out, 60), bytesOf(whole.out, 60), `stopped at ${stopAt}`);
    const logging = prepare(dir, "logging", "log");
    await trainRun(logging);
    assertEquals(readMetrics(logging.out).filter((m) => m.skipped), []);
  }));

for (const place of ["reference", "device"] as const) {
  const base = place === "device" ? deviceModel() : makeReference;
  Deno.test(`spikes.action rollback goes back to a checkpoint and past the rows: ${place}`, () =>
    withFolder(async (dir) => {
      const whole = prepare(dir, "whole", "rollback", { makeModel: spoiling(undefined, base) });
      await trainRun(whole);
      const { logged } = whole.reporter as ReturnType<typeof silentReporter>;
      assert(
        logged.includes(
          "Going back from step 41 to step 30, and on without the 22 rows between them",
        ),
        logged.join("\n"),
      );
      const metrics = readMetrics(whole.out);
      assertEquals(metrics.map((m) => m.step), Array.from({ length: 60 }, (_, i) => i + 1));
      assert(metrics.every((m) => m.loss < 10));
      const end = openCheckpoint(checkpointPath(whole.out, 60));
      assertEquals([end.state.rows, end.state.tokens], [120 + 22, 60 * 2 * 12]);
      end.close();
      // Step 35, the best so far, was saved before the spike and again after going back.
      const again = openCheckpoint(checkpointPath(whole.out, 35));
      assertEquals(again.state.rows, 70 + 22);
      assertEquals(again.state.best!.loss, metrics[34]!.validation_loss);
      again.close();
      const stopAt = 20 + Math.floor(38 * Math.random()), abort = new AbortController();
      const stopped = prepare(dir, "stopped", "rollback", {
        makeModel: spoiling((step) => step === stopAt && abort.abort(), base),
        signal: abort.signal,
      });
      await assertRejects(() => trainRun(stopped), Interrupted);
      await trainRun({ ...whole, out: stopped.out, config: {}, resume: true });
      assertEquals(bytesOf(stopped.out, 60), bytesOf(whole.out, 60), `stopped at ${stopAt}`);
    }));
}

Deno.test("a run that keeps spiking gives up, and one without checkpoints goes back to its start", () =>
  withFolder(async (dir) => {
    const config = {
      steps: 60,
      batch: { rows: 2 },
      optimizer: { learning_rate: 0.005 },
      checkpoint: { every: 0 },
      spikes: { action: "rollback", z_score: 12, window: 40 },
    };
    const request = prepare(dir, "spoilt", "rollback", { config });
    const late = new Set(Array.from({ length: 350 }, (_, i) => sampleRow(400, 0, i + 41)));
    const spoilt = spoiltCorpus(request.corpus, (index) => late.has(index));
    // Every later attempt starts spoilt, which then is the ordinary: only the first goes back.
    await trainRun({ ...request, corpus: spoilt });
    const { logged } = request.reporter as ReturnType<typeof silentReporter>;
    assertEquals(logged.filter((l) => l.startsWith("Going back from step 21 to step 0")).length, 1);
    assertEquals(listCheckpoints(request.out).map((c) => c.step), [60]);

    const always: MakeModel = async (...args) => {
      const made = await spoiling()(...args), report = made.model.report.bind(made.model);
      let steps = 0;
      made.model.report = async () => {
        const told = await report();
        return ++steps > 40 ? { ...told, gradNorm: NaN } : told;
      };
      return made;
    };
    const broken = prepare(dir, "broken", "rollback", { makeModel: always });
    await assertRejects(() => trainRun(broken), UserError, "Training stopped at step 31");
    const back = (broken.reporter as ReturnType<typeof silentReporter>).logged
      .filter((l) => l.startsWith("Going back"));
    assertEquals(back.length, 5);
  }));
