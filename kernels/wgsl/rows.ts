/** How the rows of a matrix are dealt out to invocations, in kernels that reduce along or down them. @module */
import type { Device, Variant } from "../device.ts";

/** A matrix row dealt out to invocations, for kernels that reduce along rows. */
export interface RowShape {
  /** Declarations that go before `main`. */
  functions: string;
  /** The head of `main`; defines r (row), lane, and panels: 0 where r is beyond p.rows. */
  head: string;
  /**
   * Loops over this invocation's share of panels [0, `end`): `body` sees the indices of the vector
   * in a matrix and in a row (a weight), once for each vector.
   */
  loop(end: string, body: (index: string, column: string) => string): string;
  /** The same, where the body handles all of an invocation's vectors of a panel at once. */
  loopPanels(end: string, body: (vectors: { index: string; column: string }[]) => string): string;
  /** Sums or takes the maximum of an invocation's value over the row. */
  reduce(operation: "sum" | "max", value: string): string;
  /** The lane that sees vector `column` of a row. */
  owner(column: string): string;
  /** Workgroups for so many rows. */
  groups(rows: number): number;
}

/** What the form of a reduction depends on. */
export type Reducing = Pick<Device, "variant" | "subgroupSize">;

/**
 * CPU drivers run one invocation a row: barriers cost them more than anything. GPUs run a workgroup
 * of `lanes` invocations a row, eight to each 128-byte line, that reduces by subgroups of any size
 * and then in workgroup memory; without subgroups, 256 invocations take several rows and reduce in
 * workgroup memory alone.
 */
export function rowShape({ variant, subgroupSize }: Reducing, lanes = 64): RowShape {
  if (variant !== "gpu-tiled") return singleRows();
  return subgroupSize ? sharedRows(lanes, lanes, true) : sharedRows(lanes, 256, false);
}

/**
 * WGSL: `NAME(local, value)` gives every invocation of a group of `lanes` neighbours their combined
 * value; all of the workgroup must call it. With `subgroups`, `lanes` is the whole workgroup, and the
 * order is that of the driver's subgroups: fixed on one device. They may have any size, which is
 * counted (some drivers report another than they use), but their invocations are taken to be
 * neighbours in `local`: every driver has it so, and the self-test would tell.
 */
export function reducer(
  name: string,
  operation: "sum" | "max",
  lanes: number,
  size: number,
  subgroups: boolean,
): string {
  const combine = operation === "sum" ? "a + b" : "max(a, b)";
  const built = operation === "sum" ? "subgroupAdd" : "subgroupMax";
  if (subgroups) {
    return `
fn ${name}(local: u32, value: f32) -> f32 {
  scratch[local] = ${built}(value);
  let step = subgroupAdd(1u);
  workgroupBarrier();
  var a = scratch[0];
  for (var i = step; i < ${lanes}u; i += step) {
    let b = scratch[i];
    a = ${combine};
  }
  workgroupBarrier();
  return a;
}`;
  }
  return `
fn ${name}(local: u32, value: f32) -> f32 {
  scratch[local] = value;
  workgroupBarrier();
  for (var s = ${lanes / 2}u; s > 0u; s /= 2u) {
    if (local % ${lanes}u < s) {
      let a = scratch[local];
      let b = scratch[local + s];
      scratch[local] = ${combine};
    }
    workgroupBarrier();
  }
  let result = scratch[${lanes === size ? "0" : `local - local % ${lanes}u`}];
  workgroupBarrier();
  return result;
}`;
}

function singleRows(): RowShape {
  const size = 8, all = [0, 1, 2, 3, 4, 5, 6, 7];
  const loopPanels: RowShape["loopPanels"] = (end, body) => `
  for (var i = 0u; i < ${end}; i++) {
    let at = (i * p.stride + r) * 8u;
    let column = i * 8u;
    ${body(all.map((q) => ({ index: `at + ${q}u`, column: `column + ${q}u` })))}
  }`;
  return {
    functions: "",
    head: `@compute @workgroup_size(${size})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
  let r = id.x + id.y * count.x * ${size}u;
  if (r >= p.rows) { return; }
  let panels = p.panels;
  const lane = 0u;`,
    loop: (end, body) =>
      loopPanels(end, (v) => v.map(({ index, column }) => body(index, column)).join("\n    ")),
    loopPanels,
    reduce: (_, value) => value,
    owner: () => "0u",
    groups: (rows) => Math.ceil(rows / size),
  };
}

function sharedRows(lanes: number, size: number, subgroups: boolean): RowShape {
  const rowsEach = size / lanes, step = lanes / 8;
  const loopPanels: RowShape["loopPanels"] = (end, body) => `
  for (var i = lane / 8u; i < ${end}; i += ${step}u) {
    let at = (i * p.stride + r) * 8u + lane % 8u;
    let column = i * 8u + lane % 8u;
    ${body([{ index: "at", column: "column" }])}
  }`;
  const define = (operation: "sum" | "max") =>
    reducer(`row_${operation}`, operation, lanes, size, subgroups);
  return {
    functions: `var<workgroup> scratch: array<f32, ${size}>;` + define("sum") + define("max"),
    head: `@compute @workgroup_size(${size})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) count: vec3u,
        @builtin(local_invocation_index) local: u32) {
  let r = (group.x + group.y * count.x) * ${rowsEach}u + local / ${lanes}u;
  let lane = local % ${lanes}u;
  let panels = select(0u, p.panels, r < p.rows);`,
    loop: (end, body) => loopPanels(end, ([v]) => body(v!.index, v!.column)),
    loopPanels,
    reduce: (operation, value) => `row_${operation}(local, ${value})`,
    owner: (column) => `(${column}) % ${lanes}u`,
    groups: (rows) => Math.ceil(rows / rowsEach),
  };
}

/**
 * How many rows a kernel that sums down columns gives to one invocation: enough chunks to fill the
 * device, few enough that adding them up stays cheap.
 */
export function rowChunk(variant: Variant, rows: number): { rows: number; count: number } {
  const [least, most] = variant === "gpu-tiled" ? [16, 512] : [64, 128];
  const each = Math.max(least, Math.ceil(rows / most));
  return { rows: each, count: Math.ceil(rows / each) };
}
