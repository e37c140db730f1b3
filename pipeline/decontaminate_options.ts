/** What `pipeline decontaminate` is given and what it returns, for both kinds of corpora. @module */
import type { Contamination, DecontaminateOptions } from "./overlap/contamination.ts";
import { type ShardSummary } from "./shards/mod.ts";

/** What to compare with what, and who is told how far it is. */
export interface DecontaminateCorpusOptions extends DecontaminateOptions {
  corpus: string;
  /** Evaluation files. */
  against: string[];
  /** Forgets the evaluation files of earlier reports; otherwise they are added to. */
  anew?: boolean;
  onProgress?: (stage: "files" | "shards", done: number, total: number) => void;
}

/** What came of it; shards only where the corpus has tokens already. */
export interface Decontamination {
  report: Contamination;
  shards?: ShardSummary;
}
