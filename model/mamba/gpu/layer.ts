/**
 * One layer on the device, forward and backward: its norm, its mixer (see kinds.ts), its output.
 *
 * With R = b * l rows: stream (R, d) is the residual stream before the layer's norm; y = norm(stream); the
 * mixer makes out of y; the layer adds out W_out^T to the stream.
 * @module
 */
import type { Matrix, Region } from "../../../kernels/layout.ts";
import type { Plan } from "../../../kernels/plan.ts";
import { rmsNormBackward, rmsNormForward } from "../../../kernels/rmsnorm/rmsnorm.ts";
import { kindOf } from "../kinds.ts";
import type { LayerActivations, LayerScratch } from "./layer_buffers.ts";
import { linear } from "./low_rank.ts";
import { type BatchShape, LayerCall } from "./mixer.ts";
import type { ParameterStore } from "./store.ts";

/** Appends one layer's forward up to its output: fills `a` from its stream. */
export function layerForward(
  plan: Plan,
  store: ParameterStore,
  shape: BatchShape,
  index: number,
  a: LayerActivations,
  starts: Region,
): void {
  const { config } = store;
  const call = new LayerCall(plan, store, config, shape, index, starts);
  rmsNormForward(plan, {
    residual: a.stream,
    weight: call.region("norm.weight"),
    y: a.y,
    inverseRms: a.inverseRms,
    epsilon: config.normEpsilon,
  });
  kindOf(config).device.forward(call, a.y, a.mixer);
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
  const same = after.region.buffer === a.stream.region.buffer;
  const output = same ? { matrix: after, accumulate: true } : { matrix: after, residual: a.stream };
  const name = `backbone.layers.${index}.mixer.out_proj.weight`;
  linear(plan, store, { name, label: "out_proj" }, a.mixer.out, [output]);
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
  const call = new LayerCall(plan, store, config, shape, index, starts);
  call.linearBackward("out_proj", a.mixer.out, s.mixer.dout, [{ matrix: dstream }]);
  kindOf(config).device.backward(call, a.y, a.mixer, s.mixer, s.dy);
  rmsNormBackward(plan, {
    dy: s.dy,
    sum: a.stream,
    weight: call.region("norm.weight"),
    inverseRms: a.inverseRms,
    dstream,
    accumulate: true,
    dweight: call.region("norm.weight", "gradient"),
    scratch: s.mixer.partials,
  });
}
