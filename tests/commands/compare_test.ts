/** `compare`, and the pages of evaluation and fine-tuning, as a user calls and sees them. */
import { join, toFileUrl } from "../../core/std.ts";
import { pairedBootstrap } from "../../model/statistics/mod.ts";
import { readMetrics } from "../../model/training/metrics.ts";
import { readValidations } from "../../model/training/mod.ts";
import { assert, assertAlmostEquals, assertEquals, assertStringIncludes } from "../assert.ts";
import { type Browser, browserTestOrText, inEveryLook, type Page } from "../browser.ts";
import { withFolder } from "../model/helpers.ts";
import { ROOT, runTask } from "../shared.ts";

const TOKENIZER = join(ROOT, "fixtures", "tokenizer.json");

/** Runs a command that has to succeed; its words, without spaces in them, over one or more lines. */
async function done(line: string): Promise<{ stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await runTask(line.trim().split(/\s+/));
  assertEquals(code, 0, stderr);
  return { stdout, stderr };
}

/** The JSON that a command ends with. */
const lastJson = (stdout: string) => JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "");

/** The corpus of the fixtures, and two short runs on it that differ in their learning rates. */
async function corpusAndRuns(folder: string): Promise<{ corpus: string; runs: string[] }> {
  const corpus = join(folder, "corpus");
  await done(`pipeline run --source ${join(ROOT, "fixtures/mirror")} --corpus ${corpus}
    --tokenizer ${TOKENIZER} --sequence-length 128 --validation 0.05 --test 0.05 --workers 1`);
  const runs = [join(folder, "slow"), join(folder, "fast")];
  for (const [i, out] of runs.entries()) {
    await done(`train --corpus ${corpus} --init random:tiny --out ${out} --steps 12
      --batch-size 4 --validate-every 4 --set validation.rows=24 --set validation.samples=0
      --learning-rate ${i ? "3e-3" : "1e-4"}`);
  }
  return { corpus, runs };
}

/** Shows a page in every look, where there is a browser. */
type Show = (path: string, name: string, charts: number, holds: string[]) => Promise<void>;

/** Runs a body with a way to look at pages; without a browser only their text is looked at. */
function shows(browser: Browser | undefined): Show {
  return async (path, name, charts, holds) => {
    const text = Deno.readTextFileSync(path);
    for (const part of holds) assertStringIncludes(text, part);
    assert(!/(src|href)="(?!data:)/.test(text), "the page needs nothing else");
    if (!browser) return;
    const check = async (page: Page) => {
      const shown = await page.evaluate("document.body.innerText") as string;
      assert(shown.length > 100, name);
    };
    await inEveryLook(browser, toFileUrl(path).href, { name, charts, check });
  };
}

async function pretrainingPages(show: Show): Promise<void> {
  await withFolder(async (folder) => {
    const { corpus, runs } = await corpusAndRuns(folder);
    const [slow = "", fast = ""] = runs;
    const out = join(folder, "comparison.html");
    const { stdout } = await done(`compare ${slow} ${fast} --out ${out} --json`);
    const json = lastJson(stdout);
    // The paired interval is that of the rows that each run has recorded.
    const rowsOf = (run: string) => {
      const losses = readMetrics(run).filter((m) => m.validation_loss !== undefined);
      const best = losses.reduce((a, b) =>
        (b.validation_loss ?? 9) < (a.validation_loss ?? 9) ? b : a
      );
      const parts = readValidations(run).find(({ step }) => step === best.step)?.parts[0];
      assert(parts && parts.rows.length > 10);
      const { nll, targets } = parts;
      const loss = (indices: Uint32Array) => {
        let sum = 0;
        let tokens = 0;
        for (const i of indices) {
          sum += nll[i] ?? NaN;
          tokens += targets[i] ?? NaN;
        }
        return sum / tokens;
      };
      return { rows: parts.rows, loss, best };
    };
    const [a, b] = [rowsOf(slow), rowsOf(fast)];
    assertEquals(a.rows, b.rows);
    const want = pairedBootstrap(a.rows.length, b.loss, a.loss, { resamples: 2000, seed: 0 });
    const measured = json.runs[1].measures.validation_loss;
    assertEquals(measured.difference.interval, [want.interval.low, want.interval.high]);
    assertEquals(measured.difference.items, a.rows.length);
    assertAlmostEquals(measured.difference.value, want.difference, 1e-12);
    assertAlmostEquals(measured.value, b.best.validation_loss ?? NaN, 1e-6);
    assertEquals(json.runs[0].measures.validation_loss.difference, null);
    assertEquals(json.configuration["optimizer.learning_rate"], ["0.0001", "0.003"]);
    assertEquals(Object.keys(json.configuration), ["optimizer.learning_rate"]);
    assert(/^ {2}95%, paired +[-+]\d\.\d+ to [-+]\d\.\d+$/m.test(stdout), stdout);
    assert(stdout.split("\n").slice(0, -2).every((line) => line.length <= 80), stdout);
    await show(out, "comparison", 5, ["Validation loss", "optimizer.learning_rate", "95%, paired"]);

    const page = join(folder, "perplexity.html");
    await done(`evaluate perplexity --model ${fast} --base ${slow} --corpus ${corpus}
      --by year,type --report ${page}`);
    await show(page, "perplexity", 1, ["By year", "By type", "Journal Article", "Beside its base"]);
    await show(join(fast, "report.html"), "run", 4, ["Hyperparameters", "deno task train"]);

    const same = await runTask(["compare", slow, join(folder, ".", "slow"), "--out", out]);
    assertEquals(same.code, 1);
    assertStringIncludes(same.stderr, "with itself");
    const one = await runTask(["compare", slow]);
    assertEquals([one.code, one.stderr.includes("two or more run folders")], [2, true]);
    const none = await runTask(["compare", slow, corpus, "--out", out]);
    assertEquals([none.code, none.stderr.includes("run.json")], [1, true]);
  });
}

/** Sentences with a disease that is told by its ending, in the split's own words. */
function sentencesOf(seed: number, count: number): string {
  const stems = ["card", "neur", "derm", "gastr", "hepat", "nephr", "oste", "arthr"];
  return Array.from({ length: count }, (_, i) => {
    const stem = stems[(i * 5 + seed) % stems.length];
    return [
      "Patients\tO",
      "with\tO",
      `${stem}itis\tB-Disease`,
      "took\tO",
      `${stem}ol\tB-Chemical`,
      "daily\tO",
      ".\tO",
    ].join("\n");
  }).join("\n\n") + "\n";
}

async function taskPages(show: Show): Promise<void> {
  await withFolder(async (folder) => {
    const data = join(folder, "data");
    Deno.mkdirSync(data);
    for (const [i, split] of ["train", "dev", "test"].entries()) {
      Deno.writeTextFileSync(join(data, `${split}.tsv`), sentencesOf(i, [24, 12, 16][i] ?? 8));
    }
    const command = `finetune ner --model random:tiny --tokenizer ${TOKENIZER} --data ${data}
      --accumulate 1 --json`;
    const runs = ["one", "two"].map((name) => join(folder, name));
    for (const [i, out] of runs.entries()) {
      const { stdout } = await done(`${command} --out ${out} --epochs ${i ? 3 : 1}
        --head-learning-rate ${i ? "1e-2" : "1e-4"}`);
      assertEquals(lastJson(stdout).files.report, join(out, "report.html"));
    }
    const [one = "", two = ""] = runs;
    await show(join(two, "report.html"), "finetune-ner", 4, [
      "Development score by epoch",
      "By type of entity",
      "Types where the bounds are right",
      '<mark class="',
      "Hyperparameters",
      "deno task finetune ner",
    ]);
    const out = join(folder, "ner.html");
    const { stdout } = await done(`compare ${one} ${two} --out ${out} --json`);
    const { runs: [first, second], configuration } = lastJson(stdout);
    const results = (run: string) => {
      const name = [...Deno.readDirSync(run)].map((e) => e.name).find((n) => /^results_/.test(n));
      return JSON.parse(Deno.readTextFileSync(join(run, name ?? ""))).results.ner["f1,none"];
    };
    assertAlmostEquals(first.measures.f1.value, results(one), 1e-12);
    assertAlmostEquals(second.measures.f1.value, results(two), 1e-12);
    assertAlmostEquals(second.measures.f1.difference.value, results(two) - results(one), 1e-12);
    assertEquals(second.measures.f1.difference.items, 16);
    assertEquals(configuration["optimizer.head_learning_rate"], ["0.0001", "0.01"]);
    await show(out, "comparison-ner", 5, ["Development score", "test F1", "95%, paired"]);

    // Another system's answers have a page where a folder is named for it.
    const gold = join(data, "test.tsv");
    const system = join(folder, "system.tsv");
    Deno.writeTextFileSync(system, Deno.readTextFileSync(gold).replace("B-Disease", "O"));
    const folder_of_results = join(folder, "results");
    const scored = await done(`evaluate ner --gold ${gold} --system ${system}
      --out ${folder_of_results} --json`);
    const { files, f1 } = lastJson(scored.stdout);
    assertAlmostEquals(f1, 62 / 63, 1e-12);
    await show(files.report, "evaluate-ner", 0, [
      "0.9841",
      '<mark class="missed">',
      "Right: the first 12 of 15",
    ]);
    await show(files.errors, "errors-ner", 0, ["1 of 16 are wrong"]);
  });
}

browserTestOrText(
  "compare tells runs apart with paired intervals; it, train and evaluate perplexity write pages",
  (browser) => pretrainingPages(shows(browser)),
);

browserTestOrText(
  "finetune and evaluate write pages with curves, F1 by type, confusions and marked sentences",
  (browser) => taskPages(shows(browser)),
);
