import {
  gatedRmsNorm,
  gatedRmsNormBackward,
  type GatedRmsNormInput,
  ssd,
  ssdBackward,
  type SsdInput,
} from "../../kernels/reference/mod.ts";
import { compare, startsOf } from "../../model/goldens/golden_file.ts";
import { assert } from "../assert.ts";
import { agrees } from "./golden_operations.ts";
import { randoms } from "./randoms.ts";

agrees("ssd", (golden) => {
  const [batch, length, heads] = golden.inputs.x as [number, number, number];
  const input: SsdInput = {
    batch,
    length,
    heads,
    groups: golden.inputs.B![2]!,
    x: golden.input("x"),
    dt: golden.input("dt"),
    A: golden.input("A"),
    B: golden.input("B"),
    C: golden.input("C"),
    D: golden.input("D"),
    dtBias: golden.input("dt_bias"),
    softplus: true,
    starts: golden.inputs.cu_seqlens && startsOf(golden.integers("cu_seqlens"), batch, length),
  };
  const g = ssdBackward(input, golden.input("gy"));
  return {
    y: ssd(input).y,
    dx: g.dx,
    ddt: g.ddt,
    dA: g.dA,
    dB: g.dB,
    dC: g.dC,
    dD: g.dD,
    ddt_bias: g.ddtBias,
  };
});

agrees("gated_rmsnorm", (golden) => {
  const input: GatedRmsNormInput = {
    x: golden.input("x"),
    z: golden.input("z"),
    weight: golden.input("weight"),
    epsilon: Number(golden.attributes.eps),
    normBeforeGate: golden.attributes.norm_before_gate === true,
  };
  const y = gatedRmsNorm(input);
  return { y, ...gatedRmsNormBackward(input, golden.input("gy")) };
});

/** The gradient of `loss` by central differences in every value of `x`. */
function differences(x: Float64Array, loss: () => number): Float64Array {
  const step = 1e-6;
  return x.map((value, i) => {
    x[i] = value + step;
    const above = loss();
    x[i] = value - step;
    const below = loss();
    x[i] = value;
    return (above - below) / (2 * step);
  });
}

const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, v, i) => sum + v * b[i]!, 0);

function assertGradient(name: string, got: Float64Array, want: Float64Array): void {
  const { ok, error } = compare(got, want, 1e-7);
  assert(ok, `${name}: ${error}`);
}

for (const perChannel of [false, true]) {
  const kind = perChannel ? "D per channel, gate, limits" : "D per head, no softplus";
  Deno.test(`reference ssd: gradients equal finite differences (${kind})`, () => {
    const [batch, length, heads, groups, p, n] = [2, 7, 4, 2, 3, 2] as const;
    const rows = batch * length;
    const input: SsdInput = {
      batch,
      length,
      heads,
      groups,
      x: randoms(rows * heads * p, 1),
      dt: randoms(rows * heads, 2).map((v) => perChannel ? 2 * v : 0.5 + 0.4 * v),
      A: randoms(heads, 3).map((v) => -1 - v * v),
      B: randoms(rows * groups * n, 4),
      C: randoms(rows * groups * n, 5),
      D: randoms(perChannel ? heads * p : heads, 6),
      z: perChannel ? randoms(rows * heads * p, 7) : undefined,
      dtBias: randoms(heads, 8).map((v) => 0.1 * v),
      softplus: perChannel,
      limits: perChannel ? [0.3, 1.2] : undefined,
      initialState: randoms(batch * heads * p * n, 9),
      starts: Uint8Array.from({ length: rows }, (_, i) => Number(i === 4 || i === 7)),
    };
    const dy = randoms(rows * heads * p, 10);
    const dlast = randoms(batch * heads * p * n, 11);
    const loss = () => {
      const { y, lastState } = ssd(input);
      return dot(y, dy) + dot(lastState, dlast);
    };
    const g = ssdBackward(input, dy, dlast);
    const check = (name: string, got: Float64Array, x: Float64Array | undefined) =>
      x && assertGradient(name, got, differences(x, loss));
    check("dx", g.dx, input.x);
    check("ddt", g.ddt, input.dt);
    check("dA", g.dA, input.A);
    check("dB", g.dB, input.B);
    check("dC", g.dC, input.C);
    check("dD", g.dD, input.D);
    check("dz", g.dz, input.z);
    check("ddtBias", g.ddtBias, input.dtBias);
    check("dinitialState", g.dinitialState, input.initialState);
    if (perChannel) {
      assert(g.ddt.some((v) => v === 0), "some steps lie beyond the limits");
      assert(g.ddt.some((v) => v !== 0), "some steps lie within the limits");
    }
  });
}

for (const normBeforeGate of [false, true]) {
  for (const groups of [1, 3]) {
    const order = normBeforeGate ? "before" : "after";
    Deno.test(`reference gated_rmsnorm: gradients, norm ${order} the gate, ${groups} groups`, () => {
      const input: GatedRmsNormInput = {
        x: randoms(4 * 12, 1),
        z: randoms(4 * 12, 2),
        weight: randoms(12, 3),
        epsilon: 1e-5,
        groups,
        normBeforeGate,
      };
      const dy = randoms(4 * 12, 4);
      const loss = () => dot(gatedRmsNorm(input), dy);
      const { dx, dz, dweight } = gatedRmsNormBackward(input, dy);
      assertGradient("dx", dx, differences(input.x, loss));
      assertGradient("dz", dz, differences(input.z, loss));
      assertGradient("dweight", dweight, differences(input.weight, loss));
    });
  }
}
