/**
 * Dynamic loss scaling, kept on the device so that steps can be queued ahead. Gradients that pass
 * through f16 are computed for the loss times a power of two, which keeps small ones above f16's
 * 6e-8; the update divides it out. A gradient that is not finite halves the scale and leaves its
 * update out; {@linkcode GOOD_STEPS} finite ones in a row double it. Source: Micikevicius et al.,
 * "Mixed precision training" (arXiv 1710.03740), section 3.2.
 * @module
 */
import type { Region } from "../layout.ts";
import type { Plan } from "../plan.ts";
import { type Program, WgslWriter, writeNotFinite } from "../wgsl/mod.ts";

/** Where a run's loss scale stands. */
export interface LossScale {
  /** A power of two. */
  scale: number;
  /** Finite steps since it last changed. */
  good: number;
  /** Updates left out so far because of it. */
  skipped: number;
}

/** How a run begins. */
export const FIRST_LOSS_SCALE: Readonly<LossScale> = { scale: 65536, good: 0, skipped: 0 };

/** Steps in a row after which the scale doubles. */
export const GOOD_STEPS = 2000;
/**
 * The scale's bounds. Where a gradient is not finite at the least scale, no scale would help; at the
 * largest one the square of any usual norm is still far below the largest f32.
 */
const LEAST = 1;
const MOST = 2 ** 24;

/**
 * Bytes of the state on the device, f32: [scale, 1 / the last update's scale, good steps, skipped,
 * 1 where the last update was left out because of the scale].
 */
export const LOSS_SCALE_BYTES = 32;

/** A loss scale as the device has it. */
export const encodeLossScale = ({ scale, good, skipped }: LossScale): Float32Array<ArrayBuffer> =>
  Float32Array.from([scale, 1 / scale, good, skipped, 0, 0, 0, 0]);

/** What {@linkcode encodeLossScale} made, and whether the last update was left out. */
export function decodeLossScale(values: Float32Array): LossScale & { overflow: boolean } {
  const [scale = NaN, , good = NaN, skipped = NaN, overflow] = values;
  return { scale, good, skipped, overflow: overflow === 1 };
}

/** Where each part of the state lies; see {@linkcode LOSS_SCALE_BYTES}. */
function writeStateIndices(w: WgslWriter): void {
  w.const("SCALE", 0);
  w.const("INVERSE", 1);
  w.const("GOOD", 2);
  w.const("SKIPPED", 3);
  w.const("OVERFLOW", 4);
}

function applyProgram(): Program {
  const w = new WgslWriter();
  w.storage("scale", "f32");
  w.storage("state", "f32");
  w.storage("out", "f32", "read_write");
  w.main(1, {}, () => w.line("out[0] = scale[0] * state[0];"));
  return w.program();
}

/** Queues out[0] = scale[0] x the loss scale. */
export function applyLossScale(plan: Plan, o: { scale: Region; state: Region; out: Region }): void {
  plan.dispatch({
    label: "apply loss scale",
    code: applyProgram(),
    bindings: { scale: o.scale, state: o.state, out: o.out },
    groups: [1],
    bytes: 12,
  });
}

function updateProgram(): Program {
  const w = new WgslWriter();
  w.storage("state", "f32", "read_write");
  w.storage("squares", "f32", "read_write");
  writeStateIndices(w);
  w.const("LEAST", LEAST, "f32");
  w.const("MOST", MOST, "f32");
  w.const("GOOD_STEPS", GOOD_STEPS, "f32");
  writeNotFinite(w);
  w.fn(
    "inverse_of_power(x: f32) -> f32",
    `
      // The inverse of a power of two by its exponent: division need not be exact.
      return bitcast<f32>(0x7f000000u - bitcast<u32>(x));
    `,
  );
  w.fn("halve(scale: f32)", () => {
    w.if("scale > LEAST", () => w.line("state[SKIPPED] += 1.0;", "state[OVERFLOW] = 1.0;"));
    w.line("state[SCALE] = max(scale * 0.5, LEAST);", "state[GOOD] = 0.0;");
  });
  w.fn("count_good_step(scale: f32)", () => {
    w.if(
      "state[GOOD] + 1.0 >= GOOD_STEPS",
      () => w.line("state[SCALE] = min(scale * 2.0, MOST);", "state[GOOD] = 0.0;"),
      () => w.line("state[GOOD] += 1.0;"),
    );
  });
  w.main(1, {}, () => {
    w.line(`
      let scale = state[SCALE];
      let inverse = inverse_of_power(scale);
      let bad = not_finite(squares[0]);
      state[INVERSE] = inverse;
      state[OVERFLOW] = 0.0;
    `);
    w.if("bad", () => w.line("halve(scale);", "return;"));
    w.line("squares[0] = squares[0] * inverse * inverse;", "count_good_step(scale);");
  });
  return w.program();
}

/**
 * Queues what goes before an update: `squares`, the squared norm of the scaled gradients, becomes
 * that of the unscaled ones, and the state moves on.
 */
export function updateLossScale(plan: Plan, o: { state: Region; squares: Region }): void {
  plan.dispatch({
    label: "update loss scale",
    code: updateProgram(),
    bindings: { state: o.state, squares: o.squares },
    groups: [1],
    bytes: 32,
  });
}
