/**
 * What a step's kernels came to, from when each of them ran: their times, what they leave of their
 * rooflines, and where the most is to be gained.
 * @module
 */
import type { Peaks } from "./peaks.ts";
import type { KernelTime } from "./plan.ts";

/** What the time between kernels is called. */
const GAPS = "copies and gaps";

/** What a kernel came to over a step. */
export interface KernelTotal {
  label: string;
  calls: number;
  ms: number;
  /** Of the time from the step's first kernel to its last. */
  share: number;
  /**
   * Of its roofline: the time that its arithmetic would take at the fastest product's rate, or its bytes
   * at a copy's, whichever is longer, over its time; undefined where a kernel counts neither.
   */
  ofPeak?: number;
  /** Bytes that had to move, in GB per second; undefined where a kernel counts none. */
  gigabytes?: number;
  /** What its roofline is made of: the longer of the two. */
  bound?: "arithmetic" | "bandwidth";
}

/** Sums times by kernel, slowest first. Time in no kernel is copies, barriers and waiting. */
export function kernelTotals(times: readonly KernelTime[], peaks?: Peaks): KernelTotal[] {
  const whole = Math.max(1e-9, ...times.map((t) => t.start + t.ms));
  const sums = new Map<string, { calls: number; ms: number; flop: number; bytes: number }>();
  for (const { label, ms, flop, bytes } of times) {
    const sum = sums.get(label) ?? { calls: 0, ms: 0, flop: 0, bytes: 0 };
    sum.calls++;
    sum.ms += ms;
    sum.flop += flop;
    sum.bytes += bytes;
    sums.set(label, sum);
  }
  const rate = ({ flop, ms }: { flop: number; ms: number }) => flop / Math.max(ms, 1e-9);
  const products = [...sums].filter(([label]) => / (NT|NN|TN)$/.test(label));
  // In operations and bytes per millisecond, as everything here.
  const fastest = Math.max((peaks?.products ?? 0) / 1000, ...products.map(([, sum]) => rate(sum)));
  const bandwidth = peaks ? peaks.bandwidth / 1000 : Infinity;
  const least = ({ flop, bytes }: { flop: number; bytes: number }) =>
    Math.max(fastest ? flop / fastest : 0, bytes / bandwidth);
  const boundOf = ({ flop, bytes }: { flop: number; bytes: number }): KernelTotal["bound"] =>
    fastest > 0 && flop / fastest > bytes / bandwidth ? "arithmetic" : "bandwidth";
  const totals = [...sums].map(([label, sum]): KernelTotal => ({
    label,
    calls: sum.calls,
    ms: sum.ms,
    share: sum.ms / whole,
    ...(least(sum) ? { ofPeak: least(sum) / Math.max(sum.ms, 1e-9), bound: boundOf(sum) } : {}),
    ...(sum.bytes ? { gigabytes: sum.bytes / Math.max(sum.ms, 1e-9) / 1e6 } : {}),
  }));
  const rest = whole - totals.reduce((sum, t) => sum + t.ms, 0);
  totals.push({ label: GAPS, calls: 0, ms: Math.max(0, rest), share: rest / whole });
  return totals.sort((a, b) => b.ms - a.ms);
}

/** A kernel of a step that takes longer than its roofline allows, or the time between kernels. */
export interface StepGap {
  label: string;
  /** Milliseconds of the step that it takes, and that are lost against its roofline. */
  ms: number;
  lost: number;
  /** A guess, from times and counts alone. */
  cause: "launch gaps" | "occupancy" | "bandwidth" | "arithmetic";
}

/** A dispatch that is over so soon cannot have filled a large GPU: milliseconds. */
const SHORT_CALL = 0.02;

/**
 * The largest losses of a step against its rooflines, the largest first. The cause is a guess: time
 * between kernels is launch gaps; kernels whose dispatches are very short leave a device idle
 * (occupancy); the others are held by what their roofline is made of, bandwidth or arithmetic.
 */
export function largestGaps(totals: readonly KernelTotal[], most = 3): StepGap[] {
  const gaps = totals.map(({ label, calls, ms, ofPeak, bound }): StepGap => {
    if (label === GAPS) return { label, ms, lost: ms, cause: "launch gaps" };
    const cause = ms / Math.max(1, calls) < SHORT_CALL ? "occupancy" : bound ?? "occupancy";
    return { label, ms, lost: ms * Math.max(0, 1 - (ofPeak ?? 0)), cause };
  });
  return gaps.sort((a, b) => b.lost - a.lost).slice(0, most);
}
