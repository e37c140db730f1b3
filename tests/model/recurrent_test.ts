import { openDevice, VARIANTS } from "../../kernels/device.ts";
import { configOfSizes } from "../../model/config.ts";
import { initialParameters } from "../../model/initialize.ts";
import { createRecurrentMamba } from "../../model/recurrent.ts";
import { ReferenceRecurrentModel } from "../../model/reference.ts";
import { assert } from "../assert.ts";
import { MINIATURE } from "./helpers.ts";

for (const variant of VARIANTS) {
  Deno.test(`the recurrent form equals float64 token by token, and again after reset: ${variant}`, async () => {
    const device = await openDevice({ variant });
    try {
      for (
        const config of [MINIATURE, configOfSizes({ hiddenSize: 72, layers: 2, vocabSize: 130 })]
      ) {
        const read = initialParameters(config, 3);
        const want = new ReferenceRecurrentModel(config, read);
        const got = await createRecurrentMamba(device, config, read);
        for (let round = 0; round < 2; round++) {
          want.reset();
          got.reset();
          for (const token of [0, 5, 7, 7, 20, 1, 9]) {
            const a = await got.step(token), e = await want.step(token);
            let error = 0, largest = 0;
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
      const config = configOfSizes({ hiddenSize: 40, layers: 2, vocabSize: 130 });
      const read = initialParameters(config, 3), rows = 5;
      const together = await createRecurrentMamba(device, config, read, rows);
      const alone = Array.from({ length: rows }, () => new ReferenceRecurrentModel(config, read));
      for (let t = 0; t < 6; t++) {
        const tokens = alone.map((_, i) => (7 * t + 11 * i) % 130);
        const got = await together.stepRows(tokens);
        for (const [i, model] of alone.entries()) {
          const want = await model.step(tokens[i]!);
          let error = 0, largest = 0;
          want.forEach((x, k) => {
            error = Math.max(error, Math.abs(x - got[i]![k]!));
            largest = Math.max(largest, Math.abs(x));
          });
          assert(error < 1e-5 * largest, `row ${i} at ${t}: ${error} of ${largest}`);
        }
      }
      together.destroy();
    } finally {
      device.destroy();
    }
  });
}
