/** Multiple choice by a head of labels: it reads the state at the end of the prompt. @module */
import type { ChoiceForm } from "./choice_task.ts";
import { type ChoiceAnswer, type ChoiceItem, promptTokens } from "./choices.ts";
import { type HeadForm, type HeadOutput, logSoftmax } from "./head_approach.ts";

/** What a head says of a question. */
export function headAnswer(item: ChoiceItem, { logits, cut }: HeadOutput): ChoiceAnswer {
  const logProbabilities = logSoftmax(logits[0] ?? []);
  const predicted = logProbabilities.some(Number.isNaN)
    ? -1
    : logProbabilities.indexOf(Math.max(...logProbabilities));
  return { item, logProbabilities, predicted, truncated: cut };
}

/** Whole prompts, one item each. */
export function choiceHead<Item>(form: ChoiceForm<Item>): HeadForm<Item, ChoiceAnswer> {
  const itemOf = (own: Item, labels: readonly string[]): ChoiceItem => {
    const [item] = form.choicesOf([own], labels);
    if (!item) throw new RangeError("A question is no item");
    return item;
  };
  return {
    loss: "softmax",
    marks: 1,
    sequence: false,
    texts(own, limit, { tokenizer, labels }) {
      const { prompt, gold } = itemOf(own, labels);
      const { tokens, truncated } = promptTokens(prompt, tokenizer, limit + 1);
      const target = Math.max(0, gold);
      return [{
        tokens: tokens.slice(1),
        items: [{ marks: [{ kind: "text" }], target }],
        cut: truncated,
      }];
    },
    answer: (own, output, { labels }) => headAnswer(itemOf(own, labels), output),
  };
}
