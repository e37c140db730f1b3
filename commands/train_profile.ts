/** `train --profile`: where a step's time goes on the device, as a table and as a Chrome trace. @module */
import { writeAtomic } from "../core/files.ts";
import { formatTable, type Reporter } from "../core/reporter.ts";
import type { Peaks } from "../kernels/peaks.ts";
import type { KernelTime } from "../kernels/plan.ts";
import { kernelTotals } from "../kernels/step_times.ts";

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
