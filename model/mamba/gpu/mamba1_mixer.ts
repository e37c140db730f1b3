/**
 * Mamba-1's mixer on the device. With R = b * l rows and y the normed stream: xz = y W_in^T;
 * u = silu(conv(x)); x_dbl = u W_x^T = [delta's r | B, C]; delta = x_dbl W_dt^T;
 * out = scan(u, delta, A, B, C, D, z).
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
} from "../../../kernels/conv_silu/conv_silu.ts";
import {
  columns,
  type Matrix,
  matrixFloats,
  padded,
  type Region,
} from "../../../kernels/layout.ts";
import {
  scanBackward,
  type ScanForward,
  scanForward,
  type ScanShape,
  scanSizes,
} from "../../../kernels/scan/mod.ts";
import { convolutionStep, scanStep } from "../../../kernels/scan/step.ts";
import type { Mamba1Config } from "../config.ts";
import type {
  BatchShape,
  DeviceMixer,
  LayerCall,
  MatrixForm,
  MixerActivations,
  MixerScratch,
} from "./mixer.ts";
import { decayParameters, decayParametersBackward } from "./decay_parameters.ts";

/** Extents of a mixer as stored: e and r padded to whole panels. */
interface StoredSizes {
  /** Padded e. */
  e: number;
  /** Padded r. */
  r: number;
  /** n rounded up to 4. */
  np: number;
  /** Columns of x_dbl: padded r, then one panel of B and C. */
  xDbl: number;
}

/** See {@linkcode StoredSizes}. */
export function storedSizes(config: Mamba1Config): StoredSizes {
  const np = Math.ceil(config.stateSize / 4) * 4;
  const r = padded(config.timeStepRank);
  return { e: padded(config.intermediateSize), r, np, xDbl: r + 32 };
}

/** What a mixer keeps. */
export interface Mamba1Activations extends MixerActivations {
  /** (R, 2e) x and z. */
  xz: Matrix;
  /** (R, e) */
  u: Matrix;
  /** (R, r + 32) */
  xDbl: Matrix;
  /** (R, e) before bias and softplus. */
  delta: Matrix;
  /** (np + 2, e) A, D, bias of delta. */
  par: Region;
  checkpoints: Region;
  sums: Region;
  state: Region;
}

/** Scratch of the backward; dout becomes, in its place, the gradient of u. */
interface Mamba1Scratch extends MixerScratch {
  /** (R, 2e) gradients of x and z. */
  dxz: Matrix;
  ddelta: Matrix;
  dxDbl: Matrix;
  dpar: Region;
  parts: Region;
  dcheckpoints: Region;
}

/** What a layer scans. */
const scanShape = (config: Mamba1Config, { batch, length }: BatchShape): ScanShape => ({
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
const SCAN_EXPONENT = 6;

/** Floats of A_log, and of A_log, D and the bias of delta, which lie together. */
const decayFloats = (config: Mamba1Config) => {
  const { np, e } = storedSizes(config);
  return { logs: np * e, floats: (np + 2) * e };
};

function matrixForm(config: Mamba1Config, name: string): MatrixForm | undefined {
  const { hiddenSize: d, intermediateSize: e, stateSize: n, timeStepRank: r } = config;
  const s = storedSizes(config);
  const same = (row: number) => row;
  switch (name) {
    case "in_proj.weight": // x, then z, each from a panel's start
      return {
        rows: 2 * s.e,
        cols: d,
        sourceRows: 2 * e,
        sourceCols: d,
        rowOf: (row) => row < e ? row : s.e + row - e,
      };
    case "x_proj.weight": // delta's r rows, then one panel of B and C
      return {
        rows: s.xDbl,
        cols: s.e,
        sourceRows: r + 2 * n,
        sourceCols: e,
        rowOf: (row) => row < r ? row : row < r + n ? s.r + row - r : s.r + s.np + row - r - n,
      };
    case "dt_proj.weight":
      return { rows: s.e, cols: s.r, sourceRows: e, sourceCols: r, rowOf: same };
    case "out_proj.weight":
      return { rows: d, cols: s.e, sourceRows: d, sourceCols: e, rowOf: same };
  }
}

/** The scan of a layer: what forward and backward must agree on. */
function layerScan(
  { config, shape, starts }: LayerCall<Mamba1Config>,
  a: Mamba1Activations,
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

/** The convolution of a layer. */
const convolution = (call: LayerCall<Mamba1Config>, a: Mamba1Activations) => ({
  x: columns(a.xz, 0, call.config.intermediateSize),
  weight: call.region("mixer.conv1d.weight"),
  bias: call.region("mixer.conv1d.bias"),
  width: call.config.convKernel,
  starts: call.starts,
});

/** See {@linkcode DeviceMixer}. */
export const MAMBA1_DEVICE: DeviceMixer<Mamba1Config> = {
  together: ["A_log", "D", "dt_proj.bias"],
  matrixForm,

  /** A_log transposed; what it lies together with fills whole panels. */
  vectorForm(config, name) {
    const { e, np } = storedSizes(config);
    const n = config.stateSize;
    if (name === "A_log") return { floats: np * e, at: (i) => (i % n) * e + Math.floor(i / n) };
    if (name === "D" || name === "dt_proj.bias") return { floats: e, at: (i) => i };
  },

  activations({ device, config, shape, half, matrix, words }): Mamba1Activations {
    const { e, xDbl } = storedSizes(config);
    const sizes = scanSizes(device, scanShape(config, shape));
    return {
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
  },

  partials(device, config, rows) {
    return convSiluScratch({ device }, rows, storedSizes(config).e, config.convKernel);
  },

  scratch({ device, config, shape, half, matrix, words }, partials): Mamba1Scratch {
    const { e, xDbl } = storedSizes(config);
    const sizes = scanSizes(device, scanShape(config, shape));
    return {
      dxz: matrix("gradient of x and z", 2 * e, half),
      dout: matrix("gradient of the scan's output and of u", e),
      ddelta: matrix("gradient of delta", e),
      dxDbl: matrix("gradient of delta, B and C", xDbl),
      dpar: words("gradient of A, D and bias", sizes.par),
      parts: words("gradients of the scan by part", sizes.parts),
      dcheckpoints: words("gradient of the states", sizes.dcheckpoints),
      partials,
    };
  },

  forward(call, y, activations) {
    const a = activations as Mamba1Activations;
    const { plan, config } = call;
    const { r } = storedSizes(config);
    const { logs, floats } = decayFloats(config);
    call.linear("in_proj", y, { matrix: a.xz });
    convSiluForward(plan, { ...convolution(call, a), y: a.u });
    call.linear("x_proj", a.u, { matrix: a.xDbl });
    call.linear("dt_proj", columns(a.xDbl, 0, r), { matrix: a.delta });
    decayParameters(plan, call.region("mixer.A_log", "value", floats), a.par, logs);
    const scan = layerScan(call, a);
    scanForward(plan, scan.shape, scan.buffers);
  },

  backward(call, y, activations, scratch, dy) {
    const a = activations as Mamba1Activations;
    const s = scratch as Mamba1Scratch;
    const { plan, config } = call;
    const { e, r } = storedSizes(config);
    const { logs, floats } = decayFloats(config);
    const scan = layerScan(call, a);
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
    const decay = call.region("mixer.A_log", "gradient", floats);
    decayParametersBackward(plan, a.par, s.dpar, decay, logs);
    const low = columns(a.xDbl, 0, r);
    call.linearBackward("dt_proj", low, columns(s.dxDbl, 0, r), [{ matrix: s.ddelta }]);
    call.linearBackward("x_proj", a.u, s.dout, [{ matrix: s.dxDbl }], true);
    convSiluBackward(plan, {
      ...convolution(call, a),
      dy: s.dout,
      dx: columns(s.dxz, 0, config.intermediateSize),
      dweight: call.region("mixer.conv1d.weight", "gradient"),
      dbias: call.region("mixer.conv1d.bias", "gradient"),
      scratch: s.partials,
    });
    call.linearBackward("in_proj", y, dy, [{ matrix: s.dxz }]);
  },

  products(config) {
    const { e, r, xDbl } = storedSizes(config);
    return [
      { out: 2 * e, input: config.hiddenSize, half: "xyg" },
      { out: xDbl, input: e, half: "x" },
      { out: e, input: r, half: "" },
    ];
  },

  output: (config) => ({ width: storedSizes(config).e, half: false }),
  widest: (config) => 2 * storedSizes(config).e,

  largestBinding(device, config, shape, training) {
    const rows = shape.batch * shape.length;
    const sizes = scanSizes(device, scanShape(config, shape));
    const forward = [matrixFloats(rows, storedSizes(config).e), sizes.checkpoints, sizes.sums];
    return 4 * Math.max(...forward, ...(training ? [sizes.parts, sizes.dcheckpoints] : []));
  },

  textureBytes: () => 0,

  step({ config, store, plan, prepare, rows, stride, words, matrix, multiply }) {
    const { e, r, np, xDbl } = storedSizes(config);
    const { logs, floats } = decayFloats(config);
    const { intermediateSize: channels, stateSize: states, convKernel: width } = config;
    const xz = matrix("x and z", 2 * e);
    const u = matrix("u", e);
    const delta = matrix("delta", e);
    const dbl = matrix("delta, B and C", xDbl);
    const out = { ...matrix("scan output", e), exponent: SCAN_EXPONENT };
    return {
      out,
      layer(index, y) {
        const name = (kind: string) => `backbone.layers.${index}.mixer.${kind}`;
        const window = words("window", rows * (width - 1) * e || 4);
        const state = words("state", rows * np * e);
        const par = words("A, D and bias", floats);
        decayParameters(prepare, store.region(name("A_log"), "value", floats), par, logs);
        multiply(name("in_proj.weight"), y, xz);
        convolutionStep(plan, {
          x: xz.region,
          weight: store.region(name("conv1d.weight")),
          bias: store.region(name("conv1d.bias")),
          window,
          u: u.region,
          rows,
          stride,
          width,
          channels,
          padded: e,
        });
        multiply(name("x_proj.weight"), u, dbl);
        multiply(name("dt_proj.weight"), columns(dbl, 0, r), delta);
        scanStep(plan, {
          u: u.region,
          delta: delta.region,
          bc: dbl.region,
          bcOffset: r,
          par,
          z: xz.region,
          zOffset: e,
          state,
          y: out.region,
          rows,
          stride,
          states,
          channels,
          padded: e,
        });
        return { window, state };
      },
      read: ({ window, state }) => ({
        window: Float32Array.from(
          { length: channels * (width - 1) },
          (_, i) => window[(i % (width - 1)) * e + Math.floor(i / (width - 1))] ?? NaN,
        ),
        state: Float32Array.from({ length: channels * states }, (_, i) => {
          const c = Math.floor(i / states);
          return state[((c >> 5) * np + i % states) * 32 + (c & 31)] ?? NaN;
        }),
      }),
    };
  },
};
