/**
 * The selective scan in the device's variant; see shape.ts for what it computes and its layouts.
 * @module
 */
import type { Sizing } from "../device.ts";
import { type Region, subregion } from "../layout.ts";
import { packParams, type Plan } from "../plan.ts";
import * as chunked from "./chunked.ts";
import * as lane from "./lane.ts";
import {
  extents,
  type ScanBackward,
  type ScanForward,
  type ScanShape,
  type ScanSizes,
} from "./shape.ts";

export type { ScanBackward, ScanForward, ScanShape, ScanSizes } from "./shape.ts";
export { extents as scanExtents } from "./shape.ts";

const isLane = (device: Sizing) => device.variant === "cpu-subgroup";

/** Steps between kept states in the device's variant. */
const chunkOf = (device: Sizing) => isLane(device) ? lane.CHUNK : chunked.CHUNK;

/** Floats of each buffer, for the device's variant. */
export function scanSizes(device: Sizing, shape: ScanShape): ScanSizes {
  const { np, panels, stride, width } = extents(shape);
  const chunks = Math.ceil(shape.length / chunkOf(device));
  const kept = shape.batch * chunks * panels * np * 32;
  const parts = isLane(device) ? shape.batch : shape.batch * chunks;
  return {
    par: (np + 2) * width,
    state: shape.batch * panels * np * 32,
    checkpoints: kept,
    sums: isLane(device) ? 4 : shape.batch * chunks * width,
    parts: panels * stride * 32 + parts * (np + 2) * width,
    dbcParts: panels * stride * 32,
    dcheckpoints: isLane(device) ? 4 : kept,
  };
}

/** Estimates for profiles: a scan step costs about 7 operations a state, 17 with gradients. */
const work = (s: ScanShape, perState: number) =>
  s.batch * s.length * s.channels * s.states * perState;

function run(
  plan: Plan,
  shape: ScanShape,
  label: string,
  program: lane.ScanProgram,
  buffers: ScanForward | ScanBackward,
  groups: [number, number, number],
  flop: number,
): void {
  const { panels, stride } = extents(shape);
  const chunks = Math.ceil(shape.length / chunkOf(plan.device));
  plan.dispatch({
    label,
    code: program.code,
    params: packParams([
      shape.length,
      stride,
      panels,
      chunks,
      scanSizes(plan.device, shape).dbcParts,
    ]),
    bindings: program.buffers.map((name) => {
      const region = (buffers as unknown as Record<string, Region | undefined>)[name];
      if (!region) throw new RangeError(`The selective scan needs the buffer ${name}`);
      return region;
    }),
    groups,
    flop,
  });
}

/** Appends the forward scan. */
export function scanForward(plan: Plan, shape: ScanShape, buffers: ScanForward): void {
  const { panels, np } = extents(shape), { batch } = shape;
  const flop = work(shape, 7);
  if (isLane(plan.device)) {
    return run(
      plan,
      shape,
      "scan forward",
      lane.laneForward(shape),
      buffers,
      [panels, batch, 1],
      flop,
    );
  }
  const chunks = Math.ceil(shape.length / chunked.CHUNK);
  const grid: [number, number, number] = [panels, chunks, batch];
  run(plan, shape, "scan forward states", chunked.chunkStates(shape), buffers, grid, flop / 2);
  run(plan, shape, "scan forward carry", chunked.carry(shape, false), buffers, [
    Math.ceil(panels * np * 32 / 64),
    batch,
    1,
  ], 0);
  run(plan, shape, "scan forward outputs", chunked.chunkOutputs(shape), buffers, grid, flop / 2);
}

/** Appends the backward scan; the forward's checkpoints and sums must still be there. */
export function scanBackward(plan: Plan, shape: ScanShape, buffers: ScanBackward): void {
  const { panels, np, stride, width } = extents(shape), { batch } = shape;
  const flop = work(shape, 17);
  let parts = batch;
  if (isLane(plan.device)) {
    run(plan, shape, "scan backward", lane.laneBackward(shape), buffers, [panels, batch, 1], flop);
  } else {
    const chunks = Math.ceil(shape.length / chunked.CHUNK);
    const grid: [number, number, number] = [panels, chunks, batch];
    parts = batch * chunks;
    run(plan, shape, "scan backward reverse", chunked.chunkReverse(shape), buffers, grid, flop / 3);
    run(plan, shape, "scan backward carry", chunked.carry(shape, true), buffers, [
      Math.ceil(panels * np * 32 / 64),
      batch,
      1,
    ], 0);
    const gradients = chunked.chunkGradients(shape, plan.device.subgroupSize >= 8);
    run(plan, shape, "scan backward gradients", gradients, buffers, grid, flop * 2 / 3);
  }
  const { dbcParts } = scanSizes(plan.device, shape), at = 4 * dbcParts;
  const dbc = subregion(buffers.parts, 0, at);
  const dpar = subregion(buffers.parts, at, buffers.parts.size - at);
  sumParts(plan, "scan backward dbc", dbc, buffers.dbc, stride * 8, panels);
  sumParts(
    plan,
    "scan backward dpar",
    dpar,
    buffers.dpar,
    (np + 2) * width / 4,
    parts,
  );
}

/** out[i] = sum over p of parts[p * n + i], in vec4s and in a fixed order. */
export function sumParts(
  plan: Plan,
  label: string,
  parts: Region,
  out: Region,
  n: number,
  count: number,
): void {
  plan.dispatch({
    label,
    code: SUM_PARTS,
    params: packParams([n, count]),
    bindings: [parts, out],
    groups: [Math.ceil(n / 64)],
    bytes: 16 * n * (count + 1),
  });
}
const SUM_PARTS = `struct P { n: u32, parts: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> parts: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x; if (i >= p.n) { return; }
  var total = vec4f();
  var k = 0u;
  for (; k + 4u <= p.parts; k += 4u) {
    total += parts[k * p.n + i] + parts[(k + 1u) * p.n + i] + parts[(k + 2u) * p.n + i] + parts[(k + 3u) * p.n + i];
  }
  for (; k < p.parts; k++) { total += parts[k * p.n + i]; }
  out[i] = total;
}`;
