/** What a training run is asked to do, checked before anything is written. @module */
import { UserError } from "../../core/errors.ts";
import { exists } from "../../core/files.ts";
import type { Reporter } from "../../core/reporter.ts";
import { resolve } from "../../core/std.ts";
import type { Peaks } from "../../kernels/peaks.ts";
import type { KernelTime } from "../../kernels/plan.ts";
import type { MakeModel } from "../mamba/mod.ts";
import { cleanCheckpoints, openNewestCheckpoint } from "./checkpoint.ts";
import { type CorpusSegment, type FollowedCorpus, followingCorpus, nextEpoch } from "./follow.ts";
import { requireRows, selectedCorpus, type TrainingCorpus } from "./corpus.ts";
import { configChanges, readRun, refuseExisting, type RunFile } from "./run_file.ts";
import {
  mergeConfig,
  type PartialConfig,
  resolveConfig,
  type TrainConfig,
} from "./configuration.ts";
import { lineInterval } from "./lines.ts";
import { totalSteps } from "./schedule.ts";
import type { Job } from "./job.ts";
import type { RunListener } from "./record.ts";

/** What {@linkcode trainRun} takes. */
export interface TrainRequest {
  /** What is trained on. */
  corpus: TrainingCorpus;
  /** A model folder, a Hugging Face id or `random:<preset>`; with `resume` it may be left out. */
  init?: string;
  /** The run folder. */
  out: string;
  /** Keys that differ from the defaults or, with `resume`, from the run's own configuration. */
  config: PartialConfig;
  /** Named in errors about `config`. */
  configSource?: string;
  /** Whether to go on with the run in `out`. */
  resume: boolean;
  /** Whether a run that is gone on with takes what its corpus has become, from the next epoch on. */
  follow?: boolean;
  /** Makes what is trained. */
  makeModel: MakeModel;
  /** Gets the times of one step's kernels before training begins. */
  onProfile?: (times: KernelTime[], peaks?: Peaks) => void;
  /** Steps between the lines that stay in the log; by the length of the run where not said. */
  logEvery?: number;
  /** Hears of every step. */
  listener?: RunListener;
  /** Shows the progress and takes the log. */
  reporter: Reporter;
  /** Has the run save and stop. */
  signal: AbortSignal;
  /** The processes that share the run; by default this one alone. */
  job?: Job;
  /** The words of the command line, for the record. */
  command?: readonly string[] | undefined;
  /** How to go on, for the message of a run that was stopped. */
  resumeHint?: string;
}

/** A run's settings, checked. */
export interface RunPlan {
  init: string;
  config: TrainConfig;
  /** With the documents that the configuration selects. */
  corpus: TrainingCorpus;
  /** The later shards that the run follows, and from where on. */
  followed?: FollowedCorpus[];
}

/**
 * Checks a request, against the run that it goes on with where there is one.
 * @throws {UserError} for bad input.
 */
export async function planRun(request: TrainRequest): Promise<RunPlan> {
  const { out, resume, reporter } = request;
  // The whole path of a folder is found again from anywhere and is not taken for a hub id.
  const init = request.init !== undefined && exists(request.init)
    ? resolve(request.init)
    : request.init;
  requireRows(request.corpus, "train");
  const old = resume ? readRun(out) : undefined;
  if (!old) refuseExisting(out);
  const source = request.configSource ?? "the command line";
  const given = resolveConfig(mergeConfig({ ...old?.config }, request.config), source);
  const chosen = await selectedCorpus(request.corpus, given.data, reporter);
  const going = old && await goingOn(request, old, given, chosen);
  const corpus = going?.corpus ?? chosen;
  const config = old ? given : withValidation(given, request.config, corpus);
  requireRows(corpus, "train");
  if (old) checkSameStart(request, init, old);
  if (config.validation.every) requireRows(corpus, "validation");
  if (old) {
    if (request.job?.leads ?? true) cleanCheckpoints(out);
    for (const change of configChanges(old.config, config)) reporter.log(`Changed: ${change}`);
  }
  const from = old?.init ?? init;
  if (from === undefined) {
    throw new UserError("Cannot train: name the weights to start from with --init");
  }
  const followed = going?.followed;
  return { init: from, config, corpus, ...(followed === undefined ? {} : { followed }) };
}

/** Lines of the log between two validations of a run that says nothing of them. */
const LINES_PER_VALIDATION = 5;

/** With validations some times in a run, where nothing was said of them and there are rows for them. */
function withValidation(
  config: TrainConfig,
  given: PartialConfig,
  corpus: TrainingCorpus,
): TrainConfig {
  const said = (given.validation as PartialConfig | undefined)?.every !== undefined;
  if (said || corpus.split("validation").rows === 0) return config;
  const every = LINES_PER_VALIDATION * lineInterval(totalSteps(config, corpus.sequenceLength));
  return { ...config, validation: { ...config.validation, every } };
}

function checkSameStart({ out }: TrainRequest, init: string | undefined, old: RunFile): void {
  if (init === undefined || init === old.init) return;
  throw new UserError(`Cannot resume ${out} from --init ${init}: it was started from ${old.init}`);
}

/**
 * The corpus of a run that is gone on with: what it was begun with, also where the corpus was refreshed
 * since, and what it has followed or is to follow.
 * @throws {UserError} where the shards that it needs are not there any more.
 */
async function goingOn(
  request: TrainRequest,
  old: RunFile,
  { data }: TrainConfig,
  now: TrainingCorpus,
): Promise<{ corpus: TrainingCorpus; followed: FollowedCorpus[] }> {
  const { out, reporter, follow = false } = request;
  const followed = old.followed ?? [];
  const isMix = Array.isArray(request.corpus.shardsSha256);
  if (follow && isMix) {
    throw new UserError(
      `Cannot follow the mix ${now.path}: its corpora come to their ends at different places, so that ` +
        "it has no next epoch; go on without --follow, or start a new run from the last checkpoint " +
        "with --init",
    );
  }
  const wanted: Omit<FollowedCorpus, "at">[] = [
    { from_row: 0, epoch: 0, ...old.corpus },
    ...followed,
  ];
  const isNow = wanted.at(-1)?.manifest_sha256 === now.manifestSha256;
  if (isNow && !followed.length) return { corpus: now, followed };
  const open = async (one: Omit<FollowedCorpus, "at">) => {
    const { manifest_sha256: manifest, shards_sha256: shards = manifest } = one;
    if (now.manifestSha256 === manifest) return now;
    const kept = request.corpus.kept?.(shards);
    const chosen = kept && await selectedCorpus(kept, data, reporter);
    if (chosen?.manifestSha256 === manifest) return chosen;
    throw otherCorpus(request, now, manifest);
  };
  const done = rowsDone(out);
  const segments: CorpusSegment[] = [];
  for (const [i, one] of wanted.entries()) {
    // What lies behind the run is not read again.
    if ((wanted[i + 1]?.from_row ?? Infinity) <= done) continue;
    segments.push({ corpus: await open(one), from: one.from_row, epoch: one.epoch });
  }
  const newest = segments.at(-1);
  if (!newest || isNow) return { corpus: followingCorpus(segments), followed };
  if (!follow) {
    reporter.log(
      `${now.path} has other documents now; the run goes on with the shards that it began with, ` +
        "which were kept for it" +
        (isMix ? "" : " (--follow takes the new ones from the next epoch on)"),
    );
    return { corpus: followingCorpus(segments), followed };
  }
  // Shards that were to be followed later, and were renewed before that, are never read.
  const read = segments.filter(({ from }) => from <= done);
  const current = read.at(-1) ?? newest;
  const { from, epoch } = nextEpoch(current, done);
  reporter.log(
    `Following ${now.path}: epoch ${epoch + 1}, after ${from.toLocaleString("en")} rows, is the ` +
      `first to read the shards of manifest ${now.manifestSha256.slice(0, 12)}...`,
  );
  const { manifestSha256: manifest_sha256, shardsSha256: shards_sha256 } = now;
  const entry: FollowedCorpus = {
    at: new Date().toISOString(),
    from_row: from,
    epoch,
    manifest_sha256,
    ...(shards_sha256 === undefined ? {} : { shards_sha256 }),
  };
  return {
    corpus: followingCorpus([...read, { corpus: now, from, epoch }]),
    followed: [...followed.filter((earlier) => earlier.from_row <= done), entry],
  };
}

/** Rows that the run has read up to its newest checkpoint. */
function rowsDone(out: string): number {
  const newest = openNewestCheckpoint(out, () => {});
  const rows = newest?.state.rows ?? 0;
  newest?.close();
  return rows;
}

function otherCorpus({ out }: TrainRequest, corpus: TrainingCorpus, wanted: string): UserError {
  return new UserError(
    `Cannot resume ${out}: the corpus ${corpus.path} is not the one it was started with (manifest ` +
      `${corpus.manifestSha256.slice(0, 12)}..., the run's ${wanted.slice(0, 12)}...), or other ` +
      "documents of it are selected, and its shards of then were not kept; start a new run from its " +
      "last checkpoint",
  );
}
