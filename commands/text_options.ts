/** Text to learn a vocabulary from, as two commands take it. @module */
import type { Invocation, OptionSpec } from "../core/cli.ts";
import { Interrupted, UsageError } from "../core/errors.ts";
import { openCorpusTexts } from "../pipeline/corpus_texts.ts";
import type { PretokenCounter } from "../pipeline/tokenizer/pretoken_counts.ts";
import { breathe } from "../core/breathe.ts";
import { readTextInput } from "../core/text_input.ts";

/** Options that say which text, and how much of it counts. */
export const TEXT_OPTIONS: Record<string, OptionSpec> = {
  corpus: { type: "string", placeholder: "DIR", help: "the corpus folder" },
  input: { type: "list", placeholder: "FILE", help: "a file of texts instead; may be repeated" },
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
    for (const { text } of readTextInput(path)) {
      counter.add(text);
      if (await full()) return counter;
    }
  }
  return counter;
}
