/** A run of a miniature that reads bytes, so that it can write text. @module */
import { sha256 } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import type { TrainingCorpus } from "../../../model/training/corpus.ts";
import { writeModelFolder } from "../../../model/weights/folder.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import type { TrainRequest } from "../../../model/training/run.ts";
import { byteTokenizerJson, MINIATURE_READER } from "../tasks/helpers.ts";
import { inventedCorpus, makeReference, silentReporter } from "../helpers.ts";

/** A request to train it in `dir`/`name`, validating every 4 of 12 steps. */
export function readingRun(
  dir: string,
  name: string,
  changes: Partial<TrainRequest> = {},
): TrainRequest {
  const tokenizer = new TextEncoder().encode(JSON.stringify(byteTokenizerJson()));
  const init = join(dir, "init");
  const read = initialParameters(MINIATURE_READER, 7);
  try {
    writeModelFolder(init, { config: MINIATURE_READER, read, tokenizer });
  } catch {
    // an earlier run of the same test wrote it
  }
  const corpus: TrainingCorpus = {
    ...inventedCorpus(),
    vocabularySize: MINIATURE_READER.vocabSize,
    tokenizerSha256: sha256(tokenizer),
    tokenizer: () => tokenizer,
  };
  return {
    corpus,
    init,
    out: join(dir, name),
    config: {
      steps: 12,
      batch: { rows: 2 },
      optimizer: { learning_rate: 0.02 },
      checkpoint: { every: 5, keep: 3 },
      validation: { every: 4, samples: 2, prompt: "no", sample_tokens: 6 },
    },
    resume: false,
    makeModel: makeReference,
    reporter: silentReporter(),
    signal: new AbortController().signal,
    ...changes,
  };
}
