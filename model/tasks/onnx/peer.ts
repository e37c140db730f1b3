/**
 * Models of other kinds in ONNX, masked and causal, asked by the words of the answers. A causal model
 * weighs a label by the log-probabilities of its tokens after the prompt, as our own models do. A masked
 * one sees the prompt with a mask for each of a label's tokens behind it, and weighs the label by the
 * mean of their log-probabilities, since labels of fewer tokens would always win by a sum.
 * @module
 */
import { Interrupted, UserError } from "../../../core/errors.ts";
import { exists, readJson } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";
import { logSumExp } from "../../mamba/sampling.ts";
import type { ChoiceAnswer, ChoiceItem } from "../core/choices.ts";
import { mostProbable, PROMPT_END } from "../core/choices.ts";
import type { OnnxFolder } from "./folder.ts";
import {
  MODEL_ID,
  type OnnxLibrary,
  type OnnxSession,
  type OnnxTokenizer,
  openRuntime,
} from "./runtime.ts";

/** A model in ONNX that is ready to be asked. */
export interface OnnxPeer {
  /**
   * Answers questions whose answers are one of some words.
   * @throws {Interrupted} when the signal fires: half an evaluation is no result.
   */
  answer(
    items: readonly ChoiceItem[],
    words: readonly string[],
    options: { maxTokens: number; signal?: AbortSignal; onProgress?: (done: number) => void },
  ): Promise<ChoiceAnswer[]>;
  close(): Promise<void>;
}

/** Tokens that a model reads at most where neither tokenizer nor configuration says it. */
const USUAL_LIMIT = 512;

/**
 * Opens a model in ONNX with its tokenizer.
 * @throws {UserError} where a file is missing or not to be read.
 */
export async function openPeer(folder: OnnxFolder): Promise<OnnxPeer> {
  const library = await openRuntime(folder.path);
  const tokenizer = openTokenizer(library, folder.path);
  const auto = folder.kind === "masked"
    ? library.AutoModelForMaskedLM
    : library.AutoModelForCausalLM;
  let session: OnnxSession;
  try {
    session = await auto.from_pretrained(MODEL_ID, {
      local_files_only: true,
      dtype: folder.dtype,
      device: "wasm",
      subfolder: folder.subfolder,
    });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new UserError(`Cannot load the ONNX model ${folder.path}: ${why}; export it again`);
  }
  const mask = tokenizer.mask_token_id ?? undefined;
  if (folder.kind === "masked" && mask === undefined) {
    throw new UserError(
      `Cannot ask the masked model ${folder.path}: its tokenizer_config.json names no mask_token`,
    );
  }
  const reader = new Reader(
    library,
    tokenizer,
    session,
    folder.kind === "masked" ? mask : undefined,
  );
  return {
    async answer(items, words, { maxTokens, signal, onProgress }) {
      const answers: ChoiceAnswer[] = [];
      for (const item of items) {
        if (signal?.aborted) throw new Interrupted("Interrupted: no results were written");
        answers.push(await reader.answer(item, words, maxTokens));
        onProgress?.(answers.length);
      }
      return answers;
    },
    close: async () => {
      await session.dispose();
    },
  };
}

/** @throws {UserError} where there is no tokenizer. */
function openTokenizer(library: OnnxLibrary, path: string): OnnxTokenizer {
  const at = (name: string) => join(path, name);
  if (!exists(at("tokenizer.json"))) {
    throw new UserError(`Cannot read text with the model ${path}: it has no tokenizer.json`);
  }
  const json = readJson<Record<string, unknown>>(at("tokenizer.json"), "tokenizer");
  const config = exists(at("tokenizer_config.json"))
    ? readJson<Record<string, unknown>>(at("tokenizer_config.json"), "tokenizer configuration")
    : {};
  const name = String(config.tokenizer_class ?? "").replace(/Fast$/, "");
  const named = (library as unknown as Record<string, unknown>)[name];
  const kind = typeof named === "function"
    ? named as OnnxLibrary["PreTrainedTokenizer"]
    : library.PreTrainedTokenizer;
  try {
    // Written by older programs, which left out what is empty.
    return new kind({ normalizer: null, post_processor: null, decoder: null, ...json }, config);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new UserError(`Cannot read the tokenizer of ${path}: ${why}`);
  }
}

/** Reads prompts with their labels. */
class Reader {
  readonly #library: OnnxLibrary;
  readonly #tokenizer: OnnxTokenizer;
  readonly #session: OnnxSession;
  /** Of a masked model. */
  readonly #mask: number | undefined;

  constructor(
    library: OnnxLibrary,
    tokenizer: OnnxTokenizer,
    session: OnnxSession,
    mask: number | undefined,
  ) {
    this.#library = library;
    this.#tokenizer = tokenizer;
    this.#session = session;
    this.#mask = mask;
  }

  async answer(
    item: ChoiceItem,
    words: readonly string[],
    maxTokens: number,
  ): Promise<ChoiceAnswer> {
    const labels = words.map((word) => this.#plain(` ${word}`));
    const longest = Math.max(...labels.map((label) => label.length));
    const limit = Math.min(maxTokens, this.#limit());
    const [before, after] = this.#around();
    const whole = this.#plain(item.prompt);
    const room = limit - longest - before.length - after.length;
    const truncated = Math.max(0, whole.length - room);
    const end = item.prompt.endsWith(PROMPT_END) ? this.#plain(PROMPT_END) : [];
    const prompt = truncated === 0
      ? whole
      : [...whole.slice(0, Math.max(0, room - end.length)), ...end];
    const logProbabilities: number[] = [];
    for (const label of labels) {
      logProbabilities.push(await this.#weigh(before, prompt, label, after));
    }
    return { item, logProbabilities, predicted: mostProbable(logProbabilities), truncated };
  }

  /** How probable a label is, in nats. */
  async #weigh(before: number[], prompt: number[], label: number[], after: number[]) {
    const begin = before.length + prompt.length;
    const mask = this.#mask;
    const shown = mask === undefined ? label : label.map(() => mask);
    // A causal model has no use for what comes behind a label.
    const ids = [...before, ...prompt, ...shown, ...(mask === undefined ? [] : after)];
    const { logits } = await this.#session(this.#inputs(ids));
    const vocabulary = logits.dims.at(-1) ?? 0;
    let sum = 0;
    label.forEach((token, i) => {
      // Where the token itself is masked its own place predicts it, and else the place before it.
      const place = begin + i - (mask === undefined ? 1 : 0);
      const row = Float32Array.from(
        { length: vocabulary },
        (_, v) => logits.data[place * vocabulary + v] ?? NaN,
      );
      sum += (row[token] ?? NaN) - logSumExp(row);
    });
    logits.dispose?.();
    return mask === undefined ? sum : sum / label.length;
  }

  #inputs(ids: readonly number[]) {
    const tensor = (values: readonly number[]) =>
      new this.#library.Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
    return {
      input_ids: tensor(ids),
      attention_mask: tensor(ids.map(() => 1)),
      token_type_ids: tensor(ids.map(() => 0)),
    };
  }

  #plain(text: string): number[] {
    return this.#tokenizer.encode(text, { add_special_tokens: false });
  }

  /** The tokens that the tokenizer puts around a text, such as [CLS] and [SEP]. */
  #around(): [before: number[], after: number[]] {
    const plain = this.#plain("a");
    const all = this.#tokenizer.encode("a", { add_special_tokens: true });
    const at = all.findIndex((_, i) => plain.every((token, j) => all[i + j] === token));
    return at < 0 ? [[], []] : [all.slice(0, at), all.slice(at + plain.length)];
  }

  /** The most tokens that the model reads. */
  #limit(): number {
    const { max_position_embeddings, n_positions } = this.#session.config;
    const known = [this.#tokenizer.model_max_length, max_position_embeddings, n_positions]
      .filter((n): n is number => typeof n === "number" && Number.isFinite(n) && n > 0 && n < 1e9);
    return known.length ? Math.min(...known) : USUAL_LIMIT;
  }
}
