/** Other ways of writing the kernels for GPUs: the same results, and which of them tuning may choose. */
import { join } from "../../core/std.ts";
import { adamW, ADAMW_HYPER_BYTES, adamWHyper } from "../../kernels/adamw/adamw.ts";
import {
  alternative,
  ALTERNATIVE_NAMES,
  type AlternativeName,
  type Chosen,
  describeAlternative,
  parseAlternatives,
} from "../../kernels/alternatives.ts";
import {
  type AlternativeFigure,
  fastestAlternatives,
  measureAlternatives,
} from "../../kernels/alternatives_timing.ts";
import {
  convSiluBackward,
  convSiluForward,
  convSiluScratch,
} from "../../kernels/conv_silu/conv_silu.ts";
import { crossEntropy } from "../../kernels/cross_entropy/cross_entropy.ts";
import type { Device } from "../../kernels/device.ts";
import { DeviceError } from "../../kernels/errors.ts";
import { embeddingBackward, tokenSegments } from "../../kernels/embedding/embedding.ts";
import { matvec } from "../../kernels/matvec/matvec.ts";
import { openDevice } from "../../kernels/open_device.ts";
import { rmsNormBackward, rmsNormForward, rmsNormScratch } from "../../kernels/rmsnorm/rmsnorm.ts";
import { runScan } from "../../kernels/scan/harness.ts";
import { Workbench } from "../../kernels/workbench.ts";
import { configOfSizes } from "../../model/mamba/config.ts";
import { autotuneAlternatives } from "../../model/mamba/gpu/autotune.ts";
import { kernelSubjects } from "../../model/mamba/gpu/kernel_subjects.ts";
import { assert, assertEquals, assertThrows } from "../assert.ts";
import { randoms } from "./randoms.ts";

/** Rows and channels that no workgroup divides. */
const ROWS = 70;
const CHANNELS = 43;

/** What a kernel wrote, by name. */
type Outputs = Record<string, Float32Array>;

const starts = () => Uint32Array.from({ length: ROWS }, (_, i) => i % 29 === 0 ? 1 : 0);

async function runAdamW(bench: Workbench): Promise<Outputs> {
  const count = 1000;
  const parameter = bench.flat(randoms(count, 1));
  const gradient = bench.flat(randoms(count, 2));
  const m = bench.flat(randoms(count, 3));
  const v = bench.flat(randoms(count, 4).map(Math.abs));
  const hyper = bench.keep(bench.device.allocate("values", ADAMW_HYPER_BYTES, 64 | 8));
  const options = { step: 3, learningRate: 1e-2, beta1: 0.9, beta2: 0.95, epsilon: 1e-8 };
  bench.device.write(hyper, adamWHyper({ ...options, weightDecay: 0.1, maxGradNorm: 1 }));
  const squares = bench.flat([20]);
  const arena = { parameter, gradient, m, v, decay: true };
  await bench.run((plan) => adamW(plan, arena, hyper, squares));
  const { device } = bench;
  return {
    parameter: await device.readFloats(parameter),
    m: await device.readFloats(m),
    v: await device.readFloats(v),
  };
}

async function runConvolution(bench: Workbench): Promise<Outputs> {
  const width = 4;
  const x = bench.matrix(randoms(ROWS * CHANNELS, 1), ROWS, CHANNELS);
  const y = bench.matrix(undefined, ROWS, CHANNELS);
  const dx = bench.matrix(undefined, ROWS, CHANNELS);
  const dy = bench.matrix(randoms(ROWS * CHANNELS, 2), ROWS, CHANNELS);
  const dweight = bench.flat(CHANNELS * width);
  const dbias = bench.flat(CHANNELS);
  const shared = {
    x,
    weight: bench.flat(randoms(CHANNELS * width, 3)),
    bias: bench.flat(randoms(CHANNELS, 4)),
    width,
    starts: bench.flat(starts()),
  };
  const scratch = bench.flat(convSiluScratch({ device: bench.device }, ROWS, CHANNELS, width));
  await bench.run((plan) => {
    convSiluForward(plan, { ...shared, y });
    convSiluBackward(plan, { ...shared, dy, dx, dweight, dbias, scratch });
  });
  return {
    y: await bench.values(y),
    dx: await bench.values(dx),
    dweight: await bench.device.readFloats(dweight),
    dbias: await bench.device.readFloats(dbias),
  };
}

async function runCrossEntropy(bench: Workbench): Promise<Outputs> {
  const vocabulary = 301;
  const logits = bench.matrix(randoms(ROWS * vocabulary, 1), ROWS, vocabulary);
  const targets = bench.flat(
    Int32Array.from({ length: ROWS }, (_, i) => i % 7 ? i * 31 % vocabulary : -1),
  );
  const nll = bench.flat(ROWS);
  const scale = bench.flat([1 / ROWS]);
  await bench.run((plan) => crossEntropy(plan, { logits, targets, nll, firstRow: 0, scale }));
  return { gradient: await bench.values(logits), nll: await bench.device.readFloats(nll) };
}

async function runEmbedding(bench: Workbench): Promise<Outputs> {
  const tokens = Uint32Array.from({ length: ROWS }, (_, i) => i % 3 ? 5 : i);
  const dtable = bench.matrix(undefined, ROWS, CHANNELS);
  const segments = bench.flat(tokenSegments(tokens));
  const dx = bench.matrix(randoms(ROWS * CHANNELS, 1), ROWS, CHANNELS);
  await bench.run((plan) => embeddingBackward(plan, { dtable, segments, dx }));
  return { dtable: await bench.values(dtable) };
}

async function runMatvec(bench: Workbench): Promise<Outputs> {
  const weight = bench.matrix(randoms(ROWS * CHANNELS, 1), ROWS, CHANNELS);
  const x = bench.flat([...randoms(CHANNELS, 2), ...new Float32Array(64 - CHANNELS)]);
  const y = bench.flat(96);
  await bench.run((plan) => matvec(plan, { weight, x, y }));
  return { y: await bench.device.readFloats(y) };
}

async function runNorm(bench: Workbench): Promise<Outputs> {
  const residual = bench.matrix(randoms(ROWS * CHANNELS, 1), ROWS, CHANNELS);
  const y = bench.matrix(undefined, ROWS, CHANNELS);
  const dy = bench.matrix(randoms(ROWS * CHANNELS, 2), ROWS, CHANNELS);
  const dstream = bench.matrix(undefined, ROWS, CHANNELS);
  const shared = {
    weight: bench.flat([...randoms(CHANNELS, 3), ...new Float32Array(64 - CHANNELS)]),
    inverseRms: bench.flat(ROWS),
  };
  const dweight = bench.flat(64);
  await bench.run((plan) => {
    const scratch = bench.flat(rmsNormScratch(plan, ROWS, CHANNELS));
    rmsNormForward(plan, { ...shared, residual, y, epsilon: 1e-5 });
    const sum = residual;
    rmsNormBackward(plan, { ...shared, dy, sum, dstream, dweight, accumulate: false, scratch });
  });
  return {
    y: await bench.values(y),
    dstream: await bench.values(dstream),
    dweight: await bench.device.readFloats(dweight),
  };
}

async function runScanBothWays({ device }: Workbench): Promise<Outputs> {
  const states = 16;
  const wide = (seed: number) => Float32Array.from(randoms(ROWS * CHANNELS, seed));
  const narrow = (seed: number) => Float32Array.from(randoms(ROWS * states, seed));
  return await runScan(device, {
    batch: 1,
    length: ROWS,
    channels: CHANNELS,
    states,
    softplus: true,
    bias: true,
    skip: true,
    gate: true,
    packed: true,
    initialState: false,
    segments: 1,
  }, {
    u: wide(1),
    delta: wide(2),
    z: wide(3),
    gy: wide(4),
    A: Float32Array.from(randoms(CHANNELS * states, 5), (x) => -Math.abs(x)),
    B: narrow(6),
    C: narrow(7),
    D: Float32Array.from(randoms(CHANNELS, 8)),
    deltaBias: Float32Array.from(randoms(CHANNELS, 9)),
    starts: Uint8Array.from(starts()),
  });
}

/** The kernels that each alternative changes, on random values. */
const RUNS: Record<AlternativeName, (bench: Workbench) => Promise<Outputs>> = {
  "adamw-threads": runAdamW,
  "adamw-vectors": runAdamW,
  "convolution-threads": runConvolution,
  "convolution-rows": runConvolution,
  "convolution-backward-rows": runConvolution,
  "cross-entropy-threads": runCrossEntropy,
  "embedding-loads": runEmbedding,
  "matvec-rows": runMatvec,
  "norm-threads": runNorm,
  "scan-block": runScanBothWays,
  "scan-shuffles": runScanBothWays,
  "scan-stage": runScanBothWays,
};

/** The largest difference of two results, relative to the largest value. */
function difference(got: Float32Array, want: Float32Array): number {
  let most = 0;
  let largest = 0;
  want.forEach((x, i) => {
    most = Math.max(most, Math.abs(x - (got[i] ?? NaN)));
    largest = Math.max(largest, Math.abs(x));
  });
  if (Number.isNaN(most)) return Infinity;
  return largest > 0 ? most / largest : most;
}

async function withDevice(alternatives: Chosen, run: (device: Device) => Promise<void>) {
  const device = await openDevice({ variant: "gpu-tiled", alternatives });
  try {
    await run(device);
  } finally {
    device.destroy();
  }
}

for (const name of ALTERNATIVE_NAMES) {
  const { values, sameBits } = describeAlternative(name);
  const same = sameBits ? "the same bits" : "the same to rounding";
  Deno.test(`${name} of ${values.join(", ")}: ${same}`, async () => {
    await withDevice({}, async (device) => {
      const bench = new Workbench(device);
      const usual = await RUNS[name](bench);
      for (const value of values.slice(1)) {
        device.alternatives = { [name]: value };
        const other = await RUNS[name](bench);
        for (const [output, want] of Object.entries(usual)) {
          const got = other[output] ?? new Float32Array();
          const error = difference(got, want);
          assert(error <= (sameBits ? 0 : 2e-6), `${name}=${value}, ${output}: ${error}`);
        }
      }
      bench.clear();
    });
  });
}

const SHAPES = {
  config: configOfSizes({ hiddenSize: 64, layers: 1, vocabSize: 256 }),
  batch: 1,
  length: 40,
};

Deno.test("an alternative is measured on the kernels that it changes, and leaves the choices as they were", async () => {
  await withDevice({ "matvec-rows": 8 }, async (device) => {
    const bench = new Workbench(device);
    const subjects = kernelSubjects(bench, SHAPES)
      .filter(({ kernel }) => /^(matvec|embedding|AdamW)/.test(kernel));
    const names = ["matvec-rows", "embedding-loads", "norm-threads"] as const;
    const figures = await measureAlternatives(device, { subjects, names, budgetMs: 1 });
    assertEquals(
      figures.map(({ alternative, kernel, value }) => `${kernel}: ${alternative} ${value}`),
      [
        "matvec, forward: matvec-rows 32",
        "matvec, forward: matvec-rows 16",
        "matvec, forward: matvec-rows 8",
        "embedding, backward: embedding-loads 8",
        "embedding, backward: embedding-loads 4",
        "embedding, backward: embedding-loads 16",
      ],
    );
    assert(figures.every(({ ms = 0 }) => ms > 0));
    assertEquals(device.alternatives, { "matvec-rows": 8 });
    bench.clear();
  });
});

Deno.test("the fastest over all kernels is chosen, where it gives the same bits and is worth it", () => {
  const figure = (
    alternative: AlternativeName,
    kernel: string,
    value: number,
    ms: number,
  ): AlternativeFigure => {
    const { values, sameBits } = describeAlternative(alternative);
    return { alternative, kernel, value, ms, sameBits, isDefault: value === values[0] };
  };
  const figures = [
    figure("convolution-threads", "forward", 64, 3),
    figure("convolution-threads", "forward", 128, 1),
    figure("convolution-threads", "forward", 32, 4),
    figure("convolution-threads", "backward", 64, 4),
    figure("convolution-threads", "backward", 128, 5),
    figure("convolution-threads", "backward", 32, 1),
    // Other bits, however fast.
    figure("norm-threads", "rmsnorm", 64, 3),
    figure("norm-threads", "rmsnorm", 32, 1),
    // Not worth it.
    figure("matvec-rows", "matvec", 32, 1),
    figure("matvec-rows", "matvec", 8, 0.99),
  ];
  assertEquals(fastestAlternatives(figures), { "convolution-threads": 32 });
});

Deno.test("tuning keeps what it chose in a file, and another run takes it from there", async () => {
  const folder = Deno.makeTempDirSync();
  const file = join(folder, "tuning.json");
  try {
    Deno.writeTextFileSync(
      file,
      JSON.stringify({
        version: 2,
        adapter: "any",
        choices: {},
        alternatives: { "adamw-vectors": 4, "matvec-rows": 7, "norm-threads": 32, "gone": 1 },
      }),
    );
    await withDevice({}, async (device) => {
      assertEquals(await autotuneAlternatives(device, SHAPES, "off", file), {});
      const kept = await autotuneAlternatives(device, SHAPES, "quick", file);
      // A value or a name that is not offered, or gives other bits, is not taken.
      assertEquals(kept, { "adamw-vectors": 4 });
      assertEquals(alternative(device, "adamw-vectors"), 4);
      assertEquals(alternative(device, "matvec-rows"), 32);
    });
    await withDevice({ "matvec-rows": 16 }, async (device) => {
      await autotuneAlternatives(device, SHAPES, "quick", file);
      assertEquals(device.alternatives, { "matvec-rows": 16 }); // as it was asked for
    });
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("the forms for CPU drivers have no alternatives", () => {
  const alternatives = { "matvec-rows": 8 };
  assertEquals(alternative({ variant: "cpu-subgroup", alternatives }, "matvec-rows"), 32);
  assertEquals(alternative({ variant: "gpu-tiled", alternatives }, "matvec-rows"), 8);
});

Deno.test("choices are read from NAME=VALUE, and what is not offered is refused", () => {
  assertEquals(parseAlternatives(["scan-stage=32", "norm-threads=128"]), {
    "scan-stage": 32,
    "norm-threads": 128,
  });
  assertThrows(() => parseAlternatives(["scan-step=8"]), DeviceError, '"scan-step"');
  assertThrows(() => parseAlternatives(["scan-stage=12"]), DeviceError, "may be 16, 8, 32");
  assertThrows(() => parseAlternatives(["scan-stage"]), DeviceError, "may be 16, 8, 32");
});
