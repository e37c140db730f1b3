/**
 * Choosing the likeliest token on the device and feeding it back, so that many tokens are generated
 * for one read-back.
 *
 * The first kernel finds, in each stretch of a row's logits, the largest among the ids that may be
 * chosen (the lowest id where several are) and the sum of exponentials of all; the second joins the
 * stretches (the log-sum-exp of parts: Milakov and Gimelshein 2018), writes the row's choice into a
 * history and the next token into the model's input. Stretches are joined in a fixed order.
 * @module
 */
import type { Variant } from "../device.ts";
import { type Matrix, type Region, subregion } from "../layout.ts";
import type { Plan } from "../plan.ts";
import { type Program, uniforms, WgslWriter } from "../wgsl/mod.ts";

/** Operands of {@linkcode greedyStep}. */
export interface GreedyStep {
  /** (rows, padded vocabulary) */
  logits: Matrix;
  /** How many ids, from 0 on, may be chosen. */
  choices: number;
  /** (rows) the model's input. */
  tokens: Region;
  /** See {@linkcode greedySizes}. */
  partial: Region;
  /** (rows) the step that a row has come to, which the kernel moves on. */
  progress: Region;
  /** (steps, rows) the token that must follow step s, or {@linkcode FREE} for the choice itself. */
  forced: Region;
  /**
   * (steps, rows) vec4: the choice, its logit minus the largest of all, the sum of exponentials of
   * logits minus the largest, 0.
   */
  history: Region;
}

/** In `forced`: the choice is the next token. */
export const FREE = 0xffffffff;
/** Invocations that join a row's stretches. */
const JOINING = 64;
/** Invocations of a workgroup that find the likeliest of stretches. */
const FINDING = 8;
/** The smallest number that an f32 holds, nearly: less than any logit. */
const LEAST = "-3.4028e38";

/** Ids in a stretch: a CPU driver wants few stretches, a GPU many. */
const stretchOf = (variant: Variant): number => variant === "gpu-tiled" ? 32 : 1024;

/** Bytes of the regions of {@linkcode GreedyStep} for so many rows, ids and steps. */
export const greedySizes = (
  rows: number,
  columns: number,
  steps: number,
): { partial: number; forced: number; history: number } => ({
  partial: 16 * rows * Math.ceil(columns / 32),
  forced: 4 * rows * steps,
  history: 16 * rows * steps,
});

const PARAMS = uniforms({
  /** Ids of the vocabulary, padding included. */
  columns: "u32",
  /** Ids that may be chosen. */
  choices: "u32",
  /** Rows allocated of the logits: the distance between their panels. */
  stride: "u32",
  /** Stretches of a row. */
  parts: "u32",
  rows: "u32",
});

/** The program that looks through stretches: invocation (x, y) through stretch x of row y. */
function findProgram(stretch: number): Program {
  const w = new WgslWriter();
  w.const("STRETCH", stretch);
  w.const("LEAST", LEAST, "f32");
  w.uniforms("p", PARAMS);
  w.storage("logits", "f32");
  w.storage("partial", "vec4u", "read_write");
  w.fn(
    "logit(row: u32, column: u32) -> f32",
    "return logits[((column / 32u) * p.stride + row) * 32u + column % 32u];",
  );
  w.main(FINDING, { id: "global_invocation_id" }, () => {
    w.line(`
      let part = id.x;
      let row = id.y;
    `);
    w.if("part >= p.parts", () => w.line("return;"));
    w.line(`
      let first = part * STRETCH;
      let end = min(first + STRETCH, p.columns);
      var best = first;
      var value = LEAST;
      var top = LEAST;
      var sum = 0.0;
    `);
    w.for("var c = first; c < end; c++", () => {
      w.line("let x = logit(row, c);");
      w.if("c < p.choices && x > value", () => w.line("value = x;", "best = c;"));
      w.line("top = max(top, x);");
    });
    w.for("var c = first; c < end; c++", () => w.line("sum += exp(logit(row, c) - top);"));
    w.line(`
      partial[row * p.parts + part] =
        vec4u(best, bitcast<u32>(value), bitcast<u32>(top), bitcast<u32>(sum));
    `);
  });
  return w.program();
}

/** The program that joins a row's stretches and moves the row on; one workgroup per row. */
function joinProgram(): Program {
  const w = new WgslWriter();
  w.const("GROUP", JOINING);
  w.const("FREE", FREE);
  w.uniforms("p", PARAMS);
  w.storage("partial", "vec4u");
  w.storage("forced", "u32");
  w.storage("progress", "u32", "read_write");
  w.storage("tokens", "u32", "read_write");
  w.storage("history", "vec4u", "read_write");
  w.comment(`
    What is known of a stretch: the likeliest id that may be chosen, its logit, the largest logit of
    all ids, and the sum of exponentials of all logits minus that. In memory it takes four words.
  `);
  w.struct("Stretch", { best: "u32", value: "f32", top: "f32", sum: "f32" });
  w.workgroup("stretches", "array<Stretch, GROUP>");
  w.fn(
    "stretch_of(row: u32, part: u32) -> Stretch",
    `
      let words = partial[row * p.parts + part];
      return Stretch(words.x, bitcast<f32>(words.y), bitcast<f32>(words.z), bitcast<f32>(words.w));
    `,
  );
  w.comment("The likelier of two choices, and their sums under the larger maximum.");
  w.fn(
    "joined(a: Stretch, b: Stretch) -> Stretch",
    `
      let other = b.value > a.value || (b.value == a.value && b.best < a.best);
      let top = max(a.top, b.top);
      let sum = a.sum * exp(a.top - top) + b.sum * exp(b.top - top);
      return Stretch(
        select(a.best, b.best, other),
        select(a.value, b.value, other),
        top,
        sum,
      );
    `,
  );
  w.fn("move_on(row: u32, row_stretch: Stretch)", () => {
    w.line(`
      let at = progress[row] * p.rows + row;
      let next = forced[at];
      let below_top = row_stretch.value - row_stretch.top;
      let sum = row_stretch.sum;
      history[at] = vec4u(row_stretch.best, bitcast<u32>(below_top), bitcast<u32>(sum), 0u);
      tokens[row] = select(next, row_stretch.best, next == FREE);
      progress[row] = progress[row] + 1u;
    `);
  });
  w.main("GROUP", { group: "workgroup_id", t: "local_invocation_index" }, () => {
    w.line(`
      let row = group.x;
      var mine = stretch_of(row, min(t, p.parts - 1u));
    `);
    w.for("var i = t + GROUP; i < p.parts; i += GROUP", () => {
      w.line("mine = joined(mine, stretch_of(row, i));");
    });
    w.line("stretches[t] = mine;", "workgroupBarrier();");
    w.if("t == 0u", () => {
      w.for("var i = 1u; i < min(GROUP, p.parts); i++", () => {
        w.line("mine = joined(mine, stretches[i]);");
      });
      w.line("move_on(row, mine);");
    });
  });
  return w.program();
}

/** Appends the choice of one token per row. */
export function greedyStep(plan: Plan, step: GreedyStep): void {
  const { logits, choices, partial, forced, progress, tokens, history } = step;
  const { rows, cols, stride } = logits;
  const stretch = stretchOf(plan.device.variant);
  const parts = Math.ceil(cols / stretch);
  const params = PARAMS.pack({ columns: cols, choices, stride, parts, rows });
  plan.dispatch({
    label: "likeliest of parts",
    code: findProgram(stretch),
    params,
    bindings: { logits: logits.region, partial },
    groups: [Math.ceil(parts / FINDING), rows],
    bytes: 4 * rows * cols,
  });
  plan.dispatch({
    label: "likeliest",
    code: joinProgram(),
    params,
    bindings: { partial, forced, progress, tokens, history },
    groups: [rows],
  });
}

/** The choices of steps [0, steps) from the bytes of a history. */
export function readChoices(
  history: ArrayBuffer,
  rows: number,
  steps: number,
): { token: number; logProbability: number }[][] {
  const words = new DataView(history);
  const choice = (row: number, step: number) => {
    const at = 16 * (step * rows + row);
    const belowTop = words.getFloat32(at + 4, true);
    const sum = words.getFloat32(at + 8, true);
    return { token: words.getUint32(at, true), logProbability: belowTop - Math.log(sum) };
  };
  return Array.from(
    { length: rows },
    (_, row) => Array.from({ length: steps }, (_, step) => choice(row, step)),
  );
}

/** The part of a per-step region that the first `steps` steps use. */
export const ofSteps = (region: Region, bytesOfStep: number, steps: number): Region =>
  subregion(region, 0, bytesOfStep * steps);
