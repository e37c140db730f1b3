/** `pipeline pack`: a further shard set of a corpus's documents. @module */
import type { Command } from "../core/cli.ts";
import { fail } from "../core/errors.ts";
import { jsonLine } from "../core/json.ts";
import { formatTable } from "../core/reporter.ts";
import { readCatalogue } from "../pipeline/corpus.ts";
import { defaultWorkers } from "../pipeline/ingest/worker_count.ts";
import { packSet } from "../pipeline/pack.ts";
import { readTextCorpus } from "../pipeline/texts/state.ts";
import { type PackingMethod, readManifest } from "../pipeline/shards/mod.ts";
import { CORPUS, defined, grouped, logPadding, RUN_OPTIONS } from "./pipeline_options.ts";

/** An option of `pipeline run`. */
const shared = (name: string) => RUN_OPTIONS[name] ?? fail(`there is no option ${name}`);

export const command: Command = {
  name: "pipeline pack",
  summary: "Make a further shard set of a corpus's documents",
  description:
    "With another tokenizer, rows of another length, or other shares held out; what is not " +
    'given is as in the corpus. The set lies in sets/NAME/ of the corpus: "train --corpus DIR --shards ' +
    'NAME" trains on it. After a refresh the same command brings it up to date. What is held out of ' +
    "the corpus is held out of its sets. A corpus of texts that was made without a tokenizer gets its shards so.",
  options: {
    corpus: CORPUS,
    out: { type: "string", placeholder: "NAME", help: "the set's name", required: true },
    tokenizer: {
      type: "string",
      placeholder: "FILE",
      help: "a tokenizer.json (default: the corpus's)",
    },
    "sequence-length": {
      type: "integer",
      min: 2,
      help: "tokens in a row (default: as in the corpus)",
    },
    packing: shared("packing"),
    seed: shared("seed"),
    validation: shared("validation"),
    test: shared("test"),
    workers: shared("workers"),
  },
  stopping: "Stopping; the same command goes on from there",
  examples: [
    "deno task pipeline pack --corpus corpus --out long --sequence-length 4096",
    "deno task pipeline pack --corpus corpus --out bio --tokenizer bio.json",
  ],
  async run(invocation) {
    const { reporter, signal } = invocation;
    const corpus = invocation.requiredString("corpus");
    if (!readTextCorpus(corpus)) readCatalogue(corpus).close(); // says so where there is no corpus, before one is made
    let stage = "";
    let progress = reporter.progress("Token files", 0);
    const done = await packSet({
      corpus,
      name: invocation.requiredString("out"),
      ...defined({
        tokenizer: invocation.string("tokenizer"),
        sequenceLength: invocation.number("sequence-length"),
        packing: invocation.string("packing") as PackingMethod | undefined,
        seed: invocation.number("seed"),
        validation: invocation.number("validation"),
        test: invocation.number("test"),
      }),
      workers: invocation.number("workers") ?? defaultWorkers(),
      signal,
      onProgress(name, count, total) {
        if (name !== stage) {
          progress.finish();
          progress = reporter.progress(name === "tokens" ? "Token files" : "Shards", total);
          stage = name;
        }
        progress.update(count);
      },
    });
    progress.finish();
    if (done.written) logPadding(reporter, readManifest(done.folder));
    if (invocation.json) return reporter.line(jsonLine(done));
    reporter.line(
      formatTable(["", ""], [
        ["folder", done.folder],
        ["tokens in a row", grouped(done.settings.sequenceLength)],
        ...Object.entries(done.figures).map(([k, v]) => [k.replaceAll("_", " "), grouped(v)]),
      ]).split("\n").slice(2).join("\n"),
    );
  },
};
