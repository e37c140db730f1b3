/**
 * Matrix products for GPUs: 64 to 256 threads compute a tile of C. A and B come through shared memory,
 * a slab of K at a time (8 to 32 values); a thread sums 8 or 16 rows by 8 or 16 columns of the tile in
 * variables of its own.
 *
 * - **Filling a slab.** The unit of work is an item: a block of 4 x 4 elements, four rows of A (or
 *   columns of B) at four values of K. A thread loads its items into registers, a whole line of memory
 *   with its neighbours, and stores them to shared memory later. While a slab is multiplied, the next
 *   one is on its way into registers; it is stored into the other half of shared memory, so that one
 *   barrier per slab is enough.
 * - **Order in a slab.** Slabs are ordered by K: line (k, group) holds, for one value of K, a vector of
 *   four rows for each thread along the tile. Where memory has the values of K side by side, a thread
 *   transposes its block. Threads with neighbouring values of K would then store into the same memory
 *   bank, so the column within a line is turned (by an exclusive or) depending on K.
 * - **Which thread computes what.** A thread's rows and columns are vectors of four that lie 32 or 64
 *   apart. 32 neighbouring threads cover 4 x 8 such vectors, numbered so that threads 2i and 2i + 1
 *   read the same vector of B, threads i and i + 2 the same vector of A, and any 16 of them 8 vectors
 *   of B in a row, 128 bytes. NVIDIA's hardware serves such a pattern at once (CUTLASS relies on the
 *   same).
 * - **Constant places.** All that varies with the thread is computed before the loop, and indices
 *   within the loop add constants: compilers that clamp every index then do so once.
 * - **Edges.** Beyond the matrix its last rows and columns are loaded again; their sums are not stored.
 *
 * Each element of C is summed over K in order by fma, whatever the tile: see choice.ts.
 * @module
 */
import { range } from "../range.ts";
import { type Program, vectorOf, WgslWriter } from "../wgsl/mod.ts";
import { type MatmulChoice, tilePlace, tileSize } from "./choice.ts";
import type { Operands, Product } from "./product.ts";
import {
  bindBuffers,
  component,
  declareStores,
  FOUR,
  gathered,
  GPU_PARAMS,
  plus,
  storeOrAdd,
  storeSum,
} from "./program_parts.ts";

/** Threads along a tile's rows or columns: 8 elements each, or 16 where that would need more than 16. */
const threadsAlong = (extent: number): number => Math.min(16, extent / 8);

type Vector = "vec4f" | "vec4h";

/** Names of what a program declares for blocks in registers, by the type of their vectors. */
const BLOCKS = {
  vec4f: { struct: "Block", transposed: "transposed" },
  vec4h: { struct: "HalfBlock", transposed: "transposed_half" },
} as const;

/** How one operand fills its slab. */
interface Fill {
  /** The array of the matrix in memory. */
  name: "A" | "B";
  /** The same in names: load_a, slab_a. */
  letter: "a" | "b";
  /** Vectors of four rows (of A) or columns (of B) in the tile. */
  quads: number;
  /** Threads along them. */
  width: number;
  /** Vectors that each of those threads reads of a line. */
  groups: number;
  /** Whether a line of memory runs along K, or along m or n. */
  lines: "along K" | "across K";
  /** The vectors of the matrix in memory. */
  stored: Vector;
  /** The vectors of the slab in shared memory. */
  slab: Vector;
  /** Blocks of 4 x 4 elements that fill the slab. */
  items: number;
}

/** The items of one operand that threads take in one round of filling. */
interface Share {
  fill: Fill;
  /** The first thread with such an item. */
  thread: number;
  /** That thread's item. */
  item: number;
  count: number;
}

/** A round of filling: each thread takes at most one item, of A or of B. */
interface Round {
  shares: Share[];
  /** The vectors in which threads hold their items: f16 where all of the round's are. */
  registers: Vector;
}

/** What the parts of a program need to know of it. */
interface TiledProgram {
  rows: number;
  cols: number;
  depth: number;
  threads: number;
  a: Fill;
  b: Fill;
  rounds: Round[];
  residual: boolean;
}

/**
 * The program of one product; the uniform values are {@linkcode GPU_PARAMS}. With `residual`, D is added
 * before C is rounded.
 */
export function tiledProgram(
  product: Product,
  operands: Operands,
  choice: MatmulChoice,
  residual: boolean,
): Program {
  const program = layOut(product, operands, choice, residual);
  const { rows, cols, depth, threads, a, b, rounds } = program;
  const w = new WgslWriter();
  w.const("ROWS", rows);
  w.const("COLUMNS", cols);
  w.const("DEPTH", depth);
  w.const("THREADS", threads);
  declareConstants(w, program);
  w.uniforms("p", GPU_PARAMS);
  bindBuffers(w, { a: a.stored, b: b.stored, c: operands.c }, residual);
  declareSlab(w, a);
  declareSlab(w, b);
  declareItems(w, program);
  declareBlocks(w, program);
  for (const fill of [a, b]) {
    declareLoad(w, fill);
    for (const registers of registersOf(fill, rounds)) declareStore(w, fill, registers);
  }
  declareStores(w, operands.c, residual);
  declareStoresWithin(w, residual);
  w.main("THREADS", { group: "workgroup_id", t: "local_invocation_index" }, () => {
    const tile = tilePlace(choice.order, "group");
    w.line(`
      let m0 = ${tile.row} * ROWS;
      let n0 = ${tile.column} * COLUMNS;
    `);
    findThread(w, b);
    assignItems(w, program);
    findColumns(w, depth);
    declareSums(w, program);
    w.blank().line(`
      let begin = group.z * p.part_length;
      let end = min(begin + p.part_length, 4u * p.k_vectors);
    `);
    loadSlab(w, program, "begin");
    storeSlab(w, program, "0u");
    w.line("workgroupBarrier();", "var stage = 0u;");
    w.for("var k = begin; k < end; k += DEPTH", () => {
      w.line("let next = k + DEPTH;");
      w.if("next < end", () => loadSlab(w, program, "next"));
      multiplySlab(w, program);
      w.if("next < end", () => storeSlab(w, program, "1u - stage"));
      w.line("workgroupBarrier();", "stage = 1u - stage;");
    });
    storeTile(w, program);
  });
  return w.program();
}

/** Declares how items lie in a slab. */
function declareConstants(w: WgslWriter, { a, b, depth }: TiledProgram): void {
  w.comment(
    "Vectors of four values of K in a slab, and how much each turns the columns of its lines.",
  );
  w.const("K_QUADS", depth / 4);
  w.const("TURN", 32 / depth);
  for (const { name, quads, width, groups } of [a, b]) {
    const what = name === "A" ? "rows" : "columns";
    w.comment(
      `${name}: vectors of four ${what} in the tile; of those in a line; lines for each K.`,
    );
    w.const(`${name}_QUADS`, quads);
    w.const(`${name}_WIDTH`, width);
    w.const(`${name}_GROUPS`, groups);
  }
}

/** Decides who does what. */
function layOut(
  product: Product,
  { a, b }: Operands,
  { tile, depth, half }: MatmulChoice,
  residual: boolean,
): TiledProgram {
  const { rows, cols } = tileSize(tile);
  const fill = (name: Fill["name"], extent: number, lines: Fill["lines"]): Fill => {
    const stored = vectorOf(name === "A" ? a : b);
    const quads = extent / 4;
    const width = threadsAlong(extent);
    return {
      name,
      letter: name === "A" ? "a" : "b",
      quads,
      width,
      groups: quads / width,
      lines,
      stored,
      slab: half ? stored : "vec4f",
      items: quads * depth / 4,
    };
  };
  const A = fill("A", rows, product === "TN" ? "across K" : "along K");
  const B = fill("B", cols, product === "NT" ? "along K" : "across K");
  const threads = A.width * B.width;
  const rounds = dealOut([A, B], threads);
  return { rows, cols, depth, threads, a: A, b: B, rounds, residual };
}

/** Deals the items of A, then of B, out to rounds of so many threads. */
function dealOut(fills: readonly Fill[], threads: number): Round[] {
  const rounds: Round[] = [];
  let round: Round = { shares: [], registers: "vec4f" };
  let used = threads;
  for (const fill of fills) {
    let item = 0;
    while (item < fill.items) {
      if (used === threads) {
        round = { shares: [], registers: fill.stored };
        rounds.push(round);
        used = 0;
      }
      const count = Math.min(threads - used, fill.items - item);
      round.shares.push({ fill, thread: used, item, count });
      if (round.registers !== fill.stored) round.registers = "vec4f";
      used += count;
      item += count;
    }
  }
  return rounds;
}

/** Writes each share's code for the threads that it belongs to. */
function inThreads(
  w: WgslWriter,
  { shares }: Round,
  threads: number,
  code: (share: Share) => void,
): void {
  const write = ([share, ...others]: readonly Share[]): void => {
    if (!share) return;
    const end = share.thread + share.count;
    if (end === threads) code(share); // all threads that are left
    else w.if(`t < ${end}u`, () => code(share), others.length ? () => write(others) : undefined);
  };
  write(shares);
}

/** The types in which a fill's items are held: one per round that has any. */
function registersOf(fill: Fill, rounds: readonly Round[]): Set<Vector> {
  const has = ({ shares }: Round) => shares.some((share) => share.fill === fill);
  return new Set(rounds.filter(has).map(({ registers }) => registers));
}

/** Declares an operand's two slabs in shared memory: [stage][k and group][thread along the tile]. */
function declareSlab(w: WgslWriter, { name, letter, slab }: Fill): void {
  const line = `array<${slab}, ${name}_WIDTH>`;
  w.workgroup(`slab_${letter}`, `array<array<${line}, DEPTH * ${name}_GROUPS>, 2>`);
}

/** Declares where an item lies: `item_of_a(i, m0)` and `item_of_b(i, n0)`. */
function declareItems(w: WgslWriter, { a, b }: TiledProgram): void {
  w.blank().comment(`
    A block of 4 x 4 elements on its way: its first vector in memory where K begins, which four
    values of K of a slab it holds, and its first line and its column in shared memory.
  `);
  w.struct("Item", { first: "u32", k_quad: "u32", line: "u32", column: "u32" });
  for (const { name, letter, lines } of [a, b]) {
    const [origin, end] = letter === "a" ? ["m0", "p.m_padded"] : ["n0", "p.n_padded"];
    const begin = letter === "a" ? "" : "p.b_first + ";
    w.fn(`item_of_${letter}(i: u32, ${origin}: u32) -> Item`, () => {
      if (lines === "along K") {
        w.line("let k_quad = i % K_QUADS;", "let quad = i / K_QUADS;");
      } else {
        w.line(`let quad = i % ${name}_QUADS;`, `let k_quad = i / ${name}_QUADS;`);
      }
      w.line(`let at = min(${origin} + 4u * quad, ${end} - 4u);`);
      w.line(
        lines === "along K"
          ? `let first = ${begin}at * 8u;`
          : `let first = ${begin}((at >> 5u) * p.${letter}_stride + 4u * k_quad) * 8u + ((at >> 2u) & 7u);`,
      );
      w.line(
        `let line = 4u * k_quad * ${name}_GROUPS + quad / ${name}_WIDTH;`,
        `let column = (quad % ${name}_WIDTH) ^ (k_quad * TURN);`,
        "return Item(first, k_quad, line, column);",
      );
    });
  }
}

/** Declares blocks in registers, and what transposes and widens them, as far as the program does. */
function declareBlocks(w: WgslWriter, { a, b, rounds }: TiledProgram): void {
  const fills = [a, b];
  const held = new Set([...fills.map(({ stored }) => stored), ...rounds.map((r) => r.registers)]);
  for (const type of held) {
    const { struct, transposed } = BLOCKS[type];
    w.struct(struct, { v0: type, v1: type, v2: type, v3: type });
    const transposes = fills.some((fill) =>
      fill.lines === "along K" && registersOf(fill, rounds).has(type)
    );
    if (!transposes) continue;
    w.fn(`${transposed}(block: ${struct}) -> ${struct}`, () => {
      const vectors = FOUR.map((j) => `block.v${j}`);
      const rows = FOUR.map((j) => `  ${gathered(type, vectors, j)},`);
      w.line([`return ${struct}(`, ...rows, ");"].join("\n"));
    });
  }
  if (fills.some((fill) => fill.stored === "vec4h" && registersOf(fill, rounds).has("vec4f"))) {
    const widened = FOUR.map((j) => `vec4f(block.v${j})`);
    w.fn("widened(block: HalfBlock) -> Block", `return Block(${widened.join(", ")});`);
  }
}

/** Declares `load_a` or `load_b`: an item's block at the slab of K that begins at k. */
function declareLoad(w: WgslWriter, { name, letter, lines, stored }: Fill): void {
  const { struct } = BLOCKS[stored];
  w.fn(`load_${letter}(item: Item, k: u32) -> ${struct}`, () => {
    if (lines === "along K") {
      w.line(
        "let vector = k / 4u + item.k_quad;",
        `let at = item.first + (vector >> 3u) * p.${letter}_stride * 8u + (vector & 7u);`,
      );
    } else {
      w.line("let at = item.first + k * 8u;");
    }
    w.line(`return ${struct}(${FOUR.map((j) => `${name}[${plus("at", 8 * j)}]`).join(", ")});`);
  });
}

/** What stores a block that is held in such registers. */
const storeName = ({ letter, stored }: Fill, registers: Vector): string =>
  registers === stored ? `store_${letter}` : `store_widened_${letter}`;

/** Declares what stores a block into a stage of shared memory, one vector per value of K. */
function declareStore(w: WgslWriter, fill: Fill, registers: Vector): void {
  const { letter, groups, lines, slab } = fill;
  const { struct, transposed } = BLOCKS[registers];
  w.fn(`${storeName(fill, registers)}(stage: u32, item: Item, block: ${struct})`, () => {
    w.line(`let by_k = ${lines === "along K" ? `${transposed}(block)` : "block"};`);
    for (const j of FOUR) {
      const value = slab === registers ? `by_k.v${j}` : `${slab}(by_k.v${j})`;
      w.line(`slab_${letter}[stage][${plus("item.line", j * groups)}][item.column] = ${value};`);
    }
  });
}

/** Finds where in the tile a thread's elements begin, in vectors of four rows and columns. */
function findThread(w: WgslWriter, { width }: Fill): void {
  w.line(`
    // The thread's place in the tile, in vectors of four: 32 threads (a warp) cover 4 x 8 of them.
    const WARPS_ACROSS = ${width / 8}u;
    let lane = t % 32u;
    let warp = t / 32u;
    let thread_column = warp % WARPS_ACROSS * 8u + lane / 2u % 8u;
    let thread_row = warp / WARPS_ACROSS * 4u + lane / 16u * 2u + lane % 2u;
  `);
}

/** Gives each thread its item of each round. */
function assignItems(w: WgslWriter, { rounds, threads }: TiledProgram): void {
  w.blank().comment("The items that this thread brings into shared memory, and their values.");
  rounds.forEach((round, index) => {
    w.line(`var item${index}: Item;`);
    inThreads(w, round, threads, ({ fill: { letter }, thread, item }) => {
      const i = item < thread ? `t - ${thread - item}u` : plus("t", item - thread);
      w.line(`item${index} = item_of_${letter}(${i}, ${letter === "a" ? "m0" : "n0"});`);
    });
    w.line(`var block${index}: ${BLOCKS[round.registers].struct};`);
  });
}

/** Finds the columns that a thread reads of a slab, which are turned for each four values of K. */
function findColumns(w: WgslWriter, depth: number): void {
  w.comment("The columns of a slab's lines that it reads, for each four values of K.");
  for (const kQuad of range(depth / 4)) {
    w.line(
      `let a_column${kQuad} = thread_row ^ (${kQuad}u * TURN);`,
      `let b_column${kQuad} = thread_column ^ (${kQuad}u * TURN);`,
    );
  }
}

/** The sum of row `row` of the thread and its vector `group` of four columns. */
const sumName = (row: number, group: number): string => `sum${row}_${group}`;

/** The rows of a thread. */
const rowsOfThread = ({ a }: TiledProgram): number[] => range(4 * a.groups);

function declareSums(w: WgslWriter, program: TiledProgram): void {
  w.comment("Its sums: sum{row}_{vector of four columns}.");
  for (const row of rowsOfThread(program)) {
    for (const group of range(program.b.groups)) w.line(`var ${sumName(row, group)} = vec4f();`);
  }
}

/** Loads the threads' items of the slab that begins at k into registers. */
function loadSlab(w: WgslWriter, { rounds, threads }: TiledProgram, k: string): void {
  rounds.forEach((round, index) => {
    inThreads(w, round, threads, ({ fill: { letter, stored } }) => {
      const block = `load_${letter}(item${index}, ${k})`;
      w.line(`block${index} = ${stored === round.registers ? block : `widened(${block})`};`);
    });
  });
}

/** Stores the registers into a stage of shared memory. */
function storeSlab(w: WgslWriter, { rounds, threads }: TiledProgram, stage: string): void {
  rounds.forEach((round, index) => {
    inThreads(w, round, threads, ({ fill }) => {
      w.line(`${storeName(fill, round.registers)}(${stage}, item${index}, block${index});`);
    });
  });
}

/** Multiplies the present stage: one outer product of a thread's rows and columns per value of K. */
function multiplySlab(w: WgslWriter, program: TiledProgram): void {
  const { a, b, depth } = program;
  for (const k of range(depth)) {
    w.block("", () => {
      for (const { letter, groups, slab } of [a, b]) {
        for (const group of range(groups)) {
          const column = `${letter}_column${Math.floor(k / 4)}`;
          const vector = `slab_${letter}[stage][${k * groups + group}u][${column}]`;
          w.line(`let ${letter}${group} = ${slab === "vec4f" ? vector : `vec4f(${vector})`};`);
        }
      }
      for (const row of rowsOfThread(program)) {
        const element = component(`a${Math.floor(row / 4)}`, row % 4);
        for (const group of range(b.groups)) {
          const sum = sumName(row, group);
          w.line(`${sum} = fma(vec4f(${element}), b${group}, ${sum});`);
        }
      }
    });
  }
}

/**
 * Declares `put_within` and `add_within`: a vector of sums goes to row m, columns n to n + 3 of C, or
 * of a part's sums, unless that is beyond the matrix.
 */
function declareStoresWithin(w: WgslWriter, residual: boolean): void {
  w.fn(
    "vector_at(row: u32, column: u32, stride: u32) -> u32",
    "return ((column >> 5u) * stride + row) * 8u + ((column >> 2u) & 7u);",
  );
  for (const add of [false, true]) {
    w.fn(`${add ? "add" : "put"}_within(part: u32, m: u32, n: u32, sum: vec4f)`, () => {
      w.if("m < p.m && n < p.n_padded", () => {
        const place = {
          at: "part * p.part_vectors + vector_at(m, n, p.c_stride)",
          dAt: "vector_at(m, n, p.d_stride)",
          sum: "sum",
        };
        w.line(storeSum(add, place, residual));
      });
    });
  }
}

function storeTile(w: WgslWriter, program: TiledProgram): void {
  const { a, b } = program;
  w.blank().line(`
    let m = m0 + 4u * thread_row;
    let n = n0 + 4u * thread_column;
  `);
  storeOrAdd(w, (add) => {
    for (const row of rowsOfThread(program)) {
      for (const group of range(b.groups)) {
        const m = plus("m", 4 * a.width * Math.floor(row / 4) + row % 4);
        const n = plus("n", 4 * b.width * group);
        const store = add ? "add_within" : "put_within";
        w.line(`${store}(group.z, ${m}, ${n}, ${sumName(row, group)});`);
      }
    }
  });
}
