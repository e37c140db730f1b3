import { assert } from "../assert.ts";
import { type Device, VARIANTS } from "../../kernels/device.ts";
import { openDevice } from "../../kernels/open_device.ts";
import { selectiveScan, selectiveScanBackward } from "../../kernels/reference/selective_scan.ts";
import type { ScanShape } from "../../kernels/scan/mod.ts";
import { randoms } from "./randoms.ts";
import { runScan } from "../../kernels/scan/harness.ts";

interface Case extends ScanShape {
  name: string;
}
const FULL = {
  softplus: true,
  bias: true,
  skip: true,
  gate: true,
  packed: false,
  initialState: false,
};
const CASES: Case[] = [
  { name: "one step", batch: 2, length: 1, channels: 5, states: 16, ...FULL },
  { name: "17 steps, odd channels", batch: 2, length: 17, channels: 37, states: 16, ...FULL },
  {
    name: "257 steps, packed",
    batch: 1,
    length: 257,
    channels: 40,
    states: 16,
    ...FULL,
    packed: true,
  },
  {
    name: "520 steps, two rows packed",
    batch: 2,
    length: 520,
    channels: 33,
    states: 16,
    ...FULL,
    packed: true,
  },
  { name: "8 states", batch: 3, length: 33, channels: 64, states: 8, ...FULL, packed: true },
  {
    name: "3 states, bare",
    batch: 1,
    length: 40,
    channels: 36,
    states: 3,
    ...FULL,
    bias: false,
    skip: false,
    gate: false,
  },
  {
    name: "initial state, no softplus",
    batch: 2,
    length: 31,
    channels: 36,
    states: 16,
    ...FULL,
    softplus: false,
    bias: false,
    initialState: true,
  },
];

/** The form for GPUs cuts the sequences of so small cases; these it walks whole, or cuts into few. */
const UNCUT: Case[] = [
  { ...CASES[3]!, name: "uncut, two rows packed", segments: 1 },
  { ...CASES[6]!, name: "uncut, initial state", length: 70, segments: 1 },
  { ...CASES[5]!, name: "two segments, bare", length: 150, segments: 2 },
];

/** Runs a case both ways; `large` multiplies B and D, and divides the gradient of the output. */
async function check(device: Device, shape: Case, large = 1): Promise<void> {
  const { batch, length, channels: d, states: n } = shape;
  const rows = batch * length;
  // Exact in f16 where they are stored so; dz is then rounded once.
  const stored = (x: Float64Array) => shape.half ? x.map(Math.f16round) : x;
  const f = (x: Float64Array | undefined) => x && Float32Array.from(x);
  const input = {
    batch,
    length,
    softplus: shape.softplus,
    u: stored(randoms(rows * d, 1)),
    // With softplus raw deltas around -3 give steps near 0.05; without, they must be positive.
    delta: randoms(rows * d, 2).map((x) =>
      Math.fround(shape.softplus ? 2 * x - 3 : 0.1 + 0.09 * x)
    ),
    A: Float64Array.from({ length: d * n }, (_, i) => -1 - (i % n)),
    B: randoms(rows * n, 3).map((x) => Math.fround(large * x)),
    C: randoms(rows * n, 4),
    D: shape.skip ? randoms(d, 5).map((x) => Math.fround(large * x)) : undefined,
    z: shape.gate ? stored(randoms(rows * d, 6)) : undefined,
    deltaBias: shape.bias ? randoms(d, 7) : undefined,
    initialState: shape.initialState ? randoms(batch * d * n, 8) : undefined,
    starts: shape.packed
      ? Uint8Array.from(
        { length: rows },
        (_, i) => Number(i % length === 0 || i % 13 === 5 || i % 50 === 49),
      )
      : undefined,
  };
  const gy = randoms(rows * d, 9).map((x) => Math.fround(x / large));
  const glast = shape.initialState ? randoms(batch * d * n, 10) : undefined;
  const forward = selectiveScan(input);
  const { dA, dB, dC, dD, du, dz, ddelta, ddeltaBias, dinitialState } = selectiveScanBackward(
    input,
    gy,
    glast,
  );
  const got = await runScan(device, shape, {
    u: f(input.u)!,
    delta: f(input.delta)!,
    A: f(input.A)!,
    B: f(input.B)!,
    C: f(input.C)!,
    D: f(input.D),
    z: f(input.z),
    deltaBias: f(input.deltaBias),
    initialState: f(input.initialState),
    starts: input.starts,
    gy: f(gy)!,
    glast: f(glast),
  });
  const want: Record<string, Float64Array> = {
    y: forward.y,
    lastState: forward.lastState,
    du,
    ddelta,
    dA,
    dB,
    dC,
    ...(shape.gate ? { dz } : {}),
    ...(shape.skip ? { dD } : {}),
    ...(shape.bias ? { ddeltaBias } : {}),
    ...(shape.initialState ? { dinitialState } : {}),
  };
  for (const [name, values] of Object.entries(want)) {
    let error = 0;
    let max = 0;
    values.forEach((v, i) => {
      const e = Math.abs(v - got[name]![i]!);
      if (!(e <= error)) error = e;
      max = Math.max(max, Math.abs(v));
    });
    assert(
      error <= (shape.half && name === "dz" ? 2 ** -11 + 1e-5 : 1e-5) * (max || 1e-2),
      `${shape.name}: ${name} is off by ${error} of ${max}`,
    );
  }
  if (large > 1) assert(forward.y.some((y) => Math.abs(y) > 1e6));
}

for (const variant of VARIANTS) {
  Deno.test(`selective scan equals float64, forward and backward: ${variant}`, async () => {
    const device = await openDevice({ variant });
    try {
      const cases = variant === "gpu-tiled" ? [...CASES, ...UNCUT] : CASES;
      for (const shape of cases) await check(device, shape);
    } finally {
      device.destroy();
    }
  });

  Deno.test(`selective scan of f16 u and z: outputs of 1e6 do not overflow: ${variant}`, async () => {
    const device = await openDevice({ variant });
    try {
      for (const index of [2, 5]) await check(device, { ...CASES[index]!, half: true });
      await check(device, { ...CASES[2]!, half: true }, 4e6);
    } finally {
      device.destroy();
    }
  });
}
