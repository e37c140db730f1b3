/**
 * A linear-chain conditional random field: loss and gradients of many sequences at once; what it
 * computes is said in `reference/crf.ts`. One invocation takes one sequence through the forward-backward
 * algorithm in log space: a sentence has tens of words and a few labels, so that this is short beside
 * the model's own forward pass, and its sums need no order but their own.
 *
 * alpha and beta of each word are kept less the log of their sum, and probabilities are divided by their
 * own sum: in f32 a long sentence's log Z has too few digits left to take the exponential of a
 * difference from it.
 * @module
 */
import type { Matrix, Region } from "../layout.ts";
import type { Plan } from "../plan.ts";
import { sumPartials } from "../reduce/reduce.ts";
import { type Program, uniforms, WgslWriter } from "../wgsl/mod.ts";

/** Operands. The parameters lie as begin (K), end (K), transition (K, K). */
export interface CrfCall {
  /** (rows, K) emissions: become their gradients where `gradients` is given. */
  logits: Matrix;
  /** u32 (sequences + 1): the first row of each sequence; a sequence may be empty. */
  starts: Region;
  sequences: number;
  /** i32 per row. */
  targets: Region;
  /** {@linkcode crfFloats} floats. */
  parameters: Region;
  /** f32 (rows): a sequence's loss is at its first row, 0 at its others. */
  loss: Region;
  /** {@linkcode crfScratch} floats. */
  scratch: Region;
  gradients?: {
    /** One float: gradients are of scale x the summed loss. */
    scale: Region;
    /** Shaped as the parameters; added to. */
    dparameters: Region;
    /** sequences x {@linkcode crfWidth} floats. */
    partials: Region;
  };
}

/** Floats of a field's parameters. */
export const crfFloats = (labels: number): number => labels * (labels + 2);
/** Floats of one sequence's share of the parameters' gradient: a multiple of 4. */
export const crfWidth = (labels: number): number => Math.ceil(crfFloats(labels) / 4) * 4;
/** Floats of scratch for so many rows: alpha and beta of each. */
export const crfScratch = (rows: number, labels: number): number => 2 * rows * labels;

/** Sequences of a workgroup: a CPU driver's subgroup. */
const GROUP = 8;

const PARAMS = uniforms({
  rows: "u32",
  labels: "u32",
  stride: "u32",
  sequences: "u32",
  /** Floats of a sequence's share of the gradient. */
  width: "u32",
});

function program(gradient: boolean): Program {
  const w = new WgslWriter();
  w.const("GROUP", GROUP);
  w.uniforms("p", PARAMS);
  w.storage("logits", "f32", gradient ? "read_write" : "read");
  w.storage("starts", "u32");
  w.storage("targets", "i32");
  w.storage("parameters", "f32");
  w.storage("loss", "f32", "read_write");
  w.comment("alpha of every row, then beta of every row.");
  w.storage("scratch", "f32", "read_write");
  if (gradient) {
    w.storage("scale", "f32");
    w.storage("partials", "f32", "read_write");
  }
  writePlaces(w);
  writeAlpha(w);
  writeBeta(w);
  if (gradient) writeLikelihoods(w);
  w.fn("log_partition(last: u32) -> f32", () => {
    w.line("var largest = scratch[alpha_at(last, 0u)] + parameters[end_at(0u)];");
    w.for("var k = 1u; k < p.labels; k++", () => {
      w.line("largest = max(largest, scratch[alpha_at(last, k)] + parameters[end_at(k)]);");
    });
    w.line("var total = 0.0;");
    w.for("var k = 0u; k < p.labels; k++", () => {
      w.line("total += exp(scratch[alpha_at(last, k)] + parameters[end_at(k)] - largest);");
    });
    w.line("return largest + log(total);");
  });
  w.fn("score_of_targets(first: u32, end: u32) -> f32", () => {
    w.line(
      "var before = u32(targets[first]);",
      "var score = parameters[before] + logits[place(first, before)];",
    );
    w.for("var t = first + 1u; t < end; t++", () => {
      w.line(`
        let now = u32(targets[t]);
        score += parameters[step_at(before, now)] + logits[place(t, now)];
        before = now;
      `);
    });
    w.line("return score + parameters[end_at(before)];");
  });
  w.main("GROUP", { id: "global_invocation_id" }, () => {
    w.line("let s = id.x;");
    w.if("s >= p.sequences", () => w.line("return;"));
    w.line("let first = starts[s];", "let end = starts[s + 1u];");
    if (gradient) {
      w.line("let own = s * p.width;");
      w.for("var i = 0u; i < p.width; i++", () => w.line("partials[own + i] = 0.0;"));
    }
    w.if("first >= end", () => w.line("return;"));
    w.line("let log_z = forward(first, end) + log_partition(end - 1u);");
    w.for("var t = first; t < end; t++", () => w.line("loss[t] = 0.0;"));
    w.line("loss[first] = log_z - score_of_targets(first, end);");
    if (gradient) {
      w.line("backward(first, end);");
      writeGradients(w);
    }
  });
  return w.program();
}

/** Where things are: an emission, the parameters' parts, alpha and beta. */
function writePlaces(w: WgslWriter): void {
  w.fn("place(t: u32, k: u32) -> u32", "return ((k / 32u) * p.stride + t) * 32u + k % 32u;");
  w.fn("end_at(k: u32) -> u32", "return p.labels + k;");
  w.fn("step_at(i: u32, j: u32) -> u32", "return (2u + i) * p.labels + j;");
  w.fn("alpha_at(t: u32, k: u32) -> u32", "return t * p.labels + k;");
  w.fn("beta_at(t: u32, k: u32) -> u32", "return (p.rows + t) * p.labels + k;");
}

/** `NAME(t)`: takes the log of the sum of a word's alpha or beta off, and returns it. */
function writeNormalize(w: WgslWriter, name: string, at: string): void {
  w.fn(`${name}(t: u32) -> f32`, () => {
    w.line(`var largest = scratch[${at}(t, 0u)];`);
    w.for("var k = 1u; k < p.labels; k++", () => {
      w.line(`largest = max(largest, scratch[${at}(t, k)]);`);
    });
    w.line("var total = 0.0;");
    w.for("var k = 0u; k < p.labels; k++", () => {
      w.line(`total += exp(scratch[${at}(t, k)] - largest);`);
    });
    w.line("let off = largest + log(total);");
    w.for("var k = 0u; k < p.labels; k++", () => {
      w.line(`scratch[${at}(t, k)] -= off;`);
    });
    w.line("return off;");
  });
}

/**
 * alpha[t, j]: log of the summed scores of all labels up to t that end in j, less what `forward`
 * returns the sum of.
 */
function writeAlpha(w: WgslWriter): void {
  writeNormalize(w, "normalize_alpha", "alpha_at");
  w.fn("forward(first: u32, end: u32) -> f32", () => {
    w.for("var k = 0u; k < p.labels; k++", () => {
      w.line("scratch[alpha_at(first, k)] = parameters[k] + logits[place(first, k)];");
    });
    w.line("var taken_off = normalize_alpha(first);");
    w.for("var t = first + 1u; t < end; t++", () => {
      w.for("var j = 0u; j < p.labels; j++", () => {
        w.line("var largest = scratch[alpha_at(t - 1u, 0u)] + parameters[step_at(0u, j)];");
        w.for("var i = 1u; i < p.labels; i++", () => {
          w.line(
            "largest = max(largest, scratch[alpha_at(t - 1u, i)] + parameters[step_at(i, j)]);",
          );
        });
        w.line("var total = 0.0;");
        w.for("var i = 0u; i < p.labels; i++", () => {
          w.line(
            "total += exp(scratch[alpha_at(t - 1u, i)] + parameters[step_at(i, j)] - largest);",
          );
        });
        w.line("scratch[alpha_at(t, j)] = largest + log(total) + logits[place(t, j)];");
      });
      w.line("taken_off += normalize_alpha(t);");
    });
    w.line("return taken_off;");
  });
}

/** beta[t, i]: log of the summed scores of all labels after t that follow i, less their own sum's. */
function writeBeta(w: WgslWriter): void {
  const term = (j: string) =>
    `parameters[step_at(i, ${j})] + logits[place(t + 1u, ${j})] + scratch[beta_at(t + 1u, ${j})]`;
  writeNormalize(w, "normalize_beta", "beta_at");
  w.fn("backward(first: u32, end: u32)", () => {
    w.for("var k = 0u; k < p.labels; k++", () => {
      w.line("scratch[beta_at(end - 1u, k)] = parameters[end_at(k)];");
    });
    w.line("_ = normalize_beta(end - 1u);");
    w.for("var left = end - 1u; left > first; left--", () => {
      w.line("let t = left - 1u;");
      w.for("var i = 0u; i < p.labels; i++", () => {
        w.line(`var largest = ${term("0u")};`);
        w.for("var j = 1u; j < p.labels; j++", () => {
          w.line(`largest = max(largest, ${term("j")});`);
        });
        w.line("var total = 0.0;");
        w.for("var j = 0u; j < p.labels; j++", () => {
          w.line(`total += exp(${term("j")} - largest);`);
        });
        w.line("scratch[beta_at(t, i)] = largest + log(total);");
      });
      w.line("_ = normalize_beta(t);");
    });
  });
}

/**
 * The likelihoods of labels and of pairs of neighbouring labels, before they are divided by their sums:
 * exponentials of scores below the largest one.
 */
function writeLikelihoods(w: WgslWriter): void {
  w.fn(
    "score_of(t: u32, k: u32) -> f32",
    "return scratch[alpha_at(t, k)] + scratch[beta_at(t, k)];",
  );
  w.fn("score_of_pair(t: u32, i: u32, j: u32) -> f32", () => {
    w.line(`
      let after = logits[place(t, j)] + scratch[beta_at(t, j)];
      return scratch[alpha_at(t - 1u, i)] + parameters[step_at(i, j)] + after;
    `);
  });
  w.comment("The largest score and the sum of exponentials below it.");
  w.fn("sum_of_labels(t: u32) -> vec2f", () => {
    w.line("var largest = score_of(t, 0u);");
    w.for("var k = 1u; k < p.labels; k++", () => {
      w.line("largest = max(largest, score_of(t, k));");
    });
    w.line("var total = 0.0;");
    w.for("var k = 0u; k < p.labels; k++", () => {
      w.line("total += exp(score_of(t, k) - largest);");
    });
    w.line("return vec2f(largest, total);");
  });
  w.fn("sum_of_pairs(t: u32) -> vec2f", () => {
    w.line("var largest = score_of_pair(t, 0u, 0u);");
    w.for("var n = 1u; n < p.labels * p.labels; n++", () => {
      w.line("largest = max(largest, score_of_pair(t, n / p.labels, n % p.labels));");
    });
    w.line("var total = 0.0;");
    w.for("var n = 0u; n < p.labels * p.labels; n++", () => {
      w.line("total += exp(score_of_pair(t, n / p.labels, n % p.labels) - largest);");
    });
    w.line("return vec2f(largest, total);");
  });
}

/** Expected less observed counts: of steps, of first and last labels, and in the emissions' place. */
function writeGradients(w: WgslWriter): void {
  w.line("let factor = scale[0];");
  w.for("var t = first; t < end; t++", () => {
    w.line("let wanted = u32(targets[t]);");
    w.if("t > first", () => {
      w.line("let pairs = sum_of_pairs(t);");
      w.for("var n = 0u; n < p.labels * p.labels; n++", () => {
        w.line(`
          let i = n / p.labels;
          let j = n % p.labels;
          let likely = exp(score_of_pair(t, i, j) - pairs.x) / pairs.y;
          partials[own + step_at(i, j)] += factor * likely;
        `);
      });
      w.line("partials[own + step_at(u32(targets[t - 1u]), wanted)] -= factor;");
    });
    w.line("let labels = sum_of_labels(t);");
    w.comment("No later word reads this one's emissions: their gradient takes their place.");
    w.for("var k = 0u; k < p.labels; k++", () => {
      w.line(`
        let likely = exp(score_of(t, k) - labels.x) / labels.y;
        let off = factor * (likely - select(0.0, 1.0, k == wanted));
        logits[place(t, k)] = off;
      `);
      w.if("t == first", () => w.line("partials[own + k] = off;"));
      w.if("t + 1u == end", () => w.line("partials[own + end_at(k)] = off;"));
    });
  });
}

/**
 * Queues every sequence's loss, and with `gradients` those of emissions and parameters. Rows of no
 * sequence keep what they hold: give them to one, or clear them.
 */
export function crf(plan: Plan, o: CrfCall): void {
  const { rows, cols: labels, stride } = o.logits;
  const width = crfWidth(labels);
  plan.dispatch({
    label: o.gradients ? "crf and gradients" : "crf",
    code: program(o.gradients !== undefined),
    params: PARAMS.pack({ rows, labels, stride, sequences: o.sequences, width }),
    bindings: {
      logits: o.logits.region,
      starts: o.starts,
      targets: o.targets,
      parameters: o.parameters,
      loss: o.loss,
      scratch: o.scratch,
      scale: o.gradients?.scale,
      partials: o.gradients?.partials,
    },
    groups: [Math.ceil(o.sequences / GROUP)],
    flop: rows * labels * labels * 8,
    bytes: rows * labels * 24,
  });
  if (!o.gradients) return;
  sumPartials(plan, {
    partials: o.gradients.partials,
    count: o.sequences,
    width,
    out: o.gradients.dparameters,
    length: crfFloats(labels),
    accumulate: true,
  });
}
