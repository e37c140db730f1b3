/** A run folder's run.json: what the run is, for going on with it and for the record. @module */
import project from "../../deno.json" with { type: "json" };
import { UserError } from "../../core/errors.ts";
import { exists, PARTIAL_SUFFIX, readJson, refuseForeign, writeAtomic } from "../../core/files.ts";
import { basename, join } from "../../core/std.ts";
import { huggingFaceConfig, type MambaConfig, parameterCount } from "../mamba/mod.ts";
import type { ShardsHash } from "./corpus.ts";
import type { FollowedCorpus } from "./follow.ts";
import type { SpikeEvent } from "./spikes.ts";
import { configKeys, flatten, type TrainConfig } from "./configuration.ts";
import { type ModelOrigin, originOf } from "./origin.ts";

/** What steadies a fine-tuning run. */
export interface FinetuningRecord {
  /** Epochs without a better development score that end the run; 0 for never. */
  early_stopping: number;
  /** Whether rare labels count as much as common ones. */
  class_weights: "balanced" | "none";
  /** So many of the topmost layers began anew. */
  reinitialize: number;
}

/** run.json. */
export interface RunFile {
  /** What the weights started from: a model folder, a Hugging Face id, or random:<preset>. */
  init: string;
  /** What was trained on: a corpus or, for fine-tuning, a task's files. */
  corpus: {
    path: string;
    manifest_sha256: string;
    tokenizer_sha256: string;
    /** Of the shards alone, where documents of them are selected too; of a mix, one for each corpus. */
    shards_sha256?: ShardsHash;
  };
  /** The later shards of the same corpus that it followed, and from where on. */
  followed?: FollowedCorpus[];
  /** The task of a fine-tuning run, such as pubmedqa. */
  task?: string;
  /** For the model's card; absent in the records of older programs. */
  origin?: ModelOrigin;
  config: TrainConfig;
  /** Of a fine-tuning run; absent in the records of older programs, which had none of these. */
  finetuning?: FinetuningRecord;
  /** What each label's loss is multiplied with, where a fine-tuning run weighs its classes. */
  label_weights?: Record<string, number>;
  /** The model's config.json. */
  model: Record<string, unknown>;
  parameters: number;
  sequence_length: number;
  /** One line that names the device. */
  device: string;
  /** The processes that shared the steps; absent for one. */
  ranks?: number;
  /** The words of the command line that began it, where a command line did. */
  command?: readonly string[];
  versions: { program: string; deno: string; v8: string };
  /** ISO 8601 times of the start and of every resumption, and what its configuration changed. */
  started: string;
  resumed: {
    at: string;
    step: number;
    device: string;
    ranks?: number;
    changed?: string[];
    command?: readonly string[];
  }[];
  /** The steps left out, and those that the run went back from. Not of fine-tuning. */
  spikes?: SpikeEvent[];
}

const RUN_FILE = "run.json";
const DONE_FILE = "DONE";

/** Where a run's model comes from; of the records of older programs, what can be told from them. */
export function recordedOrigin({ origin, init, corpus, task }: RunFile): ModelOrigin {
  if (origin) return origin;
  const base = init.startsWith("random:") ? undefined : init;
  const corpora = task === undefined ? [{ name: basename(corpus.path), citations: true }] : [];
  return { base, corpora };
}

/** True where `path` is a run folder. */
export function isRun(path: string): boolean {
  return exists(join(path, RUN_FILE));
}

/** @throws {UserError} where `path` is no run folder. */
export function readRun(path: string): RunFile {
  if (!isRun(path)) {
    throw new UserError(`Cannot use the run ${path}: it has no ${RUN_FILE}`);
  }
  return readJson<RunFile>(join(path, RUN_FILE), "run");
}

/** Writes run.json. */
export function writeRun(path: string, run: RunFile): void {
  writeAtomic(join(path, RUN_FILE), JSON.stringify(run, null, 2) + "\n");
}

/** @throws {UserError} where a new run cannot have the folder, because something is in it. */
export function refuseExisting(out: string): void {
  if (isRun(out)) {
    throw new UserError(
      `Cannot start a run in ${out}: there is one already; go on with it by --resume, ` +
        `or name another folder with --out`,
    );
  }
  // What a run left behind that was killed as it began does not count.
  refuseForeign(out, "a run", (name) => name.endsWith(PARTIAL_SUFFIX));
}

/** A new run's record. */
export function newRun(
  given:
    & Pick<
      RunFile,
      "init" | "corpus" | "task" | "config" | "sequence_length" | "device" | "ranks" | "command"
    >
    & Pick<RunFile, "finetuning" | "label_weights">,
  model: MambaConfig,
): RunFile {
  const { init, corpus, task, config, sequence_length, device, ranks, command } = given;
  const { finetuning, label_weights } = given;
  return {
    init,
    corpus,
    ...(task === undefined ? {} : { task }),
    origin: originOf(given),
    config,
    ...(finetuning === undefined ? {} : { finetuning }),
    ...(label_weights === undefined ? {} : { label_weights }),
    model: huggingFaceConfig(model),
    parameters: parameterCount(model),
    sequence_length,
    device,
    ...(ranks === undefined ? {} : { ranks }),
    ...(command === undefined ? {} : { command }),
    versions: { program: project.version, deno: Deno.version.deno, v8: Deno.version.v8 },
    started: new Date().toISOString(),
    resumed: [],
  };
}

/** What {@linkcode markDone} was given; undefined where the run is not finished. */
export function doneResult(path: string): Record<string, unknown> | undefined {
  return isDone(path) ? readJson(join(path, DONE_FILE), "run's result") : undefined;
}

/** True where a run has been marked as finished. */
export function isDone(path: string): boolean {
  return exists(join(path, DONE_FILE));
}

/** Marks a run as finished, with its closing figures; or, without them, as going on. */
export function markDone(path: string, result?: object): void {
  const file = join(path, DONE_FILE);
  if (result) writeAtomic(file, JSON.stringify(result, null, 2) + "\n");
  else if (exists(file)) Deno.removeSync(file);
}

/** Keys whose values differ, as "key: old -> new". */
export function configChanges(before: TrainConfig, after: TrainConfig): string[] {
  // What an earlier version did not know of was as it is by default.
  const old = new Map([...configKeys(), ...flatten(before)]);
  return flatten(after).filter(([key, value]) => old.get(key) !== value)
    .map(([key, value]) => `${key}: ${old.get(key)} -> ${value}`);
}
