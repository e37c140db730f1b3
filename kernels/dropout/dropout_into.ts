/** Dropout from one matrix into another, with one of several masks; see dropout.ts. @module */
import { type Matrix, padded, PANEL, type Region } from "../layout.ts";
import { type Plan, spread } from "../plan.ts";
import { type Program, uniforms, VECTOR_GROUP, vectorOf, WgslWriter } from "../wgsl/mod.ts";
import { writeMaskFunctions } from "./dropout.ts";

const INTO_PARAMS = uniforms({
  rows: "u32",
  columns: "u32",
  from_stride: "u32",
  to_stride: "u32",
  vectors: "u32",
  /** Added to the seed. */
  salt: "u32",
});

/** Reads one matrix and writes, or adds to, another. */
function intoProgram(from: Pick<Matrix, "type">, to: Pick<Matrix, "type">, add: boolean): Program {
  const vector = vectorOf(to);
  const w = new WgslWriter();
  w.const("GROUP", VECTOR_GROUP);
  w.uniforms("p", INTO_PARAMS);
  w.storage("state", "u32");
  writeMaskFunctions(w);
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
      let first = r * p.columns + panel * 32u + q * 4u;
      let seed = pcg_hash(state[0] + p.salt);
      let mask = mask_of(first, seed, bitcast<f32>(state[1]), bitcast<f32>(state[2]));
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
