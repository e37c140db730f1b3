/** WGSL functions that several kernels use. @module */
import type { WgslWriter } from "./writer.ts";

/** log2(e), for exp by exp2. */
export const LOG2E = "1.4426950408889634";

/** Writes `not_finite(x)`, by the bits of x: compilers may assume that NaN and infinity never occur. */
export function writeNotFinite(w: WgslWriter): void {
  w.const("EXPONENT_BITS", "0x7f800000u");
  w.fn(
    "not_finite(x: f32) -> bool",
    "return (bitcast<u32>(x) & EXPONENT_BITS) == EXPONENT_BITS;",
  );
}
