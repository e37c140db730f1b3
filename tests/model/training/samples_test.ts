import { Interrupted } from "../../../core/errors.ts";
import { openDevice } from "../../../kernels/open_device.ts";
import { DeviceError } from "../../../kernels/errors.ts";
import { join } from "../../../core/std.ts";
import { checkpointPath } from "../../../model/training/checkpoint.ts";
import { deviceModel } from "../../../model/mamba/device_model.ts";
import { exportRun } from "../../../model/training/export.ts";
import { openModelFolder } from "../../../model/weights/folder.ts";
import { readMetrics } from "../../../model/training/metrics.ts";
import { evaluatePerplexity } from "../../../model/training/perplexity.ts";
import { createRecurrentMamba } from "../../../model/mamba/recurrent.ts";
import { drawSamples, readSamples } from "../../../model/training/samples.ts";
import { trainRun } from "../../../model/training/run.ts";
import type { MakeModel } from "../../../model/mamba/types.ts";
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertStringIncludes,
} from "../../assert.ts";
import { reportAfterValidations } from "../../../model/report/run_report.ts";
import { byteTokenizer } from "../tasks/helpers.ts";
import { makeReference, silentReporter, withFolder } from "../helpers.ts";
import { readingRun } from "./reading_run.ts";

const textOf = (run: string) => Deno.readTextFileSync(join(run, "samples.jsonl"));

Deno.test("each validation draws samples, the same after a stop and a resumption", () =>
  withFolder(async (dir) => {
    const whole = readingRun(dir, "whole");
    await trainRun({ ...whole, listener: reportAfterValidations(whole.out) });
    const samples = readSamples(whole.out);
    assertEquals(samples.map((s) => s.step), [4, 4, 8, 8, 12, 12]);
    assertEquals(samples.map((s) => s.temperature), [0, 0.8, 0, 0.8, 0, 0.8]);
    assert(samples.every((s) => s.prompt === "no" && s.text.length > 0));
    const report = Deno.readTextFileSync(join(whole.out, "report.html"));
    assertStringIncludes(report, "What the model wrote");
    assertStringIncludes(report, readMetrics(whole.out).at(-1)!.validation_loss!.toFixed(4));
    const stopAt = 2 + Math.floor(10 * Math.random());
    const abort = new AbortController();
    const stopping: MakeModel = async (...args) => {
      const made = await makeReference(...args);
      const update = made.model.update.bind(made.model);
      made.model.update = (options) => {
        if (options.step === stopAt) abort.abort();
        update(options);
      };
      return made;
    };
    const stopped = readingRun(dir, "stopped", { makeModel: stopping, signal: abort.signal });
    await assertRejects(() => trainRun(stopped), Interrupted);
    await trainRun(readingRun(dir, "stopped", { config: {}, resume: true }));
    assertEquals(textOf(stopped.out), textOf(whole.out), `stopped at ${stopAt}`);
    const full: MakeModel = async (...args) => ({
      ...await makeReference(...args),
      recurrent: () => Promise.reject(new DeviceError("no room")),
    });
    const tight = readingRun(dir, "tight", { makeModel: full });
    await trainRun(tight);
    assertEquals(
      (tight.reporter as ReturnType<typeof silentReporter>).logged
        .filter((line) => line.includes("without samples")),
      ["Validations go without samples: no room"],
    );
    assertEquals(readMetrics(tight.out).length, 12);
    const none = readingRun(dir, "none");
    const without = { ...none.config, validation: { every: 4, samples: 0 } };
    await trainRun({ ...none, config: without });
    assertEquals(readSamples(none.out), []);
  }));

for (const place of ["device", "reference"] as const) {
  const makeModel = place === "device" ? deviceModel() : makeReference;
  Deno.test(`validations score the averaged weights and write with them: ${place}`, () =>
    withFolder(async (dir) => {
      const request = readingRun(dir, "run", { makeModel });
      const config = { ...request.config, average: { decay: 0.5 } };
      await trainRun({ ...request, config });
      const score = async (model: string) => {
        const { corpus, reporter } = request;
        const split = "validation";
        const made = { model, corpus, split, batchSize: 2, makeModel, reporter } as const;
        return (await evaluatePerplexity(made)).loss;
      };
      const losses = [];
      for (const weights of ["average", "trained"] as const) {
        const folder = join(dir, weights);
        exportRun(request.out, folder, "last", weights);
        losses.push(await score(folder));
      }
      const told = readMetrics(request.out).at(-1)!.validation_loss!;
      assertAlmostEquals(told, losses[0]!, 1e-6);
      assert(Math.abs(losses[1]! - losses[0]!) > 1e-4, "the two differ");
      const trained = readingRun(dir, "trained-run", { makeModel });
      const validation = { every: 4, weights: "trained", samples: 0 };
      await trainRun({ ...trained, config: { ...config, validation } });
      assertAlmostEquals(readMetrics(trained.out).at(-1)!.validation_loss!, losses[1]!, 1e-6);
      for (const file of ["model.safetensors", "optimizer.safetensors", "average.safetensors"]) {
        const [a, b] = [request, trained].map(({ out }) =>
          Deno.readFileSync(join(checkpointPath(out, 12), file))
        );
        assertEquals(a, b, `${file}: exchanging weights leaves no trace`);
      }
      if (place === "reference") return;
      const folder = openModelFolder(join(dir, "average"));
      const device = await openDevice();
      const model = await createRecurrentMamba(device, folder.config, folder.read);
      const options = { prompt: "no", count: 1, tokens: 6, seed: 0 };
      const [own] = await drawSamples(model, byteTokenizer(), options);
      assertEquals(readSamples(request.out).at(-2)!.text, own!.text);
      folder.close();
      model.destroy();
      device.destroy();
    }));
}
