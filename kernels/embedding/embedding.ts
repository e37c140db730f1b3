/**
 * Rows of an embedding table, and the table's gradient. The table may exceed the device's binding
 * limit: it is bound by ranges of panels.
 * @module
 */
import { alternative } from "../alternatives.ts";
import { columns, elementBytes, type Matrix, padded, PANEL, type Region } from "../layout.ts";
import type { Plan } from "../plan.ts";
import { type Program, uniforms, VECTOR_GROUP, vectorOf, WgslWriter } from "../wgsl/mod.ts";

/** Panels that one invocation of a GPU works through; a CPU driver's takes them all. */
const GPU_PANELS = 1;

/** Ranges of the table's panels that each fit a binding: [first column, columns]. */
function panelRanges(plan: Plan, table: Matrix): [number, number][] {
  const panels = padded(table.cols) / PANEL;
  const bytes = table.stride * PANEL * elementBytes(table);
  const most = Math.max(1, Math.floor(plan.device.bindingLimit / bytes));
  const ranges: [number, number][] = [];
  for (let i = 0; i < panels; i += most) {
    ranges.push([i * PANEL, Math.min(table.cols, (i + most) * PANEL) - i * PANEL]);
  }
  return ranges;
}

function panelGroups(plan: Plan, cols: number): { each: number; groups: number } {
  const panels = padded(cols) / PANEL;
  const each = plan.device.variant === "gpu-tiled" ? GPU_PANELS : panels;
  return { each, groups: Math.ceil(panels / each) };
}

const PARAMS = uniforms({
  rows: "u32",
  panels: "u32",
  /** Panels of an invocation. */
  each: "u32",
  stride: "u32",
  table_stride: "u32",
});

/** Eight invocations for each row: one for each vector of a panel. */
function forwardProgram(type: "vec4f" | "vec4h"): Program {
  const w = new WgslWriter();
  w.const("GROUP", VECTOR_GROUP);
  w.uniforms("p", PARAMS);
  w.storage("table", type);
  w.storage("tokens", "u32");
  w.storage("x", "vec4f", "read_write");
  w.main("GROUP", { id: "global_invocation_id" }, () => {
    w.line("let r = id.x / 8u;", "let q = id.x % 8u;");
    w.if("r >= p.rows", () => w.line("return;"));
    w.line("let token = tokens[r];");
    w.for("var i = id.y * p.each; i < min(p.panels, (id.y + 1u) * p.each); i++", () => {
      const row = "table[(i * p.table_stride + token) * 8u + q]";
      w.line(`x[(i * p.stride + r) * 8u + q] = ${type === "vec4h" ? `vec4f(${row})` : row};`);
    });
  });
  return w.program();
}

/**
 * Queues x[r] = table[tokens[r]]. `table` (V, d) in f32 or f16, `tokens` (rows) u32 below V, `x`
 * (rows, d).
 */
export function embeddingForward(
  plan: Plan,
  o: { table: Matrix; tokens: Region; x: Matrix },
): void {
  const code = forwardProgram(vectorOf(o.table));
  for (const [from, cols] of panelRanges(plan, o.table)) {
    const table = columns(o.table, from, cols);
    const x = columns(o.x, from, cols);
    const { each, groups } = panelGroups(plan, cols);
    plan.dispatch({
      label: "embedding forward",
      code,
      params: PARAMS.pack({
        rows: x.rows,
        panels: padded(cols) / PANEL,
        each,
        stride: x.stride,
        table_stride: table.stride,
      }),
      bindings: { table: table.region, tokens: o.tokens, x: x.region },
      groups: [Math.ceil(x.rows * 8 / VECTOR_GROUP), groups],
      bytes: x.rows * cols * 8,
    });
  }
}

/** u32 words of {@linkcode tokenSegments} for so many rows. */
export const segmentWords = (rows: number): number => 2 + 3 * rows;

/**
 * Sorts a batch's positions by token, so that each token's gradient is summed by one invocation in a
 * fixed order: [segments, ends (rows + 1, from 0), token of each segment (rows), positions (rows)].
 */
export function tokenSegments(tokens: Uint32Array): Uint32Array<ArrayBuffer> {
  const rows = tokens.length;
  const out = new Uint32Array(segmentWords(rows));
  const order = Uint32Array.from({ length: rows }, (_, i) => i);
  const tokenAt = (position: number) => tokens[position] ?? NaN;
  order.sort((a, b) => tokenAt(a) - tokenAt(b) || a - b);
  let segments = 0;
  let last = NaN; // is no token, so the first position begins a segment
  for (const [i, position] of order.entries()) {
    const token = tokenAt(position);
    if (token !== last) out[2 + rows + segments++] = token;
    out[1 + segments] = i + 1;
    last = token;
  }
  out[0] = segments;
  out.set(order, 2 + 2 * rows);
  return out;
}

/**
 * Eight invocations for each token of the batch, which add up the gradients at its positions. One
 * invocation of a GPU would wait for one load of a frequent token after another: it asks for
 * `atOnce` at once, and adds them in the same order.
 */
function backwardProgram(gpu: boolean, atOnce: number): Program {
  const w = new WgslWriter();
  w.const("GROUP", VECTOR_GROUP);
  w.uniforms("p", PARAMS);
  w.storage("dtable", "vec4f", "read_write");
  w.storage("segments", "u32");
  w.storage("dx", "vec4f");
  w.main("GROUP", { id: "global_invocation_id" }, () => {
    w.line("let segment = id.x / 8u;", "let q = id.x % 8u;");
    w.if("segment >= segments[0]", () => w.line("return;"));
    w.line(`
      let begin = segments[1u + segment];
      let end = segments[2u + segment];
      let token = segments[2u + p.rows + segment];
      let positions = 2u + 2u * p.rows;
    `);
    w.for("var i = id.y * p.each; i < min(p.panels, (id.y + 1u) * p.each); i++", () => {
      w.line("var total = vec4f();", "var k = begin;");
      if (gpu) {
        w.for(`; k + ${atOnce}u <= end; k += ${atOnce}u`, () => {
          w.unroll(atOnce, (j) => w.line(`let s${j} = segments[positions + k + ${j}u];`));
          w.unroll(atOnce, (j) => w.line(`let d${j} = dx[(i * p.stride + s${j}) * 8u + q];`));
          w.unroll(atOnce, (j) => w.line(`total += d${j};`));
        });
      }
      w.for("; k < end; k++", () => {
        w.line("total += dx[(i * p.stride + segments[positions + k]) * 8u + q];");
      });
      w.line("dtable[(i * p.table_stride + token) * 8u + q] += total;");
    });
  });
  return w.program();
}

/**
 * Queues dtable[token] += the sum of dx over the token's positions. `segments` holds
 * {@linkcode tokenSegments} of the batch when the kernel runs.
 */
export function embeddingBackward(
  plan: Plan,
  o: { dtable: Matrix; segments: Region; dx: Matrix },
): void {
  const { device } = plan;
  const atOnce = alternative(device, "embedding-loads");
  const code = backwardProgram(device.variant === "gpu-tiled", atOnce);
  for (const [from, cols] of panelRanges(plan, o.dtable)) {
    const dtable = columns(o.dtable, from, cols);
    const dx = columns(o.dx, from, cols);
    const { each, groups } = panelGroups(plan, cols);
    plan.dispatch({
      label: "embedding backward",
      code,
      params: PARAMS.pack({
        rows: dx.rows,
        panels: padded(cols) / PANEL,
        each,
        stride: dx.stride,
        table_stride: dtable.stride,
      }),
      bindings: { dtable: dtable.region, segments: o.segments, dx: dx.region },
      groups: [Math.ceil(dx.rows * 8 / VECTOR_GROUP), groups],
      bytes: dx.rows * cols * 12,
    });
  }
}
