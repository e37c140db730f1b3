/** What the coordinator and its workers say to each other. @module */
import type { FileJob, FileOutcome } from "./process_file.ts";
import type { Policies } from "./policy.ts";

/** How tokens are made. */
export interface TokenSettings {
  /** A `tokenizer.json`. */
  tokenizer: string;
  seed: number;
}

/** A token file made. */
export interface TokenOutcome {
  tokens: number;
  sha256: string;
}

/** Work for a worker. The word "stop" ends the one that it is at. */
export type Task =
  | { kind: "file"; job: FileJob; tokens?: TokenSettings }
  | {
    kind: "tokens";
    corpus: string;
    /** The folder whose tokens/ they go to: the corpus, where nothing is said. */
    into?: string;
    source: string;
    policies: Policies;
    tokens: TokenSettings;
  };

/** What came of a task. */
export interface TaskOutcome {
  file?: FileOutcome;
  tokens?: TokenOutcome;
}

/** A worker's answer; an error travels as its message and whether a person is meant to read it. */
export type Answer =
  | { outcome: TaskOutcome }
  | { error: string; user: boolean; interrupted: boolean; stack: string };
