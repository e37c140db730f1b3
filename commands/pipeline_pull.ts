/** `pipeline pull`: copies a corpus out of S3-compatible storage. @module */
import type { Command } from "../core/cli.ts";
import { pullCorpus } from "../pipeline/storage/corpus.ts";
import { CORPUS } from "./pipeline_options.ts";
import { printTransfer } from "./stored_corpus.ts";

export const command: Command = {
  name: "pipeline pull",
  summary: "Copy a corpus out of S3-compatible storage",
  description:
    "Brings the whole corpus that `pipeline push` put there. What is here already and whole is not " +
    "fetched again; a file that was cut off goes on where it stopped, and gets its name when its " +
    "SHA-256 is right. The keys are found as by push. Training and evaluation take a place in the " +
    "storage as --corpus too, and then fetch the shards alone.",
  options: {
    corpus: CORPUS,
    from: {
      type: "string",
      placeholder: "s3://BUCKET/FOLDER",
      help: "the place in the storage",
      required: true,
    },
  },
  examples: ["deno task pipeline pull --from s3://bucket/corpus --corpus corpus"],
  async run(invocation) {
    const { reporter, signal } = invocation;
    const progress = reporter.progress("Files", 0);
    const summary = await pullCorpus(
      invocation.string("from") ?? "",
      invocation.string("corpus") ?? "",
      (name) => Deno.env.get(name),
      { signal, onProgress: (done, total) => progress.update(done, `of ${total}`) },
    );
    progress.finish();
    printTransfer(invocation, summary);
  },
};
