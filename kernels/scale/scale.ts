/** A matrix times a number, in place. @module */
import { type Matrix, padded, PANEL } from "../layout.ts";
import { type Plan, spread } from "../plan.ts";
import { type Program, uniforms, VECTOR_GROUP, vectorOf, WgslWriter } from "../wgsl/mod.ts";

const PARAMS = uniforms({ rows: "u32", stride: "u32", vectors: "u32", factor: "f32" });

/** A vector of the matrix by each invocation. */
function program(matrix: Pick<Matrix, "type">): Program {
  const vector = vectorOf(matrix);
  const w = new WgslWriter();
  w.const("GROUP", VECTOR_GROUP);
  w.uniforms("p", PARAMS);
  w.storage("values", vector, "read_write");
  w.main("GROUP", { id: "global_invocation_id", count: "num_workgroups" }, () => {
    w.line("let i = id.x + id.y * count.x * GROUP;");
    w.if("i >= p.vectors", () => w.line("return;"));
    w.line(`
      let q = i % 8u;
      let r = i / 8u % p.rows;
      let panel = i / 8u / p.rows;
      let at = (panel * p.stride + r) * 8u + q;
      values[at] = ${vector}(p.factor * vec4f(values[at]));
    `);
  });
  return w.program();
}

/** Queues matrix = factor x matrix; nothing where the factor is 1. */
export function scale(plan: Plan, matrix: Matrix, factor: number): void {
  if (factor === 1) return;
  const { rows, cols, stride } = matrix;
  const vectors = padded(cols) / PANEL * rows * 8;
  plan.dispatch({
    label: "scale",
    code: program(matrix),
    params: PARAMS.pack({ rows, stride, vectors, factor }),
    bindings: { values: matrix.region },
    groups: spread(Math.ceil(vectors / VECTOR_GROUP)),
    bytes: vectors * 32,
  });
}
