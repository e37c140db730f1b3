/**
 * Choosing the likeliest token on the device and feeding it back, so that many tokens are generated
 * for one read-back.
 *
 * The first kernel finds, in each stretch of a row's logits, the largest among the ids that may be
 * chosen (the lowest id where several are) and the sum of exponentials of all; the second joins the
 * stretches (the log-sum-exp of parts: Milakov and Gimelshein 2018), writes the row's choice into a
 * history and the next token into the model's input. Stretches are joined in a fixed order.
 * @module
 */
import { type Matrix, type Region, subregion } from "../layout.ts";
import { packParams, type Plan } from "../plan.ts";
import { declare } from "../wgsl/mod.ts";

/** Operands of {@linkcode greedyStep}. */
export interface GreedyStep {
  /** (rows, padded vocabulary) */
  logits: Matrix;
  /** Ids from 0 on that may be chosen. */
  choices: number;
  /** (rows) the model's input. */
  tokens: Region;
  /** See {@linkcode greedySizes}. */
  partial: Region;
  /** (rows) the step of this round, which the kernel moves on. */
  progress: Region;
  /** (steps, rows) the token that must follow step s, or {@linkcode FREE} for the choice itself. */
  forced: Region;
  /**
   * (steps, rows) vec4: the choice, its logit minus the largest of all, the sum of exponentials of
   * logits minus the largest, 0.
   */
  history: Region;
}

/** In `forced`: the choice is the next token. */
export const FREE = 0xffffffff;
const COMBINE = 64;

/** Ids in a stretch: a CPU driver wants few, a GPU many. */
const stretchOf = (plan: Plan) => plan.device.variant === "gpu-tiled" ? 32 : 1024;

/** Bytes of the regions of {@linkcode GreedyStep} for so many rows, ids and steps. */
export const greedySizes = (
  rows: number,
  columns: number,
  steps: number,
): { partial: number; forced: number; history: number } => ({
  partial: 16 * rows * Math.ceil(columns / 32),
  forced: 4 * rows * steps,
  history: 16 * rows * steps,
});

/** Appends the choice of one token a row. */
export function greedyStep(plan: Plan, o: GreedyStep): void {
  const { rows, cols, stride } = o.logits, stretch = stretchOf(plan);
  const parts = Math.ceil(cols / stretch);
  const params = packParams([cols, o.choices, stride, parts, rows]);
  const head = "struct P { columns: u32, choices: u32, stride: u32, parts: u32, rows: u32 }";
  plan.dispatch({
    label: "likeliest of parts",
    code: `${head}
${
      declare([
        "<uniform> p: P",
        "<storage, read> logits: array<f32>",
        "<storage, read_write> partial: array<vec4u>",
      ])
    }
@compute @workgroup_size(8) fn main(@builtin(global_invocation_id) id: vec3u) {
  let part = id.x; let row = id.y;
  if (part >= p.parts) { return; }
  let first = part * ${stretch}u; let end = min(first + ${stretch}u, p.columns);
  var best = first; var value = -3.4028e38; var top = -3.4028e38; var sum = 0.0;
  for (var c = first; c < end; c++) {
    let x = logits[((c / 32u) * p.stride + row) * 32u + c % 32u];
    if (c < p.choices && x > value) { value = x; best = c; }
    top = max(top, x);
  }
  for (var c = first; c < end; c++) {
    sum += exp(logits[((c / 32u) * p.stride + row) * 32u + c % 32u] - top);
  }
  partial[row * p.parts + part] =
    vec4u(best, bitcast<u32>(value), bitcast<u32>(top), bitcast<u32>(sum));
}`,
    params,
    bindings: [o.logits.region, o.partial],
    groups: [Math.ceil(parts / 8), rows],
    bytes: 4 * rows * cols,
  });
  plan.dispatch({
    label: "likeliest",
    code: `${head}
${
      declare([
        "<uniform> p: P",
        "<storage, read> partial: array<vec4u>",
        "<storage, read> forced: array<u32>",
        "<storage, read_write> progress: array<u32>",
        "<storage, read_write> tokens: array<u32>",
        "<storage, read_write> history: array<vec4u>",
      ])
    }
var<workgroup> shared_parts: array<vec4u, ${COMBINE}>;
/** The likelier of two choices, and their sums under the larger maximum. */
fn join_parts(a: vec4u, b: vec4u) -> vec4u {
  let va = bitcast<f32>(a.y); let vb = bitcast<f32>(b.y);
  let other = vb > va || (vb == va && b.x < a.x);
  let ta = bitcast<f32>(a.z); let tb = bitcast<f32>(b.z); let top = max(ta, tb);
  let sum = bitcast<f32>(a.w) * exp(ta - top) + bitcast<f32>(b.w) * exp(tb - top);
  return vec4u(select(a.x, b.x, other), select(a.y, b.y, other), bitcast<u32>(top), bitcast<u32>(sum));
}
@compute @workgroup_size(${COMBINE})
fn main(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) t: u32) {
  let row = w.x;
  var mine = partial[row * p.parts + min(t, p.parts - 1u)];
  for (var i = t + ${COMBINE}u; i < p.parts; i += ${COMBINE}u) {
    mine = join_parts(mine, partial[row * p.parts + i]);
  }
  shared_parts[t] = mine;
  workgroupBarrier();
  if (t == 0u) {
    for (var i = 1u; i < min(${COMBINE}u, p.parts); i++) { mine = join_parts(mine, shared_parts[i]); }
    let at = progress[row] * p.rows + row;
    let next = forced[at];
    let top = bitcast<f32>(mine.z);
    history[at] = vec4u(mine.x, bitcast<u32>(bitcast<f32>(mine.y) - top), mine.w, 0u);
    tokens[row] = select(next, mine.x, next == ${FREE}u);
    progress[row] = progress[row] + 1u;
  }
}`,
    params,
    bindings: [o.partial, o.forced, o.progress, o.tokens, o.history],
    groups: [rows],
  });
}

/** The choices of steps [0, steps) from the bytes of a history. */
export function readChoices(
  history: ArrayBuffer,
  rows: number,
  steps: number,
): { token: number; logProbability: number }[][] {
  const ids = new Uint32Array(history), values = new Float32Array(history);
  return Array.from({ length: rows }, (_, row) =>
    Array.from({ length: steps }, (_, step) => {
      const at = 4 * (step * rows + row);
      return { token: ids[at]!, logProbability: values[at + 1]! - Math.log(values[at + 2]!) };
    }));
}

/** The part of a per-step region that the first `steps` steps use. */
export const ofSteps = (region: Region, bytesOfStep: number, steps: number): Region =>
  subregion(region, 0, bytesOfStep * steps);
