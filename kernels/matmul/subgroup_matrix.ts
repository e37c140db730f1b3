/**
 * Matrix products on tensor cores, for GPUs whose WebGPU has subgroup matrices (see
 * matrix_units.ts): f16 in, f32 sums, where precision is mixed.
 *
 * - A workgroup's subgroups share a block of C; each holds 32 to 64 rows by 32 to 64 columns of it in
 *   result matrices.
 * - K goes in slabs of 32, a panel's width: a slab of either operand is chunks of 32 x 32 that lie in
 *   one piece in memory, whichever way it is transposed, and in shared memory at 80 bytes a line, so
 *   that eight lines meet no bank twice. Transposing costs nothing: matrices load by rows or columns.
 * - Matrices may also be loaded straight from storage, whose panels are as good a place.
 * - The next slab is on its way into registers while this one is multiplied. With one stage of shared
 *   memory two barriers a slab, with two one.
 * - Every load is at a constant place of a chunk: compilers that guard each access need not.
 * - An f32 operand is split into two f16, together exact to 22 bits, and multiplied twice (two such
 *   operands: three times). Its `exponent` keeps values beyond f16's range in it.
 * - Whole blocks of f32 go to C directly; edges, f16, sums and residuals by way of shared memory.
 *
 * An output is summed over K in order, in steps of the units' K, whatever the tile and stages: all
 * choices give the same bits, but not those of other programs.
 * @module
 */
import { enableHalf, vectorOf } from "../wgsl/mod.ts";
import { type MatmulChoice, tileExtents, tileIndices } from "./choice.ts";
import { matrixOperations, type MatrixUnits } from "./matrix_units.ts";
import type { Operands, Product } from "./mod.ts";
import { CHUNK, LINE, partsOf, subgroupGrid, UNIT_DEPTH, unitThreads } from "./unit_choice.ts";

const range = (n: number) => Array.from({ length: n }, (_, i) => i);

/** One operand as the program sees it. */
interface Side {
  name: "A" | "B";
  /** Rows (of A) or columns (of B) of the tile and of a subgroup's block. */
  extent: number;
  own: number;
  /** Of a matrix, along that extent. */
  size: number;
  /** Which subgroup of that extent. */
  place: string;
  /** Whether a panel runs along K ("rows": its lines are rows of A or columns of B). */
  lines: "rows" | "columns";
  parts: number;
  half: boolean;
  /** What values are divided by. */
  scale: number;
  /** Its first chunk in a stage of shared memory. */
  chunk: number;
}

/**
 * WGSL of one product; parameters and bindings are those of tiled.ts. `choice.depth` is
 * {@linkcode UNIT_DEPTH}.
 */
export function subgroupMatrixProgram(
  product: Product,
  { a, b, c }: Operands,
  choice: MatmulChoice,
  residual: boolean,
  units: MatrixUnits,
): string {
  const { tile, order, stages = 1 } = choice, { rows, cols } = tileExtents(tile);
  const [down, across] = subgroupGrid(choice), threads = unitThreads(choice, units);
  const ops = matrixOperations(units), code: string[] = [];
  const side = (name: "A" | "B", stored: Operands["a"], chunk: number): Side => ({
    name,
    extent: name === "A" ? rows : cols,
    own: name === "A" ? rows / down : cols / across,
    size: name === "A" ? units.m : units.n,
    place: name === "A" ? "sm" : "sn",
    lines: product === (name === "A" ? "TN" : "NN") || product === "TN" ? "columns" : "rows",
    parts: partsOf(stored),
    half: stored.type === "f16",
    scale: 2 ** (stored.type ? 0 : stored.exponent ?? 0),
    chunk,
  });
  const A = side("A", a, 0), B = side("B", b, A.parts * rows / 32), sides = [A, B];
  const direct = stages === 0, unscale = A.scale * B.scale;
  const chunks = direct ? down * across : B.chunk + B.parts * cols / 32;

  // Each thread's items: a vector of 8 values of a chunk, 128 to a chunk, in memory's own order.
  const items = direct
    ? []
    : sides.flatMap((s) => range(s.extent * 4 / threads).map((j) => ({ s, j })));
  const begins = (s: Side) => {
    const [from, stride, origin, end] = s.name === "A"
      ? ["p.a0", "p.ra", "m0", "p.m_padded"]
      : ["p.b0", "p.rb", "n0", "p.n_padded"];
    return { from, origin, end, start: s.lines === "rows" ? "first" : `(first >> 5u) * ${stride}` };
  };
  items.forEach(({ s, j }, i) => {
    const { from, start, origin, end } = begins(s);
    code.push(`let item${i} = t + ${j * threads}u; let chunk${i} = ${s.chunk}u + item${i} / 128u;
let line${i} = item${i} % 128u / 4u * ${LINE}u + item${i} % 4u; var from${i}: u32;
{ let first = min(${origin} + item${i} / 128u * 32u, ${end} - 32u);
from${i} = ${from} / 2u + ${start} * 4u + item${i} % 128u; }`);
    code.push(s.half ? `var r${i}: vec4u;` : `var r${i}: vec4f; var q${i}: vec4f;`);
  });
  // Without stages, where each 32 lines of a subgroup's own begin.
  for (const s of direct ? sides : []) {
    const { from, start, origin, end } = begins(s);
    for (const i of range(s.own / 32)) {
      code.push(`var ${s.name.toLowerCase()}_from${i}: u32;
{ let first = min(${origin} + ${s.place} * ${s.own}u + ${32 * i}u, ${end} - 32u);
${s.name.toLowerCase()}_from${i} = ${from} / 2u + ${start} * 4u; }`);
    }
  }
  const along = (k: string) =>
    `let ka = ${A.lines === "rows" ? `(${k} >> 5u) * p.ra` : k} * 4u;
let kb = ${B.lines === "rows" ? `(${k} >> 5u) * p.rb` : k} * 4u;`;
  const load = (k: string) =>
    `{ ${along(k)}
${
      items.map(({ s: { name, half } }, i) => {
        const at = `from${i} + k${name.toLowerCase()}`;
        return half
          ? `r${i} = ${name}[${at}];`
          : `r${i} = ${name}[2u * (${at})]; q${i} = ${name}[2u * (${at}) + 1u];`;
      }).join("\n")
    } }`;
  const put = (stage: string) =>
    items.map(({ s }, i) => {
      const at = `[${stage}chunk${i}][line${i}]`;
      if (s.half) return `s${at} = r${i};`;
      const scale = s.scale === 1 ? "" : ` * ${1 / s.scale}`;
      return `{ let x = r${i}${scale}; let y = q${i}${scale}; let high = halves(x, y); s${at} = high;
s[${stage}chunk${i} + ${s.extent / 32}u][line${i}] = halves(x - first(high), y - second(high)); }`;
    }).join("\n");

  const A_BLOCKS = range(A.own / units.m), B_BLOCKS = range(B.own / units.n);
  for (const i of A_BLOCKS) for (const j of B_BLOCKS) code.push(ops.zero(`c${i}_${j}`));
  /** Matrix `block` of a subgroup's part of a slab, at step `kk` of K. */
  const fetch = (s: Side, part: number, block: number, kk: string, stage: string) => {
    const at = block * s.size, within = at % 32, rows = s.lines === "rows";
    const chunk = s.chunk + part * s.extent / 32 + Math.floor(at / 32), x = s.name.toLowerCase();
    const line = direct ? 4 : LINE, skip = within * (rows ? line : 1 / 8);
    const place = `${kk} * ${units.k / 8 * (rows ? 1 : 8 * line)}u + ${skip}u`;
    return ops.load(`${x}${part}_${block}`, s.name === "A" ? "left" : "right", {
      array: direct ? s.name : `s[${stage}${s.place} * ${s.own / 32}u + ${chunk}u]`,
      offset: direct ? `${x}_from${Math.floor(at / 32)} + k${x} + ${place}` : place,
      stride: line,
      // A's lines are its rows, B's are its columns, unless panels run along m and n.
      columns: rows !== (s.name === "A"),
    });
  };
  const step = (kk: string, stage: string) => {
    const lines = range(A.parts).flatMap((p) => A_BLOCKS.map((i) => fetch(A, p, i, kk, stage)));
    for (const j of B_BLOCKS) {
      lines.push(...range(B.parts).map((p) => fetch(B, p, j, kk, stage)));
      for (const pa of range(A.parts)) {
        // What both roundings left is below the last bit of the sum.
        for (const pb of range(B.parts).filter((pb) => pa + pb < 2)) {
          for (const i of A_BLOCKS) {
            lines.push(ops.multiply(`c${i}_${j}`, `a${pa}_${i}`, `b${pb}_${j}`));
          }
        }
      }
    }
    return `{ ${lines.join("\n")} }`;
  };
  // Unrolled where it is short, so that the places are constants. Not for CPU drivers, which would
  // take minutes to compile it.
  const steps = UNIT_DEPTH / units.k;
  const multiply = (stage: string) =>
    steps > 2 || units.emulated
      ? `for (var kk = 0u; kk < ${steps}u; kk++) ${step("kk", stage)}`
      : range(steps).map((kk) => step(`${kk}u`, stage)).join("\n");

  code.push("let begin = w.z * p.part; let end = min(begin + p.part, 4u * p.k4);");
  if (!direct) code.push(load("begin"));
  const slabs =
    `for (var k0 = begin; k0 < end; k0 += ${UNIT_DEPTH}u) { let next = k0 + ${UNIT_DEPTH}u;`;
  if (direct) code.push(slabs, along("k0"), multiply(""), "}");
  else if (stages === 1) {
    code.push(
      slabs,
      "workgroupBarrier();",
      put(""),
      "workgroupBarrier();",
      `if (next < end) ${load("next")}`,
      multiply(""),
      "}",
    );
  } else {
    code.push(
      `var stage = 0u;`,
      put(""),
      "workgroupBarrier();",
      slabs,
      `if (next < end) ${load("next")}`,
      multiply("stage + "),
      `stage = ${chunks}u - stage;`,
      `if (next < end) { ${put("stage + ")} }`,
      "workgroupBarrier();",
      "}",
    );
  }
  code.push(write(), "");

  /** Stores of a subgroup's results. */
  function write(): string {
    const C = vectorOf(c), all = A_BLOCKS.flatMap((i) => B_BLOCKS.map((j) => ({ i, j })));
    const factor = unscale === 1 ? "" : ` * ${unscale}`;
    const whole = all.map(({ i, j }) =>
      ops.store(`c${i}_${j}`, {
        array: "C",
        offset: `at + ${(j * units.n >> 5)}u * p.rc * 8u + ${
          i * units.m * 8 + j * units.n % 32 / 4
        }u`,
        stride: 8,
        columns: false,
      })
    ).join("\n");
    // A subgroup's strip of 16 rows by one panel takes its own chunk of shared memory.
    const strips = range(A.own / 16).flatMap((strip) =>
      range(B.own / 32).map((panel) => {
        const inside = all.filter(({ i, j }) =>
          i * units.m >> 4 === strip && j * units.n >> 5 === panel
        );
        return `${
          inside.map(({ i, j }) =>
            ops.store(`c${i}_${j}`, {
              array: "s[sg]",
              offset: `${i * units.m % 16 * 2 * LINE + j * units.n % 32 / 4}u`,
              stride: 2 * LINE,
              columns: false,
            })
          ).join("\n")
        }
workgroupBarrier();
for (var v = lane; v < 128u; v += ${units.lanes}u) {
  let m = row + ${16 * strip}u + v / 8u; let n = column + ${32 * panel}u + v % 8u * 4u;
  if (m < p.m && n < p.n_padded) {
    let at = w.z * p.slab + ((n >> 5u) * p.rc + m) * 8u + v % 8u;
    var x = bitcast<vec4f>(s[sg][v / 8u * ${2 * LINE}u + v % 8u])${factor};
    ${residual ? "x += D[((n >> 5u) * p.rd + m) * 8u + v % 8u];" : ""}
    if (p.accumulate != 0u) { x += vec4f(C[at]); }
    C[at] = ${C}(x);
  }
}
workgroupBarrier();`;
      })
    ).join("\n");
    const place = `let row = m0 + sm * ${A.own}u; let column = n0 + sn * ${B.own}u;`;
    if (c.type || residual || unscale !== 1) return `${place}\nworkgroupBarrier();\n${strips}`;
    return `${place}
if (m0 + ${rows}u <= p.m && n0 + ${cols}u <= p.n_padded && p.accumulate == 0u) {
let at = w.z * p.slab + ((column >> 5u) * p.rc + row) * 8u;
${whole}
} else {
workgroupBarrier();
${strips}
}`;
  }
  const stored = (s: Side) => s.half ? "vec4u" : "vec4f";
  return `${ops.enables(enableHalf(c) !== "")}
struct P { m: u32, k4: u32, ra: u32, rb: u32, rc: u32, a0: u32, b0: u32, accumulate: u32,
  m_padded: u32, n_padded: u32, part: u32, slab: u32, rd: u32, unused0: u32, unused1: u32, unused2: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> A: array<${stored(A)}>;
@group(0) @binding(2) var<storage, read> B: array<${stored(B)}>;
@group(0) @binding(3) var<storage, read_write> C: array<${vectorOf(c)}>;
${residual ? "@group(0) @binding(4) var<storage, read> D: array<vec4f>;" : ""}
var<workgroup> s: array<array<vec4u, ${CHUNK}>, ${chunks * (stages || 1)}>;
${ops.declarations}
fn halves(x: vec4f, y: vec4f) -> vec4u {
  return vec4u(pack2x16float(x.xy), pack2x16float(x.zw), pack2x16float(y.xy), pack2x16float(y.zw));
}
fn first(h: vec4u) -> vec4f { return vec4f(unpack2x16float(h.x), unpack2x16float(h.y)); }
fn second(h: vec4u) -> vec4f { return vec4f(unpack2x16float(h.z), unpack2x16float(h.w)); }
@compute @workgroup_size(${threads})${ops.attributes}
fn main(@builtin(workgroup_id) w: vec3u, ${ops.builtins}) {
${ops.head}
${tileIndices(order, "w")} let m0 = tm * ${rows}u; let n0 = tn * ${cols}u;
let sm = sg / ${across}u; let sn = sg % ${across}u;
${code.join("\n")}
}`;
}
