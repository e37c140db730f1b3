/** What every file of weights offers, whatever its format. @module */

/** Named tensors on disk, read one at a time. */
export interface TensorSource {
  /** The file to name in an error about the whole: the single file, or the index. */
  readonly path: string;
  readonly names: readonly string[];
  /** The tensor's file, type and shape, or undefined where there is none of that name. */
  find(name: string): { file: string; dtype: string; shape: readonly number[] } | undefined;
  /** F32, F16, BF16 or F64 values as float32. @throws {UserError} for other types. */
  floats(name: string): Float32Array;
  close(): void;
}
