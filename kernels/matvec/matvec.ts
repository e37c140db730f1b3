/**
 * y = W x for one vector: what a generated token costs. Bound by reading W once; where the CPU
 * variant keeps its own copy of W, see packed.ts.
 * @module
 */
import { columns, type Matrix, padded, PANEL, panelBytes, type Region } from "../layout.ts";
import { packParams, type Plan } from "../plan.ts";
import { vectorOf } from "../wgsl/mod.ts";

/** Operands; x and y are contiguous vectors, (padded columns) and (padded rows) floats. */
export interface Matvec {
  weight: Matrix;
  x: Region;
  y: Region;
  label?: string;
}

const eight = [0, 1, 2, 3, 4, 5, 6, 7] as const;
const HEAD = `struct P { rows: u32, stride: u32, panels: u32, accumulate: u32 }
@group(0) @binding(0) var<uniform> p: P;`;

const buffers = (type: "vec4f" | "vec4h") =>
  `${type === "vec4h" ? "enable f16;\n" : ""}${HEAD}
@group(0) @binding(1) var<storage, read> weight: array<${type}>;
@group(0) @binding(2) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;`;

/** One invocation a row. */
const plain = (type: "vec4f" | "vec4h") =>
  `${buffers(type)}
@compute @workgroup_size(8) fn main(@builtin(global_invocation_id) id: vec3u) {
  let row = id.x; if (row >= p.rows) { return; }
  var total = vec4f();
  for (var i = 0u; i < p.panels; i++) {
    let at = (i * p.stride + row) * 8u;
    total += ${eight.map((q) => `vec4f(weight[at + ${q}u]) * x[i * 8u + ${q}u]`).join(" + ")};
  }
  let sum = dot(total, vec4f(1.0));
  if (p.accumulate != 0u) { y[row] += sum; } else { y[row] = sum; }
}`;

/** Eight invocations a row, each a vec4 of every 128-byte line; 32 rows a workgroup. */
const tiled = (type: "vec4f" | "vec4h") =>
  `${buffers(type)}
var<workgroup> part: array<f32, 256>;
@compute @workgroup_size(256) fn main(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) t: u32) {
  let row = w.x * 32u + t / 8u; let q = t % 8u;
  var total = vec4f();
  if (row < p.rows) {
    for (var i = 0u; i < p.panels; i++) { total += vec4f(weight[(i * p.stride + row) * 8u + q]) * x[i * 8u + q]; }
  }
  part[t] = dot(total, vec4f(1.0));
  workgroupBarrier();
  if (q == 0u && row < p.rows) {
    let sum = ${eight.map((k) => `part[t + ${k}u]`).join(" + ")};
    if (p.accumulate != 0u) { y[row] += sum; } else { y[row] = sum; }
  }
}`;

/** Appends y = W x. */
export function matvec(plan: Plan, o: Matvec): void {
  const { device } = plan, { weight } = o, panels = padded(weight.cols) / PANEL;
  const work = { label: o.label ?? "matvec", flop: 2 * weight.rows * weight.cols };
  // A weight above the binding limit is taken in ranges of columns, each adding to the last.
  // An even number of panels, so that offsets into x stay multiples of 256 bytes.
  const fitting = Math.floor(device.bindingLimit / panelBytes(weight));
  const most = fitting >= panels ? panels : Math.max(2, fitting & ~1);
  for (let first = 0; first < panels; first += most) {
    const cols = Math.min(most, panels - first) * PANEL;
    const part = columns(weight, first * PANEL, cols);
    const gpu = device.variant === "gpu-tiled", type = vectorOf(weight);
    plan.dispatch({
      ...work,
      bytes: part.region.size,
      code: gpu ? tiled(type) : plain(type),
      params: packParams([weight.rows, weight.stride, cols / PANEL, Number(first > 0)]),
      bindings: [
        part.region,
        { ...o.x, offset: o.x.offset + first * PANEL * 4, size: cols * 4 },
        o.y,
      ],
      groups: [Math.ceil(weight.rows / (gpu ? 32 : 8))],
    });
  }
}
