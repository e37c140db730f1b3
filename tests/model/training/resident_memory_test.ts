import { collectGarbage } from "../../../core/collect.ts";
import { join } from "../../../core/std.ts";
import { deviceModel } from "../../../model/mamba/device_model.ts";
import { trainRun } from "../../../model/training/run.ts";
import { openWatch } from "../../../model/watch/mod.ts";
import { assert, assertEquals } from "../../assert.ts";
import { inventedCorpus, silentReporter, withFolder } from "../helpers.ts";

Deno.test("nothing grows over 2,000 steps of tiny, a live page and validations included", () =>
  withFolder(async (dir) => {
    const run = join(dir, "run");
    const watch = await openWatch(run, 0, () => {});
    const reader = await fetch(`${watch.url}events`);
    const read = reader.text();
    const resident = new Map<number, number>();
    const result = await trainRun({
      corpus: inventedCorpus(),
      init: "random:tiny",
      out: run,
      config: {
        steps: 2000,
        batch: { rows: 1 },
        average: { decay: 0.99 },
        spikes: { action: "skip", z_score: 9 },
        checkpoint: { every: 500, keep: 1 },
        validation: { every: 100, rows: 2 },
      },
      resume: false,
      makeModel: deviceModel(),
      listener: {
        ...watch,
        step(metrics) {
          watch.step(metrics);
          if (metrics.step % 600 !== 200) return;
          collectGarbage();
          resident.set(metrics.step, Deno.memoryUsage().rss / 1e6);
        },
      },
      reporter: silentReporter(),
      signal: new AbortController().signal,
    });
    await watch.close("finished");
    assert((await read).includes("event: status"));
    assertEquals(result.step, 2000);
    const said = [...resident].map(([step, mb]) => `${step}: ${mb.toFixed(1)} MB`).join(", ");
    const at800 = resident.get(800)!;
    // Checkpoints are written by a worker that step 500 starts. 8 kB kept at each step would be 10 MB.
    assert(resident.get(1400)! < at800 + 10 && resident.get(2000)! < at800 + 10, said);
  }));
