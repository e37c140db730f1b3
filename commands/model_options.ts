/** Naming models and tokenizers on the command line. @module */
import type { Invocation, OptionSpec } from "../core/cli.ts";
import { localTokenizer } from "../model/weights/mod.ts";

/** An option that names a model; `help` says which one. */
export const modelOption = (help: string, required = false): OptionSpec => ({
  type: "string",
  placeholder: "DIR|ID",
  help: `${help}: a folder, or a Hugging Face id (org/name or org/name@revision)`,
  required,
});

/** `--tokenizer` of a command that reads text with a model. */
export const TOKENIZER_OPTION: OptionSpec = {
  type: "string",
  placeholder: "FILE|ID",
  help: "the tokenizer.json, where the model folder has none; or the Hugging Face id of its model",
};

/** The path that `--tokenizer` stands for, where it is given. */
export async function tokenizerOption(invocation: Invocation): Promise<string | undefined> {
  const given = invocation.string("tokenizer");
  return given === undefined ? undefined : await localTokenizer(given, invocation.reporter);
}
