/**
 * What every operation computes, in plain float64 TypeScript: the specification that the kernels are
 * tested against. Written to be read, not to be fast. All matrices are row-major; b sequences of l
 * steps are (b l) rows.
 * @module
 */
export * from "./activations.ts";
export * from "./adamw.ts";
export * from "./conv_silu.ts";
export * from "./cross_entropy.ts";
export * from "./embedding.ts";
export * from "./gated_rmsnorm.ts";
export * from "./linear.ts";
export * from "./rmsnorm.ts";
export * from "./selective_scan.ts";
export * from "./crf.ts";
export * from "./dropout.ts";
export * from "./label_loss.ts";
export * from "./readout.ts";
export * from "./sparse.ts";
export * from "./ssd.ts";
