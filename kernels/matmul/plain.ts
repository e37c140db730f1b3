/**
 * Matrix products for CPU drivers without subgroups: one thread computes 16 x 16 outputs in
 * registers from storage buffers; no shared memory, whose barriers are slow on a CPU.
 * @module
 */
import { enableHalf, vectorOf } from "../wgsl/mod.ts";
import type { Operands, Product } from "./mod.ts";

const TILE = 16;
const four = [0, 1, 2, 3] as const;
const range = (n: number) => Array.from({ length: n }, (_, i) => i);

/** WGSL of one product; thread (x, y) of the grid takes tile row y, tile column x. */
export function plainProgram(
  product: Product,
  { a, b, c }: Operands,
  residual = false,
): string {
  const code: string[] = [], C = vectorOf(c);
  // Accumulators: c{r}_{q} is row r, columns 4q..4q+3 of the tile.
  for (const r of range(TILE)) for (const q of four) code.push(`var c${r}_${q} = vec4f();`);
  code.push("for (var k = 0u; k < p.k4; k += 1u) {");
  // Rows k..k+3 of B as vec4s along n: b{j}_{q}; for NT they come from 16 rows of B, transposed.
  if (product === "NT") {
    code.push("let kb = p.b0 + ((k >> 3u) * p.rb + n0) * 8u + (k & 7u);");
    for (const c of range(TILE)) code.push(`let y${c} = vec4f(B[kb + ${c * 8}u]);`);
    for (const j of four) {
      for (const q of four) {
        const parts = four.map((i) => `y${4 * q + i}.${"xyzw"[j]}`).join(", ");
        code.push(`let b${j}_${q} = vec4f(${parts});`);
      }
    }
  } else {
    code.push("let kb = p.b0 + ((n0 >> 5u) * p.rb + 4u * k) * 8u + ((n0 >> 2u) & 7u);");
    for (const j of four) {
      for (const q of four) code.push(`let b${j}_${q} = vec4f(B[kb + ${j * 8 + q}u]);`);
    }
  }
  // x{r}: row r of the tile at K 4k..4k+3.
  if (product === "TN") {
    code.push("let ka = p.a0 + ((m0 >> 5u) * p.ra + 4u * k) * 8u + ((m0 >> 2u) & 7u);");
    for (const j of four) {
      for (const q of four) code.push(`let a${j}_${q} = vec4f(A[ka + ${j * 8 + q}u]);`);
    }
    for (const r of range(TILE)) {
      const parts = four.map((j) => `a${j}_${r >> 2}.${"xyzw"[r & 3]}`).join(", ");
      code.push(`let x${r} = vec4f(${parts});`);
    }
  } else {
    code.push("let ka = p.a0 + ((k >> 3u) * p.ra + m0) * 8u + (k & 7u);");
    for (const r of range(TILE)) code.push(`let x${r} = vec4f(A[ka + ${r * 8}u]);`);
  }
  for (const r of range(TILE)) {
    for (const q of four) {
      const sum = four.map((j) => `x${r}.${"xyzw"[j]} * b${j}_${q}`).join(" + ");
      code.push(`c${r}_${q} += ${sum};`);
    }
  }
  code.push("}", "let at = ((n0 >> 5u) * p.rc + m0) * 8u + ((n0 >> 2u) & 7u);");
  if (residual) code.push("let at_d = ((n0 >> 5u) * p.rd + m0) * 8u + ((n0 >> 2u) & 7u);");
  const put = (at: number, sum: string, add: boolean) =>
    `C[at + ${at}u] = ${C}(${add ? `vec4f(C[at + ${at}u]) + ` : ""}${sum}${
      residual ? ` + D[at_d + ${at}u]` : ""
    });`;
  const store = (add: boolean) =>
    range(TILE).map((r) =>
      `if (m0 + ${r}u < p.m) { ${four.map((q) => put(r * 8 + q, `c${r}_${q}`, add)).join(" ")} }`
    ).join("\n");
  code.push(`if (p.accumulate != 0u) {\n${store(true)}\n} else {\n${store(false)}\n}`);
  return `${enableHalf(a, b, c)}
struct P { m: u32, k4: u32, ra: u32, rb: u32, rc: u32, a0: u32, b0: u32, accumulate: u32${
    residual ? ", rd: u32" : ""
  } }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> A: array<${vectorOf(a)}>;
@group(0) @binding(2) var<storage, read> B: array<${vectorOf(b)}>;
@group(0) @binding(3) var<storage, read_write> C: array<${C}>;
${residual ? "@group(0) @binding(4) var<storage, read> D: array<vec4f>;" : ""}
@compute @workgroup_size(2, 4)
fn main(@builtin(global_invocation_id) id: vec3u) {
let m0 = id.y * ${TILE}u; let n0 = id.x * ${TILE}u;
if (m0 >= p.m) { return; }
${code.join("\n")}
}`;
}

/** Rows and columns that one workgroup covers. */
export const PLAIN_WORKGROUP = { rows: TILE * 4, cols: TILE * 2 } as const;
