/**
 * One step of the recurrence: the convolution with its window and the selective scan with its state,
 * as generation runs them. Over channels a row is a panel matrix's; with one row of stride 1, which is
 * the default, it is a plain vector.
 * @module
 */
import type { Region } from "../layout.ts";
import { packParams, type Plan } from "../plan.ts";
import { elementwise, lines, LOG2E, range, sum } from "./shape.ts";

/** The sequences that step together. */
export interface StepRows {
  /** 1 by default. */
  rows?: number;
  /** Rows allocated in every panel matrix; 1 by default. */
  stride?: number;
}

/** WGSL: the index of channel c of row r in a panel matrix. */
const PANEL_INDEX =
  "fn at(c: u32, r: u32) -> u32 { return ((c / 32u) * p.stride + r) * 32u + c % 32u; }";

/** Operands of {@linkcode convolutionStep}; W is the padded number of channels. */
export interface ConvolutionStep extends StepRows {
  /** (rows, W) this step's input. */
  x: Region;
  /** (e, width) row-major. */
  weight: Region;
  /** (e) */
  bias: Region;
  /** (rows, width - 1, W) the inputs before, oldest first; moved on by one. */
  window: Region;
  /** (rows, W) silu of the convolution. */
  u: Region;
  width: number;
  channels: number;
  /** W */
  padded: number;
}

/** Appends u = silu(bias + sum over j of w[j] x[t - j]) and moves the window on. */
export function convolutionStep(plan: Plan, o: ConvolutionStep): void {
  const before = o.width - 1;
  plan.dispatch({
    label: "convolution step",
    code: `struct P { channels: u32, padded: u32, stride: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> window: array<f32>;
@group(0) @binding(5) var<storage, read_write> u: array<f32>;
${PANEL_INDEX}
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  let c = id.x; if (c >= p.channels) { return; }
  let r = id.y; let seen = r * ${before}u * p.padded + c;
  let now = x[at(c, r)];
  ${range(before).map((i) => `let x${i} = window[seen + ${i}u * p.padded];`).join(" ")}
  let v = bias[c] + weight[c * ${o.width}u + ${before}u] * now${
      range(before).map((i) => ` + weight[c * ${o.width}u + ${i}u] * x${i}`).join("")
    };
  ${
      range(before).map((i) =>
        `window[seen + ${i}u * p.padded] = ${i + 1 < before ? `x${i + 1}` : "now"};`
      ).join(" ")
    }
  u[at(c, r)] = v / (1.0 + exp2(v * -${LOG2E}));
}`,
    params: packParams([o.channels, o.padded, o.stride ?? 1]),
    bindings: [o.x, o.weight, o.bias, o.window, o.u],
    groups: [Math.ceil(o.channels / 64), o.rows ?? 1],
  });
}

/** Operands of {@linkcode scanStep}: layouts as in shape.ts, with one row. */
export interface ScanStep extends StepRows {
  u: Region;
  /** (rows, W) before bias and softplus. */
  delta: Region;
  /** From column `bcOffset` on: B, then C, (np) each. */
  bc: Region;
  bcOffset: number;
  /** (np + 2, W) A, D, bias of delta. */
  par: Region;
  /** (W) from column `zOffset` on. */
  z: Region;
  zOffset: number;
  /** (rows, W / 32, np, 32), moved on. */
  state: Region;
  y: Region;
  states: number;
  channels: number;
  /** W */
  padded: number;
}

/** Appends one step of the gated scan. */
export function scanStep(plan: Plan, o: ScanStep): void {
  const np = Math.ceil(o.states / 4) * 4;
  plan.dispatch({
    label: "scan step",
    code: `struct P { channels: u32, padded: u32, bc: u32, z: u32, stride: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> u: array<f32>;
@group(0) @binding(2) var<storage, read> delta: array<f32>;
@group(0) @binding(3) var<storage, read> bc: array<f32>;
@group(0) @binding(4) var<storage, read> par: array<f32>;
@group(0) @binding(5) var<storage, read> z: array<f32>;
@group(0) @binding(6) var<storage, read_write> state: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;
${elementwise("f32")}
${PANEL_INDEX}
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  let c = id.x; if (c >= p.channels) { return; }
  let r = id.y; let raw = delta[at(c, r)] + par[${np + 1}u * p.padded + c];
  let step = softplus(raw, exp2(abs(raw) * -${LOG2E}));
  let input = u[at(c, r)]; let gain = step * input;
  let own = r * p.padded * ${np}u + (c / 32u) * ${np * 32}u + c % 32u;
  ${
      lines(o.states, (n) =>
        `let h${n} = exp2(step * par[${n}u * p.padded + c] * ${LOG2E}) * state[own + ${
          n * 32
        }u] + gain * bc[at(p.bc + ${n}u, r)]; state[own + ${n * 32}u] = h${n};`)
    }
  let gate = z[at(p.z + c, r)];
  y[at(c, r)] = (${
      sum(o.states, (n) => `h${n} * bc[at(p.bc + ${np + n}u, r)]`)
    } + par[${np}u * p.padded + c] * input)
    * gate * sigmoid(gate);
}`,
    params: packParams([o.channels, o.padded, o.bcOffset, o.zOffset, o.stride ?? 1]),
    bindings: [o.u, o.delta, o.bc, o.par, o.z, o.state, o.y],
    groups: [Math.ceil(o.channels / 64), o.rows ?? 1],
    flop: o.channels * o.states * 7,
  });
}
