/**
 * Uncertainty of evaluation results: bootstrap intervals, paired tests, all seeded and therefore
 * repeatable. Percentile bootstrap after Efron and Tibshirani, "An Introduction to the Bootstrap"
 * (1993), chapters 13 and 16; McNemar's test in its exact binomial form.
 * @module
 */
import { Random } from "../mamba/random.ts";

/** How resampling is done. */
export interface BootstrapOptions {
  /** Number of resamples; 10,000 gives interval ends good to about 1% of the interval's width. */
  resamples?: number;
  /** Of the resampling; 0 by default. */
  seed?: number;
  /** Coverage of the interval, 0 to 1. */
  level?: number;
}

/** Both ends of a confidence interval, in the units of the statistic. */
export interface Interval {
  /** The lower end. */
  low: number;
  /** The upper end. */
  high: number;
}

/** A statistic of a resample: `indices` names the drawn items, with repetitions. */
export type Statistic = (indices: Uint32Array) => number;

/** Resamples where nothing else is said. */
export const DEFAULT_RESAMPLES = 10_000;

const DEFAULTS = { resamples: DEFAULT_RESAMPLES, seed: 0, level: 0.95 };

/** The options with the defaults for those that are left out or undefined. */
function completed({ resamples, seed, level }: BootstrapOptions): Required<BootstrapOptions> {
  return {
    resamples: resamples ?? DEFAULTS.resamples,
    seed: seed ?? DEFAULTS.seed,
    level: level ?? DEFAULTS.level,
  };
}

/** The mean; NaN where there is nothing. */
export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] ?? NaN;
  return sum / values.length;
}

/** Standard error of the mean of `values`, with the sample (n - 1) variance; 0 for one value. */
export function standardError(values: ArrayLike<number>): number {
  const n = values.length;
  const centre = mean(values);
  if (n < 2) return 0;
  let squares = 0;
  for (let i = 0; i < n; i++) squares += ((values[i] ?? NaN) - centre) ** 2;
  return Math.sqrt(squares / (n - 1) / n);
}

/** How much a score varies between runs that differ in their seed alone. */
export interface Spread {
  /** Of the values. */
  mean: number;
  /** Of the sample (n - 1); 0 for one value. */
  standard_deviation: number;
  /** The smallest value. */
  least: number;
  /** The largest value. */
  greatest: number;
}

/** The spread of one or more values. */
export function spreadOf(values: readonly number[]): Spread {
  return {
    mean: mean(values),
    standard_deviation: standardError(values) * Math.sqrt(values.length),
    least: Math.min(...values),
    greatest: Math.max(...values),
  };
}

/** The `q` quantile (0 to 1) of ascending `sorted`, linear between order statistics. */
export function quantile(sorted: ArrayLike<number>, q: number): number {
  const at = q * (sorted.length - 1);
  const below = Math.floor(at);
  const low = sorted[below] ?? NaN;
  const high = sorted[Math.min(below + 1, sorted.length - 1)] ?? NaN;
  return low + (at - below) * (high - low);
}

/** Calls `use` with every resample of `count` items; the array is reused between calls. */
function resample(count: number, options: Required<BootstrapOptions>, use: Statistic): void {
  const random = new Random(options.seed, "bootstrap");
  const indices = new Uint32Array(count);
  for (let r = 0; r < options.resamples; r++) {
    // Multiply-shift maps 32 random bits onto 0..count-1; its bias is below count / 2^32.
    for (let i = 0; i < count; i++) indices[i] = Math.floor(random.bits() * count / 2 ** 32);
    use(indices);
  }
}

function percentileInterval(values: Float64Array, level: number): Interval {
  values.sort();
  const tail = (1 - level) / 2;
  return { low: quantile(values, tail), high: quantile(values, 1 - tail) };
}

/**
 * The percentile bootstrap interval of a statistic of `count` items, drawn with replacement.
 * Ends are NaN where `count` is below 2: one item drawn again and again is always itself, which says
 * nothing of how much items differ.
 */
export function bootstrapInterval(
  count: number,
  statistic: Statistic,
  options: BootstrapOptions = {},
): Interval {
  if (count < 2) return { low: NaN, high: NaN };
  const full = completed(options);
  const values = new Float64Array(full.resamples);
  let r = 0;
  resample(count, full, (indices) => values[r++] = statistic(indices));
  return percentileInterval(values, full.level);
}

/** An interval as tables show it: nothing where there is none. */
export function formatInterval({ low, high }: Interval, digits: number): string {
  if (Number.isNaN(low) || Number.isNaN(high)) return "none";
  return `${low.toFixed(digits)} to ${high.toFixed(digits)}`;
}

/** The statistic of {@linkcode bootstrapInterval} for a mean of per-item `values`. */
export function meanOf(values: ArrayLike<number>): Statistic {
  return (indices) => {
    let sum = 0;
    for (const i of indices) sum += values[i] ?? NaN;
    return sum / indices.length;
  };
}

/** Two systems compared on the same items. */
export interface PairedComparison {
  /** statistic(A) - statistic(B) on the items as they are. */
  difference: number;
  /** Percentile bootstrap interval of the difference. */
  interval: Interval;
  /** Two-sided p-value of "there is no difference". */
  pValue: number;
}

/**
 * Paired bootstrap: both systems are scored on the same resamples. The p-value is the share of
 * resamples whose difference is at least as far from the observed one as the observed one is from
 * zero (Berg-Kirkpatrick et al. 2012, two-sided), with one added to both counts so that it is
 * never 0.
 */
export function pairedBootstrap(
  count: number,
  a: Statistic,
  b: Statistic,
  options: BootstrapOptions = {},
): PairedComparison {
  const full = completed(options);
  const values = new Float64Array(full.resamples);
  const all = Uint32Array.from({ length: count }, (_, i) => i);
  const difference = a(all) - b(all);
  let r = 0;
  let extreme = 0;
  resample(count, full, (indices) => {
    const d = a(indices) - b(indices);
    // The slack keeps ties ties after rounding.
    if (Math.abs(d - difference) >= Math.abs(difference) - 1e-12) extreme++;
    return values[r++] = d;
  });
  return {
    difference,
    interval: percentileInterval(values, full.level),
    pValue: (extreme + 1) / (full.resamples + 1),
  };
}

/** McNemar's test of two systems' correctness on the same items. */
export interface McNemarResult {
  /** Items that only the first system has right. */
  onlyFirst: number;
  /** Items that only the second system has right. */
  onlySecond: number;
  /** Two-sided exact binomial p-value; 1 where the systems never disagree. */
  pValue: number;
}

/** McNemar's exact test: given a disagreement, either system is right with probability 1/2. */
export function mcNemar(first: ArrayLike<boolean>, second: ArrayLike<boolean>): McNemarResult {
  if (first.length !== second.length) {
    throw new RangeError(`McNemar's test needs pairs: ${first.length} against ${second.length}`);
  }
  let onlyFirst = 0;
  let onlySecond = 0;
  for (let i = 0; i < first.length; i++) {
    if (first[i] && !second[i]) onlyFirst++;
    if (!first[i] && second[i]) onlySecond++;
  }
  return { onlyFirst, onlySecond, pValue: signTest(onlyFirst, onlySecond) };
}

/** Two-sided exact sign test: 2 P(X <= min(a, b)) for X ~ Binomial(a + b, 1/2), at most 1. */
export function signTest(a: number, b: number): number {
  const n = a + b;
  const least = Math.min(a, b);
  let logTerm = -n * Math.LN2;
  let sum = Math.exp(logTerm);
  for (let i = 1; i <= least; i++) {
    logTerm += Math.log((n - i + 1) / i);
    sum += Math.exp(logTerm);
  }
  return Math.min(1, 2 * sum);
}
