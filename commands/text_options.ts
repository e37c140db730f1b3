/** Text to learn a vocabulary from, as two commands take it. @module */
import type { Invocation, OptionSpec } from "../core/cli.ts";
import { Interrupted, UsageError, UserError } from "../core/errors.ts";
import { openCorpusTexts } from "../pipeline/corpus_texts.ts";
import { type PretokenCounter } from "../pipeline/tokenizer/mod.ts";
import { breathe } from "../core/breathe.ts";
import { readTextInput } from "../core/text_input.ts";
import { isThere } from "../core/rights.ts";
import { join } from "../core/std.ts";
import { textFiles } from "../pipeline/texts/corpus.ts";
import { readRecords } from "../pipeline/texts/records.ts";

/** Options that say which text, and how much of it counts. */
export const TEXT_OPTIONS: Record<string, OptionSpec> = {
  corpus: { type: "string", placeholder: "DIR", help: "the corpus folder" },
  input: {
    type: "list",
    placeholder: "FILE|DIR",
    help:
      "a file of texts instead, or a folder of .jsonl, .parquet and .txt files; may be repeated",
  },
  "min-count": {
    type: "integer",
    min: 1,
    default: 2,
    help: "pairs that occur less often do not become tokens",
  },
  "max-bytes": { type: "number", min: 1, help: "stop reading after so much text" },
};

/**
 * Counts the pretokens of what `--corpus` or `--input` names into `counter`.
 * @throws {UsageError} where neither or both are given.
 */
export async function countPretokens(
  invocation: Invocation,
  counter: PretokenCounter,
): Promise<PretokenCounter> {
  const corpus = invocation.string("corpus");
  const inputs = invocation.list("input");
  if ((corpus === undefined) === (inputs.length === 0)) {
    throw new UsageError("Give either --corpus DIR or --input FILE to train on");
  }
  const limit = invocation.number("max-bytes") ?? Infinity;
  let count = 0;
  const full = async () => {
    if (++count % 1000 === 0) await breathe();
    if (invocation.signal.aborted) throw new Interrupted("Stopped; nothing was written");
    return counter.textBytes >= limit;
  };
  if (corpus !== undefined) {
    using texts = openCorpusTexts(corpus);
    const progress = invocation.reporter.progress("Reading", texts.files, "files");
    for await (const { text } of texts.read((n) => progress.update(n))) {
      counter.add(text);
      if (await full()) break;
    }
    progress.finish();
    return counter;
  }
  for (const path of inputs) {
    for await (const { text } of textsOf(path)) {
      counter.add(text);
      if (await full()) return counter;
    }
  }
  return counter;
}

/**
 * The texts of a file, or those of a folder as a corpus is made of them.
 * @throws {UserError} where a folder holds no file of texts, or a file cannot be read.
 */
async function* textsOf(path: string): AsyncGenerator<{ text: string }> {
  const isFolder = isThere(path) && Deno.statSync(path).isDirectory;
  if (!isFolder && !path.endsWith(".parquet")) {
    yield* readTextInput(path);
    return;
  }
  const files = isFolder ? textFiles(path).map((name) => join(path, name)) : [path];
  if (!files.length) {
    throw new UserError(
      `Cannot learn from the folder ${path}: it has no .jsonl, .ndjson, .parquet or .txt file; name ` +
        "a folder of texts, or a file",
    );
  }
  for (const file of files) yield* readRecords(file);
}
