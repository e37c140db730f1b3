import { Interrupted } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import { checkpointPath, openCheckpoint } from "../../../model/training/checkpoint.ts";
import { deviceModel } from "../../../model/mamba/device_model.ts";
import { writeModelFolder } from "../../../model/weights/folder.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { readMetrics } from "../../../model/training/metrics.ts";
import { type TrainRequest, trainRun } from "../../../model/training/run.ts";
import type { MakeModel } from "../../../model/mamba/types.ts";
import { assert, assertAlmostEquals, assertEquals, assertRejects } from "../../assert.ts";
import {
  inventedCorpus,
  makeReference,
  MINIATURE,
  silentReporter,
  withFolder,
} from "../helpers.ts";

const STEPS = 16;
/** Far above what a run begins with or grows to. */
const FIRST = 2 ** 27;

function prepare(dir: string, name: string, changes: Partial<TrainRequest> = {}): TrainRequest {
  return {
    corpus: inventedCorpus(),
    init: join(dir, "init"),
    out: join(dir, name),
    config: {
      precision: "mixed",
      steps: STEPS,
      batch: { rows: 2, accumulate: 2 },
      optimizer: { learning_rate: 0.01 },
      checkpoint: { every: 5 },
      spikes: { z_score: 2, window: 8, action: "skip" },
    },
    resume: false,
    makeModel: deviceModel(),
    reporter: silentReporter(),
    signal: new AbortController().signal,
    ...changes,
  };
}

/** Models whose runs begin at a loss scale at which this one's gradients overflow. */
const overflowing = (onUpdate: (step: number) => void = () => {}): MakeModel => async (...args) => {
  const made = await deviceModel()(...args);
  const { model } = made;
  const write = model.writeLossScale!.bind(model);
  const update = model.update.bind(model);
  model.writeLossScale = (scale) => write(scale ?? { scale: FIRST, good: 0, skipped: 0 });
  model.update = (options) => {
    onUpdate(options.step);
    update(options);
  };
  return made;
};

Deno.test("trainRun() in mixed precision follows the reference", () =>
  withFolder(async (dir) => {
    writeModelFolder(join(dir, "init"), {
      config: MINIATURE,
      read: initialParameters(MINIATURE, 7),
    });
    const config = { ...prepare(dir, "").config, spikes: {} };
    const mixed = prepare(dir, "mixed", { config });
    const reference = prepare(dir, "reference", { config, makeModel: makeReference });
    for (const request of [mixed, reference]) await trainRun(request);
    const want = readMetrics(reference.out);
    readMetrics(mixed.out).forEach((got, i) => {
      assertAlmostEquals(got.loss, want[i]!.loss, 2e-3 * want[i]!.loss);
      assertEquals([got.loss_scale, got.skipped], [65536, undefined]);
    });
  }));

Deno.test("overflowing steps are left out and counted; a stopped run ends with the same bytes", () =>
  withFolder(async (dir) => {
    writeModelFolder(join(dir, "init"), {
      config: MINIATURE,
      read: initialParameters(MINIATURE, 7),
    });
    const lines: string[] = [];
    const reporter = silentReporter();
    const log = (text: string) => void lines.push(text);
    const whole = prepare(dir, "whole", {
      makeModel: overflowing(),
      reporter: Object.assign(Object.create(reporter), { log }),
    });
    await trainRun(whole);
    const metrics = readMetrics(whole.out);
    const left = metrics.filter((m) => Number.isNaN(m.grad_norm));
    assert(left.length >= 2 && left.length < STEPS / 2, `${left.length} steps overflowed`);
    left.forEach((m, i) => {
      assertEquals([m.skipped, m.loss_scale], [1, FIRST / 2 ** (i + 1)]);
      const line = lines.find((l) => l.startsWith(`Step ${m.step}: a gradient overflowed f16`));
      assert(line?.includes(`loss scale is ${m.loss_scale}`), line);
    });
    const stateOf = (out: string) => {
      const checkpoint = openCheckpoint(checkpointPath(out, STEPS));
      checkpoint.close();
      return checkpoint.state;
    };
    const scale = FIRST / 2 ** left.length;
    const skipped = left.length;
    const good = STEPS - left.at(-1)!.step;
    assertEquals(stateOf(whole.out).lossScale, { scale, good, skipped });

    for (const stopAt of [1, 2 + Math.floor((STEPS - 2) * Math.random())]) {
      const abort = new AbortController();
      const name = `stopped${stopAt}`;
      const makeModel = overflowing((step) => step === stopAt && abort.abort());
      const stopped = prepare(dir, name, { makeModel, signal: abort.signal });
      await assertRejects(() => trainRun(stopped), Interrupted, `after step ${stopAt} of`);
      await trainRun({ ...prepare(dir, name), config: {}, resume: true });
      for (const file of ["model.safetensors", "optimizer.safetensors"]) {
        const [a, b] = [whole, stopped].map(({ out }) =>
          Deno.readFileSync(join(checkpointPath(out, STEPS), file))
        );
        assertEquals(a, b, `${file} after a stop at step ${stopAt}`);
      }
      assertEquals(stateOf(stopped.out), stateOf(whole.out));
    }
  }));
