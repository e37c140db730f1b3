import { openDevice } from "../../../kernels/open_device.ts";
import { join } from "../../../core/std.ts";
import { exists } from "../../../core/files.ts";
import { checkpointPath, listCheckpoints } from "../../../model/training/checkpoint.ts";
import { checkpointTensors } from "../../../model/mamba/checkpoint_tensors.ts";
import { deviceModel } from "../../../model/mamba/device_model.ts";
import { writeModelFolder } from "../../../model/weights/folder.ts";
import { layoutOf } from "../../../model/mamba/gpu/placement.ts";
import { takeSnapshot } from "../../../model/mamba/gpu/snapshot.ts";
import { ParameterStore } from "../../../model/mamba/gpu/store.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { type TrainRequest, trainRun } from "../../../model/training/run.ts";
import type { MakeModel, TrainableModel } from "../../../model/mamba/types.ts";
import { assert, assertEquals, assertRejects } from "../../assert.ts";
import { inventedCorpus, MINIATURE, silentReporter, withFolder } from "../helpers.ts";

/** A run of 9 steps with a checkpoint after each third, on a model that `change` has had its way with. */
function request(
  out: string,
  precision: "f32" | "mixed",
  change: (model: TrainableModel) => void,
): TrainRequest {
  const init = join(out, "..", "init");
  if (!exists(init)) {
    writeModelFolder(init, { config: MINIATURE, read: initialParameters(MINIATURE, 7) });
  }
  const makeModel: MakeModel = async (...args) => {
    const made = await deviceModel()(...args);
    change(made.model);
    return made;
  };
  return {
    corpus: inventedCorpus(),
    init,
    out,
    config: {
      precision,
      steps: 9,
      batch: { rows: 2, accumulate: 2 },
      optimizer: { learning_rate: 0.01 },
      average: { decay: 0.9 },
      checkpoint: { every: 3, keep: 9 },
      validation: { every: 0 },
    },
    resume: false,
    makeModel,
    reporter: silentReporter(),
    signal: new AbortController().signal,
  };
}

for (const precision of ["f32", "mixed"] as const) {
  Deno.test(`checkpoints written while steps go on equal those of a run that stops for them: ${precision}`, () =>
    withFolder(async (dir) => {
      const going = join(dir, "going");
      const stopping = join(dir, "stopping");
      const there: boolean[] = [];
      await trainRun(request(going, precision, (model) => {
        const update = model.update.bind(model);
        model.update = (options) => {
          if (options.step === 4) there.push(exists(checkpointPath(going, 3)));
          update(options);
        };
      }));
      assertEquals(there, [false], "step 4 is queued before step 3 is on the disk");
      await trainRun(request(stopping, precision, (model) => {
        model.snapshot = undefined;
      }));
      assertEquals(listCheckpoints(going).map((c) => c.step), [3, 6, 9]);
      for (const { path, step } of listCheckpoints(going)) {
        const names = [...Deno.readDirSync(path)].map((entry) => entry.name).sort();
        assert(names.includes("average.safetensors") && names.includes("trainer_state.json"));
        for (const name of names.filter((n) => n !== "README.md")) {
          const [a, b] = [going, stopping].map((run) =>
            Deno.readTextFileSync(join(checkpointPath(run, step), name))
              .replace(/"README\.md": "\w+"/, "") // it names the folder
          );
          assertEquals(a, b, `${name} of step ${step}`);
        }
      }
    }));
}

Deno.test("a step that fails leaves no checkpoint of it, and the one before whole", () =>
  withFolder(async (dir) => {
    for (const [bad, kept] of [[6, [3]], [7, [3, 6]]] as const) {
      const run = join(dir, `bad-${bad}`);
      let step = 0;
      await assertRejects(() =>
        trainRun(request(run, "f32", (model) => {
          const update = model.update.bind(model);
          const report = model.report.bind(model);
          model.update = (options) => {
            step = options.step;
            update(options);
          };
          model.report = async () => {
            const now = step;
            const told = await report();
            return now === bad ? { ...told, loss: NaN } : told;
          };
        })), Error);
      assertEquals(listCheckpoints(run).map((c) => c.step), [...kept]);
      const left = [...Deno.readDirSync(join(run, "checkpoints"))].map((entry) => entry.name);
      assert(!left.some((name) => name.endsWith(".partial")), left.join());
    }
  }));

Deno.test("a checkpoint that cannot be written ends the run and says why", () =>
  withFolder(async (dir) => {
    const run = join(dir, "run");
    const blocked = request(run, "f32", (model) => {
      const snapshot = model.snapshot!.bind(model);
      model.snapshot = () => {
        Deno.writeTextFileSync(join(run, "checkpoints"), "not a folder");
        return snapshot();
      };
    });
    await assertRejects(() => trainRun(blocked), Error, "checkpoints");
  }));

Deno.test("a snapshot's pieces are the tensors as they were, however they are cut", async () => {
  const device = await openDevice();
  const store = new ParameterStore(device, MINIATURE, ["value", "m", "v"]);
  try {
    const read = initialParameters(MINIATURE, 3);
    for (const slot of ["value", "m", "v"] as const) {
      store.write(
        slot,
        (name) => read(name).map((x) => slot === "value" ? x : slot === "m" ? -x : x * x),
      );
    }
    assertEquals(await takeSnapshot(device, store, { available: 1000 }), undefined, "no room");
    const snapshot = (await takeSnapshot(device, store, { available: Infinity, mostBytes: 992 }))!;
    const before = device.allocatedBytes;
    store.write("value", (name) => read(name).map(() => 7)); // later steps
    const pieces: ArrayBuffer[] = [];
    for (let piece; (piece = await snapshot.read());) pieces.push(piece);
    assert(pieces.length > 20 && pieces.slice(0, -1).every((p) => p.byteLength === 992));
    const all = new Float32Array(await new Blob(pieces).arrayBuffer());
    let at = 0;
    for (const { slot, parameter } of checkpointTensors(MINIATURE, false)) {
      const { floats, unpack } = layoutOf(MINIATURE, parameter);
      const got = unpack(all.slice(at, at += floats));
      const x = read(parameter.name);
      assertEquals(got, x.map((x) => slot === "value" ? x : slot === "m" ? -x : x * x));
    }
    assertEquals(at, all.length);
    snapshot.destroy();
    assert(device.allocatedBytes < before);
  } finally {
    store.destroy();
    device.destroy();
  }
});
