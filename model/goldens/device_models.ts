/** The device's models as goldens try them. @module */
import type { Device } from "../../kernels/device.ts";
import { columns, type Matrix } from "../../kernels/layout.ts";
import { Workbench } from "../../kernels/workbench.ts";
import { createMamba, createRecurrentMamba, storedSizes } from "../mamba/gpu/mod.ts";
import type { Mamba, Precision } from "../mamba/mod.ts";
import { fromRows } from "./golden_file.ts";
import type { GoldenModels } from "./models.ts";
import type { GoldenResults } from "./operations.ts";

/** Models on a device; generators compute in f32 whatever the precision. */
export function deviceModels(device: Device, precision: Precision = "f32"): GoldenModels {
  return {
    async model(config, batchSize, sequenceLength) {
      const model = await createMamba(device, config, { batchSize, sequenceLength, precision });
      return Object.assign(model, { readActivations: () => readActivations(model) });
    },
    async generator(config, read) {
      const model = await createRecurrentMamba(device, config, read);
      const readStates = () =>
        Promise.all(Array.from({ length: config.layers }, async (_, i) => {
          const { window, state } = await model.readState(i);
          return { conv: window, scan: state };
        }));
      return Object.assign(model, { readStates });
    },
  };
}

/** The activations of the first layer that goldens have, and the last norm's. */
async function readActivations(model: Mamba): Promise<GoldenResults> {
  const { config, batchSize: b, sequenceLength: l } = model;
  const bench = new Workbench(model.device);
  const { e: stored, r, np } = storedSizes(config);
  const { intermediateSize: e, stateSize: n } = config;
  const { layers, last, hidden } = model.activations;
  const first = layers[0]!;
  const values = (matrix: Matrix) => bench.values(matrix);
  const across = async (matrix: Matrix, cols: number) =>
    fromRows(await values({ ...matrix, cols }), b, cols, l);
  const bc = await values(columns(first.xDbl, r, 32));
  const state = (from: number) =>
    fromRows(bc.filter((_, i) => i % 32 >= from && i % 32 < from + n), b, n, l);
  const par = await bench.floats(first.par, np * stored);
  const after = await values(layers[1]?.stream ?? last);
  const before = await values(first.stream);
  return {
    "layer0.norm_out": await values(first.y),
    "layer0.scan_u": await across(first.u, e),
    "layer0.scan_delta_raw": await across(first.delta, e),
    "layer0.scan_A": Float32Array.from(
      { length: e * n },
      (_, i) => par[(i % n) * stored + Math.floor(i / n)]!,
    ),
    "layer0.scan_B": state(0),
    "layer0.scan_C": state(np),
    "layer0.scan_z": await across(columns(first.xz, stored, stored), e),
    "layer0.scan_y": await across(first.out, e),
    "layer0.mixer_out": after.map((v, i) => v - before[i]!),
    "norm_f_out": await values(hidden),
  };
}
