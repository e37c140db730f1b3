import { join } from "../../../core/std.ts";
import { deviceModel } from "../../../model/mamba/device_model.ts";
import { BIOASQ_MEASURES } from "../../../model/tasks/bioasq/bioasq.ts";
import { fail } from "../../../core/errors.ts";
import { batchScorer, branchingScorer } from "../../../model/tasks/core/scorer.ts";
import { writeModelFolder } from "../../../model/weights/folder.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { ReferenceModel } from "../../../model/mamba/reference.ts";
import { assert, assertAlmostEquals, assertEquals, assertStringIncludes } from "../../assert.ts";
import { runTask } from "../../shared.ts";
import { byteTokenizerJson, MINIATURE_READER } from "./helpers.ts";
import { withFolder, writeJson } from "../helpers.ts";

/** Runs the command line with its task's permissions. */
async function run(...words: string[]): Promise<{ code: number; lines: string[]; stderr: string }> {
  const { code, stdout, stderr } = await runTask(words);
  return { code, lines: stdout.trimEnd().split("\n"), stderr: stderr.trimEnd() };
}

Deno.test("evaluate bioasq: the last line is the ten measures; wrong files and words say so", () =>
  withFolder(async (folder) => {
    const file = (name: string, ...answers: string[]) => {
      const questions = answers.map((exact_answer, i) => ({
        id: `${name === "other" ? "o" : "q"}${i}`,
        type: "yesno",
        exact_answer,
      }));
      writeJson(folder, `${name}.json`, { questions });
      return join(folder, `${name}.json`);
    };
    const gold = file("gold", "yes", "no");
    const system = file("system", "yes", "yes");
    const good = await run("evaluate", "bioasq", "--gold", gold, "--system", system, "--json");
    const measures = JSON.parse(good.lines.at(-1)!);
    assertEquals([good.code, Object.keys(measures)], [0, [...BIOASQ_MEASURES]]);
    assertEquals(measures.yesno_acc, 0.5);
    const table = await run("evaluate", "bioasq", "--gold", gold, "--system", system);
    assertEquals(table.lines.length, 2 + BIOASQ_MEASURES.length);
    const other = file("other", "yes");
    const bad = await run("evaluate", "bioasq", "--gold", gold, "--system", other, "--json");
    assertEquals(bad.code, 1);
    assertStringIncludes(JSON.parse(bad.lines.at(-1)!).error, '"o0"');
    assertStringIncludes(bad.stderr, '"o0"');
    const neither = await run("evaluate", "bioasq", "--gold", gold);
    assertEquals(neither.code, 2);
    assertStringIncludes(neither.stderr, "Give either --system");
  }));

Deno.test("the device weighs continuations as the float64 model does", async () => {
  const read = initialParameters(MINIATURE_READER, 4);
  const items = [9, 40, 3].map((length, n) => ({
    prompt: Array.from({ length }, (_, i) => (i * 7 + n) % 262 * Number(i > 0)),
    continuations: [[5], [6, 7, 8], [9], [6, 9]],
  }));
  const reference = new ReferenceModel(MINIATURE_READER, 2, 48);
  reference.writeParameters(read);
  const want = await batchScorer(reference).score(items);
  const shape = { batchSize: 2, sequenceLength: 48, training: false };
  const made = await deviceModel()(MINIATURE_READER, shape);
  try {
    made.model.writeParameters(read);
    const got = await batchScorer(made.model).score(items);
    got.flat().forEach((value, i) => assertAlmostEquals(value, want.flat()[i]!, 1e-4));
    const rows = await made.branching?.(2) ?? fail("the device's model has no rows");
    const branched = await branchingScorer(rows).score(items);
    rows.destroy();
    branched.flat().forEach((value, i) => assertAlmostEquals(value, want.flat()[i]!, 1e-4));
  } finally {
    made.close();
  }
});

/** A PubMedQA of `count` questions, half of them for testing. */
function writePubmedqa(folder: string, count: number): void {
  const answers = ["yes", "no", "maybe"];
  const entries = Array.from({ length: count }, (_, i): [string, unknown] => [`${1000 + i}`, {
    QUESTION: `Is it ${i}?`,
    CONTEXTS: ["It may be."],
    final_decision: answers[i % 3],
  }]);
  const truth = entries.filter((_, i) => i % 2).map((
    [pmid],
    i,
  ) => [pmid, answers[(2 * i + 1) % 3]]);
  writeJson(folder, "ori_pqal.json", Object.fromEntries(entries));
  writeJson(folder, "test_ground_truth.json", Object.fromEntries(truth));
}

Deno.test("finetune and evaluate pubmedqa, from the command line, on the device", () =>
  withFolder(async (folder) => {
    writePubmedqa(folder, 60);
    const base = join(folder, "base");
    const out = join(folder, "run");
    const tokenizer = new TextEncoder().encode(JSON.stringify(byteTokenizerJson()));
    const read = initialParameters(MINIATURE_READER, 3);
    writeModelFolder(base, { config: MINIATURE_READER, read, tokenizer });
    const words = ["--model", base, "--data", folder, "--max-tokens", "256", "--json"];
    const tune = ["finetune", "pubmedqa", ...words, "--out", out, "--epochs", "1"];
    const tuned = await run(...tune);
    assertEquals([tuned.code, tuned.stderr.includes("Epoch 1")], [0, true], tuned.stderr);
    const json = JSON.parse(tuned.lines.at(-1)!);
    assertEquals([json.questions, json.majority.name], [30, "always yes"]);
    const results = JSON.parse(Deno.readTextFileSync(json.files.results));
    assertEquals(results.results.pubmedqa["acc,none"], json.model.accuracy);

    const again = await run("finetune", "pubmedqa", ...words, "--out", out, "--epochs", "1");
    assertEquals(again.code, 1);
    assertStringIncludes(again.stderr, "there is one already");

    const evaluate = ["evaluate", "pubmedqa", "--data", folder, "--max-tokens", "256", "--json"];
    const model = ["--model", json.model.name, "--base", base, "--out", join(folder, "results")];
    const direct = await run(...evaluate, ...model);
    assertEquals(direct.code, 0, direct.stderr);
    const measured = JSON.parse(direct.lines.at(-1)!);
    assertEquals(
      [measured.model, measured.base, measured.comparison],
      [json.model, json.base, json.comparison],
    );
    assert(direct.lines.some((line) => line.startsWith("Against its base:")));
  }));
