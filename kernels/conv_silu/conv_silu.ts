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
import { alternative } from "../alternatives.ts";
import { elementBytes, type Matrix, padded, type Region, subregion } from "../layout.ts";
import type { Sizing } from "../device.ts";
import type { Plan } from "../plan.ts";
import { range } from "../range.ts";
import { sumPartials } from "../reduce/reduce.ts";
import { type Program, rowChunk, uniforms, vectorOf, WgslWriter } from "../wgsl/mod.ts";

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

/**
 * Functions that read the filter: `taps(c, i)` are the weights of channels c to c + 3 for input i,
 * counted from the oldest.
 */
function writeFilterFunctions(w: WgslWriter): void {
  w.fn(
    "weight_of(c: u32, tap: u32) -> f32",
    "return select(0.0, weight[min(c, p.channels - 1u) * WIDTH + tap], c < p.channels);",
  );
  w.fn(
    "bias_of(c: u32) -> f32",
    "return select(0.0, bias[min(c, p.channels - 1u)], c < p.channels);",
  );
  w.fn("taps(c: u32, tap: u32) -> vec4f", () => {
    w.line(`return vec4f(${range(4).map((k) => `weight_of(c + ${k}u, tap)`).join(", ")});`);
  });
  w.fn("biases(c: u32) -> vec4f", () => {
    w.line(`return vec4f(${range(4).map((k) => `bias_of(c + ${k}u)`).join(", ")});`);
  });
  w.fn("sigmoid(x: vec4f) -> vec4f", "return 1.0 / (1.0 + exp(-x));");
}

/** Loads the filter of this invocation's channels: w0 meets the present row, w1 the one before. */
function writeFilter(w: WgslWriter, width: number): void {
  w.unroll(width, (back) => w.line(`let w${back} = taps(c, ${width - 1 - back}u);`));
  w.line("let b = biases(c);");
}

/** Declares x1 ... and fills them with the rows before `first` that belong to its document. */
function writeWindow(w: WgslWriter, width: number): void {
  for (let back = 1; back < width; back++) w.line(`var x${back} = vec4f();`);
  w.comment("Row `first` clears the window itself where it starts a document.");
  w.line("var known = first > 0u;");
  for (let back = 1; back < width; back++) {
    w.if("known", () => w.line(`x${back} = vec4f(x[base + (first - ${back}u) * 8u]);`));
    if (back === width - 1) break;
    const before = `max(first, ${back}u) - ${back}u`;
    w.line(`known = known && first > ${back}u && starts[${before}] == 0u;`);
  }
}

/** Forgets the rows before the present one. */
function clearWindow(w: WgslWriter, width: number): void {
  for (let back = 1; back < width; back++) w.line(`x${back} = vec4f();`);
}

/** Makes the present row the one before. */
function slideWindow(w: WgslWriter, width: number): void {
  for (let back = width - 1; back > 0; back--) w.line(`x${back} = x${back - 1};`);
}

/** WGSL for the sum before SiLU. */
const preActivation = (width: number) =>
  `b + ${range(width).map((i) => `w${i} * x${i}`).join(" + ")}`;

/**
 * Rows of an invocation's stretch. GPUs get short ones, so that some 25 KB are in flight on each core:
 * 16 rows forward, which reads 3 of 19 twice (from the cache); 32 and more backward, where each stretch
 * also leaves partial sums of the filter's gradient.
 */
function stretch(device: Sizing, rows: number, backward: boolean): ReturnType<typeof rowChunk> {
  if (device.variant !== "gpu-tiled") return rowChunk(device.variant, rows);
  const least = alternative(device, backward ? "convolution-backward-rows" : "convolution-rows");
  const each = backward ? Math.max(least, Math.ceil(rows / 256)) : least;
  // A dispatch's second dimension holds 65,535.
  const fitting = Math.max(each, Math.ceil(rows / 65535));
  return { rows: fitting, count: Math.ceil(rows / fitting) };
}

const FORWARD_PARAMS = uniforms({
  rows: "u32",
  stride: "u32",
  vectors: "u32",
  channels: "u32",
  /** Rows of a stretch. */
  chunk: "u32",
});

/** Where an invocation's channels and rows are: c, base (the index of their row 0), first and last. */
function writePlace(w: WgslWriter): void {
  w.if("id.x >= p.vectors", () => w.line("return;"));
  w.line(`
    let c = id.x * 4u;
    let base = (id.x / 8u) * p.stride * 8u + id.x % 8u;
    let first = id.y * p.chunk;
    let last = min(p.rows, first + p.chunk);
  `);
}

function forwardProgram(
  o: Pick<ConvSilu, "width" | "x"> & { y: Matrix },
  threads: number,
): Program {
  const { width } = o;
  const w = new WgslWriter();
  w.const("GROUP", threads);
  w.const("WIDTH", width);
  w.uniforms("p", FORWARD_PARAMS);
  w.storage("x", vectorOf(o.x));
  w.storage("weight", "f32");
  w.storage("bias", "f32");
  w.storage("starts", "u32");
  w.storage("y", vectorOf(o.y), "read_write");
  writeFilterFunctions(w);
  w.main("GROUP", { id: "global_invocation_id" }, () => {
    writePlace(w);
    writeFilter(w, width);
    writeWindow(w, width);
    w.for("var r = first; r < last; r++", () => {
      w.line("let x0 = vec4f(x[base + r * 8u]);");
      w.if("starts[r] != 0u", () => clearWindow(w, width));
      w.line(
        `let v = ${preActivation(width)};`,
        `y[base + r * 8u] = ${vectorOf(o.y)}(v * sigmoid(v));`,
      );
      slideWindow(w, width);
    });
  });
  return w.program();
}

/** Queues y = silu(conv(x) + bias); y (rows, d). */
export function convSiluForward(plan: Plan, o: ConvSilu & { y: Matrix }): void {
  const { rows, cols, stride } = o.x;
  const chunk = stretch(plan.device, rows, false);
  const threads = alternative(plan.device, "convolution-threads");
  const vectors = padded(cols) / 4;
  plan.dispatch({
    label: "conv_silu forward",
    code: forwardProgram(o, threads),
    params: FORWARD_PARAMS.pack({
      rows,
      stride,
      vectors,
      channels: o.channels ?? cols,
      chunk: chunk.rows,
    }),
    bindings: {
      x: o.x.region,
      weight: o.weight,
      bias: o.bias,
      starts: o.starts,
      y: o.y.region,
    },
    groups: [Math.ceil(vectors / threads), chunk.count],
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
  return stretch(plan.device, rows, true).count * padded(cols) * (width + 1);
}

const BACKWARD_PARAMS = uniforms({ ...FORWARD_PARAMS.fields, chunks: "u32" });

/**
 * With v the sum before SiLU and g[t] = dy[t] silu'(v[t]): dx[t] is the sum over j of w[j] g[t + j] as
 * far as t's document reaches, dweight[j] the sum over t of g[t] x[t - j]. Each invocation recomputes
 * v, and runs width - 1 rows past its stretch for the g that its last rows need.
 */
function backwardProgram(
  { width, x, dx }: Pick<ConvSiluBackward, "width" | "x" | "dx">,
  threads: number,
): Program {
  const past = width - 1;
  const w = new WgslWriter();
  w.const("GROUP", threads);
  w.const("WIDTH", width);
  w.const("PAST", past);
  w.uniforms("p", BACKWARD_PARAMS);
  w.storage("x", vectorOf(x));
  w.storage("weight", "f32");
  w.storage("bias", "f32");
  w.storage("starts", "u32");
  w.storage("dy", "vec4f");
  w.storage("dx", vectorOf(dx), "read_write");
  w.storage("partials", "f32", "read_write");
  writeFilterFunctions(w);
  w.main("GROUP", { id: "global_invocation_id" }, () => {
    writePlace(w);
    writeFilter(w, width);
    writeWindow(w, width);
    w.comment(
      "d1 ... gather the gradients of rows r - 1 ...; m1 ... are 1 where those rows are in",
    );
    w.comment("the document of row r.");
    for (let i = 1; i < width; i++) w.line(`var d${i} = vec4f();`, `var m${i} = 0.0;`);
    w.unroll(width, (i) => w.line(`var dw${i} = vec4f();`));
    w.line("var db = vec4f();");
    w.for("var r = first; r < last + PAST; r++", () => {
      w.line(`
        let row = min(r, p.rows - 1u);
        let x0 = vec4f(x[base + row * 8u]);
        let keep = select(1.0, 0.0, starts[row] != 0u);
      `);
      w.if("keep == 0.0", () => clearWindow(w, width));
      for (let i = past; i > 1; i--) w.line(`m${i} = m${i - 1} * keep;`);
      w.line("m1 = keep;");
      w.line(`
        let v = ${preActivation(width)};
        let s = sigmoid(v);
        let g = dy[base + row * 8u] * s * (1.0 + v * (1.0 - s)) * select(0.0, 1.0, r < p.rows);
        let own = g * select(0.0, 1.0, r < last);
      `);
      w.unroll(width, (i) => w.line(`dw${i} += own * x${i};`));
      w.line("db += own;");
      for (let i = 1; i < width; i++) w.line(`d${i} += m${i} * w${i} * g;`);
      w.if("r >= first + PAST", () => {
        w.line(`dx[base + (r - PAST) * 8u] = ${vectorOf(dx)}(d${past});`);
      });
      for (let i = past; i > 1; i--) w.line(`d${i} = d${i - 1};`);
      w.line("d1 = w0 * g;");
      slideWindow(w, width);
    });
    w.line(
      "let at_weight = (id.y * p.vectors * 4u + c) * WIDTH;",
      "let at_bias = (p.chunks * WIDTH + id.y) * p.vectors * 4u + c;",
    );
    for (const k of range(4)) {
      w.unroll(width, (i) => {
        w.line(`partials[at_weight + ${k * width + past - i}u] = dw${i}[${k}];`);
      });
    }
    w.unroll(4, (k) => w.line(`partials[at_bias + ${k}u] = db[${k}];`));
  });
  return w.program();
}

/** Queues the gradients of x, of the filter and of the bias. */
export function convSiluBackward(plan: Plan, o: ConvSiluBackward): void {
  const { rows, cols, stride } = o.x;
  const { width, channels = cols } = o;
  const chunk = stretch(plan.device, rows, true);
  const threads = alternative(plan.device, "convolution-threads");
  const vectors = padded(cols) / 4;
  plan.dispatch({
    label: "conv_silu backward",
    code: backwardProgram(o, threads),
    params: BACKWARD_PARAMS.pack({
      rows,
      stride,
      vectors,
      channels,
      chunk: chunk.rows,
      chunks: chunk.count,
    }),
    bindings: {
      x: o.x.region,
      weight: o.weight,
      bias: o.bias,
      starts: o.starts,
      dy: o.dy.region,
      dx: o.dx.region,
      partials: o.scratch,
    },
    groups: [Math.ceil(vectors / threads), chunk.count],
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
