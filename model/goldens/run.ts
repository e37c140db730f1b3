/** Runs every golden case of a folder and counts what agrees. @module */
import { UserError } from "../../core/errors.ts";
import { readJson } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import type { Device } from "../../kernels/device.ts";
import { Workbench } from "../../kernels/workbench.ts";
import { compare, type GoldenOperation, openGoldenOperation } from "./golden_file.ts";
import {
  type GoldenModelFile,
  type GoldenModels,
  openGoldenModel,
  runBatch,
  runGenerate,
  runTrain,
} from "./models.ts";
import type { Precision } from "../mamba/mod.ts";
import { type GoldenResults, HALF_OPERATIONS, OPERATIONS } from "./operations.ts";

/** The outcome for one tensor. */
export interface GoldenLine {
  /** Such as rmsnorm/r5_d37 or m1a/batch. */
  case: string;
  tensor: string;
  /** max|got - want| / max|want|. */
  error: number;
  limit: number;
  ok: boolean;
}

/** The outcome for a folder. */
interface GoldenSummary {
  /** Tensors within their limits. */
  passed: number;
  failed: number;
  /** Cases of operations that are not built. */
  skipped: number;
  /** The tensors nearest to their limits or beyond, worst first. */
  worst: GoldenLine[];
}

/** Where the outcome goes while cases run. */
interface GoldenListener {
  line(line: GoldenLine): void;
  skip(name: string, why: string): void;
}

const WORST = 10;

/**
 * What limits are multiplied with in mixed precision, where f16 has a part. Its unit roundoff is
 * 2^-11 = 4.9e-4: the goldens' 2e-5, 336 roundoffs of f32, becomes 8e-3, 16 roundoffs of f16.
 * Rounding the weights alone moves logits by 1 to 2e-3 and the worst gradient by 4e-3; with the
 * activations 2.9e-3 and 4.6e-3 were measured, 227 of these 400.
 */
export const MIXED_FACTOR = 400;

/** What a folder holds, opened and checked. */
interface GoldenFolder {
  operations: GoldenOperation[];
  models: GoldenModelFile[];
  close(): void;
}

/**
 * Opens every golden of a folder.
 * @throws {UserError} where the folder is empty, or any golden is missing a part or is malformed.
 */
function openFolder(path: string): GoldenFolder {
  let names: string[];
  try {
    names = [...Deno.readDirSync(path)].map((entry) => entry.name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      throw new UserError(`Cannot read the goldens of ${path}: there is no such folder`);
    }
    throw error;
  }
  const folder: GoldenFolder = {
    operations: [],
    models: [],
    close() {
      for (const file of [...this.operations, ...this.models]) file.close();
    },
  };
  try {
    // A tensor file whose description is gone must not vanish from the count.
    for (const name of names) {
      const described = name.replace(/(_golden|_weights|_weights_hf)?\.safetensors$/, ".json");
      if (name.endsWith(".safetensors") && !names.includes(described)) {
        throw new UserError(`Cannot run the golden ${join(path, name)}: ${described} is missing`);
      }
    }
    for (const name of names) {
      if (!name.endsWith(".json") || /_config(_hf)?\.json$/.test(name)) continue;
      const file = join(path, name);
      const json = readJson<Record<string, unknown>>(file, "golden");
      if (json && "op" in json) folder.operations.push(openGoldenOperation(file));
      else if (json && "model" in json) folder.models.push(openGoldenModel(file));
      else throw new UserError(`Cannot run the golden ${file}: it has neither "op" nor "model"`);
    }
    if (folder.operations.length + folder.models.length === 0) {
      throw new UserError(`Cannot run the goldens of ${path}: it holds none (files NAME.json)`);
    }
    return folder;
  } catch (error) {
    folder.close();
    throw error;
  }
}

/**
 * Runs a folder's goldens on a device; `models` must compute in the same precision.
 * @throws {UserError} for a missing or malformed golden, as far as it shows before anything runs.
 */
export async function runGoldens(
  path: string,
  device: Device,
  models: GoldenModels,
  listener: GoldenListener,
  precision: Precision = "f32",
): Promise<GoldenSummary> {
  const folder = openFolder(path);
  const lines: GoldenLine[] = [];
  const mixed = precision === "mixed";
  let skipped = 0;
  const skip = (name: string, why: string) => {
    skipped++;
    listener.skip(name, why);
  };
  const check = (name: string, tensor: string, comparison: ReturnType<typeof compare>) => {
    const line = { case: name, tensor, ...comparison };
    lines.push(line);
    listener.line(line);
  };
  try {
    for (const { operation, cases } of folder.operations) {
      const run = Object.hasOwn(OPERATIONS, operation) ? OPERATIONS[operation] : undefined;
      for (const golden of cases) {
        const name = `${operation}/${golden.name}`;
        if (!run) {
          skip(name, `the operation ${operation} is not built`);
          continue;
        }
        const bench = new Workbench(device);
        const half = mixed && HALF_OPERATIONS.includes(operation);
        const results = await run(bench, golden, half ? "f16" : undefined);
        const factor = half ? MIXED_FACTOR : 1;
        bench.clear();
        for (const tensor of Object.keys(golden.outputs)) {
          const got = results[tensor] ?? missing(name, tensor);
          const limit = factor * golden.limit(tensor);
          check(name, tensor, compare(got, golden.output(tensor), limit));
        }
      }
    }
    for (const file of folder.models) {
      for (const [group, tensors] of file.groups) {
        const name = `${file.name}/${group}`;
        const results = await runGroup(file, models, group);
        const factor = mixed && !isGeneration(group) ? MIXED_FACTOR : 1;
        for (const { tensor, limit } of tensors) {
          const got = results[tensor] ?? missing(name, tensor);
          const want = file.golden.info(tensor).dtype.startsWith("I")
            ? file.golden.integers(tensor)
            : file.golden.doubles(tensor);
          check(name, tensor.slice(group.length + 1), compare(got, want, factor * limit));
        }
      }
    }
  } finally {
    folder.close();
  }
  const failed = lines.filter((line) => !line.ok).length;
  const strain = (line: GoldenLine) => line.limit > 0 ? line.error / line.limit : line.error * 1e9;
  const worst = lines.toSorted((a, b) => strain(b) - strain(a)).slice(0, WORST);
  return { passed: lines.length - failed, failed, skipped, worst };
}

/** Generators compute in f32. */
const isGeneration = (group: string) => /^gen\d*$/.test(group);

function runGroup(
  file: GoldenModelFile,
  models: GoldenModels,
  group: string,
): Promise<GoldenResults> {
  if (group === "train") return runTrain(file, models);
  return isGeneration(group) ? runGenerate(file, models, group) : runBatch(file, models, group);
}

function missing(name: string, tensor: string): never {
  throw new UserError(
    `Cannot check ${tensor} of the golden case ${name}: no operation here computes it`,
  );
}
