/**
 * Rows of an embedding table, and the table's gradient. The table may exceed the device's binding
 * limit: it is bound by ranges of panels.
 * @module
 */
import { columns, type Matrix, padded, PANEL, type Region } from "../layout.ts";
import { packParams, type Plan } from "../plan.ts";
import { declare, VECTOR_GROUP } from "../wgsl/mod.ts";

/** Panels that one invocation of a GPU works through; a CPU driver's takes them all. */
const GPU_PANELS = 1;
/** Positions of a token whose gradients a GPU's invocation asks for at once. */
const AT_ONCE = 8;

/** Ranges of the table's panels that each fit a binding: [first column, columns]. */
function panelRanges(plan: Plan, table: Matrix): [number, number][] {
  const panels = padded(table.cols) / PANEL, bytes = table.stride * PANEL * 4;
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

/** Queues x[r] = table[tokens[r]]. `table` (V, d), `tokens` (rows) u32 below V, `x` (rows, d). */
export function embeddingForward(
  plan: Plan,
  o: { table: Matrix; tokens: Region; x: Matrix },
): void {
  const code = `struct P { rows: u32, panels: u32, each: u32, stride: u32, table_stride: u32 }
${
    declare([
      "<uniform> p: P",
      "<storage, read> table: array<vec4f>",
      "<storage, read> tokens: array<u32>",
      "<storage, read_write> x: array<vec4f>",
    ])
  }
@compute @workgroup_size(${VECTOR_GROUP}) fn main(@builtin(global_invocation_id) id: vec3u) {
  let r = id.x / 8u;
  if (r >= p.rows) { return; }
  let token = tokens[r];
  for (var i = id.y * p.each; i < min(p.panels, (id.y + 1u) * p.each); i++) {
    x[(i * p.stride + r) * 8u + id.x % 8u] = table[(i * p.table_stride + token) * 8u + id.x % 8u];
  }
}`;
  for (const [from, cols] of panelRanges(plan, o.table)) {
    const table = columns(o.table, from, cols), x = columns(o.x, from, cols);
    const { each, groups } = panelGroups(plan, cols);
    plan.dispatch({
      label: "embedding forward",
      code,
      params: packParams([x.rows, padded(cols) / PANEL, each, x.stride, table.stride]),
      bindings: [table.region, o.tokens, x.region],
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
  const rows = tokens.length, out = new Uint32Array(segmentWords(rows));
  const order = Uint32Array.from({ length: rows }, (_, i) => i);
  order.sort((a, b) => tokens[a]! - tokens[b]! || a - b);
  let segments = 0;
  for (let i = 0; i < rows; i++) {
    const token = tokens[order[i]!]!;
    if (i === 0 || token !== tokens[order[i - 1]!]) out[2 + rows + segments++] = token;
    out[1 + segments] = i + 1;
  }
  out[0] = segments;
  out.set(order, 2 + 2 * rows);
  return out;
}

/**
 * Queues dtable[token] += the sum of dx over the token's positions. `segments` holds
 * {@linkcode tokenSegments} of the batch when the kernel runs.
 */
export function embeddingBackward(
  plan: Plan,
  o: { dtable: Matrix; segments: Region; dx: Matrix },
): void {
  // A frequent token's loads would wait for one another; they are added in the same order.
  const gpu = plan.device.variant === "gpu-tiled",
    at = Array.from({ length: AT_ONCE }, (_, j) => j);
  const many = gpu
    ? `for (; k + ${AT_ONCE}u <= end; k += ${AT_ONCE}u) {
      ${at.map((j) => `let s${j} = segments[positions + k + ${j}u];`).join("\n      ")}
      ${at.map((j) => `let d${j} = dx[(i * p.stride + s${j}) * 8u + id.x % 8u];`).join("\n      ")}
      ${at.map((j) => `total += d${j};`).join(" ")}
    }`
    : "";
  const code = `struct P { rows: u32, panels: u32, each: u32, stride: u32, table_stride: u32 }
${
    declare([
      "<uniform> p: P",
      "<storage, read_write> dtable: array<vec4f>",
      "<storage, read> segments: array<u32>",
      "<storage, read> dx: array<vec4f>",
    ])
  }
@compute @workgroup_size(${VECTOR_GROUP}) fn main(@builtin(global_invocation_id) id: vec3u) {
  let segment = id.x / 8u;
  if (segment >= segments[0]) { return; }
  let begin = segments[1u + segment];
  let end = segments[2u + segment];
  let token = segments[2u + p.rows + segment];
  let positions = 2u + 2u * p.rows;
  for (var i = id.y * p.each; i < min(p.panels, (id.y + 1u) * p.each); i++) {
    var total = vec4f();
    var k = begin;
    ${many}
    for (; k < end; k++) {
      total += dx[(i * p.stride + segments[positions + k]) * 8u + id.x % 8u];
    }
    dtable[(i * p.table_stride + token) * 8u + id.x % 8u] += total;
  }
}`;
  for (const [from, cols] of panelRanges(plan, o.dtable)) {
    const dtable = columns(o.dtable, from, cols), dx = columns(o.dx, from, cols);
    const { each, groups } = panelGroups(plan, cols);
    plan.dispatch({
      label: "embedding backward",
      code,
      params: packParams([dx.rows, padded(cols) / PANEL, each, dx.stride, dtable.stride]),
      bindings: [dtable.region, o.segments, dx.region],
      groups: [Math.ceil(dx.rows * 8 / VECTOR_GROUP), groups],
      bytes: dx.rows * cols * 12,
    });
  }
}
