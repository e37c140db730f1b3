/** Dropout from one matrix into another, with one of several masks; see dropout.ts. @module */
import { type Matrix, padded, PANEL, type Region } from "../layout.ts";
import { type Plan, spread } from "../plan.ts";
import { type Program, uniforms, VECTOR_GROUP, vectorOf, WgslWriter } from "../wgsl/mod.ts";

const INTO_PARAMS = uniforms({
  rows: "u32",
  columns: "u32",
  from_stride: "u32",
  to_stride: "u32",
  vectors: "u32",
  /** Added to the seed. */
  salt: "u32",
});

/** Begins the program: constants, the state, and the mask of a vector; the hash is that of dropout.ts. */
function beginProgram(): WgslWriter {
  const w = new WgslWriter();
  w.const("GROUP", VECTOR_GROUP);
  w.uniforms("p", INTO_PARAMS);
  w.storage("state", "u32");
  w.fn("pcg_hash(value: u32) -> u32", () => {
    w.line(`
      let state = value * 747796405u + 2891336453u;
      let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
      return (word >> 22u) ^ word;
    `);
  });
  w.fn("factor(index: u32, seed: u32, rate: f32, kept: f32) -> f32", () => {
    w.line(`
      let uniform_value = f32(pcg_hash(index ^ seed) >> 8u) * 5.9604644775390625e-8;
      return select(kept, 0.0, uniform_value < rate);
    `);
  });
  w.fn("mask_of(first: u32, salt: u32) -> vec4f", () => {
    w.line(`
      let seed = pcg_hash(state[0] + salt);
      let rate = bitcast<f32>(state[1]);
      let kept = bitcast<f32>(state[2]);
      return vec4f(
        factor(first, seed, rate, kept),
        factor(first + 1u, seed, rate, kept),
        factor(first + 2u, seed, rate, kept),
        factor(first + 3u, seed, rate, kept),
      );
    `);
  });
  return w;
}

/** Reads one matrix and writes, or adds to, another. */
function intoProgram(from: Pick<Matrix, "type">, to: Pick<Matrix, "type">, add: boolean): Program {
  const vector = vectorOf(to);
  const w = beginProgram();
  w.storage("source", vectorOf(from));
  w.storage("values", vector, "read_write");
  w.main("GROUP", { id: "global_invocation_id", count: "num_workgroups" }, () => {
    w.line("let i = id.x + id.y * count.x * GROUP;");
    w.if("i >= p.vectors", () => w.line("return;"));
    w.line(`
      let q = i % 8u;
      let r = i / 8u % p.rows;
      let panel = i / 8u / p.rows;
      let to = (panel * p.to_stride + r) * 8u + q;
      let mask = mask_of(r * p.columns + panel * 32u + q * 4u, p.salt);
      let value = vec4f(source[(panel * p.from_stride + r) * 8u + q]) * mask;
      values[to] = ${vector}(${add ? "vec4f(values[to]) + value" : "value"});
    `);
  });
  return w.program();
}

/** What {@linkcode dropoutInto} reads and writes. */
interface DropoutInto {
  from: Matrix;
  /** As large; another buffer, or another part of it. */
  to: Matrix;
  /** Add to `to` in place of setting it. */
  add?: boolean;
  /** As `dropoutState` of dropout.ts gives it; rows are never dropped as a whole here. */
  state: Region;
  /** Added to the seed, so that one state serves several masks. */
  salt: number;
}

/** Queues to = (or +=) from x the mask of the state's seed + salt. */
export function dropoutInto(plan: Plan, { from, to, add = false, state, salt }: DropoutInto): void {
  const { rows, cols } = from;
  const vectors = padded(cols) / PANEL * rows * 8;
  plan.dispatch({
    label: "dropout",
    code: intoProgram(from, to, add),
    params: INTO_PARAMS.pack({
      rows,
      columns: cols,
      from_stride: from.stride,
      to_stride: to.stride,
      vectors,
      salt,
    }),
    bindings: { source: from.region, values: to.region, state },
    groups: spread(Math.ceil(vectors / VECTOR_GROUP)),
    bytes: vectors * (add ? 48 : 32),
  });
}
