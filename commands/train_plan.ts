/** `train --plan`: what training would take, before anything is allocated. @module */
import type { Invocation } from "../core/cli.ts";
import { formatBytes, formatTable } from "../core/reporter.ts";
import { parameterCount } from "../model/parameters.ts";
import type { TrainingCorpus } from "../model/corpus.ts";
import { localModel } from "../model/hub.ts";
import { openStart } from "../model/start.ts";
import type { TrainConfig } from "../model/train_config.ts";
import { trainingTerms } from "../model/training_terms.ts";
import { deviceChoice } from "./device_options.ts";

/** Prints the memory plan of a run's model on the device, by what it is for. */
export async function printPlan(
  invocation: Invocation,
  corpus: TrainingCorpus,
  init: string,
  config: TrainConfig,
): Promise<void> {
  const { reporter } = invocation;
  const start = openStart(await localModel(init, reporter), corpus, config.seed);
  start.close();
  const { planMemory } = await import("../model/device_model.ts");
  const plan = await planMemory(deviceChoice(invocation), start.config, {
    batchSize: config.batch.rows,
    sequenceLength: corpus.sequenceLength,
    ...trainingTerms(config, start.config),
  });
  const bytesOf = (parts: typeof plan.keep.parts, name: string) =>
    parts.find((p) => p.name === name)?.bytes ?? 0;
  const names = plan.keep.parts.map((p) => p.name);
  reporter.line(formatTable(["memory", "all activations kept", "activations recomputed"], [
    ...names.map((name) => [
      name,
      ...[plan.keep, plan.recompute].map(({ parts }) => formatBytes(bytesOf(parts, name))),
    ]),
    ["total", formatBytes(plan.keep.total), formatBytes(plan.recompute.total)],
  ]));
  const { available, maxBufferSize, keep } = plan, { recompute } = deviceChoice(invocation);
  const fits = keep.total <= available && recompute !== true
    ? "fits, with all activations kept"
    : plan.recompute.total <= available && recompute !== false
    ? "fits, with activations recomputed in the backward"
    : "does not fit; use a smaller --batch-size with more --accumulate, or a smaller model" +
      (recompute === false && plan.recompute.total <= available ? ", or --recompute auto" : "");
  reporter.line("");
  reporter.line(formatTable(["plan", "value"], [
    ["parameters", parameterCount(start.config).toLocaleString("en")],
    ["device", plan.device],
    ["available", Number.isFinite(available) ? formatBytes(available) : "unknown"],
    ["largest buffer", `${formatBytes(keep.largest.bytes)} (${keep.largest.name})`],
    ["largest allowed", formatBytes(maxBufferSize)],
    ["result", fits],
  ]));
  if (invocation.json) {
    reporter.line(JSON.stringify({
      ...plan,
      available: Number.isFinite(available) ? available : null,
      parameters: parameterCount(start.config),
    }));
  }
}
