/**
 * Class weights of a head of labels: rare labels count as much as common ones, as scikit-learn's
 * `class_weight="balanced"` has it.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import type { HeadConfig } from "../../mamba/head.ts";
import type { SupervisedExample } from "./examples.ts";

/** Examples whose items are weighted, and the weight of each label that occurs. */
export interface BalancedExamples {
  examples: SupervisedExample[];
  weights: Record<string, number>;
}

/**
 * Multiplies each item's weight with n / (k * c): n items in all, k labels that occur, c items of its own
 * label. Every label then has the same part of the loss, whose sum of weights stays n. Items of weight 0
 * are left as they are.
 * @throws {UserError} where no head learns one label per item by itself, or where items have different
 * weights already.
 */
export function balanceClasses(
  examples: readonly SupervisedExample[],
  head: HeadConfig | undefined,
  labels: readonly string[],
): BalancedExamples {
  const refuse = (why: string): never => {
    throw new UserError(`Cannot use --class-weights balanced: ${why}`);
  };
  if (!head) refuse("answers are words, which have no classes; give --approach head");
  if (head?.loss !== "softmax") refuse("this task does not choose one label of several");
  if (head?.crf) refuse("labels that follow each other are learned together; give --no-crf");
  const counts = new Map<number, number>();
  const own = new Set<number>();
  for (const { target, weight } of examples.flatMap(({ items = [] }) => items)) {
    if (weight === 0 || typeof target !== "number") continue;
    own.add(weight);
    counts.set(target, (counts.get(target) ?? 0) + 1);
  }
  if (own.size > 1) refuse("the parts of this task are weighted against each other already");
  const all = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const factor = (target: number) => all / (counts.size * (counts.get(target) ?? 1));
  const present = [...counts.keys()].sort((a, b) => a - b);
  return {
    examples: examples.map((example) => ({
      ...example,
      items: example.items?.map((item) =>
        typeof item.target === "number"
          ? { ...item, weight: item.weight * factor(item.target) }
          : item
      ),
    })),
    weights: Object.fromEntries(
      present.map((target) => [labels[target] ?? String(target), factor(target)]),
    ),
  };
}
