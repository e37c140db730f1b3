/** The options of `pipeline run` and `refresh`. @module */
import type { DownloadFigures } from "./download_meter.ts";
import type { GivenSettings } from "../corpus_settings.ts";
import type { HttpOptions } from "../source/http_client.ts";

/** What to bring into a corpus, and how. Settings left out are the corpus's own, or defaults. */
export interface RunOptions extends GivenSettings {
  /** The corpus folder. */
  corpus: string;
  /** A folder or URL; the corpus's own where it is left out. */
  source?: string;
  /** A `tokenizer.json`; without one (now or before) the run stops after the documents. */
  tokenizer?: string;
  /** File numbers: "1-12,14". */
  files?: string;
  /** Takes a new year's baseline that has far fewer files than the old one had. */
  smallerBaseline?: boolean;
  /** Threads that parse and tokenize. */
  workers: number;
  /** Downloads at a time. */
  connections?: number;
  /** Whether the downloaded files are kept. */
  keepRaw?: boolean;
  /** Time limits and retries of downloads. */
  http?: HttpOptions;
  /** Stops after what is under way. */
  signal?: AbortSignal;
  /** Gets a line of text for each event that a user should know of. */
  log?: (line: string) => void;
  /** Told after every file and while shards are built. */
  onProgress?: (
    stage: "checksums" | "files" | "tokens" | "shards",
    done: number,
    total: number,
    /** Of files that are fetched over the network. */
    downloads?: DownloadFigures,
  ) => void;
  /** The command's name in the catalogue's list of runs. */
  command?: string;
}
