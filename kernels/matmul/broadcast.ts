/**
 * Matrix products for CPU drivers with subgroups of 8 (lavapipe).
 *
 * A workgroup is one subgroup and computes a tile of 32 x 32 elements of C. Each of its 8 lanes owns 4
 * neighbouring columns and sums all 32 rows of them: 128 sums, each in a variable of its own. A lane
 * loads its own columns of B. Rows of A are shared: each lane loads some of them, and
 * `subgroupBroadcast` hands them to the others one after another.
 *
 * What makes it fast there, in the order of effect:
 * 1. A and B are read through read-only storage textures, whose loads the driver vectorises; a load
 *    from a storage buffer becomes a loop over the lanes with branches.
 * 2. An iteration takes {@linkcode STEPS} vectors of K, and adds `dot + dot` to each sum in one
 *    statement: the driver blends every variable that a loop changes with the mask of the lanes at
 *    work, once per iteration.
 * 3. C is stored in vectors of four. Whether it is added to is part of the program: the driver runs
 *    both sides of a condition, and a loop's round that only finds the loop over.
 *
 * The textures are linear: texel i of a panel matrix is at (i % width, i / width). A texel of an f16
 * texture is widened to f32 as it is loaded.
 * @module
 */
import { TEXTURE_WIDTH } from "../device.ts";
import { range } from "../range.ts";
import { type Program, WgslWriter } from "../wgsl/mod.ts";
import { type TileOrder, tilePlace } from "./choice.ts";
import type { Operands, Product, StoredMatrix } from "./product.ts";
import {
  bindResult,
  CPU_PARAMS,
  declareStores,
  FOUR,
  gathered,
  plus,
  storeSum,
} from "./program_parts.ts";

/** Rows and columns of a tile. */
const TILE = 32;
/** Lanes of a subgroup. */
const LANES = 8;
/** Vectors of K per iteration: 2 measured best (62-93 GFLOP/s; 4: 57-69; 8: 41-49). */
const STEPS = 2;

/** The steps of an iteration. */
const ALL_STEPS = range(STEPS);

/**
 * The program of one product. The dimensions are uniform values, so that few programs serve all
 * shapes.
 */
export function broadcastProgram(
  product: Product,
  { a, b, c, accumulate = false }: Operands & { accumulate?: boolean },
  order: TileOrder,
  residual: boolean,
): Program {
  const w = new WgslWriter();
  w.const("TILE", TILE);
  w.const("LANES", LANES);
  w.const("STEPS", STEPS);
  w.const("TEXTURE_WIDTH", TEXTURE_WIDTH);
  w.const("TEXTURE_SHIFT", Math.log2(TEXTURE_WIDTH));
  w.uniforms("p", CPU_PARAMS);
  w.texture("A", textureOf(a));
  w.texture("B", textureOf(b));
  bindResult(w, c, residual);
  declareLoad(w, "load_a", "A");
  declareLoad(w, "load_b", "B");
  declareStores(w, c, residual);
  w.main("LANES", { group: "workgroup_id", lane: "local_invocation_index" }, () => {
    const tile = tilePlace(order, "group");
    w.line(`
      let tile_row = ${tile.row};
      let tile_column = ${tile.column};
      let m0 = tile_row * TILE;
      let n0 = tile_column * TILE;
    `);
    declareSums(w);
    findLaneStarts(w, product);
    w.repeat("var k = 0u;", "k += STEPS;", "k < p.k_vectors", () => {
      findVectors(w, product);
      loadColumns(w, product);
      const rowsOfLane = product === "TN" ? 4 : 1;
      for (const group of range(TILE / (LANES * rowsOfLane))) {
        loadRows(w, product, group);
        multiplyRows(w, group, rowsOfLane);
      }
    });
    storeTile(w, accumulate, residual);
  });
  return w.program();
}

/** The type of the texture that holds an operand. */
const textureOf = (stored: StoredMatrix): string =>
  `texture_storage_2d<${stored.type ? "rgba16float" : "rgba32float"}, read>`;

/** Declares a function that loads four elements of a matrix: the texel of an index. */
function declareLoad(w: WgslWriter, name: string, texture: string): void {
  w.fn(
    `${name}(texel: u32) -> vec4f`,
    `return textureLoad(${texture}, vec2u(texel & (TEXTURE_WIDTH - 1u), texel >> TEXTURE_SHIFT));`,
  );
}

/** The sum of row `row` of the tile and column `column` (0 to 3) of the lane. */
const sumName = (row: number, column: number): string => `sum${row}_${column}`;

function declareSums(w: WgslWriter): void {
  w.comment("The lane's part of the tile: sum{row}_{column}.");
  for (const row of range(TILE)) {
    for (const column of FOUR) w.line(`var ${sumName(row, column)} = 0.0;`);
  }
}

/** Finds the first texel that a lane reads of each operand. A line of a panel is 8 texels. */
function findLaneStarts(w: WgslWriter, product: Product): void {
  w.line(
    product === "NT"
      ? "let b_lane = p.b_first + (n0 + 4u * lane) * 8u;"
      : "let b_lane = p.b_first + tile_column * p.b_stride * 8u + lane;",
    product === "TN"
      ? "let a_lane = tile_row * p.a_stride * 8u + lane;"
      : "let a_lane = (m0 + lane) * 8u;",
  );
}

/**
 * Finds the texels of vector k of K. Where panels run along K, 8 vectors of K are in a panel, side by
 * side; else four lines of a panel hold the vector's four values of K.
 */
function findVectors(w: WgslWriter, product: Product): void {
  w.line(
    product === "TN"
      ? "let a_at = k * 32u + a_lane;"
      : "let a_at = (k >> 3u) * p.a_stride * 8u + (k & 7u) + a_lane;",
    product === "NT"
      ? "let b_at = (k >> 3u) * p.b_stride * 8u + (k & 7u) + b_lane;"
      : "let b_at = k * 32u + b_lane;",
  );
}

/** Loads the lane's columns of B: column{step}_{column} holds four values of K. */
function loadColumns(w: WgslWriter, product: Product): void {
  w.comment("column{step}_{column}: a column of B, four values of K.");
  for (const step of ALL_STEPS) {
    if (product === "NT") {
      for (const column of FOUR) {
        w.line(`let column${step}_${column} = load_b(${plus("b_at", 8 * column + step)});`);
      }
      continue;
    }
    // A line holds four columns at one value of K. The transposition costs nothing: the four values of
    // a vector are in four registers of the CPU, each of which holds all lanes.
    const lines = FOUR.map((value) => `b${step}_${value}`);
    lines.forEach((line, value) => {
      w.line(`let ${line} = load_b(${plus("b_at", 8 * (4 * step + value))});`);
    });
    for (const column of FOUR) {
      w.line(`let column${step}_${column} = ${gathered("vec4f", lines, column)};`);
    }
  }
}

/**
 * Loads the rows of A that a lane brings in for a group of rows: row{group}_{step}_{row} holds four
 * values of K. A lane brings one row, or four where A's lines hold four rows each.
 */
function loadRows(w: WgslWriter, product: Product, group: number): void {
  w.comment(`The lanes' rows of A of group ${group}: row{group}_{step}_{row}.`);
  for (const step of ALL_STEPS) {
    if (product !== "TN") {
      w.line(`let row${group}_${step}_0 = load_a(${plus("a_at", 8 * LANES * group + step)});`);
      continue;
    }
    const lines = FOUR.map((value) => `a${group}_${step}_${value}`);
    lines.forEach((line, value) => {
      w.line(`let ${line} = load_a(${plus("a_at", 8 * (4 * step + value))});`);
    });
    for (const row of FOUR) {
      w.line(`let row${group}_${step}_${row} = ${gathered("vec4f", lines, row)};`);
    }
  }
}

/** Hands each row of a group to all lanes, which multiply it by their columns. */
function multiplyRows(w: WgslWriter, group: number, rowsOfLane: number): void {
  for (const lane of range(LANES)) {
    for (const own of range(rowsOfLane)) {
      const row = (group * LANES + lane) * rowsOfLane + own;
      for (const step of ALL_STEPS) {
        w.line(`let a${row}_k${step} = subgroupBroadcast(row${group}_${step}_${own}, ${lane}u);`);
      }
      for (const column of FOUR) {
        const dots = ALL_STEPS.map((step) => `dot(a${row}_k${step}, column${step}_${column})`);
        w.line(`${sumName(row, column)} += ${dots.join(" + ")};`);
      }
    }
  }
}

/** Stores the rows of the tile that C has. */
function storeTile(w: WgslWriter, add: boolean, residual: boolean): void {
  w.line("let c_at = (tile_column * p.c_stride + m0) * 8u + lane;");
  if (residual) w.line("let d_at = (tile_column * p.d_stride + m0) * 8u + lane;");
  for (const row of range(TILE)) {
    const sum = `vec4f(${FOUR.map((column) => sumName(row, column)).join(", ")})`;
    const place = { at: plus("c_at", 8 * row), dAt: plus("d_at", 8 * row), sum };
    w.if(`m0 + ${row}u < p.m`, () => w.line(storeSum(add, place, residual)));
  }
}
