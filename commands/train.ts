/** `train`: pretraining on a corpus, from given or random weights. @module */
import type { Command, Invocation } from "../core/cli.ts";
import { jsonLine } from "../core/json.ts";
import { Interrupted, UsageError, UserError } from "../core/errors.ts";
import { exists } from "../core/files.ts";
import { formatBytes, formatDuration, formatTable } from "../core/reporter.ts";
import { join } from "../core/std.ts";
import {
  type Job,
  mergeConfig,
  openCorpus,
  openMix,
  type RankTimes,
  readRun,
  recipeNames,
  resolveConfig,
  type RunListener,
  scoredRows,
  type TrainRequest,
  trainRun,
} from "../model/training/mod.ts";
import { reportAfterValidations, writeRunReport } from "../model/report/mod.ts";
import { setFolder } from "../pipeline/corpus_paths.ts";
import { makeModelOf, trainingDeviceOptions } from "./device_options.ts";
import { configOptions, givenConfig } from "./train_options.ts";
import { printPlan } from "./train_plan.ts";
import { reportProfile } from "./train_profile.ts";
import { asRank } from "./ranks.ts";
import { watched, watchOptions } from "./train_watch.ts";
import { corpusFolder, mixFolders } from "./stored_corpus.ts";

export const command: Command = {
  name: "train",
  summary: "Train a Mamba on a corpus, from given or random weights; resumes exactly",
  description:
    "Writes a run folder: run.json, metrics.jsonl, TensorBoard events, checkpoints/, report.html. A " +
    "checkpoint is a Hugging Face model folder with the optimizer's state. Ctrl-C saves and stops; " +
    "--resume goes on and ends with the very bytes of a run that was never stopped. Options win " +
    "over --config, --set wins over both.",
  options: {
    corpus: {
      type: "string",
      placeholder: "DIR",
      help: "the corpus folder, or s3://BUCKET/FOLDER (needed at the start)",
    },
    mix: {
      type: "string",
      placeholder: "A=0.8,B=0.2",
      help: "several corpus folders instead, with their shares of the training tokens",
    },
    shards: {
      type: "string",
      placeholder: "NAME",
      help: 'with --corpus: the shard set that "pipeline pack --out NAME" made',
    },
    init: {
      type: "string",
      placeholder: "MODEL",
      help: "a model folder, a Hugging Face id, or random:<preset> (needed at the start)",
    },
    out: { type: "string", placeholder: "RUN", help: "the run folder (not needed with --plan)" },
    config: {
      type: "string",
      placeholder: "FILE",
      help: `a configuration file (JSON with comments), or a recipe: ${recipeNames().join(", ")}`,
    },
    set: {
      type: "list",
      placeholder: "KEY=VALUE",
      help: "sets one key of the configuration, such as optimizer.beta2=0.99; may be repeated",
    },
    resume: { type: "boolean", help: "go on from the run's last checkpoint" },
    follow: {
      type: "boolean",
      help: "with --resume: read what the corpus has become, from the next epoch on",
    },
    plan: {
      type: "boolean",
      help: "print the memory that training would take, and train nothing; needs --init alone",
    },
    "sequence-length": {
      type: "integer",
      help: "with --plan and no corpus: tokens of a row (default 1024)",
      min: 2,
    },
    ranks: {
      type: "integer",
      help: "with --plan: the processes that mpirun or srun would start, each on a GPU of its own",
      min: 1,
    },
    profile: {
      type: "boolean",
      help: "first print where a step's time goes, and write RUN/profile.json, a Chrome trace",
    },
    "log-every": {
      type: "integer",
      help: "steps between the lines that stay in the log (default: some tens of lines in all)",
      min: 1,
    },
    ...watchOptions,
    ...configOptions,
    ...trainingDeviceOptions,
  },
  stopping: "Stopping after this step, and saving",
  examples: [
    "deno task train --corpus corpus --init random:small --out runs/small --steps 1000",
    "deno task train --corpus corpus --init state-spaces/mamba-130m-hf --out runs/bio --config biomamba-v1",
    "deno task train --corpus corpus --shards long --init random:small --out runs/long",
    "deno task train --mix pubmed=0.8,c4=0.2 --init random:small --out runs/mix --steps 1000",
    "deno task train --out runs/bio --resume --watch 8080",
    "deno task train --plan --init random:mamba-130m --batch-size 8",
    "deno task train --plan --init random:mamba-2.8b --accumulate 8 --lanes 8 --ranks 8",
  ],
  run: (invocation) => asRank(invocation, train),
};

/** Trains, or tells what it would take; as one rank of a job, or alone. */
async function train(job: Job, invocation: Invocation): Promise<void> {
  const { reporter, signal } = invocation;
  const plan = invocation.boolean("plan");
  const resume = invocation.boolean("resume");
  const follow = invocation.boolean("follow");
  if (follow && !resume) {
    throw new UsageError("Option --follow needs --resume: a new run reads the corpus as it is");
  }
  const planned = invocation.number("ranks");
  if (planned !== undefined && !plan) {
    throw new UsageError(
      "Option --ranks is for --plan alone: to train over ranks, start the command with mpirun or srun",
    );
  }
  const { config, source } = givenConfig(invocation);
  const out = invocation.string("out") ?? (plan && !resume ? "" : undefined);
  if (out === undefined) throw new UsageError("Missing --out RUN");
  const old = resume ? readRun(out) : undefined;
  const init = invocation.string("init");
  const from = init ?? old?.init;
  if (from === undefined) throw new UsageError("Missing --init MODEL");
  using corpus = await corpusOf(invocation, old?.corpus.path);
  if (plan) {
    const full = resolveConfig(mergeConfig({ ...old?.config }, config), source);
    return await printPlan(invocation, corpus, {
      init: from,
      config: full,
      ranks: planned ?? job.size,
    });
  }
  if (!corpus) throw new UsageError("Missing --corpus DIR or --mix");
  if (invocation.number("sequence-length") !== undefined) {
    throw new UsageError(
      "Option --sequence-length is for --plan alone: a corpus's rows have their length",
    );
  }
  const makeModel = await makeModelOf(invocation);
  const request = (listener?: RunListener): TrainRequest => ({
    corpus,
    init,
    out,
    config,
    configSource: source,
    resume,
    follow,
    makeModel,
    logEvery: invocation.number("log-every"),
    listener: job.leads ? reportAfterValidations(out, listener) : undefined,
    onProfile: invocation.boolean("profile")
      ? (times, peaks) => reportProfile(reporter, times, join(out, "profile.json"), peaks)
      : undefined,
    reporter,
    signal,
    command: invocation.words,
    resumeHint: `deno task train --out ${out} --resume`,
    job,
  });
  if (!job.leads) return void await trainRun(request());
  const result = await watched(invocation, out, (listener) => trainRun(request(listener)))
    .catch((error) => {
      if (error instanceof Interrupted) writeRunReport(out); // the curves so far
      throw error;
    });
  const report = writeRunReport(out);
  const { validationLoss } = result;
  reporter.line(formatTable(["training", "value"], [
    ["steps", result.step.toLocaleString("en")],
    ["tokens", result.tokens.toLocaleString("en")],
    ["loss", result.loss.toFixed(4)],
    ...(validationLoss === undefined ? [] : [
      ["validation loss", validationLoss.toFixed(4)],
      ["validation perplexity", Math.exp(validationLoss).toFixed(3)],
      ["validated on", validationRows(out)],
    ]),
    ["training time", formatDuration(result.seconds)],
    ["tokens/s", Math.round(result.tokensPerSecond).toLocaleString("en")],
    ["time now, in all", formatDuration(result.secondsHere)],
    ["reading data", dataShare(result)],
    ["checkpoint", result.checkpoint],
    ["report", report],
  ]));
  if (result.ranks) reporter.line(rankTable(result.ranks));
  if (invocation.json) reporter.line(jsonLine({ ...result, report }));
}

/** How each rank spent the loop's time. */
function rankTable(ranks: RankTimes[]): string {
  return "\n" + formatTable(
    ["rank", "machine", "computing", "exchanging", "waiting", "sent"],
    ranks.map(({ rank, host, seconds, exchanging, waiting, sent }) => [
      String(rank),
      host,
      `${(seconds - exchanging - waiting).toFixed(1)} s`,
      `${exchanging.toFixed(1)} s`,
      `${waiting.toFixed(1)} s`,
      formatBytes(sent),
    ]),
  );
}

/** Which rows a run's validation takes. */
function validationRows(run: string): string {
  const { validation, seed } = readRun(run).config;
  return scoredRows("validation", validation.rows, seed);
}

/** The corpus or mix that the command line names, or that the run before was on. */
async function corpusOf(invocation: Invocation, before: string | undefined) {
  const mix = invocation.string("mix");
  const given = invocation.string("corpus");
  if (mix !== undefined && given !== undefined) {
    throw new UsageError("Give either --corpus DIR or --mix, not both");
  }
  const shards = invocation.string("shards");
  if (shards !== undefined && given === undefined) {
    throw new UsageError("Option --shards needs --corpus DIR, whose shard set it names");
  }
  if (mix !== undefined) return openMix(await mixFolders(invocation, mix));
  const whole = given === undefined ? before : await corpusFolder(invocation, given);
  const folder = shards === undefined || whole === undefined ? whole : setOf(whole, shards);
  if (folder === undefined) return undefined;
  // The record of a run on a mix has the mix where it would have the path of one corpus.
  const mixed = /=[\d.]+$/.test(folder) && (folder.includes(",") || !exists(folder));
  return mixed ? openMix(folder) : openCorpus(folder);
}

/** The folder of a corpus's shard set. @throws {UserError} where there is none of that name. */
function setOf(corpus: string, name: string): string {
  const folder = setFolder(corpus, name);
  if (exists(folder)) return folder;
  const sets = join(corpus, "sets");
  const there = exists(sets) ? [...Deno.readDirSync(sets)].map((e) => e.name).sort() : [];
  throw new UserError(
    `Cannot train on the shards ${name} of ${corpus}: there is no such set` +
      (there.length ? `; there are ${there.join(", ")}` : "") +
      `; make it with "pipeline pack --corpus ${corpus} --out ${name}"`,
  );
}

/** What reading data took, beside everything else. */
function dataShare(
  { dataSeconds, secondsHere }: { dataSeconds: number; secondsHere: number },
): string {
  const share = secondsHere > 0 ? 100 * dataSeconds / secondsHere : 0;
  return `${dataSeconds.toFixed(2)} s, ${share.toFixed(1)} %`;
}
