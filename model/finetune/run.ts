/**
 * A fine-tuning run as a whole: its folder, the development split that chooses the checkpoint, one
 * reading of the test split, and the comparison with the model it began from.
 * @module
 */
import { UserError } from "../../core/errors.ts";
import { exists } from "../../core/files.ts";
import type { Reporter } from "../../core/reporter.ts";
import { type Tokenizer } from "../../pipeline/tokenizer/mod.ts";
import {
  cleanCheckpoints,
  listCheckpoints,
  openCheckpoint,
  openNewestCheckpoint,
  type TrainerState,
} from "../checkpoint.ts";
import { type ModelFolder } from "../folder.ts";
import { parameterCount } from "../parameters.ts";
import { isRun, markDone, newRun, readRun, type RunFile, writeRun } from "../run.ts";
import { type PartialConfig, resolveConfig } from "../train_config.ts";
import type { MakeModel } from "../train_run.ts";
import type { TrainableModel } from "../types.ts";
import type { SupervisedExample } from "./examples.ts";
import { type Development, examplesPerStep, finetuneLoop } from "./loop.ts";

/** What a model is taught, and how it is examined. */
export interface FinetuneTask<Answers> {
  name: string;
  /** What is learned from. */
  examples: SupervisedExample[];
  /** Tokens a row: at least the longest example, in any split. */
  rowLength: number;
  /** Examines the development split. */
  develop: (model: TrainableModel) => Promise<Development>;
  /** Answers the test split. */
  test: (model: TrainableModel) => Promise<Answers>;
  /** Where its files are, and a hash of what was read from them. */
  path: string;
  sha256: string;
}

/** What {@linkcode finetuneRun} takes. */
export interface FinetuneRequest<Answers> {
  task: FinetuneTask<Answers>;
  /** The model to begin from as the user names it; open; and its tokenizer. */
  init: string;
  base: ModelFolder;
  tokenizer: Tokenizer;
  /** The run folder. */
  out: string;
  epochs: number;
  /** Of the training configuration: what differs from {@linkcode FINETUNE_DEFAULTS}. */
  config: PartialConfig;
  resume: boolean;
  makeModel: MakeModel;
  reporter: Reporter;
  signal: AbortSignal;
  resumeHint?: string;
}

/** BioMamba's recipe; AdamW's betas and clipping as everywhere here. */
export const FINETUNE_DEFAULTS = {
  batch: { rows: 8, accumulate: 4 },
  optimizer: { learning_rate: 2e-5, weight_decay: 0.01 },
  schedule: { kind: "cosine", warmup: 0.1, final: 0 },
  checkpoint: { every: 0 },
} as const;

/** What a run came to. */
export interface FinetuneResult<Answers> {
  device: string;
  /** The step and the development score of the checkpoint that was chosen. */
  step: number;
  developmentScore: number;
  /** The chosen checkpoint's folder. */
  checkpoint: string;
  /** On the test split: the fine-tuned model, and the model it began from. */
  answers: Answers;
  baseAnswers: Answers;
}

/**
 * Fine-tunes and evaluates.
 * @throws {UserError} for bad input, before anything is written, or as the loop does.
 */
export async function finetuneRun<Answers>(
  request: FinetuneRequest<Answers>,
): Promise<FinetuneResult<Answers>> {
  const { task, base, out, reporter, signal } = request;
  const { examples, rowLength: sequenceLength } = task;
  const old = openRun(request), config = resolveRunConfig(request, examples.length);
  const newest = old ? openNewestCheckpoint(out, (damage) => reporter.log(damage)) : undefined;
  const made = await request.makeModel(base.config, {
    batchSize: config.batch.rows,
    sequenceLength,
  });
  const { model, device } = made;
  try {
    model.writeParameters(newest?.folder.read ?? base.read);
    if (newest) model.writeMoments(newest.moments);
    const start: TrainerState = newest?.state ?? { step: 0, rows: 0, tokens: 0 };
    newest?.close();
    Deno.mkdirSync(out, { recursive: true });
    writeRun(out, describeRun(request, old, { config, device, sequenceLength, step: start.step }));
    markDone(out);
    reporter.log(
      `Fine-tuning ${parameterCount(base.config).toLocaleString("en")} parameters on ` +
        `${examples.length} examples, ${config.steps} steps of ${examplesPerStep(config)}, ` +
        `rows of ${sequenceLength} tokens, on ${device}`,
    );
    const state = await finetuneLoop({
      run: out,
      model,
      config,
      examples,
      state: start,
      develop: () => task.develop(model),
      tokenizer: base.tokenizerFile ? Deno.readFileSync(base.tokenizerFile) : undefined,
      reporter,
      signal,
      resumeHint: request.resumeHint,
    });
    const { step, loss } = state.best!;
    const place = listCheckpoints(out).find((c) => c.step === step)!;
    const best = openCheckpoint(place.path);
    model.writeParameters(best.folder.read);
    best.close();
    reporter.log(`Testing the checkpoint of step ${step} once, and the base model`);
    const answers = await task.test(model);
    model.writeParameters(base.read);
    const baseAnswers = await task.test(model);
    markDone(out, { step, dev_score: 1 - loss, checkpoint: place.path });
    return {
      device,
      step,
      developmentScore: 1 - loss,
      checkpoint: place.path,
      answers,
      baseAnswers,
    };
  } finally {
    made.close();
  }
}

/** The record of the run that is gone on with; undefined for a new one. */
function openRun<A>({ out, resume, task, init }: FinetuneRequest<A>): RunFile | undefined {
  if (!resume) {
    if (exists(out) && (!Deno.statSync(out).isDirectory || [...Deno.readDirSync(out)].length)) {
      throw new UserError(
        isRun(out)
          ? `Cannot start a run in ${out}: there is one already; go on with it by --resume, or ` +
            `name another folder with --out`
          : `Cannot start a run in ${out}: it is not an empty folder`,
      );
    }
    return undefined;
  }
  const old = readRun(out);
  if (old.init !== init || old.corpus.manifest_sha256 !== task.sha256) {
    throw new UserError(
      `Cannot resume ${out}: it fine-tuned ${old.init} on ${old.corpus.path}; give the same ` +
        `--model, --data and --fold, or name another folder with --out`,
    );
  }
  cleanCheckpoints(out);
  return old;
}

function resolveRunConfig<A>({ config, epochs }: FinetuneRequest<A>, examples: number) {
  const resolved = resolveConfig(config, "the command line");
  const perEpoch = Math.ceil(examples / examplesPerStep(resolved));
  return { ...resolved, steps: epochs * perEpoch };
}

function describeRun<A>(
  { task, init, base, tokenizer }: FinetuneRequest<A>,
  old: RunFile | undefined,
  now: { config: RunFile["config"]; device: string; sequenceLength: number; step: number },
): RunFile {
  const { config, device, step } = now;
  if (old) {
    const resumption = { at: new Date().toISOString(), step, device };
    return { ...old, config, resumed: [...old.resumed, resumption] };
  }
  const corpus = {
    path: task.path,
    manifest_sha256: task.sha256,
    tokenizer_sha256: tokenizer.sha256,
  };
  const sequence_length = now.sequenceLength;
  return newRun({ init, corpus, config, sequence_length, device }, base.config);
}
