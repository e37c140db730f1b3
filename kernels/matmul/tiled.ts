/**
 * Matrix products for GPUs: a workgroup of 256 threads computes a TILE x TILE block through shared
 * memory, 16 values of K at a time. TILE 128 gives 8 x 8 outputs a thread; 64 gives 4 x 4, for small
 * outputs that would leave most of the GPU idle.
 * @module
 */
import { enableHalf, vectorOf } from "../wgsl.ts";
import { type MatmulChoice, tileIndices } from "./choice.ts";
import type { Operands, Product } from "./mod.ts";

/** Values of K that a pass through shared memory covers. */
const K_BLOCK = 16;
const range = (n: number) => Array.from({ length: n }, (_, i) => i);

/** WGSL of one product. TILE x 16 floats of A and of B are shared: 16 KiB for TILE 128. */
export function tiledProgram(
  product: Product,
  { a, b, c }: Operands,
  { tile, order }: MatmulChoice,
): string {
  const C = vectorOf(c);
  const quads = tile / 4, perThread = tile / 16, groups = perThread / 4;
  const items = quads * (K_BLOCK / 4); // 4 x 4 blocks of one operand's K slab
  const code: string[] = [];
  /**
   * Shared memory holds K-major slabs: sa[k * quads + quad], a vec4 along m (or n).
   * "rows": the operand's contiguous axis is K, so a thread loads a 4 x 4 block and transposes it.
   * "columns": the contiguous axis is m (or n): loads go straight through.
   */
  const fill = (name: string, shared: string, layout: "rows" | "columns", origin: string) => {
    const at = name === "A" ? "p.a0" : "p.b0", stride = name === "A" ? "p.ra" : "p.rb";
    const body = layout === "rows"
      ? `let quad = i % ${quads}u; let kq = i / ${quads}u; let k = k0 / 4u + kq;
let row = ${origin} + 4u * quad; let base = ${at} + ((k >> 3u) * ${stride} + row) * 8u + (k & 7u);
let limit = ${name === "A" ? "p.ra" : "p.rb"};
${
        range(4).map((j) =>
          `let r${j} = select(vec4f(), vec4f(${name}[base + ${8 * j}u]), row < limit);`
        ).join("\n")
      }
${
        range(4).map((j) =>
          `${shared}[(4u * kq + ${j}u) * ${quads}u + quad] = vec4f(r0.${"xyzw"[j]}, r1.${
            "xyzw"[j]
          }, r2.${"xyzw"[j]}, r3.${"xyzw"[j]});`
        ).join("\n")
      }`
      : `let quad = i % ${quads}u; let kq = i / ${quads}u; let col = ${origin} + 4u * quad;
let base = ${at} + ((col >> 5u) * ${stride} + k0 + 4u * kq) * 8u + ((col >> 2u) & 7u);
let inside = col < ${name === "A" ? "p.mPadded" : "p.nPadded"};
${
        range(4).map((j) =>
          `${shared}[(4u * kq + ${j}u) * ${quads}u + quad] = select(vec4f(), vec4f(${name}[base + ${
            8 * j
          }u]), inside);`
        ).join("\n")
      }`;
    return `for (var i = t; i < ${items}u; i += 256u) {\n${body}\n}`;
  };
  for (const r of range(perThread)) {
    for (const g of range(groups)) code.push(`var c${r}_${g} = vec4f();`);
  }
  code.push(
    `for (var k0 = 0u; k0 < 4u * p.k4; k0 += ${K_BLOCK}u) {`,
    fill("A", "sa", product === "TN" ? "columns" : "rows", "m0"),
    fill("B", "sb", product === "NT" ? "rows" : "columns", "n0"),
    "workgroupBarrier();",
    `for (var k = 0u; k < ${K_BLOCK}u; k++) {`,
  );
  // Thread (tx, ty) owns rows 4*ty + 64*g and columns 4*tx + 64*g: neighbours read neighbours.
  for (const g of range(groups)) {
    code.push(
      `let a${g} = sa[k * ${quads}u + ty + ${16 * g}u];`,
      `let b${g} = sb[k * ${quads}u + tx + ${16 * g}u];`,
    );
  }
  for (const r of range(perThread)) {
    for (const g of range(groups)) {
      code.push(`c${r}_${g} = fma(vec4f(a${r >> 2}.${"xyzw"[r & 3]}), b${g}, c${r}_${g});`);
    }
  }
  code.push("}", "workgroupBarrier();", "}");
  const at = "((n >> 5u) * p.rc + m) * 8u + ((n >> 2u) & 7u)";
  const store = (add: boolean) =>
    range(perThread).map((r) =>
      range(groups).map((g) =>
        `{ let m = m0 + ${64 * (r >> 2) + (r & 3)}u + 4u * ty; let n = n0 + ${64 * g}u + 4u * tx;
if (m < p.m && n < p.nPadded) { let at = ${at}; C[at] = ${C}(${
          add ? "vec4f(C[at]) + " : ""
        }c${r}_${g}); } }`
      ).join("\n")
    ).join("\n");
  code.push(`if (p.accumulate != 0u) {\n${store(true)}\n} else {\n${store(false)}\n}`);
  return `${enableHalf(a, b, c)}
struct P { m: u32, k4: u32, ra: u32, rb: u32, rc: u32, a0: u32, b0: u32, accumulate: u32,
  mPadded: u32, nPadded: u32, unused0: u32, unused1: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> A: array<${vectorOf(a)}>;
@group(0) @binding(2) var<storage, read> B: array<${vectorOf(b)}>;
@group(0) @binding(3) var<storage, read_write> C: array<${C}>;
var<workgroup> sa: array<vec4f, ${quads * K_BLOCK}>;
var<workgroup> sb: array<vec4f, ${quads * K_BLOCK}>;
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) t: u32) {
${
    tileIndices(order, "w")
  } let m0 = tm * ${tile}u; let n0 = tn * ${tile}u; let tx = t % 16u; let ty = t / 16u;
${code.join("\n")}
}`;
}
