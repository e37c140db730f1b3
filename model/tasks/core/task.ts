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
import type { Job } from "../../training/mod.ts";
import type { Reporter } from "../../../core/reporter.ts";
import type { ChoiceAnswer, ChoiceItem } from "./choice_answer.ts";
import type { SupervisedExample } from "./examples.ts";
import type { HeadConfig, HeadContext } from "../../mamba/head.ts";
import type { Highlight } from "../../../core/page/mod.ts";
import type { Interval, Statistic } from "../../statistics/mod.ts";

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
  /**
   * An option whose values are learned one after the other, each in a folder of its own, where a flag
   * asks for it: an ablation.
   */
  variants?: { asked: string; option: string; values: readonly string[] };
  /** Where they differ from those of the other tasks. */
  defaults?: {
    epochs?: number;
    /** An update takes the rows computed at once times this many examples. */
    accumulate?: number;
    learningRate?: number;
    /** Of a head of labels, for a task that has one. */
    head?: {
      crf: boolean;
      dropout: number;
      /** Shares of the tokens and of the last states' values that are dropped; 0 by default. */
      tokenDropout?: number;
      stateDropout?: number;
      /** At the least, where none is given. */
      learningRate: number;
      /** The peak of all else in a model of width 64, where none is given; lowered with the width. */
      rateAtWidth64?: number;
      /** No higher, in a model of any width, where none is given. */
      mostRate?: number;
      /** Only where it is asked for: words are the default. */
      asked?: boolean;
      /** Of sparse features, for a task that has such: how many there may be. */
      sparse?: number;
    };
  };
}

/** How a task's answers to new text, which has none as yet, are asked for and written. */
export interface Prediction<Item, Answer> extends TaskHelp {
  /** The labels of a task that has the same for every model; undefined where a model keeps its own. */
  labels?: readonly string[];
  /**
   * Reads what the options name.
   * @throws {UserError} naming the file and the line, for another shape.
   */
  read(given: Given): Item[];
  /** What goes to the output: lines of JSON, but where the options ask for another format. */
  write(predicted: {
    items: readonly Item[];
    answers: readonly Answer[];
    labels: readonly string[];
    given: Given;
  }): string;
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
  /** The label that means "none of the others", which F1 leaves out; undefined where there is none. */
  negative?: string;
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
  /**
   * How well the model does on the development split, where that is told in another way than by its
   * answers' first measure and loss.
   */
  develop?(items: readonly Item[], made: MadeModel, reader: TaskReader): Promise<Development>;
}

/** What a user chooses of a head. */
export interface HeadChoice {
  context: HeadContext;
  /** Whether neighbouring items are decoded together; only where a task has such. */
  crf: boolean;
  /** Of how many sparse features, where a task has such; none by default. */
  sparse?: number;
}

/** An approach by a head. */
export interface HeadApproach<Item, Answer> extends Approach<Item, Answer> {
  /** The head that a model of these labels has. */
  head(labels: readonly string[]): HeadConfig;
  /** Rows of the model for so many rows of texts. */
  rows(textRows: number): number;
}

/** How a model does on the development split. */
export interface Development {
  /** What chooses the checkpoint: accuracy or F1, 0 to 1. */
  score: number;
  /** Mean negative log-probability of what is right, in nats; decides between equal scores. */
  loss: number;
}

/** True positives, false positives and false negatives. */
export interface Counts {
  /** Found, and right. */
  truePositives: number;
  /** Found, but wrong. */
  falsePositives: number;
  /** Not found. */
  falseNegatives: number;
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
  /** Where the measure is a ratio of sums of counts, the counts of each unit. */
  counts?: readonly Counts[];
}

/** A measure's value with its 95% bootstrap interval and standard error. */
export interface Measured {
  value: number;
  interval: Interval;
  /** Of a mean: s / sqrt(n). Of another measure: the bootstrap's half interval / 1.96. */
  standardError: number;
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

/** One system with its measures by key. */
export interface MeasuredSystem {
  /** Under which it stands in the JSON: "model", "base", "majority". */
  key: string;
  name: string;
  score: Score;
  measured: Record<string, Measured>;
}

/** One system's answers to the same items. */
export interface SystemAnswers<Answer> {
  /**
   * Whose they are: `system` is one whose answers came in a file, and `other` one that the first is
   * compared with, from a file too.
   */
  role: "model" | "base" | "system" | "other";
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

/** One task's results, ready to be written. */
export interface TaskResults {
  /** As in file names. */
  name: string;
  /** Questions or sentences that were asked. */
  count: number;
  /** Resamples of the intervals; 10,000 where not said. */
  resamples?: number;
  /** Keys as the harness has them: "acc,none", "acc_stderr,none", "acc_ci95,none". */
  fields: Record<string, unknown>;
  /** How the task was put, for the harness's `configs`. */
  config: Record<string, unknown>;
  samples: Record<string, unknown>[];
}

/** What a page about an evaluation shows. */
export interface PageParts {
  /** The page's heading. */
  title: string;
  /** The figures to see first. */
  highlights: Highlight[];
  /** HTML, in the order of the page. */
  sections: string[];
}

/** Results for people, for programs and for files. */
export interface TaskReport {
  /** Of the first measure of the first system. */
  score: number;
  /** What is logged before the table: missing answers, prompts that were cut. */
  notes: string[];
  /** The table; empty where nothing is to be printed. */
  text: string;
  /** The systems' table for a paper; undefined where there is none. */
  latex?: string;
  /** For --json. */
  json: Record<string, unknown>;
  /** The results file; undefined where there is nothing to put into one. */
  results?: TaskResults & { more: Record<string, unknown> };
  /** What the page shows; undefined where there is none. */
  page?: PageParts;
  /** Further files. */
  files?: ReportFile[];
  /** Every system with its measures, the trivial one first where there is one. */
  systems?: MeasuredSystem[];
}

/** A task as models of any kind can be asked it: prompts, and words of which one is the answer. */
export interface ClosedForm<Item, Answer> {
  /** The prompts; not every item has to be one. */
  items(items: readonly Item[], labels: readonly string[]): ChoiceItem[];
  /** What a model says for each label. */
  words(labels: readonly string[]): string[];
  /** The task's answers, one per item. */
  answers(items: readonly Item[], said: readonly ChoiceAnswer[]): Answer[];
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
  /** Undefined for a task whose questions always come with their answers. */
  readonly prediction?: Prediction<Item, Answer>;
  /** The ways to put it to a model, the default first; empty where only answers can be scored. */
  readonly approaches: readonly Approach<Item, Answer>[];
  /** The way to put it to a model by a head of labels of its own; undefined where there is none. */
  headed?(choice: HeadChoice): HeadApproach<Item, Answer>;
  /** The task as prompts with words to choose among; undefined where it is not put so. */
  readonly closed?: ClosedForm<Item, Answer>;
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
   * The same data for a model that was taught the task with a label set of its own; the labels of the
   * data have to be among them where a task says nothing else.
   * @throws {UserError} where the data cannot be answered in these labels.
   */
  fit?(data: TaskData<Item>, labels: readonly string[], given: Given): TaskData<Item>;
  /**
   * Whether answers name their labels, so that systems with different label sets can be compared;
   * otherwise answers are numbers in one set.
   */
  readonly answersNameLabels?: boolean;
  /** The measures of one system's answers, one per item of `items`, which are some of the data's. */
  score(data: TaskData<Item>, items: readonly Item[], answers: readonly Answer[]): Score;
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
  /** The ranks that share the work; all have to measure the same, and the first one writes files. */
  job: Job;
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
