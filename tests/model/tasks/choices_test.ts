import { Interrupted } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import {
  accuracy,
  labelCounts,
  labelMeasures,
  macroF1,
} from "../../../model/tasks/core/classification.ts";
import {
  answerChoices,
  type ChoiceItem,
  type ChoiceTask,
  labelled,
  labelTokens,
  majorityLabel,
  promptTokens,
} from "../../../model/tasks/core/choices.ts";
import { choiceTask } from "../../../model/tasks/core/choice_task.ts";
import { measureScore } from "../../../model/tasks/core/report.ts";
import { fileDate, writeTaskResults } from "../../../model/tasks/core/results_files.ts";
import {
  batchScorer,
  branchingScorer,
  logProbability,
  readingsOf,
  recurrentScorer,
  type Scorer,
} from "../../../model/tasks/core/scorer.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { ReferenceModel, ReferenceRecurrentModel } from "../../../model/mamba/reference.ts";
import { assert, assertAlmostEquals, assertEquals, assertRejects } from "../../assert.ts";
import { byteTokenizer, givenOf, MINIATURE_READER } from "./helpers.ts";
import { ReferenceRows, withFolder } from "../helpers.ts";

const read = initialParameters(MINIATURE_READER, 5);

Deno.test("accuracy, label counts and macro F1 by hand; a missing answer is wrong", () => {
  const items = { gold: [0, 0, 0, 1, 1, 2], predicted: [0, 0, 1, 1, -1, 0] };
  assertEquals(accuracy(items), 0.5);
  assertEquals(labelCounts(items, 3).map(Object.values), [[2, 1, 1], [1, 1, 1], [0, 0, 1]]);
  assertAlmostEquals(macroF1(items, 3), (4 / 6 + 2 / 4 + 0) / 3, 1e-12);
  assertEquals(accuracy(items, [0, 0, 4, 4]), 0.5);
  assertEquals([accuracy({ gold: [], predicted: [] }), macroF1(items, 3, [])], [0, 0]);
});

Deno.test("logProbability() is a log-softmax that large logits do not overflow", () => {
  assertAlmostEquals(logProbability(Float32Array.of(0, 0, 0, 0), 1), -Math.log(4), 1e-12);
  assertAlmostEquals(
    logProbability(Float32Array.of(1000, 998), 0),
    -Math.log1p(Math.exp(-2)),
    1e-9,
  );
});

Deno.test("both scorers agree, on continuations of one token and of several", async () => {
  const prompt = [0, 17, 4, 90, 33];
  const continuations = [[7], [8, 9, 10], [11], [12, 13]];
  const items = [{ prompt, continuations }, { prompt: [0], continuations: [[5, 6]] }];
  const recurrent = new ReferenceRecurrentModel(MINIATURE_READER, read);
  const rows = new ReferenceModel(MINIATURE_READER, 2, 9);
  rows.writeParameters(read);
  const a = await recurrentScorer(recurrent).score(items);
  const b = await batchScorer(rows).score(items);
  assertEquals(a.map((s) => s.length), [4, 1]);
  // And with the loss of a row in which nothing but the continuation is a target.
  const batch = {
    tokens: new Uint32Array(18).fill(0),
    starts: new Uint8Array(18).fill(1),
    targets: new Int32Array(18).fill(-100),
  };
  batch.tokens.set([...prompt, 8, 9]);
  batch.starts.fill(0, 1, 7);
  batch.targets.set([8, 9, 10], 4);
  assertAlmostEquals(b[0]![1]!, -(await rows.evaluate(batch)).nll, 1e-5);
  a.flat().forEach((value, i) => assertAlmostEquals(value, b.flat()[i]!, 1e-5));
  assert(a.flat().every((value) => value < 0));
  // Probabilities of all first tokens add up to 1.
  const all = Array.from({ length: MINIATURE_READER.paddedVocabSize }, (_, i) => [i]);
  const [whole] = await recurrentScorer(recurrent).score([{ prompt, continuations: all }]);
  assertAlmostEquals(whole!.reduce((sum, v) => sum + Math.exp(v), 0), 1, 1e-5);
});

Deno.test("a prompt is read once for all of its continuations, beside prompts of other lengths", async () => {
  const continuations = [[7], [8, 9, 10], [8, 9, 11, 12], [12, 13], [8, 14]];
  const items = [5, 17, 1, 9].map((length, n) => ({
    prompt: Array.from({ length }, (_, i) => (i * 11 + n) % 200 * Number(i > 0)),
    continuations: n === 2 ? [[5, 6]] : continuations,
  }));
  const rows = new ReferenceRows(MINIATURE_READER, read, 3);
  const got = await branchingScorer(rows).score(items);
  const want = await recurrentScorer(new ReferenceRecurrentModel(MINIATURE_READER, read)).score(
    items,
  );
  assertEquals(got.map((s) => s.length), [5, 5, 1, 5]);
  got.flat().forEach((value, i) => assertAlmostEquals(value, want.flat()[i]!, 1e-6));
  // Two passes: the longest prompt of each once, then 2 + 3 + 1 + 1 steps, and one of the lone pair.
  assertEquals(rows.fed, 3 * (9 + 8) + 3 * (17 + 7));
  // What begins another continuation is read on its way.
  assertEquals(readingsOf(continuations), [[8, 9, 11], [12]]);
  const whole = new ReferenceModel(MINIATURE_READER, 2, 24);
  whole.writeParameters(read);
  const batched = await batchScorer(whole).score(items);
  got.flat().forEach((value, i) => assertAlmostEquals(value, batched.flat()[i]!, 1e-5));
});

Deno.test("batchScorer() refuses what does not fit a row", async () => {
  const rows = new ReferenceModel(MINIATURE_READER, 1, 4);
  const scorer = batchScorer(rows);
  assertEquals(scorer.maxTokens, 5);
  await scorer.score([{ prompt: [0, 1, 2], continuations: [[3, 4]] }]);
  await assertRejects(
    () => scorer.score([{ prompt: [0, 1, 2, 3], continuations: [[3, 4]] }]),
    RangeError,
    "5 tokens do not fit a row of 4",
  );
});

Deno.test("promptTokens() begins with the boundary and cuts only the context's end", () => {
  const tokenizer = byteTokenizer();
  const prompt = "Question: q?\n\nContext:\nabcdefghij\n\nAnswer:";
  const whole = promptTokens(prompt, tokenizer, 1000);
  assertEquals(whole.truncated, 0);
  assertEquals(whole.tokens[0], tokenizer.endOfText);
  assertEquals(tokenizer.decode(whole.tokens.slice(1)), prompt);
  const cut = promptTokens(prompt, tokenizer, whole.tokens.length - 4);
  assertEquals([cut.truncated, cut.tokens.length], [4, whole.tokens.length - 4]);
  const text = tokenizer.decode(cut.tokens.slice(1));
  assertEquals(text, "Question: q?\n\nContext:\nabcdef\n\nAnswer:");
  assertEquals(labelTokens(["yes", "no", "maybe"], tokenizer).map((t) => t.length), [1, 1, 6]);
});

const TASK: ChoiceTask = {
  name: "toy",
  labels: ["yes", "no"],
  items: [0, 1, 1, 0].map((gold, i) => ({ id: `${i}`, prompt: `p${i}\n\nAnswer:`, gold })),
};

/** A scorer that finds ever the same: log-probabilities by item. */
function fixedScorer(...scores: number[][]): Scorer {
  let next = 0;
  const score: Scorer["score"] = (items) => Promise.resolve(items.map(() => scores[next++]!));
  return { maxTokens: Infinity, itemsAtOnce: 1, score };
}

Deno.test("answerChoices() takes the most probable label, and none from NaN", async () => {
  const scorer = fixedScorer([-1, -2], [-2, -1], [-3, -3], [NaN, -1]);
  const done: number[] = [];
  const onProgress = (n: number) => done.push(n);
  const answers = await answerChoices(TASK, scorer, byteTokenizer(), { onProgress });
  assertEquals(answers.map((a) => a.predicted), [0, 1, 0, -1]);
  assertEquals(done, [1, 2, 3, 4]);
  assertEquals(accuracy(labelled(answers)), 0.5);
  const signal = AbortSignal.abort();
  await assertRejects(
    () => answerChoices(TASK, fixedScorer(), byteTokenizer(), { signal }),
    Interrupted,
  );
});

Deno.test("measureScore() gives intervals that hold the value, and the standard error", () => {
  const gold = Array.from({ length: 200 }, (_, i) => i % 2);
  const predicted = gold.map((label, i) => i % 10 < 3 ? 1 - label : label);
  const score = { measures: labelMeasures({ gold, predicted }, 2) };
  const { acc, f1_macro } = measureScore(score, 1);
  assertAlmostEquals(acc!.value, 0.7, 1e-12);
  assertAlmostEquals(acc!.standardError, Math.sqrt(0.21 / 199), 1e-12);
  for (const { value, interval } of [acc!, f1_macro!]) {
    assert(interval.low < value && value < interval.high);
    assertAlmostEquals(interval.high - interval.low, 2 * 1.96 * Math.sqrt(0.21 / 200), 0.015);
  }
});

Deno.test("the trivial baseline gives the most frequent label", () => {
  assertEquals(majorityLabel([2, 1, 1, 0, 2, 1], 3), 1);
  const trivial = { gold: [0, 0, 0, 1, 2], predicted: [0, 0, 0, 0, 0] };
  assertEquals(accuracy(trivial), 0.6);
  assertAlmostEquals(macroF1(trivial, 3), 6 / 8 / 3, 1e-12);
});

Deno.test("writeTaskResults() lays files out as lm-evaluation-harness does", async () => {
  const answers = await answerChoices(
    TASK,
    fixedScorer([-1, -2], [-2, -1], [-3, -4], [-1, -2]),
    byteTokenizer(),
  );
  const { labels, items } = TASK;
  const data = { labels, train: [], develop: [], test: [...items], path: "toy", sha256: "" };
  const toy = choiceTask<ChoiceItem>({ choicesOf: (items) => [...items] }, {
    name: "toy",
    evaluation: { summary: "", description: "", options: {}, examples: [] },
    read: () => data,
  });
  const { results: own } = toy.report({
    data,
    systems: [{ role: "model", name: "m", answers }],
    purpose: "evaluate",
    given: givenOf(),
    seed: 0,
  });
  const started = new Date(Date.UTC(2026, 2, 1, 12, 30, 5, 120));
  assertEquals(fileDate(started), "2026-03-01T12-30-05.120000");
  await withFolder((folder) => {
    const paths = writeTaskResults(folder, { ...own!, resamples: 77 }, {
      model: "m",
      parameters: 10,
      device: "none",
      seed: 0,
      original: 9,
      started,
      finished: new Date(+started + 2500),
      more: { baselines: { majority: 0.5 } },
    });
    assertEquals(paths.results, join(folder, "results_2026-03-01T12-30-05.120000.json"));
    const results = JSON.parse(Deno.readTextFileSync(paths.results));
    assertEquals(results.results.toy["acc,none"], 0.75);
    assertAlmostEquals(results.results.toy["acc_stderr,none"], 0.25, 1e-12);
    // What was asked of all there is, and what the intervals were really made of.
    assertEquals(results["n-samples"].toy, { original: 9, effective: 4 });
    assertEquals(results.config.bootstrap_iters, 77);
    assertEquals(results.baselines.majority, 0.5);
    assertEquals(results.total_evaluation_time_seconds, "2.5");
    const lines = Deno.readTextFileSync(paths.samples).trim().split("\n").map((l) => JSON.parse(l));
    assertEquals(lines.map((l) => [l.doc_id, l.target, l.prediction, l.acc]), [
      [0, "yes", "yes", 1],
      [1, "no", "no", 1],
      [2, "no", "yes", 0],
      [3, "yes", "yes", 1],
    ]);
    assertEquals(lines[1].arguments.gen_args_1, { arg_0: "p1\n\nAnswer:", arg_1: " no" });
    assertEquals(lines[1].filtered_resps, [[-2], [-1]]);
  });
});
