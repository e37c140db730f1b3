/**
 * Softmax cross-entropy over rows of logits, and its gradient in place of the logits; what it
 * computes is said in `reference/cross_entropy.ts`. Maximum and sum of exponentials come from one
 * pass over the row (the sum is rescaled when the maximum grows), the gradient from a second.
 * @module
 */
import { alternative } from "../alternatives.ts";
import type { Matrix, Region } from "../layout.ts";
import { type Plan, spread } from "../plan.ts";
import {
  type Program,
  type RowShape,
  rowShape,
  type RowVector,
  uniforms,
  WgslWriter,
} from "../wgsl/mod.ts";

/** Operands. The rows may be a chunk of a longer list of targets. */
export interface CrossEntropy {
  /** (rows, V): becomes the gradient where `scale` is given. */
  logits: Matrix;
  /** i32, one for each row of the whole list; below zero where it is not scored. */
  targets: Region;
  /** f32, shaped as `targets`: negative log-likelihood, 0 where it is not scored. */
  nll: Region;
  /** Where in `targets` and `nll` the first row of the logits is. */
  firstRow: number;
  /**
   * One float: the gradient is of scale x the summed nll. Read when the kernel runs. Without it the
   * logits stay as they are.
   */
  scale?: Region;
  /** f32, shaped as `targets`: log of the sum of exponentials, where it is wanted. */
  logSumExp?: Region;
  /**
   * f32, shaped as `targets`: the negative log-likelihood without the objective's terms, 0 where it is
   * not scored; where it is wanted.
   */
  plain?: Region;
  /** Changes the loss and its gradient; absent or 0 for none. */
  objective?: Objective;
}

/** Terms that a training loss may have besides the negative log-likelihood. */
export interface Objective {
  /** Epsilon: the target's one-hot becomes (1 - epsilon) one-hot + epsilon / V. */
  labelSmoothing?: number;
  /** Adds this times the square of the log of the sum of exponentials. */
  zLoss?: number;
}

/** Stands for minus infinity: below every logit, and its exponential is 0. */
const LOWEST = "-3.0e38";

const PARAMS = uniforms({
  rows: "u32",
  stride: "u32",
  panels: "u32",
  columns: "u32",
  /** Where in the list of targets the first row is. */
  first: "u32",
  smoothing: "f32",
  z_loss: "f32",
});

/** What the text of the program depends on. */
interface CrossEntropyVariant {
  shape: RowShape;
  /** Whether the gradient takes the logits' place. */
  gradient: boolean;
  logSumExp: boolean;
  plain: boolean;
  smoothing: boolean;
  zLoss: boolean;
  /** Whether the last panel is incomplete. It is handled apart, so that the long loop has no masks. */
  ragged: boolean;
}

function crossEntropyProgram(variant: CrossEntropyVariant): Program {
  const { shape } = variant;
  const w = new WgslWriter();
  w.uniforms("p", PARAMS);
  w.storage("logits", "vec4f", variant.gradient ? "read_write" : "read");
  w.storage("targets", "i32");
  w.storage("nll", "f32", "read_write");
  if (variant.gradient) w.storage("scale", "f32");
  if (variant.logSumExp) w.storage("log_sum_exp", "f32", "read_write");
  if (variant.plain) w.storage("plain", "f32", "read_write");
  w.const("LOWEST", LOWEST, "f32");
  shape.declare(w, ["sum", "max"]);
  w.fn(
    "largest_of(v: vec4f) -> f32",
    "return max(max(v.x, v.y), max(v.z, v.w));",
  );
  w.fn(
    "in_vocabulary(column: u32) -> vec4<bool>",
    "return (vec4u(4u * column) + vec4u(0u, 1u, 2u, 3u)) < vec4u(p.columns);",
  );
  writeLoss(w, variant);
  if (variant.gradient) writeGradientFunction(w, variant);
  shape.main(w, () => {
    w.line(`
      let row = p.first + min(r, p.rows - 1u);
      let wanted = targets[row];
      let scored = wanted >= 0;
      let word = u32(max(wanted, 0));
      let at_word = ((word / 32u) * p.stride + min(r, p.rows - 1u)) * 8u + (word % 32u) / 4u;
      let logit = logits[at_word][word % 4u];
      let whole = min(panels, p.columns / 32u);
    `);
    writeLogSumExp(w, variant);
    if (variant.smoothing) {
      w.line(`let loss = loss_of(lse, logit, ${shape.reduce("sum", "logits_sum")});`);
    } else {
      w.line("let loss = loss_of(lse, logit);");
    }
    w.if("lane == 0u && r < p.rows", () => {
      w.line("nll[row] = select(0.0, loss, scored);");
      if (variant.logSumExp) w.line("log_sum_exp[row] = lse;");
      if (variant.plain) w.line("plain[row] = select(0.0, lse - logit, scored);");
    });
    if (variant.gradient) writeGradient(w, variant);
  });
  return w.program();
}

/** `loss_of(lse, logit)`; with label smoothing it takes the sum of the row's logits too. */
function writeLoss(w: WgslWriter, { smoothing, zLoss }: CrossEntropyVariant): void {
  w.fn(`loss_of(lse: f32, logit: f32${smoothing ? ", sum: f32" : ""}) -> f32`, () => {
    if (!smoothing && !zLoss) {
      w.line("return lse - logit;");
      return;
    }
    const spread = smoothing ? " - p.smoothing * sum / f32(p.columns)" : "";
    w.line(`return lse - (1.0 - p.smoothing) * logit + p.z_loss * lse * lse${spread};`);
  });
}

/** `gradient_of(logits, lse, factor)`, before the target's own term. */
function writeGradientFunction(w: WgslWriter, { smoothing, zLoss }: CrossEntropyVariant): void {
  w.fn("gradient_of(values: vec4f, lse: f32, factor: f32) -> vec4f", () => {
    if (!smoothing && !zLoss) {
      w.line("return factor * exp(values - lse);");
      return;
    }
    w.line(`
      let softmax = exp(values - lse);
      return factor * (softmax * (1.0 + 2.0 * p.z_loss * lse) - p.smoothing / f32(p.columns));
    `);
  });
}

/**
 * Declares `lse` by one pass over the row: each invocation keeps the largest logit so far and the sum
 * of exponentials below it, which is rescaled when the largest grows. Source: Milakov and Gimelshein,
 * "Online normalizer calculation for softmax" (arXiv 1805.02867).
 */
function writeLogSumExp(w: WgslWriter, variant: CrossEntropyVariant): void {
  const { shape, smoothing, ragged } = variant;
  w.line("var largest = LOWEST;", "var total = 0.0;");
  if (smoothing) w.line("var logits_sum = 0.0;");
  const absorb = (masked: boolean) => (vectors: RowVector[]) => {
    vectors.forEach(({ index, column }, q) => {
      const value = `logits[${index}]`;
      w.line(
        masked
          ? `let v${q} = select(vec4f(LOWEST), ${value}, in_vocabulary(${column}));`
          : `let v${q} = ${value};`,
      );
    });
    if (smoothing) {
      // What lies beyond the vocabulary is no logit.
      const logits = vectors.map(({ column }, q) =>
        masked ? `select(vec4f(), v${q}, in_vocabulary(${column}))` : `v${q}`
      );
      w.line(`logits_sum += dot(${logits.join(" + ")}, vec4f(1.0));`);
    }
    const high = vectors.slice(1).reduce((text, _, q) => `max(${text}, v${q + 1})`, "v0");
    const terms = vectors.map((_, q) => `exp(v${q} - above)`).join(" + ");
    w.line(
      `let above = max(largest, largest_of(${high}));`,
      `total = total * exp(largest - above) + dot(${terms}, vec4f(1.0));`,
      "largest = above;",
    );
  };
  shape.loopPanels(w, "whole", absorb(false));
  if (ragged) shape.loopPanels(w, "panels", absorb(true), "whole");
  w.line(
    `let above = ${shape.reduce("max", "largest")};`,
    `let lse = above + log(${shape.reduce("sum", "total * exp(largest - above)")});`,
  );
}

/** Puts the gradient in the logits' place by a second pass; the target's own term comes last. */
function writeGradient(w: WgslWriter, { shape, ragged }: CrossEntropyVariant): void {
  w.line("let factor = select(0.0, scale[0], scored);");
  const replace = (masked: boolean) => ({ index, column }: RowVector) => {
    const value = `gradient_of(logits[${index}], lse, factor)`;
    w.line(
      `logits[${index}] = ${
        masked ? `select(vec4f(), ${value}, in_vocabulary(${column}))` : value
      };`,
    );
  };
  shape.loop(w, "whole", replace(false));
  if (ragged) shape.loop(w, "panels", replace(true), "whole");
  // The invocation that wrote the target's vector also takes its term off: no other one may.
  w.line("let panel_of_word = select(word / 32u * 8u, 0u, word / 32u == whole);");
  w.if(
    `scored && r < p.rows && lane == ${shape.owner("word % 32u / 4u + panel_of_word")}`,
    () => w.line("logits[at_word][word % 4u] -= factor * (1.0 - p.smoothing);"),
  );
}

/**
 * Queues nll (and lse), and with a scale the gradient: scale (softmax - one-hot), the objective's
 * terms added.
 */
export function crossEntropy(plan: Plan, o: CrossEntropy): void {
  const shape = rowShape(plan.device, alternative(plan.device, "cross-entropy-threads"));
  const { rows, cols, stride } = o.logits;
  const smoothing = o.objective?.labelSmoothing ?? 0;
  const zLoss = o.objective?.zLoss ?? 0;
  plan.dispatch({
    label: o.scale ? "cross-entropy and gradient" : "cross-entropy",
    code: crossEntropyProgram({
      shape,
      gradient: o.scale !== undefined,
      logSumExp: o.logSumExp !== undefined,
      plain: o.plain !== undefined,
      smoothing: smoothing !== 0,
      zLoss: zLoss !== 0,
      ragged: cols % 32 !== 0,
    }),
    params: PARAMS.pack({
      rows,
      stride,
      panels: Math.ceil(cols / 32),
      columns: cols,
      first: o.firstRow,
      smoothing,
      z_loss: zLoss,
    }),
    bindings: {
      logits: o.logits.region,
      targets: o.targets,
      nll: o.nll,
      scale: o.scale,
      log_sum_exp: o.logSumExp,
      plain: o.plain,
    },
    groups: spread(shape.groups(rows)),
    bytes: rows * cols * (o.scale ? 12 : 4),
  });
}
