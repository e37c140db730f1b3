/** The models of a reproduction: what they are called, and what tells one from another. @module */
import { UsageError } from "../../../core/errors.ts";
import { sha256 } from "../../../core/files.ts";
import { parameterList } from "../../mamba/parameters.ts";
import { parameterCount } from "../../mamba/parameters.ts";
import type { NamedModel } from "../core/evaluate.ts";
import { isRandom, openReader, type Reader } from "../core/reader.ts";
import { onnxDigest, type OnnxFolder } from "../onnx/folder.ts";

/** A model of a reproduction. */
export interface ReproducedModel extends NamedModel {
  /** As in the table, and in folders' names. */
  label: string;
  /** The tokenizer to read with, for a model without one. */
  tokenizerFile?: string;
  /** A model of another kind in ONNX, which is asked by words and not taught. */
  onnx?: OnnxFolder;
}

/** Names that `NAME=PLACE,PLACE` gives, in order. */
export function parseNamed(text: string, option: string): { label: string; place: string }[] {
  const named = text.split(",").map((word) => word.trim()).filter(Boolean).map((word) => {
    const at = word.indexOf("=");
    const place = at < 0 ? word : word.slice(at + 1);
    const label = at < 0 ? word : word.slice(0, at);
    if (!place || !label) {
      throw new UsageError(`Option ${option} has "${word}": give NAME=PLACE, or a place alone`);
    }
    return { label, place };
  });
  const twice = named.find(({ label }, i) =>
    named.findIndex((other) => folderName(other.label) === folderName(label)) !== i
  );
  if (twice) {
    throw new UsageError(
      `Option ${option} names "${twice.label}" twice; give each a name of its own, as NAME=PLACE`,
    );
  }
  if (!named.length) throw new UsageError(`Option ${option} names nothing`);
  return named;
}

/** A name as a folder's. */
export function folderName(label: string): string {
  return label.replace(/[^A-Za-z0-9.]+/g, "-").replace(/^[-.]+|[-.]+$/g, "") || "model";
}

/** What is known of a model before it is asked. */
export interface ModelFacts {
  /** Of the weights and the tokenizer. */
  digest: string;
  /** Undefined for a model of another kind. */
  parameters?: number;
}

/** Opens a model for reading; random weights by a seed. */
export async function openModel(model: ReproducedModel, seed: number): Promise<Reader> {
  return openReader(await model.folder(), { tokenizerFile: model.tokenizerFile, seed });
}

/** The digest of a model's weights and tokenizer: two models that answer alike have the same. */
export async function factsOf(model: ReproducedModel): Promise<ModelFacts> {
  if (model.onnx) return { digest: onnxDigest(model.onnx) };
  const { folder, tokenizer } = await openModel(model, 0);
  try {
    const names = parameterList(folder.config).map(({ name }) => name);
    const parts = isRandom(model.name)
      ? [model.name] // drawn by each run's seed
      : names.map((name) => {
        const { buffer, byteOffset, byteLength } = folder.read(name);
        return `${name} ${sha256(new Uint8Array(buffer, byteOffset, byteLength))}`;
      });
    const digest = sha256([...parts, tokenizer.sha256].join("\n"));
    return { digest, parameters: parameterCount(folder.config) };
  } finally {
    folder.close();
  }
}
