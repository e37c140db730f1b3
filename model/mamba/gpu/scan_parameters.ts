/** A layer's A, D and bias of delta, as its scan reads them and their gradients come back. @module */
import type { Region } from "../../../kernels/layout.ts";
import { packParams, type Plan } from "../../../kernels/plan.ts";
import type { MambaConfig } from "../config.ts";
import { storedSizes } from "./placement.ts";
import type { ParameterStore } from "./store.ts";

/** Floats of A_log, D and the bias of delta, which lie together. */
const scanFloats = (config: MambaConfig) => {
  const { np, e } = storedSizes(config);
  return (np + 2) * e;
};

/** par = [-exp(A_log), D, bias]. */
export function scanParameters(
  plan: Plan,
  store: ParameterStore,
  index: number,
  par: Region,
): void {
  const { np, e } = storedSizes(store.config);
  const floats = scanFloats(store.config);
  plan.dispatch({
    label: "scan parameters",
    code: `struct P { logs: u32, count: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> stored: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> par: array<vec4f>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x; if (i >= p.count) { return; }
  let x = stored[i];
  par[i] = select(x, -exp(x), i < p.logs);
}`,
    params: packParams([np * e / 4, floats / 4]),
    bindings: [store.region(`backbone.layers.${index}.mixer.A_log`, "value", floats), par],
    groups: [Math.ceil(floats / 4 / 64)],
    bytes: floats * 8,
  });
}

/** Gradients of A_log (dA * A, since A = -exp(A_log)), D and bias, added to the store's. */
export function scanParametersBackward(
  plan: Plan,
  store: ParameterStore,
  index: number,
  par: Region,
  dpar: Region,
): void {
  const { np, e } = storedSizes(store.config);
  const floats = scanFloats(store.config);
  plan.dispatch({
    label: "scan parameters backward",
    code: `struct P { logs: u32, count: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> par: array<vec4f>;
@group(0) @binding(2) var<storage, read> dpar: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> gradient: array<vec4f>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x; if (i >= p.count) { return; }
  gradient[i] += select(dpar[i], dpar[i] * par[i], i < p.logs);
}`,
    params: packParams([np * e / 4, floats / 4]),
    bindings: [par, dpar, store.region(`backbone.layers.${index}.mixer.A_log`, "gradient", floats)],
    groups: [Math.ceil(floats / 4 / 64)],
    bytes: floats * 16,
  });
}
