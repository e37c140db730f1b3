/**
 * Sums, always in the same order: partial sums by one kernel, then one more that adds them up. No
 * float atomics, so reruns give the same bits.
 * @module
 */
import type { Sizing } from "../device.ts";
import type { Region } from "../layout.ts";
import { packParams, type Plan, spread } from "../plan.ts";
import { declare, reducer, slices, VECTOR_GROUP, vectors } from "../wgsl/mod.ts";

/** Adds up rows of partial sums. */
export interface SumPartials {
  /** (count, width) floats, row-major; width is a multiple of 4. */
  partials: Region;
  count: number;
  width: number;
  /** (length) floats; each gets the sum of its column. */
  out: Region;
  length: number;
  /** out += instead of out =. */
  accumulate: boolean;
}

/** Partial sums that neighbouring invocations of a GPU take side by side, and their columns. */
const SIDE = 32, COLUMNS = 8;

/** Queues {@linkcode SumPartials}: out[c] = sum over k of partials[k, c]. */
export function sumPartials(plan: Plan, o: SumPartials): void {
  // A GPU's invocations would wait for one load after another: 32 share a column's partial sums.
  const shared = plan.device.variant === "gpu-tiled";
  const body = shared
    ? `@compute @workgroup_size(${SIDE * COLUMNS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let column = group.x * ${COLUMNS}u + local % ${COLUMNS}u;
  var own = vec4f();
  for (var k = local / ${COLUMNS}u; k < p.count; k += ${SIDE}u) {
    own += partials[k * p.width + min(column, p.width - 1u)];
  }
  scratch[local] = own;
  workgroupBarrier();
  for (var s = ${SIDE * COLUMNS / 2}u; s >= ${COLUMNS}u; s /= 2u) {
    if (local < s) { scratch[local] += scratch[local + s]; }
    workgroupBarrier();
  }
  if (local >= ${COLUMNS}u) { return; }
  let total = scratch[local];`
    : `@compute @workgroup_size(${VECTOR_GROUP}) fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x * 4u >= p.length) { return; }
  let column = id.x;
  var total = vec4f();
  for (var k = 0u; k < p.count; k++) { total += partials[k * p.width + id.x]; }`;
  const code = `struct P { count: u32, width: u32, length: u32 }
${
    declare([
      "<uniform> p: P",
      "<storage, read> partials: array<vec4f>",
      "<storage, read_write> result: array<f32>",
    ])
  }
${shared ? `var<workgroup> scratch: array<vec4f, ${SIDE * COLUMNS}>;` : ""}
fn put(i: u32, value: f32) {
  if (i < p.length) { result[i] ${o.accumulate ? "+=" : "="} value; }
}
${body}
  put(column * 4u, total.x);
  put(column * 4u + 1u, total.y);
  put(column * 4u + 2u, total.z);
  put(column * 4u + 3u, total.w);
}`;
  plan.dispatch({
    label: "sum partials",
    code,
    params: packParams([o.count, o.width / 4, o.length]),
    bindings: [vectors(o.partials), o.out],
    groups: [Math.ceil(o.length / 4 / (shared ? COLUMNS : VECTOR_GROUP))],
    bytes: o.count * o.width * 4,
  });
}

/** Most partial sums that one region of {@linkcode sumOfSquares} leaves. */
const SQUARE_PARTIALS = 16384;
/** Invocations of a workgroup that leaves one partial sum, and workgroups a region, on a GPU. */
const SQUARE_GROUP = 256, SQUARE_GROUPS = 2048;
/** Invocations of a workgroup on a CPU driver: a subgroup. */
const SQUARE_LANES = 8;

/** How {@linkcode sumOfSquares} deals out a part of a region: blocks a workgroup, and workgroups. */
function squareGroups(
  { variant }: Sizing,
  part: Region,
): Record<"blocks" | "groups" | "left", number> {
  const shared = variant === "gpu-tiled", size = shared ? SQUARE_GROUP : SQUARE_LANES;
  const count = Math.floor(part.size / 16);
  const most = shared ? SQUARE_GROUPS * size : SQUARE_PARTIALS;
  const blocks = Math.max(8, Math.ceil(count / most / 8) * 8);
  const groups = Math.ceil(count / (blocks * size));
  return { blocks, groups, left: groups * (shared ? 1 : size) };
}

/** Floats of scratch that {@linkcode sumOfSquares} of these regions needs. */
export function sumOfSquaresScratch({ device }: { device: Sizing }, regions: Region[]): number {
  const parts = regions.flatMap((r) => slices(device, r));
  return parts.reduce((sum, part) => sum + squareGroups(device, part).left, 0);
}

/**
 * Queues out[0] = the sum of squares of all floats of all regions (sizes: whole vec4f, padding
 * zero). `scratch` holds {@linkcode sumOfSquaresScratch} floats.
 */
export function sumOfSquares(plan: Plan, regions: Region[], scratch: Region, out: Region): void {
  // A workgroup takes a run of neighbouring blocks, eight at a time. CPU drivers run a workgroup's
  // subgroups one after another, so there a workgroup is one subgroup and walks straight on, and
  // every invocation leaves its sum; a GPU's workgroups add theirs up.
  const { variant, subgroupSize } = plan.device, shared = variant === "gpu-tiled";
  const size = shared ? SQUARE_GROUP : SQUARE_LANES, subgroups = shared && subgroupSize > 0;
  const eight = [0, 1, 2, 3, 4, 5, 6, 7];
  const code = `struct P { vectors: u32, first: u32, blocks: u32 }
${
    declare([
      "<uniform> p: P",
      "<storage, read> values: array<vec4f>",
      "<storage, read_write> partials: array<f32>",
    ])
  }
${
    shared
      ? `var<workgroup> scratch: array<f32, ${size}>;${
        reducer("add_up", "sum", size, size, subgroups)
      }`
      : ""
  }
@compute @workgroup_size(${size})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  var i = group.x * p.blocks * ${size}u + local;
  let end = min(p.vectors, (group.x + 1u) * p.blocks * ${size}u);
  var total = 0.0;
  for (; i + ${7 * size}u < end; i += ${8 * size}u) {
    ${eight.map((k) => `let v${k} = values[i + ${k * size}u];`).join(" ")}
    total += ${eight.map((k) => `dot(v${k}, v${k})`).join(" + ")};
  }
  for (; i < end; i += ${size}u) {
    let v = values[i];
    total += dot(v, v);
  }
  ${
    shared
      ? `let all = add_up(local, total);
  if (local == 0u) { partials[p.first + group.x] = all; }`
      : `partials[p.first + group.x * ${size}u + local] = total;`
  }
}`;
  let first = 0;
  for (const region of regions) {
    for (const part of slices(plan.device, region)) {
      const { blocks, groups, left } = squareGroups(plan.device, part);
      const count = Math.floor(part.size / 16);
      plan.dispatch({
        label: "sum of squares",
        code,
        params: packParams([count, first, blocks]),
        bindings: [part, scratch],
        groups: [groups],
        flop: count * 8,
        bytes: part.size,
      });
      first += left;
    }
  }
  sum(plan, { values: scratch, length: first, out });
}

/** Adds up a flat array. */
export interface Sum {
  values: Region;
  length: number;
  /** One float. */
  out: Region;
  /** out += instead of out =. */
  accumulate?: boolean;
  /** One float that the sum is multiplied with; read when the kernel runs. */
  scale?: Region;
}

/** Queues out[0] = scale x the sum of the first `length` values, by one workgroup. */
export function sum(plan: Plan, o: Sum): void {
  const { variant, subgroupSize } = plan.device, size = 256;
  const subgroups = variant === "gpu-tiled" && subgroupSize > 0;
  const code = `struct P { length: u32 }
${
    declare([
      "<uniform> p: P",
      "<storage, read> values: array<f32>",
      "<storage, read_write> result: array<f32>",
      ...(o.scale ? ["<storage, read> factor: array<f32>"] : []),
    ])
  }
var<workgroup> scratch: array<f32, ${size}>;${reducer("add_up", "sum", size, size, subgroups)}
@compute @workgroup_size(${size})
fn main(@builtin(local_invocation_index) local: u32) {
  var total = 0.0;
  for (var i = local; i < p.length; i += ${size}u) { total += values[i]; }
  let all = add_up(local, total);
  if (local == 0u) { result[0] ${o.accumulate ? "+=" : "="} ${o.scale ? "factor[0] * " : ""}all; }
}`;
  plan.dispatch({
    label: "sum",
    code,
    params: packParams([o.length]),
    bindings: [o.values, o.out, ...(o.scale ? [o.scale] : [])],
    groups: [1],
    bytes: o.length * 4,
  });
}

/** Queues target += source, for flat regions of equal size (whole vec4f). */
export function addInto(plan: Plan, target: Region, source: Region): void {
  const code = `struct P { vectors: u32 }
${
    declare([
      "<uniform> p: P",
      "<storage, read_write> total: array<vec4f>",
      "<storage, read> more: array<vec4f>",
    ])
  }
@compute @workgroup_size(${VECTOR_GROUP})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
  let i = id.x + id.y * count.x * ${VECTOR_GROUP}u;
  if (i < p.vectors) { total[i] += more[i]; }
}`;
  const from = slices(plan.device, source);
  slices(plan.device, target).forEach((part, i) => {
    const count = Math.floor(part.size / 16);
    plan.dispatch({
      label: "add",
      code,
      params: packParams([count]),
      bindings: [part, from[i]!],
      groups: spread(Math.ceil(count / VECTOR_GROUP)),
      bytes: part.size * 3,
    });
  });
}
