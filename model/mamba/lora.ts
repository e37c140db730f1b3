/**
 * LoRA (Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models"): beside a frozen weight W
 * (out, in) learn A (r, in) and B (out, r), and y = x W^T + s (x A^T) B^T with s = alpha / r. Of an
 * embedding (V, d) they are A (r, V) and B (d, r). Names and shapes are those of PEFT.
 *
 * The tied head is the embedding: adapters of the embedding count in both, as a merged weight does.
 * @module
 */
import { UserError } from "../../core/errors.ts";

/** Adapters of a model. */
export interface LoraConfig {
  /** r. */
  rank: number;
  /** What s is computed from. */
  alpha: number;
  /** The share of x's values that A learns without. */
  dropout: number;
  /** s = alpha / sqrt(r) (Kalajdzievski 2023, "A Rank Stabilization Scaling Factor"). */
  rootScale: boolean;
  /** The modules that have adapters, by their whole names, in the model's order. */
  modules: readonly string[];
  /** The model whose weights are frozen, as a folder of adapters names it. */
  base?: AdapterBase;
}

/** The base of adapters. */
export interface AdapterBase {
  /** A folder's whole path, or a Hugging Face id. */
  name: string;
  /** Of the id, where it is not the main one. */
  revision?: string;
  /** A digest that tells it from other models, where it is known. */
  fingerprint?: string;
}

/** The module of the embedding. */
export const EMBEDDING_MODULE = "backbone.embeddings";

/** The weight of a module. */
export const weightName = (module: string): string => `${module}.weight`;

/** s, what an adapter's product is multiplied with. */
export const loraScale = ({ rank, alpha, rootScale }: LoraConfig): number =>
  alpha / (rootScale ? Math.sqrt(rank) : rank);

/** The names of A and B of a module. */
export function adapterNames(module: string): { a: string; b: string } {
  return module === EMBEDDING_MODULE
    ? { a: `${module}.lora_embedding_A`, b: `${module}.lora_embedding_B` }
    : { a: `${module}.lora_A.weight`, b: `${module}.lora_B.weight` };
}

/** Whether a tensor is an adapter's. */
export const isAdapterParameter = (name: string): boolean => adapterModule(name) !== undefined;

/** The module of an adapter's tensor, and which of the two it is; undefined for others. */
export function adapterModule(name: string): { module: string; part: "A" | "B" } | undefined {
  const found = /^(.*)\.lora_(?:embedding_([AB])|([AB])\.weight)$/.exec(name);
  const [, module, ofEmbedding, ofLinear] = found ?? [];
  const part = ofEmbedding ?? ofLinear;
  return module !== undefined && (part === "A" || part === "B") ? { module, part } : undefined;
}

/** The shapes of A and B of a module whose weight has this shape. */
export function adapterShapes(
  { rank }: LoraConfig,
  module: string,
  [rows = 0, cols = 0]: readonly number[],
): { a: readonly number[]; b: readonly number[] } {
  return module === EMBEDDING_MODULE
    ? { a: [rank, rows], b: [cols, rank] }
    : { a: [rank, cols], b: [rows, rank] };
}

/** Words that stand for several modules, or for one whose name is longer. */
const ALIASES: Record<string, (module: string) => boolean> = {
  linear: (module) => module !== EMBEDDING_MODULE,
  embedding: (module) => module === EMBEDDING_MODULE,
};

/**
 * The modules that a list of patterns means, in their order. A pattern is a module's name or the end of
 * one (`in_proj`), such a name with * for any text, `linear` for every linear map of the layers, or
 * `embedding`.
 * @param patterns separated by commas
 * @param modules that may have adapters
 * @throws {UserError} naming a pattern that means none of them.
 */
export function chooseModules(patterns: string, modules: readonly string[]): string[] {
  const chosen = new Set<string>();
  const terms = patterns.split(",").map((term) => term.trim()).filter(Boolean);
  for (const term of terms) {
    const found = modules.filter(ALIASES[term] ?? matcher(term));
    if (!found.length) {
      const kinds = [...new Set(modules.map((name) => name.slice(name.lastIndexOf(".") + 1)))];
      throw new UserError(
        `Cannot adapt "${term}" by LoRA: no matrix of the model has such a name; there are ` +
          `${kinds.join(", ")} (or "linear" for all of the layers), or whole names such as ${
            modules[1] ?? modules[0] ?? ""
          }`,
      );
    }
    for (const module of found) chosen.add(module);
  }
  if (!chosen.size) throw new UserError("Cannot adapt a model by LoRA: no matrix is named");
  return modules.filter((module) => chosen.has(module));
}

/** Whether a module has a name, or ends with it behind a dot; * stands for any text. */
function matcher(term: string): (module: string) => boolean {
  const parts = term.split("*").map((part) => part.replace(/[.[\]()+?^$|{}\\]/g, "\\$&"));
  const expression = new RegExp(`^(?:.*\\.)?${parts.join(".*")}$`);
  return (module) => expression.test(module);
}

/**
 * A weight with its adapter in it: W + s B A, or of the embedding W + s A^T B^T; sums are float64 and
 * rounded once.
 * @param shape of the weight
 */
export function merged(
  lora: LoraConfig,
  module: string,
  [rows = 0, cols = 0]: readonly number[],
  weight: Float32Array,
  a: Float32Array,
  b: Float32Array,
): Float32Array {
  const { rank } = lora;
  const s = loraScale(lora);
  const out = new Float32Array(weight.length);
  const embedding = module === EMBEDDING_MODULE;
  const sum = new Float64Array(cols);
  for (let row = 0; row < rows; row++) {
    sum.fill(0);
    for (let k = 0; k < rank; k++) {
      // Of a linear map row `row` of B and the rows of A; of the embedding A's column and B's columns.
      const factor = s * ((embedding ? a[k * rows + row] : b[row * rank + k]) ?? 0);
      if (factor === 0) continue;
      for (let col = 0; col < cols; col++) {
        const other = embedding ? b[col * rank + k] : a[k * cols + col];
        sum[col] = (sum[col] ?? 0) + factor * (other ?? 0);
      }
    }
    for (let col = 0; col < cols; col++) {
      const at = row * cols + col;
      out[at] = (weight[at] ?? 0) + (sum[col] ?? 0);
    }
  }
  return out;
}
