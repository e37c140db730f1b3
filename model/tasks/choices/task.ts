/**
 * Questions with choices as a task: MedQA, MedMCQA, MMLU's subjects, and any other set of questions whose
 * options are given. The options stand in the prompt under letters, and the answer is a letter.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { choiceTask } from "../core/choice_task.ts";
import type { ChoiceAnswer, ChoiceItem } from "../core/choices.ts";
import { readJson } from "../../../core/files.ts";
import type { Question } from "../formats/mod.ts";
import { FORMAT, readReleased, TRAIN } from "../formats/released.ts";
import { readQuestions } from "../formats/views.ts";

const LETTERS = "ABCDEFGHIJ";

/** The prompt of a question: what is given, the question, its options by letter. */
function promptOf({ contexts, question, options = [] }: Question): string {
  const context = contexts.length ? `Context:\n${contexts.join("\n")}\n\n` : "";
  const list = options.map((option, i) => `${LETTERS[i]}. ${option}`).join("\n");
  return `Answer the following biomedical question with the letter of the right option.\n\n` +
    `${context}Question: ${question}\n\n${list}\n\nAnswer:`;
}

function choicesOf(questions: readonly Question[]): ChoiceItem[] {
  return questions.map(({ id, answer, ...question }) => ({
    id,
    prompt: promptOf({ id, answer, ...question }),
    gold: answer.type === "choice" ? answer.index : -1,
  }));
}

/**
 * The questions of a file.
 * @throws {UserError} where one has no options, too many, or no right one.
 */
function questionsOf(path: string, format: string | undefined): Question[] {
  const questions = readQuestions(path, format);
  for (const { id, options, answer } of questions) {
    if (!options?.length || options.length > LETTERS.length || answer.type !== "choice") {
      throw new UserError(
        `Cannot use ${path}: the question ${id} has ${options?.length ?? 0} options and ` +
          `${answer.type === "choice" ? "a" : "no"} right one; from 2 to ${LETTERS.length} and a ` +
          `right one are needed`,
      );
    }
  }
  return questions;
}

/** As many letters as the question with the most options needs. */
const lettersOf = (
  questions: readonly Question[],
): string[] => [...LETTERS.slice(0, Math.max(...questions.map((q) => q.options?.length ?? 0)))];

/** MedQA, MedMCQA, MMLU and the like. */
export const choices = choiceTask<Question>({ choicesOf }, {
  name: "choices",
  units: "questions",
  evaluation: {
    summary: "Accuracy on questions with options: MedQA, MedMCQA, MMLU's subjects",
    description:
      "Reads questions with options in any format that tasks formats lists, and takes the option " +
      "whose letter is the most probable after the prompt. With --system, scores the letters of a " +
      "JSON object by question.",
    options: {
      gold: { type: "string", placeholder: "F", help: "the questions", required: true },
      format: FORMAT,
      train: TRAIN,
    },
    examples: ["deno task evaluate choices --gold medqa/test.jsonl --model mamba-130m-hf"],
  },
  finetuning: {
    summary: "Teach a model to choose among options, and test it beside its base",
    description:
      "Trains on the train split of a folder with the loss on the letter alone, takes the epoch that " +
      "does best on the development split, then answers the test split once.",
    options: {
      data: {
        type: "string",
        placeholder: "DIR",
        help: "a folder whose files are called train, dev and test",
        required: true,
      },
      format: FORMAT,
    },
    examples: ["deno task finetune choices --model mamba-130m-hf --data medqa --out runs/medqa"],
  },
  read(given, purpose) {
    const format = given.string("format");
    return readReleased(given, purpose, {
      read: (paths) => paths.map((path) => questionsOf(path, format)),
      labelsOf: (...splits) => lettersOf(splits.flat()),
    });
  },
  readAnswers(path, { test, labels }): ChoiceAnswer[] {
    const said = readJson<Record<string, unknown>>(path, "answers");
    return choicesOf(test).map((item) => {
      const letter = Object.hasOwn(said, item.id) ? String(said[item.id]) : undefined;
      const predicted = letter === undefined ? -1 : labels.indexOf(letter.trim().toUpperCase());
      return { item, logProbabilities: [], predicted, truncated: 0, said: letter };
    });
  },
});
