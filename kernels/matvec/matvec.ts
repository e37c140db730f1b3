/**
 * y = W x for one vector: what a generated token costs. The time is that of reading W once. Where the
 * CPU variant keeps its own copy of W, see packed.ts.
 *
 * On CPU drivers one invocation takes a row. On GPUs eight neighbours take a row together, so that
 * they read a whole line of 128 bytes at once; they add up their sums in shared memory.
 * @module
 */
import { alternative } from "../alternatives.ts";
import { columns, type Matrix, padded, PANEL, panelBytes, type Region } from "../layout.ts";
import type { Plan } from "../plan.ts";
import { range } from "../range.ts";
import { type Program, sumOf, uniforms, vectorOf, WgslWriter } from "../wgsl/mod.ts";

/** Operands; x and y are contiguous vectors, (padded columns) and (padded rows) floats. */
export interface Matvec {
  weight: Matrix;
  x: Region;
  y: Region;
  /** What profiles call it; "matvec" where it is left out. */
  label?: string;
}

const PARAMS = uniforms({
  /** Rows of W. */
  rows: "u32",
  /** Rows allocated of W: the distance between its panels. */
  stride: "u32",
  /** Panels of W, each of 32 columns. */
  panels: "u32",
  /** 1 where the product is added to what y holds. */
  accumulate: "u32",
});

/** Invocations of a workgroup where one takes a row. */
const PLAIN_GROUP = 8;
/** Vectors of a line of a panel, and invocations that share a row on a GPU. */
const LINE_VECTORS = 8;
const ALL_VECTORS = range(LINE_VECTORS);

/** Begins a program: constants, bindings, and how a sum goes to y. */
function beginProgram(type: "vec4f" | "vec4h"): WgslWriter {
  const w = new WgslWriter();
  w.const("LINE_VECTORS", LINE_VECTORS);
  w.uniforms("p", PARAMS);
  w.storage("weight", type);
  w.storage("x", "vec4f");
  w.storage("y", "f32", "read_write");
  w.fn("put(row: u32, sum: f32)", () => {
    w.if("p.accumulate != 0u", () => w.line("y[row] += sum;"), () => w.line("y[row] = sum;"));
  });
  return w;
}

/** One invocation per row. */
function plainProgram(type: "vec4f" | "vec4h"): Program {
  const w = beginProgram(type);
  w.main(PLAIN_GROUP, { id: "global_invocation_id" }, () => {
    w.line("let row = id.x;");
    w.if("row >= p.rows", () => w.line("return;"));
    w.line("var total = vec4f();");
    w.for("var panel = 0u; panel < p.panels; panel++", () => {
      w.line(`
        let at = (panel * p.stride + row) * LINE_VECTORS;
        let x_at = panel * LINE_VECTORS;
      `);
      const products = ALL_VECTORS.map((q) => `vec4f(weight[at + ${q}u]) * x[x_at + ${q}u]`);
      w.line(`total += ${products.join(" +\n  ")};`);
    });
    w.line("put(row, dot(total, vec4f(1.0)));");
  });
  return w.program();
}

/** Eight invocations per row, each of which takes one vector of every line. */
function tiledProgram(type: "vec4f" | "vec4h", rows: number): Program {
  const w = beginProgram(type);
  w.const("ROWS", rows);
  w.workgroup("parts", "array<f32, ROWS * LINE_VECTORS>");
  const builtins = { group: "workgroup_id", t: "local_invocation_index" } as const;
  w.main(rows * LINE_VECTORS, builtins, () => {
    w.line(`
      let row = group.x * ROWS + t / LINE_VECTORS;
      let vector = t % LINE_VECTORS;
      var total = vec4f();
    `);
    w.if("row < p.rows", () => {
      w.for("var panel = 0u; panel < p.panels; panel++", () => {
        w.line(`
          let at = (panel * p.stride + row) * LINE_VECTORS + vector;
          total += vec4f(weight[at]) * x[panel * LINE_VECTORS + vector];
        `);
      });
    });
    w.line("parts[t] = dot(total, vec4f(1.0));", "workgroupBarrier();");
    w.if("vector == 0u && row < p.rows", () => {
      w.line(`put(row, ${sumOf(ALL_VECTORS.map((q) => `parts[t + ${q}u]`))});`);
    });
  });
  return w.program();
}

/** Appends y = W x. */
export function matvec(plan: Plan, { weight, x, y, label = "matvec" }: Matvec): void {
  const { device } = plan;
  const onGpu = device.variant === "gpu-tiled";
  const rows = alternative(device, "matvec-rows");
  const type = vectorOf(weight);
  const panels = padded(weight.cols) / PANEL;
  // A weight above the binding limit is taken in ranges of columns, each adding to the last.
  // An even number of panels, so that offsets into x stay multiples of 256 bytes.
  const fitting = Math.floor(device.bindingLimit / panelBytes(weight));
  const most = fitting >= panels ? panels : Math.max(2, fitting - fitting % 2);
  for (let first = 0; first < panels; first += most) {
    const cols = Math.min(most, panels - first) * PANEL;
    const part = columns(weight, first * PANEL, cols);
    plan.dispatch({
      label,
      flop: 2 * weight.rows * weight.cols,
      bytes: part.region.size,
      code: onGpu ? tiledProgram(type, rows) : plainProgram(type),
      params: PARAMS.pack({
        rows: weight.rows,
        stride: weight.stride,
        panels: cols / PANEL,
        accumulate: first > 0 ? 1 : 0,
      }),
      bindings: {
        weight: part.region,
        x: { ...x, offset: x.offset + first * PANEL * 4, size: cols * 4 },
        y,
      },
      groups: [Math.ceil(weight.rows / (onGpu ? rows : PLAIN_GROUP))],
    });
  }
}
