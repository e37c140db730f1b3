/**
 * Small invented models in ONNX, written field by field: an embedding E, what a place sees of its text
 * added to it (the sum up to itself for a causal model, the mean of all for a masked one), and a product
 * with W. The messages are those of onnx.proto3 (https://github.com/onnx/onnx).
 * @module
 */
import { join } from "../../../core/std.ts";
import type { OnnxKind } from "../../../model/tasks/onnx/folder.ts";
import { byteTokenizerJson } from "./helpers.ts";

type Field = readonly [number: number, value: number | string | Uint8Array];

/** Sizes of the models; the vocabulary is that of the bytes' tokenizer. */
export const VOCABULARY = 262;
const HIDDEN = 6;

const FLOAT = 1;
const INT64 = 7;
const INTS = 7;

function varint(value: number): number[] {
  const bytes: number[] = [];
  let left = value;
  while (left > 127) {
    bytes.push(left % 128 + 128);
    left = Math.floor(left / 128);
  }
  return [...bytes, left];
}

/** A message of protocol buffers. */
function message(...fields: readonly Field[]): Uint8Array {
  const bytes: number[] = [];
  for (const [number, value] of fields) {
    if (typeof value === "number") {
      bytes.push(...varint(number * 8), ...varint(value));
      continue;
    }
    const content = typeof value === "string" ? new TextEncoder().encode(value) : value;
    bytes.push(...varint(number * 8 + 2), ...varint(content.length));
    for (const byte of content) bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

const tensor = (name: string, dims: readonly number[], values: Float32Array | BigInt64Array) =>
  message(
    ...dims.map((dim): Field => [1, dim]),
    [2, values instanceof Float32Array ? FLOAT : INT64],
    [8, name],
    [9, new Uint8Array(values.buffer)],
  );

function place(name: string, type: number, dims: readonly string[]): Uint8Array {
  const shape = message(...dims.map((dim): Field => [1, message([2, dim])]));
  return message([1, name], [2, message([1, message([1, type], [2, shape])])]);
}

const node = (
  operation: string,
  inputs: readonly string[],
  output: string,
  attribute?: Uint8Array,
) =>
  message(
    ...inputs.map((input): Field => [1, input]),
    [2, output],
    [4, operation],
    ...(attribute ? [[5, attribute] as const] : []),
  );

/** Invented weights. */
const weight = (i: number, salt: number): number => Math.fround(0.1 * Math.sin(1.7 * i + salt));
const E = Float32Array.from({ length: VOCABULARY * HIDDEN }, (_, i) => weight(i, 0));
const W = Float32Array.from({ length: HIDDEN * VOCABULARY }, (_, i) => weight(i, 5));

function onnxModel(kind: OnnxKind): Uint8Array {
  const seen = kind === "causal"
    ? node("CumSum", ["e", "axis"], "seen")
    : node("ReduceMean", ["e"], "seen", message([1, "axes"], [8, 1], [20, INTS]));
  const graph = message(
    [1, node("Gather", ["E", "input_ids"], "e")],
    [1, seen],
    [1, node("Add", ["e", "seen"], "h")],
    [1, node("MatMul", ["h", "W"], "logits")],
    [2, "invented"],
    [5, tensor("E", [VOCABULARY, HIDDEN], E)],
    [5, tensor("W", [HIDDEN, VOCABULARY], W)],
    [5, tensor("axis", [], BigInt64Array.of(1n))],
    [11, place("input_ids", INT64, ["batch", "tokens"])],
    [11, place("attention_mask", INT64, ["batch", "tokens"])],
    [12, place("logits", FLOAT, ["batch", "tokens", "vocabulary"])],
  );
  return message([1, 8], [7, graph], [8, message([1, ""], [2, 13])]);
}

/** Writes the folder of a model as Hugging Face's exporter would. */
export function writeOnnxFolder(path: string, kind: OnnxKind): void {
  Deno.mkdirSync(join(path, "onnx"), { recursive: true });
  Deno.writeFileSync(join(path, "onnx", "model.onnx"), onnxModel(kind));
  const sizes = { vocab_size: VOCABULARY, n_head: 1, n_layer: 1, n_embd: HIDDEN };
  const files = {
    "config.json": kind === "causal"
      ? { model_type: "gpt2", architectures: ["GPT2LMHeadModel"], ...sizes }
      : { model_type: "bert", architectures: ["BertForMaskedLM"], ...sizes },
    "tokenizer.json": byteTokenizerJson(),
    "tokenizer_config.json": {
      tokenizer_class: "PreTrainedTokenizerFast",
      model_max_length: 400,
      ...(kind === "masked" ? { mask_token: "<|endoftext|>" } : {}),
    },
  };
  for (const [name, value] of Object.entries(files)) {
    Deno.writeTextFileSync(join(path, name), JSON.stringify(value));
  }
}

/** ln p over the vocabulary at every place of a text, in float64. */
export function referenceLogProbabilities(kind: OnnxKind, ids: readonly number[]): number[][] {
  const embedded = ids.map((id) => Array.from(E.subarray(id * HIDDEN, (id + 1) * HIDDEN)));
  const sum = new Array<number>(HIDDEN).fill(0);
  const all = new Array<number>(HIDDEN).fill(0);
  for (const row of embedded) row.forEach((value, i) => all[i] = (all[i] ?? 0) + value);
  return embedded.map((row) => {
    row.forEach((value, i) => sum[i] = (sum[i] ?? 0) + value);
    const hidden = row.map((value, i) =>
      value + (kind === "causal" ? sum[i] ?? 0 : (all[i] ?? 0) / ids.length)
    );
    const logits = Array.from(
      { length: VOCABULARY },
      (_, v) => hidden.reduce((total, x, i) => total + x * (W[i * VOCABULARY + v] ?? NaN), 0),
    );
    const most = Math.max(...logits);
    const log = most + Math.log(logits.reduce((total, x) => total + Math.exp(x - most), 0));
    return logits.map((x) => x - log);
  });
}
