/**
 * What a task is: the one interface that `evaluate NAME` and `finetune NAME` drive. A new task is a
 * folder beside this one that exports a {@linkcode Task}, and a line in the list of ../mod.ts.
 *
 * The way of a task through its methods: `read` turns files of any format into items, split by use; an
 * {@linkcode Approach} turns items into examples to learn from, and a model's output into answers;
 * `readAnswers` takes another system's answers instead; `score` turns items and answers into measures
 * that can be resampled; `report` words them for people, for programs and for the results files.
 * @module
 */
import type { OptionSpec } from "../../../core/cli.ts";
import type { Tokenizer } from "../../../pipeline/tokenizer/mod.ts";
import type { MadeModel, MakeModel } from "../../mamba/types.ts";
import type { Reporter } from "../../../core/reporter.ts";
import type { SupervisedExample } from "./examples.ts";
import type { TaskResults } from "./results_files.ts";
import type { Statistic } from "../../statistics/mod.ts";

/** The options that a user gave, already checked: the part of an invocation that tasks look at. */
export interface Given {
  /** Whether the result is wanted as JSON. */
  json: boolean;
  /** The value of a string option. */
  string(name: string): string | undefined;
  /** The value of an integer or number option. */
  number(name: string): number | undefined;
  /** Whether a flag is set. */
  boolean(name: string): boolean;
}

/** What the data are read for. */
export type Purpose = "evaluate" | "finetune";

/** A task's page in the help of a command; its options are those that name files and splits. */
export interface TaskHelp {
  /** One line: what the command does. */
  summary: string;
  /** A few sentences for the help page. */
  description: string;
  /** The task's own options; the command adds those that all tasks share. */
  options: Record<string, OptionSpec>;
  /** Whole command lines. */
  examples: string[];
}

/** How a task is fine-tuned. */
export interface FinetuneHelp extends TaskHelp {
  /** Where they differ from those of the other tasks. */
  defaults?: { epochs?: number; learningRate?: number };
}

/** The items of a task by their use, and where they came from. */
export interface TaskData<Item> {
  /** The names of what can be answered: the label set that belongs to a model taught on these data. */
  labels: readonly string[];
  /** What is learned from, and what the trivial system knows; empty where it is not at hand. */
  train: Item[];
  /** What chooses the checkpoint; empty for evaluation. */
  develop: Item[];
  /** What is asked. */
  test: Item[];
  /** The file or folder, for messages and for the record of a run. */
  path: string;
  /** Of everything that was read: a run is gone on with only where this is equal. */
  sha256: string;
  /** What the user is told about the reading, such as items that were left out. */
  notes?: string[];
}

/** With what and within which limits items are read by a model. */
export interface TaskReader {
  tokenizer: Tokenizer;
  /** The label set of the model that is asked. */
  labels: readonly string[];
  /** The most tokens of an item; longer ones lose what the task says they lose. */
  maxTokens: number;
  /** Ends the answering without a result. */
  signal?: AbortSignal;
  /** Hears how many items are answered. */
  onProgress?: (done: number) => void;
}

/** A way to put a task to a model: by the words of its answers, or by a head of its own. */
export interface Approach<Item, Answer> {
  /** As in options and results files. */
  readonly name: string;
  /** Tokens per row that the longest of the items needs. */
  rowLength(items: readonly Item[], reader: TaskReader): number;
  /** What is learned from the items. */
  examples(items: readonly Item[], reader: TaskReader): SupervisedExample[];
  /**
   * The answers of a model with its weights written, one per item, in order.
   * @throws {Interrupted} when the reader's signal fires: half an evaluation is no result.
   */
  answer(items: readonly Item[], made: MadeModel, reader: TaskReader): Promise<Answer[]>;
}

/** One measure of a system. Each has units of its own, since not every question has every measure. */
export interface Measure {
  /** As in lm-evaluation-harness: "acc", "f1". */
  key: string;
  /** As in tables: "accuracy". */
  name: string;
  /** What is resampled: questions, sentences, documents. */
  count: number;
  /** The measure over some of the units, with repetitions. */
  statistic: Statistic;
  /** Where the measure is the mean of a value per unit, these values: they give its standard error. */
  values?: ArrayLike<number>;
}

/** How good a system's answers are. */
export interface Score {
  /** The first one chooses checkpoints and stands for the task in summaries. */
  measures: Measure[];
  /** Resamples that the intervals are made of; 10,000 where not said. */
  resamples?: number;
  /** By item, whether it is answered right: what McNemar's test compares. */
  right?: boolean[];
  /** Mean negative log-probability of what is right, in nats, where a model told. */
  loss?: number;
}

/** One system's answers to the same items. */
export interface SystemAnswers<Answer> {
  /** Whose they are: `system` is one whose answers came in a file. */
  role: "model" | "base" | "system";
  /** As the user named it. */
  name: string;
  answers: Answer[];
}

/** What a report is made of. */
export interface ReportRequest<Item, Answer> {
  data: TaskData<Item>;
  /** The first is the one that is reported; the others are compared with it. */
  systems: SystemAnswers<Answer>[];
  purpose: Purpose;
  given: Given;
  /** Of the bootstrap. */
  seed: number;
  /** How the checkpoint was chosen, where there was one. */
  development?: { step: number; score: number };
}

/** A file that belongs to a report, such as answers in a challenge's format. */
export interface ReportFile {
  /** Under which the path stands in the JSON. */
  key: string;
  /** Before the date: "bioasq_answers". */
  name: string;
  /** With the dot. */
  extension: string;
  contents: string;
}

/** Results for people, for programs and for files. */
export interface TaskReport {
  /** Of the first measure of the first system. */
  score: number;
  /** What is logged before the table: missing answers, prompts that were cut. */
  notes: string[];
  /** The table; empty where nothing is to be printed. */
  text: string;
  /** For --json. */
  json: Record<string, unknown>;
  /** The results file; undefined where there is nothing to put into one. */
  results?: TaskResults & { more: Record<string, unknown> };
  /** Further files. */
  files?: ReportFile[];
}

/** A task: everything that the commands need to know of it. */
export interface Task<Item, Answer> {
  /** As typed, and as in file names. */
  readonly name: string;
  /** What is counted, in the plural: "questions". */
  readonly units: string;
  readonly evaluation: TaskHelp;
  /** Undefined for a task that is not taught. */
  readonly finetuning?: FinetuneHelp;
  /** The ways to put it to a model, the default first; empty where only answers can be scored. */
  readonly approaches: readonly Approach<Item, Answer>[];
  /** Another task under the same name, where the options ask for one, as by the kind of a file. */
  variant?(given: Given): AnyTask | undefined;
  /**
   * Reads what the options name.
   * @throws {UserError} naming the file and the place, for anything missing or of another shape.
   */
  read(given: Given, purpose: Purpose): TaskData<Item>;
  /**
   * Another system's answers to the items of `data.test`, from a file.
   * @throws {UserError} where they do not belong to these items.
   */
  readAnswers?(path: string, data: TaskData<Item>): Answer[];
  /**
   * The measures of one system's answers, one per item.
   * @param labels the label set of {@linkcode TaskData}
   */
  score(items: readonly Item[], answers: readonly Answer[], labels: readonly string[]): Score;
  /** Results in words and as JSON. */
  report(request: ReportRequest<Item, Answer>): TaskReport;
}

/** A task whatever its items are; only its own methods look into them. */
export type AnyTask = Task<unknown, unknown>;

/** What a {@linkcode Measurement} works with. */
export interface MeasurementRequest {
  given: Given;
  /** The model as the user names it. */
  model: string;
  makeModel: MakeModel;
  reporter: Reporter;
  signal: AbortSignal;
}

/** An evaluation that puts no questions and takes no answers, such as the perplexity of documents. */
export interface Measurement {
  readonly name: string;
  readonly evaluation: TaskHelp;
  /** Measures, and returns what is to be printed. */
  measure(request: MeasurementRequest): Promise<{ text: string; json: Record<string, unknown> }>;
}

/** Tells an entry of the list of tasks from a measurement. */
export function isTask(entry: AnyTask | Measurement): entry is AnyTask {
  return "approaches" in entry;
}
