/**
 * Losses over a few labels per row, and their gradients in the logits' place; what they compute is said
 * in `reference/label_loss.ts`. One invocation for each row: there are few labels and few rows.
 * @module
 */
import type { Matrix, Region } from "../layout.ts";
import type { Plan } from "../plan.ts";
import type { LabelLoss } from "../reference/label_loss.ts";
import { type Program, uniforms, WgslWriter } from "../wgsl/mod.ts";

/** Operands. */
export interface LabelLossCall {
  kind: LabelLoss;
  /** (rows, K): becomes the gradient where `scale` is given. */
  logits: Matrix;
  /** softmax: i32 per row; sigmoid: f32 (rows, K) row-major; squared: f32 per row. */
  targets: Region;
  /** f32 per row; 0 where it is not scored. */
  weights: Region;
  /** f32 per row: the weighted loss. */
  loss: Region;
  /** One float: the gradient is of scale x the summed loss. Without it the logits stay. */
  scale?: Region;
}

const GROUP = 32;

const PARAMS = uniforms({ rows: "u32", labels: "u32", stride: "u32" });

function program(kind: LabelLoss, gradient: boolean): Program {
  const w = new WgslWriter();
  w.const("GROUP", GROUP);
  w.uniforms("p", PARAMS);
  w.storage("logits", "f32", gradient ? "read_write" : "read");
  w.storage("targets", kind === "softmax" ? "i32" : "f32");
  w.storage("weights", "f32");
  w.storage("loss", "f32", "read_write");
  if (gradient) w.storage("scale", "f32");
  w.fn("place(r: u32, k: u32) -> u32", "return ((k / 32u) * p.stride + r) * 32u + k % 32u;");
  w.main("GROUP", { id: "global_invocation_id" }, () => {
    w.line("let r = id.x;");
    w.if("r >= p.rows", () => w.line("return;"));
    w.line("let weight = weights[r];");
    if (gradient) w.line("let factor = weight * scale[0];");
    w.if("weight == 0.0", () => {
      w.line("loss[r] = 0.0;");
      if (gradient) {
        w.for("var k = 0u; k < p.labels; k++", () => w.line("logits[place(r, k)] = 0.0;"));
      }
      w.line("return;");
    });
    if (kind === "softmax") writeSoftmax(w, gradient);
    else if (kind === "sigmoid") writeSigmoid(w, gradient);
    else writeSquared(w, gradient);
  });
  return w.program();
}

function writeSoftmax(w: WgslWriter, gradient: boolean): void {
  w.line("let wanted = u32(targets[r]);", "var largest = logits[place(r, 0u)];");
  w.for("var k = 1u; k < p.labels; k++", () => {
    w.line("largest = max(largest, logits[place(r, k)]);");
  });
  w.line("var total = 0.0;");
  w.for("var k = 0u; k < p.labels; k++", () => {
    w.line("total += exp(logits[place(r, k)] - largest);");
  });
  w.line("loss[r] = weight * (largest + log(total) - logits[place(r, wanted)]);");
  if (!gradient) return;
  w.for("var k = 0u; k < p.labels; k++", () => {
    w.line(`
      let at = place(r, k);
      let hot = select(0.0, 1.0, k == wanted);
      logits[at] = factor * (exp(logits[at] - largest) / total - hot);
    `);
  });
}

function writeSigmoid(w: WgslWriter, gradient: boolean): void {
  w.line("var total = 0.0;");
  w.for("var k = 0u; k < p.labels; k++", () => {
    w.line(`
      let at = place(r, k);
      let x = logits[at];
      let wanted = targets[r * p.labels + k];
      total += max(x, 0.0) + log(1.0 + exp(-abs(x))) - wanted * x;
    `);
    if (gradient) w.line("logits[at] = factor * (1.0 / (1.0 + exp(-x)) - wanted);");
  });
  w.line("loss[r] = weight * total;");
}

function writeSquared(w: WgslWriter, gradient: boolean): void {
  w.line(`
    let at = place(r, 0u);
    let off = logits[at] - targets[r];
    loss[r] = weight * off * off;
  `);
  if (!gradient) return;
  w.line("logits[at] = factor * 2.0 * off;");
}

/** Queues the losses, and with a scale the gradients. */
export function labelLoss(plan: Plan, o: LabelLossCall): void {
  const { rows, cols, stride } = o.logits;
  plan.dispatch({
    label: o.scale ? "label loss and gradient" : "label loss",
    code: program(o.kind, o.scale !== undefined),
    params: PARAMS.pack({ rows, labels: cols, stride }),
    bindings: {
      logits: o.logits.region,
      targets: o.targets,
      weights: o.weights,
      loss: o.loss,
      scale: o.scale,
    },
    groups: [Math.ceil(rows / GROUP)],
    bytes: rows * cols * 12,
  });
}
