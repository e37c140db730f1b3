import { adamW, ADAMW_HYPER_BYTES, adamWHyper } from "../../kernels/adamw/adamw.ts";
import {
  applyLossScale,
  decodeLossScale,
  encodeLossScale,
  GOOD_STEPS,
  LOSS_SCALE_BYTES,
  updateLossScale,
} from "../../kernels/adamw/loss_scale.ts";
import { castToHalf, checkHalf } from "../../kernels/cast/cast.ts";
import {
  convSiluBackward,
  convSiluForward,
  convSiluScratch,
} from "../../kernels/conv_silu/conv_silu.ts";
import { type Device } from "../../kernels/device.ts";
import { openDevice } from "../../kernels/open_device.ts";
import type { Region } from "../../kernels/layout.ts";
import { sumOfSquares, sumOfSquaresScratch } from "../../kernels/reduce/reduce.ts";
import * as reference from "../../kernels/reference/mod.ts";
import { rmsNormForward } from "../../kernels/rmsnorm/rmsnorm.ts";
import { Workbench } from "../../kernels/workbench.ts";
import { assert, assertAlmostEquals, assertEquals, assertRejects } from "../assert.ts";
import { assertClose, deviceTest } from "./board.ts";
import { randoms } from "./randoms.ts";

/** Inputs are exact in f16, so that only the output's own rounding, half a unit of 11 bits, costs. */
const ROUNDED = 2 ** -11 + 3e-6;
const halves = (n: number, seed: number) => randoms(n, seed).map(Math.f16round);

deviceTest("rmsnorm: an f16 output is the reference, rounded once", async (board) => {
  for (const [rows, cols] of [[1, 32], [17, 37], [257, 36], [33, 768]] as const) {
    const x = randoms(rows * cols, 1);
    const weight = randoms(cols, 2);
    const inverseRms = board.flat(rows);
    const residual = board.matrix(x, rows, cols);
    const y = board.matrix(undefined, rows, cols, "f16");
    await board.run((plan) =>
      rmsNormForward(plan, {
        residual,
        weight: board.flat(weight),
        y,
        inverseRms,
        epsilon: 1e-5,
      })
    );
    const want = reference.rmsNorm(x, weight, 1e-5);
    assertClose(`${rows} x ${cols} y`, await board.values(y), want.y, ROUNDED);
    assertClose("inverse rms", await board.floats(inverseRms, rows), want.inverseRms);
    board.clear();
  }
});

deviceTest("conv_silu: f16 x, y and dx equal the reference, packed", async (board) => {
  for (const [rows, cols, width] of [[1, 5, 4], [17, 37, 4], [257, 36, 4], [40, 33, 3]] as const) {
    const n = rows * cols;
    const at = `${rows} x ${cols}`;
    const dy = randoms(n, 4);
    const starts = Uint8Array.from({ length: rows }, (_, r) => Number(r % 19 === 0 || r === 2));
    const input = {
      batch: 1,
      length: rows,
      x: halves(n, 1),
      starts,
      weight: randoms(cols * width, 2),
      bias: randoms(cols, 3),
    };
    const want = reference.convSiluBackward(input, dy);
    const shared = {
      x: board.matrix(input.x, rows, cols, "f16"),
      weight: board.flat(input.weight),
      bias: board.flat(input.bias),
      starts: board.flat(Uint32Array.from(starts)),
      width,
    };
    const half = () => board.matrix(undefined, rows, cols, "f16");
    const y = half();
    const dx = half();
    const dweight = board.flat(cols * width);
    const dbias = board.flat(cols);
    await board.run((plan) => {
      convSiluForward(plan, { ...shared, y });
      const scratch = board.flat(convSiluScratch(plan, rows, cols, width));
      const DY = board.matrix(dy, rows, cols);
      convSiluBackward(plan, { ...shared, dy: DY, dx, dweight, dbias, scratch });
    });
    assertClose(`${at} y`, await board.values(y), reference.convSilu(input), ROUNDED);
    assertClose(`${at} dx`, await board.values(dx), want.dx, ROUNDED);
    assertClose(`${at} dweight`, await board.floats(dweight, cols * width), want.dweight);
    assertClose(`${at} dbias`, await board.floats(dbias, cols), want.dbias);
    board.clear();
  }
});

deviceTest("cast: rounds to the nearest f16, and to infinity beyond the last", async (board) => {
  const values = Float32Array.from([
    65504,
    65519,
    65520,
    1e6,
    -1e6,
    6e-8,
    2.9e-8,
    1e-5,
    1.0004,
    1.0006,
    0,
    -1.5,
    ...randoms(1000, 1),
  ]);
  const from = board.flat(values);
  const to = board.keep(board.device.allocate("f16", 2 * values.length));
  await board.run((plan) => castToHalf(plan, from, to));
  const got = new Float16Array(await board.device.read(to)).subarray(0, values.length);
  assertEquals(Float32Array.from(got), values.map(Math.f16round));
});

deviceTest("cast: a driver that zeroes, or keeps overflows finite, is refused", async (board) => {
  await checkHalf(board.device);
  for (const spoil of [() => 0, (x: number) => Math.max(-65504, Math.min(65504, x))]) {
    const device = Object.create(board.device, {
      features: { value: new Set(["shader-f16"]) },
      description: { value: "a driver" },
      allocate: { value: board.device.allocate.bind(board.device) },
      free: { value: board.device.free.bind(board.device) },
      guard: { value: board.device.guard.bind(board.device) },
      write: { value: board.device.write.bind(board.device) },
      pipeline: { value: board.device.pipeline.bind(board.device) },
      read: {
        value: async (region: Region) =>
          new Float16Array(await board.device.read(region)).map(spoil).buffer,
      },
    }) as Device;
    await assertRejects(() => checkHalf(device), Error, "does not work on a driver: it stores 1");
  }
});

Deno.test("cast: arenas beyond the binding limit are cut", async () => {
  const device = await openDevice({ bindingLimit: 3000 });
  const bench = new Workbench(device);
  const values = randoms(5000, 1);
  const from = bench.flat(values);
  const to = bench.keep(device.allocate("f16", 2 * values.length));
  await bench.run((plan) => castToHalf(plan, from, to));
  const got = new Float16Array(await device.read(to)).subarray(0, values.length);
  assertEquals(Float32Array.from(got), Float32Array.from(values, Math.f16round));
  device.destroy();
});

Deno.test("adamw: leaves the parameters' f16 copy as a cast would, cut or not", async () => {
  const n = 5000;
  const options = { learningRate: 0.01, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, step: 1 };
  for (const bindingLimit of [undefined, 3000]) {
    const device = await openDevice({ bindingLimit });
    const bench = new Workbench(device);
    const hyper = bench.keep(device.allocate("hyper", ADAMW_HYPER_BYTES, 64 | 8));
    device.write(hyper, adamWHyper({ ...options, weightDecay: 0.1, maxGradNorm: 0.5 }));
    const parameter = bench.flat(randoms(n, 1));
    const gradient = bench.flat(randoms(n, 2));
    const half = bench.keep(device.allocate("f16", 2 * n));
    const squares = bench.flat([n / 3, 0, 0, 0]);
    await bench.run((plan) => {
      const arena = { parameter, gradient, m: bench.flat(n), v: bench.flat(n), decay: true, half };
      adamW(plan, arena, hyper, squares);
    });
    const got = Float32Array.from(new Float16Array(await device.read(half)));
    assertEquals(got, (await device.readFloats(parameter)).map(Math.f16round));
    assert(Math.abs(got[1]! - randoms(n, 1)[1]!) > 1e-3); // it has been updated
    bench.clear();
    device.destroy();
  }
});

deviceTest(
  "loss scale: an update is that of the unscaled gradients, bit for bit",
  async (board) => {
    const n = 500;
    const g = Float32Array.from(randoms(n, 2));
    const parameters: Float32Array[] = [];
    const hyper = board.device.allocate("hyper", ADAMW_HYPER_BYTES, 64 | 8);
    const squares = board.flat(4);
    const options = { step: 1, learningRate: 0.01, beta1: 0.9, beta2: 0.95, epsilon: 1e-8 };
    board.device.write(hyper, adamWHyper({ ...options, weightDecay: 0.1, maxGradNorm: 0.5 }));
    const norms: number[] = [];
    for (const scale of [undefined, 2 ** 16]) {
      const gradient = board.flat(g.map((x) => x * (scale ?? 1)));
      const parameter = board.flat(randoms(n, 1));
      const m = board.flat(n);
      const v = board.flat(n);
      const lossScale = scale
        ? board.flat(encodeLossScale({ scale, good: 3, skipped: 2 }))
        : undefined;
      await board.run((plan) => {
        const scratch = board.flat(sumOfSquaresScratch(plan, [gradient]));
        sumOfSquares(plan, [gradient], scratch, squares);
        if (lossScale) updateLossScale(plan, { state: lossScale, squares });
        adamW(plan, { parameter, gradient, m, v, decay: true, lossScale }, hyper, squares);
      });
      norms.push((await board.floats(squares, 1))[0]!);
      parameters.push(await board.floats(parameter, n));
      if (!lossScale) continue;
      const state = decodeLossScale(await board.floats(lossScale, LOSS_SCALE_BYTES / 4));
      assertEquals(state, { scale: 2 ** 16, good: 4, skipped: 2, overflow: false });
    }
    assertEquals(norms[1], norms[0]);
    assertEquals(parameters[1], parameters[0]);
    board.device.free(hyper);
  },
);

deviceTest(
  "loss scale: halves where the norm is not finite, doubles after good steps",
  async (board) => {
    const cases = [
      // before, squared norm, after
      [{ scale: 1024, good: 7, skipped: 1 }, Infinity, {
        scale: 512,
        good: 0,
        skipped: 2,
        overflow: true,
      }],
      [{ scale: 1024, good: 7, skipped: 1 }, NaN, {
        scale: 512,
        good: 0,
        skipped: 2,
        overflow: true,
      }],
      // No scale would help: this is a failure, and is not counted.
      [{ scale: 1, good: 7, skipped: 1 }, NaN, { scale: 1, good: 0, skipped: 1, overflow: false }],
      [{ scale: 8, good: GOOD_STEPS - 1, skipped: 5 }, 64, {
        scale: 16,
        good: 0,
        skipped: 5,
        overflow: false,
      }],
      [{ scale: 2 ** 24, good: GOOD_STEPS - 1, skipped: 0 }, 1, {
        scale: 2 ** 24,
        good: 0,
        skipped: 0,
        overflow: false,
      }],
    ] as const;
    for (const [before, norm, after] of cases) {
      const state = board.flat(encodeLossScale(before));
      const squares = board.flat([norm, 0, 0, 0]);
      const out = board.flat(4);
      const scale = board.flat([0.25, 0, 0, 0]);
      await board.run((plan) => {
        applyLossScale(plan, { scale, state, out });
        updateLossScale(plan, { state, squares });
      });
      assertEquals((await board.floats(out, 1))[0], before.scale / 4);
      assertEquals(decodeLossScale(await board.floats(state, 8)), after);
      if (!Number.isFinite(norm)) continue;
      assertAlmostEquals((await board.floats(squares, 1))[0]!, norm / before.scale ** 2, 1e-30);
    }
  },
);
