/**
 * Causal depthwise convolution + SiLU, forward and backward; what it computes is said in
 * `reference/conv_silu.ts`. One step with a state is in `scan/step.ts`.
 *
 * Every invocation takes four channels down a stretch of rows with a sliding window in registers.
 * All sequences of a batch are one run of rows: a row whose `starts` is 1 forgets what came before,
 * so the first row of every sequence must be marked. To begin from a state instead, put its
 * width - 1 inputs before the sequence as rows of their own and ignore their outputs.
 * @module
 */
import { elementBytes, type Matrix, padded, type Region, subregion } from "../layout.ts";
import { packParams, type Plan } from "../plan.ts";
import { sumPartials } from "../reduce/reduce.ts";
import type { Sizing, Variant } from "../device.ts";
import { declare, enableHalf, rowChunk, VECTOR_GROUP, vectorOf } from "../wgsl/mod.ts";

/** What forward and backward share. */
export interface ConvSilu {
  /** (rows, d), which may be f16, as y and dx may be. */
  x: Matrix;
  /** (d, width) row-major; the last column meets the present row. */
  weight: Region;
  /** (d) */
  bias: Region;
  width: number;
  /** Channels in use, where x has more columns (zero ones); d by default. */
  channels?: number;
  /** (rows) u32: 1 where a sequence or a document starts. */
  starts: Region;
}

const range = (n: number) => Array.from({ length: n }, (_, i) => i);

/** Loads the filter of this invocation's four channels: w0 meets the present row, w1 the one before. */
function loadFilter(width: number): string {
  const tap = (back: number) =>
    range(4).map((k) => `at(c + ${k}u, ${width - 1 - back}u)`).join(", ");
  return range(width).map((back) => `let w${back} = vec4f(${tap(back)});`).join("\n  ") +
    `\n  let b = vec4f(${range(4).map((k) => `bias_at(c + ${k}u)`).join(", ")});`;
}

const FILTER_FUNCTIONS = (width: number) => `
fn at(c: u32, tap: u32) -> f32 {
  return select(0.0, weight[min(c, p.channels - 1u) * ${width}u + tap], c < p.channels);
}
fn bias_at(c: u32) -> f32 {
  return select(0.0, bias[min(c, p.channels - 1u)], c < p.channels);
}
fn sigmoid(x: vec4f) -> vec4f { return 1.0 / (1.0 + exp(-x)); }`;

/** Declares x1 ... and fills them with the rows before `first` that belong to its document. */
function openWindow(width: number): string {
  const lines = range(width - 1).map((i) => `var x${i + 1} = vec4f();`);
  // Row `first` clears the window itself where it starts a document.
  lines.push(`var known = first > 0u;`);
  for (let back = 1; back < width; back++) {
    lines.push(
      `if (known) { x${back} = vec4f(x[base + (first - ${back}u) * 8u]); }`,
      `known = known && first > ${back}u && starts[max(first, ${back}u) - ${back}u] == 0u;`,
    );
  }
  return lines.slice(0, -1).join("\n  ");
}

/** Clears the window where row r starts a document. */
const clearWindow = (width: number) =>
  `if (starts[r] != 0u) { ${range(width - 1).map((i) => `x${i + 1} = vec4f();`).join(" ")} }`;
const slideWindow = (width: number) =>
  range(width - 1).reverse().map((i) => `x${i + 1} = x${i};`).join(" ");
const preActivation = (width: number) =>
  `b + ${range(width).map((i) => `w${i} * x${i}`).join(" + ")}`;

/**
 * Rows of an invocation's stretch. GPUs get short ones, so that some 25 KB are in flight on each core:
 * 16 rows forward, which reads 3 of 19 twice (from the cache); 32 and more backward, where each stretch
 * also leaves partial sums of the filter's gradient.
 */
function stretch(variant: Variant, rows: number, backward: boolean): ReturnType<typeof rowChunk> {
  if (variant !== "gpu-tiled") return rowChunk(variant, rows);
  const each = backward ? Math.max(32, Math.ceil(rows / 256)) : 16;
  // A dispatch's second dimension holds 65,535.
  const fitting = Math.max(each, Math.ceil(rows / 65535));
  return { rows: fitting, count: Math.ceil(rows / fitting) };
}

/** Queues y = silu(conv(x) + bias); y (rows, d). */
export function convSiluForward(plan: Plan, o: ConvSilu & { y: Matrix }): void {
  const { rows, cols, stride } = o.x, chunk = stretch(plan.device.variant, rows, false);
  const lines = padded(cols) / 4;
  plan.dispatch({
    label: "conv_silu forward",
    code: `${
      enableHalf(o.x, o.y)
    }struct P { rows: u32, stride: u32, vectors: u32, channels: u32, chunk: u32 }
${
      declare([
        "<uniform> p: P",
        `<storage, read> x: array<${vectorOf(o.x)}>`,
        "<storage, read> weight: array<f32>",
        "<storage, read> bias: array<f32>",
        "<storage, read> starts: array<u32>",
        `<storage, read_write> y: array<${vectorOf(o.y)}>`,
      ])
    }
${FILTER_FUNCTIONS(o.width)}
@compute @workgroup_size(${VECTOR_GROUP}) fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= p.vectors) { return; }
  let c = id.x * 4u;
  let base = (id.x / 8u) * p.stride * 8u + id.x % 8u;
  let first = id.y * p.chunk;
  ${loadFilter(o.width)}
  ${openWindow(o.width)}
  for (var r = first; r < min(p.rows, first + p.chunk); r++) {
    let x0 = vec4f(x[base + r * 8u]);
    ${clearWindow(o.width)}
    let v = ${preActivation(o.width)};
    y[base + r * 8u] = ${vectorOf(o.y)}(v * sigmoid(v));
    ${slideWindow(o.width)}
  }
}`,
    params: packParams([rows, stride, lines, o.channels ?? cols, chunk.rows]),
    bindings: [o.x.region, o.weight, o.bias, o.starts, o.y.region],
    groups: [Math.ceil(lines / VECTOR_GROUP), chunk.count],
    flop: rows * cols * (2 * o.width + 5),
    bytes: rows * padded(cols) * (elementBytes(o.x) + elementBytes(o.y)),
  });
}

/** Operands of the backward pass. */
export interface ConvSiluBackward extends ConvSilu {
  /** (rows, d) */
  dy: Matrix;
  /** (rows, d) set, not added to. */
  dx: Matrix;
  /** (d, width) added to. */
  dweight: Region;
  /** (d) added to. */
  dbias: Region;
  /** {@linkcode convSiluScratch} floats. */
  scratch: Region;
}

/** Floats of scratch of a backward pass. */
export function convSiluScratch(
  plan: { device: Sizing },
  rows: number,
  cols: number,
  width: number,
): number {
  return stretch(plan.device.variant, rows, true).count * padded(cols) * (width + 1);
}

/**
 * Queues the gradients. With v the sum before SiLU and g[t] = dy[t] silu'(v[t]): dx[t] is the sum over
 * j of w[j] g[t + j] as far as t's document reaches, dweight[j] the sum over t of g[t] x[t - j]. Each
 * invocation recomputes v, and runs width - 1 rows past its stretch for the g that its last rows need.
 */
export function convSiluBackward(plan: Plan, o: ConvSiluBackward): void {
  const { rows, cols, stride } = o.x, { width, channels = cols } = o, past = width - 1;
  const chunk = stretch(plan.device.variant, rows, true), lines = padded(cols) / 4;
  const each = (text: (i: number) => string, from = 0) =>
    range(width - from).map((i) => text(i + from)).join(" ");
  const each4 = (text: (k: number) => string) => range(4).map(text).join("\n    ");
  plan.dispatch({
    label: "conv_silu backward",
    code: `${
      enableHalf(o.x, o.dx)
    }struct P { rows: u32, stride: u32, vectors: u32, channels: u32, chunk: u32, chunks: u32 }
${
      declare([
        "<uniform> p: P",
        `<storage, read> x: array<${vectorOf(o.x)}>`,
        "<storage, read> weight: array<f32>",
        "<storage, read> bias: array<f32>",
        "<storage, read> starts: array<u32>",
        "<storage, read> dy: array<vec4f>",
        `<storage, read_write> dx: array<${vectorOf(o.dx)}>`,
        "<storage, read_write> partials: array<f32>",
      ])
    }
${FILTER_FUNCTIONS(width)}
@compute @workgroup_size(${VECTOR_GROUP}) fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= p.vectors) { return; }
  let c = id.x * 4u;
  let base = (id.x / 8u) * p.stride * 8u + id.x % 8u;
  let first = id.y * p.chunk;
  let last = min(p.rows, first + p.chunk);
  ${loadFilter(width)}
  ${openWindow(width)}
  // d1 ... gather the gradients of rows r - 1 ...; m1 ... are 1 where those rows are r's document.
  ${each((i) => `var d${i} = vec4f(); var m${i} = 0.0;`, 1)}
  ${each((i) => `var dw${i} = vec4f();`)}
  var db = vec4f();
  for (var r = first; r < last + ${past}u; r++) {
    let row = min(r, p.rows - 1u);
    let x0 = vec4f(x[base + row * 8u]);
    let keep = select(1.0, 0.0, starts[row] != 0u);
    if (keep == 0.0) { ${each((i) => `x${i} = vec4f();`, 1)} }
    ${range(past).reverse().map((i) => `m${i + 1} = ${i ? `m${i} * ` : ""}keep;`).join(" ")}
    let v = ${preActivation(width)};
    let s = sigmoid(v);
    let g = dy[base + row * 8u] * s * (1.0 + v * (1.0 - s)) * select(0.0, 1.0, r < p.rows);
    let own = g * select(0.0, 1.0, r < last);
    ${each((i) => `dw${i} += own * x${i};`)}
    db += own;
    ${each((i) => `d${i} += m${i} * w${i} * g;`, 1)}
    if (r >= first + ${past}u) { dx[base + (r - ${past}u) * 8u] = ${vectorOf(o.dx)}(d${past}); }
    ${range(past).slice(1).reverse().map((i) => `d${i + 1} = d${i};`).join(" ")}
    d1 = w0 * g;
    ${slideWindow(width)}
  }
  let at_weight = (id.y * p.vectors * 4u + c) * ${width}u;
  let at_bias = (p.chunks * ${width}u + id.y) * p.vectors * 4u + c;
  ${
      each4((k) =>
        range(width).map((i) => `partials[at_weight + ${k * width + past - i}u] = dw${i}[${k}];`)
          .join(" ")
      )
    }
  ${each4((k) => `partials[at_bias + ${k}u] = db[${k}];`)}
}`,
    params: packParams([rows, stride, lines, channels, chunk.rows, chunk.count]),
    bindings: [o.x.region, o.weight, o.bias, o.starts, o.dy.region, o.dx.region, o.scratch],
    groups: [Math.ceil(lines / VECTOR_GROUP), chunk.count],
    flop: rows * cols * (6 * width + 10),
    bytes: rows * padded(cols) * (4 + elementBytes(o.x) + elementBytes(o.dx)),
  });
  const bytes = chunk.count * padded(cols) * 4;
  sumPartials(plan, {
    partials: subregion(o.scratch, 0, bytes * width),
    count: chunk.count,
    width: padded(cols) * width,
    out: o.dweight,
    length: channels * width,
    accumulate: true,
  });
  sumPartials(plan, {
    partials: subregion(o.scratch, bytes * width, bytes),
    count: chunk.count,
    width: padded(cols),
    out: o.dbias,
    length: channels,
    accumulate: true,
  });
}
