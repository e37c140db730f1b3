/**
 * The selective scan in the device's variant; see shape.ts for what it computes and its layouts.
 * @module
 */
import type { Sizing } from "../device.ts";
import { type Region, subregion } from "../layout.ts";
import { packParams, type Plan } from "../plan.ts";
import * as chunked from "./chunked.ts";
import * as lane from "./lane.ts";
import { segmentsOf, STAGE } from "./stage.ts";
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
const chunkOf = (device: Sizing) => isLane(device) ? lane.CHUNK : STAGE;

/** Segments of a sequence; the form for CPU drivers does not cut. */
const segmentCount = (device: Sizing, shape: ScanShape) =>
  isLane(device) ? 1 : segmentsOf(shape).count;

/** Floats of each buffer, for the device's variant. */
export function scanSizes(device: Sizing, shape: ScanShape): ScanSizes {
  const { np, panels, stride, width } = extents(shape), { batch } = shape;
  const chunks = Math.ceil(shape.length / chunkOf(device)), cuts = segmentCount(device, shape);
  const cut = cuts > 1 ? batch * cuts * width * (np + 1) : 4;
  return {
    par: (np + 2) * width,
    state: batch * width * np,
    checkpoints: batch * chunks * width * np,
    sums: cut,
    parts: panels * stride * 32 + batch * cuts * (np + 2) * width,
    dbcParts: panels * stride * 32,
    dcheckpoints: cut,
  };
}

/** Estimates for profiles: a scan step costs about 7 operations a state, 17 with gradients. */
const work = (s: ScanShape, perState: number) =>
  s.batch * s.length * s.channels * s.states * perState;

/** Bytes that a scan must move at least: every activation and B and C once. */
export function scanBytes(s: ScanShape): { forward: number; backward: number } {
  const { width } = extents(s), half = s.half ? 2 : 4, rows = s.batch * s.length;
  const gate = s.gate ? half : 0, bc = 8 * s.states;
  const read = half + gate + 4; // u, z, delta
  return {
    forward: rows * (width * (read + 4) + bc),
    backward: rows * (width * (read + 4 + 4 + 4 + gate) + 2 * bc), // gy, du, ddelta, dz
  };
}

interface Call {
  label: string;
  program: lane.ScanProgram;
  groups: [number, number, number];
  flop: number;
  bytes: number;
}

function run(
  plan: Plan,
  shape: ScanShape,
  buffers: ScanForward | ScanBackward,
  { label, program, groups, flop, bytes }: Call,
): void {
  const { panels, stride, np, width } = extents(shape), { device } = plan;
  const { each, count } = segmentsOf(shape);
  plan.dispatch({
    label,
    code: program.code,
    params: packParams([
      shape.length,
      stride,
      panels,
      Math.ceil(shape.length / chunkOf(device)),
      scanSizes(device, shape).dbcParts,
      each,
      count,
      shape.batch * count * width * np,
    ]),
    bindings: program.buffers.map((name) => {
      const region = (buffers as unknown as Record<string, Region | undefined>)[name];
      if (!region) throw new RangeError(`The selective scan needs the buffer ${name}`);
      return region;
    }),
    groups,
    flop,
    bytes,
  });
}

/** Bytes of activations that a pass over some segments moves, at `each` a channel and row. */
const passBytes = (s: ScanShape, each: number, segments = 1, of = 1) =>
  Math.round(s.batch * s.length * extents(s).width * each * segments / of);

/** Appends the forward scan. */
export function scanForward(plan: Plan, shape: ScanShape, buffers: ScanForward): void {
  const { panels, np } = extents(shape), { batch } = shape, { device } = plan;
  const flop = work(shape, 7), kept = 4 * scanSizes(device, shape).checkpoints;
  const whole = { label: "scan forward", flop, bytes: scanBytes(shape).forward + kept };
  if (isLane(device)) {
    const program = lane.laneForward(shape);
    return run(plan, shape, buffers, { ...whole, program, groups: [panels, batch, 1] });
  }
  const { count } = segmentsOf(shape), half = shape.half ? 2 : 4;
  if (count > 1) {
    run(plan, shape, buffers, {
      label: "scan forward ends",
      program: chunked.segmentEnds(shape),
      groups: [panels, count - 1, batch],
      flop: flop / 2,
      bytes: passBytes(shape, half + 4, count - 1, count),
    });
    run(plan, shape, buffers, {
      label: "scan forward carry",
      program: chunked.carry(shape, false),
      groups: [Math.ceil(panels * np * 32 / 64), batch, 1],
      flop: 0,
      bytes: 8 * scanSizes(device, shape).sums,
    });
  }
  const program = chunked.walkForward(shape);
  run(plan, shape, buffers, { ...whole, program, groups: [panels, count, batch] });
}

/** Appends the backward scan; the forward's checkpoints must still be there. */
export function scanBackward(plan: Plan, shape: ScanShape, buffers: ScanBackward): void {
  const { panels, np, stride, width } = extents(shape), { batch } = shape, { device } = plan;
  const flop = work(shape, 17), { dbcParts, parts, checkpoints } = scanSizes(device, shape);
  const bytes = scanBytes(shape).backward + 4 * (checkpoints + parts);
  const whole = { label: "scan backward", flop, bytes }, cuts = segmentCount(device, shape);
  if (isLane(device)) {
    const program = lane.laneBackward(shape);
    run(plan, shape, buffers, { ...whole, program, groups: [panels, batch, 1] });
  } else {
    if (cuts > 1) {
      const some = cuts - chunked.firstReversed(shape);
      run(plan, shape, buffers, {
        label: "scan backward reverse",
        program: chunked.segmentReverse(shape),
        groups: [panels, some, batch],
        flop: flop / 3,
        bytes: passBytes(shape, 8 + (shape.gate ? (shape.half ? 2 : 4) : 0), some, cuts),
      });
      run(plan, shape, buffers, {
        label: "scan backward carry",
        program: chunked.carry(shape, true),
        groups: [Math.ceil(panels * np * 32 / 64), batch, 1],
        flop: 0,
        bytes: 8 * scanSizes(device, shape).dcheckpoints,
      });
    }
    const program = chunked.walkBackward(shape, device.subgroupSize >= 8);
    run(plan, shape, buffers, { ...whole, program, groups: [panels, cuts, batch] });
  }
  const at = 4 * dbcParts, dbc = subregion(buffers.parts, 0, at);
  const dpar = subregion(buffers.parts, at, buffers.parts.size - at), n = (np + 2) * width / 4;
  sumParts(plan, "scan backward dbc", dbc, buffers.dbc, stride * 8, panels);
  sumParts(plan, "scan backward dpar", dpar, buffers.dpar, n, batch * cuts);
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
