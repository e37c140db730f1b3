import { UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import { exportRun } from "../../../model/training/export.ts";
import { openModelFolder } from "../../../model/weights/folder.ts";
import { readMetrics } from "../../../model/training/metrics.ts";
import { trainRun } from "../../../model/training/run.ts";
import { assert, assertEquals, assertThrows } from "../../assert.ts";
import { inventedCorpus, makeReference, silentReporter, withFolder } from "../helpers.ts";

Deno.test("exportRun() writes the chosen checkpoint with a card filled from the run", () =>
  withFolder(async (dir) => {
    const run = join(dir, "run");
    const out = join(dir, "model");
    await trainRun({
      corpus: inventedCorpus(),
      init: "random:tiny",
      out: run,
      config: {
        steps: 4,
        batch: { rows: 1 },
        checkpoint: { every: 2, keep: 5 },
        validation: { every: 2 },
      },
      resume: false,
      makeModel: makeReference,
      reporter: silentReporter(),
      signal: new AbortController().signal,
    });
    const result = exportRun(run, out);
    const folder = openModelFolder(out);
    folder.close();
    assertEquals([result.step, folder.config.hiddenSize, folder.config.vocabSize], [4, 64, 21]);
    const loss = readMetrics(run).at(-1)!.validation_loss!;
    assertEquals(result.validationPerplexity, Math.exp(loss));
    const card = Deno.readTextFileSync(join(out, "README.md"));
    for (const part of ["library_name: transformers", `value: ${Math.exp(loss)}`, "# model"]) {
      assert(card.includes(part), part);
    }
    assertEquals(
      Deno.readFileSync(join(out, "model.safetensors")),
      Deno.readFileSync(join(result.checkpoint, "model.safetensors")),
    );
    assertEquals(exportRun(run, join(dir, "two"), 2).step, 2);
    assertThrows(() => exportRun(run, out), UserError, "it holds");
    assertThrows(() => exportRun(run, join(dir, "three"), 3), UserError, "those of the steps 2, 4");
    assertThrows(() => exportRun(dir, join(dir, "three")), UserError, "has no run.json");
  }));
