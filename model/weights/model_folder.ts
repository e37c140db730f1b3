/** What an open model folder offers. @module */
import type { MambaConfig } from "../mamba/config.ts";
import type { ReadParameter } from "../mamba/types.ts";
import type { Taught } from "./taught.ts";

/** An open model folder. */
export interface ModelFolder {
  /** Where it is. */
  readonly path: string;
  /** The model's sizes. */
  readonly config: MambaConfig;
  /** The folder's tokenizer.json, where it has one. */
  readonly tokenizerFile: string | undefined;
  /** The task that the model was taught, with its labels; undefined for a language model. */
  readonly taught?: Taught;
  /**
   * One parameter as float32, read from the disk.
   * @throws {UserError} naming file and tensor, where a value is not finite.
   */
  read: ReadParameter;
  /**
   * Of a folder of adapters: the base and the adapters apart, with a configuration that says so. The
   * folder itself reads as a model into which they are merged.
   */
  readonly unmerged?: ModelFolder;
  /** True where it reads as the averages that a run keeps beside its weights. */
  readonly averaged?: boolean;
  /** Closes its files; nothing can be read afterwards. */
  close(): void;
}
