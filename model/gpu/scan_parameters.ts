/** A layer's A, D and bias of delta, as its scan reads them and their gradients come back. @module */
import type { Region } from "../../kernels/layout.ts";
import type { Plan } from "../../kernels/plan.ts";
import {
  type Program,
  uniforms,
  vectorGroups,
  vectorMain,
  WgslWriter,
} from "../../kernels/wgsl/mod.ts";
import type { MambaConfig } from "../config.ts";
import { storedSizes } from "./placement.ts";
import type { ParameterStore } from "./store.ts";

/** Floats of A_log, D and the bias of delta, which lie together. */
const scanFloats = (config: MambaConfig) => {
  const { np, e } = storedSizes(config);
  return (np + 2) * e;
};

/** Vectors of A_log, and of all that lies together. */
const PARAMS = uniforms({ logs: "u32", count: "u32" });

const paramsOf = (config: MambaConfig): ArrayBuffer => {
  const { np, e } = storedSizes(config);
  return PARAMS.pack({ logs: np * e / 4, count: scanFloats(config) / 4 });
};

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

/** par = [-exp(A_log), D, bias]. */
export function scanParameters(
  plan: Plan,
  store: ParameterStore,
  index: number,
  par: Region,
): void {
  const floats = scanFloats(store.config);
  plan.dispatch({
    label: "scan parameters",
    code: forwardProgram(),
    params: paramsOf(store.config),
    bindings: {
      stored: store.region(`backbone.layers.${index}.mixer.A_log`, "value", floats),
      par,
    },
    groups: vectorGroups(floats / 4),
    bytes: floats * 8,
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

/** Gradients of A_log (dA * A, since A = -exp(A_log)), D and bias, added to the store's. */
export function scanParametersBackward(
  plan: Plan,
  store: ParameterStore,
  index: number,
  par: Region,
  dpar: Region,
): void {
  const floats = scanFloats(store.config);
  plan.dispatch({
    label: "scan parameters backward",
    code: backwardProgram(),
    params: paramsOf(store.config),
    bindings: {
      par,
      dpar,
      gradient: store.region(`backbone.layers.${index}.mixer.A_log`, "gradient", floats),
    },
    groups: vectorGroups(floats / 4),
    bytes: floats * 16,
  });
}
