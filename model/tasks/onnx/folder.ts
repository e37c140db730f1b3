/** Folders of models in ONNX, as Hugging Face's exporters write them. @module */
import { UserError } from "../../../core/errors.ts";
import { exists, hashFile, readJson, sha256 } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";

/** How a model predicts tokens: those behind a mask, or the next one. */
export type OnnxKind = "masked" | "causal";

/** What is in a folder. */
export interface OnnxFolder {
  path: string;
  kind: OnnxKind;
  /** Of the weights' file: "fp32" for model.onnx, "q8" for model_quantized.onnx and so on. */
  dtype: string;
  /** Within the folder: "onnx", or "" where the weights lie in the folder itself. */
  subfolder: string;
}

/** Weights' files by the name of their numbers, the most exact first. */
const WEIGHTS: readonly (readonly [dtype: string, name: string])[] = [
  ["fp32", "model.onnx"],
  ["fp16", "model_fp16.onnx"],
  ["q8", "model_quantized.onnx"],
  ["int8", "model_int8.onnx"],
  ["uint8", "model_uint8.onnx"],
  ["q4", "model_q4.onnx"],
];

function weightsIn(path: string): Pick<OnnxFolder, "dtype" | "subfolder"> | undefined {
  for (const subfolder of ["onnx", ""]) {
    for (const [dtype, name] of WEIGHTS) {
      if (exists(join(path, subfolder, name))) return { dtype, subfolder };
    }
  }
  return undefined;
}

/** Whether a path is a folder of a model in ONNX. */
export function isOnnxFolder(path: string): boolean {
  return exists(join(path, "config.json")) && weightsIn(path) !== undefined;
}

/**
 * Looks at a folder.
 * @throws {UserError} where its config.json names no model that predicts tokens.
 */
export function openOnnxFolder(path: string): OnnxFolder {
  const weights = weightsIn(path);
  if (!weights) throw new UserError(`Cannot load the model ${path}: it has no onnx/model.onnx`);
  const file = join(path, "config.json");
  const { architectures } = readJson<{ architectures?: unknown }>(file, "model configuration");
  const names = Array.isArray(architectures) ? architectures.map(String) : [];
  const kind = names.some((name) => name.endsWith("ForMaskedLM"))
    ? "masked"
    : names.some((name) => /ForCausalLM$|LMHeadModel$/.test(name))
    ? "causal"
    : undefined;
  if (!kind) {
    throw new UserError(
      `Cannot use the ONNX model ${path}: the architectures of its config.json are ` +
        `${
          JSON.stringify(names)
        }; a model ...ForMaskedLM, ...ForCausalLM or ...LMHeadModel is needed`,
    );
  }
  return { path, kind, ...weights };
}

/** The digest of everything that decides a model's answers. */
export function onnxDigest({ path, subfolder, dtype }: OnnxFolder): string {
  const weights = [...Deno.readDirSync(join(path, subfolder))].map(({ name }) => name)
    .filter((name) => /\.onnx(_data.*|\.data)?$/.test(name)).map((name) => join(subfolder, name));
  const names = ["config.json", "tokenizer.json", "tokenizer_config.json", ...weights].sort();
  const parts = names.filter((name) => exists(join(path, name)))
    .map((name) => `${name} ${hashFile(join(path, name))}`);
  return sha256([dtype, ...parts].join("\n"));
}
