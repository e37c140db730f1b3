import { lineInterval, StepLines } from "../../../model/training/lines.ts";
import { trainRun } from "../../../model/training/run.ts";
import { formatDuration } from "../../../core/reporter.ts";
import { writeRunReport } from "../../../model/report/run_report.ts";
import { flatten } from "../../../model/training/configuration.ts";
import { exportRun } from "../../../model/training/export.ts";
import { readMetrics, runFigures } from "../../../model/training/metrics.ts";
import { doneResult, readRun } from "../../../model/training/run_file.ts";
import { assert, assertEquals, assertStringIncludes } from "../../assert.ts";
import { inventedCorpus, silentReporter, withFolder } from "../helpers.ts";
import { prepare } from "./miniature_run.ts";

Deno.test("lineInterval() gives a run of any length some tens of lines", () => {
  assertEquals([1, 50, 51, 100, 101, 1000, 26_000].map(lineInterval), [1, 1, 2, 2, 5, 20, 1000]);
  for (let steps = 1; steps < 3e6; steps = Math.ceil(steps * 1.07)) {
    const lines = steps / lineInterval(steps);
    assert(lines <= 50 && (lines >= 19 || steps < 50), `${lines} lines of ${steps} steps`);
  }
});

Deno.test("a step's line has its figures under their heading, within 80 columns", () => {
  const reporter = silentReporter();
  const lines = new StepLines({ reporter, steps: 200_000, every: 100, memory: () => 12.3e9 });
  const metrics = {
    tokens: 1,
    loss: 10.123456,
    learning_rate: 0.0009812,
    grad_norm: 1.2345,
    tokens_per_second: 123456.7,
  };
  lines.began(0);
  lines.step({ step: 99, ...metrics });
  assertEquals(reporter.logged, []);
  lines.step({ step: 200_000, validation_loss: 2.5, ...metrics }, [{
    prompt: "Aspirin",
    text: " reduces\n the risk",
    temperature: 0,
    seed: 0,
  }]);
  assertEquals(reporter.logged, [
    "   step     loss  val loss       lr  grad norm  tokens/s    time left   memory",
    "200,000  10.1235    2.5000  9.81e-4      1.234   123,457          0 s  12.3 GB",
    '         after "Aspirin": "reduces the risk"',
  ]);
  assert(reporter.logged.every((line) => line.length < 80));
  // A narrower terminal has fewer columns, never a broken line.
  const narrow = silentReporter();
  new StepLines({ reporter: narrow, steps: 200_000, memory: () => 12.3e9, columns: 60 })
    .step({ step: 200_000, ...metrics });
  assertEquals(narrow.logged, [
    "   step     loss  val loss       lr  grad norm  tokens/s",
    "200,000  10.1235            9.81e-4      1.234   123,457",
  ]);
});

Deno.test("a run prints its steps, its validations and their samples", () =>
  withFolder(async (dir) => {
    const reporter = silentReporter();
    await trainRun(prepare(dir, { reporter, logEvery: 6 }));
    const steps = reporter.logged.filter((line) => /^ +\d+ {2}/.test(line));
    // Steps 6 and 12 by their turn, 4, 8 and 12 because they were validated.
    assertEquals(steps.map((line) => Number(line.slice(0, 4))), [4, 6, 8, 12]);
    const validated = steps.map((line) => line.slice(15, 23).trim() !== "");
    assertEquals(validated, [true, false, true, true]);
    assertStringIncludes(steps[0] ?? "", "B"); // the memory's unit
  }));

Deno.test("a run validates some times where nothing was said of it, and records its command", () =>
  withFolder(async (dir) => {
    const config = { steps: 12, batch: { rows: 3 }, checkpoint: { every: 0 } };
    const command = ["train", "--init", "random:tiny"];
    const request = prepare(dir, { config, command });
    await trainRun(request);
    const validated = readMetrics(request.out).filter((m) => m.validation_loss !== undefined);
    assertEquals(validated.map((m) => m.step), [5, 10, 12]);
    const { command: kept, config: whole } = readRun(request.out);
    assertEquals([kept, whole.validation.every], [command, 5]);
    const never = prepare(dir, {
      out: `${dir}/never`,
      config: { ...config, validation: { every: 0 } },
    });
    await trainRun(never);
    assert(readMetrics(never.out).every((m) => m.validation_loss === undefined));
    const none = prepare(dir, {
      out: `${dir}/none`,
      config,
      corpus: inventedCorpus({ rows: { validation: 0 } }),
    });
    await trainRun(none); // a corpus without a validation split is no error
    assertEquals(readRun(none.out).config.validation.every, 0);
  }));

Deno.test("report and figures of a run agree, and the report has every hyperparameter", () =>
  withFolder(async (dir) => {
    const request = prepare(dir, { command: ["train", "--corpus", "my corpus"] });
    const result = await trainRun(request);
    const html = Deno.readTextFileSync(writeRunReport(request.out));
    const metrics = readMetrics(request.out);
    const { tokens, tokensPerSecond, seconds } = runFigures(metrics);
    const last = metrics.at(-1);
    const told = { seconds, tokensPerSecond, tokens, loss: last?.loss };
    const figuresOf = (
      of: Record<string, unknown>,
    ) => [of.seconds, of.tokensPerSecond, of.tokens, of.loss];
    assertEquals(figuresOf({ ...result }), figuresOf(told));
    assertEquals(result.validationLoss, last?.validation_loss);
    assertEquals(figuresOf(doneResult(request.out) ?? {}), figuresOf(told));
    assert(result.secondsHere > result.seconds, "validations and saving take time too");
    // The same figures once more where the run is asked to go on, and has nothing left to do.
    const again = await trainRun({ ...prepare(dir), config: {}, resume: true });
    assertEquals(figuresOf({ ...again }), figuresOf(told));
    for (const loss of [last?.loss, last?.validation_loss]) {
      assertStringIncludes(html, loss?.toFixed(4) ?? "no loss");
    }
    assertStringIncludes(html, Math.round(tokensPerSecond).toLocaleString("en"));
    assertStringIncludes(html, formatDuration(seconds));
    for (const [key] of flatten(readRun(request.out).config)) assertStringIncludes(html, key);
    assertStringIncludes(html, "deno task train --corpus &quot;my corpus&quot;");
    assertStringIncludes(html, "at most 64 rows of the validation split, drawn by seed 0");
    const out = `${dir}/exported`;
    exportRun(request.out, out);
    const card = Deno.readTextFileSync(`${out}/README.md`);
    assert(!/license: (mit|apache)/.test(card), "a licence that nobody stated");
    assertStringIncludes(card, "at most 64 rows of the validation split, drawn by seed 0");
    const licensed = `${dir}/licensed`;
    exportRun(request.out, licensed, "last", "scored", () => {}, { license: "apache-2.0" });
    assertStringIncludes(Deno.readTextFileSync(`${licensed}/README.md`), "\nlicense: apache-2.0\n");
  }));
