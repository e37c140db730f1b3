/** `train --profile`: where a step's time goes on the device, as a table and as a Chrome trace. @module */
import { writeAtomic } from "../core/files.ts";
import { formatTable, type Reporter } from "../core/reporter.ts";
import type { Peaks } from "../kernels/peaks.ts";
import type { KernelTime } from "../kernels/plan.ts";

/** What a kernel came to over a step. */
interface KernelTotal {
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
  /** Bytes that had to move, in GB a second; undefined where a kernel counts none. */
  gigabytes?: number;
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
  // In operations and bytes a millisecond, as everything here.
  const fastest = Math.max((peaks?.products ?? 0) / 1000, ...products.map(([, sum]) => rate(sum)));
  const bandwidth = peaks ? peaks.bandwidth / 1000 : Infinity;
  const least = ({ flop, bytes }: { flop: number; bytes: number }) =>
    Math.max(fastest ? flop / fastest : 0, bytes / bandwidth);
  const totals = [...sums].map(([label, sum]): KernelTotal => ({
    label,
    calls: sum.calls,
    ms: sum.ms,
    share: sum.ms / whole,
    ...(least(sum) ? { ofPeak: least(sum) / Math.max(sum.ms, 1e-9) } : {}),
    ...(sum.bytes ? { gigabytes: sum.bytes / Math.max(sum.ms, 1e-9) / 1e6 } : {}),
  }));
  const rest = whole - totals.reduce((sum, t) => sum + t.ms, 0);
  totals.push({ label: "copies and gaps", calls: 0, ms: Math.max(0, rest), share: rest / whole });
  return totals.sort((a, b) => b.ms - a.ms);
}

/** The times as a trace that chrome://tracing and Perfetto read. */
export function chromeTrace(times: readonly KernelTime[]): string {
  const traceEvents = times.map(({ label, start, ms, flop, bytes }) => ({
    name: label,
    ph: "X",
    ts: start * 1000,
    dur: ms * 1000,
    pid: 1,
    tid: 1,
    args: { flop, bytes },
  }));
  return JSON.stringify({ traceEvents, displayTimeUnit: "ms" });
}

/** Prints the table and writes the trace to `file`. */
export function reportProfile(
  reporter: Reporter,
  times: readonly KernelTime[],
  file: string,
  peaks?: Peaks,
): void {
  const totals = kernelTotals(times, peaks);
  const rows = totals.map(({ label, calls, ms, share, ofPeak, gigabytes }) => [
    label,
    calls ? String(calls) : "",
    ms.toFixed(3),
    `${(100 * share).toFixed(1)} %`,
    ofPeak === undefined ? "" : `${(100 * ofPeak).toFixed(0)} %`,
    gigabytes === undefined ? "" : gigabytes.toFixed(gigabytes < 10 ? 1 : 0),
  ]);
  const head = ["kernel", "calls", "ms", "of the step", "of its roofline", "GB/s"];
  reporter.line(formatTable(head, rows));
  const sum = (of: (t: KernelTime) => number) => times.reduce((n, t) => n + of(t), 0);
  const ms = totals.reduce((n, t) => n + t.ms, 0);
  reporter.line(
    `${times.length} dispatches in ${ms.toFixed(1)} ms; ${(sum((t) => t.flop) / 1e9).toFixed(1)} ` +
      `GFLOP at ${(sum((t) => t.flop) / ms / 1e6).toFixed(1)} GFLOP/s; ` +
      `${(sum((t) => t.bytes) / 1e9).toFixed(2)} GB that had to move, as far as kernels count them`,
  );
  if (peaks) {
    reporter.line(
      `Measured here: a copy ${(peaks.bandwidth / 1e9).toFixed(1)} GB/s, a large product ` +
        `${(peaks.products / 1e9).toFixed(1)} GFLOP/s`,
    );
  }
  reporter.line(`Trace: ${file} (open it in chrome://tracing or ui.perfetto.dev)\n`);
  writeAtomic(file, chromeTrace(times));
}
