/**
 * Every task's results as a reviewer takes them: results and samples as lm-evaluation-harness has them,
 * every measure with its interval and error, a page of errors, a confusion matrix where there are labels,
 * a table for a paper, and the paired comparison with another system's file.
 */
import { readJson, readText } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import { evaluateTask } from "../../../model/tasks/core/evaluate.ts";
import { type AnyTask, isTask } from "../../../model/tasks/core/task.ts";
import { TASKS } from "../../../model/tasks/list.ts";
import { assert, assertEquals, assertStringIncludes } from "../../assert.ts";
import { makeReference, silentReporter, withFolder } from "../helpers.ts";
import { givenOf } from "./helpers.ts";

/** A gold file, a system's answers with errors, and another system's. */
interface Files {
  task: string;
  /** The option that names the golden file or folder. */
  option?: "gold" | "data";
  gold: Record<string, string>;
  system: string;
  other: string;
  /** What the page of errors shows: of an item that the system got wrong. */
  shown: string;
  /** Whether answers are labels, which can be confused. */
  confusion: boolean;
}

const jsonl = (...rows: object[]) => rows.map((row) => JSON.stringify(row) + "\n").join("");
const tagged = (...tags: string[]) => tags.map((tag, i) => `w${i}\t${tag}\n`).join("\n");
const bioasq = (...exact: unknown[]) =>
  JSON.stringify({
    questions: exact.map((exact_answer, i) => ({
      id: `q${i}`,
      type: typeof exact_answer === "string" ? "yesno" : i % 2 ? "factoid" : "list",
      body: `Does <b>zeratin ${i}?`,
      snippets: [{ text: "It does.", document: "1" }],
      ideal_answer: ["So."],
      exact_answer,
    })),
  });
const pubmedqa = (...decisions: string[]) =>
  JSON.stringify(Object.fromEntries(
    decisions.map((final_decision, i) => [
      `${i + 1}`,
      { QUESTION: `Is it ${i}?`, CONTEXTS: ["It is."], final_decision },
    ]),
  ));
const labels = (key: string, ...values: unknown[]) =>
  jsonl(...values.map((value, i) => ({ id: `t${i}`, text: `text ${i}`, [key]: value })));
const pairs = (...said: string[]) =>
  jsonl(...said.map((label, i) => ({ text: `<< a${i} >> stops [[ b ]]`, label })));
const pubtator = (...relations: [string, string][]) =>
  relations.map(([first, second], i) =>
    `${i + 1}|t|Zeratin, ulcers.\n${i + 1}|a|Lorvane.\n${i + 1}\t0\t7\tZeratin\tChemical\tD1\n` +
    `${i + 1}\t9\t15\tulcers\tDisease\tD2\n${i + 1}\t17\t24\tLorvane\tChemical\tD3\n` +
    `${i + 1}\tCID\t${first}\t${second}\n`
  ).join("\n");

/** Two entities in one sentence, and whether they are related; the second is found or not. */
const joint = (...documents: { found: boolean; related: boolean }[]) =>
  documents.map(({ found, related }, i) =>
    `${i + 1}|t|Zeratin stops ulcers.\n${i + 1}|a|Lorvane does not.\n` +
    `${i + 1}\t0\t7\tZeratin\tChemical\tD1\n` +
    (found ? `${i + 1}\t14\t20\tulcers\tDisease\tD2\n` : "") +
    (related ? `${i + 1}\tCID\tD1\tD2\n` : "")
  ).join("\n");
const RELATED = { found: true, related: true };
const UNRELATED = { found: true, related: false };

const CASES: readonly Files[] = [
  {
    task: "pubmedqa",
    option: "data",
    gold: {
      "ori_pqal.json": pubmedqa("yes", "no", "yes", "maybe", ...new Array(20).fill("yes")),
      "test_ground_truth.json": JSON.stringify({ 1: "yes", 2: "no", 3: "yes", 4: "maybe" }),
    },
    system: JSON.stringify({ 1: "yes", 2: "yes", 3: "yes", 4: "maybe" }),
    other: JSON.stringify({ 1: "no", 2: "no", 3: "yes", 4: "no" }),
    shown: "Is it 1?",
    confusion: true,
  },
  {
    task: "bioasq",
    gold: { gold: bioasq("yes", [["zera"], ["lor"]], [["quell", "q"]], "no") },
    system: bioasq("no", [["zera"]], [["quell"], ["wrong"]], "no"),
    other: bioasq("yes", [["none"]], [["q"]], "yes"),
    shown: "Does &lt;b&gt;zeratin 0?",
    confusion: true,
  },
  {
    task: "ner",
    gold: { gold: tagged("B-X", "B-Y", "O", "B-X") },
    system: tagged("B-X", "B-X", "O", "B-X"),
    other: tagged("B-X", "O", "B-Y", "O"),
    shown: "w1",
    confusion: true,
  },
  {
    task: "relations",
    gold: { gold: pairs("up", "down", "up", "down") },
    system: pairs("up", "up", "up", "down"),
    other: pairs("down", "down", "up", "up"),
    shown: "a1",
    confusion: true,
  },
  {
    task: "relations",
    gold: { gold: pubtator(["D1", "D2"], ["D3", "D2"], ["D1", "D2"]) },
    system: pubtator(["D1", "D2"], ["D1", "D2"], ["D1", "D2"]),
    other: pubtator(["D3", "D2"], ["D3", "D2"], ["D3", "D2"]),
    shown: "CID: D3, D2",
    confusion: false,
  },
  {
    task: "joint",
    gold: { gold: joint(RELATED, UNRELATED, RELATED, UNRELATED) },
    system: joint(RELATED, UNRELATED, { found: false, related: false }, RELATED),
    other: joint(UNRELATED, { found: false, related: false }, RELATED, UNRELATED),
    shown: "ulcers",
    confusion: false,
  },
  {
    task: "choices",
    gold: {
      gold: jsonl(...["A", "B", "A"].map((answer_idx, i) => ({
        id: `c${i}`,
        question: `Which ${i}`,
        options: { A: "one", B: "two" },
        answer_idx,
      }))),
    },
    system: JSON.stringify({ c0: "A", c1: "A", c2: "A" }),
    other: JSON.stringify({ c0: "B", c1: "B", c2: "A" }),
    shown: "Which 1",
    confusion: true,
  },
  {
    task: "classify",
    gold: { gold: labels("label", "up", "down", "up") },
    system: labels("label", "up", "up", "up"),
    other: labels("label", "down", "down", "up"),
    shown: "text 1",
    confusion: true,
  },
  {
    task: "multilabel",
    gold: { gold: labels("labels", ["a", "b"], [], ["b"]) },
    system: labels("labels", ["a"], [], ["b"]),
    other: labels("labels", ["a", "b"], ["b"], []),
    shown: "text 0",
    confusion: false,
  },
  {
    task: "regression",
    gold: { gold: labels("score", 0.5, 1.5, 3.5, 2.25) },
    system: labels("score", 0.75, 1, 3, 3.5),
    other: labels("score", 1.5, 0.5, 2, 3.5),
    shown: "text 3",
    confusion: false,
  },
];

const taskNamed = (name: string): AnyTask => {
  const entry = TASKS.find((task) => task.name === name);
  if (!entry || !isTask(entry)) throw new Error(`no task ${name}`);
  return entry;
};

Deno.test("there is a case for every task", () => {
  const names = TASKS.filter(isTask).map(({ name }) => name);
  assertEquals(names.filter((name) => !CASES.some(({ task }) => task === name)), []);
});

for (const files of CASES) {
  const { task: name, option = "gold", gold, system, other, shown, confusion } = files;
  Deno.test(`results of ${name}: ${shown}`, () =>
    withFolder(async (folder) => {
      const put = (file: string, text: string) => {
        const path = join(folder, file);
        Deno.writeTextFileSync(path, text);
        return path;
      };
      for (const [file, text] of Object.entries(gold)) put(file, text);
      const place = option === "data" ? folder : join(folder, "gold");
      const reporter = silentReporter();
      const systemPath = put("system", system);
      const given = givenOf({
        [option]: place,
        latex: true,
        ...(name === "pubmedqa" ? { split: "test", fold: 0 } : {}),
        system: systemPath,
      });
      const out = join(folder, "out");
      await evaluateTask(taskNamed(name), {
        given,
        system: systemPath,
        other: put("other", other),
        out,
        maxTokens: 256,
        batchSize: 2,
        seed: 0,
        makeModel: makeReference,
        reporter,
        signal: new AbortController().signal,
      });
      const written = [...Deno.readDirSync(out)].map((entry) => entry.name);
      const file = (begin: string) => {
        const found = written.find((one) => one.startsWith(begin));
        assert(found !== undefined, `${begin} is among ${written.join(", ")}`);
        return join(out, found);
      };
      const results = readJson<Record<string, Record<string, unknown>>>(file("results_"));
      const fields = results.results?.[name] as Record<string, unknown>;
      const measures = Object.keys(fields).filter((key) =>
        key.endsWith(",none") && !/_(ci95|stderr),none$/.test(key)
      ).map((key) => key.slice(0, -",none".length));
      assert(measures.length > 0);
      for (const key of measures) {
        const interval = fields[`${key}_ci95,none`];
        assert(Array.isArray(interval) && interval.length === 2, `${key} has an interval`);
        assert(`${key}_stderr,none` in fields, `${key} has a standard error`);
      }
      const compared = results.comparison_with_other ?? {};
      const [first] = Object.values(compared) as { difference?: number; interval?: number[] }[];
      assertEquals([typeof first?.difference, first?.interval?.length], ["number", 2]);
      if (confusion) assert("confusion" in results, "a confusion matrix");
      const samples = readText(file(`samples_${name}_`)).trimEnd().split("\n");
      const counted = results["n-samples"]?.[name] as { effective: number };
      assertEquals(samples.length, counted.effective);
      for (const sample of samples) {
        const { target, prediction } = JSON.parse(sample);
        assert(target !== undefined && prediction !== undefined, sample);
      }
      assertStringIncludes(readText(file(`errors_${name}_`)), shown);
      assertStringIncludes(reporter.lines.join("\n"), "\\begin{tabular}");
    }));
}
