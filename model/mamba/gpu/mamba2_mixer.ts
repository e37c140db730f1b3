/**
 * Mamba-2's mixer on the device. With R = b * l rows and y the normed stream: [xBC | z | dt] = y W_in^T;
 * u = silu(conv(xBC)) = [x | B | C]; o = ssd(x, dt, A, B, C, D); out = norm(o silu(z)), by groups of
 * heads. Each head of x, o and z begins a panel, and so does each group of B and of C: heads of 64 and
 * states of 128, as published, fill whole panels.
 *
 * In mixed precision y, xBC, z, u, out and their gradients that enter products are f16. Time steps steer
 * exponentials and o may be large: these stay f32, and dt is a product of its own there.
 * @module
 */
import {
  convSiluBackward,
  convSiluForward,
  convSiluScratch,
} from "../../../kernels/conv_silu/conv_silu.ts";
import {
  gatedRmsNormBackward,
  gatedRmsNormForward,
  gatedRmsNormScratch,
} from "../../../kernels/gated_rmsnorm/gated_rmsnorm.ts";
import { columns, type Matrix, padded, type Region, subregion } from "../../../kernels/layout.ts";
import { convolutionStep } from "../../../kernels/scan/step.ts";
import {
  ssdBackward,
  ssdExtents,
  type SsdForward,
  ssdForward,
  type SsdShape,
  ssdSizes,
  ssdTextureBytes,
} from "../../../kernels/ssd/mod.ts";
import { ssdStep } from "../../../kernels/ssd/step.ts";
import { headsOf, type Mamba2Config } from "../config.ts";
import { MAMBA2_PARAMETERS } from "../mamba2_parameters.ts";
import { decayParameters, decayParametersBackward } from "./decay_parameters.ts";
import type { LinearOutput } from "./low_rank.ts";
import type {
  BatchShape,
  DeviceMixer,
  LayerCall,
  MatrixForm,
  MixerActivations,
  MixerScratch,
  VectorForm,
} from "./mixer.ts";

/** Extents of a mixer as stored. */
interface StoredSizes {
  /** Columns of a head, and of a group of B or of C. */
  head: number;
  states: number;
  /** Columns of all heads. */
  e: number;
  /** Columns of x, B and C. */
  wide: number;
  /** Columns of x, B, C and z, after which dt comes. */
  main: number;
  /** Columns of dt. */
  heads: number;
}

/** See {@linkcode StoredSizes}. */
function storedSizes(config: Mamba2Config): StoredSizes {
  const { pp, np, width, columns: wide, headWidth } = ssdExtents(ssdShape(config, ONE));
  return { head: pp, states: np, e: width, wide, main: wide + width, heads: headWidth };
}

const ONE: BatchShape = { batch: 1, length: 1 };

/** What a layer computes. */
function ssdShape(config: Mamba2Config, { batch, length }: BatchShape): SsdShape {
  const [least, most] = config.timeStepLimit;
  const limited = least > 0 || most < Infinity;
  return {
    batch,
    length,
    heads: headsOf(config),
    headSize: config.headSize,
    groups: config.groups,
    states: config.stateSize,
    softplus: true,
    skip: "head",
    packed: true,
    initialState: false,
    ...(limited ? { limits: config.timeStepLimit } : {}),
  };
}

/** What a mixer keeps. */
interface Mamba2Activations extends MixerActivations {
  /** (R, main) x, B, C and z; without f16 dt follows in the same memory. */
  projected: Matrix;
  /** (R, heads) raw time steps. */
  dt: Matrix;
  /** (R, wide) x, B and C, convolved. */
  u: Matrix;
  /** (R, e) before gate and norm. */
  o: Matrix;
  inverseRms: Region;
  /** (3, heads) A, D, bias of dt. */
  par: Region;
  steps: Region;
  pairs: Region;
  states: Region;
}

/** Scratch of the backward; dout becomes, in its place, the gradient of o. */
interface Mamba2Scratch extends MixerScratch {
  dprojected: Matrix;
  ddt: Matrix;
  du: Matrix;
  dpar: Region;
  dstates: Region;
  dpairs: Region;
  sums: Region;
}

/** Floats of A_log, and of A_log, D and the bias of dt, which lie together. */
const decayFloats = (config: Mamba2Config) => {
  const { heads } = storedSizes(config);
  return { logs: heads, floats: 3 * heads };
};

/** Where a channel of x, o or z lies among the stored heads. */
const headColumn = (config: Mamba2Config, head: number) => (channel: number) =>
  Math.floor(channel / config.headSize) * head + channel % config.headSize;

/** Where a channel of the convolution, x, B and C, lies. */
function wideColumn(config: Mamba2Config): (channel: number) => number {
  const { head, states, e } = storedSizes(config);
  const { intermediateSize, stateSize } = config;
  const ofHead = headColumn(config, head);
  return (channel) => {
    if (channel < intermediateSize) return ofHead(channel);
    const i = channel - intermediateSize; // B and C are 2 x groups blocks of states
    return e + Math.floor(i / stateSize) * states + i % stateSize;
  };
}

function matrixForm(config: Mamba2Config, name: string): MatrixForm | undefined {
  const { hiddenSize: d, intermediateSize } = config;
  const { head, e, wide, main, heads } = storedSizes(config);
  const ofHead = headColumn(config, head);
  if (name === "in_proj.weight") {
    const channels = MAMBA2_PARAMETERS.channels(config);
    const ofWide = wideColumn(config);
    return {
      rows: main + heads,
      cols: d,
      sourceRows: intermediateSize + channels + headsOf(config),
      sourceCols: d,
      // The source has z first, then x, B and C, then dt.
      rowOf: (row) => {
        if (row < intermediateSize) return wide + ofHead(row);
        const i = row - intermediateSize;
        return i < channels ? ofWide(i) : main + i - channels;
      },
    };
  }
  if (name === "out_proj.weight") {
    return {
      rows: d,
      cols: e,
      sourceRows: d,
      sourceCols: intermediateSize,
      rowOf: (row) => row,
      ...(head === config.headSize ? {} : { colOf: ofHead }),
    };
  }
}

function vectorForm(config: Mamba2Config, name: string): VectorForm | undefined {
  const { head, e, wide, heads } = storedSizes(config);
  const { convKernel } = config;
  const channel = wideColumn(config);
  switch (name) {
    case "conv1d.weight":
      return {
        floats: wide * convKernel,
        at: (i) => channel(Math.floor(i / convKernel)) * convKernel + i % convKernel,
      };
    case "conv1d.bias":
      return { floats: wide, at: channel };
    case "norm.weight":
      return { floats: e, at: headColumn(config, head) };
    case "A_log":
    case "D":
    case "dt_bias":
      return { floats: heads, at: (i) => i };
  }
}

/** What the recurrence of a layer reads and writes. */
function layerSsd(
  { config, shape, starts }: LayerCall<Mamba2Config>,
  a: Mamba2Activations,
): { shape: SsdShape; buffers: SsdForward } {
  return {
    shape: { ...ssdShape(config, shape), half: a.u.type === "f16" },
    buffers: {
      u: a.u.region,
      dt: a.dt.region,
      par: a.par,
      starts,
      y: a.o.region,
      steps: a.steps,
      pairs: a.pairs,
      states: a.states,
    },
  };
}

/** The norm of a layer. */
const layerNorm = (call: LayerCall<Mamba2Config>, a: Mamba2Activations) => ({
  x: a.o,
  z: a.projected,
  zColumn: storedSizes(call.config).wide,
  weight: call.region("mixer.norm.weight"),
  inverseRms: a.inverseRms,
  groups: call.config.groups,
  columns: call.config.intermediateSize,
  epsilon: call.config.normEpsilon,
  normBeforeGate: call.config.normBeforeGate,
});

/** The convolution of a layer. */
const convolution = (call: LayerCall<Mamba2Config>, a: Mamba2Activations) => ({
  x: columns(a.projected, 0, storedSizes(call.config).wide),
  weight: call.region("mixer.conv1d.weight"),
  bias: call.region("mixer.conv1d.bias"),
  width: call.config.convKernel,
  starts: call.starts,
});

/** What in_proj makes: x, B, C and z with dt behind them, or, where they are f16, dt apart. */
function outputs(config: Mamba2Config, projected: Matrix, dt: Matrix): LinearOutput[] {
  const { main } = storedSizes(config);
  if (!projected.type) return [{ matrix: whole(projected, dt.cols) }];
  return [{ matrix: projected }, { matrix: dt, firstRow: main }];
}

/** A matrix of all that in_proj makes: its first part, and dt. */
function whole({ region, ...matrix }: Matrix, heads: number): Matrix {
  const bytes = heads * matrix.stride * 4;
  return {
    ...matrix,
    region: { ...region, size: region.size + bytes },
    cols: matrix.cols + heads,
  };
}

/** x, B, C and z with dt behind them, or, where they are f16, dt apart. */
function projectedMatrices(
  config: Mamba2Config,
  half: "f16" | undefined,
  matrix: (what: string, cols: number, type?: "f16") => Matrix,
  what: string,
): { main: Matrix; dt: Matrix } {
  const { main, heads } = storedSizes(config);
  if (half) return { main: matrix(what, main, half), dt: matrix(`${what}: time steps`, heads) };
  const all = matrix(what, main + heads);
  const bytes = all.stride * 4 * main;
  const region = subregion(all.region, 0, bytes);
  return { main: { ...all, region, cols: main }, dt: columns(all, main, heads) };
}

/** See {@linkcode DeviceMixer}. */
export const MAMBA2_DEVICE: DeviceMixer<Mamba2Config> = {
  together: ["A_log", "D", "dt_bias"],
  matrixForm,
  vectorForm,

  activations({ device, config, shape, half, matrix, words }): Mamba2Activations {
    const { e, wide } = storedSizes(config);
    const sizes = ssdSizes(device, ssdShape(config, shape));
    const projected = projectedMatrices(config, half, matrix, "x, B, C and z");
    return {
      projected: projected.main,
      dt: projected.dt,
      u: matrix("x, B and C convolved", wide, half),
      o: matrix("outputs of heads", e),
      inverseRms: words("inverse rms of heads", config.groups * padded(shape.batch * shape.length)),
      out: matrix("normed heads", e, half),
      par: words("A, D and bias", sizes.par),
      steps: words("decays", sizes.steps),
      pairs: words("pairs of steps", sizes.pairs),
      states: words("states", sizes.states),
    };
  },

  partials(device, config, rows) {
    const { e, wide } = storedSizes(config);
    return Math.max(
      convSiluScratch({ device }, rows, wide, config.convKernel),
      gatedRmsNormScratch({ device }, rows, e),
    );
  },

  scratch({ device, config, shape, half, matrix, words }, partials): Mamba2Scratch {
    const { e, wide } = storedSizes(config);
    const sizes = ssdSizes(device, ssdShape(config, shape));
    const projected = projectedMatrices(config, half, matrix, "gradient of x, B, C and z");
    return {
      dprojected: projected.main,
      ddt: projected.dt,
      dout: matrix("gradient of the heads' outputs", e),
      du: matrix("gradient of x, B and C convolved", wide),
      dpar: words("gradient of A, D and bias", sizes.par),
      dstates: words("gradient of the states", sizes.states),
      dpairs: words("gradient of pairs of steps", sizes.pairs),
      sums: words("gradients of the recurrence by part", sizes.sums),
      partials,
    };
  },

  forward(call, y, activations) {
    const a = activations as Mamba2Activations;
    const { plan, config } = call;
    const { logs, floats } = decayFloats(config);
    call.linear("in_proj", y, ...outputs(config, a.projected, a.dt));
    convSiluForward(plan, { ...convolution(call, a), y: a.u });
    decayParameters(plan, call.region("mixer.A_log", "value", floats), a.par, logs);
    const ssd = layerSsd(call, a);
    ssdForward(plan, ssd.shape, ssd.buffers);
    gatedRmsNormForward(plan, { ...layerNorm(call, a), y: a.out });
  },

  backward(call, y, activations, scratch, dy) {
    const a = activations as Mamba2Activations;
    const s = scratch as Mamba2Scratch;
    const { plan, config } = call;
    const { e, wide } = storedSizes(config);
    const { logs, floats } = decayFloats(config);
    gatedRmsNormBackward(plan, {
      ...layerNorm(call, a),
      dy: s.dout,
      dz: columns(s.dprojected, wide, e),
      dweight: call.region("mixer.norm.weight", "gradient"),
      scratch: s.partials,
    });
    const ssd = layerSsd(call, a);
    ssdBackward(plan, ssd.shape, {
      ...ssd.buffers,
      gy: s.dout.region,
      du: s.du.region,
      ddt: s.ddt.region,
      dpar: s.dpar,
      dstates: s.dstates,
      dpairs: s.dpairs,
      sums: s.sums,
    });
    const decay = call.region("mixer.A_log", "gradient", floats);
    decayParametersBackward(plan, a.par, s.dpar, decay, logs);
    convSiluBackward(plan, {
      ...convolution(call, a),
      dy: s.du,
      dx: columns(s.dprojected, 0, wide),
      dweight: call.region("mixer.conv1d.weight", "gradient"),
      dbias: call.region("mixer.conv1d.bias", "gradient"),
      scratch: s.partials,
    });
    call.linearBackward("in_proj", y, dy, outputs(config, s.dprojected, s.ddt));
  },

  products(config, mixed) {
    const { main, heads } = storedSizes(config);
    const input = config.hiddenSize;
    if (!mixed) return [{ out: main + heads, input, half: "" }];
    return [{ out: main, input, half: "xyg" }, { out: heads, input, half: "x" }];
  },

  output: (config) => ({ width: storedSizes(config).e, half: true }),
  widest: (config) => storedSizes(config).main + storedSizes(config).heads,

  largestBinding(device, config, shape, training) {
    const rows = padded(shape.batch * shape.length);
    const sizes = ssdSizes(device, ssdShape(config, shape));
    const { wide } = storedSizes(config);
    const forward = [rows * wide, sizes.states, sizes.pairs, sizes.steps];
    return 4 * Math.max(...forward, ...(training ? [sizes.sums] : []));
  },

  textureBytes: (device, config, shape, { training, half }) =>
    ssdTextureBytes(device, { ...ssdShape(config, shape), half }, training),

  step({ config, store, plan, prepare, rows, stride, words, matrix, multiply }) {
    const { head, states, e, wide, main, heads } = storedSizes(config);
    const { logs, floats } = decayFloats(config);
    const { convKernel: width, groups, headSize, stateSize, intermediateSize } = config;
    const shape = ssdShape(config, { batch: rows, length: 1 });
    const projected = matrix("x, B, C, z and dt", main + heads);
    const u = matrix("x, B and C convolved", wide);
    const o = matrix("outputs of heads", e);
    const out = matrix("normed heads", e);
    const inverseRms = words("inverse rms of heads", groups * padded(rows));
    return {
      out,
      layer(index, y) {
        const name = (kind: string) => `backbone.layers.${index}.mixer.${kind}`;
        const window = words("window", rows * (width - 1) * wide || 4);
        const state = words("state", rows * headsOf(config) * head * states);
        const par = words("A, D and bias", floats);
        decayParameters(prepare, store.region(name("A_log"), "value", floats), par, logs);
        multiply(name("in_proj.weight"), y, projected);
        convolutionStep(plan, {
          x: projected.region,
          weight: store.region(name("conv1d.weight")),
          bias: store.region(name("conv1d.bias")),
          window,
          u: u.region,
          rows,
          stride,
          width,
          channels: wide,
          padded: wide,
        });
        ssdStep(plan, {
          shape,
          stride,
          u: u.region,
          dt: projected.region,
          dtColumn: main,
          par,
          state,
          y: o.region,
        });
        gatedRmsNormForward(plan, {
          x: o,
          z: projected,
          zColumn: wide,
          weight: store.region(name("norm.weight")),
          inverseRms,
          groups,
          columns: intermediateSize,
          epsilon: config.normEpsilon,
          normBeforeGate: config.normBeforeGate,
          y: out,
        });
        return { window, state };
      },
      read: ({ window, state }) => {
        const column = wideColumn(config);
        const channels = MAMBA2_PARAMETERS.channels(config);
        return {
          window: Float32Array.from(
            { length: channels * (width - 1) },
            (_, i) => window[(i % (width - 1)) * wide + column(Math.floor(i / (width - 1)))] ?? NaN,
          ),
          state: Float32Array.from({ length: intermediateSize * stateSize }, (_, i) => {
            const channel = Math.floor(i / stateSize);
            const c = channel % headSize;
            const panel = Math.floor(channel / headSize) * (head / 32) + (c >> 5);
            return state[(panel * states + i % stateSize) * 32 + (c & 31)] ?? NaN;
          }),
        };
      },
    };
  },
};
