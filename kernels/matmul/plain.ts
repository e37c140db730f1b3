/**
 * Matrix products for CPU drivers without subgroups: one thread computes a tile of 16 x 16 elements of
 * C in variables of its own, from storage buffers. Threads share nothing: the barriers that shared
 * memory needs are slow on a CPU.
 *
 * An iteration takes four values of K: 16 rows of A, four values each, and four rows of B, 16 columns
 * each. Where a matrix lies the other way round, its 4 x 4 blocks are transposed as they are loaded.
 * @module
 */
import { range } from "../range.ts";
import { type Program, vectorOf, WgslWriter } from "../wgsl/mod.ts";
import type { Operands, Product } from "./product.ts";
import {
  bindBuffers,
  component,
  CPU_PARAMS,
  declareStores,
  FOUR,
  gathered,
  plus,
  storeOrAdd,
  storeSum,
} from "./program_parts.ts";

/** Rows and columns of a thread's tile. */
const TILE = 16;
const ALL_ROWS = range(TILE);
/** Threads of a workgroup, across and down. */
const GROUP = [2, 4] as const;

/** Rows and columns of C that one workgroup covers. */
export const PLAIN_WORKGROUP = { rows: TILE * GROUP[1], cols: TILE * GROUP[0] } as const;

/** The program of one product; thread (x, y) of the grid takes the tile in column x and row y. */
export function plainProgram(
  product: Product,
  { a, b, c }: Operands,
  residual: boolean,
): Program {
  const w = new WgslWriter();
  w.const("TILE", TILE);
  w.uniforms("p", CPU_PARAMS);
  bindBuffers(w, { a: vectorOf(a), b: vectorOf(b), c }, residual);
  declareStores(w, c, residual);
  w.main(GROUP, { thread: "global_invocation_id" }, () => {
    w.line(`
      let m0 = thread.y * TILE;
      let n0 = thread.x * TILE;
    `);
    w.if("m0 >= p.m", () => w.line("return;"));
    declareSums(w);
    w.for("var k = 0u; k < p.k_vectors; k += 1u", () => {
      loadB(w, product);
      loadA(w, product);
      multiply(w);
    });
    storeTile(w, residual);
  });
  return w.program();
}

/** The sums of row `row` of the tile and its columns 4 quad to 4 quad + 3. */
const sumName = (row: number, quad: number): string => `sum${row}_${quad}`;

function declareSums(w: WgslWriter): void {
  w.comment("The tile: sum{row}_{quad}, a quad being four neighbouring columns.");
  for (const row of ALL_ROWS) {
    for (const quad of FOUR) w.line(`var ${sumName(row, quad)} = vec4f();`);
  }
}

/** Loads b{value}_{quad}: four columns of B at one of the iteration's four values of K. */
function loadB(w: WgslWriter, product: Product): void {
  w.comment("b{value of K}_{quad of columns}");
  if (product !== "NT") {
    w.line("let b_at = p.b_first + ((n0 >> 5u) * p.b_stride + 4u * k) * 8u + ((n0 >> 2u) & 7u);");
    loadBlock(w, "b", "B");
    return;
  }
  w.line("let b_at = p.b_first + ((k >> 3u) * p.b_stride + n0) * 8u + (k & 7u);");
  for (const column of ALL_ROWS) {
    w.line(`let column${column} = vec4f(B[${plus("b_at", 8 * column)}]);`);
  }
  for (const value of FOUR) {
    for (const quad of FOUR) {
      const columns = FOUR.map((i) => `column${4 * quad + i}`);
      w.line(`let b${value}_${quad} = ${gathered("vec4f", columns, value)};`);
    }
  }
}

/** Loads row{row}: four values of K of each row of A. */
function loadA(w: WgslWriter, product: Product): void {
  if (product !== "TN") {
    w.line("let a_at = ((k >> 3u) * p.a_stride + m0) * 8u + (k & 7u);");
    for (const row of ALL_ROWS) w.line(`let row${row} = vec4f(A[${plus("a_at", 8 * row)}]);`);
    return;
  }
  w.comment("a{value of K}_{quad of rows}");
  w.line("let a_at = ((m0 >> 5u) * p.a_stride + 4u * k) * 8u + ((m0 >> 2u) & 7u);");
  loadBlock(w, "a", "A");
  for (const row of ALL_ROWS) {
    const lines = FOUR.map((value) => `a${value}_${Math.floor(row / 4)}`);
    w.line(`let row${row} = ${gathered("vec4f", lines, row % 4)};`);
  }
}

/** Loads four lines of a panel, four neighbouring vectors of each. */
function loadBlock(w: WgslWriter, name: string, array: string): void {
  for (const line of FOUR) {
    for (const quad of FOUR) {
      w.line(
        `let ${name}${line}_${quad} = vec4f(${array}[${plus(`${name}_at`, 8 * line + quad)}]);`,
      );
    }
  }
}

function multiply(w: WgslWriter): void {
  for (const row of ALL_ROWS) {
    for (const quad of FOUR) {
      const products = FOUR.map((value) => `${component(`row${row}`, value)} * b${value}_${quad}`);
      w.line(`${sumName(row, quad)} += ${products.join(" + ")};`);
    }
  }
}

/** Stores the rows of the tile that C has. */
function storeTile(w: WgslWriter, residual: boolean): void {
  w.line("let c_at = ((n0 >> 5u) * p.c_stride + m0) * 8u + ((n0 >> 2u) & 7u);");
  if (residual) w.line("let d_at = ((n0 >> 5u) * p.d_stride + m0) * 8u + ((n0 >> 2u) & 7u);");
  storeOrAdd(w, (add) => {
    for (const row of ALL_ROWS) {
      w.if(`m0 + ${row}u < p.m`, () => {
        for (const quad of FOUR) {
          const vector = 8 * row + quad;
          const place = {
            at: plus("c_at", vector),
            dAt: plus("d_at", vector),
            sum: sumName(row, quad),
          };
          w.line(storeSum(add, place, residual));
        }
      });
    }
  });
}
