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
import { declare } from "../wgsl/mod.ts";

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
 * The scale's bounds. Where a gradient is not finite at the least one, no scale would help; at the
 * largest the square of a sane norm is still far from f32's end.
 */
const LEAST = 1, MOST = 2 ** 24;

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
  const [scale, , good, skipped, overflow] = values;
  return { scale: scale!, good: good!, skipped: skipped!, overflow: overflow === 1 };
}

/** Queues out[0] = scale[0] x the loss scale. */
export function applyLossScale(plan: Plan, o: { scale: Region; state: Region; out: Region }): void {
  plan.dispatch({
    label: "apply loss scale",
    code: `${
      declare([
        "<storage, read> scale: array<f32>",
        "<storage, read> state: array<f32>",
        "<storage, read_write> out: array<f32>",
      ])
    }
@compute @workgroup_size(1) fn main() { out[0] = scale[0] * state[0]; }`,
    bindings: [o.scale, o.state, o.out],
    groups: [1],
    bytes: 12,
  });
}

/**
 * Queues what goes before an update: `squares`, the squared norm of the scaled gradients, becomes
 * that of the unscaled ones, and the state moves on.
 */
export function updateLossScale(plan: Plan, o: { state: Region; squares: Region }): void {
  plan.dispatch({
    label: "update loss scale",
    code: `${
      declare([
        "<storage, read_write> state: array<f32>",
        "<storage, read_write> squares: array<f32>",
      ])
    }
@compute @workgroup_size(1) fn main() {
  let scale = state[0];
  // The inverse of a power of two by its exponent: division need not be exact.
  let inverse = bitcast<f32>(0x7f000000u - bitcast<u32>(scale));
  let bad = (bitcast<u32>(squares[0]) & 0x7f800000u) == 0x7f800000u;
  state[1] = inverse;
  state[4] = 0.0;
  if (bad) {
    if (scale > ${LEAST}.0) { state[3] += 1.0; state[4] = 1.0; }
    state[0] = max(scale * 0.5, ${LEAST}.0);
    state[2] = 0.0;
    return;
  }
  squares[0] = squares[0] * inverse * inverse;
  if (state[2] + 1.0 >= ${GOOD_STEPS}.0) {
    state[0] = min(scale * 2.0, ${MOST}.0);
    state[2] = 0.0;
  } else { state[2] += 1.0; }
}`,
    bindings: [o.state, o.squares],
    groups: [1],
    bytes: 32,
  });
}
