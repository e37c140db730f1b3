/** What the model's tests share. @module */
import { join } from "../../core/std.ts";
import type { Reporter } from "../../core/reporter.ts";
import {
  configOfSizes,
  type Mamba2Config,
  mamba2OfSizes,
  type MambaConfig,
} from "../../model/mamba/config.ts";
import type { Split, TrainingCorpus } from "../../model/training/corpus.ts";
import { Random } from "../../model/mamba/random.ts";
import { ReferenceModel, ReferenceRecurrentModel } from "../../model/mamba/reference.ts";
import type { BranchingModel, MakeModel } from "../../model/mamba/types.ts";
import type { LayerState } from "../../model/mamba/reference_mixer.ts";
import { sha256 } from "../../core/files.ts";

/** A configuration small enough for float64 arithmetic in a test; odd sizes on purpose. */
export const MINIATURE: MambaConfig = configOfSizes({
  hiddenSize: 10,
  layers: 2,
  vocabSize: 21,
  stateSize: 3,
  timeStepRank: 2,
});

/** A Mamba-2 model of odd sizes: 4 heads of 5 channels in 2 groups, of 3 states. */
export const MINIATURE2: Mamba2Config = mamba2OfSizes({
  hiddenSize: 10,
  layers: 2,
  vocabSize: 21,
  stateSize: 3,
  headSize: 5,
  groups: 2,
  chunkSize: 32,
});

/** Runs `body` with a folder that is removed afterwards. */
export async function withFolder(body: (folder: string) => void | Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "pubmamba-" });
  try {
    await body(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** Writes an object as JSON. */
export function writeJson(folder: string, name: string, value: unknown): void {
  Deno.writeTextFileSync(join(folder, name), JSON.stringify(value));
}

/** A reporter that keeps its log lines. */
export function silentReporter(): Reporter & { logged: string[]; lines: string[] } {
  const logged: string[] = [];
  const lines: string[] = [];
  return {
    logged,
    lines,
    line: (text = "") => lines.push(text),
    write: (text) => lines.push(text),
    log: (text) => logged.push(text),
    progress: () => ({ update() {}, finish() {} }),
  };
}

/** A tokenizer.json with as many ids as {@linkcode MINIATURE}. */
export const MINIATURE_TOKENIZER: Uint8Array = new TextEncoder().encode(JSON.stringify({
  added_tokens: [{ id: 0, content: "<|endoftext|>" }],
  model: { type: "BPE", vocab: { a: 1, b: 20 } },
}));

/** An invented corpus in memory, with something to learn: each token mostly follows from the last. */
export function inventedCorpus(
  sizes: { rows?: Partial<Record<Split, number>>; sequenceLength?: number } = {},
): TrainingCorpus {
  const length = sizes.sequenceLength ?? 12;
  const counts = { train: 37, validation: 5, test: 3, ...sizes.rows };
  return {
    path: "invented-corpus",
    manifestSha256: sha256("invented"),
    tokenizerSha256: sha256(MINIATURE_TOKENIZER),
    vocabularySize: 21,
    endOfText: 0,
    sequenceLength: length,
    tokenizer: () => MINIATURE_TOKENIZER,
    split: (name) => ({
      rows: counts[name],
      row(index) {
        const random = new Random(index, name);
        const row = new Uint16Array(length);
        for (let t = 1; t < length; t++) {
          const next = random.uniform() < 0.8 ? (row[t - 1]! * 3 + 1) % 20 + 1 : random.integer(21);
          row[t] = t > length - 3 && index % 2 ? 0 : next;
        }
        return row;
      },
    }),
  };
}

/** Reference models as the rows of one whose states can be gone back to; counts what it computes. */
export class ReferenceRows implements BranchingModel {
  readonly rows: number;
  readonly config: MambaConfig;
  /** Tokens that were fed, of all rows. */
  fed = 0;
  #models: ReferenceRecurrentModel[];
  #kept: LayerState[][] = [];

  constructor(config: MambaConfig, read: (name: string) => Float32Array, rows: number) {
    this.config = config;
    this.rows = rows;
    this.#models = Array.from({ length: rows }, () => new ReferenceRecurrentModel(config, read));
  }

  reset(): void {
    for (const model of this.#models) model.reset();
  }

  feedRows(tokens: readonly number[]): void {
    this.fed += this.rows;
    this.#models.forEach((model, row) => void model.step(tokens[row] ?? 0));
  }

  stepRows(tokens: readonly number[]): Promise<Float32Array[]> {
    this.fed += this.rows;
    return Promise.all(this.#models.map((model, row) => model.step(tokens[row] ?? 0)));
  }

  clearRow(row: number): void {
    this.#models[row]?.reset();
  }

  keepStates(): void {
    this.#kept = this.#models.map(({ states }) => structuredClone([...states]));
  }

  restoreStates(): void {
    this.#models.forEach(({ states }, row) =>
      states.forEach((state, layer) => {
        const kept = this.#kept[row]?.[layer];
        if (!kept) throw new RangeError("No states were kept");
        state.conv.set(kept.conv);
        state.scan.set(kept.scan);
      })
    );
  }

  destroy(): void {}
}

/** The reference model as a run's model. */
export const makeReference: MakeModel = (config, { batchSize, sequenceLength, ...terms }) => {
  const model = new ReferenceModel(config, batchSize, sequenceLength, terms);
  return Promise.resolve({
    model,
    device: "float64 reference",
    async recurrent() {
      const weights = await model.readParameters();
      return new ReferenceRecurrentModel(config, (name) => weights.get(name)!);
    },
    async branching(rows) {
      const weights = await model.readParameters();
      return new ReferenceRows(config, (name) => weights.get(name)!, rows);
    },
    close() {},
  });
};
