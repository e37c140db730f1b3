/**
 * An evaluation or a fine-tuning run as a page: the measures with their intervals, the course of
 * training where there was some, what the task shows of the answers, and examples of them.
 * @module
 */
import {
  type Chart,
  chartCards,
  type ChartColumns,
  chartControls,
  chartScripts,
  headingHtml,
  htmlPage,
  type PageTable,
  tableHtml,
  tilesHtml,
} from "../../../core/page/mod.ts";
import { basename } from "../../../core/std.ts";
import { stepsPerPointNote, thinOut } from "../../report/mod.ts";
import { formatInterval } from "../../statistics/mod.ts";
import { itemsHtml, type JudgedItem, worstFirst } from "./error_page.ts";
import type { FinetuneMetrics } from "./loop.ts";
import type { MeasuredSystem, PageParts } from "./task.ts";

/** Examples of each kind that a page shows; the page of errors has all that are wrong. */
const MOST_EXAMPLES = 12;
/** Curves are drawn from at most so many points. */
const MOST_POINTS = 4000;

/** All systems with all measures and their intervals, a row each. */
export function measuresTable(title: string, systems: readonly MeasuredSystem[]): PageTable {
  return {
    title,
    header: ["system", "measure", "value", "95% interval", "of"],
    rows: systems.flatMap(({ name, score, measured }) =>
      score.measures.map((measure, i) => {
        const m = measured[measure.key];
        return [
          i ? "" : shortName(name),
          measure.name,
          m ? m.value.toFixed(4) : "",
          m ? formatInterval(m.interval, 4) : "",
          measure.count.toLocaleString("en"),
        ];
      })
    ),
    note: "95% bootstrap intervals, over the items that are counted in the last column.",
  };
}

/** The worst answers, and some right ones, as sections of a page. */
export function exampleSections(items: readonly JudgedItem[], total: number): string[] {
  const wrong = worstFirst(items);
  const right = items.filter((item) => item.right);
  const section = (title: string, shown: readonly JudgedItem[]) =>
    shown.length ? [`<h2>${title}</h2>`, itemsHtml(shown.slice(0, MOST_EXAMPLES))] : [];
  const of = (all: readonly JudgedItem[], few: string) =>
    all.length > MOST_EXAMPLES
      ? `${few} ${MOST_EXAMPLES} of ${all.length.toLocaleString("en")}`
      : `${all.length}`;
  return [
    ...section(`Wrong: ${of(wrong, "the worst")}, with ${total.toLocaleString("en")} asked`, wrong),
    ...section(`Right: ${of(right, "the first")}`, right),
  ];
}

/** A system's name where room is scarce: of a checkpoint its run and step, of another path its end. */
export function shortName(name: string): string {
  const checkpoint = /([^/\\]+)[/\\]checkpoints[/\\]step-0*(\d+)[/\\]?$/.exec(name);
  if (checkpoint) return `${checkpoint[1]}, step ${checkpoint[2]}`;
  return /^(\/|[A-Z]:|\.)/.test(name) ? basename(name) : name;
}

/** What a page tells of a fine-tuning run. */
export interface TrainedCourse {
  /** By ascending step. */
  metrics: readonly FinetuneMetrics[];
  /** The checkpoint that development chose. */
  best: number;
  /** The run's record: configuration, command line, versions. */
  tables: PageTable[];
}

/** Whose answers a page is about. */
interface PageSubject {
  /** The model as it was named. */
  model: string;
  /** Of a model. */
  parameters?: number;
  /** Of a model. */
  device?: string;
  finished?: Date;
}

/** The page of an evaluation, or with `course` of a fine-tuning run. */
export function taskPage(parts: PageParts, info: PageSubject, course?: TrainedCourse): string {
  const { title, highlights, sections } = parts;
  const when = info.finished?.toISOString().slice(0, 16).replace("T", " ");
  const curves = course && courseCharts(course);
  const about = [
    info.model,
    ...info.parameters === undefined ? [] : [`${info.parameters.toLocaleString("en")} parameters`],
    ...info.device === undefined ? [] : [`on ${info.device}`],
    ...when === undefined ? [] : [`${when} UTC`],
  ];
  const body = [
    headingHtml(title, about.join(", ")),
    tilesHtml(highlights),
    curves?.html ?? "",
    ...sections,
    ...(course?.tables ?? []).map(tableHtml),
  ].join("\n");
  return htmlPage(title, body, curves ? chartScripts(curves.charts, curves.columns) : "");
}

/** The course of a fine-tuning run: the loss of its steps, and the examination after each epoch. */
function courseCharts({ metrics, best }: TrainedCourse) {
  const points = thinOut([...metrics], MOST_POINTS);
  const epochs = metrics.filter((m) => m.dev_score !== undefined);
  const finite = (value: number | undefined) =>
    value !== undefined && Number.isFinite(value) ? value : null;
  const x = { column: "step", label: "step" };
  const charts: Chart[] = [
    {
      id: "loss",
      title: "Loss of training",
      x,
      series: [{ column: "loss", label: "loss", color: 0, smooth: true }],
      logarithmic: true,
    },
    {
      id: "development",
      title: `Development score by epoch, the best at step ${best.toLocaleString("en")}`,
      x: { column: "epoch", label: "epoch" },
      series: [{ column: "dev_score", label: "score", color: 1, points: true }],
    },
    {
      id: "development_loss",
      title: "Development loss by epoch",
      x: { column: "epoch", label: "epoch" },
      series: [{ column: "dev_loss", label: "loss", color: 1, points: true, optional: true }],
      logarithmic: true,
    },
    {
      id: "learning_rate",
      title: "Learning rate",
      x,
      series: [{ column: "learning_rate", label: "learning rate", color: 2 }],
    },
  ];
  const columns: ChartColumns = {
    step: points.map((m) => m.step),
    loss: points.map((m) => finite(m.loss)),
    learning_rate: points.map((m) => finite(m.learning_rate)),
    epoch: epochs.map((m) => m.epoch),
    dev_score: epochs.map((m) => finite(m.dev_score)),
    dev_loss: epochs.map((m) => finite(m.dev_loss)),
  };
  const note = stepsPerPointNote(Math.ceil(metrics.length / MOST_POINTS));
  const html = ["<h2>Training</h2>", chartControls(note), chartCards(charts)].join("\n");
  return { charts, columns, html };
}
