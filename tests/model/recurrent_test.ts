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
