/** A question with a closed set of answers, and what was said to it. @module */

/** One question. */
export interface ChoiceItem {
  id: string;
  prompt: string;
  /** Index of the right label. */
  gold: number;
}

/** What a model said to one question. */
export interface ChoiceAnswer {
  item: ChoiceItem;
  /** ln p of each label, in nats. */
  logProbabilities: number[];
  /** Index of the most probable label; the first of equals; -1 where a value is not a number. */
  predicted: number;
  /** Tokens that were cut from the prompt to make it fit. */
  truncated: number;
  /** What a system's file said, where it is no label: wrong, but an answer. */
  said?: string;
}
