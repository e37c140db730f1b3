/** What a run starts from: what `--init` names, or a checkpoint. @module */
import { UserError } from "../../core/errors.ts";
import { exists, hashFile } from "../../core/files.ts";
import {
  initialParameters,
  type MambaConfig,
  presetConfig,
  PRESETS,
  type ReadParameter,
  withoutHead,
} from "../mamba/mod.ts";
import { openModelFolder } from "../weights/mod.ts";
import { startWithAdapters } from "./adapters.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { TrainConfig } from "./configuration.ts";
import type { TrainingCorpus } from "./corpus.ts";

/** Weights to start from. */
interface StartingPoint {
  config: MambaConfig;
  read: ReadParameter;
  /** The tokenizer.json to keep with the model. */
  tokenizer: Uint8Array;
  close(): void;
}

/**
 * Opens `init`: `random:<preset>` (seeded weights of a preset, with the corpus's vocabulary) or a
 * model folder. Checks that model and corpus belong together.
 * @throws {UserError} saying what does not fit and what to do.
 */
export function openStart(
  init: string,
  corpus: TrainingCorpus,
  { seed, lora, named = init }: {
    seed: number;
    lora?: TrainConfig["lora"];
    /** `init` as the user names it, where that is a hub id. */
    named?: string;
  },
): StartingPoint {
  if (init.startsWith("random:")) {
    const { vocabularySize: vocabSize, endOfText } = corpus;
    const config = presetConfig(init.slice("random:".length), { vocabSize, endOfText });
    const read = initialParameters(config, seed);
    const start = startWithAdapters({ config, read }, { path: init, config, read }, {
      init,
      lora,
      seed,
    });
    return { ...start, tokenizer: corpus.tokenizer(), close() {} };
  }
  if (!exists(init)) {
    throw new UserError(
      `Cannot start from "${init}": it is neither a model folder, nor a Hugging Face id, nor ` +
        `random:<preset> (${PRESETS.join(", ")})`,
    );
  }
  const folder = openModelFolder(init);
  try {
    const tokenizer = folder.tokenizerFile ? Deno.readFileSync(folder.tokenizerFile) : undefined;
    checkFits(init, folder.config, folder.tokenizerFile, corpus);
    const whole = { config: withoutHead(folder.config), read: folder.read };
    return {
      ...startWithAdapters(whole, folder, { init: named, lora, seed }),
      tokenizer: tokenizer ?? corpus.tokenizer(),
      close: () => folder.close(),
    };
  } catch (error) {
    folder.close();
    throw error;
  }
}

/** A checkpoint as a starting point. */
export function startOfCheckpoint(checkpoint: Checkpoint, corpus: TrainingCorpus): StartingPoint {
  const { folder, path } = checkpoint;
  checkFits(path, folder.config, folder.tokenizerFile, corpus);
  const tokenizer = folder.tokenizerFile
    ? Deno.readFileSync(folder.tokenizerFile)
    : corpus.tokenizer();
  // Closed with the checkpoint.
  return { config: folder.config, read: folder.read, tokenizer, close() {} };
}

/**
 * Checks that a corpus can be used with a model.
 * @throws {UserError} where its tokenizer is another one, or its ids do not fit the embedding.
 */
export function checkFits(
  model: string,
  config: MambaConfig,
  tokenizerFile: string | undefined,
  corpus: TrainingCorpus,
): void {
  if (tokenizerFile !== undefined) {
    const own = hashFile(tokenizerFile);
    if (own !== corpus.tokenizerSha256) {
      throw new UserError(
        `Cannot use the corpus ${corpus.path} with the model ${model}: the corpus was tokenized ` +
          `with another tokenizer (sha256 ${corpus.tokenizerSha256.slice(0, 12)}..., the model's ` +
          `${own.slice(0, 12)}...); build it again with --tokenizer ${tokenizerFile}`,
      );
    }
  }
  if (corpus.vocabularySize > config.paddedVocabSize) {
    throw new UserError(
      `Cannot use the corpus ${corpus.path} with the model ${model}: its tokenizer has ` +
        `${corpus.vocabularySize} ids and the model's embedding ${config.paddedVocabSize} rows; ` +
        `build the corpus with the model's tokenizer`,
    );
  }
  if (corpus.endOfText !== config.endOfText) {
    throw new UserError(
      `Cannot use the corpus ${corpus.path} with the model ${model}: the corpus ends documents ` +
        `with id ${corpus.endOfText}, the model's eos_token_id is ${config.endOfText}`,
    );
  }
}
