import { Interrupted, UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import {
  checkpointPath,
  listCheckpoints,
  openCheckpoint,
} from "../../../model/training/checkpoint.ts";
import type { TrainingCorpus } from "../../../model/training/corpus.ts";
import { deviceModel } from "../../../model/mamba/device_model.ts";
import { readMetrics } from "../../../model/training/metrics.ts";
import { EMBEDDING } from "../../../model/mamba/parameters.ts";
import { readRun } from "../../../model/training/run_file.ts";
import { SpikeWatch } from "../../../model/training/spikes.ts";
import { type TrainRequest, trainRun } from "../../../model/training/run.ts";
import type { MakeModel, TrainableModel } from "../../../model/mamba/types.ts";
import { sampleRow } from "../../../pipeline/selection/sampler.ts";
import { assert, assertAlmostEquals, assertEquals, assertRejects } from "../../assert.ts";
import { inventedCorpus, makeReference, silentReporter, withFolder } from "../helpers.ts";
import { readingRun } from "./reading_run.ts";

Deno.test("SpikeWatch finds what lies far above the steps before", () => {
  const figures = (i: number) => ({ loss: 2 + 0.1 * Math.sin(i), gradNorm: 1 + 0.1 * Math.cos(i) });
  const steps = Array.from({ length: 30 }, (_, i) => figures(i));
  const watch = new SpikeWatch(4, 40, steps.slice(0, 9));
  assertEquals(watch.limits, { loss: Infinity, gradNorm: Infinity });
  for (const step of steps.slice(9)) assertEquals(watch.observe(step), []);
  const { limits } = watch;
  const going = new SpikeWatch(4, 40, steps);
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

/**
 * A model for which spoilt rows weigh `weight` times as much; `see` sees it before each update.
 * A weight of NaN makes loss and gradients NaN on the device itself.
 */
const spoiling = (
  see: (step: number, model: TrainableModel) => void = () => {},
  makeModel: MakeModel = makeReference,
  weight = 1000,
): MakeModel =>
async (config, shape) => {
  const made = await makeModel(config, shape);
  const { model } = made;
  const { batchSize, sequenceLength } = shape;
  const accumulate = model.accumulate.bind(model);
  const update = model.update.bind(model);
  model.accumulate = (batch, scale) => {
    const starts = Array.from({ length: batchSize }, (_, r) => r * sequenceLength);
    const bad = starts.some((at) => spoils(batch.tokens.subarray(at)));
    accumulate(batch, bad ? weight * scale : scale);
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

/** What two runs' metrics must share: everything but the clock. */
const withoutClock = (run: string) =>
  readMetrics(run).map(({ tokens_per_second: _, ...rest }) => rest);

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
    const stopAt = 30 + Math.floor(25 * Math.random());
    const abort = new AbortController();
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
      const { spikes } = readRun(whole.out);
      const [event] = spikes!;
      assertEquals(spikes!.length, 1);
      const { loss, grad_norm, what, ...rest } = event!;
      assertEquals(rest, { step: 41, action: "rollback", back_to: 30, rows_left_out: 22 });
      assert(loss! > 100 && grad_norm! > 100 && what.includes("loss"));
      const back = metrics.flatMap((m) => m.rolled_back_from ? [[m.step, m.rolled_back_from]] : []);
      assertEquals(back, [[31, 41]]);
      // Step 35, the best so far, was saved before the spike and again after going back.
      const again = openCheckpoint(checkpointPath(whole.out, 35));
      assertEquals(again.state.rows, 70 + 22);
      assertEquals(again.state.best!.loss, metrics[34]!.validation_loss);
      again.close();
      const stopAt = 20 + Math.floor(38 * Math.random());
      const abort = new AbortController();
      const stopped = prepare(dir, "stopped", "rollback", {
        makeModel: spoiling((step) => step === stopAt && abort.abort(), base),
        signal: abort.signal,
      });
      await assertRejects(() => trainRun(stopped), Interrupted);
      await trainRun({ ...whole, out: stopped.out, config: {}, resume: true });
      assertEquals(bytesOf(stopped.out, 60), bytesOf(whole.out, 60), `stopped at ${stopAt}`);
      assertEquals(readRun(stopped.out).spikes, spikes);
      assertEquals(withoutClock(stopped.out), withoutClock(whole.out));
    }));

  for (const action of place === "device" ? ["skip"] : ["skip", "rollback"]) {
    Deno.test(`spikes.action ${action} treats a loss that is NaN as a spike: ${place}`, () =>
      withFolder(async (dir) => {
        const seen = new Map<number, Promise<Map<string, Float32Array>>>();
        const see = (step: number, model: TrainableModel) => {
          if (step > 40 && step < 43) seen.set(step, model.readParameters());
        };
        const config = { z_score: 0, window: 40, action };
        const given = (name: string, makeModel: MakeModel) => {
          const request = prepare(dir, name, action, { makeModel });
          return { ...request, config: { ...request.config, spikes: config } };
        };
        const whole = given("whole", spoiling(see, base, NaN));
        await trainRun(whole);
        const metrics = readMetrics(whole.out);
        const figures = { loss: null, grad_norm: null };
        const event = { step: 41, what: ["loss" as const], ...figures };
        if (action === "skip") {
          assertEquals([metrics[40]!.skipped, metrics[40]!.loss], [1, NaN]);
          // The first tensor read; later ones may come after the update that follows.
          const [before, after] = [await seen.get(41)!, await seen.get(42)!];
          assertEquals(after.get(EMBEDDING), before.get(EMBEDDING));
          assertEquals(readRun(whole.out).spikes, [{ ...event, action: "skip" }]);
        } else {
          assert(metrics.every((m) => m.loss < 10));
          const wanted = { ...event, action: "rollback" as const, back_to: 30, rows_left_out: 22 };
          assertEquals(readRun(whole.out).spikes, [wanted]);
        }
        const { logged } = whole.reporter as ReturnType<typeof silentReporter>;
        assert(logged.some((line) => line.startsWith("Step 41: the loss is NaN")));
        if (place === "device") return; // the rest is the trainer's own
        // Cut off while the record is ahead of the newest checkpoint.
        let steps = 0;
        const cut = given(
          "cut",
          spoiling(
            () => {
              if (++steps === 43) throw new Error("power cut");
            },
            base,
            NaN,
          ),
        );
        await assertRejects(() => trainRun(cut), Error, "power cut");
        assertEquals(readRun(cut.out).spikes, readRun(whole.out).spikes);
        await trainRun({ ...whole, out: cut.out, init: undefined, config: {}, resume: true });
        assertEquals(bytesOf(cut.out, 60), bytesOf(whole.out, 60));
        assertEquals(readRun(cut.out).spikes, readRun(whole.out).spikes);
        assertEquals(withoutClock(cut.out), withoutClock(whole.out));
      }));
  }
}

Deno.test("spikes.action skip ends a run whose every update is left out", () =>
  withFolder(async (dir) => {
    const request = prepare(dir, "spoilt", "skip", {
      makeModel: spoiling(undefined, undefined, NaN),
    });
    const late = new Set(Array.from({ length: 350 }, (_, i) => sampleRow(400, 0, i + 41)));
    const corpus = spoiltCorpus(request.corpus, (index) => late.has(index));
    await assertRejects(
      () => trainRun({ ...request, corpus }),
      UserError,
      "Training stopped at step 26: the loss is NaN, with values that are not finite in " +
        "backbone.embeddings.weight, after leaving out 5 updates in a row",
    );
    assertEquals(readRun(request.out).spikes!.map((e) => e.step), [21, 22, 23, 24, 25]);
    assertEquals(readMetrics(request.out).map((m) => m.step).at(-1), 25);
  }));

Deno.test("a run that keeps spiking gives up, and one without checkpoints goes back to its start", () =>
  withFolder(async (dir) => {
    const config = {
      steps: 60,
      batch: { rows: 2 },
      optimizer: { learning_rate: 0.005 },
      checkpoint: { every: 0 },
      validation: { every: 0 }, // a new best would be saved, and gone back to
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
      const made = await spoiling()(...args);
      const report = made.model.report.bind(made.model);
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
