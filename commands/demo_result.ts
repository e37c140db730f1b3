/** What the demo found, for people: the closing table and the report. @module */
import { formatBytes, formatDuration, formatTable, type Reporter } from "../core/reporter.ts";
import { type LoopResult, type PerplexityResult } from "../model/training/mod.ts";
import { writeRunReport } from "../model/report/mod.ts";
import type { RunSummary } from "../pipeline/run.ts";

/** What a model answers to the facts, and a text it wrote. */
export interface Answers {
  right: number;
  asked: number;
  prompt: string;
  text: string;
}

/** Everything that the demo found. */
export interface DemoResult {
  pipeline: RunSummary;
  before: PerplexityResult;
  after: PerplexityResult;
  training: LoopResult;
  answersBefore: Answers;
  answers: Answers;
  report: string;
  seconds: Record<"pipeline" | "training" | "evaluation" | "answers" | "all", number>;
}

const count = (n: number) => Math.round(n).toLocaleString("en");
const share = ({ right, asked }: Answers) => `${right} of ${asked}`;

function perplexities({ before, after, answersBefore, answers }: DemoResult): string[][] {
  return [
    ["perplexity of a token", before.perplexity.toFixed(1), after.perplexity.toFixed(2)],
    [
      "95% interval",
      ...[before, after].map(({ interval }) =>
        `${interval.low.toFixed(2)} to ${interval.high.toFixed(2)}`
      ),
    ],
    ["bits a byte", ...[before, after].map((p) => p.bits_per_byte?.toFixed(3) ?? "")],
    ["drugs named rightly", share(answersBefore), share(answers)],
  ];
}

/** Writes the demo's report to `path` and returns it. */
export function writeDemoReport(result: DemoResult, run: string, path: string): string {
  const { pipeline, before, after, training, answers, seconds } = result;
  const figures = Object.entries(pipeline.shards?.figures ?? {});
  return writeRunReport(run, {
    path,
    title: "pubmamba: the demo",
    highlights: [
      { label: "times lower perplexity", value: (before.perplexity / after.perplexity).toFixed(0) },
      { label: "held-out perplexity", value: after.perplexity.toFixed(2) },
      { label: "drugs named rightly", value: share(answers) },
      { label: "documents", value: count(pipeline.live) },
      { label: "tokens per second", value: count(training.tokensPerSecond) },
      { label: "in all", value: formatDuration(seconds.all) },
    ],
    tables: [
      {
        title: "Held-out documents and questions",
        header: ["", "untrained", "trained"],
        rows: perplexities(result),
        note:
          `Token-weighted over ${
            count(after.tokens)
          } tokens of documents that training never saw. ` +
          "The questions ask for the one drug that treats each disease.",
      },
      {
        title: "Corpus",
        header: ["", "value"],
        rows: [
          ["files", count(pipeline.files)],
          ["records", count(pipeline.records_added)],
          ["live documents", count(pipeline.live)],
          ["superseded", count(pipeline.superseded)],
          ["deleted", count(pipeline.deleted)],
          ["XML", formatBytes(pipeline.xml_bytes)],
          ...figures.map(([key, value]) => [key.replaceAll("_", " "), count(value)]),
        ],
      },
    ],
    samples: [{ prompt: answers.prompt, text: answers.text }],
  });
}

/** The closing table, and how to go on. */
export function printResult(reporter: Reporter, result: DemoResult, out: string): void {
  const { pipeline, training, answers, seconds, before, after } = result;
  const time = (s: number) => formatDuration(s);
  reporter.line();
  reporter.line(formatTable(["the demo", "figure", "time"], [
    [
      "PubMed XML read",
      `${count(pipeline.records_added)} records in ${pipeline.files} files`,
      time(seconds.pipeline),
    ],
    ["live documents", count(pipeline.live), ""],
    [
      "trained",
      `${count(training.step)} steps, ${count(training.tokens)} tokens`,
      time(seconds.training),
    ],
    ["speed", `${count(training.tokensPerSecond)} tokens per second`, ""],
    [
      "held-out perplexity",
      `${before.perplexity.toFixed(1)} -> ${after.perplexity.toFixed(2)} (${
        (before.perplexity / after.perplexity).toFixed(0)
      } times lower)`,
      time(seconds.evaluation),
    ],
    [
      "drugs named rightly",
      `${share(result.answersBefore)} -> ${share(answers)}`,
      time(seconds.answers),
    ],
    ["in all", "", time(seconds.all)],
  ]));
  reporter.line(`\nIt wrote (all of it is invented):\n\n${answers.prompt}${answers.text}\n`);
  reporter.line(`Curves and tables: ${result.report}`);
  reporter.line(`The model: ${training.checkpoint} (a Hugging Face folder)`);
  reporter.line(`
With real data:
  deno task doctor
  deno task pipeline run --source https://ftp.ncbi.nlm.nih.gov/pubmed/ --corpus corpus --files 1-4
  deno task pipeline train-tokenizer --corpus corpus --vocab-size 8192 --out tokenizer.json
  deno task pipeline run --source https://ftp.ncbi.nlm.nih.gov/pubmed/ --corpus corpus --files 1-4 --tokenizer tokenizer.json
  deno task train --corpus corpus --init random:small --out runs/small
Without Deno installed, write "npx --yes deno@2.9.6 task" for "deno task". To play with this model:
  deno task generate --model ${training.checkpoint} --prompt "Treatment of"
  rm -r ${out}`);
}
