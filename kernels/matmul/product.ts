/** What a matrix product is: its operands, their shapes, and which of them are f16. @module */
import type { Matrix } from "../layout.ts";

/**
 * Which operands are transposed, as in BLAS (N: as it is, T: transposed): C = A . B^T (NT), A . B (NN)
 * or A^T . B (TN).
 */
export type Product = "NT" | "NN" | "TN";

/** How a matrix is stored, as far as programs depend on it. */
export type StoredMatrix = Pick<Matrix, "type" | "exponent">;

/** How a product's matrices are stored: its program depends on it. */
export interface Operands {
  a: StoredMatrix;
  b: StoredMatrix;
  c: StoredMatrix;
  /** Part of a computation in mixed precision though neither A nor B is f16. */
  mixed?: boolean;
}

/** One matrix product. */
export interface MatmulCall {
  /** Which operands are transposed. */
  product: Product;
  /** (m, k); (k, m) in TN. */
  a: Matrix;
  /** (k, n); (n, k) in NT. */
  b: Matrix;
  /** (m, n). Not f16 where it is accumulated into: that would round every sum. */
  c: Matrix;
  /** C += instead of C =. */
  accumulate?: boolean;
  /** (m, n) f32, another matrix than C: added to the product. */
  residual?: Matrix;
  /**
   * A holds what it held in the product before this one in the plan: a variant that copies operands
   * does not copy it again.
   */
  sameA?: boolean;
  /** B as `weightTexture` of texture.ts made it, where B never changes: B is then not copied at all. */
  bTexture?: GPUTexture;
  /** What profiles call the product; "matmul" where it is left out. */
  label?: string;
  /** See {@linkcode Operands}. */
  mixed?: boolean;
}

/** The extents of a product: C is (m, n), and each of its elements sums k values. */
export interface Extents {
  m: number;
  n: number;
  k: number;
}

/**
 * The extents of a product, from its operands.
 * @throws {RangeError} where the operands' shapes do not belong together.
 */
export function extents({ product, a, b, c }: MatmulCall): Extents {
  const [m, k] = product === "TN" ? [a.cols, a.rows] : [a.rows, a.cols];
  const [n, bK] = product === "NT" ? [b.rows, b.cols] : [b.cols, b.rows];
  if (k !== bK || c.rows !== m || c.cols !== n) {
    throw new RangeError(
      `Product ${product} of (${a.rows}, ${a.cols}) and (${b.rows}, ${b.cols}) does not give ` +
        `(${c.rows}, ${c.cols})`,
    );
  }
  return { m, n, k };
}

/** Which of a product's matrices are f16, as a key of choices: "ab" where A and B are. */
export function halfKey({ a, b, c, mixed }: Operands): string {
  const half = (a.type ? "a" : "") + (b.type ? "b" : "") + (c.type ? "c" : "");
  return mixed && !a.type && !b.type ? half + "mixed" : half;
}
