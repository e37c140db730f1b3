/** `pipeline refresh`: fetches and applies what is new. @module */
import { jsonLine } from "../core/json.ts";
import type { Command } from "../core/cli.ts";
import { EXIT } from "../core/errors.ts";
import { CorpusBusy } from "../pipeline/corpus.ts";
import { runPipeline } from "../pipeline/run.ts";
import { readTextCorpus } from "../pipeline/texts/state.ts";
import { runPart } from "../pipeline/parts/run_part.ts";
import { runTextPart } from "../pipeline/parts/texts.ts";
import { partOfCall, printPart } from "./part_option.ts";
import { runTexts } from "./run_texts.ts";
import { printSummary, RUN_OPTIONS, runOptions } from "./pipeline_options.ts";

export const command: Command = {
  name: "pipeline refresh",
  summary: "Fetch and apply what is new since the last run",
  description: "Made for schedules (docs/schedule.md has a systemd timer, a crontab line and a " +
    "Kubernetes CronJob). Safe to kill at any moment and to start twice: the second says that the " +
    "first is at work, and exits with 0. Of a corpus of texts: what is new or changed in its folder.",
  options: {
    source: {
      type: "string",
      placeholder: "URL|DIR",
      help: "another mirror of the same files (default: the one of the last run)",
    },
    ...RUN_OPTIONS,
    files: {
      type: "string",
      placeholder: "1-12,14",
      help: "these file numbers, or all (default: those that the last run chose)",
    },
  },
  stopping: "Stopping; what has come is kept, and the same command goes on from there",
  examples: [
    "deno task pipeline refresh --corpus corpus",
    "deno task pipeline refresh --corpus corpus --files all",
  ],
  async run(invocation) {
    try {
      const texts = readTextCorpus(invocation.requiredString("corpus"));
      const source = invocation.string("source") ?? texts?.source ?? "";
      const part = partOfCall(invocation);
      if (part) {
        const options = runOptions(invocation);
        const summary = texts
          ? await runTextPart({ ...options, source }, part)
          : await runPart({ ...options, command: "refresh" }, part);
        printPart(invocation, summary);
        return EXIT.done;
      }
      if (texts) {
        await runTexts(invocation, source);
        return EXIT.done;
      }
      const options = { ...runOptions(invocation), command: "refresh" };
      printSummary(invocation, await runPipeline(options));
    } catch (error) {
      if (!(error instanceof CorpusBusy)) throw error;
      invocation.reporter.log(error.message.replace(/^Cannot change/, "Nothing done in"));
      if (invocation.json) invocation.reporter.line(jsonLine({ busy: true }));
    }
    return EXIT.done;
  },
};
