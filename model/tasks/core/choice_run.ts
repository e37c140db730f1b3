/** A model folder put to a multiple-choice task, and two of them compared. @module */
import { UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import { loadTokenizer, type Tokenizer } from "../../../pipeline/tokenizer/mod.ts";
import { type ModelFolder, openModelFolder } from "../../weights/folder.ts";
import { parameterCount } from "../../mamba/parameters.ts";
import type { MakeModel } from "../../mamba/types.ts";
import { accuracyOf, macroF1Of } from "./classification.ts";
import {
  answerChoices,
  type AnswerOptions,
  type ChoiceAnswer,
  type ChoiceItem,
  type ChoiceTask,
  labelled,
  labelTokens,
  promptTokens,
} from "./choices.ts";
import { batchScorer } from "./scorer.ts";
import {
  mcNemar,
  type McNemarResult,
  pairedBootstrap,
  type PairedComparison,
} from "../../statistics/mod.ts";

/** A model folder with the tokenizer to read with. */
export interface Reader {
  folder: ModelFolder;
  tokenizer: Tokenizer;
}

/**
 * Opens a model folder and its tokenizer, or another one.
 * @throws {UserError} where there is no tokenizer, or it has more ids than the model.
 */
export function openReader(path: string, tokenizerFile?: string): Reader {
  const folder = openModelFolder(path);
  const file = tokenizerFile ?? folder.tokenizerFile;
  try {
    if (file === undefined) {
      throw new UserError(
        `Cannot read text with the model ${path}: ${join(path, "tokenizer.json")} does not ` +
          `exist; name the tokenizer it was trained with by --tokenizer`,
      );
    }
    const tokenizer = loadTokenizer(file);
    const rows = folder.config.paddedVocabSize;
    if (tokenizer.vocabularySize > rows) {
      throw new UserError(
        `Cannot read text with the model ${path}: the tokenizer ${file} has ` +
          `${tokenizer.vocabularySize} ids and the model's embedding ${rows} rows; name the ` +
          `tokenizer it was trained with by --tokenizer`,
      );
    }
    return { folder, tokenizer };
  } catch (error) {
    folder.close();
    throw error;
  }
}

/**
 * Tokens a row that the longest of some prompts and an answer need: whole 64s, at most `maxTokens`.
 */
export function rowLengthFor(
  items: ChoiceItem[],
  labels: readonly string[],
  tokenizer: Tokenizer,
  maxTokens: number,
): number {
  const answer = Math.max(...labelTokens(labels, tokenizer).map((a) => a.length));
  let longest = 1;
  for (const { prompt } of items) {
    const { tokens } = promptTokens(prompt, tokenizer, maxTokens - answer);
    longest = Math.max(longest, tokens.length + answer - 1);
  }
  return Math.min(maxTokens, Math.ceil(longest / 64) * 64);
}

/** What {@linkcode runChoices} takes. */
export interface ChoiceRunRequest extends AnswerOptions {
  task: ChoiceTask;
  model: string;
  tokenizerFile?: string;
  /** The most tokens of a prompt with its answer. */
  maxTokens: number;
  /** Rows computed at once. */
  batchSize: number;
  makeModel: MakeModel;
}

/** What a model answered. */
export interface ChoiceRun {
  answers: ChoiceAnswer[];
  parameters: number;
  device: string;
}

/** Loads a model folder, answers every question, frees everything. */
export async function runChoices(request: ChoiceRunRequest): Promise<ChoiceRun> {
  const { task, maxTokens, batchSize } = request;
  const { folder, tokenizer } = openReader(request.model, request.tokenizerFile);
  try {
    const sequenceLength = rowLengthFor(task.items, task.labels, tokenizer, maxTokens);
    const { config } = folder;
    const made = await request.makeModel(config, { batchSize, sequenceLength, training: false });
    try {
      made.model.writeParameters(folder.read);
      const answers = await answerChoices(task, batchScorer(made.model), tokenizer, request);
      return { answers, parameters: parameterCount(config), device: made.device };
    } finally {
      made.close();
    }
  } finally {
    folder.close();
  }
}

/** A model against its base on the same questions. */
export interface ChoiceComparison {
  accuracy: PairedComparison;
  macroF1: PairedComparison;
  mcNemar: McNemarResult;
}

/** Paired tests: is `answers` better than `base`, and how sure is that? */
export function compareAnswers(
  answers: ChoiceAnswer[],
  base: ChoiceAnswer[],
  labels: number,
  seed: number,
): ChoiceComparison {
  const a = labelled(answers);
  const b = labelled(base);
  const count = answers.length;
  const options = { seed };
  const right = (list: ChoiceAnswer[]) => list.map((x) => x.predicted === x.item.gold);
  return {
    accuracy: pairedBootstrap(count, accuracyOf(a), accuracyOf(b), options),
    macroF1: pairedBootstrap(count, macroF1Of(a, labels), macroF1Of(b, labels), options),
    mcNemar: mcNemar(right(answers), right(base)),
  };
}
