import { adamW, ADAMW_HYPER_BYTES, adamWHyper } from "../../kernels/adamw/adamw.ts";
import {
  convSiluBackward,
  convSiluForward,
  convSiluScratch,
} from "../../kernels/conv_silu/conv_silu.ts";
import { crossEntropy } from "../../kernels/cross_entropy/cross_entropy.ts";
import {
  embeddingBackward,
  embeddingForward,
  tokenSegments,
} from "../../kernels/embedding/embedding.ts";
import { addInto, sum, sumOfSquares, sumOfSquaresScratch } from "../../kernels/reduce/reduce.ts";
import * as reference from "../../kernels/reference/mod.ts";
import { rmsNormBackward, rmsNormForward, rmsNormScratch } from "../../kernels/rmsnorm/rmsnorm.ts";
import { Plan } from "../../kernels/plan.ts";
import { convolutionStep } from "../../kernels/scan/step.ts";
import { openDevice } from "../../kernels/open_device.ts";
import { assert, assertAlmostEquals, assertEquals } from "../assert.ts";
import { assertClose, Board, deviceTest } from "./board.ts";
import { randoms } from "./randoms.ts";

const plus = (a: Float64Array, b: Float64Array) => a.map((v, i) => v + b[i]!);

deviceTest("rmsnorm: equals the reference at awkward sizes", async (board) => {
  for (const [rows, cols] of [[1, 32], [17, 37], [33, 768], [257, 36], [520, 100]] as const) {
    const at = `${rows} x ${cols}`;
    const n = rows * cols;
    const epsilon = 1e-5;
    const residual = randoms(n, 1);
    const x = randoms(n, 2);
    const weight = randoms(cols, 3);
    const dy = randoms(n, 4);
    const dresidual = randoms(n, 5);
    const dweight0 = randoms(cols, 6);
    const want = reference.rmsNorm(x, weight, epsilon, residual);
    const wantBack = reference.rmsNormBackward(dy, want.residual, weight, epsilon, dresidual);
    const alone = reference.rmsNormBackward(dy, want.residual, weight, epsilon);
    const stream = board.matrix(residual, rows, cols);
    const X = board.matrix(x, rows, cols);
    const inPlace = board.matrix(residual, rows, cols);
    const total = board.matrix(undefined, rows, cols);
    const w = board.flat(weight);
    const DY = board.matrix(dy, rows, cols);
    const y = [0, 1, 2].map(() => board.matrix(undefined, rows, cols));
    const inverseRms = board.flat(rows);
    const dw = board.flat(dweight0);
    const d0 = board.matrix(dresidual, rows, cols);
    const d1 = board.matrix(dy, rows, cols);
    await board.run((plan) => {
      const shared = { weight: w, inverseRms, epsilon };
      rmsNormForward(plan, { ...shared, residual: stream, x: X, sum: total, y: y[0]! });
      rmsNormForward(plan, { ...shared, residual: inPlace, x: X, sum: inPlace, y: y[1]! });
      rmsNormForward(plan, { ...shared, residual: total, y: y[2]! });
      const scratch = board.flat(rmsNormScratch(plan, rows, cols));
      const back = { dy: DY, sum: total, weight: w, inverseRms, dweight: dw, scratch };
      rmsNormBackward(plan, { ...back, dstream: d0, accumulate: true });
      rmsNormBackward(plan, { ...back, dstream: d1, accumulate: false });
    });
    for (const matrix of y) assertClose(`${at} y`, await board.values(matrix), want.y);
    assertClose(`${at} sum`, await board.values(total), want.residual, 1e-7);
    assertClose(`${at} sum in place`, await board.values(inPlace), want.residual, 1e-7);
    assertClose(`${at} inverse rms`, await board.floats(inverseRms, rows), want.inverseRms);
    assertClose(`${at} dx`, await board.values(d0), wantBack.dx);
    assertClose(`${at} dx alone`, await board.values(d1), alone.dx);
    const twice = plus(dweight0, wantBack.dweight.map((v) => 2 * v));
    assertClose(`${at} dweight`, await board.floats(dw, cols), twice);
    board.clear();
  }
}, { reduces: true });

/** A start at row 0 and, packed, at scattered rows: some in a row, some near the chunks' borders. */
function startsFor(rows: number, packed: boolean): Uint8Array<ArrayBuffer> {
  const starts = new Uint8Array(rows);
  starts[0] = 1;
  for (const at of packed ? [2, 3, 15, 16, 31, 63, 64, 66, 127, 129, 200, rows - 1] : []) {
    if (at < rows) starts[at] = 1;
  }
  return starts;
}

deviceTest("conv_silu: equals the reference at awkward sizes, packed and not", async (board) => {
  const cases = [[1, 5, 4], [17, 37, 4], [33, 64, 4], [257, 36, 4], [520, 70, 4], [40, 33, 3]];
  for (const [rows, cols, width] of cases as [number, number, number][]) {
    for (const packed of [false, true]) {
      const at = `${rows} x ${cols} width ${width}${packed ? " packed" : ""}`;
      const n = rows * cols;
      const starts = startsFor(rows, packed);
      const dy = randoms(n, 4);
      const input: reference.ConvSiluInput = {
        batch: 1,
        length: rows,
        x: randoms(n, 1),
        weight: randoms(cols * width, 2),
        bias: randoms(cols, 3),
        starts,
      };
      const want = reference.convSiluBackward(input, dy);
      const dweight0 = randoms(cols * width, 5);
      const dbias0 = randoms(cols, 6);
      const shared = {
        x: board.matrix(input.x, rows, cols),
        weight: board.flat(input.weight),
        bias: board.flat(input.bias),
        starts: board.flat(Uint32Array.from(starts)),
        width,
      };
      const y = board.matrix(undefined, rows, cols);
      const dx = board.matrix(dy, rows, cols);
      const dweight = board.flat(dweight0);
      const dbias = board.flat(dbias0);
      await board.run((plan) => {
        const scratch = board.flat(convSiluScratch(plan, rows, cols, width));
        convSiluForward(plan, { ...shared, y });
        const DY = board.matrix(dy, rows, cols);
        convSiluBackward(plan, { ...shared, dy: DY, dx, dweight, dbias, scratch });
      });
      assertClose(`${at} y`, await board.values(y), reference.convSilu(input));
      assertClose(`${at} dx`, await board.values(dx), want.dx);
      const wantWeight = plus(dweight0, want.dweight);
      assertClose(`${at} dweight`, await board.floats(dweight, cols * width), wantWeight);
      assertClose(`${at} dbias`, await board.floats(dbias, cols), plus(dbias0, want.dbias));
      board.clear();
    }
  }
});

deviceTest("conv_silu: columns beyond the channels in use stay zero", async (board) => {
  const rows = 20;
  const channels = 5;
  const x = randoms(rows * channels, 1);
  const dy = randoms(rows * channels, 2);
  const weight = randoms(channels * 4, 3);
  const bias = randoms(channels, 4);
  const input = { batch: 1, length: rows, x, weight, bias, starts: startsFor(rows, true) };
  const want = reference.convSiluBackward(input, dy);
  const wide = (values: Float64Array) => ({ ...board.matrix(values, rows, channels), cols: 32 });
  // What follows weight and bias in their arenas belongs to others.
  const guarded = (values: Float64Array) => board.flat([...values, 9, 9, 9, 9, 9, 9, 9, 9]);
  const y = wide(new Float64Array(rows * channels));
  const dx = wide(dy);
  const dweight = guarded(new Float64Array(20));
  const dbias = guarded(new Float64Array(5));
  await board.run((plan) => {
    const starts = board.flat(Uint32Array.from(input.starts));
    const X = wide(x);
    const shared = {
      x: X,
      weight: guarded(weight),
      bias: guarded(bias),
      width: 4,
      channels,
      starts,
    };
    convSiluForward(plan, { ...shared, y });
    const scratch = board.flat(convSiluScratch(plan, rows, 32, 4));
    convSiluBackward(plan, { ...shared, dy: wide(dy), dx, dweight, dbias, scratch });
  });
  const narrow = async (matrix: typeof y) => await board.values({ ...matrix, cols: channels });
  assertClose("y", await narrow(y), reference.convSilu(input));
  assertClose("dx", await narrow(dx), want.dx);
  assertClose("dweight", await board.floats(dweight, 28), [...want.dweight, ...nines(8)]);
  assertClose("dbias", await board.floats(dbias, 13), [...want.dbias, ...nines(8)]);
});
const nines = (n: number): number[] => new Array(n).fill(9);

deviceTest("conv_silu: steps with a state equal the whole sequence", async (board) => {
  const rows = 7;
  const channels = 40;
  const width = 4;
  const x = randoms(rows * channels, 1);
  const padded = 64;
  const weight = randoms(channels * width, 2);
  const bias = randoms(channels, 3);
  const want = reference.convSilu({ batch: 1, length: rows, x, weight, bias });
  const shared = { weight: board.flat(weight), bias: board.flat(bias), width, channels, padded };
  const window = board.flat(3 * padded);
  const u = board.flat(padded);
  const got: number[] = [];
  for (let r = 0; r < rows; r++) {
    const row = board.flat(x.subarray(r * channels, (r + 1) * channels));
    await board.run((plan) => convolutionStep(plan, { ...shared, x: row, window, u }));
    got.push(...await board.floats(u, channels));
  }
  assertClose("u", got, want);
  const last = await board.floats(window, 3 * padded);
  for (let r = 0; r < 3; r++) {
    const kept = last.subarray(r * padded, r * padded + channels);
    const from = (rows - 3 + r) * channels;
    assertEquals(kept, Float32Array.from(x.subarray(from, from + channels)));
  }
});

deviceTest("cross_entropy: equals the reference, in chunks, ignored rows zero", async (board) => {
  const cases = [[1, 2], [17, 101], [33, 517], [70, 96], [257, 33], [520, 45], [9, 4100]];
  for (const [rows, cols] of cases as [number, number][]) {
    const at = `${rows} x ${cols}`;
    const logits = randoms(rows * cols, 1).map((v) => Math.fround(20 * v));
    const targets = Int32Array.from(
      randoms(rows, 2),
      (v, i) => i % 5 === 3 ? -100 : Math.min(cols - 1, Math.floor((v + 1) / 2 * cols)),
    );
    targets[rows - 1] = cols - 1; // the last column lies in the ragged panel
    const want = reference.crossEntropy(logits, targets);
    const scale = Math.fround(0.37);
    const gradient = reference.crossEntropyBackward(logits, targets, scale);
    const first = 3;
    const place = (values: Int32Array) => Int32Array.from([7, 7, 7, ...values]);
    const T = board.flat(place(targets));
    const nll = board.flat(rows + first);
    const plainNll = board.flat(rows + first);
    const logSumExp = board.flat(rows + first);
    const L = board.matrix(logits, rows, cols);
    const kept = board.matrix(logits, rows, cols);
    await board.run((plan) => {
      const shared = { targets: T, firstRow: first };
      crossEntropy(plan, { ...shared, logits: kept, nll: plainNll, logSumExp });
      crossEntropy(plan, { ...shared, logits: L, nll, scale: board.flat([scale]) });
    });
    assertClose(`${at} dlogits`, await board.values(L), gradient);
    assertEquals(await board.values(kept), Float32Array.from(logits));
    for (const region of [nll, plainNll]) {
      const got = await board.floats(region, rows + first);
      assertEquals([...got.subarray(0, first)], [0, 0, 0]);
      assertClose(`${at} nll`, got.subarray(first), want.nll, 1e-6);
    }
    const lse = (await board.floats(logSumExp, rows + first)).subarray(first);
    assertClose(`${at} lse`, lse, want.logSumExp, 1e-6);
    board.clear();
  }
}, { reduces: true });

deviceTest("cross_entropy: label smoothing and z-loss equal the reference", async (board) => {
  const rows = 37;
  const scale = Math.fround(0.37);
  for (const cols of [2, 45, 101, 96]) {
    const logits = randoms(rows * cols, 1).map((v) => Math.fround(5 * v));
    const targets = Int32Array.from({ length: rows }, (_, r) => r % 5 === 3 ? -100 : r % cols);
    for (
      const objective of [{ labelSmoothing: 0.1 }, { zLoss: 0.01 }, {
        labelSmoothing: 0.2,
        zLoss: 0.05,
      }]
    ) {
      const want = reference.crossEntropy(logits, targets, objective);
      const gradient = reference.crossEntropyBackward(logits, targets, scale, objective);
      // The gradient is the slope of the loss.
      const at = 1 % cols;
      const up = logits.slice();
      const down = logits.slice();
      up[at]! += 1e-4;
      down[at]! -= 1e-4;
      const slope = [up, down].map((x) => reference.crossEntropy(x, targets, objective).nll[0]!);
      assertAlmostEquals(gradient[at]!, scale * (slope[0]! - slope[1]!) / 2e-4, 1e-6);
      const L = board.matrix(logits, rows, cols);
      const nll = board.flat(rows);
      const T = board.flat(targets);
      const S = board.flat([scale]);
      const plain = board.flat(rows);
      await board.run((plan) =>
        crossEntropy(plan, { logits: L, targets: T, nll, plain, firstRow: 0, scale: S, objective })
      );
      const alone = reference.crossEntropy(logits, targets).nll;
      assertClose(`${cols} loss without the terms`, await board.floats(plain, rows), alone, 2e-6);
      assertClose(`${cols} dlogits`, await board.values(L), gradient);
      assertClose(`${cols} loss`, await board.floats(nll, rows), want.nll, 2e-6);
      board.clear();
    }
  }
}, { reduces: true });

deviceTest("cross_entropy: large logits neither overflow nor lose the loss", async (board) => {
  const logits = board.matrix([150, -150, 150, 0, 1e4, -1e4], 3, 2);
  const nll = board.flat(3);
  const scale = board.flat([1]);
  const targets = board.flat(Int32Array.from([1, 0, 1]));
  await board.run((plan) => crossEntropy(plan, { logits, targets, nll, firstRow: 0, scale }));
  assertClose("nll", await board.floats(nll, 3), [300, 0, 20000], 1e-7);
  assertClose("dlogits", await board.values(logits), [1, -1, 0, 0, 1, -1], 1e-6);
});

deviceTest("embedding: gathers, and sums every token's gradient in order", async (board) => {
  for (
    const [rows, vocabulary, cols] of [[1, 3, 5], [17, 11, 33], [33, 7, 768], [257, 40, 160], [
      520,
      90,
      40,
    ]] as const
  ) {
    const at = `${rows} x ${cols}`;
    const table = randoms(vocabulary * cols, 1);
    const tokens = Uint32Array.from(
      randoms(rows, 2),
      (v) => Math.floor((v * v) * vocabulary),
    );
    const dx = randoms(rows * cols, 3);
    const dtable0 = randoms(vocabulary * cols, 4);
    const want = dtable0.slice();
    reference.embeddingBackward(tokens, dx, want, cols);
    const x = board.matrix(undefined, rows, cols);
    const dtable = board.matrix(dtable0, vocabulary, cols);
    await board.run((plan) => {
      const T = board.matrix(table, vocabulary, cols);
      embeddingForward(plan, { table: T, tokens: board.flat(tokens), x });
      const segments = board.flat(tokenSegments(tokens));
      embeddingBackward(plan, { dtable, segments, dx: board.matrix(dx, rows, cols) });
    });
    const gathered = reference.embedding(tokens, table, cols);
    assertEquals(await board.values(x), Float32Array.from(gathered), at);
    assertClose(`${at} dtable`, await board.values(dtable), want);
    board.clear();
  }
});

Deno.test("embedding: tokenSegments lists every position once, by token and then by position", () => {
  const rows = 5;
  const words = tokenSegments(Uint32Array.from([9, 4, 9, 0, 4]));
  assertEquals(words[0], 3);
  assertEquals([...words.subarray(1, 5)], [0, 1, 3, 5]);
  assertEquals([...words.subarray(2 + rows, 5 + rows)], [0, 4, 9]);
  assertEquals([...words.subarray(2 + 2 * rows)], [3, 1, 4, 0, 2]);
});

deviceTest(
  "reduce: sums and sums of squares equal float64 and repeat bit for bit",
  async (board) => {
    for (const [a, b] of [[4, 8], [1024, 100_000], [300_000, 12]] as const) {
      const first = randoms(a, 1);
      const second = randoms(b, 2);
      const out = board.flat([5, 0, 0, 0]);
      const A = board.flat(first);
      const B = board.flat(second);
      const again = board.flat(1);
      const total = board.flat([2]);
      const factor = board.flat([-0.5]);
      await board.run((plan) => {
        const scratch = board.flat(sumOfSquaresScratch(plan, [A, B]));
        sumOfSquares(plan, [A, B], scratch, out);
        sumOfSquares(plan, [A, B], scratch, again);
        sum(plan, { values: A, length: a - 1, out: total, accumulate: true, scale: factor });
      });
      const want = reference.globalNorm([first, second]) ** 2;
      assertClose(`${a} ${b} squares`, await board.floats(out, 1), [want], 1e-6);
      assertEquals(await board.floats(again, 1), await board.floats(out, 1));
      const plain = first.subarray(0, a - 1).reduce((x, y) => x + y, 0);
      const error = Math.abs((await board.floats(total, 1))[0]! - (2 - plain / 2));
      assert(error < 1e-6 * a, `sum of ${a}: ${error}`);
      board.clear();
    }
  },
  { reduces: true },
);

deviceTest("reduce: addInto adds whole regions", async (board) => {
  const a = randoms(1000, 1);
  const b = randoms(1000, 2);
  const A = board.flat(a);
  await board.run((plan) => addInto(plan, A, board.flat(b)));
  assertClose("sum", await board.floats(A, 1000), plus(a, b), 1e-7);
});

deviceTest("adamw: equals the reference over several updates, clipped and not", async (board) => {
  const n = 1000;
  const start = randoms(n, 1);
  for (const maxGradNorm of [0.5, Infinity]) {
    for (const decay of [true, false]) {
      const state = {
        parameter: start.slice(),
        m: new Float64Array(n),
        v: new Float64Array(n),
      };
      const parameter = board.flat(start);
      const m = board.flat(n);
      const v = board.flat(n);
      const gradient = board.flat(n);
      const squares = board.flat(1);
      const hyper = board.device.allocate("hyper", ADAMW_HYPER_BYTES, 64 | 8);
      for (let step = 1; step <= 4; step++) {
        const g = randoms(n, 10 + step);
        const options = {
          step,
          learningRate: 1e-2,
          beta1: 0.9,
          beta2: 0.95,
          epsilon: 1e-8,
          weightDecay: 0.1,
        };
        const clip = reference.clipCoefficient(reference.globalNorm([g]), maxGradNorm);
        const weightDecay = decay ? 0.1 : 0;
        reference.adamW(state, g, { ...options, weightDecay, clip });
        board.device.write(gradient, Float32Array.from(g));
        board.device.write(hyper, adamWHyper({ ...options, maxGradNorm }));
        await board.run((plan) => {
          const scratch = board.flat(sumOfSquaresScratch(plan, [gradient]));
          sumOfSquares(plan, [gradient], scratch, squares);
          adamW(plan, { parameter, gradient, m, v, decay }, hyper, squares);
        });
      }
      assertClose("parameter", await board.floats(parameter, n), state.parameter, 1e-6);
      assertClose("m", await board.floats(m, n), state.m, 1e-6);
      assertClose("v", await board.floats(v, n), state.v, 1e-6);
      board.device.free(hyper);
      board.clear();
    }
  }
});

deviceTest("adamw: nothing is updated where the norm is not finite", async (board) => {
  const hyper = board.device.allocate("hyper", ADAMW_HYPER_BYTES, 64 | 8);
  const options = { step: 1, learningRate: 0.1, beta1: 0.9, beta2: 0.95, epsilon: 1e-8 };
  board.device.write(hyper, adamWHyper({ ...options, weightDecay: 0.1, maxGradNorm: 1 }));
  for (const bad of [NaN, Infinity, 1e30]) {
    const parameter = board.flat([1, 2, 3, 4]);
    const gradient = board.flat([1, bad, 0, 0]);
    const m = board.flat([5, 6, 7, 8]);
    const v = board.flat([1, 1, 1, 1]);
    const squares = board.flat(1);
    await board.run((plan) => {
      const scratch = board.flat(sumOfSquaresScratch(plan, [gradient]));
      sumOfSquares(plan, [gradient], scratch, squares);
      adamW(plan, { parameter, gradient, m, v, decay: true }, hyper, squares);
    });
    assert(!Number.isFinite((await board.floats(squares, 1))[0]), `${bad}`);
    assertEquals([...await board.floats(parameter, 4)], [1, 2, 3, 4]);
    assertEquals([...await board.floats(m, 4)], [5, 6, 7, 8]);
    assertEquals([...await board.floats(v, 4)], [1, 1, 1, 1]);
  }
  board.device.free(hyper);
});

Deno.test({
  name: "kernels: tables and arenas beyond the binding limit are cut, with the same result",
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    // 3 panels of 64 rows: 8,192 bytes each; one fits.
    const board = new Board(await openDevice({ bindingLimit: 10_000 }));
    const tokens = Uint32Array.from([3, 63, 0, 3]);
    const table = randoms(64 * 80, 1);
    const x = board.matrix(undefined, 4, 80);
    const dtable = board.matrix(undefined, 64, 80);
    const values = randoms(64 * 80, 2);
    const out = board.flat(1);
    const flat = board.flat(values);
    await board.run((plan: Plan) => {
      const T = board.matrix(table, 64, 80);
      embeddingForward(plan, { table: T, tokens: board.flat(tokens), x });
      embeddingBackward(plan, { dtable, segments: board.flat(tokenSegments(tokens)), dx: x });
      sumOfSquares(plan, [flat], board.flat(sumOfSquaresScratch(plan, [flat])), out);
      addInto(plan, flat, board.flat(values));
    });
    const gathered = reference.embedding(tokens, table, 80);
    const want = new Float64Array(64 * 80);
    reference.embeddingBackward(tokens, gathered, want, 80);
    assertEquals(await board.values(x), Float32Array.from(gathered));
    assertClose("dtable", await board.values(dtable), want, 1e-7);
    assertClose("squares", await board.floats(out, 1), [reference.globalNorm([values]) ** 2], 1e-6);
    assertClose("add", await board.floats(flat, 64 * 80), values.map((v) => 2 * v), 1e-7);
    board.clear();
    board.device.destroy();
  },
});
