/** What the tests of evaluation share. @module */
import { join } from "../../../core/std.ts";
import { configOfSizes, type MambaConfig } from "../../../model/mamba/config.ts";
import type { Given } from "../../../model/tasks/core/task.ts";
import { byteStandIns } from "../../../pipeline/tokenizer/characters.ts";
import { type Tokenizer, tokenizerFromJson } from "../../../pipeline/tokenizer/mod.ts";

/**
 * A byte-level tokenizer.json: id 0 ends a text, then the bytes, then what the merges make. " yes"
 * and " no" are one token each, " maybe" is six.
 */
export function byteTokenizerJson(): Record<string, unknown> {
  const merges = ["Ġ n", "Ġn o", "Ġ y", "Ġy e", "Ġye s"];
  const words = ["<|endoftext|>", ...byteStandIns(), ...merges.map((m) => m.replace(" ", ""))];
  return {
    added_tokens: [{
      id: 0,
      content: "<|endoftext|>",
      special: true,
      normalized: false,
      single_word: false,
      lstrip: false,
      rstrip: false,
    }],
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true },
    model: { type: "BPE", vocab: Object.fromEntries(words.map((w, i) => [w, i])), merges },
  };
}

/** The tokenizer of {@linkcode byteTokenizerJson}. */
export function byteTokenizer(): Tokenizer {
  return tokenizerFromJson(byteTokenizerJson());
}

/** A configuration for that tokenizer, small enough for float64 arithmetic in a test. */
export const MINIATURE_READER: MambaConfig = configOfSizes({
  hiddenSize: 8,
  layers: 1,
  vocabSize: 262,
  stateSize: 2,
  timeStepRank: 1,
});

/** Options as a task reads them from the command line. */
export function givenOf(options: Record<string, string | number | boolean> = {}): Given {
  return {
    json: false,
    string: (name) => options[name] as string | undefined,
    number: (name) => options[name] as number | undefined,
    boolean: (name) => options[name] === true,
  };
}

/** Writes files into a folder, and the folders that their names tell. */
export function put(folder: string, files: Record<string, string>): void {
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, name);
    Deno.mkdirSync(join(path, ".."), { recursive: true });
    Deno.writeTextFileSync(path, text);
  }
}
