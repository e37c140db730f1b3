/** `train --plan`: what training would take, before anything is allocated. @module */
import type { Invocation } from "../core/cli.ts";
import { jsonLine } from "../core/json.ts";
import { UsageError } from "../core/errors.ts";
import { formatBytes, formatTable } from "../core/reporter.ts";
import {
  type MambaConfig,
  type MemoryPlan,
  parameterCount,
  presetConfig,
  trainedCount,
} from "../model/mamba/mod.ts";
import {
  adaptedConfig,
  describeTrained,
  openStart,
  shareOf,
  type TrainConfig,
  type TrainingCorpus,
  trainingTerms,
} from "../model/training/mod.ts";
import { localModel, openModelFolder } from "../model/weights/mod.ts";
import { deviceChoice } from "./device_options.ts";

/** The length of rows where no corpus says it: what `pipeline run` makes. */
const USUAL_LENGTH = 1024;

/** What is planned for. */
interface PlannedRun {
  init: string;
  config: TrainConfig;
  /** The processes that share a step; the plan is of the first one. */
  ranks: number;
}

/**
 * Prints the memory plan of a run's model on the device, by what it is for. Without a corpus a preset
 * has the published models' vocabulary.
 * @throws {UsageError} where a row's length is given besides a corpus, which has its own.
 */
export async function printPlan(
  invocation: Invocation,
  corpus: TrainingCorpus | undefined,
  { init, config, ranks }: PlannedRun,
): Promise<void> {
  const { reporter } = invocation;
  const given = invocation.number("sequence-length");
  if (corpus && given !== undefined && given !== corpus.sequenceLength) {
    throw new UsageError(
      `Option --sequence-length is ${given}, but the rows of ${corpus.path} have ` +
        `${corpus.sequenceLength} tokens; leave one of them out`,
    );
  }
  const sequenceLength = corpus?.sequenceLength ?? given ?? USUAL_LENGTH;
  const model = modelOf(await localModel(init, reporter), corpus, config);
  const { planMemory } = await import("../model/mamba/device_model.ts");
  const place = { rank: 0, size: ranks };
  const share = shareOf(config.batch, place);
  const plan = await planMemory(deviceChoice(invocation), model, {
    batchSize: share.rows,
    sequenceLength,
    ...trainingTerms(config, model),
    lanes: share.lanes,
    ...(ranks > 1 ? { ranks: place } : {}),
  });
  const bytesOf = (parts: typeof plan.keep.parts, name: string) =>
    parts.find((p) => p.name === name)?.bytes ?? 0;
  const names = plan.keep.parts.map((p) => p.name);
  reporter.line(tensorTable(plan.keep, plan.recompute));
  reporter.line("");
  reporter.line(formatTable(["memory", "all activations kept", "activations recomputed"], [
    ...names.map((name) => [
      name,
      ...[plan.keep, plan.recompute].map(({ parts }) => formatBytes(bytesOf(parts, name))),
    ]),
    ["total", formatBytes(plan.keep.total), formatBytes(plan.recompute.total)],
  ]));
  const { available, maxBufferSize, keep } = plan;
  const { recompute } = deviceChoice(invocation);
  const fits = keep.total <= available && recompute !== true
    ? "fits, with all activations kept"
    : plan.recompute.total <= available && recompute !== false
    ? "fits, with activations recomputed in the backward"
    : "does not fit; use a smaller --batch-size with more --accumulate, or a smaller model" +
      (recompute === false && plan.recompute.total <= available ? ", or --recompute auto" : "");
  reporter.line("");
  reporter.line(formatTable(["plan", "value"], [
    ["parameters", parameterCount(model).toLocaleString("en")],
    ...(model.lora ? [["trained", describeTrained(model)]] : []),
    ...(ranks > 1 ? [["ranks", `${ranks}; all figures are of each`]] : []),
    ["batch", `${share.rows} rows of ${sequenceLength} tokens`],
    ["device", plan.device],
    ["available", Number.isFinite(available) ? formatBytes(available) : "unknown"],
    ["largest buffer", `${formatBytes(keep.largest.bytes)} (${keep.largest.name})`],
    ["largest allowed", formatBytes(maxBufferSize)],
    ["result", fits],
  ]));
  if (invocation.json) {
    reporter.line(jsonLine({
      ...plan,
      ...(ranks > 1 ? { ranks } : {}),
      available: Number.isFinite(available) ? available : null,
      parameters: parameterCount(model),
      trained: trainedCount(model),
    }));
  }
}

/** Every tensor, the largest first; those of all layers in a row, parameters with what goes with them. */
function tensorTable(keep: MemoryPlan, recompute: MemoryPlan): string {
  const other = new Map(recompute.tensors.map((tensor) => [tensor.name, tensor]));
  const name = ({ name, count }: { name: string; count: number }) =>
    count > 1 ? `${name} x ${count}` : name;
  return formatTable(
    ["tensor (parameters: with gradient and moments)", "all kept", "recomputed"],
    keep.tensors.map((tensor) => [
      name(tensor),
      formatBytes(tensor.bytes),
      formatBytes(other.get(tensor.name)?.bytes ?? 0),
    ]),
  );
}

/** The sizes of what a run would start from. */
function modelOf(
  init: string,
  corpus: TrainingCorpus | undefined,
  { seed, lora }: TrainConfig,
): MambaConfig {
  if (corpus) {
    const start = openStart(init, corpus, { seed, lora });
    start.close();
    return start.config;
  }
  if (init.startsWith("random:")) {
    return adaptedConfig(presetConfig(init.slice("random:".length)), lora);
  }
  const folder = openModelFolder(init);
  folder.close();
  return adaptedConfig(folder.config, lora);
}
