/**
 * How kernels are written: programs line by line, uniform values by name, and what the small kernels
 * share.
 *
 * Inside a kernel a panel matrix is an `array<vec4f>` (of an f16 matrix an `array<vec4h>`); vector q
 * (0 to 7) of row r in panel i is at `(i * stride + r) * 8 + q`.
 * @module
 */
export {
  type Reducer,
  type Reducing,
  type Reduction,
  rowChunk,
  type RowShape,
  rowShape,
  type RowVector,
  writeReducer,
} from "./rows.ts";
export {
  slices,
  VECTOR_GROUP,
  vectorGroups,
  vectorMain,
  vectorOf,
  vectors,
  type VectorShape,
} from "./storage.ts";
export { type Uniforms, uniforms, type UniformType } from "./uniforms.ts";
export {
  type Access,
  type Builtin,
  type Program,
  type ProgramBinding,
  sumOf,
  WgslWriter,
} from "./writer.ts";
export { LOG2E, writeNotFinite } from "./arithmetic.ts";
