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
import { convSiluBackward, convSiluForward } from "../../../kernels/conv_silu/conv_silu.ts";
import { columns, type Matrix, type Region } from "../../../kernels/layout.ts";
import { matmul } from "../../../kernels/matmul/mod.ts";
import type { Plan } from "../../../kernels/plan.ts";
import { rmsNormBackward, rmsNormForward } from "../../../kernels/rmsnorm/rmsnorm.ts";
import {
  scanBackward,
  type ScanForward,
  scanForward,
  type ScanShape,
} from "../../../kernels/scan/mod.ts";
import type { MambaConfig } from "../config.ts";
import {
  type BatchShape,
  type LayerActivations,
  type LayerScratch,
  scanShape,
} from "./layer_buffers.ts";
import { storedSizes } from "./placement.ts";
import { scanParameters, scanParametersBackward } from "./scan_parameters.ts";
import type { ParameterStore } from "./store.ts";

export { scanParameters } from "./scan_parameters.ts";

const nameOf = (index: number, kind: string) => `backbone.layers.${index}.${kind}`;

/** Appends one layer's forward up to the scan: fills `a` from its stream. */
export function layerForward(
  plan: Plan,
  store: ParameterStore,
  shape: BatchShape,
  index: number,
  a: LayerActivations,
  starts: Region,
): void {
  const { config } = store;
  const { r } = storedSizes(config);
  const weight = (kind: string) => store.operand(nameOf(index, `mixer.${kind}.weight`));
  rmsNormForward(plan, {
    residual: a.stream,
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

/**
 * Appends the rest of a layer: the stream after it is the stream before it + out W_out^T, in a matrix
 * of its own or, where no backward needs the former, in its place.
 */
export function layerOutput(
  plan: Plan,
  store: ParameterStore,
  index: number,
  a: LayerActivations,
  after: Matrix,
): void {
  const b = store.operand(nameOf(index, "mixer.out_proj.weight"));
  const same = after.region.buffer === a.stream.region.buffer;
  const into = same ? { accumulate: true } : { residual: a.stream };
  matmul(plan, { product: "NT", a: a.out, b, c: after, label: "out_proj", ...into });
}

/**
 * Appends one layer's backward: `dstream`, the gradient of the stream after the layer, becomes that
 * of the stream before it; the parameters' gradients are added to. It has as many parameters as the
 * layer has kinds of operands: weights, shape, what the forward kept, scratch, gradient and starts.
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
  const { config } = store;
  const { e, r } = storedSizes(config);
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
      mixed: a.u.type === "f16",
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
