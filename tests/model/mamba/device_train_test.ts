import { Interrupted } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import { checkpointPath } from "../../../model/training/checkpoint.ts";
import { deviceModel } from "../../../model/mamba/device_model.ts";
import { writeModelFolder } from "../../../model/weights/folder.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { readMetrics } from "../../../model/training/metrics.ts";
import { evaluatePerplexity } from "../../../model/training/perplexity.ts";
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

function prepare(dir: string, name: string, changes: Partial<TrainRequest> = {}): TrainRequest {
  return {
    corpus: inventedCorpus(),
    init: join(dir, "init"),
    out: join(dir, name),
    config: {
      steps: 10,
      batch: { rows: 2, accumulate: 2 },
      optimizer: { learning_rate: 0.01 },
      checkpoint: { every: 4 },
      validation: { every: 5 },
    },
    resume: false,
    makeModel: deviceModel(),
    reporter: silentReporter(),
    signal: new AbortController().signal,
    ...changes,
  };
}

Deno.test("trainRun() on the device follows the reference, and resumes to the same bytes", () =>
  withFolder(async (dir) => {
    const read = initialParameters(MINIATURE, 7);
    writeModelFolder(join(dir, "init"), { config: MINIATURE, read });
    const whole = prepare(dir, "whole");
    const reference = prepare(dir, "reference", {
      makeModel: makeReference,
    });
    await trainRun(whole);
    await trainRun(reference);
    const expected = readMetrics(reference.out);
    readMetrics(whole.out).forEach((got, i) => {
      const want = expected[i]!;
      assertAlmostEquals(got.loss, want.loss, 1e-4 * want.loss);
      assertAlmostEquals(got.grad_norm, want.grad_norm, 2e-3 * want.grad_norm);
      assertEquals(got.validation_loss === undefined, want.validation_loss === undefined);
    });
    const stopAt = 1 + Math.floor(9 * Math.random());
    const abort = new AbortController();
    const stopping: MakeModel = async (...args) => {
      const made = await deviceModel()(...args);
      const update = made.model.update.bind(made.model);
      made.model.update = (options) => {
        if (options.step === stopAt) abort.abort();
        update(options);
      };
      return made;
    };
    const stopped = prepare(dir, "stopped", { makeModel: stopping, signal: abort.signal });
    await assertRejects(() => trainRun(stopped), Interrupted, `after step ${stopAt} of 10`);
    await trainRun({ ...prepare(dir, "stopped"), config: {}, resume: true });
    for (const file of ["model.safetensors", "optimizer.safetensors"]) {
      const [a, b] = [whole, stopped].map(({ out }) =>
        Deno.readFileSync(join(checkpointPath(out, 10), file))
      );
      assertEquals(a, b, `${file} after a stop at step ${stopAt}`);
    }
  }));

Deno.test("evaluatePerplexity() on the device equals the reference", () =>
  withFolder(async (dir) => {
    const model = join(dir, "model");
    const read = initialParameters(MINIATURE, 7);
    writeModelFolder(model, { config: MINIATURE, read });
    const [device, reference] = await Promise.all(
      [deviceModel(), makeReference].map((makeModel) =>
        evaluatePerplexity({
          model,
          corpus: inventedCorpus(),
          split: "validation",
          batchSize: 2,
          makeModel,
          reporter: silentReporter(),
        })
      ),
    );
    assertAlmostEquals(device!.perplexity, reference!.perplexity, 1e-4 * reference!.perplexity);
    assertEquals(device!.tokens, reference!.tokens);
    assert(device!.interval.low < device!.perplexity);
  }));
