/**
 * What a model was taught to answer, as its folder keeps it: in config.json under the names that
 * `transformers` has for them, `finetuning_task`, `id2label` and `label2id`.
 * @module
 */
import { UserError } from "../../core/errors.ts";

/** A task and the set of its labels. */
export interface Taught {
  /** The task's name, such as "ner". */
  task: string;
  /** The labels by their number: tags such as B-Disease, or classes. */
  labels: readonly string[];
}

/** The members of config.json that say so. */
export function taughtJson({ task, labels }: Taught): Record<string, unknown> {
  return {
    finetuning_task: task,
    id2label: Object.fromEntries(labels.map((label, id) => [String(id), label])),
    label2id: Object.fromEntries(labels.map((label, id) => [label, id])),
  };
}

/**
 * Reads what {@linkcode taughtJson} wrote; undefined for a model that was taught nothing.
 * @throws {UserError} where the labels' numbers are not 0, 1, 2, ...
 */
export function parseTaught(json: Record<string, unknown>, file: string): Taught | undefined {
  const { finetuning_task: task, id2label } = json;
  if (typeof task !== "string" || typeof id2label !== "object" || id2label === null) {
    return undefined;
  }
  const byId = id2label as Record<string, unknown>;
  const labels = Object.keys(byId).map((_, id) => {
    const label = byId[String(id)];
    if (typeof label === "string") return label;
    throw new UserError(
      `Cannot use ${file}: its "id2label" has no name for the number ${id}; ` +
        `it has to number the labels of the task ${task} from 0 on`,
    );
  });
  return { task, labels };
}
