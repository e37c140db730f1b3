/** `pipeline train-tokenizer`: a byte-level BPE tokenizer from a corpus or files. @module */
import type { Command, Invocation } from "../core/cli.ts";
import { Interrupted, UsageError } from "../core/errors.ts";
import { writeAtomic } from "../core/files.ts";
import { formatBytes, formatDuration } from "../core/reporter.ts";
import { readCatalogue } from "../pipeline/corpus.ts";
import { liveTexts } from "../pipeline/documents/live_texts.ts";
import { PretokenCounter } from "../pipeline/tokenizer/pretoken_counts.ts";
import { SMALLEST_VOCABULARY, trainFromCounts } from "../pipeline/tokenizer/train.ts";
import { MAX_VOCABULARY } from "../pipeline/tokenizer/tokenizer_json.ts";
import { readTextInput } from "../pipeline/tokens/text_input.ts";

export const command: Command = {
  name: "pipeline train-tokenizer",
  summary: "Train a byte-level BPE tokenizer, in Hugging Face's format",
  description:
    "Learns from the titles and abstracts of a corpus's live citations, or from files: " +
    'the "text" of every line of .jsonl, every line of others. Equal texts give an equal file. ' +
    "<|endoftext|> is 0 and <|padding|> 1; text is put into NFC; there is no prefix space.",
  options: {
    corpus: { type: "string", placeholder: "DIR", help: "the corpus folder" },
    input: { type: "list", placeholder: "FILE", help: "a file of texts instead; may be repeated" },
    "vocab-size": {
      type: "integer",
      help: "ids in all; 32768 is good for a corpus of PubMed",
      min: SMALLEST_VOCABULARY,
      max: MAX_VOCABULARY,
      required: true,
    },
    "min-count": {
      type: "integer",
      min: 1,
      default: 2,
      help: "pairs that occur less often do not become tokens",
    },
    "max-bytes": { type: "number", min: 1, help: "stop reading after so much text" },
    out: { type: "string", placeholder: "tokenizer.json", help: "where it goes", required: true },
  },
  examples: [
    "deno task pipeline train-tokenizer --corpus corpus --vocab-size 32768 --out tokenizer.json",
    "deno task pipeline train-tokenizer --input a.jsonl --input b.txt --vocab-size 4096 --out t.json",
  ],
  async run(invocation) {
    const { reporter } = invocation, out = invocation.string("out")!;
    const size = invocation.number("vocab-size")!, started = performance.now();
    const counter = await countPretokens(invocation);
    const progress = reporter.progress("Training", size, "entries");
    const json = trainFromCounts(counter, size, {
      minimumCount: invocation.number("min-count")!,
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
      return reporter.line(JSON.stringify({ ...figures, text_bytes: counter.textBytes }));
    }
    reporter.line(
      `${entries} entries in ${out}, from ${formatBytes(counter.textBytes)} of text in ` +
        formatDuration(seconds),
    );
  },
};

/** Counts the pretokens of what `--corpus` or `--input` names. */
async function countPretokens(invocation: Invocation): Promise<PretokenCounter> {
  const corpus = invocation.string("corpus"), inputs = invocation.list("input");
  if ((corpus === undefined) === (inputs.length === 0)) {
    throw new UsageError("Give either --corpus DIR or --input FILE to train on");
  }
  const counter = new PretokenCounter(), limit = invocation.number("max-bytes") ?? Infinity;
  const full = () => {
    if (invocation.signal.aborted) throw new Interrupted("Stopped; nothing was written");
    return counter.textBytes >= limit;
  };
  if (corpus !== undefined) {
    const catalogue = readCatalogue(corpus);
    const progress = invocation.reporter.progress("Reading", catalogue.files().length, "files");
    try {
      for await (const { text } of liveTexts(corpus, catalogue, (n) => progress.update(n))) {
        counter.add(text);
        if (full()) break;
      }
    } finally {
      catalogue.close();
      progress.finish();
    }
    return counter;
  }
  for (const path of inputs) {
    for (const { text } of readTextInput(path)) {
      counter.add(text);
      if (full()) return counter;
    }
  }
  return counter;
}
