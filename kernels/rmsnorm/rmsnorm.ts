/**
 * RMSNorm on the residual stream, forward and backward; what it computes is said in
 * `reference/rmsnorm.ts`. Forward and the gradient of the stream reduce along rows, the gradient of
 * the weight down columns.
 * @module
 */
import { alternative } from "../alternatives.ts";
import type { Sizing } from "../device.ts";
import { elementBytes, type Matrix, padded, type Region } from "../layout.ts";
import { type Plan, spread } from "../plan.ts";
import { sumPartials } from "../reduce/reduce.ts";
import {
  type Program,
  rowChunk,
  type RowShape,
  rowShape,
  uniforms,
  VECTOR_GROUP,
  vectorOf,
  vectors,
  WgslWriter,
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

const FORWARD_PARAMS = uniforms({
  rows: "u32",
  stride: "u32",
  panels: "u32",
  columns: "u32",
  epsilon: "f32",
});

/** Where the sum of residual and x goes: nowhere (there is no x), into the residual, or elsewhere. */
type SumPlace = "none" | "in place" | "separate";

function forwardProgram(shape: RowShape, y: Pick<Matrix, "type">, place: SumPlace): Program {
  const w = new WgslWriter();
  const hasX = place !== "none";
  const summed = place === "separate" ? "total" : "stream";
  w.uniforms("p", FORWARD_PARAMS);
  w.storage("stream", "vec4f", place === "in place" ? "read_write" : "read");
  w.storage("weight", "vec4f");
  w.storage("y", vectorOf(y), "read_write");
  w.storage("inverse", "f32", "read_write");
  if (hasX) w.storage("x", "vec4f");
  if (place === "separate") w.storage("total", "vec4f", "read_write");
  shape.declare(w, ["sum"]);
  shape.main(w, () => {
    w.line("var squares = 0.0;");
    shape.loopPanels(w, "panels", (list) => {
      list.forEach(({ index }, q) => {
        w.line(`let v${q} = stream[${index}]${hasX ? ` + x[${index}]` : ""};`);
        if (hasX) w.line(`${summed}[${index}] = v${q};`);
      });
      w.line(`squares += ${list.map((_, q) => `dot(v${q}, v${q})`).join(" + ")};`);
    });
    w.line(
      `let mean = ${shape.reduce("sum", "squares")} / f32(p.columns);`,
      "let k = 1.0 / sqrt(mean + p.epsilon);",
    );
    w.if("lane == 0u && r < p.rows", () => w.line("inverse[r] = k;"));
    shape.loop(w, "panels", ({ index, column }) => {
      w.line(`y[${index}] = ${vectorOf(y)}(${summed}[${index}] * k * weight[${column}]);`);
    });
  });
  return w.program();
}

/** Queues y = s / rms(s) x weight with s = residual + x. */
export function rmsNormForward(plan: Plan, o: RmsNormForward): void {
  const shape = rowShape(plan.device, alternative(plan.device, "norm-threads"));
  const place = o.x === undefined ? "none" : o.sum === o.residual ? "in place" : "separate";
  const { rows, cols, stride } = o.y;
  const panels = padded(cols) / 32;
  plan.dispatch({
    label: "rmsnorm forward",
    code: forwardProgram(shape, o.y, place),
    params: FORWARD_PARAMS.pack({ rows, stride, panels, columns: cols, epsilon: o.epsilon }),
    bindings: {
      stream: o.residual.region,
      weight: vectors(o.weight),
      y: o.y.region,
      inverse: o.inverseRms,
      x: o.x?.region,
      total: o.sum?.region,
    },
    groups: spread(shape.groups(rows)),
    bytes: rows * panels * 32 * (elementBytes(o.y) + (o.x ? 12 : 4)),
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

const STREAM_PARAMS = uniforms({ rows: "u32", stride: "u32", panels: "u32", columns: "u32" });

/**
 * The gradient of the stream. With k = 1 / rms(s), g = dy x weight and d columns:
 * dstream = k (g - s k^2 (s . g) / d).
 */
function streamGradientProgram(shape: RowShape, accumulate: boolean): Program {
  const w = new WgslWriter();
  w.uniforms("p", STREAM_PARAMS);
  w.storage("dy", "vec4f");
  w.storage("stream", "vec4f");
  w.storage("weight", "vec4f");
  w.storage("inverse", "f32");
  w.storage("dstream", "vec4f", "read_write");
  shape.declare(w, ["sum"]);
  shape.main(w, () => {
    w.line("var along = 0.0;");
    shape.loopPanels(w, "panels", (list) => {
      const terms = list.map(({ index, column }) =>
        `dot(stream[${index}], dy[${index}] * weight[${column}])`
      );
      w.line(`along += ${terms.join("\n  + ")};`);
    });
    w.line(
      "let k = inverse[min(r, p.rows - 1u)];",
      `let pull = k * k * ${shape.reduce("sum", "along")} / f32(p.columns);`,
    );
    shape.loop(w, "panels", ({ index, column }) => {
      const value = `k * (dy[${index}] * weight[${column}] - stream[${index}] * pull)`;
      w.line(`dstream[${index}] ${accumulate ? "+=" : "="} ${value};`);
    });
  });
  return w.program();
}

const WEIGHT_PARAMS = uniforms({ rows: "u32", stride: "u32", vectors: "u32", chunk: "u32" });

/** The gradient of the weight: a sum down each column, of a chunk of rows by each invocation. */
function weightGradientProgram(): Program {
  const w = new WgslWriter();
  w.const("GROUP", VECTOR_GROUP);
  w.uniforms("p", WEIGHT_PARAMS);
  w.storage("dy", "vec4f");
  w.storage("stream", "vec4f");
  w.storage("inverse", "f32");
  w.storage("partials", "vec4f", "read_write");
  w.main("GROUP", { id: "global_invocation_id" }, () => {
    w.if("id.x >= p.vectors", () => w.line("return;"));
    w.line(
      "let base = (id.x / 8u) * p.stride * 8u + id.x % 8u;",
      "let end = min(p.rows, (id.y + 1u) * p.chunk);",
      "var total = vec4f();",
    );
    w.for("var r = id.y * p.chunk; r < end; r++", () => {
      w.line("let at = base + r * 8u;", "total += dy[at] * stream[at] * inverse[r];");
    });
    w.line("partials[id.y * p.vectors + id.x] = total;");
  });
  return w.program();
}

/** Queues the gradients of the stream and of the weight. */
export function rmsNormBackward(plan: Plan, o: RmsNormBackward): void {
  const { rows, cols, stride } = o.dy;
  const panels = padded(cols) / 32;
  const shape = rowShape(plan.device, alternative(plan.device, "norm-threads"));
  plan.dispatch({
    label: "rmsnorm dx",
    code: streamGradientProgram(shape, o.accumulate),
    params: STREAM_PARAMS.pack({ rows, stride, panels, columns: cols }),
    bindings: {
      dy: o.dy.region,
      stream: o.sum.region,
      weight: vectors(o.weight),
      inverse: o.inverseRms,
      dstream: o.dstream.region,
    },
    groups: spread(shape.groups(rows)),
    bytes: rows * panels * 128 * (o.accumulate ? 4 : 3),
  });
  const chunk = rowChunk(plan.device.variant, rows);
  plan.dispatch({
    label: "rmsnorm dweight",
    code: weightGradientProgram(),
    params: WEIGHT_PARAMS.pack({ rows, stride, vectors: panels * 8, chunk: chunk.rows }),
    bindings: {
      dy: o.dy.region,
      stream: o.sum.region,
      inverse: o.inverseRms,
      partials: o.scratch,
    },
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
