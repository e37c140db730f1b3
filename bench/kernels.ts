/**
 * `bench kernels`: how fast every kernel is, forward and backward, and what share that is of the
 * matrix product's arithmetic or of a plain copy's bandwidth measured in the same run.
 * @module
 */
import type { Reporter } from "../core/reporter.ts";
import { formatTable } from "../core/reporter.ts";
import { adamW, ADAMW_HYPER_BYTES, adamWHyper } from "../kernels/adamw/adamw.ts";
import {
  convSiluBackward,
  convSiluForward,
  convSiluScratch,
} from "../kernels/conv_silu/conv_silu.ts";
import { crossEntropy } from "../kernels/cross_entropy/cross_entropy.ts";
import { type Device, openDevice, type Variant, VARIANTS } from "../kernels/device.ts";
import {
  embeddingBackward,
  embeddingForward,
  tokenSegments,
} from "../kernels/embedding/embedding.ts";
import { DeviceError } from "../kernels/errors.ts";
import type { Matrix, Region } from "../kernels/layout.ts";
import { matmul, type Product } from "../kernels/matmul/mod.ts";
import { Plan } from "../kernels/plan.ts";
import { addInto, sumOfSquares, sumOfSquaresScratch } from "../kernels/reduce/reduce.ts";
import { rmsNormBackward, rmsNormForward, rmsNormScratch } from "../kernels/rmsnorm/rmsnorm.ts";
import { scanBackward, scanForward, type ScanShape, scanSizes } from "../kernels/scan/mod.ts";
import { Workbench } from "../kernels/workbench.ts";
import type { MambaConfig } from "../model/config.ts";

/** One measured kernel. */
export interface KernelFigure {
  variant: Variant;
  kernel: string;
  pass: string;
  milliseconds: number;
  /** Arithmetic, where that is what bounds it. */
  gflops?: number;
  /** Bytes that must move, a second, where that is what bounds it. */
  gigabytes?: number;
  /** Share of the matrix product's GFLOP/s or the copy's GB/s of this variant. */
  share: number;
}

/** What is measured. */
export interface KernelBenchOptions {
  config: MambaConfig;
  /** Rows of a batch (b l), as sequences of `length`. */
  batch: number;
  length: number;
  /** One variant; all that the device can run by default. */
  variant?: string;
}

/** Seconds that one figure is measured for, three times over. */
const MEASURE_MS = 120;

/** The least milliseconds of one replay, without the cost of a submit. */
async function time(plan: Plan): Promise<number> {
  const { device } = plan;
  const once = async (count: number) => {
    const start = performance.now(), encoder = device.gpu.createCommandEncoder();
    for (let i = 0; i < count; i++) plan.record(encoder);
    device.gpu.queue.submit([encoder.finish()]);
    await device.idle();
    return performance.now() - start;
  };
  await once(1);
  let floor = Infinity;
  for (let i = 0; i < 3; i++) floor = Math.min(floor, await once(0));
  const guess = Math.max(0.02, await once(1) - floor);
  const count = Math.max(1, Math.min(400, Math.round(MEASURE_MS / guess)));
  let best = Infinity;
  for (let i = 0; i < 3; i++) best = Math.min(best, (await once(count) - floor) / count);
  return Math.max(best, 1e-4);
}

/** A kernel to measure: what it is called and how it is planned. */
interface Subject {
  kernel: string;
  pass: string;
  bound: "arithmetic" | "bandwidth";
  plan: (plan: Plan) => void;
}

function subjects(bench: Workbench, o: KernelBenchOptions): Subject[] {
  const { config, batch, length } = o, rows = batch * length;
  const { hiddenSize: d, intermediateSize: e, convKernel: width } = config;
  const matrix = (cols: number, fill = 0.01) =>
    bench.matrix(new Float32Array(rows * cols).fill(fill), rows, cols);
  const floats = (count: number) => bench.flat(new Float32Array(count).fill(0.01));
  const starts = bench.flat(Uint32Array.from({ length: rows }, (_, i) => Number(i % length === 0)));
  const scratch = (plan: Plan) =>
    bench.flat(
      Math.max(rmsNormScratch(plan, rows, d), convSiluScratch(plan, rows, e, width)),
    );
  const [x, y, u, v] = [matrix(d), matrix(d), matrix(e), matrix(e)] as const;
  const narrow = { weight: floats(d), inverseRms: floats(rows), dweight: floats(d) };
  const conv = { weight: floats(e * width), bias: floats(e), width, starts };
  return [
    ...productSubjects(bench, o, [x, u]),
    {
      kernel: "rmsnorm",
      pass: "forward",
      bound: "bandwidth",
      plan: (plan) => rmsNormForward(plan, { ...narrow, residual: x, y, epsilon: 1e-5 }),
    },
    {
      kernel: "rmsnorm",
      pass: "backward",
      bound: "bandwidth",
      plan: (plan) =>
        rmsNormBackward(plan, {
          ...{ ...narrow, dy: y, sum: x, dstream: matrix(d), accumulate: true },
          scratch: scratch(plan),
        }),
    },
    {
      kernel: "conv and SiLU",
      pass: "forward",
      bound: "bandwidth",
      plan: (plan) => convSiluForward(plan, { ...conv, x: u, y: v }),
    },
    {
      kernel: "conv and SiLU",
      pass: "backward",
      bound: "bandwidth",
      plan: (plan) =>
        convSiluBackward(plan, {
          ...{ ...conv, x: u, dy: v, dx: matrix(e), dweight: floats(e * width), dbias: floats(e) },
          scratch: scratch(plan),
        }),
    },
    ...scanSubjects(bench, o, starts, [u, v]),
    ...vocabularySubjects(bench, o, x),
    ...arenaSubjects(bench),
  ];
}

function productSubjects(bench: Workbench, o: KernelBenchOptions, [x, u]: Matrix[]): Subject[] {
  const { hiddenSize: d, intermediateSize: e } = o.config;
  const weight = bench.matrix(new Float32Array(e * d).fill(0.01), e, d);
  const product = (product: Product, a: Matrix, b: Matrix, c: Matrix, pass: string): Subject => ({
    kernel: `matmul ${product}`,
    pass,
    bound: "arithmetic",
    plan: (plan) => matmul(plan, { product, a, b, c }),
  });
  const out = bench.matrix(undefined, x!.rows, e), dx = bench.matrix(undefined, x!.rows, d);
  return [
    product("NT", x!, weight, out, "forward"),
    product("NN", u!, weight, dx, "dX"),
    product("TN", u!, x!, bench.matrix(undefined, e, d), "dW"),
  ];
}

function scanSubjects(
  bench: Workbench,
  o: KernelBenchOptions,
  starts: Region,
  [u, v]: Matrix[],
): Subject[] {
  const { intermediateSize: e, stateSize: states } = o.config, { batch, length } = o;
  const shape: ScanShape = {
    ...{ batch, length, channels: e, states, softplus: true, bias: true, skip: true },
    ...{ gate: true, packed: true, initialState: false },
  };
  const sizes = scanSizes(bench.device, shape);
  const panel = () => bench.matrix(new Float32Array(u!.rows * 32).fill(0.01), u!.rows, 32).region;
  const wide = () => bench.matrix(undefined, u!.rows, e).region;
  const forward = {
    ...{ u: u!.region, delta: v!.region, z: u!.region, y: wide(), starts, bc: panel() },
    par: bench.flat(new Float32Array(sizes.par).fill(-0.5)),
    state: bench.flat(sizes.state),
    checkpoints: bench.flat(sizes.checkpoints),
    sums: bench.flat(sizes.sums),
  };
  const backward = {
    ...{ ...forward, gy: v!.region, du: wide(), ddelta: wide(), dz: wide(), dbc: panel() },
    dpar: bench.flat(sizes.par),
    dbcParts: bench.flat(sizes.dbcParts),
    dparParts: bench.flat(sizes.dparParts),
    dcheckpoints: bench.flat(sizes.dcheckpoints),
  };
  const kernel = "selective scan", bound = "arithmetic";
  return [
    { kernel, pass: "forward", bound, plan: (plan) => scanForward(plan, shape, forward) },
    { kernel, pass: "backward", bound, plan: (plan) => scanBackward(plan, shape, backward) },
  ];
}

/** Logits that a chunk of rows holds at most. */
const CHUNK_LOGITS = 1 << 23;

function vocabularySubjects(bench: Workbench, o: KernelBenchOptions, x: Matrix): Subject[] {
  const { hiddenSize: d, paddedVocabSize: vocabulary } = o.config;
  const chunk = Math.max(1, Math.min(x.rows, Math.floor(CHUNK_LOGITS / vocabulary)));
  const tokens = Uint32Array.from({ length: x.rows }, (_, i) => (i * 7919) % vocabulary);
  const targets = bench.flat(Int32Array.from(tokens)), nll = bench.flat(x.rows);
  const logits = bench.matrix(undefined, chunk, vocabulary), scale = bench.flat([1 / x.rows]);
  const table = bench.matrix(undefined, vocabulary, d), T = bench.flat(tokens);
  const segments = bench.flat(tokenSegments(tokens)),
    shared = { logits, targets, nll, firstRow: 0 };
  const name = `cross-entropy, ${chunk} rows`, bound = "bandwidth";
  return [
    { kernel: name, pass: "forward", bound, plan: (plan) => crossEntropy(plan, shared) },
    {
      kernel: name,
      pass: "and backward",
      bound,
      plan: (plan) => crossEntropy(plan, { ...shared, scale }),
    },
    {
      kernel: "embedding",
      pass: "forward",
      bound,
      plan: (plan) => embeddingForward(plan, { table, tokens: T, x }),
    },
    {
      kernel: "embedding",
      pass: "backward",
      bound,
      plan: (plan) => embeddingBackward(plan, { dtable: table, segments, dx: x }),
    },
  ];
}

/** Parameters that AdamW is measured on. */
const ARENA = 1 << 22;

function arenaSubjects(bench: Workbench): Subject[] {
  const [parameter, gradient, m, v] = [0, 1, 2, 3].map(() => bench.flat(ARENA)) as [
    Region,
    Region,
    Region,
    Region,
  ];
  const hyper = bench.keep(bench.device.allocate("adamw values", ADAMW_HYPER_BYTES, 64 | 8));
  const options = { step: 1, learningRate: 1e-3, beta1: 0.9, beta2: 0.95, epsilon: 1e-8 };
  bench.device.write(hyper, adamWHyper({ ...options, weightDecay: 0.1, maxGradNorm: 1 }));
  const squares = bench.flat(4), kernel = `${ARENA / 1e6} M parameters`, bound = "bandwidth";
  return [
    {
      kernel: `AdamW, ${kernel}`,
      pass: "update",
      bound,
      plan: (plan) => adamW(plan, { parameter, gradient, m, v, decay: true }, hyper, squares),
    },
    {
      kernel: `norm, ${kernel}`,
      pass: "update",
      bound,
      plan: (plan) =>
        sumOfSquares(
          plan,
          [gradient],
          bench.flat(sumOfSquaresScratch(plan, [gradient])),
          squares,
        ),
    },
    { kernel: `add, ${kernel}`, pass: "", bound, plan: (plan) => addInto(plan, m, v) },
  ];
}

/** Bytes of the buffers that the copy moves between. */
const COPY_BYTES = 1 << 26;

/** Measures every kernel in one variant; `onFigure` sees each as it comes. */
async function benchVariant(
  device: Device,
  options: KernelBenchOptions,
  onFigure: (figure: KernelFigure) => void,
): Promise<void> {
  const bench = new Workbench(device), { variant } = device;
  const build = async (record: (plan: Plan) => void) => {
    const plan = new Plan(device);
    await device.guard("plan the benchmark", () => record(plan));
    return plan;
  };
  try {
    const from = bench.flat(COPY_BYTES / 4), to = bench.flat(COPY_BYTES / 4);
    const copyMs = await time(await build((plan) => plan.copy(from, to)));
    const copy = 2 * COPY_BYTES / copyMs / 1e6;
    onFigure({
      ...{ variant, kernel: "copy", pass: "", milliseconds: copyMs },
      ...{ gigabytes: copy, share: 1 },
    });
    const measured: Omit<KernelFigure, "share">[] = [];
    for (const { kernel, pass, bound, plan: record } of subjects(bench, options)) {
      const plan = await build(record), milliseconds = await time(plan);
      const rate = (amount: number) => amount / milliseconds / 1e6;
      measured.push({
        ...{ variant, kernel, pass, milliseconds },
        ...(bound === "arithmetic" ? { gflops: rate(plan.flop()) } : {
          gigabytes: rate(plan.bytes()),
        }),
      });
      plan.destroy();
    }
    const peak = Math.max(
      ...measured.map((m) => m.kernel.startsWith("matmul") ? m.gflops ?? 0 : 0),
    );
    for (const m of measured) {
      onFigure({
        ...m,
        share: m.gflops === undefined ? (m.gigabytes ?? 0) / copy : m.gflops / peak,
      });
    }
  } finally {
    bench.clear();
  }
}

/** Measures every kernel in the given variant, or in all that the device can run. */
export async function benchKernels(
  options: KernelBenchOptions,
  reporter: Reporter,
): Promise<KernelFigure[]> {
  const figures: KernelFigure[] = [];
  for (const variant of options.variant ? [options.variant] : VARIANTS) {
    let device: Device;
    try {
      device = await openDevice({ variant });
    } catch (error) {
      if (options.variant || !(error instanceof DeviceError)) throw error;
      reporter.log(`${variant} left out: ${error.message}`);
      continue;
    }
    try {
      reporter.log(`${device.description}, variant ${variant}`);
      await benchVariant(device, options, (figure) => figures.push(figure));
    } finally {
      device.destroy();
    }
  }
  reporter.line(kernelTable(figures));
  return figures;
}

/** The figures as a text table. */
export function kernelTable(figures: KernelFigure[]): string {
  const number = (x: number | undefined, digits: number) =>
    x === undefined ? "" : x.toFixed(digits);
  return formatTable(
    ["variant", "kernel", "pass", "ms", "GFLOP/s", "GB/s", "of peak"],
    figures.map((f) => [
      f.variant,
      f.kernel,
      f.pass,
      number(f.milliseconds, 3),
      number(f.gflops, 1),
      number(f.gigabytes, 2),
      `${(100 * f.share).toFixed(0)}%`,
    ]),
  );
}
