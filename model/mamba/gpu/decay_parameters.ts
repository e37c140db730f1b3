/**
 * A layer's decay rates, skips and biases of delta, as the recurrence reads them and their gradients come
 * back: A = -exp(A_log), and what lies behind A_log as it is.
 * @module
 */
import type { Region } from "../../../kernels/layout.ts";
import type { Plan } from "../../../kernels/plan.ts";
import {
  type Program,
  uniforms,
  vectorGroups,
  vectorMain,
  WgslWriter,
} from "../../../kernels/wgsl/mod.ts";

/** Counts of vec4f: of logarithms, and of all. */
const PARAMS = uniforms({ logs: "u32", count: "u32" });

function forwardProgram(): Program {
  const w = new WgslWriter();
  w.uniforms("p", PARAMS);
  w.storage("stored", "vec4f");
  w.storage("par", "vec4f", "read_write");
  vectorMain(w, () => {
    w.if("i >= p.count", () => w.line("return;"));
    w.line("let x = stored[i];", "par[i] = select(x, -exp(x), i < p.logs);");
  });
  return w.program();
}

/** par = [-exp(logarithms), the rest]; `logs` floats are logarithms. */
export function decayParameters(plan: Plan, stored: Region, par: Region, logs: number): void {
  const count = stored.size / 16;
  plan.dispatch({
    label: "scan parameters",
    code: forwardProgram(),
    params: PARAMS.pack({ logs: logs / 4, count }),
    bindings: { stored, par },
    groups: vectorGroups(count),
    bytes: 2 * stored.size,
  });
}

function backwardProgram(): Program {
  const w = new WgslWriter();
  w.uniforms("p", PARAMS);
  w.storage("par", "vec4f");
  w.storage("dpar", "vec4f");
  w.storage("gradient", "vec4f", "read_write");
  vectorMain(w, () => {
    w.if("i >= p.count", () => w.line("return;"));
    w.line("gradient[i] += select(dpar[i], dpar[i] * par[i], i < p.logs);");
  });
  return w.program();
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
    code: backwardProgram(),
    params: PARAMS.pack({ logs: logs / 4, count }),
    bindings: { par, dpar, gradient },
    groups: vectorGroups(count),
    bytes: 4 * gradient.size,
  });
}
