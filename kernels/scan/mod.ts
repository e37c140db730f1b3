/**
 * The selective scan in the device's variant; see shape.ts for what it computes and its layouts.
 * @module
 */
import { alternative } from "../alternatives.ts";
import type { Sizing } from "../device.ts";
import { type Region, subregion } from "../layout.ts";
import type { Plan } from "../plan.ts";
import { type Program, uniforms, WgslWriter } from "../wgsl/mod.ts";
import * as chunked from "./chunked.ts";
import * as lane from "./lane.ts";
import { segmentsOf } from "./stage.ts";
import {
  extents,
  SCAN_PARAMS,
  type ScanBackward,
  type ScanForward,
  type ScanShape,
  type ScanSizes,
  stageOf,
} from "./shape.ts";

export type { ScanBackward, ScanForward, ScanShape, ScanSizes } from "./shape.ts";
export { extents as scanExtents } from "./shape.ts";

const isLane = (device: Sizing) => device.variant === "cpu-subgroup";

/** The shape with what was chosen for the device, where the shape itself does not say. */
const chosenShape = (device: Sizing, shape: ScanShape): ScanShape => ({
  ...shape,
  stage: shape.stage ?? alternative(device, "scan-stage"),
  block: shape.block ?? alternative(device, "scan-block"),
});

/** Steps between kept states in the device's variant. */
const chunkOf = (device: Sizing, shape: ScanShape) =>
  isLane(device) ? lane.CHUNK : stageOf(chosenShape(device, shape));

/** Segments of a sequence; the form for CPU drivers does not cut. */
const segmentCount = (device: Sizing, shape: ScanShape) =>
  isLane(device) ? 1 : segmentsOf(chosenShape(device, shape)).count;

/** Floats of each buffer, for the device's variant. */
export function scanSizes(device: Sizing, shape: ScanShape): ScanSizes {
  const { np, panels, stride, width } = extents(shape);
  const { batch } = shape;
  const chunks = Math.ceil(shape.length / chunkOf(device, shape));
  const cuts = segmentCount(device, shape);
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
  const { width } = extents(s);
  const half = s.half ? 2 : 4;
  const rows = s.batch * s.length;
  const gate = s.gate ? half : 0;
  const bc = 8 * s.states;
  const read = half + gate + 4; // u, z, delta
  return {
    forward: rows * (width * (read + 4) + bc),
    backward: rows * (width * (read + 4 + 4 + 4 + gate) + 2 * bc), // gy, du, ddelta, dz
  };
}

interface Call {
  label: string;
  program: Program;
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
  const { device } = plan;
  const { panels, stride, np, width } = extents(shape);
  const { each, count } = segmentsOf(shape);
  plan.dispatch({
    label,
    code: program,
    params: SCAN_PARAMS.pack({
      length: shape.length,
      rows: stride,
      panels,
      chunks: Math.ceil(shape.length / chunkOf(device, shape)),
      dpar_parts: scanSizes(device, shape).dbcParts,
      segment: each,
      segments: count,
      sums: shape.batch * count * width * np,
    }),
    bindings: { ...buffers },
    groups,
    flop,
    bytes,
  });
}

/** Bytes of activations that a pass over some segments moves, at `each` a channel and row. */
const passBytes = (s: ScanShape, each: number, segments = 1, of = 1) =>
  Math.round(s.batch * s.length * extents(s).width * each * segments / of);

/** Appends the forward scan. */
export function scanForward(plan: Plan, given: ScanShape, buffers: ScanForward): void {
  const { device } = plan;
  const shape = chosenShape(device, given);
  const { panels } = extents(shape);
  const { batch } = shape;
  const flop = work(shape, 7);
  const kept = 4 * scanSizes(device, shape).checkpoints;
  const bytes = scanBytes(shape).forward + kept;
  const label = "scan forward";
  if (isLane(device)) {
    const program = lane.laneForward(shape);
    run(plan, shape, buffers, { label, program, groups: [panels, batch, 1], flop, bytes });
    return;
  }
  const { count } = segmentsOf(shape);
  if (count > 1) carryForward(plan, shape, buffers, count);
  const program = chunked.walkForward(shape);
  run(plan, shape, buffers, { label, program, groups: [panels, count, batch], flop, bytes });
}

/** Appends the passes that find the state which enters each of several segments. */
function carryForward(plan: Plan, shape: ScanShape, buffers: ScanForward, count: number): void {
  const { panels, np } = extents(shape);
  run(plan, shape, buffers, {
    label: "scan forward ends",
    program: chunked.segmentEnds(shape),
    groups: [panels, count - 1, shape.batch],
    flop: work(shape, 7) / 2,
    bytes: passBytes(shape, (shape.half ? 2 : 4) + 4, count - 1, count),
  });
  run(plan, shape, buffers, {
    label: "scan forward carry",
    program: chunked.carry(shape, false),
    groups: [Math.ceil(panels * np * 32 / 64), shape.batch, 1],
    flop: 0,
    bytes: 8 * scanSizes(plan.device, shape).sums,
  });
}

/** Appends the backward scan; the forward's checkpoints must still be there. */
export function scanBackward(plan: Plan, given: ScanShape, buffers: ScanBackward): void {
  const { device } = plan;
  const shape = chosenShape(device, given);
  const { panels, np, stride, width } = extents(shape);
  const { batch } = shape;
  const { dbcParts, parts, checkpoints } = scanSizes(device, shape);
  const cuts = segmentCount(device, shape);
  const label = "scan backward";
  const flop = work(shape, 17);
  const bytes = scanBytes(shape).backward + 4 * (checkpoints + parts);
  if (isLane(device)) {
    const program = lane.laneBackward(shape);
    run(plan, shape, buffers, { label, program, groups: [panels, batch, 1], flop, bytes });
  } else {
    if (cuts > 1) carryBackward(plan, shape, buffers, cuts);
    const shuffles = device.subgroupSize >= 8 && alternative(device, "scan-shuffles") === 1;
    const program = chunked.walkBackward(shape, shuffles);
    run(plan, shape, buffers, { label, program, groups: [panels, cuts, batch], flop, bytes });
  }
  const at = 4 * dbcParts;
  const dbc = subregion(buffers.parts, 0, at);
  const dpar = subregion(buffers.parts, at, buffers.parts.size - at);
  const n = (np + 2) * width / 4;
  sumParts(plan, "scan backward dbc", dbc, buffers.dbc, stride * 8, panels);
  sumParts(plan, "scan backward dpar", dpar, buffers.dpar, n, batch * cuts);
}

/** Appends the passes that find the gradient which enters each of several segments from its end. */
function carryBackward(plan: Plan, shape: ScanShape, buffers: ScanBackward, cuts: number): void {
  const { panels, np } = extents(shape);
  const some = cuts - chunked.firstReversed(shape);
  const gate = shape.gate ? (shape.half ? 2 : 4) : 0;
  run(plan, shape, buffers, {
    label: "scan backward reverse",
    program: chunked.segmentReverse(shape),
    groups: [panels, some, shape.batch],
    flop: work(shape, 17) / 3,
    bytes: passBytes(shape, 8 + gate, some, cuts),
  });
  run(plan, shape, buffers, {
    label: "scan backward carry",
    program: chunked.carry(shape, true),
    groups: [Math.ceil(panels * np * 32 / 64), shape.batch, 1],
    flop: 0,
    bytes: 8 * scanSizes(plan.device, shape).dcheckpoints,
  });
}

const SUM_PARAMS = uniforms({ n: "u32", parts: "u32" });

/** Four columns by each invocation, four parts at a time. */
function sumPartsProgram(): Program {
  const w = new WgslWriter();
  w.uniforms("p", SUM_PARAMS);
  w.storage("parts", "vec4f");
  w.storage("out", "vec4f", "read_write");
  w.main(64, { id: "global_invocation_id" }, () => {
    w.line("let i = id.x;");
    w.if("i >= p.n", () => w.line("return;"));
    w.line("var total = vec4f();", "var k = 0u;");
    w.for("; k + 4u <= p.parts; k += 4u", () => {
      w.line(`
        let part0 = parts[k * p.n + i];
        let part1 = parts[(k + 1u) * p.n + i];
        let part2 = parts[(k + 2u) * p.n + i];
        let part3 = parts[(k + 3u) * p.n + i];
        total += part0 + part1 + part2 + part3;
      `);
    });
    w.for("; k < p.parts; k++", () => w.line("total += parts[k * p.n + i];"));
    w.line("out[i] = total;");
  });
  return w.program();
}

/** out[i] = sum over p of parts[p * n + i], in vec4s and in a fixed order. */
function sumParts(
  plan: Plan,
  label: string,
  parts: Region,
  out: Region,
  n: number,
  count: number,
): void {
  plan.dispatch({
    label,
    code: sumPartsProgram(),
    params: SUM_PARAMS.pack({ n, parts: count }),
    bindings: { parts, out },
    groups: [Math.ceil(n / 64)],
    bytes: 16 * n * (count + 1),
  });
}
