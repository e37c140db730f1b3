/**
 * The few operations that programs for matrix units are made of, as WGSL: Dawn's subgroup matrices, or
 * the same written out in plain WGSL, so that every other line of such a program can be tested on any
 * device.
 * @module
 */
import type { MatrixUnits } from "../matrix_units.ts";
import { range } from "../range.ts";
import type { Builtin, WgslWriter } from "../wgsl/mod.ts";
import { plus } from "./program_parts.ts";

/** The array in shared memory through which matrices go: one chunk of vectors after another. */
export const CHUNKS = "chunks";

/** Where a matrix lies in memory. A vector is 8 values of f16, or 4 of f32. */
export interface MatrixPlace {
  /** An array of vectors: a binding, or a chunk of {@linkcode CHUNKS}. */
  array: "A" | "B" | "C" | { chunk: string };
  /** The vector where the matrix begins, as WGSL. */
  offset: string;
  /** Vectors from one line to the next. */
  stride: number;
  /** Lines are the matrix's columns rather than its rows. */
  columns: boolean;
}

/** What a matrix is to a multiplication: result += left . right. */
export type MatrixSide = "left" | "right";

/** The operations. The entry point has `t`, its thread; `findLane` gives `sg` and `lane`. */
export interface MatrixOperations {
  /** Enables what the operations need, and declares types. */
  enable(w: WgslWriter): void;
  /**
   * Declares types or functions, after the bindings; `direct` are the arrays besides
   * {@linkcode CHUNKS} that left and right matrices are loaded from.
   */
  declare(w: WgslWriter, direct: readonly ("A" | "B")[]): void;
  /** The built-in values that the entry point takes. */
  builtins: Record<string, Builtin>;
  /** What the entry point is marked with. */
  attributes: string;
  /** Defines sg, the number of the subgroup in the workgroup, and lane, the thread's in the subgroup. */
  findLane(w: WgslWriter): void;
  /** Declares a result that is zero. */
  zero(w: WgslWriter, name: string): void;
  /** Defines a left or right matrix. */
  load(w: WgslWriter, name: string, side: MatrixSide, place: MatrixPlace): void;
  /** result += left . right */
  multiply(w: WgslWriter, result: string, left: string, right: string): void;
  /** Stores a result. */
  store(w: WgslWriter, name: string, place: MatrixPlace): void;
}

/** The operations of a device's units. */
export const matrixOperations = (units: MatrixUnits): MatrixOperations =>
  units.emulated ? emulation(units) : intrinsics(units);

const arrayOf = ({ array }: MatrixPlace): string =>
  typeof array === "string" ? array : `${CHUNKS}[${array.chunk}]`;

/** The operations as Dawn has them. */
function intrinsics({ m, n, k, lanes, sized }: MatrixUnits): MatrixOperations {
  const order = ({ columns }: MatrixPlace) => columns ? "col_major" : "row_major";
  const types = { left: "Left", right: "Right" };
  return {
    enable(w) {
      w.enable("f16").enable("subgroups").enable("chromium_experimental_subgroup_matrix");
      if (sized) w.enable("subgroup_size_control");
      w.diagnosticOff("chromium.subgroup_matrix_uniformity");
    },
    declare(w) {
      w.blank().line(`
        alias Left = subgroup_matrix_left<f16, ${k}, ${m}>;
        alias Right = subgroup_matrix_right<f16, ${n}, ${k}>;
        alias Result = subgroup_matrix_result<f32, ${n}, ${m}>;
      `);
    },
    builtins: {
      t: "local_invocation_index",
      sg: "subgroup_id",
      lane: "subgroup_invocation_id",
    },
    attributes: sized ? `@subgroup_size(${lanes})` : "",
    findLane() {},
    zero(w, name) {
      w.line(`var ${name} = Result();`);
    },
    load(w, name, side, place) {
      const load = `subgroupMatrixLoad<${types[side]}, ${order(place)}>`;
      w.line(`let ${name} = ${load}(&${arrayOf(place)}, ${place.offset}, ${place.stride}u);`);
    },
    multiply(w, result, left, right) {
      w.line(`${result} = subgroupMatrixMultiplyAccumulate(${left}, ${right}, ${result});`);
    },
    store(w, name, place) {
      const store = `subgroupMatrixStore<${order(place)}>`;
      w.line(`${store}(&${arrayOf(place)}, ${place.offset}, ${name}, ${place.stride}u);`);
    },
  };
}

/** Values of K that the emulation's inmost loop takes at once. */
const UNROLLED = 8;

/**
 * The operations in plain WGSL. A result is spread over the lanes of a subgroup: element e is the value
 * e / lanes of lane e % lanes. A left or right matrix is only the place that it was loaded from, and is
 * read when it is multiplied: nothing is written in between.
 */
function emulation({ m, n, k, lanes }: MatrixUnits): MatrixOperations {
  const places = new Map<string, MatrixPlace>();
  const placeOf = (name: string): MatrixPlace => {
    const place = places.get(name);
    if (!place) throw new RangeError(`The matrix ${name} is multiplied before it is loaded`);
    return place;
  };
  /**
   * WGSL: the index of element (row, column), counted in values, of which a vector holds so many.
   */
  const index = (place: MatrixPlace, row: string, column: string, ofVector: number): string => {
    const [line, within] = place.columns ? [column, row] : [row, column];
    return `(${place.offset}) * ${ofVector}u + ${line} * ${ofVector * place.stride}u + ${within}`;
  };
  /** Values from an element to the next one in its row, or in its column. */
  const steps = ({ stride, columns }: MatrixPlace) => {
    const line = 8 * stride;
    return { inRow: columns ? line : 1, inColumn: columns ? 1 : line };
  };
  /** WGSL: value x of an array that a left or right matrix is in. */
  const half = ({ array }: MatrixPlace, x: string): string =>
    typeof array === "string"
      ? `half_of_${array.toLowerCase()}(${x})`
      : `half_of_chunk(${array.chunk}, ${x})`;
  const declareHalf = (w: WgslWriter, signature: string, array: string) => {
    w.fn(
      `${signature} -> f32`,
      `
        let pair = unpack2x16float(${array}[x / 8u][x / 2u % 4u]);
        return select(pair.x, pair.y, (x & 1u) == 1u);
      `,
    );
  };
  /** Writes a loop over a lane's elements of a result. */
  const eachElement = (w: WgslWriter, body: () => void) => {
    w.for("var i = 0u; i < ELEMENTS; i++", () => {
      w.line(`
        let e = i * LANES + lane;
        let row = e / UNIT_COLUMNS;
        let column = e % UNIT_COLUMNS;
      `);
      body();
    });
  };
  return {
    enable() {},
    declare(w, direct) {
      w.blank().comment("Elements of a result that a lane holds, and columns of a result.");
      w.const("ELEMENTS", m * n / lanes);
      w.const("UNIT_COLUMNS", n);
      w.comment("Value x of f16 values that lie in words, two in each.");
      declareHalf(w, "half_of_chunk(chunk: u32, x: u32)", `${CHUNKS}[chunk]`);
      for (const array of direct) declareHalf(w, `half_of_${array.toLowerCase()}(x: u32)`, array);
    },
    builtins: { t: "local_invocation_index" },
    attributes: "",
    findLane(w) {
      w.line("let sg = t / LANES;", "let lane = t % LANES;");
    },
    zero(w, name) {
      w.line(`var ${name}: array<f32, ELEMENTS>;`);
    },
    load(_w, name, _side, place) {
      places.set(name, place);
    },
    multiply(w, result, left, right) {
      const x = placeOf(left);
      const y = placeOf(right);
      eachElement(w, () => {
        w.line("var sum = 0.0;");
        // CPU drivers end a program's loops after 65,535 rounds in all: the inmost is unrolled.
        w.for(`var first = 0u; first < ${k}u; first += ${UNROLLED}u`, () => {
          w.line(
            `let x = ${index(x, "row", "first", 8)};`,
            `let y = ${index(y, "first", "column", 8)};`,
          );
          for (const j of range(UNROLLED)) {
            const xj = half(x, plus("x", j * steps(x).inRow));
            const yj = half(y, plus("y", j * steps(y).inColumn));
            w.line(`sum = fma(${xj}, ${yj}, sum);`);
          }
        });
        w.line(`${result}[i] += sum;`);
      });
    },
    store(w, name, place) {
      eachElement(w, () => {
        const value = typeof place.array === "string" ? `${name}[i]` : `bitcast<u32>(${name}[i])`;
        w.line(`let x = ${index(place, "row", "column", 4)};`);
        w.line(`${arrayOf(place)}[x / 4u][x % 4u] = ${value};`);
      });
    },
  };
}
