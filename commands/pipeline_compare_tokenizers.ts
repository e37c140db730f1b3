/** `pipeline compare-tokenizers`: how finely tokenizers cut biomedical text. @module */
import { jsonLine } from "../core/json.ts";
import type { Command } from "../core/cli.ts";
import { Interrupted, UsageError } from "../core/errors.ts";
import { formatTable } from "../core/reporter.ts";
import { basename, dirname } from "../core/std.ts";
import { readCatalogue } from "../pipeline/corpus.ts";
import { liveTexts } from "../pipeline/documents/live_texts.ts";
import { corpusTerms } from "../pipeline/documents/terms.ts";
import { FertilityCounter, loadTokenizer } from "../pipeline/tokenizer/mod.ts";
import { readTextInput } from "../core/text_input.ts";

export const command: Command = {
  name: "pipeline compare-tokenizers",
  summary: "Tokens per word of several tokenizers, on text and on biomedical terms",
  description: "On a corpus: its live citations' text, and the names of substances, genes, " +
    "diseases and MeSH headings that they are indexed with, as they stand within a sentence. On " +
    'files: the "text" of every line of .jsonl, every line of others.',
  positionals: [{ name: "FILE", help: "a tokenizer.json", required: true, variadic: true }],
  options: {
    corpus: { type: "string", placeholder: "DIR", help: "the corpus folder" },
    input: { type: "list", placeholder: "FILE", help: "a file of texts; may be repeated" },
    documents: {
      type: "integer",
      min: 1,
      default: 20_000,
      help: "citations of the corpus whose text is counted",
    },
  },
  examples: [
    "deno task pipeline compare-tokenizers --corpus corpus ours.json gpt-neox.json",
    "deno task pipeline compare-tokenizers --input texts.jsonl ours.json",
  ],
  async run(invocation) {
    const { reporter, signal } = invocation;
    const corpus = invocation.string("corpus");
    const inputs = invocation.list("input");
    if (corpus === undefined && inputs.length === 0) {
      throw new UsageError("Give --corpus DIR or --input FILE: the text to compare on");
    }
    const counters = invocation.positionals.map((path) => ({
      path,
      counter: new FertilityCounter(loadTokenizer(path)),
    }));
    const add = (kind: string, text: string) => {
      if (signal.aborted) throw new Interrupted("Stopped");
      for (const { counter } of counters) counter.add(kind, text);
    };
    if (corpus !== undefined) {
      const catalogue = readCatalogue(corpus);
      try {
        let left = invocation.requiredNumber("documents");
        for await (const { text } of liveTexts(corpus, catalogue)) {
          if (left-- === 0) break;
          add("text", text);
        }
        for (const [kind, terms] of await corpusTerms(corpus, catalogue)) {
          for (const term of terms) add(kind, " " + term);
        }
      } finally {
        catalogue.close();
      }
    }
    for (const path of inputs) {
      for (const { text } of readTextInput(path)) add(basename(path), text);
    }
    if (invocation.json) {
      const results = counters.map(({ path, counter }) => ({
        tokenizer: path,
        vocabulary_size: counter.tokenizer.vocabularySize,
        ...Object.fromEntries(counter.kinds),
      }));
      return reporter.line(jsonLine({ tokenizers: results }));
    }
    const rows = counters.flatMap(({ path, counter }) =>
      [...counter.kinds].map(([kind, { texts, words, bytes, tokens, single }]) => [
        path.endsWith("/tokenizer.json") ? basename(dirname(path)) : basename(path),
        kind,
        String(texts),
        (tokens / words).toFixed(3),
        (bytes / tokens).toFixed(3),
        kind === "text" ? "" : `${(100 * single / texts).toFixed(1)}%`,
      ])
    ).sort(([, a = ""], [, b = ""]) => a < b ? -1 : Number(a > b));
    reporter.line(
      formatTable(["tokenizer", "on", "count", "tokens/word", "bytes/token", "one token"], rows),
    );
  },
};
