/** The tasks that models are evaluated on and taught: the list that the commands are made from. @module */
import { bioasq } from "./bioasq/task.ts";
import { choices } from "./choices/task.ts";
import { classify } from "./classify/task.ts";
import type { AnyTask, Measurement } from "./core/task.ts";
import { joint } from "./joint/task.ts";
import { multilabel } from "./multilabel/task.ts";
import { ner } from "./ner/task.ts";
import { perplexity } from "./perplexity/task.ts";
import { pubmedqa } from "./pubmedqa/task.ts";
import { regression } from "./regression/task.ts";
import { relations } from "./relations/task.ts";

/** Every task by its place in the help. A new one is a folder here and a line in this list. */
export const TASKS: readonly (AnyTask | Measurement)[] = [
  perplexity,
  pubmedqa,
  bioasq as AnyTask,
  ner as AnyTask,
  relations as AnyTask,
  joint as AnyTask,
  choices as AnyTask,
  classify as AnyTask,
  multilabel as AnyTask,
  regression as AnyTask,
];
