/**
 * Softmax cross-entropy over rows of logits, and its gradient in place of the logits; what it
 * computes is said in `reference/cross_entropy.ts`. Maximum and sum of exponentials come from one
 * pass over the row (the sum is rescaled when the maximum grows), the gradient from a second.
 * @module
 */
import type { Matrix, Region } from "../layout.ts";
import { packParams, type Plan, spread } from "../plan.ts";
import { declare, rowShape } from "../wgsl/mod.ts";

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

const LOWEST = "-3.0e38";

/** Queues nll (and lse), and with a scale the gradient: scale (softmax - one-hot), the objective's terms added. */
export function crossEntropy(plan: Plan, o: CrossEntropy): void {
  const shape = rowShape(plan.device, 256), { rows, cols, stride } = o.logits;
  const ragged = cols % 32 !== 0;
  const smoothing = o.objective?.labelSmoothing ?? 0, zLoss = o.objective?.zLoss ?? 0;
  const bound = (column: string) =>
    `(vec4u(4u * (${column})) + vec4u(0u, 1u, 2u, 3u)) < vec4u(p.columns)`;
  const read = (index: string, column: string, masked: boolean) =>
    masked ? `select(vec4f(${LOWEST}), logits[${index}], ${bound(column)})` : `logits[${index}]`;
  const absorb = (masked: boolean) => (list: { index: string; column: string }[]): string => {
    const values = list.map(({ index, column }, q) =>
      `let v${q} = ${read(index, column, masked)};`
    );
    const joined = list.slice(1).reduce((text, _, q) => `max(${text}, v${q + 1})`, "v0");
    const terms = list.map((_, q) => `exp(v${q} - above)`).join(" + ");
    // What lies beyond the vocabulary is no logit.
    const logit = (column: string, q: number) =>
      masked ? `select(vec4f(), v${q}, ${bound(column)})` : `v${q}`;
    return `${values.join("\n    ")}
    ${
      smoothing
        ? `logits_sum += dot(${
          list.map(({ column }, q) => logit(column, q)).join(" + ")
        }, vec4f(1.0));`
        : ""
    }
    let high = ${joined};
    let above = max(largest, max(max(high.x, high.y), max(high.z, high.w)));
    total = total * exp(largest - above) + dot(${terms}, vec4f(1.0));
    largest = above;`;
  };
  const gradient = (masked: boolean) => (index: string, column: string) => {
    const value = smoothing || zLoss
      ? `factor * (exp(logits[${index}] - lse) * (1.0 + 2.0 * p.z_loss * lse) - p.smoothing / f32(p.columns))`
      : `factor * exp(logits[${index}] - lse)`;
    return `logits[${index}] = ${masked ? `select(vec4f(), ${value}, ${bound(column)})` : value};`;
  };
  // The last, incomplete panel is handled apart, so that the long loop needs no masks.
  const tail = (text: string) =>
    text.replace("var i = 0u", "var i = whole").replace("var i = lane", "var i = whole + lane");
  const code =
    `struct P { rows: u32, stride: u32, panels: u32, columns: u32, first: u32, smoothing: f32, z_loss: f32 }
${
      declare([
        "<uniform> p: P",
        `<storage, ${o.scale ? "read_write" : "read"}> logits: array<vec4f>`,
        "<storage, read> targets: array<i32>",
        "<storage, read_write> nll: array<f32>",
        ...(o.scale ? ["<storage, read> scale: array<f32>"] : []),
        ...(o.logSumExp ? ["<storage, read_write> log_sum_exp: array<f32>"] : []),
      ])
    }
${shape.functions}
${shape.head}
  let row = p.first + min(r, p.rows - 1u);
  let wanted = targets[row];
  let scored = wanted >= 0;
  let word = u32(max(wanted, 0));
  let at_word = ((word / 32u) * p.stride + min(r, p.rows - 1u)) * 8u + (word % 32u) / 4u;
  let logit = logits[at_word][word % 4u];
  let whole = min(panels, p.columns / 32u);
  var largest = ${LOWEST};
  var total = 0.0;
  ${smoothing ? "var logits_sum = 0.0;" : ""}
  ${shape.loopPanels("whole", absorb(false))}
  ${ragged ? tail(shape.loopPanels("panels", absorb(true))) : ""}
  let above = ${shape.reduce("max", "largest")};
  let lse = above + log(${shape.reduce("sum", "total * exp(largest - above)")});
  ${
      smoothing || zLoss
        ? `let loss = lse - (1.0 - p.smoothing) * logit + p.z_loss * lse * lse${
          smoothing ? ` - p.smoothing * ${shape.reduce("sum", "logits_sum")} / f32(p.columns)` : ""
        };`
        : "let loss = lse - logit;"
    }
  if (lane == 0u && r < p.rows) {
    nll[row] = select(0.0, loss, scored);
    ${o.logSumExp ? "log_sum_exp[row] = lse;" : ""}
  }
  ${
      o.scale
        ? `let factor = select(0.0, scale[0], scored);
  ${shape.loop("whole", gradient(false))}
  ${ragged ? tail(shape.loop("panels", gradient(true))) : ""}
  if (scored && r < p.rows && lane == ${
          shape.owner("word % 32u / 4u + select(word / 32u * 8u, 0u, word / 32u == whole)")
        }) {
    logits[at_word][word % 4u] -= factor * (1.0 - p.smoothing);
  }`
        : ""
    }
}`;
  plan.dispatch({
    label: o.scale ? "cross-entropy and gradient" : "cross-entropy",
    code,
    params: packParams([
      rows,
      stride,
      Math.ceil(cols / 32),
      cols,
      o.firstRow,
      { f32: smoothing },
      { f32: zLoss },
    ]),
    bindings: [
      o.logits.region,
      o.targets,
      o.nll,
      ...(o.scale ? [o.scale] : []),
      ...(o.logSumExp ? [o.logSumExp] : []),
    ],
    groups: spread(shape.groups(rows)),
    bytes: rows * cols * (o.scale ? 12 : 4),
  });
}
