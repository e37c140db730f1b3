/**
 * Matrix products for GPUs: 64 to 256 threads compute a block of C through shared memory, a slab of K
 * at a time. A thread owns 8 or 16 rows by 8 or 16 columns, in groups of 4 that lie 32 or 64 apart.
 *
 * - The next slab is loaded into registers while this one is multiplied, then stored into the other
 *   half of shared memory: one barrier a slab.
 * - A slab is K-major: vector (k, group, thread column). 32 neighbouring threads are 4 rows x 8
 *   columns of the block, dealt out in pairs of rows: of 16 threads each two next to each other read
 *   the same vector of B, all eight columns 128 bytes in a row, and each two that are two apart the
 *   same vector of A. Hardware that serves 16 threads at once where such pairs agree (NVIDIA's, as
 *   CUTLASS relies on) then reads each operand in one go.
 * - Both fills load whole lines of memory. Where an operand's lines run along K, a thread transposes
 *   4 x 4 values; its place in the slab is turned by the K it holds, or all would meet in one bank.
 * - Indices that vary are the outer ones and constant in the loop: compilers that clamp every index
 *   then do so once.
 * - Rows and columns beyond the matrix repeat its last: their sums are never stored.
 *
 * Each output is summed over k in order by fma, whatever the tile: see choice.ts.
 * @module
 */
import { enableHalf, vectorOf } from "../wgsl/mod.ts";
import { type MatmulChoice, tileExtents, tileIndices } from "./choice.ts";
import type { Operands, Product } from "./mod.ts";

/** Threads along a tile's rows or columns: 8 values each, or 16 where that would be more than 16 threads. */
const threadsAlong = (extent: number) => Math.min(16, extent / 8);

const range = (n: number) => Array.from({ length: n }, (_, i) => i);

/** One operand's part in filling a slab. */
interface Fill {
  name: "A" | "B";
  /** Vectors of 4 rows (of A) or columns (of B) in the tile, and threads along them. */
  quads: number;
  width: number;
  /** Vectors of a thread. */
  groups: number;
  /** Whether lines run along K ("rows") or along m or n. */
  layout: "rows" | "columns";
  stored: "vec4f" | "vec4h";
  /** In shared memory. */
  slab: "vec4f" | "vec4h";
  /** Blocks of 4 x 4 values that a slab takes: the threads' work items. */
  items: number;
}

/** A round of filling in which each thread has at most one item. */
interface Round {
  /** Each part's first thread and first item. */
  parts: { fill: Fill; thread: number; item: number; count: number }[];
  registers: "vec4f" | "vec4h";
}

/** Deals the items of A, then of B, out to rounds of so many threads. */
function rounds(fills: Fill[], threads: number): Round[] {
  const out: Round[] = [];
  let used = threads;
  for (const fill of fills) {
    for (let item = 0; item < fill.items;) {
      if (used === threads) {
        out.push({ parts: [], registers: fill.stored });
        used = 0;
      }
      const count = Math.min(threads - used, fill.items - item), round = out.at(-1)!;
      round.parts.push({ fill, thread: used, item, count });
      if (round.registers !== fill.stored) round.registers = "vec4f";
      used += count;
      item += count;
    }
  }
  return out;
}

/** Runs each part's code in its own threads; `code` sees the part. */
function inThreads(
  round: Round,
  threads: number,
  code: (part: Round["parts"][number]) => string,
): string {
  const { parts } = round, last = parts.at(-1)!, whole = last.thread + last.count === threads;
  return parts.map((part, i) => {
    const end = part.thread + part.count, open = i === parts.length - 1 && whole;
    const test = open ? "" : `if (t < ${end}u) `;
    return `${i ? "else " : ""}${test}{ ${code(part)} }`;
  }).join(" ");
}

/**
 * WGSL of one product. Parameters: see mod.ts. With `residual`, D is read at binding 4 and added
 * before C is rounded.
 */
export function tiledProgram(
  product: Product,
  { a, b, c }: Operands,
  { tile, order, depth, half }: MatmulChoice,
  residual = false,
): string {
  const { rows, cols } = tileExtents(tile), kQuads = depth / 4, turn = 8 / kQuads;
  const C = vectorOf(c), code: string[] = [];
  const fill = (name: "A" | "B", extent: number, layout: Fill["layout"]): Fill => {
    const stored = vectorOf(name === "A" ? a : b), quads = extent / 4;
    const slab = half ? stored : "vec4f", width = threadsAlong(extent);
    const items = quads * kQuads;
    return { name, quads, width, groups: quads / width, layout, stored, slab, items };
  };
  const A = fill("A", rows, product === "TN" ? "columns" : "rows");
  const B = fill("B", cols, product === "NT" ? "rows" : "columns");
  const threads = A.width * B.width, all = rounds([A, B], threads), perThread = 4 * A.groups;

  // Where each round's item begins in memory (from), which K it holds and where it goes.
  all.forEach((round, s) => {
    code.push(`var from${s} = 0u; var kq${s} = 0u; var place${s} = 0u; var column${s} = 0u;`);
    code.push(inThreads(round, threads, ({ fill, thread, item }) => {
      const { name, quads, width, groups, layout } = fill, x = name === "A" ? "a" : "b";
      const from = `p.${x}0`, stride = `p.r${x}`;
      const [origin, end] = name === "A" ? ["m0", "p.m_padded"] : ["n0", "p.n_padded"];
      const deal = layout === "rows"
        ? `kq${s} = i % ${kQuads}u; let quad = i / ${kQuads}u;`
        : `let quad = i % ${quads}u; kq${s} = i / ${quads}u;`;
      const start = layout === "rows"
        ? `from${s} = ${from} + at * 8u;`
        : `from${s} = ${from} + ((at >> 5u) * ${stride} + 4u * kq${s}) * 8u + ((at >> 2u) & 7u);`;
      return `let i = t - ${thread}u + ${item}u; ${deal} let at = min(${origin} + 4u * quad, ${end} - 4u);
${start} place${s} = 4u * kq${s} * ${groups}u + quad / ${width}u; column${s} = (quad % ${width}u) ^ (kq${s} * ${turn}u);`;
    }));
    for (const j of range(4)) code.push(`var r${s}_${j}: ${round.registers};`);
  });
  const load = (k: string) =>
    all.map((round, s) =>
      inThreads(round, threads, ({ fill: { name, layout, stored } }) => {
        const stride = name === "A" ? "p.ra" : "p.rb";
        const at = layout === "rows"
          ? `let k = ${k} / 4u + kq${s}; let at = from${s} + (k >> 3u) * ${stride} * 8u + (k & 7u);`
          : `let at = from${s} + ${k} * 8u;`;
        const value = (j: number) => {
          const x = `${name}[at + ${8 * j}u]`;
          return stored === round.registers ? x : `${round.registers}(${x})`;
        };
        return at + range(4).map((j) => ` r${s}_${j} = ${value(j)};`).join("");
      })
    ).join("\n");
  const store = (stage: string) =>
    all.map((round, s) =>
      inThreads(round, threads, ({ fill: { name, groups, layout, slab } }) =>
        range(4).map((j) => {
          const value = layout === "columns"
            ? `r${s}_${j}`
            : `${round.registers}(${range(4).map((i) => `r${s}_${i}.${"xyzw"[j]}`).join(", ")})`;
          return `s${name}[${stage}][place${s} + ${j * groups}u][column${s}] = ${
            slab === round.registers ? value : `${slab}(${value})`
          };`;
        }).join(" "))
    ).join("\n");

  for (const q of range(kQuads)) {
    code.push(`let ca${q} = ty ^ ${q * turn}u; let cb${q} = tx ^ ${q * turn}u;`);
  }
  for (const r of range(perThread)) {
    for (const g of range(B.groups)) code.push(`var c${r}_${g} = vec4f();`);
  }
  code.push(
    "let begin = w.z * p.part; let end = min(begin + p.part, 4u * p.k4);",
    load("begin"),
    store("0u"),
    "workgroupBarrier();",
    "var stage = 0u;",
    `for (var k0 = begin; k0 < end; k0 += ${depth}u) {`,
    `let next = k0 + ${depth}u;`,
    `if (next < end) { ${load("next")} }`,
  );
  for (const k of range(depth)) {
    const q = k >> 2,
      read = (f: Fill, column: string) =>
        range(f.groups).map((g) => {
          const x = `s${f.name}[stage][${k * f.groups + g}u][${column}]`;
          return `let ${f.name.toLowerCase()}${g} = ${f.slab === "vec4f" ? x : `vec4f(${x})`};`;
        });
    code.push("{", ...read(A, `ca${q}`), ...read(B, `cb${q}`));
    for (const r of range(perThread)) {
      for (const g of range(B.groups)) {
        code.push(`c${r}_${g} = fma(vec4f(a${r >> 2}.${"xyzw"[r & 3]}), b${g}, c${r}_${g});`);
      }
    }
    code.push("}");
  }
  code.push(
    `if (next < end) { ${store("1u - stage")} }`,
    "workgroupBarrier();",
    "stage = 1u - stage;",
    "}",
  );
  const put = (add: boolean) =>
    range(perThread).flatMap((r) =>
      range(B.groups).map((g) => {
        const sum = `c${r}_${g}`,
          d = residual ? ` + D[((n >> 5u) * p.rd + m) * 8u + ((n >> 2u) & 7u)]` : "";
        return `{ let m = m0 + ${4 * A.width * (r >> 2) + (r & 3)}u + 4u * ty; let n = n0 + ${
          4 * B.width * g
        }u + 4u * tx;
if (m < p.m && n < p.n_padded) { let at = w.z * p.slab + ((n >> 5u) * p.rc + m) * 8u + ((n >> 2u) & 7u);
C[at] = ${C}(${add ? "vec4f(C[at]) + " : ""}${sum}${d}); } }`;
      })
    ).join("\n");
  code.push(`if (p.accumulate != 0u) {\n${put(true)}\n} else {\n${put(false)}\n}`);
  const slab = ({ name, slab, width, groups }: Fill) =>
    `var<workgroup> s${name}: array<array<array<${slab}, ${width}>, ${depth * groups}>, 2>;`;
  const across = B.width / 8; // warps of 8 columns

  return `${enableHalf(a, b, c)}
struct P { m: u32, k4: u32, ra: u32, rb: u32, rc: u32, a0: u32, b0: u32, accumulate: u32,
  m_padded: u32, n_padded: u32, part: u32, slab: u32, rd: u32, unused0: u32, unused1: u32, unused2: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> A: array<${A.stored}>;
@group(0) @binding(2) var<storage, read> B: array<${B.stored}>;
@group(0) @binding(3) var<storage, read_write> C: array<${C}>;
${residual ? "@group(0) @binding(4) var<storage, read> D: array<vec4f>;" : ""}
${slab(A)}
${slab(B)}
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) t: u32) {
${tileIndices(order, "w")} let m0 = tm * ${rows}u; let n0 = tn * ${cols}u;
let lane = t % 32u; let warp = t / 32u;
let tx = warp % ${across}u * 8u + lane / 2u % 8u; let ty = warp / ${across}u * 4u + lane / 16u * 2u + lane % 2u;
${code.join("\n")}
}`;
}
