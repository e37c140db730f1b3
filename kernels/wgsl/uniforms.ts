/**
 * The uniform values of a kernel, declared once: the declaration gives the WGSL struct and packs the
 * values by name, so that the two cannot disagree.
 *
 * ```ts
 * const PARAMS = uniforms({ rows: "u32", epsilon: "f32" });
 * writer.uniforms("p", PARAMS); // struct P { rows: u32, epsilon: f32 } at the next binding
 * plan.dispatch({ params: PARAMS.pack({ rows: 19, epsilon: 1e-5 }), ... });
 * ```
 * @module
 */

/** The types that a uniform value may have; each takes four bytes. */
export type UniformType = "u32" | "i32" | "f32";

/** One declaration of uniform values: their names and types in the order in which they are stored. */
export interface Uniforms<Fields extends Record<string, UniformType>> {
  /** The names and types. */
  readonly fields: Fields;
  /** Bytes of the packed values: a multiple of 16. */
  readonly bytes: number;
  /** The WGSL struct, under a name. */
  struct(name: string): string;
  /**
   * The values as the device reads them.
   * @throws {RangeError} where a value does not fit its type: an integer out of range, or a fraction.
   */
  pack(values: { readonly [Name in keyof Fields]: number }): ArrayBuffer;
}

/** Declares uniform values; see the module's text. */
export function uniforms<const Fields extends Record<string, UniformType>>(
  fields: Fields,
): Uniforms<Fields> {
  const entries = Object.entries(fields);
  const bytes = Math.ceil(entries.length / 4) * 16;
  return {
    fields,
    bytes,
    struct(name) {
      const lines = entries.map(([field, type]) => `  ${field}: ${type},`);
      return [`struct ${name} {`, ...lines, "}"].join("\n");
    },
    pack(values) {
      const packed = new ArrayBuffer(bytes);
      const view = new DataView(packed);
      entries.forEach(([field, type], index) => {
        const value = values[field];
        if (value === undefined) throw new RangeError(`The uniform value ${field} is missing`);
        store(view, 4 * index, type, field, value);
      });
      return packed;
    },
  };
}

/** Largest integer of each integer type, and the smallest. */
const INTEGERS = { u32: [0, 2 ** 32 - 1], i32: [-(2 ** 31), 2 ** 31 - 1] } as const;

function store(
  view: DataView,
  offset: number,
  type: UniformType,
  field: string,
  value: number,
): void {
  if (type === "f32") {
    view.setFloat32(offset, value, true);
    return;
  }
  const [least, most] = INTEGERS[type];
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`The uniform value ${field} is a ${type} and cannot be ${value}`);
  }
  if (type === "u32") view.setUint32(offset, value, true);
  else view.setInt32(offset, value, true);
}
