/** What `pipeline run` and `refresh` do where the source is a folder of texts. @module */
import { jsonLine } from "../core/json.ts";
import type { Invocation } from "../core/cli.ts";
import { buildTextCorpus, type BuiltTexts } from "../pipeline/texts/corpus.ts";
import { logPadding, runOptions } from "./pipeline_options.ts";

/** Brings a corpus of texts up to date with a folder, and prints what it holds. */
export async function runTexts(invocation: Invocation, source: string): Promise<void> {
  const options = runOptions(invocation);
  const { corpus } = options;
  printTexts(invocation, corpus, source, await buildTextCorpus({ ...options, source }));
}

/** Prints what the shards of a corpus of texts hold, or how many documents it has where it has none. */
export function printTexts(
  invocation: Invocation,
  corpus: string,
  source: string,
  { documents, manifest }: BuiltTexts,
): void {
  const { reporter } = invocation;
  if (!manifest) {
    if (invocation.json) {
      reporter.line(jsonLine({ corpus, source, documents }));
      return;
    }
    reporter.line(
      `${documents} documents; no shards without --tokenizer FILE: "pipeline train-tokenizer --corpus ` +
        `${corpus}" learns one of them, "pipeline pack" makes shards with it`,
    );
    return;
  }
  const { splits, tokenizer_sha256 } = manifest;
  logPadding(reporter, manifest);
  const sum = (of: (split: typeof splits.train) => number) =>
    Object.values(splits).reduce((n, s) => n + of(s), 0);
  const figures = {
    documents: sum((s) => s.documents),
    tokens: sum((s) => s.tokens),
    rows: sum((s) => s.rows),
    shards: sum((s) => s.shards.length),
  };
  if (invocation.json) {
    return reporter.line(jsonLine({ corpus, source, ...figures, tokenizer_sha256 }));
  }
  const { tokens, rows, shards } = figures;
  reporter.line(`${figures.documents} documents, ${tokens} tokens, ${rows} rows, ${shards} shards`);
}
