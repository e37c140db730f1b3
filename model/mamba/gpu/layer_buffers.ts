/** What a layer keeps and what the layers share: shapes and allocation. @module */
import type { Sizing } from "../../../kernels/device.ts";
import type { Matrix, Region } from "../../../kernels/layout.ts";
import { rmsNormScratch } from "../../../kernels/rmsnorm/rmsnorm.ts";
import type { MambaConfig } from "../config.ts";
import { kindOf } from "../kinds.ts";
import type { Workspace } from "./activations.ts";
import type { BatchShape, MixerActivations, MixerAllocation, MixerScratch } from "./mixer.ts";

export type { BatchShape } from "./mixer.ts";

/** What a layer keeps from the forward for the backward. */
export interface LayerActivations {
  /** (R, d) the residual stream, this layer's input added. */
  stream: Matrix;
  inverseRms: Region;
  /** (R, d) normed. */
  y: Matrix;
  mixer: MixerActivations;
}

/** Scratch that all layers' backward passes share. */
export interface LayerScratch {
  /** (R, d) */
  dy: Matrix;
  mixer: MixerScratch;
}

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
  const to: MixerAllocation<MambaConfig> = {
    device,
    config,
    shape,
    half,
    matrix: (what, cols, type) => workspace.matrix(`layer ${index} ${what}`, rows, cols, type),
    words: (what, count) => workspace.words(`layer ${index} ${what}`, count),
  };
  return {
    stream: to.matrix("residual stream", config.hiddenSize),
    inverseRms: to.words("inverse rms", rows),
    y: to.matrix("normed", config.hiddenSize, half),
    mixer: kindOf(config).device.activations(to),
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
  const d = config.hiddenSize;
  const mixer = kindOf(config).device;
  const partials = Math.max(
    rmsNormScratch({ device }, rows, d),
    mixer.partials(device, config, rows),
  );
  const to: MixerAllocation<MambaConfig> = {
    device,
    config,
    shape,
    half,
    matrix: (what, cols, type) => workspace.matrix(what, rows, cols, type),
    words: (what, count) => workspace.words(what, count),
  };
  return {
    dy: to.matrix("gradient of the norm's output", d),
    mixer: mixer.scratch(to, workspace.words("column sums", partials)),
  };
}
