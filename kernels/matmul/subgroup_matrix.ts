/**
 * Matrix products on matrix units (tensor cores), for GPUs whose WebGPU has subgroup matrices: factors
 * of f16, sums of f32, where precision is mixed. See ../matrix_units.ts for the units and
 * unit_operations.ts for the few operations that they offer.
 *
 * - **Tiles.** A workgroup computes a tile of C; each of its subgroups holds 32 to 64 rows by 32 to 64
 *   columns of it in result matrices.
 * - **Slabs and chunks.** K goes in slabs of 32 values, the width of a panel. A slab of an operand is
 *   made of chunks of 32 lines of 32 values, each of which lies in one piece in memory, whether its
 *   lines run along K or across. In shared memory a line takes 80 bytes, 64 of them used, so that eight
 *   lines never share a memory bank. Nothing has to be transposed: matrices are loaded by rows or by
 *   columns.
 * - **Stages.** While a slab is multiplied, the next one is on its way into registers. With one stage
 *   of shared memory a slab takes two barriers, with two stages one. Without stages, matrices are
 *   loaded straight from storage, whose panels are laid out just as well.
 * - **f32 operands.** An f32 operand is split into two f16 matrices, its rounding (the high part) and
 *   what that left (the low part), together exact to 22 bits, and is multiplied twice; two such
 *   operands take three multiplications. Its values are divided by 2^exponent first, which keeps those
 *   beyond f16's range within it.
 * - **Constant places.** Within a chunk every load is at a constant place: compilers that guard each
 *   access need not guard these.
 * - **Storing.** Whole tiles of f32 go to C directly; tiles cut by an edge, f16, sums and residuals go
 *   by way of shared memory.
 *
 * An element of C is summed over K in order, in steps of the units' K, whatever the tile and stages: all
 * choices give the same bits, but not those of the programs without matrix units.
 * @module
 */
import type { MatrixUnits } from "../matrix_units.ts";
import { range } from "../range.ts";
import { type Program, vectorOf, WgslWriter } from "../wgsl/mod.ts";
import { type MatmulChoice, type Stages, tilePlace, tileSize } from "./choice.ts";
import type { Operands, Product, StoredMatrix } from "./product.ts";
import { bindBuffers, GPU_PARAMS, plus } from "./program_parts.ts";
import { CHUNK, LINE, partsOf, subgroupGrid, UNIT_DEPTH, unitThreads } from "./unit_choice.ts";
import { CHUNKS, type MatrixOperations, matrixOperations } from "./unit_operations.ts";

/** Rows of C that a subgroup stores at once by way of shared memory. */
const STRIP = 16;
/** Vectors of 8 values in a chunk, padding aside: the items in which threads load it. */
const ITEMS = 128;

/** One operand as the program sees it. */
interface Side {
  name: "A" | "B";
  /** The same in names: load_a. */
  letter: "a" | "b";
  /** Rows (of A) or columns (of B) of the tile. */
  extent: number;
  /** Of those, the ones that a subgroup holds. */
  own: number;
  /** The same as a constant of the program. */
  ownName: "SG_ROWS" | "SG_COLUMNS";
  /** Rows or columns of one matrix of the units. */
  size: number;
  /** WGSL: the subgroup's place along that extent. */
  subgroup: "sg_row" | "sg_column";
  /** The tile's first row or column, and the end of the padded matrix, as WGSL. */
  origin: "m0" | "n0";
  end: "p.m_padded" | "p.n_padded";
  /** Whether a line of memory runs along K, so that it is a row of A or a column of B. */
  alongK: boolean;
  /** Matrices that stand for the operand: 1, or 2 where it is f32. */
  parts: number;
  /** What f32 values are divided by. */
  scale: number;
  /** Its first chunk in a stage of shared memory; a low part's chunks follow those of the high part. */
  chunk: number;
}

/** What the parts of the program need to know of it. */
interface UnitProgram {
  a: Side;
  b: Side;
  c: StoredMatrix;
  residual: boolean;
  stages: Stages;
  units: MatrixUnits;
  operations: MatrixOperations;
  /** Subgroups of the tile, down and across, and threads. */
  down: number;
  across: number;
  threads: number;
  /** Chunks of one stage of shared memory. */
  chunks: number;
}

/**
 * The program of one product; the uniform values are {@linkcode GPU_PARAMS}. `choice.depth` is
 * {@linkcode UNIT_DEPTH}.
 */
export function subgroupMatrixProgram(
  product: Product,
  operands: Operands,
  choice: MatmulChoice,
  residual: boolean,
  units: MatrixUnits,
): Program {
  const program = layOut(product, operands, choice, residual, units);
  const { a, b, stages, operations, threads } = program;
  const w = new WgslWriter();
  operations.enable(w);
  declareConstants(w, program);
  w.uniforms("p", GPU_PARAMS);
  bindBuffers(w, { a: elementOf(a), b: elementOf(b), c: operands.c }, residual);
  w.workgroup(CHUNKS, `array<array<vec4u, CHUNK>, ${program.chunks * (stages || 1)}>`);
  operations.declare(w, stages === 0 ? ["A", "B"] : []);
  declareHalves(w);
  for (const side of [a, b]) declarePlaces(w, side);
  if (stages > 0) declareItems(w, program);
  declareStrip(w, program);
  const body = () => {
    operations.findLane(w);
    const tile = tilePlace(choice.order, "group");
    w.line(`
      let m0 = ${tile.row} * ROWS;
      let n0 = ${tile.column} * COLUMNS;
      // The subgroup's place in the tile.
      let sg_row = sg / ACROSS;
      let sg_column = sg % ACROSS;
    `);
    const items = stages > 0 ? assignItems(w, program) : [];
    if (stages === 0) findOwnLines(w, program);
    zeroResults(w, program);
    w.blank().line(`
      let begin = group.z * p.part_length;
      let end = min(begin + p.part_length, 4u * p.k_vectors);
    `);
    if (stages === 0) multiplyFromStorage(w, program);
    else if (stages === 1) multiplyInOneStage(w, program, items);
    else multiplyInTwoStages(w, program, items);
    storeTile(w, program);
  };
  const builtins = { group: "workgroup_id", ...operations.builtins } as const;
  w.main(threads, builtins, body, operations.attributes);
  return w.program();
}

/** Decides who holds what, and where it lies in shared memory. */
function layOut(
  product: Product,
  { a, b, c }: Operands,
  choice: MatmulChoice,
  residual: boolean,
  units: MatrixUnits,
): UnitProgram {
  const { stages = 1 } = choice;
  const { rows, cols } = tileSize(choice.tile);
  const [down, across] = subgroupGrid(choice);
  const scaleOf = ({ type, exponent = 0 }: StoredMatrix) => type ? 1 : 2 ** exponent;
  const A: Side = {
    name: "A",
    letter: "a",
    extent: rows,
    own: rows / down,
    ownName: "SG_ROWS",
    size: units.m,
    subgroup: "sg_row",
    origin: "m0",
    end: "p.m_padded",
    alongK: product !== "TN",
    parts: partsOf(a),
    scale: scaleOf(a),
    chunk: 0,
  };
  const B: Side = {
    name: "B",
    letter: "b",
    extent: cols,
    own: cols / across,
    ownName: "SG_COLUMNS",
    size: units.n,
    subgroup: "sg_column",
    origin: "n0",
    end: "p.n_padded",
    alongK: product === "NT",
    parts: partsOf(b),
    scale: scaleOf(b),
    chunk: A.parts * rows / 32,
  };
  return {
    a: A,
    b: B,
    c,
    residual,
    stages,
    units,
    operations: matrixOperations(units),
    down,
    across,
    threads: unitThreads(choice, units),
    // Without stages a chunk per subgroup, through which C is stored.
    chunks: stages === 0 ? down * across : B.chunk + B.parts * cols / 32,
  };
}

/** Whether an operand is f16 in memory. */
const isHalf = (side: Side): boolean => side.parts === 1;

/** The vectors of an operand in memory: 8 values of f16 in four words, or 4 of f32. */
const elementOf = (side: Side): string => isHalf(side) ? "vec4u" : "vec4f";

function declareConstants(w: WgslWriter, program: UnitProgram): void {
  const { a, b, units, chunks, stages, across } = program;
  w.const("ROWS", a.extent);
  w.const("COLUMNS", b.extent);
  w.const("DEPTH", UNIT_DEPTH);
  w.const("LANES", units.lanes);
  w.comment("Subgroups beside each other in the tile; rows and columns that each of them holds.");
  w.const("ACROSS", across);
  w.const("SG_ROWS", a.own);
  w.const("SG_COLUMNS", b.own);
  w.comment("Items of 8 values in a chunk.");
  w.const("ITEMS", ITEMS);
  w.comment("Vectors of 16 bytes in a line of a chunk, padding included, and in a chunk.");
  w.const("LINE", LINE);
  w.const("CHUNK", CHUNK);
  if (stages === 2) {
    w.comment("Chunks in a stage of shared memory.");
    w.const("STAGE", chunks);
  }
}

/** Declares how values are rounded to f16, eight to a vector, and widened again. */
function declareHalves(w: WgslWriter): void {
  w.fn(
    "halves(x: vec4f, y: vec4f) -> vec4u",
    `
      return vec4u(
        pack2x16float(x.xy),
        pack2x16float(x.zw),
        pack2x16float(y.xy),
        pack2x16float(y.zw),
      );
    `,
  );
  w.fn(
    "first_four(h: vec4u) -> vec4f",
    "return vec4f(unpack2x16float(h.x), unpack2x16float(h.y));",
  );
  w.fn(
    "last_four(h: vec4u) -> vec4f",
    "return vec4f(unpack2x16float(h.z), unpack2x16float(h.w));",
  );
}

/**
 * Declares where a chunk lies in memory, counted in vectors of 8 values: `chunk_of_a(row)` is the chunk
 * of 32 rows that begins at a row, where K begins (the last 32 rows where the matrix ends before it);
 * `along_a(k)` is how much further the slab is that begins at k.
 */
function declarePlaces(w: WgslWriter, { letter, end, alongK }: Side): void {
  const line = letter === "a" ? "row" : "column";
  const begin = letter === "a" ? "" : "p.b_first / 2u + ";
  const stride = `p.${letter}_stride`;
  w.fn(`chunk_of_${letter}(${line}: u32) -> u32`, () => {
    w.line(`let first = min(${line}, ${end} - 32u);`);
    w.line(`return ${begin}${alongK ? "first" : `(first >> 5u) * ${stride}`} * 4u;`);
  });
  w.fn(
    `along_${letter}(k: u32) -> u32`,
    `return ${alongK ? `(k >> 5u) * ${stride}` : "k"} * 4u;`,
  );
}

/** Declares how a thread brings its items of the operands into shared memory. */
function declareItems(w: WgslWriter, { a, b }: UnitProgram): void {
  w.blank().comment(`
    Eight values on their way: their vector in memory where K begins, their chunk in a stage of
    shared memory, and their vector in the chunk.
  `);
  w.struct("Item", { first: "u32", chunk: "u32", vector: "u32" });
  if (!isHalf(a) || !isHalf(b)) w.struct("Eight", { x: "vec4f", y: "vec4f" });
  for (const side of [a, b]) {
    const { letter, origin, chunk } = side;
    w.fn(
      `item_of_${letter}(i: u32, ${origin}: u32) -> Item`,
      `
        let first = chunk_of_${letter}(${origin} + i / ITEMS * 32u) + i % ITEMS;
        let vector = i % ITEMS / 4u * LINE + i % 4u;
        return Item(first, ${plus("i / ITEMS", chunk)}, vector);
      `,
    );
    if (isHalf(side)) declareHalfItems(w, side);
    else declareSplitItems(w, side);
  }
}

/** Items of an f16 operand go as they are. */
function declareHalfItems(w: WgslWriter, { name, letter }: Side): void {
  w.fn(
    `load_${letter}(item: Item, k: u32) -> vec4u`,
    `return ${name}[item.first + along_${letter}(k)];`,
  );
  w.fn(
    `put_${letter}(stage: u32, item: Item, values: vec4u)`,
    `${CHUNKS}[stage + item.chunk][item.vector] = values;`,
  );
}

/** Items of an f32 operand are split into their rounding and what that left. */
function declareSplitItems(w: WgslWriter, { name, letter, extent, scale }: Side): void {
  w.fn(
    `load_${letter}(item: Item, k: u32) -> Eight`,
    `
      let at = item.first + along_${letter}(k);
      return Eight(${name}[2u * at], ${name}[2u * at + 1u]);
    `,
  );
  const scaled = (part: string) => scale === 1 ? `values.${part}` : `values.${part} * ${1 / scale}`;
  w.fn(
    `put_${letter}(stage: u32, item: Item, values: Eight)`,
    `
      let x = ${scaled("x")};
      let y = ${scaled("y")};
      let high = halves(x, y);
      let low = halves(x - first_four(high), y - last_four(high));
      ${CHUNKS}[stage + item.chunk][item.vector] = high;
      ${CHUNKS}[stage + item.chunk + ${extent / 32}u][item.vector] = low;
    `,
  );
}

/** One item of each thread, and the operand that it belongs to. */
type Item = { index: number; side: Side };

/** Deals the items of a slab out to the threads, in the order in which they lie in memory. */
function assignItems(w: WgslWriter, { a, b, threads }: UnitProgram): Item[] {
  const items: Item[] = [];
  w.blank().comment("The items that this thread brings into shared memory, and their values.");
  for (const side of [a, b]) {
    const { letter, origin, extent } = side;
    for (const round of range(extent * 4 / threads)) {
      const index = items.length;
      w.line(`let item${index} = item_of_${letter}(${plus("t", round * threads)}, ${origin});`);
      w.line(`var values${index}: ${isHalf(side) ? "vec4u" : "Eight"};`);
      items.push({ index, side });
    }
  }
  return items;
}

/** Without stages, finds where each 32 rows or columns of a subgroup begin in memory. */
function findOwnLines(w: WgslWriter, { a, b }: UnitProgram): void {
  w.blank().comment("Where each 32 of the subgroup's rows and columns begin in memory.");
  for (const { letter, origin, own, subgroup, ownName } of [a, b]) {
    for (const chunk of range(own / 32)) {
      const line = plus(`${origin} + ${subgroup} * ${ownName}`, 32 * chunk);
      w.line(`let ${letter}_chunk${chunk} = chunk_of_${letter}(${line});`);
    }
  }
}

/** The result matrix in row `i` and column `j` of a subgroup's. */
const resultName = (i: number, j: number): string => `sum${i}_${j}`;

/** The numbers of a subgroup's matrices along an operand. */
const blocksOf = ({ own, size }: Side): number[] => range(own / size);

function zeroResults(w: WgslWriter, { a, b, operations }: UnitProgram): void {
  w.blank().comment("The subgroup's results: sum{row}_{column} of its matrices.");
  for (const i of blocksOf(a)) {
    for (const j of blocksOf(b)) operations.zero(w, resultName(i, j));
  }
}

/** Loads the threads' items of the slab that begins at k into registers. */
function loadSlab(w: WgslWriter, items: readonly Item[], k: string): void {
  for (const { index, side } of items) {
    w.line(`values${index} = load_${side.letter}(item${index}, ${k});`);
  }
}

/** Puts the registers into a stage of shared memory. */
function putSlab(w: WgslWriter, items: readonly Item[], stage: string): void {
  for (const { index, side } of items) {
    w.line(`put_${side.letter}(${stage}, item${index}, values${index});`);
  }
}

/** The only stage where there is one: where it begins in shared memory, as WGSL. */
const FIRST_STAGE = "0u";

/** A loop over the slabs of K; `next` is where the next one begins. */
function forEachSlab(w: WgslWriter, body: () => void): void {
  w.for("var k = begin; k < end; k += DEPTH", () => {
    w.line("let next = k + DEPTH;");
    body();
  });
}

function multiplyFromStorage(w: WgslWriter, program: UnitProgram): void {
  forEachSlab(w, () => {
    w.line("let a_slab = along_a(k);", "let b_slab = along_b(k);");
    multiplySlab(w, program, FIRST_STAGE);
  });
}

function multiplyInOneStage(w: WgslWriter, program: UnitProgram, items: readonly Item[]): void {
  loadSlab(w, items, "begin");
  forEachSlab(w, () => {
    w.line("workgroupBarrier();");
    putSlab(w, items, FIRST_STAGE);
    w.line("workgroupBarrier();");
    w.if("next < end", () => loadSlab(w, items, "next"));
    multiplySlab(w, program, FIRST_STAGE);
  });
}

function multiplyInTwoStages(w: WgslWriter, program: UnitProgram, items: readonly Item[]): void {
  loadSlab(w, items, "begin");
  w.line("var stage = 0u;");
  putSlab(w, items, "stage");
  w.line("workgroupBarrier();");
  forEachSlab(w, () => {
    w.if("next < end", () => loadSlab(w, items, "next"));
    multiplySlab(w, program, "stage");
    w.line("stage = STAGE - stage;");
    w.if("next < end", () => putSlab(w, items, "stage"));
    w.line("workgroupBarrier();");
  });
}

/**
 * Multiplies a slab, in steps of the units' K. Few steps are unrolled, so that the places are constants;
 * not for CPU drivers, which would take minutes to compile it.
 */
function multiplySlab(w: WgslWriter, program: UnitProgram, stage: string): void {
  const { units } = program;
  const steps = UNIT_DEPTH / units.k;
  if (steps > 2 || units.emulated) {
    w.for(`var step = 0u; step < ${steps}u; step++`, () => {
      multiplyStep(w, program, stage, "step");
    });
    return;
  }
  for (const step of range(steps)) {
    w.block("", () => multiplyStep(w, program, stage, step));
  }
}

/** A step of K within a slab: its number, or the variable that counts them. */
type Step = number | "step";

/** Multiplies the subgroup's matrices at one step of K: each of A's with each of B's. */
function multiplyStep(w: WgslWriter, program: UnitProgram, stage: string, step: Step): void {
  const { a, b, operations } = program;
  for (const part of range(a.parts)) {
    for (const i of blocksOf(a)) loadMatrix(w, program, a, { part, block: i, step, stage });
  }
  for (const j of blocksOf(b)) {
    for (const part of range(b.parts)) loadMatrix(w, program, b, { part, block: j, step, stage });
    for (const aPart of range(a.parts)) {
      for (const bPart of range(b.parts)) {
        // The product of two low parts is below the last bit of the sum.
        if (aPart + bPart === 2) continue;
        for (const i of blocksOf(a)) {
          const result = resultName(i, j);
          operations.multiply(w, result, matrixName(a, aPart, i), matrixName(b, bPart, j));
        }
      }
    }
  }
}

/** Matrix `block` of a subgroup's, of an operand's high (0) or low (1) part. */
const matrixName = ({ letter }: Side, part: number, block: number): string =>
  `${letter}${part === 0 ? "" : "_low"}${block}`;

/** Loads one matrix of an operand: from its chunk in shared memory, or without stages from storage. */
function loadMatrix(
  w: WgslWriter,
  { stages, units, operations }: UnitProgram,
  side: Side,
  { part, block, step, stage }: { part: number; block: number; step: Step; stage: string },
): void {
  const { name, letter, own, extent, size, subgroup, alongK } = side;
  const direct = stages === 0;
  const first = block * size; // of the subgroup's rows or columns
  const chunk = Math.floor(first / 32);
  const within = first % 32;
  const line = direct ? 4 : LINE;
  // A vector is 8 values of K where lines run along K, else 8 rows or columns at one value of K.
  const perStep = units.k / 8 * (alongK ? 1 : 8 * line);
  const skip = alongK ? within * line : within / 8;
  const inChunk = typeof step === "number"
    ? `${step * perStep + skip}u`
    : plus(`${step} * ${perStep}u`, skip);
  const stagePart = stage === FIRST_STAGE ? "" : `${stage} + `;
  const subgroupPart = `${subgroup} * ${own / 32}u`;
  const inStage = side.chunk + part * extent / 32 + chunk;
  operations.load(w, matrixName(side, part, block), name === "A" ? "left" : "right", {
    array: direct ? name : { chunk: plus(`${stagePart}${subgroupPart}`, inStage) },
    offset: direct ? `${letter}_chunk${chunk} + ${letter}_slab + ${inChunk}` : inChunk,
    stride: line,
    // Lines along K are rows of A, but columns of B.
    columns: alongK !== (name === "A"),
  });
}

/**
 * Declares `store_strip`: 16 rows by 32 columns of sums go from a subgroup's chunk of shared memory to
 * C, or to a part's sums, as far as C has those rows and columns.
 */
function declareStrip(w: WgslWriter, { a, b, c, residual }: UnitProgram): void {
  const scale = a.scale * b.scale;
  const scaled = scale === 1 ? "" : ` * ${scale}`;
  w.fn("store_strip(part: u32, sg: u32, lane: u32, row: u32, column: u32)", () => {
    w.for(`var v = lane; v < ITEMS; v += LANES`, () => {
      w.line(`
        let m = row + v / 8u;
        let n = column + v % 8u * 4u;
      `);
      w.if("m < p.m && n < p.n_padded", () => {
        w.line(`
          let at = part * p.part_vectors + ((n >> 5u) * p.c_stride + m) * 8u + v % 8u;
          var sum = bitcast<vec4f>(${CHUNKS}[sg][v / 8u * (2u * LINE) + v % 8u])${scaled};
        `);
        if (residual) w.line("sum += D[((n >> 5u) * p.d_stride + m) * 8u + v % 8u];");
        w.if("p.accumulate != 0u", () => w.line("sum += vec4f(C[at]);"));
        w.line(`C[at] = ${vectorOf(c)}(sum);`);
      });
    });
  });
}

/** Stores a subgroup's results. */
function storeTile(w: WgslWriter, program: UnitProgram): void {
  const { a, b, c, residual } = program;
  w.blank().line(
    "let row = m0 + sg_row * SG_ROWS;",
    "let column = n0 + sg_column * SG_COLUMNS;",
  );
  if (c.type || residual || a.scale * b.scale !== 1) {
    storeStrips(w, program);
    return;
  }
  const whole = "m0 + ROWS <= p.m && n0 + COLUMNS <= p.n_padded && p.accumulate == 0u";
  w.if(whole, () => storeDirectly(w, program), () => storeStrips(w, program));
}

/** Stores the results straight into C. */
function storeDirectly(w: WgslWriter, { a, b, units, operations }: UnitProgram): void {
  w.line("let at = group.z * p.part_vectors + ((column >> 5u) * p.c_stride + row) * 8u;");
  for (const i of blocksOf(a)) {
    for (const j of blocksOf(b)) {
      const firstRow = i * units.m;
      const firstColumn = j * units.n;
      const panel = Math.floor(firstColumn / 32);
      const inPanel = firstRow * 8 + firstColumn % 32 / 4;
      operations.store(w, resultName(i, j), {
        array: "C",
        offset: plus(panel === 0 ? "at" : `at + ${panel}u * p.c_stride * 8u`, inPanel),
        stride: 8,
        columns: false,
      });
    }
  }
}

/** Stores the results by way of shared memory, strip by strip, in the subgroup's own chunk. */
function storeStrips(w: WgslWriter, { a, b, units, operations }: UnitProgram): void {
  w.line("workgroupBarrier();");
  for (const strip of range(a.own / STRIP)) {
    for (const panel of range(b.own / 32)) {
      for (const i of blocksOf(a)) {
        for (const j of blocksOf(b)) {
          const firstRow = i * units.m;
          const firstColumn = j * units.n;
          if (Math.floor(firstRow / STRIP) !== strip) continue;
          if (Math.floor(firstColumn / 32) !== panel) continue;
          operations.store(w, resultName(i, j), {
            array: { chunk: "sg" },
            offset: `${firstRow % STRIP * 2 * LINE + firstColumn % 32 / 4}u`,
            stride: 2 * LINE,
            columns: false,
          });
        }
      }
      const place = `${plus("row", STRIP * strip)}, ${plus("column", 32 * panel)}`;
      w.line(
        "workgroupBarrier();",
        `store_strip(group.z, sg, lane, ${place});`,
        "workgroupBarrier();",
      );
    }
  }
}
