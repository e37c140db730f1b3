/** Runs the device's selective scan on plain row-major values, for tests and goldens. @module */
import type { Device } from "../device.ts";
import { fromPanels, type Region, toPanels } from "../layout.ts";
import { Plan } from "../plan.ts";
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

/** Every result by name, row-major as the reference's. */
export async function runScan(
  device: Device,
  shape: ScanShape,
  values: ScanValues,
): Promise<Record<string, Float32Array>> {
  const { batch, length, channels: d, states: n } = shape, rows = batch * length;
  const { np, stride, width, panels } = scanExtents(shape), sizes = scanSizes(device, shape);
  const regions: Region[] = [];
  const keep = (r: Region) => (regions.push(r), r);
  const region = (floats: number, data?: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>) => {
    const r = keep(device.allocate("scan test", 4 * floats));
    if (data?.length) device.write(r, data);
    return r;
  };
  const activation = (x?: Float32Array) =>
    region(stride * width, x ? toPanels(x, rows, d) : undefined);
  /** u, z and dz. */
  const stored = (x?: Float32Array) => {
    if (!shape.half) return activation(x);
    const r = keep(device.allocate("scan test", 2 * stride * width));
    if (x) device.write(r, Float16Array.from(toPanels(x, rows, d)));
    return r;
  };
  const bc = new Float32Array(stride * 32), par = new Float32Array(sizes.par);
  for (let r = 0; r < rows; r++) {
    for (let k = 0; k < n; k++) {
      bc[r * 32 + k] = values.B[r * n + k]!;
      bc[r * 32 + np + k] = values.C[r * n + k]!;
    }
  }
  for (let c = 0; c < d; c++) {
    for (let k = 0; k < n; k++) par[k * width + c] = values.A[c * n + k]!;
    par[np * width + c] = values.D?.[c] ?? 0;
    par[(np + 1) * width + c] = values.deltaBias?.[c] ?? 0;
  }
  const stateIndex = (b: number, c: number, k: number) =>
    ((b * panels + (c >> 5)) * np + k) * 32 + (c & 31);
  const state = (x?: Float32Array) => {
    const out = new Float32Array(sizes.state);
    x?.forEach((v, i) => out[stateIndex(Math.floor(i / n / d), Math.floor(i / n) % d, i % n)] = v);
    return region(sizes.state, out);
  };
  const buffers: ScanBackward = {
    u: stored(values.u),
    delta: activation(values.delta),
    z: stored(values.z),
    bc: region(bc.length, bc),
    par: region(par.length, par),
    starts: region(stride, Uint32Array.from(values.starts ?? [])),
    y: activation(),
    state: state(values.initialState),
    checkpoints: region(sizes.checkpoints),
    sums: region(sizes.sums),
    gy: activation(values.gy),
    ddelta: activation(),
    dz: stored(),
    dbc: region(stride * 32),
    dpar: region(sizes.par),
    dstate: state(values.glast),
    parts: region(sizes.parts),
    dcheckpoints: region(sizes.dcheckpoints),
  };
  const plan = new Plan(device);
  await device.guard("plan the scan", () => {
    scanForward(plan, shape, buffers);
    scanBackward(plan, shape, buffers);
  });
  plan.submit();
  const read = (r: Region) => device.readFloats(r);
  const rowsOf = async (r: Region | undefined) => fromPanels(await read(r!), rows, d);
  const stateOf = async (r: Region | undefined) => {
    const x = await read(r!);
    return Float32Array.from(
      { length: batch * d * n },
      (_, i) => x[stateIndex(Math.floor(i / n / d), Math.floor(i / n) % d, i % n)]!,
    );
  };
  const dbc = await read(buffers.dbc), dpar = await read(buffers.dpar);
  const pick = (count: number, at: (i: number) => number, from: Float32Array) =>
    Float32Array.from({ length: count }, (_, i) => from[at(i)]!);
  const out: Record<string, Float32Array> = {
    y: await rowsOf(buffers.y),
    lastState: await stateOf(buffers.state),
    du: await rowsOf(buffers.gy),
    ddelta: await rowsOf(buffers.ddelta),
    dz: shape.half
      ? fromPanels(Float32Array.from(new Float16Array(await device.read(buffers.dz!))), rows, d)
      : await rowsOf(buffers.dz),
    dB: pick(rows * n, (i) => Math.floor(i / n) * 32 + i % n, dbc),
    dC: pick(rows * n, (i) => Math.floor(i / n) * 32 + np + i % n, dbc),
    dA: pick(d * n, (i) => (i % n) * width + Math.floor(i / n), dpar),
    dD: pick(d, (i) => np * width + i, dpar),
    ddeltaBias: pick(d, (i) => (np + 1) * width + i, dpar),
    dinitialState: await stateOf(buffers.dstate),
  };
  plan.destroy();
  regions.forEach((r) => device.free(r));
  return out;
}
