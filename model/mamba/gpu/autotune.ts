/**
 * Choosing the fastest of several equal programs for a model's matrix products on this adapter, once:
 * the choices are kept in a file per adapter. Every choice gives the same bits, so neither the file
 * nor its absence can change a result.
 * @module
 */
import { exists, readJson, sha256, writeAtomic } from "../../../core/files.ts";
import { ownCache } from "../../../core/locations.ts";
import { join } from "../../../core/std.ts";
import { type Device } from "../../../kernels/device.ts";
import { isCpuDriver } from "../../../kernels/open_device.ts";
import type { Operands, Product } from "../../../kernels/matmul/mod.ts";
import { type MatmulChoice, sameChoice, tunedChoices } from "../../../kernels/matmul/choice.ts";
import { describeUnits } from "../../../kernels/matrix_units.ts";
import {
  type ProductShape,
  shapeChoices,
  shapeKey,
  tuneMatmul,
} from "../../../kernels/matmul/tune.ts";
import {
  ALTERNATIVE_NAMES,
  type Chosen,
  describeAlternative,
} from "../../../kernels/alternatives.ts";
import { fastestAlternatives, measureAlternatives } from "../../../kernels/alternatives_timing.ts";
import { Workbench } from "../../../kernels/workbench.ts";
import type { MambaConfig } from "../config.ts";
import { kindOf } from "../kinds.ts";
import { type KernelShapes, kernelSubjects } from "./kernel_subjects.ts";

/** How much is measured: nothing, products that matter within two seconds, or every product. */
export type AutotuneMode = "off" | "quick" | "full";

/** Written into each file; a change of the programs makes old files void. */
const VERSION = 2;
/** Of `quick`: seconds that measuring may take, and the least work that is worth measuring. */
const QUICK_SECONDS = 2;
const QUICK_FLOP = 1e9;

/**
 * The matrix products of a training step over `rows` tokens, the head in chunks of `headRows`; in
 * mixed precision with the matrices that are f16 then (see layer.ts).
 */
export function productShapes(
  config: MambaConfig,
  rows: number,
  headRows: number,
  precision: "f32" | "mixed" = "f32",
): ProductShape[] {
  const mixer = kindOf(config).device;
  const output = mixer.output(config);
  const d = config.hiddenSize;
  const type = (half: boolean) => half && precision === "mixed" ? { type: "f16" as const } : {};
  /** Of y = x W^T; `half` lists which of x, y and the gradient of y are f16 besides W. */
  const linear = (tokens: number, out: number, input: number, half: string): ProductShape[] => {
    const x = type(half.includes("x"));
    const y = type(half.includes("y"));
    const dy = type(half.includes("g"));
    const shape = (product: Product, m: number, n: number, k: number, types: Operands) =>
      precision === "mixed"
        ? { product, m, n, k, types: { ...types, mixed: true } }
        : { product, m, n, k };
    return [
      shape("NT", tokens, out, input, { a: x, b: type(true), c: y }),
      shape("NN", tokens, input, out, { a: dy, b: type(true), c: {} }),
      shape("TN", out, input, tokens, { a: dy, b: x, c: {} }),
    ];
  };
  return [
    ...mixer.products(config, precision === "mixed").flatMap(({ out, input, half }) =>
      linear(rows, out, input, half)
    ),
    ...linear(rows, d, output.width, output.half ? "x" : ""),
    // A head of labels is small.
    ...(config.head ? [] : linear(Math.min(rows, headRows), config.paddedVocabSize, d, "x")),
  ];
}

/** Where choices are kept: the user's cache folder, or nowhere where there is none. */
function tuningFile(device: Device): string | undefined {
  let cache: string | undefined;
  try {
    cache = ownCache((name) => Deno.env.get(name));
  } catch {
    return undefined; // not permitted to look
  }
  if (!cache) return undefined;
  const { vendor, architecture, device: model, description } = device.adapter.info;
  const { variant, provider, matrixUnits } = device;
  const programs = [variant, provider, matrixUnits ? describeUnits(matrixUnits) : ""];
  const adapter = sha256([vendor, architecture, model, description, ...programs].join("\n"));
  return join(cache, "autotune", `${adapter.slice(0, 16)}.json`);
}

interface TuningCache {
  version: number;
  adapter: string;
  choices: Record<string, MatmulChoice>;
  /** The alternatives of other kernels that were fastest; see `kernels/alternatives.ts`. */
  alternatives?: Chosen;
}

/** What {@linkcode autotune} did. */
interface AutotuneSummary {
  /** Shapes whose choice was known, measured now, and left at the default. */
  known: number;
  measured: number;
  left: number;
  seconds: number;
}

/**
 * Sets the device's choices for a model's products, from the file or by measuring, largest first.
 * `quick` on a CPU driver only uses what is known: there the choices differ by less than measuring
 * costs.
 */
export async function autotune(
  device: Device,
  shapes: readonly ProductShape[],
  mode: AutotuneMode,
  file: string | undefined = tuningFile(device),
): Promise<AutotuneSummary> {
  const summary = { known: 0, measured: 0, left: 0, seconds: 0 };
  if (mode === "off") return summary;
  const cache = readCache(file, device);
  const start = performance.now();
  const flop = ({ m, n, k }: ProductShape) => 2 * m * n * k;
  for (const shape of [...shapes].sort((a, b) => flop(b) - flop(a))) {
    const choices = shapeChoices(device, shape);
    if (choices.length < 2) continue;
    const key = shapeKey(shape);
    const kept = cache.choices[key];
    const known = kept && choices.find((c) => sameChoice(c, kept));
    const seconds = (performance.now() - start) / 1000;
    if (known) {
      tunedChoices(device).set(key, known);
      summary.known++;
    } else if (
      mode === "quick" &&
      (isCpuDriver(device.adapter) || flop(shape) < QUICK_FLOP || seconds > QUICK_SECONDS)
    ) {
      summary.left++;
    } else {
      const until = mode === "quick" ? start + 1000 * QUICK_SECONDS : Infinity;
      const tried = await tuneMatmul(device, shape, 3, until);
      // What the time did not suffice for serves this run alone.
      const tuned = tunedChoices(device).get(key);
      if (tuned && tried.length === choices.length) cache.choices[key] = tuned;
      summary.measured++;
    }
  }
  if (summary.measured) keep(file, cache);
  summary.seconds = (performance.now() - start) / 1000;
  return summary;
}

/** Milliseconds for a figure of an alternative, and the most rows that it is measured at. */
const ALTERNATIVE_MS = 30;
const ALTERNATIVE_ROWS = 8192;

/**
 * Sets the alternatives of the kernels that give the same bits, from the file or, with `full`, by
 * measuring them at a model's shapes. Nothing changes where some were given when the device was opened,
 * or on CPU drivers, whose kernels have none.
 * @returns what was chosen.
 */
export async function autotuneAlternatives(
  device: Device,
  shapes: KernelShapes,
  mode: AutotuneMode,
  file: string | undefined = tuningFile(device),
): Promise<Chosen> {
  if (mode === "off" || device.variant !== "gpu-tiled" || Object.keys(device.alternatives).length) {
    return {};
  }
  const cache = readCache(file, device);
  const names = ALTERNATIVE_NAMES.filter((name) => describeAlternative(name).sameBits);
  if (cache.alternatives) {
    // What is no longer offered falls back to its default.
    const kept = Object.entries(cache.alternatives).filter(([name, value]) =>
      names.some((n) => n === name && describeAlternative(n).values.includes(value))
    );
    return device.alternatives = Object.fromEntries(kept);
  }
  if (mode !== "full") return {};
  const bench = new Workbench(device);
  try {
    const length = Math.min(shapes.length, ALTERNATIVE_ROWS);
    const batch = Math.min(shapes.batch, Math.floor(ALTERNATIVE_ROWS / length));
    const subjects = kernelSubjects(bench, { ...shapes, batch, length });
    const budgetMs = ALTERNATIVE_MS;
    const figures = await measureAlternatives(device, { subjects, names, budgetMs });
    device.alternatives = fastestAlternatives(figures);
  } finally {
    bench.clear();
  }
  keep(file, { ...cache, alternatives: device.alternatives });
  return device.alternatives;
}

/** Writes the choices, where there is a place for them; else they are measured again next time. */
function keep(file: string | undefined, cache: TuningCache): void {
  if (!file) return;
  try {
    writeAtomic(file, JSON.stringify(cache, null, 1) + "\n");
  } catch {
    // Not permitted, or no room.
  }
}

/** The kept choices; none where the file is missing, damaged or of another version. */
function readCache(file: string | undefined, device: Device): TuningCache {
  const empty: TuningCache = { version: VERSION, adapter: device.description, choices: {} };
  if (!file || !exists(file)) return empty;
  try {
    const cache = readJson<TuningCache>(file, "tuning file");
    if (cache.version !== VERSION || !cache.choices) return empty;
    return cache;
  } catch {
    return empty;
  }
}
