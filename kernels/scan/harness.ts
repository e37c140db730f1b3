/** Runs the device's selective scan on plain row-major values, for tests and goldens. @module */
import type { Device } from "../device.ts";
import type { Matrix, Region } from "../layout.ts";
import { Workbench } from "../workbench.ts";
import {
  type ScanBackward,
  scanBackward,
  scanExtents,
  scanForward,
  type ScanShape,
  scanSizes,
} from "./mod.ts";

/** Operands in the layouts of the float64 reference; all row-major. */
export interface ScanValues {
  u: Float32Array;
  delta: Float32Array;
  A: Float32Array;
  B: Float32Array;
  C: Float32Array;
  D?: Float32Array;
  z?: Float32Array;
  deltaBias?: Float32Array;
  initialState?: Float32Array;
  starts?: Uint8Array;
  gy: Float32Array;
  glast?: Float32Array;
}

/** Where a value of a row-major operand lies in its buffer on the device. */
type Placement = (index: number) => number;

/** Values as the device has them: each at its place, zeros between. */
function placed(
  floats: number,
  values: ArrayLike<number> | undefined,
  place: Placement,
): Float32Array<ArrayBuffer> {
  const out = new Float32Array(floats);
  for (let i = 0; i < (values?.length ?? 0); i++) out[place(i)] = values?.[i] ?? 0;
  return out;
}

/** The inverse: `count` values from their places. */
const taken = (from: Float32Array, count: number, place: Placement): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => from[place(i)] ?? NaN);

/** Where each row-major value lies, for the layouts of shape.ts. */
function placements(shape: ScanShape) {
  const { channels: d, states: n } = shape;
  const { np, panels, width } = scanExtents(shape);
  return {
    /** (rows, states) in bc. */
    B: (i: number) => Math.floor(i / n) * 32 + i % n,
    C: (i: number) => Math.floor(i / n) * 32 + np + i % n,
    /** (channels, states), (channels), (channels) in par. */
    A: (i: number) => (i % n) * width + Math.floor(i / n),
    D: (i: number) => np * width + i,
    bias: (i: number) => (np + 1) * width + i,
    /** (batch, channels, states) in a state. */
    state(i: number) {
      const k = i % n;
      const c = Math.floor(i / n) % d;
      const b = Math.floor(i / n / d);
      return ((b * panels + (c >> 5)) * np + k) * 32 + (c & 31);
    },
  } satisfies Record<string, Placement>;
}

/** Every result by name, row-major as the reference's. */
export async function runScan(
  device: Device,
  shape: ScanShape,
  values: ScanValues,
): Promise<Record<string, Float32Array>> {
  const { batch, length, channels: d, states: n } = shape;
  const rows = batch * length;
  const { stride } = scanExtents(shape);
  const sizes = scanSizes(device, shape);
  const at = placements(shape);
  const bench = new Workbench(device);
  const activation = (x?: Float32Array) => bench.matrix(x, rows, d);
  /** u, z and dz. */
  const stored = (x?: Float32Array) => bench.matrix(x, rows, d, shape.half ? "f16" : undefined);
  const bc = placed(stride * 32, values.B, at.B);
  values.C.forEach((value, i) => bc[at.C(i)] = value);
  const par = placed(sizes.par, values.A, at.A);
  values.D?.forEach((value, i) => par[at.D(i)] = value);
  values.deltaBias?.forEach((value, i) => par[at.bias(i)] = value);
  const starts = new Uint32Array(stride);
  starts.set(values.starts ?? []);
  const matrices = {
    u: stored(values.u),
    delta: activation(values.delta),
    z: stored(values.z),
    y: activation(),
    gy: activation(values.gy),
    ddelta: activation(),
    dz: stored(),
  };
  const regionOf = ({ region }: Matrix): Region => region;
  const buffers = {
    u: regionOf(matrices.u),
    delta: regionOf(matrices.delta),
    z: regionOf(matrices.z),
    y: regionOf(matrices.y),
    gy: regionOf(matrices.gy),
    ddelta: regionOf(matrices.ddelta),
    dz: regionOf(matrices.dz),
    bc: bench.flat(bc),
    par: bench.flat(par),
    starts: bench.flat(starts),
    state: bench.flat(placed(sizes.state, values.initialState, at.state)),
    checkpoints: bench.flat(sizes.checkpoints),
    sums: bench.flat(sizes.sums),
    dbc: bench.flat(stride * 32),
    dpar: bench.flat(sizes.par),
    dstate: bench.flat(placed(sizes.state, values.glast, at.state)),
    parts: bench.flat(sizes.parts),
    dcheckpoints: bench.flat(sizes.dcheckpoints),
  } satisfies ScanBackward;
  try {
    await bench.run((plan) => {
      scanForward(plan, shape, buffers);
      scanBackward(plan, shape, buffers);
    });
    const dbc = await device.readFloats(buffers.dbc);
    const dpar = await device.readFloats(buffers.dpar);
    const states = batch * d * n;
    return {
      y: await bench.values(matrices.y),
      lastState: taken(await device.readFloats(buffers.state), states, at.state),
      du: await bench.values(matrices.gy),
      ddelta: await bench.values(matrices.ddelta),
      dz: await bench.values(matrices.dz),
      dB: taken(dbc, rows * n, at.B),
      dC: taken(dbc, rows * n, at.C),
      dA: taken(dpar, d * n, at.A),
      dD: taken(dpar, d, at.D),
      ddeltaBias: taken(dpar, d, at.bias),
      dinitialState: taken(await device.readFloats(buffers.dstate), states, at.state),
    };
  } finally {
    bench.clear();
  }
}
