import { join } from "../../../core/std.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import type { RowSource, TrainingCorpus } from "../../../model/training/corpus.ts";
import { drawHeldOut, drawnSource } from "../../../model/training/held_out.ts";
import { readMetrics } from "../../../model/training/metrics.ts";
import { evaluatePerplexity } from "../../../model/training/perplexity.ts";
import { trainRun } from "../../../model/training/run.ts";
import { openScoredWeights } from "../../../model/training/scored_weights.ts";
import { writeModelFolder } from "../../../model/weights/folder.ts";
import { assert, assertEquals } from "../../assert.ts";
import {
  inventedCorpus,
  makeReference,
  MINIATURE,
  MINIATURE_TOKENIZER,
  silentReporter,
  withFolder,
} from "../helpers.ts";

const source = (rows: number, first = 0): RowSource => ({
  rows,
  row: (index) => Uint16Array.of(first + index),
});

Deno.test("held-out rows are drawn over the whole split by the seed, each once", () => {
  const [part] = drawHeldOut(source(1000), 50, 7);
  const { rows } = part!;
  assertEquals(new Set(rows).size, 50);
  assertEquals(rows, [...rows].sort((a, b) => a - b));
  // The first 50 rows are the longest documents; the mean of a fair draw is near the middle.
  const mean = rows.reduce((a, b) => a + b) / 50;
  assert(mean > 350 && mean < 650, `${mean}`);
  assertEquals(drawHeldOut(source(1000), 50, 7)[0]!.rows, rows);
  assert(drawHeldOut(source(1000), 50, 8)[0]!.rows.join() !== rows.join());
  assertEquals(drawHeldOut(source(5), 64, 7)[0]!.rows, [0, 1, 2, 3, 4]);
  const drawn = drawnSource(part!);
  assertEquals([drawn.rows, drawn.row(3)[0]], [50, rows[3]]);
});

Deno.test("of a mix, held-out rows come from each corpus by its share", () => {
  const mix: RowSource = {
    ...source(1100),
    parts: [
      { name: "a", source: source(1000), share: 0.75 },
      { name: "b", source: source(100, 5000), share: 0.25 },
    ],
  };
  const sizes = (count: number) => drawHeldOut(mix, count, 1).map((p) => [p.name, p.rows.length]);
  assertEquals(sizes(64), [["a", 48], ["b", 16]]);
  // All of the smaller corpus, and no more of the other than its share allows.
  assertEquals(sizes(1100), [["a", 300], ["b", 100]]);
  assertEquals(sizes(1), [["a", 1], ["b", 1]]);
});

/** A corpus of two parts with losses of their own. */
function twoCorpora(): TrainingCorpus {
  const corpora = [inventedCorpus(), inventedCorpus({ rows: { validation: 4 } })];
  const [first, second] = corpora as [TrainingCorpus, TrainingCorpus];
  return {
    ...first,
    split(name) {
      if (name !== "validation") return first.split(name);
      const parts = [
        { name: "one", source: first.split(name), share: 0.5 },
        {
          name: "two",
          source: { ...source(4), row: (i: number) => second.split("test").row(i % 3) },
        },
      ].map((part) => ({ ...part, share: 0.5 }));
      return { ...first.split(name), parts };
    },
  };
}

Deno.test("training on a mix tells the validation loss of each corpus", () =>
  withFolder(async (dir) => {
    const init = join(dir, "init");
    writeModelFolder(init, {
      config: MINIATURE,
      read: initialParameters(MINIATURE, 1),
      tokenizer: MINIATURE_TOKENIZER,
    });
    const reporter = silentReporter();
    const out = join(dir, "run");
    await trainRun({
      corpus: twoCorpora(),
      init,
      out,
      config: {
        steps: 4,
        batch: { rows: 2 },
        optimizer: { learning_rate: 0.02 },
        validation: { every: 2, rows: 6, samples: 0 },
        average: { decay: 0.5 },
      },
      resume: false,
      makeModel: makeReference,
      reporter,
      signal: new AbortController().signal,
    });
    const validated = readMetrics(out).filter((m) => m.validation_loss !== undefined);
    assertEquals(validated.map((m) => m.step), [2, 4]);
    for (const line of validated) {
      const one = line["validation_loss:one"];
      const two = line["validation_loss:two"];
      const whole = line.validation_loss!;
      assert(Math.min(one!, two!) <= whole && whole <= Math.max(one!, two!), `${one} ${two}`);
      assert(one !== two);
    }
    assert(reporter.logged.some((line) => /^Validation after step 2: one .*, two /.test(line)));

    // A run as a model is its best checkpoint, with the average that its validation scored.
    const logged: string[] = [];
    const scored = openScoredWeights(out, (line) => logged.push(line));
    const read = scored.read("backbone.norm_f.weight");
    scored.close();
    assert(logged.join().includes("averaged weights"), logged.join());
    const best = validated.reduce((a, b) => a.validation_loss! <= b.validation_loss! ? a : b);
    const checkpoint = join(out, "checkpoints", `step-${String(best.step).padStart(8, "0")}`);
    const again = openScoredWeights(checkpoint);
    assertEquals(again.read("backbone.norm_f.weight"), read);
    again.close();
    const run = JSON.parse(Deno.readTextFileSync(join(out, "run.json")));
    run.config.validation.weights = "trained";
    Deno.writeTextFileSync(join(out, "run.json"), JSON.stringify(run));
    const trained = openScoredWeights(checkpoint);
    assert(trained.read("backbone.norm_f.weight").join() !== read.join());
    trained.close();
  }));

Deno.test("evaluatePerplexity() takes a run, and draws the rows it is limited to", () =>
  withFolder(async (dir) => {
    const model = join(dir, "model");
    writeModelFolder(model, { config: MINIATURE, read: initialParameters(MINIATURE, 2) });
    const corpus = inventedCorpus({ rows: { validation: 40 } });
    const seen: number[] = [];
    const result = await evaluatePerplexity({
      model,
      corpus,
      split: "validation",
      rows: 10,
      seed: 3,
      batchSize: 4,
      makeModel: makeReference,
      onRow: (row) => seen.push(row),
      reporter: silentReporter(),
    });
    assertEquals([result.rows, seen.length], [10, 10]);
    assert(Math.max(...seen) > 10, seen.join());
    assertEquals(seen, drawHeldOut(corpus.split("validation"), 10, 3)[0]!.rows);
  }));
