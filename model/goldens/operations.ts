/**
 * The golden cases of single operations, computed by the device's kernels. Results are in the
 * goldens' own shapes: (b, d, l) where the kernels have rows (b l) of d columns.
 * @module
 */
import { fail } from "../../core/errors.ts";
import { float32At, float64At } from "../../core/nth.ts";
import { adamW, ADAMW_HYPER_BYTES, adamWHyper } from "../../kernels/adamw/adamw.ts";
import {
  convSiluBackward,
  convSiluForward,
  convSiluScratch,
} from "../../kernels/conv_silu/conv_silu.ts";
import { crossEntropy } from "../../kernels/cross_entropy/cross_entropy.ts";
import {
  gatedRmsNormBackward,
  gatedRmsNormForward,
  gatedRmsNormScratch,
} from "../../kernels/gated_rmsnorm/gated_rmsnorm.ts";
import { padded, type Region } from "../../kernels/layout.ts";
import { matmul } from "../../kernels/matmul/mod.ts";
import { sum, sumOfSquares, sumOfSquaresScratch } from "../../kernels/reduce/reduce.ts";
import { rmsNormBackward, rmsNormForward, rmsNormScratch } from "../../kernels/rmsnorm/rmsnorm.ts";
import { runScan } from "../../kernels/scan/harness.ts";
import { runSsd } from "../../kernels/ssd/harness.ts";
import { convolutionStep } from "../../kernels/scan/step.ts";
import type { Workbench } from "../../kernels/workbench.ts";
import { fromRows, type GoldenCase, startsOf, toRows } from "./golden_file.ts";

/** Outputs by the goldens' names; a case asks for some of them. */
export type GoldenResults = Record<string, ArrayLike<number>>;

/** Computes a case on the device; with `half`, what mixed precision keeps in f16 is kept so. */
type OperationRunner = (
  bench: Workbench,
  golden: GoldenCase,
  half?: "f16",
) => Promise<GoldenResults>;

/** Every operation that is built. */
export const OPERATIONS: Readonly<Record<string, OperationRunner>> = {
  rmsnorm: runRmsNorm,
  conv_silu: runConvSilu,
  selective_scan: runSelectiveScan,
  cross_entropy: runCrossEntropy,
  adamw: runAdamW,
  ssd: runStateSpaceDuality,
  gated_rmsnorm: runGatedRmsNorm,
};

/** Those that mixed precision computes otherwise. */
export const HALF_OPERATIONS: readonly string[] = [
  "rmsnorm",
  "conv_silu",
  "selective_scan",
  "cross_entropy",
  "ssd",
  "gated_rmsnorm",
];

const optional = (golden: GoldenCase, name: string) =>
  name in golden.inputs ? golden.input(name) : undefined;

async function runRmsNorm(
  bench: Workbench,
  golden: GoldenCase,
  half?: "f16",
): Promise<GoldenResults> {
  const [rows, cols] = golden.inputs.x as [number, number];
  const matrix = (values?: Float64Array) => bench.matrix(values, rows, cols);
  const residual = optional(golden, "residual");
  const past = optional(golden, "gres");
  const x = matrix(golden.input("x"));
  const dstream = matrix(past);
  const y = bench.matrix(undefined, rows, cols, half);
  const total = residual ? matrix() : x;
  const dweight = bench.flat(cols);
  const weight = bench.flat(golden.input("weight"));
  const inverseRms = bench.flat(rows);
  await bench.run((plan) => {
    rmsNormForward(plan, {
      ...(residual ? { residual: matrix(residual), x, sum: total } : { residual: x }),
      weight,
      y,
      inverseRms,
      epsilon: Number(golden.attributes.eps),
    });
    rmsNormBackward(plan, {
      dy: matrix(golden.input("gy")),
      sum: total,
      weight,
      inverseRms,
      dstream,
      dweight,
      accumulate: past !== undefined,
      scratch: bench.flat(rmsNormScratch(plan, rows, cols)),
    });
  });
  const dx = await bench.values(dstream);
  return {
    y: await bench.values(y),
    residual_out: await bench.values(total),
    dx,
    dresidual: dx,
    dweight: await bench.floats(dweight, cols),
  };
}

/** The size of an input along an axis; along the last for -1. */
const extent = ({ name, inputs }: GoldenCase, input: string, axis: number): number =>
  inputs[input]?.at(axis) ?? fail(`the golden ${name} has no axis ${axis} of ${input}`);

async function runConvSilu(
  bench: Workbench,
  golden: GoldenCase,
  half?: "f16",
): Promise<GoldenResults> {
  const [batch, d, length] = golden.inputs.x as [number, number, number];
  const width = extent(golden, "weight", -1);
  const initial = optional(golden, "init_state");
  // Rows of an initial state go before its sequence.
  const before = initial ? width - 1 : 0;
  const steps = before + length;
  const withState = (values: Float64Array, state?: Float64Array) =>
    Float64Array.from({ length: batch * d * steps }, (_, i) => {
      const t = i % steps;
      const channel = Math.floor(i / steps);
      return t >= before
        ? float64At(values, channel * length + t - before)
        : state?.[channel * before + t] ?? 0;
    });
  const split = (values: ArrayLike<number>, state: boolean) => {
    const all = fromRows(values, batch, d, steps);
    return all.filter((_, i) => i % steps < before === state);
  };
  const rows = (values: Float64Array, state?: Float64Array, type?: "f16") =>
    bench.matrix(toRows(withState(values, state), batch, d, steps), batch * steps, d, type);
  const ends = golden.inputs.cu_seqlens ? golden.integers("cu_seqlens") : [0, length];
  const starts = startsOf(ends, batch, steps);
  const shared = {
    weight: bench.flat(golden.input("weight")),
    bias: bench.flat(golden.input("bias")),
    width,
  };
  const packed = {
    ...shared,
    x: rows(golden.input("x"), initial, half),
    starts: bench.flat(Uint32Array.from(starts)),
  };
  const y = bench.matrix(undefined, batch * steps, d, half);
  const dx = bench.matrix(undefined, y.rows, d, half);
  const dweight = bench.flat(d * width);
  const dbias = bench.flat(d);
  await bench.run((plan) => {
    convSiluForward(plan, { ...packed, y });
    const scratch = bench.flat(convSiluScratch(plan, y.rows, d, width));
    const dy = rows(golden.input("gy"));
    convSiluBackward(plan, { ...packed, dy, dx, dweight, dbias, scratch });
  });
  const results: GoldenResults = {
    y: split(await bench.values(y), false),
    dx: split(await bench.values(dx), false),
    dinit_state: split(await bench.values(dx), true),
    dweight: await bench.floats(dweight, d * width),
    dbias: await bench.floats(dbias, d),
  };
  if ("final_state" in golden.outputs) {
    results.final_state = await finalConvolutionState(bench, golden, initial);
  }
  return results;
}

/** The convolution's window, (b, d, width - 1), after all steps of generation's form. */
async function finalConvolutionState(
  bench: Workbench,
  golden: GoldenCase,
  initial?: Float64Array,
): Promise<number[]> {
  const [batch, d, length] = golden.inputs.x as [number, number, number];
  const width = extent(golden, "weight", -1);
  const before = width - 1;
  const W = padded(d);
  const weight = bench.flat(golden.input("weight"));
  const bias = bench.flat(golden.input("bias"));
  const rows = toRows(golden.input("x"), batch, d, length);
  const states: number[] = [];
  for (let b = 0; b < batch; b++) {
    const held = new Float32Array(before * W);
    initial?.subarray(b * d * before, (b + 1) * d * before).forEach((value, i) => {
      held[i % before * W + Math.floor(i / before)] = value;
    });
    const window = bench.flat(held);
    const u = bench.flat(W);
    const sizes = { width, channels: d, padded: W };
    await bench.run((plan) => {
      for (let r = b * length; r < (b + 1) * length; r++) {
        const x = bench.flat(rows.subarray(r * d, (r + 1) * d));
        convolutionStep(plan, { x, weight, bias, window, u, ...sizes });
      }
    });
    const after = await bench.floats(window, before * W);
    for (let i = 0; i < d * before; i++) {
      states.push(float32At(after, i % before * W + Math.floor(i / before)));
    }
  }
  return states;
}

async function runSelectiveScan(
  bench: Workbench,
  golden: GoldenCase,
  half?: "f16",
): Promise<GoldenResults> {
  const [batch, d, length] = golden.inputs.u as [number, number, number];
  const n = extent(golden, "A", 1);
  const has = (name: string) => name in golden.inputs;
  const rows = (name: string, channels: number) =>
    Float32Array.from(toRows(golden.input(name), batch, channels, length));
  const plain = (name: string) => has(name) ? Float32Array.from(golden.input(name)) : undefined;
  const out = await runScan(bench.device, {
    batch,
    length,
    channels: d,
    states: n,
    softplus: golden.attributes.delta_softplus === true,
    bias: has("delta_bias"),
    skip: has("D"),
    gate: has("z"),
    packed: has("cu_seqlens"),
    initialState: has("initial_state"),
    half: half !== undefined,
  }, {
    u: rows("u", d),
    delta: rows("delta", d),
    gy: rows("gy", d),
    A: Float32Array.from(golden.input("A")),
    B: rows("B", n),
    C: rows("C", n),
    D: plain("D"),
    z: has("z") ? rows("z", d) : undefined,
    deltaBias: plain("delta_bias"),
    initialState: plain("initial_state"),
    glast: plain("glast"),
    starts: has("cu_seqlens") ? startsOf(golden.integers("cu_seqlens"), batch, length) : undefined,
  });
  const result = (name: string) => out[name] ?? fail(`the scan has no result ${name}`);
  const back = (name: string, channels: number) => fromRows(result(name), batch, channels, length);
  return {
    y: back("y", d),
    last_state: result("lastState"),
    du: back("du", d),
    ddelta: back("ddelta", d),
    dA: result("dA"),
    dB: back("dB", n),
    dC: back("dC", n),
    dD: result("dD"),
    dz: back("dz", d),
    ddelta_bias: result("ddeltaBias"),
    dinitial_state: result("dinitialState"),
  };
}

async function runCrossEntropy(
  bench: Workbench,
  golden: GoldenCase,
  half?: "f16",
): Promise<GoldenResults> {
  const targets = golden.integers("targets");
  const rows = targets.length;
  const scored = targets.reduce((count, target) => count + Number(target >= 0), 0);
  const linear = "hidden" in golden.inputs;
  const vocabulary = linear ? extent(golden, "weight", 0) : extent(golden, "logits", 1);
  const d = linear ? extent(golden, "weight", 1) : 1;
  const logits = bench.matrix(linear ? undefined : golden.input("logits"), rows, vocabulary);
  const hidden = bench.matrix(linear ? golden.input("hidden") : undefined, rows, d, half);
  const weight = bench.matrix(linear ? golden.input("weight") : undefined, vocabulary, d, half);
  const dhidden = bench.matrix(undefined, rows, d);
  const dweight = bench.matrix(undefined, vocabulary, d);
  const scale = bench.flat([1 / scored]);
  const loss = bench.flat(1);
  const nll = bench.flat(rows);
  const logSumExp = bench.flat(rows);
  await bench.run((plan) => {
    if (linear) matmul(plan, { product: "NT", a: hidden, b: weight, c: logits });
    const wanted = bench.flat(targets);
    crossEntropy(plan, { logits, targets: wanted, nll, firstRow: 0, scale, logSumExp });
    sum(plan, { values: nll, length: rows, out: loss, scale });
    if (!linear) return;
    matmul(plan, { product: "NN", a: logits, b: weight, c: dhidden });
    matmul(plan, { product: "TN", a: logits, b: hidden, c: dweight });
  });
  return {
    loss: await bench.floats(loss, 1),
    nll: await bench.floats(nll, rows),
    lse: await bench.floats(logSumExp, rows),
    n_valid: [scored],
    dlogits: await bench.values(logits),
    dhidden: await bench.values(dhidden),
    dweight: await bench.values(dweight),
  };
}

async function runAdamW(bench: Workbench, golden: GoldenCase): Promise<GoldenResults> {
  const attributes = golden.attributes as {
    params: string[];
    no_decay: string[];
    weight_decay: number;
    betas: [number, number];
    eps: number;
    clip: number;
    steps: number;
  };
  const parameters = attributes.params.map((name) => {
    const values = golden.input(`p0.${name}`);
    const size = values.length;
    return {
      name,
      size,
      gradients: golden.input(`g.${name}`),
      parameter: bench.flat(values),
      gradient: bench.flat(size),
      m: bench.flat(size),
      v: bench.flat(size),
      decay: !attributes.no_decay.includes(name),
    };
  });
  const { device } = bench;
  const rates = golden.input("lrs");
  const norms: number[] = [];
  const hyper = bench.keep(device.allocate("adamw values", ADAMW_HYPER_BYTES, 64 | 8));
  const squares = bench.flat(1);
  const results: GoldenResults = {};
  for (let step = 1; step <= attributes.steps; step++) {
    for (const { gradient, gradients, size } of parameters) {
      device.write(gradient, Float32Array.from(gradients.subarray((step - 1) * size, step * size)));
    }
    device.write(
      hyper,
      adamWHyper({
        step,
        learningRate: float64At(rates, step - 1),
        epsilon: attributes.eps,
        beta1: attributes.betas[0],
        beta2: attributes.betas[1],
        weightDecay: attributes.weight_decay,
        maxGradNorm: attributes.clip,
      }),
    );
    await bench.run((plan) => {
      const regions: Region[] = parameters.map((p) => p.gradient);
      sumOfSquares(plan, regions, bench.flat(sumOfSquaresScratch(plan, regions)), squares);
      for (const parameter of parameters) adamW(plan, parameter, hyper, squares);
    });
    norms.push(Math.sqrt(float32At(await bench.floats(squares, 1), 0)));
    for (const { name, parameter, size } of parameters) {
      results[`p${step}.${name}`] = await bench.floats(parameter, size);
    }
  }
  for (const { name, m, v, size } of parameters) {
    results[`m.${name}`] = await bench.floats(m, size);
    results[`v.${name}`] = await bench.floats(v, size);
  }
  return { ...results, grad_norms: norms };
}

async function runStateSpaceDuality(
  bench: Workbench,
  golden: GoldenCase,
  half?: "f16",
): Promise<GoldenResults> {
  const [batch, length, heads, headSize] = golden.inputs.x as [number, number, number, number];
  const [, , groups, states] = golden.inputs.B as [number, number, number, number];
  const packed = "cu_seqlens" in golden.inputs;
  const out = await runSsd(bench.device, {
    batch,
    length,
    heads,
    headSize,
    groups,
    states,
    softplus: true,
    skip: golden.inputs.D?.length === 2 ? "channel" : "head",
    packed,
    initialState: false,
    half: half !== undefined,
  }, {
    x: golden.input("x"),
    dt: golden.input("dt"),
    A: golden.input("A"),
    B: golden.input("B"),
    C: golden.input("C"),
    D: golden.input("D"),
    dtBias: golden.input("dt_bias"),
    starts: packed ? startsOf(golden.integers("cu_seqlens"), batch, length) : undefined,
    gy: golden.input("gy"),
  });
  const { ddtBias = [] } = out;
  return { ...out, ddt_bias: ddtBias };
}

async function runGatedRmsNorm(
  bench: Workbench,
  golden: GoldenCase,
  half?: "f16",
): Promise<GoldenResults> {
  const [rows, cols] = golden.inputs.x as [number, number];
  const matrix = (values?: Float64Array, type?: "f16") => bench.matrix(values, rows, cols, type);
  const x = matrix(golden.input("x"));
  const shared = {
    x,
    z: matrix(golden.input("z"), half),
    weight: bench.flat(golden.input("weight")),
    inverseRms: bench.flat(x.stride),
    groups: 1,
    columns: cols,
    epsilon: Number(golden.attributes.eps),
    normBeforeGate: golden.attributes.norm_before_gate === true,
  };
  const y = matrix(undefined, half);
  const dx = matrix(golden.input("gy"));
  const dz = matrix(undefined, half);
  const dweight = bench.flat(padded(cols));
  await bench.run((plan) => {
    gatedRmsNormForward(plan, { ...shared, y });
    const scratch = bench.flat(gatedRmsNormScratch(plan, rows, cols));
    gatedRmsNormBackward(plan, { ...shared, dy: dx, dz, dweight, scratch });
  });
  return {
    y: await bench.values(y),
    dx: await bench.values(dx),
    dz: await bench.values(dz),
    dweight: await bench.floats(dweight, cols),
  };
}
