/**
 * One step of the recurrence: the convolution with its window and the selective scan with its state,
 * as generation runs them. Over channels a row is a panel matrix's; with one row of stride 1, which is
 * the default, it is a plain vector.
 * @module
 */
import type { Region } from "../layout.ts";
import type { Plan } from "../plan.ts";
import { range } from "../range.ts";
import { type Program, sumOf, uniforms, WgslWriter } from "../wgsl/mod.ts";
import { writeActivations, writeConstants } from "./arithmetic.ts";

/** The sequences that step together. */
export interface StepRows {
  /** 1 by default. */
  rows?: number;
  /** Rows allocated in every panel matrix; 1 by default. */
  stride?: number;
}

/** Invocations of a workgroup: one for each channel. */
const GROUP = 64;

/** Writes `at(c, r)`: the index of channel c of row r in a panel matrix. */
function writePanelIndex(w: WgslWriter): void {
  w.fn(
    "at(c: u32, r: u32) -> u32",
    "return ((c / 32u) * p.stride + r) * 32u + c % 32u;",
  );
}

/** Writes the entry point of a step: its body sees the channel c and the row r. */
function writeStepMain(w: WgslWriter, body: () => void): void {
  w.main(GROUP, { id: "global_invocation_id" }, () => {
    w.line("let c = id.x;", "let r = id.y;");
    w.if("c >= p.channels", () => w.line("return;"));
    body();
  });
}

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

const CONVOLUTION_PARAMS = uniforms({ channels: "u32", padded: "u32", stride: "u32" });

function convolutionProgram(width: number): Program {
  const before = width - 1;
  const w = new WgslWriter();
  w.uniforms("p", CONVOLUTION_PARAMS);
  w.storage("x", "f32");
  w.storage("weight", "f32");
  w.storage("bias", "f32");
  w.storage("window", "f32", "read_write");
  w.storage("u", "f32", "read_write");
  w.const("WIDTH", width);
  w.const("BEFORE", before);
  writeConstants(w);
  writePanelIndex(w);
  writeStepMain(w, () => {
    w.line("let seen = r * BEFORE * p.padded + c;", "let now = x[at(c, r)];");
    w.unroll(before, (i) => w.line(`let x${i} = window[seen + ${i}u * p.padded];`));
    const terms = range(before).map((i) => `weight[c * WIDTH + ${i}u] * x${i}`);
    w.line(`let v = ${sumOf(["bias[c]", "weight[c * WIDTH + BEFORE] * now", ...terms])};`);
    w.unroll(before, (i) => {
      w.line(`window[seen + ${i}u * p.padded] = ${i + 1 < before ? `x${i + 1}` : "now"};`);
    });
    w.line("u[at(c, r)] = v / (1.0 + exp2(v * -LOG2E));");
  });
  return w.program();
}

/** Appends u = silu(bias + sum over j of w[j] x[t - j]) and moves the window on. */
export function convolutionStep(plan: Plan, o: ConvolutionStep): void {
  plan.dispatch({
    label: "convolution step",
    code: convolutionProgram(o.width),
    params: CONVOLUTION_PARAMS.pack({
      channels: o.channels,
      padded: o.padded,
      stride: o.stride ?? 1,
    }),
    bindings: { x: o.x, weight: o.weight, bias: o.bias, window: o.window, u: o.u },
    groups: [Math.ceil(o.channels / GROUP), o.rows ?? 1],
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

const SCAN_PARAMS = uniforms({
  channels: "u32",
  padded: "u32",
  /** Columns at which B and z begin. */
  bc: "u32",
  z: "u32",
  stride: "u32",
});

function scanProgram(states: number): Program {
  const w = new WgslWriter();
  w.uniforms("p", SCAN_PARAMS);
  w.storage("u", "f32");
  w.storage("delta", "f32");
  w.storage("bc", "f32");
  w.storage("par", "f32");
  w.storage("z", "f32");
  w.storage("state", "f32", "read_write");
  w.storage("y", "f32", "read_write");
  w.const("NP", Math.ceil(states / 4) * 4);
  writeConstants(w);
  writeActivations(w, "f32");
  writePanelIndex(w);
  writeStepMain(w, () => {
    w.line(`
      let raw = delta[at(c, r)] + par[(NP + 1u) * p.padded + c];
      let step = softplus(raw, exp_of_minus_abs(raw));
      let input = u[at(c, r)];
      let gain = step * input;
      let own = r * p.padded * NP + (c / 32u) * (NP * 32u) + c % 32u;
    `);
    w.unroll(states, (n) => {
      w.line(
        `let Abar${n} = exp2(step * par[${n}u * p.padded + c] * LOG2E);`,
        `let h${n} = Abar${n} * state[own + ${n * 32}u] + gain * bc[at(p.bc + ${n}u, r)];`,
        `state[own + ${n * 32}u] = h${n};`,
      );
    });
    const terms = range(states).map((n) => `h${n} * bc[at(p.bc + NP + ${n}u, r)]`);
    w.line(
      `let sum = ${sumOf([...terms, "par[NP * p.padded + c] * input"])};`,
      "let gate = z[at(p.z + c, r)];",
      "y[at(c, r)] = sum * gate * sigmoid(gate);",
    );
  });
  return w.program();
}

/** Appends one step of the gated scan. */
export function scanStep(plan: Plan, o: ScanStep): void {
  plan.dispatch({
    label: "scan step",
    code: scanProgram(o.states),
    params: SCAN_PARAMS.pack({
      channels: o.channels,
      padded: o.padded,
      bc: o.bcOffset,
      z: o.zOffset,
      stride: o.stride ?? 1,
    }),
    bindings: { u: o.u, delta: o.delta, bc: o.bc, par: o.par, z: o.z, state: o.state, y: o.y },
    groups: [Math.ceil(o.channels / GROUP), o.rows ?? 1],
    flop: o.channels * o.states * 7,
  });
}
