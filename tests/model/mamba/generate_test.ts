import {
  generateBatch,
  generateTokens,
  StopText,
  tokensBefore,
} from "../../../model/mamba/generate.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { Random } from "../../../model/mamba/random.ts";
import { ReferenceRecurrentModel } from "../../../model/mamba/reference.ts";
import { argmax, chooseToken, logSumExp } from "../../../model/mamba/sampling.ts";
import { assert, assertAlmostEquals, assertEquals } from "../../assert.ts";
import { MINIATURE } from "../helpers.ts";

const LOGITS = Float32Array.of(0, 2, 1, -1, 9);
const PLAIN = { temperature: 1, topK: 0, topP: 1, repetitionPenalty: 1 };

Deno.test("argmax() looks only at the ids in use", () => {
  assertEquals(argmax(LOGITS, 4), 1);
  assertEquals(argmax(LOGITS, 5), 4);
});

Deno.test("chooseToken() samples in proportion to the probabilities", () => {
  const counts = [0, 0, 0, 0];
  const random = new Random(1, "test");
  const n = 20000;
  for (let i = 0; i < n; i++) counts[chooseToken(LOGITS, 4, PLAIN, random).token]!++;
  const weights = [0, 2, 1, -1].map(Math.exp);
  const total = weights.reduce((a, b) => a + b);
  weights.forEach((w, i) => assertAlmostEquals(counts[i]! / n, w / total, 0.015));
});

Deno.test("chooseToken() keeps to top-k, top-p and the repetition penalty", () => {
  const random = new Random(2, "test");
  for (let i = 0; i < 300; i++) {
    assert([1, 2].includes(chooseToken(LOGITS, 4, { ...PLAIN, topK: 2 }, random).token));
    // probabilities 0.09, 0.64, 0.24, 0.03: the first alone reaches 0.6
    assertEquals(chooseToken(LOGITS, 4, { ...PLAIN, topP: 0.6 }, random).token, 1);
  }
  const greedy = { ...PLAIN, temperature: 0, repetitionPenalty: 4 };
  assertEquals(chooseToken(LOGITS, 4, greedy, random, [1]).token, 2);
  const { logProbability } = chooseToken(LOGITS, 4, greedy, random);
  assertAlmostEquals(logProbability, 2 - logSumExp(LOGITS), 1e-6);
});

Deno.test("generateTokens() gives one text a seed and stops at the limit", async () => {
  const model = new ReferenceRecurrentModel(MINIATURE, initialParameters(MINIATURE, 3));
  const run = async (seed: number) => {
    const out: number[] = [];
    const options = { maxNewTokens: 12, temperature: 3, seed, ignoreEnd: true };
    for await (const { token } of generateTokens(model, [0, 4], options)) out.push(token);
    return out;
  };
  const first = await run(1);
  assertEquals(first.length, 12);
  assertEquals(await run(1), first);
  assert((await run(2)).join() !== first.join());
});

Deno.test("StopText holds back what may become a stop string", () => {
  const stop = new StopText(["END", "N!"]);
  assertEquals(stop.push("one E"), "one ");
  assertEquals(stop.push("N"), "");
  assertEquals(stop.push("tire EN"), "ENtire ");
  assertEquals(stop.push("D of"), "");
  assert(stop.stopped);
  assertEquals(stop.flush(), "");
  const open = new StopText(["END"]);
  assertEquals(open.push("an E") + open.flush(), "an E");
});

Deno.test("generateBatch() gives each prompt what it gets alone, whatever its neighbours' lengths", async () => {
  const read = initialParameters(MINIATURE, 3);
  const rows = 3;
  const models = Array.from({ length: rows }, () => new ReferenceRecurrentModel(MINIATURE, read));
  const batch = {
    config: MINIATURE,
    rows,
    reset: () => models.forEach((m) => m.reset()),
    feedRows: (tokens: readonly number[]) => models.forEach((m, i) => void m.step(tokens[i]!)),
    stepRows: (tokens: readonly number[]) =>
      Promise.all(models.map((m, i) => m.step(tokens[i]!).then((x) => x.slice()))),
  };
  const prompts = [[0, 4], [0, 1, 2, 3, 9, 8], [0]];
  const options = { maxNewTokens: 7, temperature: 2, seed: 5, ignoreEnd: true };
  const got = await generateBatch(batch, prompts, options);
  assertEquals(got.map((row) => row.length), [7, 7, 7]);
  // The first prompt's random numbers are those of a prompt alone.
  const single: number[] = [];
  const alone = new ReferenceRecurrentModel(MINIATURE, read);
  for await (const { token } of generateTokens(alone, prompts[0]!, options)) single.push(token);
  assertEquals(got[0]!.map((t) => t.token), single);
  // A later prompt's depend on its place in the whole list only.
  const later = await generateBatch(batch, [prompts[2]!], { ...options, first: 2 });
  assertEquals(later[0]!.map((t) => t.token), got[2]!.map((t) => t.token));
  // A row that has enough takes no further tokens; when all have, nothing more is computed.
  let steps = 0;
  const counted = {
    ...batch,
    stepRows(tokens: readonly number[]) {
      steps++;
      return batch.stepRows(tokens);
    },
  };
  const heard = [0, 0, 0];
  const enough = (row: number) => ++heard[row]! === row + 1;
  const few = await generateBatch(counted, prompts, { ...options, enough });
  assertEquals(few.map((row) => row.length), [1, 2, 3]);
  assertEquals(
    few.map((row, i) =>
      row.map((t) => t.token).join() ===
        got[i]!.slice(0, row.length).map((t) => t.token).join()
    ),
    [true, true, true],
  );
  // The second prompt has six tokens: its second new one comes with the seventh step.
  assert(steps <= 7, `${steps}`);
});

Deno.test("tokensBefore() keeps the tokens whose text lies before a cut", () => {
  const pieces = ["one", " tw", "o", "", "é", " END", " x"];
  const kept = (text: string) =>
    tokensBefore(pieces.map((_, i) => i), text.length, (token) => pieces[token]!);
  assertEquals(kept("one two"), 3);
  assertEquals(kept("one twoé"), 5);
  assertEquals(kept("one t"), 1); // the cut goes through the second token
  assertEquals(kept(""), 0);
});
