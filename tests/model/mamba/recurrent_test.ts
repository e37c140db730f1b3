import { VARIANTS } from "../../../kernels/device.ts";
import { openDevice } from "../../../kernels/open_device.ts";
import { configOfSizes } from "../../../model/mamba/config.ts";
import { generateBatch, generateTokens } from "../../../model/mamba/generate.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { createRecurrentMamba } from "../../../model/mamba/recurrent.ts";
import { ReferenceRecurrentModel } from "../../../model/mamba/reference.ts";
import type { GeneratedToken } from "../../../model/mamba/types.ts";
import { assert, assertAlmostEquals, assertEquals } from "../../assert.ts";
import { WIDE2 } from "../device_helpers.ts";
import { MINIATURE, MINIATURE2 } from "../helpers.ts";

for (const variant of VARIANTS) {
  Deno.test(`the recurrent form equals float64 token by token, and again after reset: ${variant}`, async () => {
    const device = await openDevice({ variant });
    try {
      for (
        const config of [
          MINIATURE,
          configOfSizes({ hiddenSize: 72, layers: 2, vocabSize: 130 }),
          MINIATURE2,
          WIDE2,
        ]
      ) {
        const read = initialParameters(config, 3);
        const want = new ReferenceRecurrentModel(config, read);
        const got = await createRecurrentMamba(device, config, read);
        for (let round = 0; round < 2; round++) {
          want.reset();
          got.reset();
          for (const token of [0, 5, 7, 7, 20, 1, 9]) {
            const a = await got.step(token);
            const e = await want.step(token);
            let error = 0;
            let largest = 0;
            e.forEach((x, i) => {
              error = Math.max(error, Math.abs(x - a[i]!));
              largest = Math.max(largest, Math.abs(x));
            });
            assert(error < 1e-5 * largest, `token ${token}: ${error} of ${largest}`);
          }
        }
        got.destroy();
      }
    } finally {
      device.destroy();
    }
  });
}

for (const variant of VARIANTS) {
  Deno.test(`rows that step together equal rows alone: ${variant}`, async () => {
    const device = await openDevice({ variant });
    try {
      for (
        const config of [
          configOfSizes({ hiddenSize: 40, layers: 2, vocabSize: 130 }),
          { ...WIDE2, vocabSize: 130, paddedVocabSize: 144 },
        ]
      ) {
        const read = initialParameters(config, 3);
        const rows = 5;
        const together = await createRecurrentMamba(device, config, read, { rows });
        const alone = Array.from({ length: rows }, () => new ReferenceRecurrentModel(config, read));
        for (let t = 0; t < 6; t++) {
          const tokens = alone.map((_, i) => (7 * t + 11 * i) % 130);
          const got = await together.stepRows(tokens);
          for (const [i, model] of alone.entries()) {
            const want = await model.step(tokens[i]!);
            let error = 0;
            let largest = 0;
            want.forEach((x, k) => {
              error = Math.max(error, Math.abs(x - got[i]![k]!));
              largest = Math.max(largest, Math.abs(x));
            });
            assert(error < 1e-5 * largest, `row ${i} at ${t}: ${error} of ${largest}`);
          }
        }
        together.destroy();
      }
    } finally {
      device.destroy();
    }
  });
}

for (const variant of VARIANTS) {
  Deno.test(`what the device chooses and feeds itself is what float64 would: ${variant}`, async () => {
    const device = await openDevice({ variant });
    try {
      const config = configOfSizes({ hiddenSize: 40, layers: 2, vocabSize: 130 });
      const read = initialParameters(config, 3);
      const reference = new ReferenceRecurrentModel(config, read);
      const prompts = [[0, 5, 9], [0], [0, 3, 3, 3, 8, 1, 7], [0, 100]];
      const options = { maxNewTokens: 50, ignoreEnd: true };
      const want = [];
      for (const prompt of prompts) {
        want.push(await Array.fromAsync(generateTokens(reference, prompt, options)));
      }
      const near = (got: GeneratedToken[], want: GeneratedToken[]) => {
        assertEquals(got.map((g) => g.token), want.map((w) => w.token));
        got.forEach((g, i) => assertAlmostEquals(g.logProbability, want[i]!.logProbability, 1e-4));
      };
      const one = await createRecurrentMamba(device, config, read);
      for (const [i, prompt] of prompts.entries()) {
        near(await Array.fromAsync(generateTokens(one, prompt, options)), want[i]!);
      }
      // Ends where the text does, though the device went on.
      const end = want[0]![7]!.token;
      const until = want[0]!.findIndex((w) => w.token === end);
      const ending = { ...config, endOfText: end };
      const cut = new Proxy(one, {
        get: (o, key) => {
          const value: unknown = key === "config" ? ending : Reflect.get(o, key, o);
          return typeof value === "function" ? value.bind(o) : value;
        },
      });
      const made = await Array.fromAsync(
        generateTokens(cut, prompts[0]!, { ...options, ignoreEnd: false }),
      );
      near(made, want[0]!.slice(0, until));
      one.destroy();
      const together = await createRecurrentMamba(device, config, read, { rows: 5 });
      const all = await generateBatch(together, prompts, options);
      for (const [i, got] of all.entries()) near(got, want[i]!);
      together.destroy();
    } finally {
      device.destroy();
    }
  });

  Deno.test(`weights read as f16 stay near, alone and together: ${variant}`, async () => {
    const device = await openDevice({ variant });
    try {
      const config = configOfSizes({ hiddenSize: 72, layers: 2, vocabSize: 130 });
      const read = initialParameters(config, 3);
      const reference = new ReferenceRecurrentModel(config, read);
      const one = await createRecurrentMamba(device, config, read, { half: true });
      const two = await createRecurrentMamba(device, config, read, { rows: 2, half: true });
      for (const token of [0, 5, 7, 99]) {
        const want = await reference.step(token);
        const largest = Math.max(...want.map(Math.abs));
        const alone = await one.step(token);
        const [first, second] = await two.stepRows([token, token]);
        const off = (a: Float32Array, b: Float32Array) =>
          Math.max(...a.map((x, i) => Math.abs(x - b[i]!))) / largest;
        assert(off(alone, want) < 2e-3, `${off(alone, want)} from float64`);
        assert(off(alone, want) > 1e-6, "the weights were not rounded");
        assert(off(alone, first!) < 1e-5 && off(first!, second!) === 0);
      }
      one.destroy();
      two.destroy();
    } finally {
      device.destroy();
    }
  });
}
