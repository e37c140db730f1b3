/**
 * Matrix products for CPU drivers with subgroups of 8 (lavapipe).
 *
 * One subgroup computes a 32 x 32 tile; each lane owns 4 consecutive columns, rows reach the lanes
 * by subgroupBroadcast. What makes it fast there, in order of effect:
 * 1. operands are read through read-only storage textures, whose loads the driver vectorises; a
 *    storage-buffer load is a loop over lanes with branches;
 * 2. one `c += dot + dot` per accumulator for {@linkcode STEPS} vec4 steps of K: the driver blends
 *    every loop-carried variable with the execution mask on each iteration;
 * 3. vec4 stores of C.
 * The textures are linear: texel i of a panel matrix is at (i % width, i / width). Loads from f16 ones
 * give f32 by themselves.
 * @module
 */
import { TEXTURE_WIDTH } from "../device.ts";
import { enableHalf, vectorOf } from "../wgsl/mod.ts";
import type { Operands, Product } from "./mod.ts";
import { tileIndices, type TileOrder } from "./choice.ts";

const TILE = 32, SUBGROUP = 8;
/** vec4 steps of K an iteration: 2 measured best (62-93 GFLOP/s; 4: 57-69; 8: 41-49). */
const STEPS = 2;

const four = [0, 1, 2, 3] as const, xyzw = "xyzw";
const range = (n: number) => Array.from({ length: n }, (_, i) => i);

/** WGSL of one product; dimensions come from the uniform, so that few programs serve all shapes. */
export function broadcastProgram(
  product: Product,
  { a, b, c }: Operands,
  order: TileOrder = "n",
  residual = false,
): string {
  const code: string[] = [], texture = (m: Operands["a"]) => m.type ? "rgba16float" : "rgba32float";
  const C = vectorOf(c);
  const load = (texture: string, index: string) =>
    `textureLoad(${texture}, vec2u((${index}) & ${TEXTURE_WIDTH - 1}u, (${index}) >> ${
      Math.log2(TEXTURE_WIDTH)
    }u))`;
  // A lane's vec4 is four separate vector registers of the CPU, so transposing 4 x 4 is free.
  const transposed = (prefix: string) =>
    four.map((c) => `vec4f(${four.map((j) => `${prefix}${j}.${xyzw[c]}`).join(", ")})`);
  const aRows = product === "TN" ? 4 : 1; // rows of the tile that a lane brings in per group

  for (const r of range(TILE)) for (const c of four) code.push(`var c${r}_${c} = 0.0;`);
  code.push(
    product === "NT"
      ? "let bLane = p.b0 + (n0 + 4u * l) * 8u;"
      : "let bLane = p.b0 + tn * p.rb * 8u + l;",
    product === "TN"
      ? "let aLane = p.a0 + tm * p.ra * 8u + l;"
      : "let aLane = p.a0 + (m0 + l) * 8u;",
    `for (var k = 0u; k < p.k4; k += ${STEPS}u) {`,
    product === "TN"
      ? "let ka = k * 32u + aLane;"
      : "let ka = (k >> 3u) * p.ra * 8u + (k & 7u) + aLane;",
    product === "NT"
      ? "let kb = (k >> 3u) * p.rb * 8u + (k & 7u) + bLane;"
      : "let kb = k * 32u + bLane;",
  );
  // y{u}_{c}: this lane's column c, the four values of K at step u.
  for (const u of range(STEPS)) {
    if (product === "NT") {
      for (const c of four) code.push(`let y${u}_${c} = ${load("B", `kb + ${c * 8 + u}u`)};`);
    } else {
      for (const j of four) code.push(`let b${u}_${j} = ${load("B", `kb + ${(4 * u + j) * 8}u`)};`);
      transposed(`b${u}_`).forEach((v, c) => code.push(`let y${u}_${c} = ${v};`));
    }
  }
  for (const g of range(TILE / (SUBGROUP * aRows))) {
    // x{g}_{u}_{q}: this lane's row q of the group, to be broadcast.
    for (const u of range(STEPS)) {
      if (product === "TN") {
        for (const j of four) {
          code.push(`let a${g}_${u}_${j} = ${load("A", `ka + ${(4 * u + j) * 8}u`)};`);
        }
        transposed(`a${g}_${u}_`).forEach((v, q) => code.push(`let x${g}_${u}_${q} = ${v};`));
      } else code.push(`let x${g}_${u}_0 = ${load("A", `ka + ${g * SUBGROUP * 8 + u}u`)};`);
    }
    for (const i of range(SUBGROUP)) {
      for (const q of range(aRows)) {
        const r = (g * SUBGROUP + i) * aRows + q;
        for (const u of range(STEPS)) {
          code.push(`let z${r}_${u} = subgroupBroadcast(x${g}_${u}_${q}, ${i}u);`);
        }
        for (const c of four) {
          const dots = range(STEPS).map((u) => `dot(z${r}_${u}, y${u}_${c})`).join(" + ");
          code.push(`c${r}_${c} += ${dots};`);
        }
      }
    }
  }
  code.push("}", "let at = (tn * p.rc + m0) * 8u + l;");
  if (residual) code.push("let at_d = (tn * p.rd + m0) * 8u + l;");
  const store = (add: boolean) =>
    range(TILE).map((r) => {
      const place = `C[at + ${r * 8}u]`, sum = four.map((c) => `c${r}_${c}`).join(", ");
      return `if (m0 + ${r}u < p.m) { ${place} = ${C}(${
        add ? `vec4f(${place}) + ` : ""
      }vec4f(${sum})${residual ? ` + D[at_d + ${r * 8}u]` : ""}); }`;
    }).join("\n");
  code.push(`if (p.accumulate != 0u) {\n${store(true)}\n} else {\n${store(false)}\n}`);
  return `${enableHalf(c)}
struct P { m: u32, k4: u32, ra: u32, rb: u32, rc: u32, a0: u32, b0: u32, accumulate: u32${
    residual ? ", rd: u32" : ""
  } }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var A: texture_storage_2d<${texture(a)}, read>;
@group(0) @binding(2) var B: texture_storage_2d<${texture(b)}, read>;
@group(0) @binding(3) var<storage, read_write> C: array<${C}>;
${residual ? "@group(0) @binding(4) var<storage, read> D: array<vec4f>;" : ""}
@compute @workgroup_size(${SUBGROUP})
fn main(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) l: u32) {
${tileIndices(order, "w")} let m0 = tm * ${TILE}u; let n0 = tn * ${TILE}u;
${code.join("\n")}
}`;
}
