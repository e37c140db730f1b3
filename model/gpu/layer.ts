/**
 * One Mamba layer on the device: its activations, forward and backward.
 *
 * With R = b * l rows: stream (R, d) is the residual stream before the layer's norm; y = norm(stream);
 * xz = y W_in^T; u = silu(conv(x)); x_dbl = u W_x^T = [delta's r | B, C]; delta = x_dbl W_dt^T;
 * out = scan(u, delta, A, B, C, D, z); the layer adds out W_out^T to the stream.
 *
 * In mixed precision y, xz, u and dxz are f16: they leave and enter products, whose error their
 * rounding resembles. The scan's output reaches 1e6, delta and x_dbl steer exponentials, and the
 * gradient of u is added to: these stay f32.
 * @module
 */
import {
  convSiluBackward,
  convSiluForward,
  convSiluScratch,
} from "../../kernels/conv_silu/conv_silu.ts";
import type { Sizing } from "../../kernels/device.ts";
import { columns, type Matrix, type Region } from "../../kernels/layout.ts";
import { matmul } from "../../kernels/matmul/mod.ts";
import { packParams, type Plan } from "../../kernels/plan.ts";
import { rmsNormBackward, rmsNormForward, rmsNormScratch } from "../../kernels/rmsnorm/rmsnorm.ts";
import {
  scanBackward,
  type ScanForward,
  scanForward,
  type ScanShape,
  scanSizes,
} from "../../kernels/scan/mod.ts";
import type { MambaConfig } from "../config.ts";
import type { Workspace } from "./activations.ts";
import { type ParameterStore, storedSizes } from "./store.ts";

/** A batch's extents. */
export interface BatchShape {
  batch: number;
  length: number;
}

/** What a layer keeps from the forward for the backward. */
export interface LayerActivations {
  /** (R, d) the residual stream, this layer's input added. */
  stream: Matrix;
  inverseRms: Region;
  /** (R, d) normed. */
  y: Matrix;
  /** (R, 2e) x and z. */
  xz: Matrix;
  /** (R, e) */
  u: Matrix;
  /** (R, r + 32) */
  xDbl: Matrix;
  /** (R, e) before bias and softplus. */
  delta: Matrix;
  /** (R, e) the scan's gated output. */
  out: Matrix;
  /** (np + 2, e) A, D, bias of delta. */
  par: Region;
  checkpoints: Region;
  sums: Region;
  state: Region;
}

/** Scratch that all layers' backward passes share. */
export interface LayerScratch {
  /** (R, 2e) gradients of x and z. */
  dxz: Matrix;
  /** (R, e) gradient of the scan's output, then, in its place, that of u. */
  dout: Matrix;
  ddelta: Matrix;
  dxDbl: Matrix;
  /** (R, d) */
  dy: Matrix;
  dpar: Region;
  parts: Region;
  dcheckpoints: Region;
  /** For column sums of norms and convolutions. */
  partials: Region;
}

/** What a layer scans. */
export const scanShape = (config: MambaConfig, { batch, length }: BatchShape): ScanShape => ({
  batch,
  length,
  channels: storedSizes(config).e,
  states: config.stateSize,
  softplus: true,
  bias: true,
  skip: true,
  gate: true,
  packed: true,
  initialState: false,
});

/** Allocates what one layer keeps, some of it in f16 where `half` says so. */
export function layerActivations(
  device: Sizing,
  workspace: Workspace,
  config: MambaConfig,
  shape: BatchShape,
  index: number,
  half?: "f16",
): LayerActivations {
  const rows = shape.batch * shape.length, { e, xDbl } = storedSizes(config);
  const sizes = scanSizes(device, scanShape(config, shape)), d = config.hiddenSize;
  const matrix = (what: string, cols: number, type?: "f16") =>
    workspace.matrix(`layer ${index} ${what}`, rows, cols, type);
  const words = (what: string, count: number) => workspace.words(`layer ${index} ${what}`, count);
  return {
    stream: matrix("residual stream", d),
    inverseRms: words("inverse rms", rows),
    y: matrix("normed", d, half),
    xz: matrix("x and z", 2 * e, half),
    u: matrix("u", e, half),
    xDbl: matrix("delta, B and C", xDbl),
    delta: matrix("delta", e),
    out: matrix("scan output", e),
    par: words("A, D and bias", sizes.par),
    checkpoints: words("states", sizes.checkpoints),
    sums: words("decay sums", sizes.sums),
    state: words("last state", sizes.state),
  };
}

/** Allocates what the layers share. */
export function layerScratch(
  device: Sizing,
  workspace: Workspace,
  config: MambaConfig,
  shape: BatchShape,
  half?: "f16",
): LayerScratch {
  const rows = shape.batch * shape.length, { e, xDbl } = storedSizes(config), d = config.hiddenSize;
  const sizes = scanSizes(device, scanShape(config, shape));
  const matrix = (what: string, cols: number) => workspace.matrix(what, rows, cols);
  return {
    dxz: workspace.matrix("gradient of x and z", rows, 2 * e, half),
    dout: matrix("gradient of the scan's output and of u", e),
    ddelta: matrix("gradient of delta", e),
    dxDbl: matrix("gradient of delta, B and C", xDbl),
    dy: matrix("gradient of the norm's output", d),
    dpar: workspace.words("gradient of A, D and bias", sizes.par),
    parts: workspace.words("gradients of the scan by part", sizes.parts),
    dcheckpoints: workspace.words("gradient of the states", sizes.dcheckpoints),
    partials: workspace.words(
      "column sums",
      Math.max(
        rmsNormScratch({ device }, rows, d),
        convSiluScratch({ device }, rows, e, config.convKernel),
      ),
    ),
  };
}

const nameOf = (index: number, kind: string) => `backbone.layers.${index}.${kind}`;

/** What a forward reads of the layer before: its stream and what it adds to it. */
export interface LayerInput {
  stream: Matrix;
  /** Absent for the first layer, whose stream is the embedding. */
  mixed?: Matrix;
}

/** Appends one layer's forward up to the scan: fills `a`. */
export function layerForward(
  plan: Plan,
  store: ParameterStore,
  shape: BatchShape,
  index: number,
  input: LayerInput,
  a: LayerActivations,
  starts: Region,
): void {
  const { config } = store, { r } = storedSizes(config);
  const weight = (kind: string) => store.operand(nameOf(index, `mixer.${kind}.weight`));
  rmsNormForward(plan, {
    residual: input.stream,
    x: input.mixed,
    sum: input.mixed ? a.stream : undefined,
    weight: store.region(nameOf(index, "norm.weight")),
    y: a.y,
    inverseRms: a.inverseRms,
    epsilon: config.normEpsilon,
  });
  matmul(plan, { product: "NT", a: a.y, b: weight("in_proj"), c: a.xz, label: "in_proj" });
  convSiluForward(plan, {
    x: columns(a.xz, 0, config.intermediateSize),
    weight: store.region(nameOf(index, "mixer.conv1d.weight")),
    bias: store.region(nameOf(index, "mixer.conv1d.bias")),
    width: config.convKernel,
    starts,
    y: a.u,
  });
  matmul(plan, { product: "NT", a: a.u, b: weight("x_proj"), c: a.xDbl, label: "x_proj" });
  const rank = columns(a.xDbl, 0, r);
  matmul(plan, { product: "NT", a: rank, b: weight("dt_proj"), c: a.delta, label: "dt_proj" });
  scanParameters(plan, store, index, a.par);
  const scan = layerScan(config, shape, a, starts);
  scanForward(plan, scan.shape, scan.buffers);
}

/** The scan of a layer: what forward and backward must agree on. */
function layerScan(
  config: MambaConfig,
  shape: BatchShape,
  a: LayerActivations,
  starts: Region,
): { shape: ScanShape; buffers: ScanForward } {
  const { e, r } = storedSizes(config);
  return {
    shape: { ...scanShape(config, shape), half: a.u.type === "f16" },
    buffers: {
      u: a.u.region,
      delta: a.delta.region,
      bc: columns(a.xDbl, r, 32).region,
      par: a.par,
      z: columns(a.xz, e, e).region,
      starts,
      y: a.out.region,
      state: a.state,
      checkpoints: a.checkpoints,
      sums: a.sums,
    },
  };
}

/** Appends what the layer adds to the stream: mixed (R, d) = out W_out^T. */
export function layerOutput(
  plan: Plan,
  store: ParameterStore,
  index: number,
  a: LayerActivations,
  mixed: Matrix,
): void {
  const b = store.operand(nameOf(index, "mixer.out_proj.weight"));
  matmul(plan, { product: "NT", a: a.out, b, c: mixed, label: "out_proj" });
}

/**
 * Appends one layer's backward: `dstream`, the gradient of the stream after the layer, becomes that
 * of the stream before it; the parameters' gradients are added to.
 */
export function layerBackward(
  plan: Plan,
  store: ParameterStore,
  shape: BatchShape,
  index: number,
  a: LayerActivations,
  s: LayerScratch,
  dstream: Matrix,
  starts: Region,
): void {
  const { config } = store, { e, r } = storedSizes(config);
  const weight = (kind: string) => store.operand(nameOf(index, `mixer.${kind}.weight`));
  const gradient = (kind: string) =>
    store.matrix(nameOf(index, `mixer.${kind}.weight`), "gradient");
  /** Of out = x . W^T: dx (= or +=) dout . W, and dW += dout^T . x. */
  const linearBackward = (
    kind: string,
    dout: Matrix,
    x: Matrix,
    dx: Matrix,
    accumulate = false,
  ) => {
    matmul(plan, { product: "NN", a: dout, b: weight(kind), c: dx, accumulate, label: kind });
    matmul(plan, {
      product: "TN",
      a: dout,
      b: x,
      c: gradient(kind),
      accumulate: true,
      sameA: true,
      label: kind,
    });
  };
  linearBackward("out_proj", dstream, a.out, s.dout);
  const scan = layerScan(config, shape, a, starts);
  scanBackward(plan, scan.shape, {
    ...scan.buffers,
    gy: s.dout.region,
    ddelta: s.ddelta.region,
    dz: columns(s.dxz, e, e).region,
    dbc: columns(s.dxDbl, r, 32).region,
    dpar: s.dpar,
    parts: s.parts,
    dcheckpoints: s.dcheckpoints,
  });
  scanParametersBackward(plan, store, index, a.par, s.dpar);
  linearBackward("dt_proj", s.ddelta, columns(a.xDbl, 0, r), columns(s.dxDbl, 0, r));
  linearBackward("x_proj", s.dxDbl, a.u, s.dout, true);
  convSiluBackward(plan, {
    x: columns(a.xz, 0, config.intermediateSize),
    weight: store.region(nameOf(index, "mixer.conv1d.weight")),
    bias: store.region(nameOf(index, "mixer.conv1d.bias")),
    width: config.convKernel,
    starts,
    dy: s.dout,
    dx: columns(s.dxz, 0, config.intermediateSize),
    dweight: store.region(nameOf(index, "mixer.conv1d.weight"), "gradient"),
    dbias: store.region(nameOf(index, "mixer.conv1d.bias"), "gradient"),
    scratch: s.partials,
  });
  linearBackward("in_proj", s.dxz, a.y, s.dy);
  rmsNormBackward(plan, {
    dy: s.dy,
    sum: a.stream,
    weight: store.region(nameOf(index, "norm.weight")),
    inverseRms: a.inverseRms,
    dstream,
    accumulate: true,
    dweight: store.region(nameOf(index, "norm.weight"), "gradient"),
    scratch: s.partials,
  });
}

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
  const { np, e } = storedSizes(store.config), floats = scanFloats(store.config);
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
    bindings: [store.region(nameOf(index, "mixer.A_log"), "value", floats), par],
    groups: [Math.ceil(floats / 4 / 64)],
    bytes: floats * 8,
  });
}

/** Gradients of A_log (dA * A, since A = -exp(A_log)), D and bias, added to the store's. */
function scanParametersBackward(
  plan: Plan,
  store: ParameterStore,
  index: number,
  par: Region,
  dpar: Region,
): void {
  const { np, e } = storedSizes(store.config), floats = scanFloats(store.config);
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
    bindings: [par, dpar, store.region(nameOf(index, "mixer.A_log"), "gradient", floats)],
    groups: [Math.ceil(floats / 4 / 64)],
    bytes: floats * 16,
  });
}
