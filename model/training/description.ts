/** What a training run says of itself: run.json, the line that it begins with, its model card. @module */
import { basename, resolve } from "../../core/std.ts";
import { type MambaConfig, parameterCount } from "../mamba/mod.ts";
import { modelCard } from "../weights/mod.ts";
import { describeTrained } from "./adapters.ts";
import type { TrainerState } from "./checkpoint.ts";
import {
  configChanges,
  isRun,
  newRun,
  readRun,
  recordedOrigin,
  type RunFile,
  writeRun,
} from "./run_file.ts";
import { ALONE } from "./job.ts";
import type { StepShare } from "./share.ts";
import type { TrainRequest } from "./plan.ts";

/** Writes run.json, of a new run or with one more resumption. */
export function recordRun(
  { corpus, out, reporter, command, job = ALONE }: Pick<
    TrainRequest,
    "corpus" | "out" | "reporter" | "command" | "job"
  >,
  now: {
    init: string;
    config: RunFile["config"];
    device: string;
    model: MambaConfig;
    state: TrainerState;
    /** What it follows from now on, where there is any. */
    followed?: RunFile["followed"];
    share: StepShare;
  },
): RunFile {
  const { init, config, device, model, state } = now;
  const old = isRun(out) ? readRun(out) : undefined;
  const changed = old ? configChanges(old.config, config) : [];
  const ranks = job.size > 1 ? { ranks: job.size } : {};
  const resumption = {
    at: new Date().toISOString(),
    step: state.step,
    device,
    ...ranks,
    ...(changed.length ? { changed } : {}),
    ...(command === undefined ? {} : { command }),
  };
  const changes = old ? roundingChanges(old, { ...now, ranks: job.size }) : [];
  if (changes.length) {
    reporter.log(
      `Going on with ${
        changes.join(" and ")
      }: results equal those of a run that was never stopped ` +
        `within rounding, not to the byte`,
    );
  }
  const going = old ? { ...old, config, resumed: [...old.resumed, resumption] } : newRun({
    init,
    corpus: {
      path: resolve(corpus.path),
      manifest_sha256: corpus.manifestSha256,
      tokenizer_sha256: corpus.tokenizerSha256,
      ...(corpus.shardsSha256 === undefined ? {} : { shards_sha256: corpus.shardsSha256 }),
    },
    config,
    sequence_length: corpus.sequenceLength,
    device,
    ...ranks,
    command,
  }, model);
  const { followed } = now;
  const run = { ...going, ...(followed?.length ? { followed } : {}), spikes: state.spikes ?? [] };
  if (job.leads) {
    Deno.mkdirSync(out, { recursive: true });
    writeRun(out, run);
  }
  return run;
}

/** What differs from the run so far that changes the order of sums, and nothing else. */
function roundingChanges(
  old: RunFile,
  { config, device, ranks }: { config: RunFile["config"]; device: string; ranks: number },
): string[] {
  const last = old.resumed.at(-1) ?? old;
  const before = last.device;
  const ranksBefore = last.ranks ?? 1;
  const lanes = config.batch.lanes;
  const lanesBefore = old.config.batch.lanes ?? 1;
  const { batch } = old.config;
  const { rows, accumulate } = config.batch;
  const same = rows * accumulate === batch.rows * batch.accumulate;
  return [
    ...(before === device ? [] : [`another device (${device}, before ${before})`]),
    ...(same && rows !== batch.rows
      ? [
        `another split of the batch (${rows} x ${accumulate}, before ${batch.rows} x ${batch.accumulate})`,
      ]
      : []),
    ...(lanes === lanesBefore
      ? []
      : [`another number of lanes (batch.lanes ${lanes}, before ${lanesBefore})`]),
    ...(ranks !== ranksBefore && lanes < Math.max(ranks, ranksBefore)
      ? [
        `another number of ranks without as many lanes (${ranks}, before ${ranksBefore}, batch.lanes ${lanes})`,
      ]
      : []),
  ];
}

/** A line that says what is trained. */
export function describe(
  run: RunFile,
  model: MambaConfig,
  state: TrainerState,
  steps: number,
): string {
  const { rows, accumulate, lanes } = run.config.batch;
  const ranks = (run.resumed.at(-1) ?? run).ranks ?? 1;
  const shared = (lanes > 1 ? `in ${lanes} lanes ` : "") +
    (ranks > 1 ? `over ${ranks} ranks ` : "");
  const batch = `${rows}${accumulate > 1 ? ` x ${accumulate}` : ""} rows of ${run.sequence_length}`;
  const first = state.step + 1;
  return `Training ${describeTrained(model)}, steps ${first} to ` +
    `${steps} of ${batch} tokens, ${
      run.config.precision === "mixed" ? "in mixed precision, " : ""
    }${shared}on ${run.resumed.at(-1)?.device ?? run.device}`;
}

/** The model card of a checkpoint. */
export function cardOf(run: RunFile, out: string, model: MambaConfig, state: TrainerState): string {
  return modelCard({
    name: basename(resolve(out)),
    ...recordedOrigin(run),
    parameters: parameterCount(model),
    kind: model.kind,
    steps: state.step,
    tokens: state.tokens,
    sequenceLength: run.sequence_length,
    manifestSha256: run.corpus.manifest_sha256,
  });
}
