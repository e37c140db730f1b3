/**
 * RMSNorm on the residual stream, forward and backward; what it computes is said in
 * `reference/rmsnorm.ts`. Forward and the gradient of the stream reduce along rows, the gradient of
 * the weight down columns.
 * @module
 */
import type { Matrix, Region } from "../layout.ts";
import { elementBytes, padded } from "../layout.ts";
import { packParams, type Plan, spread } from "../plan.ts";
import { sumPartials } from "../reduce/reduce.ts";
import type { Sizing } from "../device.ts";
import {
  declare,
  enableHalf,
  rowChunk,
  rowShape,
  VECTOR_GROUP,
  vectorOf,
  vectors,
} from "../wgsl/mod.ts";

/** Operands of the forward pass; all matrices (rows, d) with one stride. */
export interface RmsNormForward {
  residual: Matrix;
  /** Added to the residual first, where given; the sum goes to `sum`. */
  x?: Matrix;
  /** Where residual + x goes: the residual's own matrix or another. Only with `x`. */
  sum?: Matrix;
  /** (d) */
  weight: Region;
  /** May be f16: each value rounded once. */
  y: Matrix;
  /** (rows) 1 / rms, kept for the backward pass. */
  inverseRms: Region;
  epsilon: number;
}

/** Queues y = s / rms(s) x weight with s = residual + x. */
export function rmsNormForward(plan: Plan, o: RmsNormForward): void {
  const shape = rowShape(plan.device);
  const inPlace = o.x !== undefined && o.sum === o.residual;
  const separate = o.x !== undefined && !inPlace;
  const stream = separate ? "total" : "stream";
  const code = `${
    enableHalf(o.y)
  }struct P { rows: u32, stride: u32, panels: u32, columns: u32, epsilon: f32 }
${
    declare([
      "<uniform> p: P",
      `<storage, ${inPlace ? "read_write" : "read"}> stream: array<vec4f>`,
      "<storage, read> weight: array<vec4f>",
      `<storage, read_write> y: array<${vectorOf(o.y)}>`,
      "<storage, read_write> inverse: array<f32>",
      ...(o.x ? ["<storage, read> x: array<vec4f>"] : []),
      ...(separate ? ["<storage, read_write> total: array<vec4f>"] : []),
    ])
  }
${shape.functions}
${shape.head}
  var squares = 0.0;
  ${
    shape.loopPanels("panels", (list) =>
      list.map(({ index }, q) =>
        `let v${q} = stream[${index}]${o.x ? ` + x[${index}]` : ""};${
          o.x ? ` ${stream}[${index}] = v${q};` : ""
        }`
      ).join("\n    ") +
      `\n    squares += ${
        list.map((_, q) => `dot(v${q}, v${q})`).join(" + ")
      };`)
  }
  let k = 1.0 / sqrt(${shape.reduce("sum", "squares")} / f32(p.columns) + p.epsilon);
  if (lane == 0u && r < p.rows) { inverse[r] = k; }
  ${
    shape.loop("panels", (index, column) =>
      `y[${index}] = ${vectorOf(o.y)}(${stream}[${index}] * k * weight[${column}]);`)
  }
}`;
  const panels = padded(o.y.cols) / 32;
  plan.dispatch({
    label: "rmsnorm forward",
    code,
    params: packParams([o.y.rows, o.y.stride, panels, o.y.cols, { f32: o.epsilon }]),
    bindings: [
      o.residual.region,
      vectors(o.weight),
      o.y.region,
      o.inverseRms,
      ...(o.x ? [o.x.region] : []),
      ...(separate ? [o.sum!.region] : []),
    ],
    groups: spread(shape.groups(o.y.rows)),
    bytes: o.y.rows * panels * 32 * (elementBytes(o.y) + (o.x ? 12 : 4)),
  });
}

/** Operands of the backward pass. */
export interface RmsNormBackward {
  dy: Matrix;
  /** The forward's sum, the stream that was normed. */
  sum: Matrix;
  weight: Region;
  inverseRms: Region;
  /** Gets the gradient of the stream: for x and for the residual alike. */
  dstream: Matrix;
  /** dstream += (the gradient that went past this norm is in it) instead of dstream =. */
  accumulate: boolean;
  /** (d) always added to. */
  dweight: Region;
  /** {@linkcode rmsNormScratch} floats. */
  scratch: Region;
}

/** Floats of scratch of a backward pass. */
export function rmsNormScratch(plan: { device: Sizing }, rows: number, cols: number): number {
  return rowChunk(plan.device.variant, rows).count * padded(cols);
}

/** Queues the gradients of the stream and of the weight. */
export function rmsNormBackward(plan: Plan, o: RmsNormBackward): void {
  const { rows, cols, stride } = o.dy, panels = padded(cols) / 32;
  const shape = rowShape(plan.device);
  plan.dispatch({
    label: "rmsnorm dx",
    code: `struct P { rows: u32, stride: u32, panels: u32, columns: u32 }
${
      declare([
        "<uniform> p: P",
        "<storage, read> dy: array<vec4f>",
        "<storage, read> stream: array<vec4f>",
        "<storage, read> weight: array<vec4f>",
        "<storage, read> inverse: array<f32>",
        "<storage, read_write> dstream: array<vec4f>",
      ])
    }
${shape.functions}
${shape.head}
  var along = 0.0;
  ${
      shape.loopPanels("panels", (list) =>
        "along += " + list.map(({ index, column }) =>
          `dot(stream[${index}], dy[${index}] * weight[${column}])`
        ).join("\n      + ") + ";")
    }
  let k = inverse[min(r, p.rows - 1u)];
  let pull = k * k * ${shape.reduce("sum", "along")} / f32(p.columns);
  ${
      shape.loop("panels", (index, column) =>
        `dstream[${index}] ${
          o.accumulate ? "+=" : "="
        } k * (dy[${index}] * weight[${column}] - stream[${index}] * pull);`)
    }
}`,
    params: packParams([rows, stride, panels, cols]),
    bindings: [o.dy.region, o.sum.region, vectors(o.weight), o.inverseRms, o.dstream.region],
    groups: spread(shape.groups(rows)),
    bytes: rows * panels * 128 * (o.accumulate ? 4 : 3),
  });
  const chunk = rowChunk(plan.device.variant, rows);
  plan.dispatch({
    label: "rmsnorm dweight",
    code: `struct P { rows: u32, stride: u32, vectors: u32, chunk: u32 }
${
      declare([
        "<uniform> p: P",
        "<storage, read> dy: array<vec4f>",
        "<storage, read> stream: array<vec4f>",
        "<storage, read> inverse: array<f32>",
        "<storage, read_write> partials: array<vec4f>",
      ])
    }
@compute @workgroup_size(${VECTOR_GROUP}) fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= p.vectors) { return; }
  let base = (id.x / 8u) * p.stride * 8u + id.x % 8u;
  var total = vec4f();
  for (var r = id.y * p.chunk; r < min(p.rows, (id.y + 1u) * p.chunk); r++) {
    let at = base + r * 8u;
    total += dy[at] * stream[at] * inverse[r];
  }
  partials[id.y * p.vectors + id.x] = total;
}`,
    params: packParams([rows, stride, panels * 8, chunk.rows]),
    bindings: [o.dy.region, o.sum.region, o.inverseRms, o.scratch],
    groups: [Math.ceil(panels * 8 / VECTOR_GROUP), chunk.count],
    bytes: rows * panels * 256,
  });
  sumPartials(plan, {
    partials: o.scratch,
    count: chunk.count,
    width: panels * 32,
    out: o.dweight,
    length: cols,
    accumulate: true,
  });
}
