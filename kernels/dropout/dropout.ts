/**
 * Dropout in place, with a mask that follows from a seed and an element's place; what it computes is
 * said in `reference/dropout.ts`. The same call on a gradient is its backward.
 * @module
 */
import { type Matrix, padded, PANEL, type Region } from "../layout.ts";
import { type Plan, spread } from "../plan.ts";
import { type Program, uniforms, VECTOR_GROUP, vectorOf, WgslWriter } from "../wgsl/mod.ts";

/** Bytes of the region that {@linkcode dropoutState} fills. */
export const DROPOUT_BYTES = 16;

/**
 * What a dropout reads when it runs: seed and rates. Rates of 0 change nothing, for evaluation.
 * @param seed an integer of 32 bits
 * @param rowRate the share of rows that are dropped as a whole
 */
export function dropoutState(seed: number, rate: number, rowRate = 0): Uint32Array<ArrayBuffer> {
  const rates = new Uint32Array(Float32Array.of(rate, 1 / (1 - rate), rowRate).buffer);
  return Uint32Array.of(seed >>> 0, rates[0] ?? 0, rates[1] ?? 0, rates[2] ?? 0);
}

/** Told apart from the seed of elements. */
const ROWS = 0x9e3779b9;

const PARAMS = uniforms({ rows: "u32", columns: "u32", stride: "u32", vectors: "u32" });

/**
 * Writes `mask_of(first, seed, rate, kept)`, the factors of four neighbouring elements, and what it is
 * made of: `pcg_hash(value)` and `uniform_value(index, seed)`, from 0 to below 1.
 */
export function writeMaskFunctions(w: WgslWriter): void {
  w.fn("pcg_hash(value: u32) -> u32", () => {
    w.line(`
      let state = value * 747796405u + 2891336453u;
      let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
      return (word >> 22u) ^ word;
    `);
  });
  w.fn(
    "uniform_value(index: u32, seed: u32) -> f32",
    "return f32(pcg_hash(index ^ seed) >> 8u) * 5.9604644775390625e-8;",
  );
  w.fn(
    "factor(index: u32, seed: u32, rate: f32, kept: f32) -> f32",
    "return select(kept, 0.0, uniform_value(index, seed) < rate);",
  );
  w.fn("mask_of(first: u32, seed: u32, rate: f32, kept: f32) -> vec4f", () => {
    w.line(`
      return vec4f(
        factor(first, seed, rate, kept),
        factor(first + 1u, seed, rate, kept),
        factor(first + 2u, seed, rate, kept),
        factor(first + 3u, seed, rate, kept),
      );
    `);
  });
}

function program(matrix: Pick<Matrix, "type">): Program {
  const vector = vectorOf(matrix);
  const w = new WgslWriter();
  w.const("GROUP", VECTOR_GROUP);
  w.const("ROWS", ROWS);
  w.uniforms("p", PARAMS);
  w.storage("values", vector, "read_write");
  w.storage("state", "u32");
  writeMaskFunctions(w);
  w.main("GROUP", { id: "global_invocation_id", count: "num_workgroups" }, () => {
    w.line("let i = id.x + id.y * count.x * GROUP;");
    w.if("i >= p.vectors", () => w.line("return;"));
    w.line(`
      let q = i % 8u;
      let r = i / 8u % p.rows;
      let panel = i / 8u / p.rows;
      let at = (panel * p.stride + r) * 8u + q;
      let first = r * p.columns + panel * 32u + q * 4u;
      let seed = pcg_hash(state[0]);
      let rate = bitcast<f32>(state[1]);
      let kept = bitcast<f32>(state[2]);
      let mask = mask_of(first, seed, rate, kept);
      let row_seed = pcg_hash(state[0] ^ ROWS);
      let row_factor = select(1.0, 0.0, uniform_value(r, row_seed) < bitcast<f32>(state[3]));
      values[at] = ${vector}(vec4f(values[at]) * mask * row_factor);
    `);
  });
  return w.program();
}

/**
 * Queues matrix = matrix x its mask.
 * @param state {@linkcode DROPOUT_BYTES} bytes, as {@linkcode dropoutState} gives them
 */
export function dropout(plan: Plan, matrix: Matrix, state: Region): void {
  const { rows, cols, stride } = matrix;
  const vectors = padded(cols) / PANEL * rows * 8;
  plan.dispatch({
    label: "dropout",
    code: program(matrix),
    params: PARAMS.pack({ rows, columns: cols, stride, vectors }),
    bindings: { values: matrix.region, state },
    groups: spread(Math.ceil(vectors / VECTOR_GROUP)),
    bytes: vectors * 32,
  });
}
