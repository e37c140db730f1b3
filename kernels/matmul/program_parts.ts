/** What the programs of several variants share: uniform values, and the way of a sum to C. @module */
import { uniforms, vectorOf, type WgslWriter } from "../wgsl/mod.ts";
import type { StoredMatrix } from "./product.ts";

/**
 * The uniform values of a product on CPU drivers. Strides are the rows allocated of a matrix: the
 * distance between its panels.
 */
export const CPU_PARAMS = uniforms({
  /** Rows of C. */
  m: "u32",
  /** Vectors of four values that K has, padded to whole panels. */
  k_vectors: "u32",
  a_stride: "u32",
  b_stride: "u32",
  c_stride: "u32",
  /** Of the residual D; 0 without one. */
  d_stride: "u32",
  /** The first vector of B to read: a part of a product may begin within a panel. */
  b_first: "u32",
  /** 1 where the product is added to what C holds. */
  accumulate: "u32",
});

/** The uniform values of a product on GPUs: those of {@linkcode CPU_PARAMS}, and more. */
export const GPU_PARAMS = uniforms({
  m: "u32",
  k_vectors: "u32",
  a_stride: "u32",
  b_stride: "u32",
  c_stride: "u32",
  d_stride: "u32",
  b_first: "u32",
  accumulate: "u32",
  /** Rows and columns of C, padded to a multiple of 32. */
  m_padded: "u32",
  n_padded: "u32",
  /** Values of K that each part sums, where K is cut into parts (see split.ts). */
  part_length: "u32",
  /** Vectors of one part's sums: where the next part's begin. */
  part_vectors: "u32",
});

/**
 * Binds the matrices of a product that lie in storage buffers: A and B, C, and D where there is a
 * residual. `a` and `b` are the elements of their arrays.
 */
export function bindBuffers(
  w: WgslWriter,
  elements: { a: string; b: string; c: StoredMatrix },
  residual: boolean,
): void {
  w.storage("A", elements.a);
  w.storage("B", elements.b);
  bindResult(w, elements.c, residual);
}

/** Binds C, and D where there is a residual. */
export function bindResult(w: WgslWriter, c: StoredMatrix, residual: boolean): void {
  w.storage("C", vectorOf(c), "read_write");
  if (residual) w.storage("D", "vec4f");
}

/**
 * Declares how a vector of four sums goes to C: `put_sum` stores it, `add_sum` adds it to what C
 * holds. Both add the residual, then round to C's type.
 */
export function declareStores(w: WgslWriter, c: StoredMatrix, residual: boolean): void {
  const parameters = residual ? "at: u32, d_at: u32, sum: vec4f" : "at: u32, sum: vec4f";
  const total = residual ? "sum + D[d_at]" : "sum";
  const type = vectorOf(c);
  w.fn(`put_sum(${parameters})`, `C[at] = ${type}(${total});`);
  w.fn(`add_sum(${parameters})`, `C[at] = ${type}(vec4f(C[at]) + ${total});`);
}

/** Calls one of the functions of {@linkcode declareStores}; `dAt` is dropped without a residual. */
export function storeSum(
  add: boolean,
  { at, dAt, sum }: { at: string; dAt: string; sum: string },
  residual: boolean,
): string {
  const places = residual ? `${at}, ${dAt}` : at;
  return `${add ? "add_sum" : "put_sum"}(${places}, ${sum});`;
}

/**
 * Writes `store` twice, for both cases of `p.accumulate`: a test around all stores is cheaper than
 * one in each.
 */
export function storeOrAdd(w: WgslWriter, store: (add: boolean) => void): void {
  w.if("p.accumulate != 0u", () => store(true), () => store(false));
}

/** WGSL: `a + count`, or `a` alone where the count is 0. */
export const plus = (a: string, count: number): string => count === 0 ? a : `${a} + ${count}u`;

/** The components of a vec4. */
const XYZW = ["x", "y", "z", "w"] as const;

/** Component `index` (0 to 3) of a vector. */
export const component = (vector: string, index: number): string => `${vector}.${XYZW[index]}`;

/** A vector of component `index` of each of four vectors: row `index` of their transposition. */
export const gathered = (type: string, vectors: readonly string[], index: number): string =>
  `${type}(${vectors.map((vector) => component(vector, index)).join(", ")})`;

/** The numbers 0 to 3: values of a vector, or vectors of a 4 x 4 block. */
export const FOUR = [0, 1, 2, 3] as const;
