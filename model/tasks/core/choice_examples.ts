/** Multiple-choice tasks to fine-tune on: the answers after the prompts are learned. @module */
import type { Tokenizer } from "../../../pipeline/tokenizer/mod.ts";
import { rowLengthFor } from "./choice_run.ts";
import {
  answerChoices,
  type ChoiceAnswer,
  type ChoiceItem,
  labelTokens,
  promptTokens,
} from "./choices.ts";
import { batchScorer } from "./scorer.ts";
import { mean } from "../../statistics/mod.ts";
import type { TrainableModel } from "../../mamba/types.ts";
import { answerExample } from "./examples.ts";
import type { FinetuneTask } from "./run.ts";

/** A multiple-choice task with its splits. */
export interface ChoiceSplits {
  name: string;
  labels: readonly string[];
  train: ChoiceItem[];
  develop: ChoiceItem[];
  test: ChoiceItem[];
  path: string;
  sha256: string;
}

/**
 * The task as fine-tuning takes it; the development score is the accuracy.
 * @param maxTokens longer prompts lose the end of their context
 */
export function choiceFinetuneTask(
  splits: ChoiceSplits,
  tokenizer: Tokenizer,
  maxTokens: number,
  signal: AbortSignal,
): FinetuneTask<ChoiceAnswer[]> {
  const { name, labels, train, develop, test, path, sha256 } = splits;
  const answers = labelTokens(labels, tokenizer);
  const limit = maxTokens - Math.max(...answers.map((a) => a.length));
  const answer = (model: TrainableModel, items: ChoiceItem[]) =>
    answerChoices({ name, labels, items }, batchScorer(model), tokenizer, { maxTokens, signal });
  return {
    name,
    path,
    sha256,
    rowLength: rowLengthFor([...train, ...develop, ...test], labels, tokenizer, maxTokens),
    examples: train.map(({ prompt, gold }) =>
      answerExample(promptTokens(prompt, tokenizer, limit).tokens, answers[gold]!)
    ),
    async develop(model) {
      const given = await answer(model, develop);
      return {
        score: mean(given.map((a) => Number(a.predicted === a.item.gold))),
        loss: mean(given.map((a) => -a.logProbabilities[a.item.gold]!)),
      };
    },
    test: (model) => answer(model, test),
  };
}
