/** The device's models as goldens try them. @module */
import { float32At, nth } from "../../core/nth.ts";
import type { Device } from "../../kernels/device.ts";
import { columns, type Matrix } from "../../kernels/layout.ts";
import { Workbench } from "../../kernels/workbench.ts";
import type { Mamba1Config } from "../mamba/config.ts";
import { type Mamba1Activations, storedSizes } from "../mamba/gpu/mamba1_mixer.ts";
import { createMamba, type Mamba, type Precision } from "../mamba/mamba.ts";
import { createRecurrentMamba } from "../mamba/recurrent.ts";
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
  const bench = new Workbench(model.device);
  const { layers, last, hidden } = model.activations;
  const first = nth(layers, 0);
  const after = await bench.values(layers[1]?.stream ?? last);
  const before = await bench.values(first.stream);
  return {
    "layer0.norm_out": await bench.values(first.y),
    ...(model.config.kind === "mamba" ? await readScan(model, model.config) : {}),
    "layer0.mixer_out": after.map((v, i) => v - float32At(before, i)),
    "norm_f_out": await bench.values(hidden),
  };
}

/** What the first layer scans, of Mamba-1. */
async function readScan(model: Mamba, config: Mamba1Config): Promise<GoldenResults> {
  const { batchSize: b, sequenceLength: l } = model;
  const bench = new Workbench(model.device);
  const { e: stored, r, np } = storedSizes(config);
  const { intermediateSize: e, stateSize: n } = config;
  const first = nth(model.activations.layers, 0).mixer as Mamba1Activations;
  const across = async (matrix: Matrix, cols: number) =>
    fromRows(await bench.values({ ...matrix, cols }), b, cols, l);
  const bc = await bench.values(columns(first.xDbl, r, 32));
  const state = (from: number) =>
    fromRows(bc.filter((_, i) => i % 32 >= from && i % 32 < from + n), b, n, l);
  const par = await bench.floats(first.par, np * stored);
  return {
    "layer0.scan_u": await across(first.u, e),
    "layer0.scan_delta_raw": await across(first.delta, e),
    "layer0.scan_A": Float32Array.from(
      { length: e * n },
      (_, i) => float32At(par, (i % n) * stored + Math.floor(i / n)),
    ),
    "layer0.scan_B": state(0),
    "layer0.scan_C": state(np),
    "layer0.scan_z": await across(columns(first.xz, stored, stored), e),
    "layer0.scan_y": await across(first.out, e),
  };
}
