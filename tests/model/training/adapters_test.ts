import { Interrupted, UserError } from "../../../core/errors.ts";
import { exists } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import { trainedParameters } from "../../../model/mamba/parameters.ts";
import { checkpointPath, openCheckpoint } from "../../../model/training/checkpoint.ts";
import { exportRun } from "../../../model/training/export.ts";
import { readMetrics } from "../../../model/training/metrics.ts";
import { trainRun } from "../../../model/training/run.ts";
import { openScoredWeights } from "../../../model/training/scored_weights.ts";
import { openModelFolder } from "../../../model/weights/folder.ts";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "../../assert.ts";
import { silentReporter, withFolder } from "../helpers.ts";
import { observed, prepare, withoutClock } from "./miniature_run.ts";

const CONFIG = {
  steps: 8,
  batch: { rows: 2 },
  optimizer: { learning_rate: 0.05 },
  lora: { targets: "in_proj,out_proj", rank: 2, alpha: 4 },
  average: { decay: 0.5 },
  checkpoint: { every: 4 },
  validation: { every: 8 },
};
const FILES = [
  "adapter_model.safetensors",
  "adapter_config.json",
  "optimizer.safetensors",
  "average.safetensors",
];

Deno.test("trainRun() with adapters: checkpoints hold these alone, and a stop changes no byte", () =>
  withFolder(async (dir) => {
    const reporter = silentReporter();
    const whole = prepare(dir, { out: join(dir, "whole"), config: CONFIG, reporter });
    await trainRun(whole);
    const metrics = readMetrics(whole.out);
    assert((metrics.at(-1)?.loss ?? NaN) < (metrics[0]?.loss ?? NaN), "the loss falls");
    const told = reporter.logged.find((line) => line.startsWith("Training ")) ?? "";
    assertStringIncludes(told, "adapters of rank 2 of 2 x in_proj, 2 x out_proj");
    const checkpoint = checkpointPath(whole.out, 8);
    assert(!exists(join(checkpoint, "model.safetensors")));
    const opened = openCheckpoint(checkpoint);
    const base = openModelFolder(join(dir, "init"));
    const trained = trainedParameters(opened.folder.config).map(({ name }) => name);
    assertEquals(trained.length, 8);
    const name = "backbone.layers.0.mixer.in_proj.weight";
    assertEquals(opened.folder.read(name), base.read(name));
    opened.close();

    const abort = new AbortController();
    const stopped = join(dir, "stopped");
    const makeModel = observed((step) => step === 5 && abort.abort());
    const { signal } = abort;
    const first = prepare(dir, { out: stopped, config: CONFIG, makeModel, signal });
    await assertRejects(() => trainRun(first), Interrupted);
    await assertRejects(
      () => trainRun(prepare(dir, { out: stopped, config: { lora: { rank: 3 } }, resume: true })),
      UserError,
      "with other adapters: it was begun with rank 2",
    );
    await trainRun(prepare(dir, { out: stopped, config: {}, resume: true }));
    for (const file of FILES) {
      const [a, b] = [whole.out, stopped].map((run) =>
        Deno.readFileSync(join(checkpointPath(run, 8), file))
      );
      assertEquals(a, b, file);
    }
    assertEquals(withoutClock(stopped), withoutClock(whole.out));

    // A run of adapters is evaluated as what validation scored: the base with averaged adapters.
    const scored = openScoredWeights(whole.out);
    const merged = join(dir, "merged");
    const result = exportRun(whole.out, merged, "last", "scored", () => {}, { merge: true });
    assertEquals([result.adapters, result.weights], [false, "average"]);
    const one = openModelFolder(merged);
    assertEquals(one.read(name), scored.read(name));
    assert(one.read(name).some((x, i) => x !== base.read(name)[i]));
    const norm = "backbone.norm_f.weight";
    assertEquals(one.read(norm), base.read(norm));
    const adapters = join(dir, "adapters");
    assertEquals(exportRun(whole.out, adapters).adapters, true);
    const apart = openModelFolder(adapters);
    assertEquals(apart.read(name), one.read(name));
    assert(exists(join(adapters, "README.md")) && exists(join(adapters, "tokenizer.json")));
    for (const folder of [scored, one, apart, base]) folder.close();
    assertThrows(
      () =>
        exportRun(whole.out, join(dir, "no"), "last", "scored", undefined, { layout: "mamba-ssm" }),
      UserError,
      "merge them with --merge",
    );
    // The adapters, and a run of them, begin another run: merged.
    const further = prepare(dir, {
      init: adapters,
      out: join(dir, "further"),
      config: { ...CONFIG, steps: 2, lora: { targets: "out_proj", rank: 1 } },
    });
    await trainRun(further);
    const second = openCheckpoint(checkpointPath(further.out, 2));
    const begun = openModelFolder(adapters);
    assertEquals(second.folder.read(name), begun.read(name));
    second.close();
    begun.close();
  }));

Deno.test("adapters are refused beside weights that no folder keeps, and where they match nothing", () =>
  withFolder(async (dir) => {
    const refused = async (changes: Parameters<typeof prepare>[1], message: string) => {
      const request = prepare(dir, changes);
      await assertRejects(() => trainRun(request), UserError, message);
      assert(!exists(request.out), "nothing is written");
    };
    await refused(
      { init: "random:tiny", config: CONFIG },
      "Cannot train adapters beside random:tiny",
    );
    const config = { ...CONFIG, lora: { targets: "q_proj" } };
    await refused({ config }, 'Cannot adapt "q_proj" by LoRA');
  }));
