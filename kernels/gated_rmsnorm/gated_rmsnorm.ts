/**
 * The gated RMSNorm at the end of a Mamba-2 mixer, forward and backward; what it computes is said in
 * `reference/gated_rmsnorm.ts`. A group is a run of whole panels, in which only `columns` columns are in
 * use; groups are normed one after another. Forward and the gradients of x and z reduce along rows, the
 * gradient of the weight down columns.
 * @module
 */
import type { Sizing } from "../device.ts";
import { elementBytes, type Matrix, padded, type Region } from "../layout.ts";
import { type Plan, spread } from "../plan.ts";
import { range } from "../range.ts";
import { sumPartials } from "../reduce/reduce.ts";
import {
  declare,
  enableHalf,
  rowChunk,
  rowShape,
  uniforms,
  VECTOR_GROUP,
  vectorOf,
  vectors,
} from "../wgsl/mod.ts";

/** What forward and backward share; all matrices (rows, d) with one stride. */
export interface GatedRmsNorm {
  /** f32. */
  x: Matrix;
  /** May be f16, and part of a wider matrix with the same stride. */
  z: Matrix;
  /** The first column of z in its matrix, a multiple of 32; 0 by default. */
  zColumn?: number;
  /** (d) as the matrices' columns lie. */
  weight: Region;
  /** (groups, stride) 1 / rms, kept for the backward pass. */
  inverseRms: Region;
  groups: number;
  /** Columns in use, over all groups; the others hold zeros. */
  columns: number;
  epsilon: number;
  /** y = rms(x) weight silu(z) rather than rms(x silu(z)) weight. */
  normBeforeGate: boolean;
}

const PARAMS = uniforms({
  rows: "u32",
  stride: "u32",
  panels: "u32",
  /** Columns in use of a group. */
  columns: "u32",
  /** The group's first vector of a row, of x's matrix and of z's; its first value of inverseRms. */
  first: "u32",
  at: "u32",
  z_at: "u32",
  inverse: "u32",
  epsilon: "f32",
});

const FUNCTIONS = `
fn sigmoid(x: vec4f) -> vec4f {
  return 1.0 / (1.0 + exp(-x));
}
fn silu(x: vec4f) -> vec4f {
  return x * sigmoid(x);
}
fn silu_slope(x: vec4f) -> vec4f {
  let s = sigmoid(x);
  return s * (1.0 + x * (1.0 - s));
}`;

/** The uniform values of each group of a norm. */
function groupsOf(o: GatedRmsNorm): ArrayBuffer[] {
  const { rows, cols, stride } = o.x;
  const width = padded(cols) / o.groups;
  const vectorsBefore = (column: number) => column / 32 * stride * 8;
  return range(o.groups).map((group) =>
    PARAMS.pack({
      rows,
      stride,
      panels: width / 32,
      columns: o.columns / o.groups,
      first: group * width / 4,
      at: vectorsBefore(group * width),
      z_at: vectorsBefore((o.zColumn ?? 0) + group * width),
      inverse: group * stride,
      epsilon: o.epsilon,
    })
  );
}

/** WGSL of what is normed. */
const normed = ({ normBeforeGate }: GatedRmsNorm, index: string) =>
  normBeforeGate ? `x[p.at + ${index}]` : `x[p.at + ${index}] * silu(vec4f(z[p.z_at + ${index}]))`;

/** Queues the forward: y, which may be f16. */
export function gatedRmsNormForward(plan: Plan, o: GatedRmsNorm & { y: Matrix }): void {
  const shape = rowShape(plan.device);
  const gate = (index: string) => o.normBeforeGate ? ` * silu(vec4f(z[p.z_at + ${index}]))` : "";
  const code = `${enableHalf(o.z, o.y)}${PARAMS.struct("P")}
${
    declare([
      "<uniform> p: P",
      "<storage, read> x: array<vec4f>",
      `<storage, read> z: array<${vectorOf(o.z)}>`,
      "<storage, read> weight: array<vec4f>",
      "<storage, read_write> inverse: array<f32>",
      `<storage, read_write> y: array<${vectorOf(o.y)}>`,
    ])
  }
${FUNCTIONS}
${shape.functions}
${shape.head}
  var squares = 0.0;
  ${
    shape.loop("panels", (index) =>
      `{
      let v = ${normed(o, index)};
      squares += dot(v, v);
    }`)
  }
  let k = 1.0 / sqrt(${shape.reduce("sum", "squares")} / f32(p.columns) + p.epsilon);
  if (lane == 0u && r < p.rows) {
    inverse[p.inverse + r] = k;
  }
  ${
    shape.loop("panels", (index, column) =>
      `y[p.at + ${index}] = ${vectorOf(o.y)}(${normed(o, index)} * k * weight[p.first + ${column}]${
        gate(index)
      });`)
  }
}`;
  for (const params of groupsOf(o)) {
    plan.dispatch({
      label: "gated rmsnorm forward",
      code,
      params,
      bindings: [
        o.x.region,
        o.z.region,
        vectors(o.weight),
        o.inverseRms,
        o.y.region,
      ],
      groups: spread(shape.groups(o.x.rows)),
      bytes: o.x.rows * padded(o.x.cols) / o.groups * (4 + elementBytes(o.z) + elementBytes(o.y)),
    });
  }
}

/** What the backward reads and writes besides. */
export interface GatedRmsNormBackward extends GatedRmsNorm {
  /** In: the gradient of y. Out: that of x, in its place. */
  dy: Matrix;
  /** Set; may be f16. Its first column is z's first. */
  dz: Matrix;
  /** (d) added to. */
  dweight: Region;
  /** {@linkcode gatedRmsNormScratch} floats. */
  scratch: Region;
}

/** Floats of scratch of a backward pass. */
export function gatedRmsNormScratch(plan: { device: Sizing }, rows: number, cols: number): number {
  return rowChunk(plan.device.variant, rows).count * padded(cols);
}

/** Queues the gradients of the weight, then of x and z. */
export function gatedRmsNormBackward(plan: Plan, o: GatedRmsNormBackward): void {
  weightGradient(plan, o);
  const shape = rowShape(plan.device);
  const before = o.normBeforeGate;
  // What reaches the normed value: dy weight, and the gate where it comes after.
  const reaching = (index: string, column: string) =>
    `dy[p.at + ${index}] * weight[p.first + ${column}]${
      before ? ` * silu(vec4f(z[p.z_at + ${index}]))` : ""
    }`;
  const code = `${enableHalf(o.z, o.dz)}${PARAMS.struct("P")}
${
    declare([
      "<uniform> p: P",
      "<storage, read> x: array<vec4f>",
      `<storage, read> z: array<${vectorOf(o.z)}>`,
      "<storage, read> weight: array<vec4f>",
      "<storage, read> inverse: array<f32>",
      "<storage, read_write> dy: array<vec4f>",
      `<storage, read_write> dz: array<${vectorOf(o.dz)}>`,
    ])
  }
${FUNCTIONS}
${shape.functions}
${shape.head}
  var along = 0.0;
  ${
    shape.loop("panels", (index, column) =>
      `along += dot(${normed(o, index)}, ${reaching(index, column)});`)
  }
  let k = inverse[p.inverse + min(r, p.rows - 1u)];
  let pull = k * k * ${shape.reduce("sum", "along")} / f32(p.columns);
  ${
    shape.loop("panels", (index, column) =>
      `{
      let gate = vec4f(z[p.z_at + ${index}]);
      let own = x[p.at + ${index}];
      let dv = k * (${reaching(index, column)} - ${normed(o, index)} * pull);
      dz[p.at + ${index}] = ${vectorOf(o.dz)}(${
        before ? `dy[p.at + ${index}] * own * k * weight[p.first + ${column}]` : "dv * own"
      } * silu_slope(gate));
      dy[p.at + ${index}] = dv${before ? "" : " * silu(gate)"};
    }`)
  }
}`;
  for (const params of groupsOf(o)) {
    plan.dispatch({
      label: "gated rmsnorm backward",
      code,
      params,
      bindings: [
        o.x.region,
        o.z.region,
        vectors(o.weight),
        o.inverseRms,
        o.dy.region,
        o.dz.region,
      ],
      groups: spread(shape.groups(o.x.rows)),
      bytes: o.x.rows * padded(o.x.cols) / o.groups *
        (12 + elementBytes(o.z) + elementBytes(o.dz)),
    });
  }
}

/** Queues dweight += the sum over rows of dy times what the weight multiplied. */
function weightGradient(plan: Plan, o: GatedRmsNormBackward): void {
  const { rows, cols, stride } = o.x;
  const lines = padded(cols) / 4;
  const chunk = rowChunk(plan.device.variant, rows);
  const params = uniforms({
    rows: "u32",
    stride: "u32",
    vectors: "u32",
    chunk: "u32",
    group_vectors: "u32",
    z_at: "u32",
  });
  plan.dispatch({
    label: "gated rmsnorm dweight",
    code: `${enableHalf(o.z)}${params.struct("P")}
${
      declare([
        "<uniform> p: P",
        "<storage, read> x: array<vec4f>",
        `<storage, read> z: array<${vectorOf(o.z)}>`,
        "<storage, read> inverse: array<f32>",
        "<storage, read> dy: array<vec4f>",
        "<storage, read_write> partials: array<vec4f>",
      ])
    }
${FUNCTIONS}
@compute @workgroup_size(${VECTOR_GROUP}) fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= p.vectors) { return; }
  let base = (id.x / 8u) * p.stride * 8u + id.x % 8u;
  let group = id.x / p.group_vectors * p.stride;
  var total = vec4f();
  for (var r = id.y * p.chunk; r < min(p.rows, (id.y + 1u) * p.chunk); r++) {
    let at = base + r * 8u;
    total += dy[at] * x[at] * silu(vec4f(z[p.z_at + at])) * inverse[group + r];
  }
  partials[id.y * p.vectors + id.x] = total;
}`,
    params: params.pack({
      rows,
      stride,
      vectors: lines,
      chunk: chunk.rows,
      group_vectors: lines / o.groups,
      z_at: (o.zColumn ?? 0) / 32 * stride * 8,
    }),
    bindings: [o.x.region, o.z.region, o.inverseRms, o.dy.region, o.scratch],
    groups: [Math.ceil(lines / VECTOR_GROUP), chunk.count],
    bytes: rows * lines * (32 + 4 * elementBytes(o.z)),
  });
  sumPartials(plan, {
    partials: o.scratch,
    count: chunk.count,
    width: padded(cols),
    out: o.dweight,
    length: padded(cols),
    accumulate: true,
  });
}
