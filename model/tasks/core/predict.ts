/** A taught model's answers to new text. @module */
import { UserError } from "../../../core/errors.ts";
import { answerWith, type EvaluateRequest, type NamedModel } from "./evaluate.ts";
import { openReader } from "./reader.ts";
import type { AnyTask, Given } from "./task.ts";

/** What {@linkcode predictTask} takes. */
interface PredictRequest extends
  Pick<
    EvaluateRequest,
    "tokenizerFile" | "maxTokens" | "batchSize" | "makeModel" | "reporter" | "signal"
  > {
  given: Given;
  model: NamedModel;
}

/**
 * Reads the texts that the options name, asks the model, and returns the answers as they are written.
 * @throws {UserError} where the model was not taught the task, so that its labels are not known.
 */
export async function predictTask(
  task: AnyTask,
  request: PredictRequest,
): Promise<{ output: string; items: number }> {
  const { prediction, approaches, headed } = task;
  if (!prediction || !approaches.length && !headed) {
    throw new UserError(`Cannot predict ${task.name}: its answers come with its questions`);
  }
  const { model, given, reporter } = request;
  const items = prediction.read(given);
  if (!items.length) throw new UserError(`Cannot predict ${task.name}: there is no text to read`);
  const opened = openReader(await model.folder(), {
    tokenizerFile: request.tokenizerFile,
    log: (message) => reporter.log(message),
  });
  try {
    const { taught } = opened.folder;
    const own = taught?.task === task.name ? taught.labels : undefined;
    const labels = own ?? prediction.labels;
    if (!labels) {
      throw new UserError(
        `Cannot predict ${task.name} with the model ${model.name}: ` +
          (taught ? `it was taught the task ${taught.task}` : "its folder keeps no labels") +
          `; teach it first with finetune ${task.name}`,
      );
    }
    if (!own) {
      reporter.log(`The model was not taught ${task.name}: it answers as it is`);
    }
    const asked = { name: model.name, units: task.units, labels };
    const { answers } = await answerWith(task, items, opened, asked, request);
    return { output: prediction.write({ items, answers, labels, given }), items: items.length };
  } finally {
    opened.folder.close();
  }
}
