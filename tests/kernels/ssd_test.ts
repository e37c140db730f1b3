import { ssd, ssdBackward, type SsdInput } from "../../kernels/reference/ssd.ts";
import { runSsd } from "../../kernels/ssd/harness.ts";
import type { SsdShape } from "../../kernels/ssd/mod.ts";
import type { Device } from "../../kernels/device.ts";
import { assertClose, deviceTest } from "./board.ts";
import { randoms } from "./randoms.ts";

interface Case extends SsdShape {
  name: string;
}
const FULL = {
  softplus: true,
  skip: "head",
  packed: true,
  initialState: false,
  lastState: true,
} as const;
const CASES: Case[] = [
  {
    name: "1 step, 2 rows",
    batch: 2,
    length: 1,
    heads: 2,
    headSize: 32,
    groups: 1,
    states: 16,
    ...FULL,
    packed: false,
  },
  {
    name: "17 steps, odd sizes, 2 groups",
    batch: 2,
    length: 17,
    heads: 4,
    headSize: 5,
    groups: 2,
    states: 7,
    ...FULL,
  },
  {
    name: "257 steps, head size 64, 128 states",
    batch: 1,
    length: 257,
    heads: 2,
    headSize: 64,
    groups: 1,
    states: 128,
    ...FULL,
  },
  {
    name: "520 steps, 2 rows, head size 128, 64 states, 8 groups",
    batch: 2,
    length: 520,
    heads: 8,
    headSize: 128,
    groups: 8,
    states: 64,
    ...FULL,
  },
  {
    name: "200 steps in one chunk, no last state",
    batch: 2,
    length: 200,
    heads: 4,
    headSize: 32,
    groups: 2,
    states: 32,
    ...FULL,
    lastState: false,
  },
  {
    name: "600 steps without documents, no last state",
    batch: 1,
    length: 600,
    heads: 2,
    headSize: 32,
    groups: 1,
    states: 32,
    ...FULL,
    packed: false,
    lastState: false,
  },
  {
    name: "f16, 100 steps",
    batch: 2,
    length: 100,
    heads: 4,
    headSize: 5,
    groups: 2,
    states: 7,
    ...FULL,
    half: true,
  },
  {
    name: "chunks of 32, initial state, D of channels, limits",
    batch: 2,
    length: 131,
    heads: 3,
    headSize: 40,
    groups: 1,
    states: 16,
    chunk: 32,
    ...FULL,
    skip: "channel",
    initialState: true,
    limits: [0.05, 0.2],
  },
  {
    name: "chunks of 128, initial state, no softplus, no D",
    batch: 2,
    length: 190,
    heads: 2,
    headSize: 32,
    groups: 2,
    states: 32,
    chunk: 128,
    ...FULL,
    softplus: false,
    skip: "none",
    packed: false,
    initialState: true,
  },
];

async function check(device: Device, shape: Case, limit = 1e-5): Promise<void> {
  const { batch, length, heads, headSize: p, groups, states: n } = shape;
  const rows = batch * length;
  const stored = (x: Float64Array) => shape.half ? x.map(Math.f16round) : x;
  const input: SsdInput = {
    batch,
    length,
    heads,
    groups,
    softplus: shape.softplus,
    limits: shape.limits,
    x: stored(randoms(rows * heads * p, 1)),
    // With softplus raw steps around -3 give steps near 0.05; without, they must be positive.
    dt: randoms(rows * heads, 2).map((v) =>
      Math.fround(shape.softplus ? 2 * v - 2 : 0.1 + 0.09 * v)
    ),
    A: randoms(heads, 3).map((v) => Math.fround(-8 - 7 * v)),
    B: stored(randoms(rows * groups * n, 4)),
    C: stored(randoms(rows * groups * n, 5)),
    D: shape.skip === "none" ? undefined : randoms(shape.skip === "channel" ? heads * p : heads, 6),
    dtBias: randoms(heads, 7).map((v) => Math.fround(v / 8)),
    initialState: shape.initialState ? randoms(batch * heads * p * n, 8) : undefined,
    starts: shape.packed
      ? Uint8Array.from(
        { length: rows },
        (_, i) => Number(!shape.initialState && i % length === 0 || i % 23 === 5 || i % 97 === 64),
      )
      : undefined,
  };
  const gy = randoms(rows * heads * p, 9);
  const glast = shape.initialState ? randoms(batch * heads * p * n, 10) : undefined;
  const got = await runSsd(device, shape, { ...input, gy, glast });
  const forward = ssd(input);
  const g = ssdBackward(input, gy, glast);
  assertClose(`${shape.name}: y`, got.y!, forward.y, limit);
  if (got.lastState) {
    assertClose(`${shape.name}: last state`, got.lastState, forward.lastState, limit);
  }
  assertClose(`${shape.name}: dx`, got.dx!, g.dx, limit);
  assertClose(`${shape.name}: dB`, got.dB!, g.dB, limit);
  assertClose(`${shape.name}: dC`, got.dC!, g.dC, limit);
  assertClose(`${shape.name}: ddt`, got.ddt!, g.ddt, limit);
  assertClose(`${shape.name}: dA`, got.dA!, g.dA, limit);
  assertClose(`${shape.name}: ddtBias`, got.ddtBias!, g.ddtBias, limit);
  if (shape.skip !== "none") assertClose(`${shape.name}: dD`, got.dD!, g.dD, limit);
  if (glast) assertClose(`${shape.name}: dS0`, got.dinitialState!, g.dinitialState, limit);
}

for (const shape of CASES) {
  deviceTest(`ssd: ${shape.name}`, (board) => check(board.device, shape));
}

deviceTest("ssd: 100,000 steps of one sequence", async (board) => {
  const sizes = { batch: 1, length: 100_000, heads: 2, headSize: 4, groups: 1, states: 4 };
  // Without documents, and with decays from fast to slow: what lies long ago counts.
  await check(board.device, { name: "long", ...sizes, ...FULL, packed: false }, 1e-3);
});
