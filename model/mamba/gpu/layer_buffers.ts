/** What a layer keeps and what the layers share: shapes and allocation. @module */
import { convSiluScratch } from "../../../kernels/conv_silu/conv_silu.ts";
import type { Sizing } from "../../../kernels/device.ts";
import type { Matrix, Region } from "../../../kernels/layout.ts";
import { rmsNormScratch } from "../../../kernels/rmsnorm/rmsnorm.ts";
import { type ScanShape, scanSizes } from "../../../kernels/scan/mod.ts";
import type { MambaConfig } from "../config.ts";
import type { Workspace } from "./activations.ts";
import { storedSizes } from "./placement.ts";

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

/** Of the scan's output, which has been seen to reach 1e6, where f16 ends at 65,504. */
export const SCAN_EXPONENT = 6;

/** Allocates what one layer keeps, some of it in f16 where `half` says so. */
export function layerActivations(
  device: Sizing,
  workspace: Workspace,
  config: MambaConfig,
  shape: BatchShape,
  index: number,
  half?: "f16",
): LayerActivations {
  const rows = shape.batch * shape.length;
  const { e, xDbl } = storedSizes(config);
  const sizes = scanSizes(device, scanShape(config, shape));
  const d = config.hiddenSize;
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
    out: { ...matrix("scan output", e), exponent: SCAN_EXPONENT },
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
  const rows = shape.batch * shape.length;
  const { e, xDbl } = storedSizes(config);
  const d = config.hiddenSize;
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
