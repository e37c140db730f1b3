/**
 * One step of Mamba-2's recurrence, as generation runs it: an invocation takes four channels of a head
 * through all states, four states a round, because reading and writing states is what takes the time.
 * Layouts as in shape.ts, with one row a sequence; with one row of stride 1 a panel matrix is a plain
 * vector.
 * @module
 */
import type { Region } from "../layout.ts";
import type { Plan } from "../plan.ts";
import { type Program, uniforms, WgslWriter } from "../wgsl/mod.ts";
import { ssdExtents, type SsdShape } from "./shape.ts";
import { declareSoftplus, stepSizeLines } from "./walks.ts";

/** Operands of {@linkcode ssdStep}. */
export interface SsdStep {
  /** Its batch is the sequences that step together; its length does not matter. */
  shape: SsdShape;
  /** Rows allocated in every panel matrix. */
  stride: number;
  u: Region;
  /** Raw steps, from column `dtColumn` of their matrix on; 0 by default. */
  dt: Region;
  dtColumn?: number;
  par: Region;
  /** (heads x pp), where D is of channels. */
  skip?: Region;
  /** Moved on. */
  state: Region;
  y: Region;
}

const PARAMS = uniforms({
  stride: "u32",
  heads: "u32",
  per_group: "u32",
  heads_padded: "u32",
  b_column: "u32",
  c_column: "u32",
  dt_column: "u32",
});
const GROUP = 8;

/** States of a round: a vector of B and one of C. */
const ROUND = ["x", "y", "z", "w"] as const;

function stepProgram(shape: SsdShape): Program {
  const { pp, np } = ssdExtents(shape);
  const w = new WgslWriter();
  w.const("HEAD_WIDTH", pp).const("STATES", np);
  w.uniforms("p", PARAMS);
  w.storage("u", "vec4f").storage("dt", "f32").storage("par", "f32");
  if (shape.skip === "channel") w.storage("skip", "vec4f");
  w.storage("state", "vec4f", "read_write").storage("y", "vec4f", "read_write");
  w.fn(
    "at(column: u32, row: u32) -> u32",
    "return ((column / 32u) * p.stride + row) * 32u + column % 32u;",
  );
  declareSoftplus(w);
  w.main(GROUP, { id: "global_invocation_id" }, () => {
    w.line("let channel = id.x * 4u;", "let head = id.y;", "let row = id.z;");
    w.if("channel >= HEAD_WIDTH", () => w.line("return;"));
    w.line(
      "let raw = dt[at(p.dt_column + head, row)] + par[2u * p.heads_padded + head];",
      ...stepSizeLines({ shape }),
      "let decay = exp(size * par[head]);",
      "let place = at(head * HEAD_WIDTH + channel, row) / 4u;",
      "let x = u[place];",
      "let gain = size * x;",
      "let group = head / p.per_group;",
      "let b_column = p.b_column + group * STATES;",
      "let c_column = p.c_column + group * STATES;",
      "let panel = ((row * p.heads + head) * (HEAD_WIDTH / 32u) + channel / 32u) * STATES * 8u;",
      "let quad = channel / 4u % 8u;",
      "var sum = vec4f();",
    );
    w.comment("32 states at a time, which are neighbours in a panel's row.");
    w.for("var n = 0u; n < STATES; n += 32u", () => {
      w.line(
        "let b_place = at(b_column + n, row) / 4u;",
        "let c_place = at(c_column + n, row) / 4u;",
        "let state_place = panel + n * 8u + quad;",
      );
      w.for("var i = 0u; i < 8u; i++", () => {
        w.line(
          "let b = u[b_place + i];",
          "let c = u[c_place + i];",
          "let first = state_place + i * 32u;",
        );
        ROUND.forEach((x, k) => {
          w.line(
            `let h${k} = decay * state[first + ${8 * k}u] + gain * b.${x};`,
            `state[first + ${8 * k}u] = h${k};`,
          );
        });
        w.line(`sum += ${ROUND.map((x, k) => `h${k} * c.${x}`).join(" + ")};`);
      });
    });
    if (shape.skip === "head") w.line("sum += par[p.heads_padded + head] * x;");
    if (shape.skip === "channel") w.line("sum += skip[(head * HEAD_WIDTH + channel) / 4u] * x;");
    w.line("y[place] = sum;");
  });
  return w.program();
}

/** Appends one step of every sequence. */
export function ssdStep(plan: Plan, o: SsdStep): void {
  const { shape, stride } = o;
  const { pp, np, b, c, headWidth } = ssdExtents(shape);
  const { heads, groups, batch } = shape;
  plan.dispatch({
    label: "ssd step",
    code: stepProgram(shape),
    params: PARAMS.pack({
      stride,
      heads,
      per_group: heads / groups,
      heads_padded: headWidth,
      b_column: b,
      c_column: c,
      dt_column: o.dtColumn ?? 0,
    }),
    bindings: { u: o.u, dt: o.dt, par: o.par, skip: o.skip, state: o.state, y: o.y },
    groups: [Math.ceil(pp / 4 / GROUP), heads, batch],
    flop: batch * heads * pp * np * 5,
    bytes: batch * heads * pp * np * 8,
  });
}
