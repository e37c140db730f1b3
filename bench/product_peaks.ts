/**
 * The best that a device reaches at the large matrix products of a model's training step: the limits
 * that its steps are measured against. The fastest programs found stay chosen for the steps after.
 * @module
 */
import { nth } from "../core/nth.ts";
import type { Device } from "../kernels/device.ts";
import { describeUnits } from "../kernels/matrix_units.ts";
import type { MatmulChoice } from "../kernels/matmul/choice.ts";
import { type Product, unitsFor } from "../kernels/matmul/mod.ts";
import { type ProductShape, tuneMatmul } from "../kernels/matmul/tune.ts";
import type { MambaConfig } from "../model/mamba/config.ts";
import { productShapes } from "../model/mamba/gpu/autotune.ts";
import type { Precision } from "../model/mamba/gpu/buffers.ts";
import { headChunk } from "../model/mamba/gpu/head.ts";

/** One product and its fastest program. */
interface PeakFigure {
  /** f32, f16 (operands; arithmetic in f32) or matrix units. */
  kind: string;
  product: Product;
  m: number;
  n: number;
  k: number;
  /** Which of A and B are f16. */
  half: string;
  milliseconds: number;
  /** The default choice over the fastest. */
  gain: number;
  tflops: number;
  choice: MatmulChoice;
  /** Programs measured: fewer than there are where the time was up. */
  tried: number;
}

/** Products of a step that are measured, by their arithmetic. */
const LARGEST = 6;

/**
 * Measures the largest products of a training step over `rows` tokens, largest first, until
 * `seconds` are over; each gets its share of what is left.
 */
export async function measurePeaks(
  device: Device,
  config: MambaConfig,
  rows: number,
  precision: Precision,
  seconds: number,
): Promise<PeakFigure[]> {
  const { chunkRows } = headChunk(device, rows, config.paddedVocabSize);
  const flop = ({ m, n, k }: ProductShape) => 2 * m * n * k;
  const shapes = productShapes(config, rows, chunkRows, precision)
    .sort((a, b) => flop(b) - flop(a)).slice(0, LARGEST);
  const end = performance.now() + 1000 * seconds;
  const figures: PeakFigure[] = [];
  for (const [i, shape] of shapes.entries()) {
    const now = performance.now();
    if (now > end) break;
    const until = now + (end - now) / (shapes.length - i);
    const timed = await tuneMatmul(device, shape, 3, until);
    const best = nth(timed, 0);
    const first = timed.find((t) => t.isDefault) ?? best;
    const { product, m, n, k, types } = shape;
    const units = types && unitsFor(device, types);
    figures.push({
      kind: units ? `matrix units ${describeUnits(units)}` : precision === "mixed" ? "f16" : "f32",
      product,
      m,
      n,
      k,
      milliseconds: best.ms,
      gain: first.ms / best.ms,
      half: (["a", "b"] as const).filter((x) => types?.[x].type).join(""),
      tflops: flop(shape) / best.ms / 1e9,
      choice: best.choice,
      tried: timed.length,
    });
  }
  return figures;
}

/** The figures as rows of a text table under {@linkcode PEAK_HEADINGS}. */
export const peakRows = (figures: readonly PeakFigure[]): string[][] =>
  figures.map((f) => [
    f.product,
    `${f.m} x ${f.n} x ${f.k}`,
    f.half || "none",
    f.milliseconds.toFixed(3),
    f.tflops.toFixed(f.tflops < 1 ? 3 : 1),
    `${f.choice.tile}, ${f.choice.stages ?? f.choice.depth}`,
    `${f.gain.toFixed(2)}x of ${f.tried}`,
  ]);
/** Headings of {@linkcode peakRows}. */
export const PEAK_HEADINGS = [
  "product",
  "m x n x k",
  "f16",
  "ms",
  "TFLOP/s",
  "tile, depth or stages",
  "best over default",
];
