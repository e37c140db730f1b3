/** What a training run is asked to do, checked before anything is written. @module */
import { UserError } from "../../core/errors.ts";
import { exists } from "../../core/files.ts";
import type { Reporter } from "../../core/reporter.ts";
import { resolve } from "../../core/std.ts";
import type { Peaks } from "../../kernels/peaks.ts";
import type { KernelTime } from "../../kernels/plan.ts";
import type { MakeModel } from "../mamba/mod.ts";
import { cleanCheckpoints } from "./checkpoint.ts";
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
  const corpus = await selectedCorpus(request.corpus, given.data, reporter);
  const config = old ? given : withValidation(given, request.config, corpus);
  requireRows(corpus, "train");
  if (old) checkSameRun({ ...request, corpus }, init, old);
  if (config.validation.every) requireRows(corpus, "validation");
  if (old) {
    cleanCheckpoints(out);
    for (const change of configChanges(old.config, config)) reporter.log(`Changed: ${change}`);
  }
  const from = old?.init ?? init;
  if (from === undefined) {
    throw new UserError("Cannot train: name the weights to start from with --init");
  }
  return { init: from, config, corpus };
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

function checkSameRun(
  { corpus, out }: TrainRequest,
  init: string | undefined,
  old: RunFile,
): void {
  if (init !== undefined && init !== old.init) {
    throw new UserError(
      `Cannot resume ${out} from --init ${init}: it was started from ${old.init}`,
    );
  }
  if (corpus.manifestSha256 !== old.corpus.manifest_sha256) {
    throw new UserError(
      `Cannot resume ${out}: the corpus ${corpus.path} is not the one it was started with ` +
        `(manifest ${corpus.manifestSha256.slice(0, 12)}..., the run's ` +
        `${
          old.corpus.manifest_sha256.slice(0, 12)
        }...), or other documents of it are selected; start a new run from its last checkpoint`,
    );
  }
}
