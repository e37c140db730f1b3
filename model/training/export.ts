/** From a run to a model folder that others load. @module */
import { UserError } from "../../core/errors.ts";
import { writeAtomic } from "../../core/files.ts";
import { basename, join, resolve } from "../../core/std.ts";
import { isAdapterParameter, isHeadParameter, parameterCount, parseConfig } from "../mamba/mod.ts";
import {
  assertWritableFolder,
  type GgufType,
  mergedFolder,
  modelCard,
  type ModelLayout,
  writeAdapterFolder,
  writeGguf,
  writeModelFolder,
} from "../weights/mod.ts";
import {
  type Checkpoint,
  listCheckpoints,
  openCheckpoint,
  openNewestCheckpoint,
} from "./checkpoint.ts";
import { scoredRows } from "./held_out.ts";
import { readMetrics } from "./metrics.ts";
import { readRun, recordedOrigin } from "./run_file.ts";

/** Which checkpoint: the newest undamaged one, the one of the lowest validation loss, or a step's. */
export type CheckpointChoice = "last" | "best" | number;

/** Who loads what is written: a folder's readers, or llama.cpp, with matrices of a type. */
export type ExportLayout = ModelLayout | { gguf: GgufType };

/** What was exported. */
export interface ExportResult {
  /** The folder written, and the checkpoint it was made from. */
  out: string;
  /** The checkpoint that was exported. */
  checkpoint: string;
  /** Its step. */
  step: number;
  /** Trained values of the model. */
  parameters: number;
  /** Which of its weights: those trained, or their moving average. */
  weights: "trained" | "average";
  /** Whether the folder has adapters alone, to be read beside their base. */
  adapters: boolean;
  /** exp of the validation loss at that step, where it was computed. */
  validationPerplexity?: number;
}

/**
 * Writes a run's model as a folder that others load, with a model card filled from the run.
 * @param choose the weights as trained, their moving average, or those that validation scored: the
 * average where the run keeps one and does not say otherwise.
 * @param more who loads the folder, the licence that the card states, where there is one, and whether
 * adapters are merged into their base: without it a run of adapters becomes a folder of these
 * @throws {UserError} where `run` is no run, has no such checkpoint, or `out` exists.
 */
export function exportRun(
  run: string,
  out: string,
  choice: CheckpointChoice = "last",
  choose: "scored" | "trained" | "average" = "scored",
  log: (message: string) => void = () => {},
  { layout = "hf", license, merge = false }: {
    layout?: ExportLayout;
    license?: string | undefined;
    merge?: boolean;
  } = {},
): ExportResult {
  const record = readRun(run);
  assertWritableFolder(out);
  const checkpoint = chooseCheckpoint(run, choice, log);
  const { step, tokens } = checkpoint.state;
  try {
    const { tokenizerFile, taught } = checkpoint.folder;
    const { average, validation } = record.config;
    const scored = average.decay > 0 && validation.weights === "average" ? "average" : "trained";
    const weights = choose === "scored" ? scored : choose;
    const averaged = weights === "average";
    const stored = averaged ? checkpoint.average : checkpoint.folder.read;
    if (!stored) {
      throw new UserError(
        `Cannot export the average of ${checkpoint.path}: the run keeps none; train with ` +
          `--set average.decay=0.999`,
      );
    }
    const apart = checkpoint.folder;
    // Averages are kept of what is trained; the base is as it was.
    const own = (name: string) =>
      isAdapterParameter(name) || !apart.config.lora || isHeadParameter(name)
        ? stored(name)
        : apart.read(name);
    const adapters = apart.config.lora !== undefined && !merge;
    const { config, read } = adapters ? { ...apart, read: own } : mergedFolder(apart, own);
    if (adapters && layout !== "hf") {
      throw new UserError(
        `Cannot export the adapters of ${run} in this layout, which has whole models alone: merge ` +
          `them with --merge`,
      );
    }
    const loss = weights === scored
      ? readMetrics(run).find((m) => m.step === step)?.validation_loss
      : undefined;
    const validationPerplexity = loss === undefined ? undefined : Math.exp(loss);
    const parameters = parameterCount(parseConfig(record.model, run));
    const card = modelCard({
      name: basename(resolve(out)),
      ...recordedOrigin(record),
      parameters,
      kind: config.kind,
      steps: step,
      tokens,
      sequenceLength: record.sequence_length,
      manifestSha256: record.corpus.manifest_sha256,
      ...(averaged ? { averageDecay: average.decay } : {}),
      ...(record.task === undefined ? {} : { task: record.task }),
      ...(validationPerplexity === undefined ? {} : {
        perplexity: {
          value: validationPerplexity,
          split: "validation",
          rows: scoredRows("validation", validation.rows, record.config.seed),
        },
      }),
      license,
    });
    const tokenizer = tokenizerFile ? Deno.readFileSync(tokenizerFile) : undefined;
    if (adapters) {
      writeAdapterFolder(out, { config, read, tokenizer, card, taught });
    } else if (typeof layout === "string") {
      writeModelFolder(out, { config, read, tokenizer, card, taught, layout });
    } else {
      if (!tokenizer) {
        throw new UserError(
          `Cannot export ${checkpoint.path} for llama.cpp: it has no tokenizer.json`,
        );
      }
      const name = basename(resolve(out));
      // A run that stops here leaves no card, and the file appears whole.
      writeGguf(join(out, "model.gguf"), { name, config, read, tokenizer, type: layout.gguf });
      writeAtomic(join(out, "README.md"), card);
    }
    const result: ExportResult = {
      out,
      checkpoint: checkpoint.path,
      step,
      parameters,
      weights,
      adapters,
    };
    return validationPerplexity === undefined ? result : { ...result, validationPerplexity };
  } finally {
    checkpoint.close();
  }
}

function chooseCheckpoint(
  run: string,
  choice: CheckpointChoice,
  log: (message: string) => void,
): Checkpoint {
  const last = openNewestCheckpoint(run, log);
  const places = listCheckpoints(run);
  const fail = (what: string) => {
    const there = places.map(({ step }) => step).join(", ");
    return new UserError(
      `Cannot export the run ${run}: ${what}${there ? `; it has those of the steps ${there}` : ""}`,
    );
  };
  if (!last) throw fail("it has no checkpoint that is whole");
  if (choice === "last") return last;
  const step = choice === "best" ? last.state.best?.step : choice;
  last.close();
  if (step === undefined) throw fail("it has no validation loss to choose the best by");
  const place = places.find((p) => p.step === step);
  if (!place) throw fail(`it has no checkpoint of step ${step}`);
  return openCheckpoint(place.path);
}
