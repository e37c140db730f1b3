/** A model's kernels at its shapes, one by one, for benchmarks and for tuning. @module */
import { ALTERNATIVES } from "../../../kernels/alternatives.ts";
import { adamW, ADAMW_HYPER_BYTES, adamWHyper } from "../../../kernels/adamw/adamw.ts";
import {
  convSiluBackward,
  convSiluForward,
  convSiluScratch,
} from "../../../kernels/conv_silu/conv_silu.ts";
import { crossEntropy } from "../../../kernels/cross_entropy/cross_entropy.ts";
import {
  embeddingBackward,
  embeddingForward,
  tokenSegments,
} from "../../../kernels/embedding/embedding.ts";
import { type Matrix, padded, type Region } from "../../../kernels/layout.ts";
import { matmul, type Product } from "../../../kernels/matmul/mod.ts";
import {
  gatedRmsNormBackward,
  gatedRmsNormForward,
  gatedRmsNormScratch,
} from "../../../kernels/gated_rmsnorm/gated_rmsnorm.ts";
import { matvec } from "../../../kernels/matvec/matvec.ts";
import type { Plan } from "../../../kernels/plan.ts";
import { addInto, sumOfSquares, sumOfSquaresScratch } from "../../../kernels/reduce/reduce.ts";
import {
  rmsNormBackward,
  rmsNormForward,
  rmsNormScratch,
} from "../../../kernels/rmsnorm/rmsnorm.ts";
import {
  scanBackward,
  scanForward,
  type ScanShape,
  type ScanSizes,
  scanSizes,
} from "../../../kernels/scan/mod.ts";
import type { Sizing } from "../../../kernels/device.ts";
import {
  ssdBackward,
  ssdExtents,
  ssdForward,
  type SsdShape,
  ssdSizes,
} from "../../../kernels/ssd/mod.ts";
import type { Workbench } from "../../../kernels/workbench.ts";
import { headsOf, type Mamba2Config, type MambaConfig } from "../config.ts";

/** The shapes that kernels are measured at. */
export interface KernelShapes {
  config: MambaConfig;
  /** Rows of a batch (b l), as sequences of `length`. */
  batch: number;
  length: number;
  /** Mamba-2's sizes, whose own kernels are measured besides; a Mamba-2's are its own by default. */
  mamba2?: Mamba2Config;
}

/** A kernel to measure: what it is called and how it is planned. */
export interface Subject {
  kernel: string;
  pass: string;
  bound: "arithmetic" | "bandwidth";
  plan: (plan: Plan) => void;
}

/** Every kernel, with operands allocated on the bench. */
export function kernelSubjects(bench: Workbench, o: KernelShapes): Subject[] {
  const { config, batch, length } = o;
  const rows = batch * length;
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
          ...narrow,
          dy: y,
          sum: x,
          dstream: matrix(d),
          accumulate: true,
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
          ...conv,
          x: u,
          dy: v,
          dx: matrix(e),
          dweight: floats(e * width),
          dbias: floats(e),
          scratch: scratch(plan),
        }),
    },
    ...(config.kind === "mamba" ? scanSubjects(bench, o, starts, [u, v]) : []),
    ...mamba2Subjects(bench, o, starts),
    ...vocabularySubjects(bench, o, x),
    ...arenaSubjects(bench),
    generationSubject(bench, o),
  ];
}

function productSubjects(bench: Workbench, o: KernelShapes, [x, u]: [Matrix, Matrix]): Subject[] {
  const { hiddenSize: d, intermediateSize: e } = o.config;
  const weight = bench.matrix(new Float32Array(e * d).fill(0.01), e, d);
  const product = (product: Product, a: Matrix, b: Matrix, c: Matrix, pass: string): Subject => ({
    kernel: `matmul ${product}`,
    pass,
    bound: "arithmetic",
    plan: (plan) => matmul(plan, { product, a, b, c }),
  });
  const out = bench.matrix(undefined, x.rows, e);
  const dx = bench.matrix(undefined, x.rows, d);
  return [
    product("NT", x, weight, out, "forward"),
    product("NN", u, weight, dx, "dX"),
    product("TN", u, x, bench.matrix(undefined, e, d), "dW"),
  ];
}

/** Sizes of the scan's buffers that suffice whatever stage is chosen. */
function largestSizes(device: Sizing, shape: ScanShape): ScanSizes {
  const sizes = scanSizes(device, shape);
  for (const stage of ALTERNATIVES["scan-stage"].values) {
    const other = scanSizes(device, { ...shape, stage });
    for (const name of Object.keys(sizes) as (keyof ScanSizes)[]) {
      sizes[name] = Math.max(sizes[name], other[name]);
    }
  }
  return sizes;
}

function scanSubjects(
  bench: Workbench,
  o: KernelShapes,
  starts: Region,
  [u, v]: [Matrix, Matrix],
): Subject[] {
  const { intermediateSize: e, stateSize: states } = o.config;
  const { batch, length } = o;
  const shape: ScanShape = {
    batch,
    length,
    channels: e,
    states,
    softplus: true,
    bias: true,
    skip: true,
    gate: true,
    packed: true,
    initialState: false,
  };
  const sizes = largestSizes(bench.device, shape);
  const panel = () => bench.matrix(new Float32Array(u.rows * 32).fill(0.01), u.rows, 32).region;
  const wide = () => bench.matrix(undefined, u.rows, e).region;
  const forward = {
    u: u.region,
    delta: v.region,
    z: u.region,
    y: wide(),
    starts,
    bc: panel(),
    par: bench.flat(new Float32Array(sizes.par).fill(-0.5)),
    state: bench.flat(sizes.state),
    checkpoints: bench.flat(sizes.checkpoints),
    sums: bench.flat(sizes.sums),
  };
  const backward = {
    ...forward,
    gy: wide(),
    du: wide(),
    ddelta: wide(),
    dz: wide(),
    dbc: panel(),
    dpar: bench.flat(sizes.par),
    parts: bench.flat(sizes.parts),
    dcheckpoints: bench.flat(sizes.dcheckpoints),
  };
  const kernel = "selective scan";
  const bound = "arithmetic";
  return [
    { kernel, pass: "forward", bound, plan: (plan) => scanForward(plan, shape, forward) },
    { kernel, pass: "backward", bound, plan: (plan) => scanBackward(plan, shape, backward) },
  ];
}

/** State space duality, and the norm after it. */
function mamba2Subjects(bench: Workbench, o: KernelShapes, starts: Region): Subject[] {
  const config = o.mamba2 ?? (o.config.kind === "mamba2" ? o.config : undefined);
  if (!config) return [];
  const { batch, length } = o;
  const rows = batch * length;
  const shape: SsdShape = {
    batch,
    length,
    heads: headsOf(config),
    headSize: config.headSize,
    groups: config.groups,
    states: config.stateSize,
    softplus: true,
    skip: "head",
    packed: true,
    initialState: false,
  };
  const sizes = ssdSizes(bench.device, shape);
  const { columns, width, headWidth } = ssdExtents(shape);
  const matrix = (cols: number) =>
    bench.matrix(new Float32Array(rows * cols).fill(0.01), rows, cols);
  const y = matrix(width);
  const gy = matrix(width);
  const forward = {
    u: matrix(columns).region,
    dt: matrix(headWidth).region,
    par: bench.flat(new Float32Array(sizes.par).fill(-0.5)),
    starts,
    y: y.region,
    steps: bench.flat(sizes.steps),
    pairs: bench.flat(sizes.pairs),
    states: bench.flat(sizes.states),
  };
  const backward = {
    ...forward,
    gy: gy.region,
    du: matrix(columns).region,
    ddt: matrix(headWidth).region,
    dpar: bench.flat(sizes.par),
    dstates: bench.flat(sizes.states),
    dpairs: bench.flat(sizes.pairs),
    sums: bench.flat(sizes.sums),
  };
  const norm = {
    x: y,
    z: matrix(width),
    weight: bench.flat(new Float32Array(width).fill(1)),
    inverseRms: bench.flat(config.groups * y.stride),
    groups: config.groups,
    columns: config.intermediateSize,
    epsilon: config.normEpsilon,
    normBeforeGate: config.normBeforeGate,
  };
  const ssd = { kernel: "state space duality", bound: "arithmetic" } as const;
  const gated = { kernel: "gated rmsnorm", bound: "bandwidth" } as const;
  return [
    { ...ssd, pass: "forward", plan: (plan) => ssdForward(plan, shape, forward) },
    { ...ssd, pass: "backward", plan: (plan) => ssdBackward(plan, shape, backward) },
    {
      ...gated,
      pass: "forward",
      plan: (plan) => gatedRmsNormForward(plan, { ...norm, y: matrix(width) }),
    },
    {
      ...gated,
      pass: "backward",
      plan: (plan) =>
        gatedRmsNormBackward(plan, {
          ...norm,
          dy: gy,
          dz: matrix(width),
          dweight: bench.flat(width),
          scratch: bench.flat(gatedRmsNormScratch(plan, rows, width)),
        }),
    },
  ];
}

/** Logits that a chunk of rows holds at most. */
const CHUNK_LOGITS = 1 << 23;

function vocabularySubjects(bench: Workbench, o: KernelShapes, x: Matrix): Subject[] {
  const { hiddenSize: d, paddedVocabSize: vocabulary } = o.config;
  const chunk = Math.max(1, Math.min(x.rows, Math.floor(CHUNK_LOGITS / vocabulary)));
  const tokens = Uint32Array.from({ length: x.rows }, (_, i) => (i * 7919) % vocabulary);
  const targets = bench.flat(Int32Array.from(tokens));
  const nll = bench.flat(x.rows);
  const logits = bench.matrix(undefined, chunk, vocabulary);
  const scale = bench.flat([1 / x.rows]);
  const table = bench.matrix(undefined, vocabulary, d);
  const T = bench.flat(tokens);
  const segments = bench.flat(tokenSegments(tokens));
  const shared = { logits, targets, nll, firstRow: 0 };
  const name = `cross-entropy, ${chunk} rows`;
  const bound = "bandwidth";
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

/** The product of a weight with the state of one token: what generation spends its time on. */
function generationSubject(bench: Workbench, o: KernelShapes): Subject {
  const { hiddenSize: d, intermediateSize: e } = o.config;
  const weight = bench.matrix(new Float32Array(2 * e * d).fill(0.01), 2 * e, d);
  const x = bench.flat(new Float32Array(padded(d)).fill(0.01));
  const y = bench.flat(padded(2 * e));
  return {
    kernel: "matvec",
    pass: "forward",
    bound: "bandwidth",
    plan: (plan) => matvec(plan, { weight, x, y }),
  };
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
  const squares = bench.flat(4);
  const kernel = `${ARENA / 1e6} M parameters`;
  const bound = "bandwidth";
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
