/**
 * AdamW with decoupled decay over flat buffers of parameters, clipping by the global norm on the
 * device; what it computes is said in `reference/adamw.ts`. Where norm or loss are not finite, or above
 * what the update may have, nothing is updated.
 * @module
 */
import { alternative } from "../alternatives.ts";
import { type Region, subregion } from "../layout.ts";
import type { Plan } from "../plan.ts";
import {
  type Program,
  slices,
  uniforms,
  vectorGroups,
  vectorMain,
  type VectorShape,
  WgslWriter,
  writeNotFinite,
} from "../wgsl/mod.ts";

/** What one update is computed with, the same for every parameter. */
const HYPER = uniforms({
  rate: "f32",
  beta1: "f32",
  beta2: "f32",
  /** 1 - beta1, rounded once. */
  rest1: "f32",
  rest2: "f32",
  epsilon: "f32",
  /** The learning rate times the weight decay. */
  decay: "f32",
  /** What corrects the bias of m and of v towards zero. */
  correction1: "f32",
  correction2: "f32",
  /** The gradients' norm is clipped to this. */
  limit: "f32",
  /** Nothing is updated above these. */
  loss_limit: "f32",
  squares_limit: "f32",
  /** 1 - the decay of the parameters' running mean. */
  fresh: "f32",
});

/** What differs between arenas and their parts. */
const PARAMS = uniforms({
  vectors: "u32",
  /** What the learning rate is multiplied with. */
  rate: "f32",
});

/** Bytes of the uniform region that {@linkcode adamWHyper} fills. */
export const ADAMW_HYPER_BYTES: number = HYPER.bytes;

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
  /** Running means: average += (1 - averageDecay) (parameter - average); 1, by default, leaves them. */
  averageDecay?: number;
}

/** The limits of `skipAbove` as the device compares them: of the loss, and of the squared norm. */
export function skipLimits(skipAbove: AdamWHyper["skipAbove"]): { loss: number; squares: number } {
  const stored = (x: number) => Math.fround(Math.min(x, 3e38));
  if (!skipAbove) return { loss: stored(Infinity), squares: stored(Infinity) };
  return { loss: stored(skipAbove.loss), squares: stored(skipAbove.gradNorm ** 2) };
}

/** One update's values, to be written to the uniform region before the update runs. */
export function adamWHyper(h: AdamWHyper): Float32Array<ArrayBuffer> {
  const limits = skipLimits(h.skipAbove);
  return new Float32Array(HYPER.pack({
    rate: h.learningRate,
    beta1: h.beta1,
    beta2: h.beta2,
    rest1: 1 - h.beta1,
    rest2: 1 - h.beta2,
    epsilon: h.epsilon,
    decay: h.learningRate * h.weightDecay,
    correction1: 1 / (1 - h.beta1 ** h.step),
    correction2: 1 / (1 - h.beta2 ** h.step),
    limit: Number.isFinite(h.maxGradNorm) ? h.maxGradNorm : 3e38,
    loss_limit: limits.loss,
    squares_limit: limits.squares,
    fresh: 1 - (h.averageDecay ?? 1),
  }));
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
  /** A running mean of the parameters; see {@linkcode AdamWHyper.averageDecay}. */
  average?: Region;
  /** The state of a loss scale, where the gradients are scaled; see `loss_scale.ts`. */
  lossScale?: Region;
  /** The parameters rounded to f16, half the size: written where they are updated. */
  half?: Region;
}

/** What the text of the update's program depends on. */
interface AdamWVariant {
  decay: boolean;
  average: boolean;
  lossScale: boolean;
  half: boolean;
  /** Whether updates may be limited by the loss. */
  loss: boolean;
  shape: VectorShape;
}

/** The update of four parameters by each invocation. */
function adamWProgram(variant: AdamWVariant): Program {
  const w = new WgslWriter();
  w.uniforms("p", PARAMS);
  w.uniforms("h", HYPER, "Hyper");
  w.storage("squares", "f32");
  w.storage("gradient", "vec4f");
  w.storage("parameter", "vec4f", "read_write");
  w.storage("first", "vec4f", "read_write");
  w.storage("second", "vec4f", "read_write");
  if (variant.average) w.storage("average", "vec4f", "read_write");
  if (variant.loss) w.storage("loss", "f32");
  if (variant.lossScale) w.storage("loss_scale", "f32");
  if (variant.half) w.storage("rounded", "vec4h", "read_write");
  writeNotFinite(w);
  w.fn("must_skip() -> bool", () => {
    w.line(`
      let bad = not_finite(squares[0])${variant.loss ? " || not_finite(loss[0])" : ""};
      let spike = squares[0] > h.squares_limit${variant.loss ? " || loss[0] > h.loss_limit" : ""};
      return bad || spike;
    `);
  });
  w.fn("clipped_gradient(i: u32) -> vec4f", () => {
    w.line("let clip = min(1.0, h.limit / (sqrt(squares[0]) + 1e-6));");
    w.line(`return clip * gradient[i]${variant.lossScale ? " * loss_scale[1]" : ""};`);
  });
  vectorMain(w, () => {
    w.if(
      "i >= p.vectors || must_skip()",
      () => w.line(variant.shape.each === 1 ? "return;" : "break;"),
    );
    w.line(`
      let g = clipped_gradient(i);
      let m = h.beta1 * first[i] + h.rest1 * g;
      let v = h.beta2 * second[i] + h.rest2 * g * g;
      first[i] = m;
      second[i] = v;
      let old = parameter[i];
      let decayed = old${variant.decay ? " - p.rate * h.decay * old" : ""};
      let root = sqrt(v * h.correction2) + h.epsilon;
      let now = decayed - p.rate * h.rate * (m * h.correction1) / root;
      parameter[i] = now;
    `);
    if (variant.average) w.line("average[i] += h.fresh * (now - average[i]);");
    if (variant.half) w.line("rounded[i] = vec4h(now);");
  }, variant.shape);
  return w.program();
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
  const { average, half, lossScale } = arena;
  const shape = {
    threads: alternative(plan.device, "adamw-threads"),
    each: alternative(plan.device, "adamw-vectors"),
  };
  const code = adamWProgram({
    shape,
    decay: arena.decay,
    average: average !== undefined,
    lossScale: lossScale !== undefined,
    half: half !== undefined,
    loss: loss !== undefined,
  });
  // A part of the f16 copy is half of the others' and must start at a multiple of 256 bytes too.
  const parts = (region: Region) => slices(plan.device, region, 512);
  const gradients = parts(arena.gradient);
  const firsts = parts(arena.m);
  const seconds = parts(arena.v);
  const averages = average && parts(average);
  parts(arena.parameter).forEach((parameter, i) => {
    const count = Math.floor(parameter.size / 16);
    const offset = parameter.offset - arena.parameter.offset;
    plan.dispatch({
      label: "adamw",
      code,
      params: PARAMS.pack({
        vectors: count,
        rate: arena.rate ?? 1,
      }),
      bindings: {
        h: hyper,
        squares,
        gradient: gradients[i],
        parameter,
        first: firsts[i],
        second: seconds[i],
        average: averages?.[i],
        loss,
        loss_scale: lossScale,
        rounded: half && subregion(half, offset / 2, parameter.size / 2),
      },
      groups: vectorGroups(count, shape),
      flop: count * 4 * 15,
      bytes: parameter.size * (7 + (half ? 0.5 : 0)),
    });
  });
}

const EXCHANGE_PARAMS = uniforms({ vectors: "u32" });

/** Four values of each region by each invocation. */
function exchangeProgram(): Program {
  const w = new WgslWriter();
  w.uniforms("p", EXCHANGE_PARAMS);
  w.storage("a", "vec4u", "read_write");
  w.storage("b", "vec4u", "read_write");
  vectorMain(w, () => {
    w.if("i >= p.vectors", () => w.line("return;"));
    w.line(`
      let value = a[i];
      a[i] = b[i];
      b[i] = value;
    `);
  });
  return w.program();
}

/** Queues the exchange of two flat regions of equal size (whole vec4f), value by value. */
export function exchange(plan: Plan, a: Region, b: Region): void {
  const code = exchangeProgram();
  const others = slices(plan.device, b);
  slices(plan.device, a).forEach((part, i) => {
    const vectors = Math.floor(part.size / 16);
    plan.dispatch({
      label: "exchange",
      code,
      params: EXCHANGE_PARAMS.pack({ vectors }),
      bindings: { a: part, b: others[i] },
      groups: vectorGroups(vectors),
      bytes: part.size * 4,
    });
  });
}
