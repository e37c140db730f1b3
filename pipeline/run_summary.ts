/** What `pipeline run`, `refresh` and `finish` tell in the end. @module */
import process from "node:process";
import type { Corpus } from "./corpus.ts";
import { type ShardSummary } from "./shards/mod.ts";

/** What a run did. */
export interface RunSummary {
  /** The corpus folder. */
  corpus: string;
  /** The mirror. */
  source: string;
  /** Source files taken in by this run. */
  files_added: number;
  /** Source files in the corpus. */
  files: number;
  /** Records of the files added. */
  records_added: number;
  /** Bytes of their XML. */
  xml_bytes: number;
  /** Citations whose newest version is in force. */
  live: number;
  /** Versions that a later one has replaced. */
  superseded: number;
  /** Citations that NLM has deleted. */
  deleted: number;
  /** Whether there was nothing to do. */
  up_to_date: boolean;
  /** Whether there are tokens and shards. */
  tokenized: boolean;
  /** What the shards came to. */
  shards?: ShardSummary;
  /** Of this run. */
  seconds: number;
  /** Processor time of all threads since the program started. */
  processor_seconds: number;
  /** The most memory that the process ever had resident, in bytes. */
  peak_memory: number;
}

/** What a run took in. */
interface Added {
  files: number;
  records: number;
  xmlBytes: number;
}

/**
 * The summary of a run that has just ended; its seconds are for the caller to fill in.
 * @param shards undefined where the corpus has no tokenizer.
 */
export function summarize(
  { folder, catalogue }: Corpus,
  source: string,
  added: Added,
  shards: ShardSummary | undefined,
): RunSummary {
  const { live, superseded, deleted } = catalogue.counts();
  return {
    corpus: folder,
    source,
    files_added: added.files,
    files: catalogue.files().length,
    records_added: added.records,
    xml_bytes: added.xmlBytes,
    live,
    superseded,
    deleted,
    up_to_date: added.files === 0 && !shards?.written,
    tokenized: shards !== undefined,
    ...(shards ? { shards } : {}),
    seconds: 0,
    processor_seconds: processorSeconds(),
    peak_memory: process.resourceUsage().maxRSS * 1024,
  };
}

/** Processor time of all threads since the program started. */
export function processorSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}
