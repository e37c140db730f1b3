/**
 * Has Dawn's compiler, without any driver, look at every program of training steps as a large GPU would
 * run them; prints what it says against them, then how many it saw. Run in a process of its own: Dawn is
 * native code.
 * @module
 */
import { Device } from "../../../kernels/device.ts";
import { DAWN_PACKAGE } from "../../../kernels/providers.ts";
import { configOfSizes } from "../../../model/mamba/config.ts";
import { memoryPlan } from "../../../model/mamba/gpu/memory_plan.ts";
import { Mamba, type MambaOptions } from "../../../model/mamba/mamba.ts";

const say = (text: string) => Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
const dawn = await import(DAWN_PACKAGE) as {
  create(options: string[]): GPU;
  globals: Record<string, unknown>;
};
for (const [key, value] of Object.entries(dawn.globals)) {
  if (!(key in globalThis)) Object.defineProperty(globalThis, key, { value, configurable: true });
}
const gpu = dawn.create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]);
const config = configOfSizes({ hiddenSize: 256, layers: 2, vocabSize: 4096 });
const features = ["shader-f16", "subgroups"] as GPUFeatureName[];
/** This adapter's limit is below those of GPUs' drivers, and of SwiftShader's 12. */
const MOST_BUFFERS = 12;

let seen = 0;
for (const precision of ["f32", "mixed"] as const) {
  for (const lanes of [32, 0]) {
    // Sequences that are walked whole, and ones that are cut.
    for (const [batchSize, sequenceLength] of [[32, 64], [1, 512]] as const) {
      const adapter = (await gpu.requestAdapter())!;
      const inner = await adapter.requestDevice({ requiredFeatures: features });
      const device = new Device(
        inner,
        adapter,
        "gpu-tiled",
        new Set(features),
        { name: "dawn", gpu },
        lanes,
        { matrixUnits: "off" },
      );
      const pipeline = device.pipeline.bind(device);
      const known = new Set<string>();
      const told: Promise<void>[] = [];
      device.pipeline = (label, code) => {
        inner.pushErrorScope("validation");
        const made = pipeline(label, code);
        told.push(
          inner.popErrorScope().then((error) => {
            const buffers = /number of storage buffers \((\d+)\)/.exec(error?.message ?? "");
            if (!error || buffers && Number(buffers[1]) <= MOST_BUFFERS) return;
            if (!known.has(label)) {
              say(`${precision}, subgroups of ${lanes}, ${label}: ${error.message}`);
            }
            known.add(label);
          }),
        );
        return made;
      };
      const options: MambaOptions = {
        batchSize,
        sequenceLength,
        precision,
        averageDecay: 0.9,
        recompute: false,
      };
      // What a pipeline that was not made cannot be bound to is no news.
      inner.pushErrorScope("validation");
      new Mamba(device, config, options, memoryPlan(device, config, options));
      await inner.popErrorScope();
      await Promise.all(told);
      seen += device.pipelineCount;
    }
  }
}
say(`${seen} programs`);
Deno.exit(0); // Dawn's objects need not be taken apart
