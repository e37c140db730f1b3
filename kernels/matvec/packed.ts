/**
 * y = W x from weights packed for it: rows in small groups, each group's values in the order in which
 * one subgroup reads them, as a texture. A CPU driver then streams through memory, which is what a
 * generated token costs. f16 packing halves the reading: values are rounded once, products and sums
 * stay f32.
 * @module
 */
import { type Device, TEXTURE_WIDTH } from "../device.ts";
import { type Matrix, PANEL, panelBytes, type Region, subregion } from "../layout.ts";
import { packParams, Plan, spread } from "../plan.ts";
import { copyToTexture } from "../texture.ts";
import { declare, VECTOR_GROUP } from "../wgsl/mod.ts";

/** A weight in the packed order; only the `cpu-subgroup` variant reads it. */
export interface PackedWeight {
  texture: GPUTexture;
  rows: number;
  cols: number;
  /** Texels of eight f16 values, or of four f32. */
  half: boolean;
}

/** Rows of a group, and values of a row that a lane takes at a time. */
const form = (half: boolean) => half ? { rows: 8, values: 8 } : { rows: 4, values: 4 };
const LANES = 8;
const range = (n: number) => Array.from({ length: n }, (_, i) => i);
const blocksOf = (cols: number, half: boolean) => Math.ceil(cols / (LANES * form(half).values));

/** Texel (block i, row r, lane l) of group g is at ((g * blocks + i) * rows + r) * 8 + l. */
function packer(half: boolean): string {
  const { rows } = form(half);
  const pair = (v: string) => `pack2x16float(${v}.xy), pack2x16float(${v}.zw)`;
  // The panel of 32 columns that a lane's values are in, and their vectors in it.
  const value = half
    ? `let panel = 2u * block + lane / 4u; let own = p.begin <= panel && panel < p.end;
  let at = ((panel - p.begin) * p.stride + row) * 8u + 2u * (lane % 4u);
  if (own) { packed[i] = vec4u(${pair("values[at]")}, ${pair("values[at + 1u]")}); }`
    : `if (p.begin <= block && block < p.end) {
    packed[i] = bitcast<vec4u>(values[((block - p.begin) * p.stride + row) * 8u + lane]);
  }`;
  return `struct P { texels: u32, blocks: u32, stride: u32, first: u32, begin: u32, end: u32 }
${
    declare([
      "<uniform> p: P",
      "<storage, read> values: array<vec4f>",
      "<storage, read_write> packed: array<vec4u>",
    ])
  }
@compute @workgroup_size(${VECTOR_GROUP})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
  let i = id.x + id.y * count.x * ${VECTOR_GROUP}u;
  if (i >= p.texels) { return; }
  let lane = i % ${LANES}u; let line = i / ${LANES}u;
  let block = line / ${rows}u % p.blocks;
  let row = (line / ${rows}u / p.blocks) * ${rows}u + line % ${rows}u + p.first;
  if (row >= p.stride) { return; }
  ${value}
}`;
}

/**
 * Packs a weight where the device's variant reads it so; undefined in the other variants, and where
 * bindings are too small for a part. A copy: pack it anew when the weight changes.
 * @throws {DeviceError} where the device is too small.
 */
export function packWeight(
  device: Device,
  weight: Matrix,
  half: boolean,
): PackedWeight | undefined {
  if (device.variant !== "cpu-subgroup") return undefined;
  const { rows, cols, stride } = weight, group = form(half).rows, blocks = blocksOf(cols, half);
  const groups = Math.ceil(rows / group), groupBytes = blocks * group * LANES * 16;
  const total = groups * groupBytes, limit = device.bindingLimit;
  // Whole texture rows a part, so that each part is one copy.
  const unit = lcm(groupBytes, TEXTURE_WIDTH * 16) / groupBytes;
  const each = Math.max(unit, Math.floor(Math.min(limit, total) / groupBytes / unit) * unit);
  if (Math.min(total, each * groupBytes) > limit || panelBytes(weight) > limit) return undefined;
  const height = Math.ceil(total / 16 / TEXTURE_WIDTH);
  const texture = device.allocateTexture("weight", height, half ? "packed f16" : undefined);
  const scratch = device.allocate("packing", Math.min(total, each * groupBytes));
  const panels = weight.region.size <= limit ? Math.ceil(cols / PANEL) : 1;
  for (let first = 0; first < groups; first += each) {
    const bytes = Math.min(each, groups - first) * groupBytes, plan = new Plan(device);
    const to = subregion(scratch, 0, bytes), encoder = device.gpu.createCommandEncoder();
    encoder.clearBuffer(scratch.buffer, 0, bytes);
    device.gpu.queue.submit([encoder.finish()]);
    for (let panel = 0; panel * PANEL < cols; panel += panels) {
      const texels = bytes / 16, size = panelBytes(weight);
      const end = Math.min(Math.ceil(cols / PANEL), panel + panels);
      plan.dispatch({
        label: "pack weight",
        code: packer(half),
        params: packParams([texels, blocks, stride, first * group, panel, end]),
        bindings: [subregion(weight.region, panel * size, (end - panel) * size), to],
        groups: spread(Math.ceil(texels / VECTOR_GROUP)),
      });
    }
    plan.submit();
    const copy = device.gpu.createCommandEncoder();
    copyToTexture(copy, to, texture, 16, first * groupBytes / 16 / TEXTURE_WIDTH);
    device.gpu.queue.submit([copy.finish()]);
    plan.destroy();
  }
  device.free(scratch);
  return { texture, rows, cols, half };
}

function lcm(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y) [x, y] = [y, x % y];
  return a / x * b;
}

/** A lane takes its values of every block of a row; x is read once for all rows of the group. */
function program(half: boolean): string {
  const { rows } = form(half), all = range(rows);
  const texel = (r: number) => `textureLoad(weight, vec2u(x0 + ${8 * r}u, y0))`;
  return `struct P { rows: u32, blocks: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var weight: texture_storage_2d<${half ? "rgba32uint" : "rgba32float"}, read>;
@group(0) @binding(2) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) l: u32) {
  ${all.map((r) => `var sum${r} = vec4f();`).join(" ")}
  for (var i = 0u; i < p.blocks; i++) {
    let at = (w.x * p.blocks + i) * ${LANES * rows}u + l;
    let x0 = at & ${TEXTURE_WIDTH - 1}u; let y0 = at >> ${Math.log2(TEXTURE_WIDTH)}u;
    ${
    half
      ? `let a = x[i * 16u + 2u * l]; let b = x[i * 16u + 2u * l + 1u];
    ${
        all.map((r) =>
          `let t${r} = ${texel(r)};
    sum${r} += vec4f(unpack2x16float(t${r}.x), unpack2x16float(t${r}.y)) * a
      + vec4f(unpack2x16float(t${r}.z), unpack2x16float(t${r}.w)) * b;`
        ).join("\n    ")
      }`
      : `let a = x[i * 8u + l];
    ${all.map((r) => `sum${r} += ${texel(r)} * a;`).join("\n    ")}`
  }
  }
  ${all.map((r) => `let y${r} = subgroupAdd(dot(sum${r}, vec4f(1.0)));`).join("\n  ")}
  if (l == 0u) {
    let row = w.x * ${rows}u;
    ${all.map((r) => `if (row + ${r}u < p.rows) { y[row + ${r}u] = y${r}; }`).join("\n    ")}
  }
}`;
}

/**
 * Appends y = W x. x holds the padded columns, y the rows, as contiguous vectors. An f16 weight takes
 * 64 columns at a time: beyond the end of x the device reads finite values, and W is zero there.
 */
export function packedMatvec(
  plan: Plan,
  weight: PackedWeight,
  x: Region,
  y: Region,
  label = "matvec",
): void {
  const { rows, cols, half } = weight;
  plan.dispatch({
    label,
    code: program(half),
    params: packParams([rows, blocksOf(cols, half)]),
    bindings: [weight.texture.createView(), x, y],
    groups: [Math.ceil(rows / form(half).rows)],
    flop: 2 * rows * cols,
    bytes: (half ? 2 : 4) * rows * cols,
  });
}
