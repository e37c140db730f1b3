/**
 * How kernels are written: programs line by line, uniform values by name, and what the small kernels
 * share.
 *
 * Inside a kernel a panel matrix is an `array<vec4f>` (of an f16 matrix an `array<vec4h>`); vector q
 * (0 to 7) of row r in panel i is at `(i * stride + r) * 8 + q`.
 * @module
 */
export { reducer, type Reducing, rowChunk, type RowShape, rowShape } from "./rows.ts";
export { declare, enableHalf, slices, VECTOR_GROUP, vectorOf, vectors } from "./storage.ts";
export { type Uniforms, uniforms, type UniformType } from "./uniforms.ts";
export {
  type Access,
  type Builtin,
  type Program,
  type ProgramBinding,
  sumOf,
  WgslWriter,
} from "./writer.ts";
