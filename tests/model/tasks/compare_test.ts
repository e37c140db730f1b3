import { UsageError, UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import { evaluateTask } from "../../../model/tasks/core/evaluate.ts";
import type { AnyTask } from "../../../model/tasks/core/task.ts";
import { ner } from "../../../model/tasks/ner/task.ts";
import { pubmedqa } from "../../../model/tasks/pubmedqa/task.ts";
import { assertEquals, assertRejects, assertStringIncludes } from "../../assert.ts";
import { makeReference, silentReporter, withFolder, writeJson } from "../helpers.ts";
import { givenOf } from "./helpers.ts";

const request = (options: Record<string, string | number>) => ({
  given: givenOf(options),
  maxTokens: 128,
  batchSize: 1,
  seed: 0,
  makeModel: makeReference,
  reporter: silentReporter(),
  signal: new AbortController().signal,
});

/** A folder with six questions, of which four are the test's. */
function writeQuestions(dir: string): void {
  const answers = ["yes", "no", "maybe", "yes", "yes", "no"];
  const entries = answers.map((final_decision, i) => [
    `${100 + i}`,
    { QUESTION: "Is it?", CONTEXTS: ["It is."], final_decision },
  ]);
  writeJson(dir, "ori_pqal.json", Object.fromEntries(entries));
  const truth = answers.slice(0, 4).map((answer, i) => [`${100 + i}`, answer]);
  writeJson(dir, "test_ground_truth.json", Object.fromEntries(truth));
}

Deno.test("pubmedqa scores a system's file; what it leaves out is wrong", () =>
  withFolder(async (dir) => {
    writeQuestions(dir);
    writeJson(dir, "answers.json", { "100": "yes", "101": "no", "102": "perhaps" });
    const given = { data: dir, fold: 0, split: "test" };
    const system = join(dir, "answers.json");
    const json = await evaluateTask(pubmedqa as AnyTask, { ...request(given), system });
    assertEquals([json.accuracy, json.questions], [0.5, 4]);
    // The trivial system's label is the training half's majority, not the test half's.
    assertEquals((json.majority as { name: string }).name, "always yes");
    writeJson(dir, "answers.json", { "999": "yes" });
    await assertRejects(
      () => evaluateTask(pubmedqa as AnyTask, { ...request(given), system }),
      UserError,
      '"999"',
    );
  }));

Deno.test("two systems' files are compared in pairs", () =>
  withFolder(async (dir) => {
    const file = (name: string, ...tags: string[]) => {
      const path = join(dir, name);
      Deno.writeTextFileSync(path, tags.map((tag, i) => `w${i}\t${tag}\n`).join("\n"));
      return path;
    };
    const tags = ["B-X", "B-X", "O", "B-X"];
    const gold = file("gold.tsv", ...tags);
    const system = file("system.tsv", ...tags);
    const other = file("other.tsv", "B-X", "O", "O", "O");
    const asked = request({ gold });
    const json = await evaluateTask(ner as AnyTask, { ...asked, system, other });
    const compared = json.comparison_with_other as {
      f1: { difference: number; interval: number[] };
      mcnemar: Record<string, number>;
    };
    assertEquals(compared.f1.difference, 0.5);
    assertEquals([compared.mcnemar.only_model, compared.mcnemar.only_base], [2, 0]);
    assertStringIncludes(asked.reporter.lines.join("\n"), `Against ${other}:`);
    await assertRejects(
      () => evaluateTask(ner as AnyTask, request({ gold })),
      UsageError,
      "Give either --system",
    );
  }));
