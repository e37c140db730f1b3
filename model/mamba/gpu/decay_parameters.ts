/**
 * A layer's decay rates, skips and biases of delta, as the recurrence reads them and their gradients come
 * back: A = -exp(A_log), and what lies behind A_log as it is.
 * @module
 */
import type { Region } from "../../../kernels/layout.ts";
import type { Plan } from "../../../kernels/plan.ts";
import { uniforms } from "../../../kernels/wgsl/mod.ts";

/** Counts of vec4f: of logarithms, and of all. */
const PARAMS = uniforms({ logs: "u32", count: "u32" });

/** par = [-exp(logarithms), the rest]; `logs` floats are logarithms. */
export function decayParameters(plan: Plan, stored: Region, par: Region, logs: number): void {
  const count = stored.size / 16;
  plan.dispatch({
    label: "scan parameters",
    code: `${PARAMS.struct("P")}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> stored: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> par: array<vec4f>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i >= p.count) {
    return;
  }
  let x = stored[i];
  par[i] = select(x, -exp(x), i < p.logs);
}`,
    params: PARAMS.pack({ logs: logs / 4, count }),
    bindings: [stored, par],
    groups: [Math.ceil(count / 64)],
    bytes: 2 * stored.size,
  });
}

/** Gradients of the logarithms (dA A, since A = -exp(A_log)) and of the rest, added to `gradient`. */
export function decayParametersBackward(
  plan: Plan,
  par: Region,
  dpar: Region,
  gradient: Region,
  logs: number,
): void {
  const count = gradient.size / 16;
  plan.dispatch({
    label: "scan parameters backward",
    code: `${PARAMS.struct("P")}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> par: array<vec4f>;
@group(0) @binding(2) var<storage, read> dpar: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> gradient: array<vec4f>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i >= p.count) {
    return;
  }
  gradient[i] += select(dpar[i], dpar[i] * par[i], i < p.logs);
}`,
    params: PARAMS.pack({ logs: logs / 4, count }),
    bindings: [par, dpar, gradient],
    groups: [Math.ceil(count / 64)],
    bytes: 4 * gradient.size,
  });
}
