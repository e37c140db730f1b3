/** `pipeline train-tokenizer`: a byte-level BPE tokenizer from a corpus or files. @module */
import type { Command } from "../core/cli.ts";
import { jsonLine } from "../core/json.ts";
import { writeAtomic } from "../core/files.ts";
import { formatBytes, formatDuration } from "../core/reporter.ts";
import {
  MAX_VOCABULARY,
  PretokenCounter,
  SMALLEST_VOCABULARY,
  trainFromCounts,
} from "../pipeline/tokenizer/mod.ts";
import { countPretokens, TEXT_OPTIONS } from "./text_options.ts";

export const command: Command = {
  name: "pipeline train-tokenizer",
  summary: "Train a byte-level BPE tokenizer, in Hugging Face's format",
  description:
    "Learns from the titles and abstracts of a corpus's live citations (or other texts), or from files: " +
    'the "text" of every line of .jsonl, every line of others; or from a folder of texts, before any ' +
    "corpus is made of it. Equal texts give an equal file. " +
    "<|endoftext|> is 0 and <|padding|> 1; text is put into NFC; there is no prefix space.",
  options: {
    ...TEXT_OPTIONS,
    "vocab-size": {
      type: "integer",
      help: "ids in all; 32768 is good for a corpus of PubMed",
      min: SMALLEST_VOCABULARY,
      max: MAX_VOCABULARY,
      required: true,
    },
    out: { type: "string", placeholder: "tokenizer.json", help: "where it goes", required: true },
  },
  examples: [
    "deno task pipeline train-tokenizer --corpus corpus --vocab-size 32768 --out tokenizer.json",
    "deno task pipeline train-tokenizer --input a.jsonl --input b.txt --vocab-size 4096 --out t.json",
    "deno task pipeline train-tokenizer --input texts --vocab-size 32768 --out tokenizer.json",
  ],
  async run(invocation) {
    const { reporter } = invocation;
    const out = invocation.requiredString("out");
    const size = invocation.requiredNumber("vocab-size");
    const started = performance.now();
    const counter = await countPretokens(invocation, new PretokenCounter());
    const progress = reporter.progress("Training", size, "entries");
    const json = trainFromCounts(counter, size, {
      minimumCount: invocation.requiredNumber("min-count"),
      onProgress(entries) {
        if (entries % 64 === 0) progress.update(entries);
      },
    });
    progress.finish();
    writeAtomic(out, JSON.stringify(json, null, 1) + "\n");
    const entries = Object.keys(json.model.vocab).length;
    const seconds = (performance.now() - started) / 1000;
    if (entries < size) {
      reporter.log(
        `The text has pairs for ${entries} entries only, not ${size}; give more text or --min-count 1`,
      );
    }
    if (invocation.json) {
      const figures = { out, entries, merges: json.model.merges.length, seconds };
      return reporter.line(jsonLine({ ...figures, text_bytes: counter.textBytes }));
    }
    reporter.line(
      `${entries} entries in ${out}, from ${formatBytes(counter.textBytes)} of text in ` +
        formatDuration(seconds),
    );
  },
};
