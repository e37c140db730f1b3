/**
 * The selective scan against a plain copy: the bytes that it must move at least (every activation and
 * B and C once) over the time that it takes, as a share of the copy's rate. The goal on a GPU is 60 %.
 * @module
 */
import type { Device } from "../kernels/device.ts";
import type { Region } from "../kernels/layout.ts";
import { Plan } from "../kernels/plan.ts";
import { measureBandwidth } from "../kernels/peaks.ts";
import {
  scanBackward,
  scanBytes,
  scanExtents,
  scanForward,
  type ScanShape,
  scanSizes,
} from "../kernels/scan/mod.ts";
import { Workbench } from "../kernels/workbench.ts";
import type { MambaConfig } from "../model/mamba/config.ts";
import { timePlan } from "../kernels/plan_timing.ts";

/** One scan. */
interface ScanFigure {
  batch: number;
  length: number;
  /** How u, z and dz are stored. */
  stored: "f32" | "f16";
  pass: "forward" | "backward";
  milliseconds: number;
  /** Of the least bytes. */
  gigabytes_per_second: number;
  /** Of the copy's rate. */
  of_copy: number;
}

/** Rows and their tokens, as `[batch, length]`. */
export type ScanCase = readonly [batch: number, length: number];

/** Measures forward and backward at a model's channels; and, where the device has f16, both storages. */
export async function measureScans(
  device: Device,
  config: MambaConfig,
  cases: readonly ScanCase[],
  budgetMs: number,
): Promise<{ copy_gigabytes_per_second: number; scans: ScanFigure[] }> {
  const copy = await measureBandwidth(device);
  const scans: ScanFigure[] = [];
  for (const [batch, length] of cases) {
    for (const half of device.features.has("shader-f16") ? [false, true] : [false]) {
      const shape: ScanShape = {
        batch,
        length,
        channels: config.intermediateSize,
        states: config.stateSize,
        softplus: true,
        bias: true,
        skip: true,
        gate: true,
        packed: true,
        initialState: false,
        half,
      };
      const bench = new Workbench(device);
      const bytes = scanBytes(shape);
      try {
        const buffers = await device.guard("measure the scan", () => buffersOf(bench, shape));
        for (const pass of ["forward", "backward"] as const) {
          const plan = new Plan(device);
          const record = pass === "forward" ? scanForward : scanBackward;
          await device.guard("plan the scan", () => record(plan, shape, buffers));
          const milliseconds = await timePlan(plan, budgetMs);
          const rate = bytes[pass] / milliseconds * 1000;
          scans.push({
            batch,
            length,
            stored: half ? "f16" : "f32",
            pass,
            milliseconds,
            gigabytes_per_second: rate / 1e9,
            of_copy: rate / copy,
          });
          plan.destroy();
        }
      } finally {
        bench.clear();
      }
    }
  }
  return { copy_gigabytes_per_second: copy / 1e9, scans };
}

/** Every buffer apart, so that none is read from a cache that another filled; all zero but the starts. */
function buffersOf(bench: Workbench, shape: ScanShape) {
  const { device } = bench;
  const { stride, width } = scanExtents(shape);
  const sizes = scanSizes(device, shape);
  const region = (bytes: number): Region => bench.keep(device.allocate("scan", bytes));
  const wide = () => region(4 * stride * width);
  const floats = (count: number) => region(4 * count);
  const stored = () => region((shape.half ? 2 : 4) * stride * width);
  const panel = () => floats(stride * 32);
  const rows = shape.batch * shape.length;
  const starts = Uint32Array.from({ length: rows }, (_, i) => Number(i % shape.length % 170 === 0));
  return {
    u: stored(),
    delta: wide(),
    z: stored(),
    y: wide(),
    bc: panel(),
    gy: wide(),
    ddelta: wide(),
    dz: stored(),
    dbc: panel(),
    starts: bench.flat(starts),
    par: bench.flat(new Float32Array(sizes.par).fill(-0.5)),
    state: floats(sizes.state),
    checkpoints: floats(sizes.checkpoints),
    sums: floats(sizes.sums),
    dpar: floats(sizes.par),
    parts: floats(sizes.parts),
    dcheckpoints: floats(sizes.dcheckpoints),
  };
}

/** The figures as rows of a text table. */
export const scanRows = (figures: readonly ScanFigure[]): string[][] =>
  figures.map((f) => [
    `${f.batch} x ${f.length}`,
    f.stored,
    f.pass,
    f.milliseconds.toFixed(3),
    f.gigabytes_per_second.toFixed(1),
    `${(100 * f.of_copy).toFixed(0)} %`,
  ]);
/** Headings of {@linkcode scanRows}. */
export const SCAN_HEADINGS = ["rows", "stored", "scan", "ms", "GB/s at least", "of the copy"];
