/**
 * AdamW with decoupled decay over flat buffers of parameters, clipping by the global norm on the
 * device; what it computes is said in `reference/adamw.ts`. Where norm or loss are not finite, or above
 * what the update may have, nothing is updated.
 * @module
 */
import { type Region, subregion } from "../layout.ts";
import { packParams, type Plan, spread } from "../plan.ts";
import { declare, slices, VECTOR_GROUP } from "../wgsl/mod.ts";

/** Bytes of the uniform region that {@linkcode adamWHyper} fills. */
export const ADAMW_HYPER_BYTES = 48;

/** The values of one update: see `reference/adamw.ts`. */
export interface AdamWHyper {
  /** The update's number, from 1. */
  step: number;
  learningRate: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  weightDecay: number;
  /** Infinity for no clipping. */
  maxGradNorm: number;
  /** Nothing is updated where the loss or the norm lies above this; absent for no limit. */
  skipAbove?: { loss: number; gradNorm: number };
}

/** The limits of `skipAbove` as the device compares them: of the loss, and of the squared norm. */
export function skipLimits(skipAbove: AdamWHyper["skipAbove"]): { loss: number; squares: number } {
  const stored = (x: number) => Math.fround(Math.min(x, 3e38));
  if (!skipAbove) return { loss: stored(Infinity), squares: stored(Infinity) };
  return { loss: stored(skipAbove.loss), squares: stored(skipAbove.gradNorm ** 2) };
}

/** One update's values, to be written to the uniform region before the update runs. */
export function adamWHyper(h: AdamWHyper): Float32Array<ArrayBuffer> {
  return Float32Array.from([
    h.learningRate,
    h.beta1,
    h.beta2,
    1 - h.beta1,
    1 - h.beta2,
    h.epsilon,
    h.learningRate * h.weightDecay,
    1 / (1 - h.beta1 ** h.step),
    1 / (1 - h.beta2 ** h.step),
    Number.isFinite(h.maxGradNorm) ? h.maxGradNorm : 3e38,
    skipLimits(h.skipAbove).loss,
    skipLimits(h.skipAbove).squares,
  ]);
}

/** Flat regions of equal size (whole vec4f). */
export interface AdamWArena {
  parameter: Region;
  gradient: Region;
  m: Region;
  v: Region;
  /** Whether the decay applies. */
  decay: boolean;
  /** What the learning rate is multiplied with (layer-wise decay); 1 by default. */
  rate?: number;
  /** A running mean of the parameters: average += (1 - averageDecay) (parameter - average). */
  average?: Region;
  averageDecay?: number;
  /** The state of a loss scale, where the gradients are scaled; see `loss_scale.ts`. */
  lossScale?: Region;
  /** The parameters rounded to f16, half the size: written where they are updated. */
  half?: Region;
}

/**
 * Queues one update of an arena.
 * @param hyper a uniform region of {@linkcode ADAMW_HYPER_BYTES}.
 * @param squares one float: the squared global norm of the gradients.
 * @param loss one float, where updates may be limited by it.
 */
export function adamW(
  plan: Plan,
  arena: AdamWArena,
  hyper: Region,
  squares: Region,
  loss?: Region,
): void {
  const code = `${arena.half ? "enable f16;\n" : ""}struct P { vectors: u32, rate: f32, fresh: f32 }
struct Hyper {
  rate: f32, beta1: f32, beta2: f32, rest1: f32, rest2: f32, epsilon: f32,
  decay: f32, correction1: f32, correction2: f32, limit: f32, loss_limit: f32, squares_limit: f32,
}
${
    declare([
      "<uniform> p: P",
      "<uniform> h: Hyper",
      "<storage, read> squares: array<f32>",
      "<storage, read> gradient: array<vec4f>",
      "<storage, read_write> parameter: array<vec4f>",
      "<storage, read_write> first: array<vec4f>",
      "<storage, read_write> second: array<vec4f>",
      ...(arena.average ? ["<storage, read_write> average: array<vec4f>"] : []),
      ...(loss ? ["<storage, read> loss: array<f32>"] : []),
      ...(arena.lossScale ? ["<storage, read> loss_scale: array<f32>"] : []),
      ...(arena.half ? ["<storage, read_write> rounded: array<vec4h>"] : []),
    ])
  }
@compute @workgroup_size(${VECTOR_GROUP})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
  let i = id.x + id.y * count.x * ${VECTOR_GROUP}u;
  // NaN and infinity by their bits: compilers may assume that neither occurs.
  let bad = (bitcast<u32>(squares[0]) & 0x7f800000u) == 0x7f800000u${
    loss ? "\n    || (bitcast<u32>(loss[0]) & 0x7f800000u) == 0x7f800000u" : ""
  };
  let spike = squares[0] > h.squares_limit${loss ? " || loss[0] > h.loss_limit" : ""};
  if (i >= p.vectors || bad || spike) { return; }
  let clip = min(1.0, h.limit / (sqrt(squares[0]) + 1e-6));
  let g = clip * gradient[i]${arena.lossScale ? " * loss_scale[1]" : ""};
  let m = h.beta1 * first[i] + h.rest1 * g;
  let v = h.beta2 * second[i] + h.rest2 * g * g;
  first[i] = m;
  second[i] = v;
  let old = parameter[i];
  let now = old${arena.decay ? " - p.rate * h.decay * old" : ""}
    - p.rate * h.rate * (m * h.correction1) / (sqrt(v * h.correction2) + h.epsilon);
  parameter[i] = now;
  ${arena.average ? "average[i] += p.fresh * (now - average[i]);" : ""}
  ${arena.half ? "rounded[i] = vec4h(now);" : ""}
}`;
  // Cuts of the f16 copy, at half of the others', start at multiples of 256 bytes too.
  const parts = (region: Region) => slices(plan.device, region, 512);
  const gradients = parts(arena.gradient), ms = parts(arena.m), vs = parts(arena.v);
  const averages = arena.average && parts(arena.average);
  parts(arena.parameter).forEach((parameter, i) => {
    const count = Math.floor(parameter.size / 16);
    plan.dispatch({
      label: "adamw",
      code,
      params: packParams([count, { f32: arena.rate ?? 1 }, { f32: 1 - (arena.averageDecay ?? 1) }]),
      bindings: [
        { uniform: hyper },
        squares,
        gradients[i]!,
        parameter,
        ms[i]!,
        vs[i]!,
        ...(averages ? [averages[i]!] : []),
        ...(loss ? [loss] : []),
        ...(arena.lossScale ? [arena.lossScale] : []),
        ...(arena.half
          ? [
            subregion(
              arena.half,
              (parameter.offset - arena.parameter.offset) / 2,
              parameter.size / 2,
            ),
          ]
          : []),
      ],
      groups: spread(Math.ceil(count / VECTOR_GROUP)),
      flop: count * 4 * 15,
      bytes: parameter.size * (7 + (arena.half ? 0.5 : 0)),
    });
  });
}

/** Queues the exchange of two flat regions of equal size (whole vec4f), value by value. */
export function exchange(plan: Plan, a: Region, b: Region): void {
  const code = `struct P { vectors: u32 }
${
    declare([
      "<uniform> p: P",
      "<storage, read_write> a: array<vec4u>",
      "<storage, read_write> b: array<vec4u>",
    ])
  }
@compute @workgroup_size(${VECTOR_GROUP})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
  let i = id.x + id.y * count.x * ${VECTOR_GROUP}u;
  if (i >= p.vectors) { return; }
  let value = a[i];
  a[i] = b[i];
  b[i] = value;
}`;
  const others = slices(plan.device, b);
  slices(plan.device, a).forEach((part, i) => {
    const vectors = Math.floor(part.size / 16);
    plan.dispatch({
      label: "exchange",
      code,
      params: packParams([vectors]),
      bindings: [part, others[i]!],
      groups: spread(Math.ceil(vectors / VECTOR_GROUP)),
      bytes: part.size * 4,
    });
  });
}
