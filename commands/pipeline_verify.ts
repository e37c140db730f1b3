/** `pipeline verify`: hashes and counts everything in a corpus again. @module */
import type { Command } from "../core/cli.ts";
import { EXIT } from "../core/errors.ts";
import { readCatalogue } from "../pipeline/corpus.ts";
import { verifyTextCorpus } from "../pipeline/texts/check.ts";
import { readTextCorpus } from "../pipeline/texts/state.ts";
import { verifyCorpus } from "../pipeline/verify.ts";
import { CORPUS } from "./pipeline_options.ts";

export const command: Command = {
  name: "pipeline verify",
  summary: "Hash every file of a corpus again and check every count",
  description:
    "Exits with 1 where anything is not what was written. Remove what is damaged and run " +
    "the pipeline again.",
  options: { corpus: CORPUS },
  examples: ["deno task pipeline verify --corpus corpus"],
  async run(invocation) {
    const corpus = invocation.string("corpus")!;
    const { reporter, signal } = invocation;
    const texts = readTextCorpus(corpus);
    const catalogue = texts ? undefined : readCatalogue(corpus);
    const progress = reporter.progress("Files", 0);
    try {
      const options = {
        signal,
        onProgress: (done: number, total: number) => progress.update(done, `of ${total}`),
      };
      const result = texts
        ? verifyTextCorpus(corpus, texts, options)
        : await verifyCorpus(corpus, catalogue!, options);
      progress.finish();
      const { files, documents, shards, live, problems } = result;
      if (invocation.json) reporter.line(JSON.stringify({ ok: problems.length === 0, ...result }));
      else {
        for (const problem of problems) reporter.line(`Wrong: ${problem}`);
        reporter.line(
          `${files} files, ${documents} documents (${live} live) and ${shards} shards checked: ` +
            (problems.length === 0 ? "all as written" : `${problems.length} problems`),
        );
      }
      return problems.length === 0 ? EXIT.done : EXIT.failed;
    } finally {
      catalogue?.close();
    }
  },
};
