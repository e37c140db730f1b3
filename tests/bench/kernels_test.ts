import { type KernelFigure, kernelTable, measureKernels } from "../../bench/kernels.ts";
import { VARIANTS } from "../../kernels/device.ts";
import { openDevice } from "../../kernels/open_device.ts";
import { configOfSizes, mamba2OfSizes } from "../../model/mamba/config.ts";
import { assert, assertEquals } from "../assert.ts";

Deno.test("bench kernels measures the same kernels in every variant", async () => {
  const sizes = { hiddenSize: 32, layers: 1, vocabSize: 96 };
  const config = configOfSizes(sizes);
  const mamba2 = mamba2OfSizes({ ...sizes, headSize: 32, stateSize: 32 });
  const names: string[][] = [];
  for (const variant of VARIANTS) {
    const device = await openDevice({ variant });
    const figures: KernelFigure[] = [];
    try {
      const shapes = { config, mamba2, batch: 2, length: 17 };
      await measureKernels(device, shapes, (f) => figures.push(f), 1);
    } finally {
      device.destroy();
    }
    names.push(figures.map((f) => `${f.kernel} ${f.pass}`));
    for (
      const { kernel, variant: of, dispatches, milliseconds, gflops, gigabytes, share } of figures
    ) {
      const rate = gflops ?? gigabytes ?? 0;
      assert(
        milliseconds > 0 && rate > 0 && share > 0,
        `${kernel} ${milliseconds} ${rate} ${share}`,
      );
      assertEquals(of, variant);
      assertEquals(dispatches > 0, kernel !== "copy", kernel);
      if (kernel.startsWith("matmul")) assert(gflops! > 0 && gigabytes! > 0);
    }
    assertEquals(kernelTable(figures, Infinity).split("\n").length, figures.length + 2);
  }
  assertEquals(names[1], names[0]);
  assertEquals(names[2], names[0]);
  const expected = [
    "matmul TN",
    "rmsnorm",
    "selective scan",
    "state space duality",
    "gated rmsnorm",
    "AdamW",
    "embedding",
  ];
  for (const kernel of expected) {
    assert(names[0]!.some((name) => name.startsWith(kernel)), kernel);
  }
});
