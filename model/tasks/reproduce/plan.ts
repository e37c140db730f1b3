/**
 * What a reproduction would take: its sets and pieces, time as measured on a few steps of each run, and
 * memory. Nothing is written.
 * @module
 */
import { formatBytes, formatDuration, formatTable } from "../../../core/reporter.ts";
import type { MambaConfig } from "../../mamba/config.ts";
import { learnedTask } from "../core/finetune.ts";
import { type RunCost, timeRun } from "../core/run.ts";
import type { TaskReader } from "../core/task.ts";
import { findAnswers } from "./answers.ts";
import { type FoundSet, isAsked } from "./find.ts";
import { openModel, type ReproducedModel } from "./models.ts";
import { leftOutText } from "./page.ts";
import {
  approachFor,
  configFor,
  dataOf,
  epochsFor,
  ratesFor,
  type ReproduceRequest,
  seedsOf,
} from "./reproduce.ts";

/** Bytes that a model's training would take; undefined where the device does not say. */
export type BytesOf = (
  config: MambaConfig,
  shape: RunCost["terms"] & { batchSize: number; sequenceLength: number },
) => Promise<number>;

/** A model on a set. */
interface PlannedPiece {
  set: string;
  items: string;
  model: string;
  /** Runs that are taught, those of the search among them. */
  runs: number;
  /** Undefined for what is not measured: models that are only asked. */
  seconds?: number;
  bytes?: number;
}

/** What all of it would take. */
export interface ReproductionPlan {
  text: string;
  json: Record<string, unknown>;
}

/** Items that are examined to time one. */
const TIMED_ITEMS = 16;

/**
 * Plans a reproduction. What is done already is counted, too.
 * @param bytesOf the memory of a model, where it can be told
 * @throws {UserError} as the reproduction would for what it is given.
 */
export async function planReproduction(
  request: ReproduceRequest,
  bytesOf?: BytesOf,
): Promise<ReproductionPlan> {
  const { found, models, systems, reporter } = request;
  const files = findAnswers(systems, found.sets);
  const pieces: PlannedPiece[] = [];
  for (const set of found.sets) {
    for (const model of models) {
      reporter.log(`Timing ${model.label} on ${set.id}`);
      const piece = await planPiece(request, set, model, bytesOf);
      if (piece) pieces.push(piece);
    }
  }
  const seconds = pieces.reduce((sum, piece) => sum + (piece.seconds ?? 0), 0);
  const bytes = pieces.flatMap((piece) => piece.bytes ?? []);
  const rows = pieces.map((piece) => [
    piece.set,
    piece.items,
    piece.model,
    String(piece.runs),
    piece.seconds === undefined ? "not measured" : formatDuration(piece.seconds),
    piece.bytes === undefined ? "unknown" : formatBytes(piece.bytes),
  ]);
  const answered = [...files].flatMap(([id, own]) =>
    own.map(({ label, path }) => `${label} answers ${id}: ${path}`)
  );
  const total = `About ${formatDuration(seconds)} in all, by two steps of each run on this device` +
    (bytes.length ? `; ${formatBytes(Math.max(...bytes))} of device memory at most.` : ".");
  return {
    text: [
      formatTable(["set", "train, dev, test", "model", "runs", "time", "memory"], rows),
      ...(answered.length ? [answered.join("\n")] : []),
      ...(found.leftOut.length ? [leftOutText(found.leftOut)] : []),
      total,
    ].join("\n\n"),
    json: {
      pieces,
      answers: answered,
      left_out: found.leftOut,
      seconds,
      ...(bytes.length ? { bytes: Math.max(...bytes) } : {}),
    },
  };
}

/** One model on one set; undefined where they have nothing to do with each other. */
async function planPiece(
  { protocol, makeModel, reporter, signal }: ReproduceRequest,
  set: FoundSet,
  model: ReproducedModel,
  bytesOf: BytesOf | undefined,
): Promise<PlannedPiece | undefined> {
  const data = dataOf(set, protocol);
  const { train, develop, test, labels } = data;
  const piece = {
    set: set.id,
    items: [train, develop, test].map(({ length }) => length).join(", "),
    model: model.label,
    runs: 0,
  };
  if (model.onnx) return set.task.closed ? piece : undefined;
  const approach = approachFor(set);
  if (set.purpose === "evaluate" || !approach) return isAsked(set.task) ? piece : undefined;
  const { folder, tokenizer } = await openModel(model, 0);
  const reader: TaskReader = { tokenizer, labels, maxTokens: protocol.maxTokens, signal };
  const rates = ratesFor(set, protocol);
  const [rate = 0] = rates;
  try {
    const some = { ...data, develop: develop.slice(0, TIMED_ITEMS) };
    const cost = await timeRun({
      task: learnedTask(set.task, some, reader, approach),
      init: model.name,
      base: folder,
      tokenizer,
      out: "",
      epochs: epochsFor(set, protocol),
      config: configFor(set, protocol, rate),
      resume: false,
      makeModel,
      reporter,
      signal,
    });
    const seeds = seedsOf(protocol).length;
    // The search's run with the chosen rate is the first seed's.
    const runs = rates.length + seeds - 1;
    const examined = runs * epochsFor(set, protocol) * develop.length +
      (seeds + Number(isAsked(set.task))) * test.length;
    const seconds = runs * cost.steps * cost.secondsPerStep + examined * cost.secondsPerItem;
    const { model: config, batchSize, sequenceLength, terms } = cost;
    const bytes = await bytesOf?.(config, { ...terms, batchSize, sequenceLength });
    return { ...piece, runs, seconds, ...(bytes === undefined ? {} : { bytes }) };
  } finally {
    folder.close();
  }
}
