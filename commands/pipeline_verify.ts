/** `pipeline verify`: hashes and counts everything in a corpus again. @module */
import type { Command } from "../core/cli.ts";
import { jsonLine } from "../core/json.ts";
import { EXIT } from "../core/errors.ts";
import { readCatalogue } from "../pipeline/corpus.ts";
import { repairTextCorpus, verifyTextCorpus } from "../pipeline/texts/check.ts";
import { readTextCorpus } from "../pipeline/texts/state.ts";
import { repairCorpus, verifyCorpus } from "../pipeline/verify.ts";
import { CORPUS, grouped } from "./pipeline_options.ts";

export const command: Command = {
  name: "pipeline verify",
  summary: "Hash every file of a corpus again and check every count",
  description:
    "Exits with 1 where anything is not what was written. With --repair it removes the " +
    "files that are damaged and that a run makes again, to the same bytes; then run " +
    '"pipeline refresh". The catalogue, the tokenizer and contamination.json cannot be made again: ' +
    "those come from a backup. A run may be at work meanwhile.",
  options: {
    corpus: CORPUS,
    repair: {
      type: "boolean",
      help: 'remove what is damaged, so that "pipeline refresh" makes it again',
    },
  },
  examples: [
    "deno task pipeline verify --corpus corpus",
    "deno task pipeline verify --corpus corpus --repair",
  ],
  async run(invocation) {
    const corpus = invocation.requiredString("corpus");
    const { reporter, signal } = invocation;
    const texts = readTextCorpus(corpus) !== undefined;
    if (!texts) readCatalogue(corpus).close(); // says so where there is no corpus
    const progress = reporter.progress("Files", 0);
    const options = {
      signal,
      onProgress: (done: number, total: number) => progress.update(done, `of ${total}`),
      log: (line: string) => reporter.log(line),
    };
    const result = await (texts ? verifyTextCorpus : verifyCorpus)(corpus, options);
    progress.finish();
    const { files, documents, shards, live, problems, notes, renewable } = result;
    const repair = invocation.boolean("repair") && renewable.length > 0
      ? (texts ? repairTextCorpus : repairCorpus)(corpus, result)
      : undefined;
    if (invocation.json) {
      reporter.line(jsonLine({ ok: problems.length === 0, ...result, ...repair }));
    } else {
      for (const note of notes) reporter.line(note);
      for (const problem of problems) reporter.line(`Wrong: ${problem}`);
      for (const path of repair?.removed ?? []) reporter.line(`Removed: ${path}`);
      reporter.line(
        `${grouped(files)} files, ${grouped(documents)} documents (${grouped(live)} live) and ` +
          `${grouped(shards)} shards checked: ` +
          (problems.length === 0 ? "all as written" : `${problems.length} problems`),
      );
      if (repair) reporter.line('What was removed is made again by "pipeline refresh"');
      else if (renewable.length > 0) {
        reporter.line('"pipeline verify --repair" removes what a run can make again');
      }
    }
    return problems.length === 0 ? EXIT.done : EXIT.failed;
  },
};
