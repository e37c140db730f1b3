import {
  bootstrapInterval,
  mcNemar,
  mean,
  meanOf,
  pairedBootstrap,
  quantile,
  signTest,
  spreadOf,
  standardError,
} from "../../model/statistics/mod.ts";
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "../assert.ts";

Deno.test("mean() and standardError() equal hand-computed values", () => {
  assertEquals(mean([1, 2, 3, 6]), 3);
  // Squared deviations 4 + 1 + 0 + 9 = 14; 14 / 3 / 4.
  assertAlmostEquals(standardError([1, 2, 3, 6]), Math.sqrt(14 / 12), 1e-12);
  assertEquals(standardError([5]), 0);
});

Deno.test("spreadOf() is the sample's deviation between seeds", () => {
  const spread = spreadOf([0.5, 0.6, 0.7]);
  assertAlmostEquals(spread.mean, 0.6, 1e-12);
  assertAlmostEquals(spread.standard_deviation, 0.1, 1e-12);
  assertEquals([spread.least, spread.greatest], [0.5, 0.7]);
  assertEquals(spreadOf([0.5]).standard_deviation, 0);
});

Deno.test("quantile() is linear between order statistics", () => {
  assertEquals(quantile([10, 20, 30, 40, 50], 0.5), 30);
  assertEquals(quantile([10, 20, 30, 40, 50], 0.1), 14);
  assertEquals(quantile([3], 0.975), 3);
});

Deno.test("bootstrapInterval() of a proportion agrees with its normal approximation", () => {
  const values = Array.from({ length: 500 }, (_, i) => i < 300 ? 1 : 0);
  const { low, high } = bootstrapInterval(500, meanOf(values), { seed: 3 });
  const half = 1.96 * Math.sqrt(0.6 * 0.4 / 500);
  assertAlmostEquals(low, 0.6 - half, 0.004);
  assertAlmostEquals(high, 0.6 + half, 0.004);
  assertEquals(bootstrapInterval(500, meanOf(values), { seed: 3 }), { low, high });
});

Deno.test("bootstrapInterval() of two items has the exact binomial quantiles", () => {
  // The mean of two draws from {0, 1} is 0, 1/2, 1 with probability 1/4, 1/2, 1/4.
  assertEquals(bootstrapInterval(2, meanOf([0, 1])), { low: 0, high: 1 });
  assertEquals(bootstrapInterval(2, meanOf([0, 1]), { level: 0.4 }), { low: 0.5, high: 0.5 });
  assert(Number.isNaN(bootstrapInterval(0, () => 1).low));
});

Deno.test("pairedBootstrap() is blind to what both systems share", () => {
  const shared = Array.from({ length: 100 }, (_, i) => i % 3);
  const better = shared.map((v) => v + 0.25);
  const result = pairedBootstrap(100, meanOf(better), meanOf(shared), { resamples: 999 });
  assertAlmostEquals(result.difference, 0.25, 1e-12);
  assertAlmostEquals(result.interval.low, 0.25, 1e-12);
  assertAlmostEquals(result.interval.high, 0.25, 1e-12);
  assertAlmostEquals(result.pValue, 1 / 1000, 1e-12);
  assertEquals(pairedBootstrap(100, meanOf(shared), meanOf(shared)).pValue, 1);
});

Deno.test("pairedBootstrap() of noise agrees with the normal test", () => {
  // 60 wins, 40 losses in 100: z = 20 / sqrt(100 * (1 - 0.2^2)) = 2.04, p = 0.041.
  const wins = Array.from({ length: 100 }, (_, i) => i < 60 ? 1 : 0);
  const result = pairedBootstrap(100, meanOf(wins), meanOf(wins.map((w) => 1 - w)), { seed: 1 });
  assertAlmostEquals(result.difference, 0.2, 1e-12);
  assertAlmostEquals(result.pValue, 0.041, 0.012);
});

Deno.test("signTest() equals hand-computed binomial tails", () => {
  assertEquals(signTest(0, 0), 1);
  assertAlmostEquals(signTest(0, 5), 2 / 32, 1e-12);
  assertAlmostEquals(signTest(8, 2), 2 * (1 + 10 + 45) / 1024, 1e-12);
  assertEquals(signTest(3, 3), 1);
  // Large counts: the normal approximation with continuity, z = (100 - 1) / sqrt(2000) = 2.214.
  assertAlmostEquals(signTest(1050, 950), 0.0268, 2e-4);
});

Deno.test("mcNemar() counts only the disagreements", () => {
  const first = [true, true, true, false, false, true, true, true, true];
  const second = [true, false, false, true, false, false, false, false, false];
  assertEquals(mcNemar(first, second).onlyFirst, 6);
  assertEquals(mcNemar(first, second).onlySecond, 1);
  assertAlmostEquals(mcNemar(first, second).pValue, 2 * 8 / 128, 1e-12);
  assertThrows(() => mcNemar([true], []), RangeError);
});
