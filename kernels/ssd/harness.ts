/** Runs the device's state space duality on plain row-major values, for tests and goldens. @module */
import type { Device } from "../device.ts";
import { fromPanels, padded, type Region, toPanels } from "../layout.ts";
import { Plan } from "../plan.ts";
import {
  type SsdBackward,
  ssdBackward,
  ssdExtents,
  ssdForward,
  type SsdShape,
  ssdSizes,
} from "./mod.ts";

/** Operands in the layouts of the float64 reference; all row-major. */
export interface SsdValues {
  x: ArrayLike<number>;
  dt: ArrayLike<number>;
  A: ArrayLike<number>;
  B: ArrayLike<number>;
  C: ArrayLike<number>;
  D?: ArrayLike<number>;
  dtBias?: ArrayLike<number>;
  initialState?: ArrayLike<number>;
  starts?: Uint8Array;
  gy: ArrayLike<number>;
  glast?: ArrayLike<number>;
}

/**
 * Every result by name, row-major as the reference's. It is longer than 100 lines because it lists
 * once each: the operands as they lie on the device, the forward, the backward, and the results.
 */
export async function runSsd(
  device: Device,
  shape: SsdShape,
  values: SsdValues,
): Promise<Record<string, Float32Array>> {
  const { batch, length, heads, groups, headSize: p, states: n } = shape;
  const rows = batch * length;
  const { pp, np, width, columns, b, c, stride, headWidth } = ssdExtents(shape);
  const sizes = ssdSizes(device, shape);
  const regions: Region[] = [];
  const region = (data: number | Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>) => {
    const floats = typeof data === "number" ? data : data.length;
    const allocated = device.allocate("ssd test", 4 * floats);
    regions.push(allocated);
    if (typeof data !== "number" && data.length) device.write(allocated, data);
    return allocated;
  };
  /** A row of `columns` values with blocks of `size` values every `pitch`, from `first` on. */
  const spreadRows = (
    into: Float32Array,
    widthOfInto: number,
    first: number,
    pitch: number,
    x: ArrayLike<number>,
    size: number,
  ) => {
    const each = x.length / rows;
    for (let i = 0; i < x.length; i++) {
      const row = Math.floor(i / each);
      const block = Math.floor(i % each / size);
      into[row * widthOfInto + first + block * pitch + i % size] = x[i] ?? 0;
    }
  };
  const u = new Float32Array(rows * columns);
  spreadRows(u, columns, 0, pp, values.x, p);
  spreadRows(u, columns, b, np, values.B, n);
  spreadRows(u, columns, c, np, values.C, n);
  const gy = new Float32Array(rows * width);
  spreadRows(gy, width, 0, pp, values.gy, p);
  const par = new Float32Array(sizes.par);
  const skip = new Float32Array(width);
  for (let h = 0; h < heads; h++) {
    par[h] = values.A[h] ?? 0;
    if (shape.skip === "head") par[headWidth + h] = values.D?.[h] ?? 0;
    par[2 * headWidth + h] = values.dtBias?.[h] ?? 0;
    for (let i = 0; i < p && shape.skip === "channel"; i++) {
      skip[h * pp + i] = values.D?.[h * p + i] ?? 0;
    }
  }
  const stateIndex = (i: number) => {
    const k = i % n;
    const channel = Math.floor(i / n) % p;
    const block = Math.floor(i / n / p);
    return ((block * (pp / 32) + (channel >> 5)) * np + k) * 32 + (channel & 31);
  };
  const stateSize = batch * heads * p * n;
  const state = (x?: ArrayLike<number>) => {
    const out = new Float32Array(sizes.state);
    for (let i = 0; x && i < stateSize; i++) out[stateIndex(i)] = x[i] ?? 0;
    return region(out);
  };
  /** Past the last row lies what must not matter. */
  const panels = (x: Float32Array, cols: number) => {
    const out = toPanels(x, rows, cols);
    for (let panel = 0; panel < padded(cols) / 32; panel++) {
      out.fill(3e4, (panel * stride + rows) * 32, (panel + 1) * stride * 32);
    }
    return out;
  };
  const stored = panels(u, columns);
  const buffers: SsdBackward = {
    u: region(shape.half ? new Uint32Array(Float16Array.from(stored).buffer) : stored),
    dt: region(panels(Float32Array.from(values.dt), heads)),
    par: region(par),
    skip: region(skip),
    starts: region(Uint32Array.from({ length: stride }, (_, i) => values.starts?.[i] ?? 0)),
    y: region(stride * width),
    state: shape.initialState || shape.lastState ? state(values.initialState) : undefined,
    steps: region(sizes.steps),
    pairs: region(sizes.pairs),
    states: region(sizes.states),
    gy: region(panels(gy, width)),
    du: region(stride * columns),
    ddt: region(stride * headWidth),
    dpar: region(sizes.par),
    dskip: region(width),
    dstate: state(values.glast),
    dstates: region(sizes.states),
    dpairs: region(sizes.pairs),
    sums: region(sizes.sums),
  };
  const plan = new Plan(device);
  await device.guard("plan the state space duality", () => {
    ssdForward(plan, shape, buffers);
    ssdBackward(plan, shape, buffers);
  });
  plan.submit();
  const read = (r: Region) => device.readFloats(r);
  /** The blocks that {@linkcode spreadRows} spread. */
  const gather = (
    x: Float32Array,
    of: number,
    first: number,
    pitch: number,
    each: number,
    size: number,
  ) =>
    Float32Array.from({ length: rows * each }, (_, i) => {
      const row = Math.floor(i / each);
      const block = Math.floor(i % each / size);
      return x[row * of + first + block * pitch + i % size] ?? NaN;
    });
  const y = fromPanels(await read(buffers.y), rows, width);
  const du = fromPanels(await read(buffers.du), rows, columns);
  const dpar = await read(buffers.dpar);
  const stateOf = async (r: Region) => {
    const x = await read(r);
    return Float32Array.from({ length: stateSize }, (_, i) => x[stateIndex(i)] ?? NaN);
  };
  const dskip = buffers.dskip ? await read(buffers.dskip) : new Float32Array();
  const out: Record<string, Float32Array> = {
    y: gather(y, width, 0, pp, heads * p, p),
    dx: gather(du, columns, 0, pp, heads * p, p),
    dB: gather(du, columns, b, np, groups * n, n),
    dC: gather(du, columns, c, np, groups * n, n),
    ddt: fromPanels(await read(buffers.ddt), rows, heads),
    dA: dpar.slice(0, heads),
    dD: shape.skip === "channel"
      ? Float32Array.from(
        { length: heads * p },
        (_, i) => dskip[Math.floor(i / p) * pp + i % p] ?? NaN,
      )
      : dpar.slice(headWidth, headWidth + heads),
    ddtBias: dpar.slice(2 * headWidth, 2 * headWidth + heads),
  };
  if (buffers.state) out.lastState = await stateOf(buffers.state);
  if (shape.initialState && buffers.dstate) out.dinitialState = await stateOf(buffers.dstate);
  plan.destroy();
  regions.forEach((r) => device.free(r));
  return out;
}
