import * as reference from "../../kernels/reference/mod.ts";
import { fromRows, type GoldenCase, startsOf, toRows } from "../../model/goldens/golden_file.ts";
import { assertAlmostEquals, assertEquals } from "../assert.ts";
import { agrees, type Results } from "./golden_operations.ts";
import { randoms } from "./randoms.ts";

/** Keeps the outputs that the case asks for. */
const asked = (golden: GoldenCase, results: Results): Results =>
  Object.fromEntries(Object.entries(results).filter(([name]) => name in golden.outputs));

/** An input, or undefined where the case has none. */
const optional = (golden: GoldenCase, name: string) =>
  name in golden.inputs ? golden.input(name) : undefined;

agrees("rmsnorm", (golden) => {
  const epsilon = Number(golden.attributes.eps);
  const weight = golden.input("weight");
  const forward = reference.rmsNorm(
    golden.input("x"),
    weight,
    epsilon,
    optional(golden, "residual"),
  );
  const { dx, dweight } = reference.rmsNormBackward(
    golden.input("gy"),
    forward.residual,
    weight,
    epsilon,
    optional(golden, "gres"),
  );
  return asked(golden, {
    y: forward.y,
    residual_out: forward.residual,
    dx,
    dresidual: dx,
    dweight,
  });
});

agrees("conv_silu", (golden) => {
  const [b, d, l] = golden.inputs.x as [number, number, number];
  const rows = (name: string) => toRows(golden.input(name), b, d, l);
  const input: reference.ConvSiluInput = {
    batch: b,
    length: l,
    x: rows("x"),
    weight: golden.input("weight"),
    bias: golden.input("bias"),
    initial: optional(golden, "init_state"),
    starts: golden.inputs.cu_seqlens && startsOf(golden.integers("cu_seqlens"), b, l),
  };
  const g = reference.convSiluBackward(input, rows("gy"));
  return asked(golden, {
    y: fromRows(reference.convSilu(input), b, d, l),
    final_state: reference.convFinalState(input),
    dx: fromRows(g.dx, b, d, l),
    dweight: g.dweight,
    dbias: g.dbias,
    dinit_state: g.dinitial,
  });
});

agrees("selective_scan", (golden) => {
  const [b, d, l] = golden.inputs.u as [number, number, number];
  const n = golden.inputs.A![1]!;
  const rows = (name: string, channels: number) => toRows(golden.input(name), b, channels, l);
  const input: reference.SelectiveScanInput = {
    batch: b,
    length: l,
    u: rows("u", d),
    delta: rows("delta", d),
    A: golden.input("A"),
    B: rows("B", n),
    C: rows("C", n),
    D: optional(golden, "D"),
    z: golden.inputs.z && rows("z", d),
    deltaBias: optional(golden, "delta_bias"),
    softplus: golden.attributes.delta_softplus === true,
    initialState: optional(golden, "initial_state"),
    starts: golden.inputs.cu_seqlens && startsOf(golden.integers("cu_seqlens"), b, l),
  };
  const forward = reference.selectiveScan(input);
  const g = reference.selectiveScanBackward(input, rows("gy", d), optional(golden, "glast"));
  return asked(golden, {
    y: fromRows(forward.y, b, d, l),
    last_state: forward.lastState,
    du: fromRows(g.du, b, d, l),
    ddelta: fromRows(g.ddelta, b, d, l),
    dA: g.dA,
    dB: fromRows(g.dB, b, n, l),
    dC: fromRows(g.dC, b, n, l),
    dD: g.dD,
    dz: fromRows(g.dz, b, d, l),
    ddelta_bias: g.ddeltaBias,
    dinitial_state: g.dinitialState,
  });
});

agrees("cross_entropy", (golden): Results => {
  const targets = golden.integers("targets");
  if ("hidden" in golden.inputs) {
    const hidden = golden.input("hidden");
    const weight = golden.input("weight");
    const out = reference.linearCrossEntropy(hidden, weight, targets);
    const g = reference.linearCrossEntropyBackward(hidden, weight, targets, 1 / out.scored);
    const { nll, logSumExp: lse, scored, loss } = out;
    return { nll, lse, loss: [loss], n_valid: [scored], ...g };
  }
  const logits = golden.input("logits");
  const out = reference.crossEntropy(logits, targets);
  const dlogits = reference.crossEntropyBackward(logits, targets, 1 / out.scored);
  return { nll: out.nll, loss: [out.loss], n_valid: [out.scored], dlogits };
});

agrees("adamw", (golden) => {
  const { weight_decay, betas, eps, clip, steps, params, no_decay } = golden.attributes as {
    weight_decay: number;
    betas: [number, number];
    eps: number;
    clip: number;
    steps: number;
    params: string[];
    no_decay: string[];
  };
  const rates = golden.input("lrs");
  const norms: number[] = [];
  const results: Results = {};
  const states = params.map((name) => {
    const parameter = golden.input(`p0.${name}`);
    const n = parameter.length;
    return { name, state: { parameter, m: new Float64Array(n), v: new Float64Array(n) } };
  });
  for (let s = 0; s < steps; s++) {
    const gradients = states.map(({ name, state: { parameter: { length } } }) =>
      golden.input(`g.${name}`).subarray(s * length, (s + 1) * length)
    );
    const norm = reference.globalNorm(gradients);
    norms.push(norm);
    states.forEach(({ name, state }, i) => {
      reference.adamW(state, gradients[i]!, {
        step: s + 1,
        learningRate: rates[s]!,
        beta1: betas[0],
        beta2: betas[1],
        epsilon: eps,
        weightDecay: no_decay.includes(name) ? 0 : weight_decay,
        clip: reference.clipCoefficient(norm, clip),
      });
      results[`p${s + 1}.${name}`] = state.parameter.slice();
    });
  }
  for (const { name, state } of states) {
    results[`m.${name}`] = state.m;
    results[`v.${name}`] = state.v;
  }
  return asked(golden, { ...results, grad_norms: norms });
});

/** Checks an analytic gradient against central differences of `loss` at a few places. */
function differs(
  what: string,
  values: Float64Array,
  gradient: ArrayLike<number>,
  loss: () => number,
): void {
  const step = 1e-5;
  for (let k = 0; k < Math.min(12, values.length); k++) {
    const i = Math.floor(k * values.length / Math.min(12, values.length));
    const kept = values[i]!;
    values[i] = kept + step;
    const above = loss();
    values[i] = kept - step;
    const below = loss();
    values[i] = kept;
    const want = (above - below) / (2 * step);
    assertAlmostEquals(gradient[i]!, want, 1e-6 * Math.max(1, Math.abs(want)), `${what}[${i}]`);
  }
}
const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, v, i) => sum + v * b[i]!, 0);

Deno.test("reference rmsnorm: backward is the derivative of forward", () => {
  const x = randoms(15, 1);
  const residual = randoms(15, 2);
  const weight = randoms(5, 3);
  const dy = randoms(15, 4);
  const dresidual = randoms(15, 5);
  const loss = () => {
    const out = reference.rmsNorm(x, weight, 1e-5, residual);
    return dot(out.y, dy) + dot(out.residual, dresidual);
  };
  const { residual: sum } = reference.rmsNorm(x, weight, 1e-5, residual);
  const g = reference.rmsNormBackward(dy, sum, weight, 1e-5, dresidual);
  differs("dx", x, g.dx, loss);
  differs("dresidual", residual, g.dx, loss);
  differs("dweight", weight, g.dweight, loss);
});

Deno.test("reference linear and embedding: backward is the derivative of forward", () => {
  const x = randoms(6, 1);
  const weight = randoms(12, 2);
  const dy = randoms(8, 3);
  const loss = () => dot(reference.linear(x, weight, 3, 4), dy);
  const g = reference.linearBackward(dy, x, weight, 3, 4);
  differs("dx", x, g.dx, loss);
  differs("dweight", weight, g.dweight, loss);
  const tokens = [2, 0, 2];
  const table = randoms(12, 4);
  const dout = randoms(12, 5);
  const dtable = new Float64Array(12);
  reference.embeddingBackward(tokens, dout, dtable, 4);
  differs("dtable", table, dtable, () => dot(reference.embedding(tokens, table, 4), dout));
});

Deno.test("reference conv_silu: backward is the derivative of forward, packed and with a state", () => {
  for (const starts of [undefined, Uint8Array.from([1, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0])]) {
    const input = {
      batch: 2,
      length: 6,
      x: randoms(36, 1),
      weight: randoms(12, 2),
      bias: randoms(3, 3),
      initial: randoms(18, 4),
      starts,
    };
    const dy = randoms(36, 5);
    const loss = () => dot(reference.convSilu(input), dy);
    const g = reference.convSiluBackward(input, dy);
    differs("dx", input.x, g.dx, loss);
    differs("dweight", input.weight, g.dweight, loss);
    differs("dbias", input.bias, g.dbias, loss);
    differs("dinitial", input.initial, g.dinitial, loss);
  }
});

Deno.test("reference selective_scan: backward is the derivative of forward in every form", () => {
  const starts = Uint8Array.from([1, 0, 0, 1, 0, 0, 0, 0, 1, 0]);
  for (const softplus of [true, false]) {
    for (const form of ["full", "packed", "bare"]) {
      const bare = form === "bare";
      const input: reference.SelectiveScanInput = {
        batch: 2,
        length: 5,
        u: randoms(30, 1),
        delta: randoms(30, 2),
        A: randoms(12, 3).map((v) => -1 - Math.abs(v)),
        B: randoms(40, 4),
        C: randoms(40, 5),
        D: bare ? undefined : randoms(3, 6),
        z: bare ? undefined : randoms(30, 7),
        deltaBias: bare ? undefined : randoms(3, 8),
        softplus,
        initialState: bare ? undefined : randoms(24, 9),
        starts: form === "packed" ? starts : undefined,
      };
      const dy = randoms(30, 10);
      const dlast = randoms(24, 11);
      const loss = () => {
        const { y, lastState } = reference.selectiveScan(input);
        return dot(y, dy) + dot(lastState, dlast);
      };
      const g = reference.selectiveScanBackward(input, dy, dlast);
      const pairs: [string, Float64Array | undefined, Float64Array][] = [
        ["du", input.u, g.du],
        ["ddelta", input.delta, g.ddelta],
        ["dA", input.A, g.dA],
        ["dB", input.B, g.dB],
        ["dC", input.C, g.dC],
        ["dD", input.D, g.dD],
        ["dz", input.z, g.dz],
        ["ddeltaBias", input.deltaBias, g.ddeltaBias],
        ["dinitialState", input.initialState, g.dinitialState],
      ];
      for (const [name, values, gradient] of pairs) {
        if (values) differs(`${form} ${name}`, values, gradient, loss);
      }
    }
  }
});

Deno.test("reference selective_scan and conv_silu: packed documents equal documents apart", () => {
  const rows = (values: Float64Array, d: number, from: number, to: number) =>
    values.slice(from * d, to * d);
  const u = randoms(27, 1);
  const delta = randoms(27, 2);
  const A = randoms(6, 3).map((v) => -Math.abs(v));
  const B = randoms(18, 4);
  const C = randoms(18, 5);
  const weight = randoms(12, 6);
  const bias = randoms(3, 7);
  const starts = Uint8Array.from([1, 0, 0, 0, 1, 0, 0, 0, 0]);
  const packed = reference.selectiveScan({
    batch: 1,
    length: 9,
    u,
    delta,
    A,
    B,
    C,
    softplus: true,
    starts,
  });
  const conv = reference.convSilu({ batch: 1, length: 9, x: u, weight, bias, starts });
  for (const [from, to] of [[0, 4], [4, 9]] as const) {
    const length = to - from;
    const apart = reference.selectiveScan({
      batch: 1,
      length,
      u: rows(u, 3, from, to),
      delta: rows(delta, 3, from, to),
      A,
      B: rows(B, 2, from, to),
      C: rows(C, 2, from, to),
      softplus: true,
    });
    assertEquals(apart.y, rows(packed.y, 3, from, to));
    const x = rows(u, 3, from, to);
    const alone = reference.convSilu({ batch: 1, length, x, weight, bias });
    assertEquals(alone, rows(conv, 3, from, to));
  }
});

Deno.test("reference cross_entropy: backward is the derivative of forward, ignored rows are zero", () => {
  const hidden = randoms(12, 1);
  const weight = randoms(20, 2);
  const targets = Int32Array.from([1, -100, 4]);
  const loss = () => 0.5 * dot(reference.linearCrossEntropy(hidden, weight, targets).nll, ones(3));
  const g = reference.linearCrossEntropyBackward(hidden, weight, targets, 0.5);
  differs("dhidden", hidden, g.dhidden, loss);
  differs("dweight", weight, g.dweight, loss);
  const logits = randoms(15, 3);
  const out = reference.crossEntropy(logits, targets);
  assertEquals([out.scored, out.nll[1]], [2, 0]);
  const dlogits = reference.crossEntropyBackward(logits, targets, 1);
  assertEquals([...dlogits.subarray(5, 10)], [0, 0, 0, 0, 0]);
  assertAlmostEquals(dot(dlogits.subarray(0, 5), ones(5)), 0, 1e-12);
});
const ones = (n: number) => new Float64Array(n).fill(1);

Deno.test("reference softplus, silu and sigmoid hold at the extremes", () => {
  assertEquals(reference.softplus(1000), 1000);
  assertEquals(reference.softplus(-1000), 0);
  assertAlmostEquals(reference.softplus(-30) / Math.exp(-30), 1, 1e-12);
  assertEquals([reference.sigmoid(-800), reference.sigmoid(800)], [0, 1]);
  assertEquals([reference.silu(0), reference.siluDerivative(0)], [0, 0.5]);
  assertEquals([reference.silu(-800), reference.silu(800)], [-0, 800]);
});

Deno.test("reference adamw: the first update moves by the learning rate, decay is decoupled", () => {
  const options = { step: 1, learningRate: 0.1, beta1: 0.9, beta2: 0.95, epsilon: 0, clip: 1 };
  const state = () => ({
    parameter: new Float64Array([2, -4]),
    m: new Float64Array(2),
    v: new Float64Array(2),
  });
  const plain = state();
  const decayed = state();
  const gradient = new Float64Array([3, -0.5]);
  reference.adamW(plain, gradient, { ...options, weightDecay: 0 });
  assertAlmostEquals(plain.parameter[0]!, 1.9, 1e-12);
  assertAlmostEquals(plain.parameter[1]!, -3.9, 1e-12);
  reference.adamW(decayed, gradient, { ...options, weightDecay: 0.5 });
  assertAlmostEquals(decayed.parameter[0]!, 2 * 0.95 - 0.1, 1e-12);
  assertEquals(reference.clipCoefficient(10, Infinity), 1);
  assertAlmostEquals(reference.clipCoefficient(10, 1), 0.1, 1e-6);
  assertEquals(reference.globalNorm([new Float64Array([3]), new Float64Array([4])]), 5);
});
