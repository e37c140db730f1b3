/** `pipeline push`: copies a corpus into S3-compatible storage. @module */
import type { Command } from "../core/cli.ts";
import { pushCorpus } from "../pipeline/storage/corpus.ts";
import { CORPUS } from "./pipeline_options.ts";
import { printTransfer } from "./stored_corpus.ts";

export const command: Command = {
  name: "pipeline push",
  summary: "Copy a corpus into S3-compatible storage",
  description:
    "What is there already, by size and SHA-256, is not sent again; stopped or killed, it goes on. " +
    "The list of files, storage.json, is written last. The address, the region and the keys come from " +
    "the variables and files of AWS's own tools: AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, " +
    "AWS_SECRET_ACCESS_KEY, AWS_PROFILE, ~/.aws/credentials, ~/.aws/config.",
  options: {
    corpus: CORPUS,
    to: {
      type: "string",
      placeholder: "s3://BUCKET/FOLDER",
      help: "the place in the storage",
      required: true,
    },
  },
  examples: ["deno task pipeline push --corpus corpus --to s3://bucket/corpus"],
  async run(invocation) {
    const { reporter, signal } = invocation;
    const progress = reporter.progress("Files", 0);
    const summary = await pushCorpus(
      invocation.string("corpus") ?? "",
      invocation.string("to") ?? "",
      (name) => Deno.env.get(name),
      { signal, onProgress: (done, total) => progress.update(done, `of ${total}`) },
    );
    progress.finish();
    printTransfer(invocation, summary);
  },
};
