/**
 * The first half of a run: files fetched ahead of the workers, handed to the next free one, and
 * recorded in the catalogue when they come back.
 * @module
 */
import { fail, Interrupted } from "../../core/errors.ts";
import { removeIfExists } from "../../core/files.ts";
import type { FileEvents, FileRow } from "../catalogue/catalogue.ts";
import type { FieldSelection } from "../citation/elements.ts";
import type { RunOptions } from "./run_options.ts";
import type { Source } from "../source/source.ts";
import { type DownloadFigures, DownloadMeter } from "./download_meter.ts";
import type { PlannedFile } from "./plan.ts";
import type { Policies } from "./policy.ts";
import type { FileOutcome } from "./process_file.ts";
import { corpusPaths } from "../corpus_paths.ts";
import type { WorkerPool } from "./worker_pool.ts";
import type { TokenOutcome, TokenSettings } from "./worker_protocol.ts";

/** What is taken from every file. */
interface TakeSettings {
  fields: FieldSelection;
  policies: Policies;
  /** Left out where there is no tokenizer yet. */
  tokens: TokenSettings | undefined;
}

/** What hears of every file taken: the catalogue, or a part of a run on many machines. */
export interface FileRecord {
  addFile(file: FileRow, events: FileEvents, issuedAgain: boolean): void;
}

/** Takes files into a corpus. */
export class FileTaker {
  /** What was taken so far. */
  readonly added: { files: number; records: number; xmlBytes: number } = {
    files: 0,
    records: 0,
    xmlBytes: 0,
  };
  readonly #source: Source;
  readonly #catalogue: FileRecord;
  readonly #pool: WorkerPool;
  readonly #settings: TakeSettings;
  readonly #options: RunOptions;
  readonly #meter = new DownloadMeter();
  #connecting: Promise<unknown>[] = [];
  #files = 0;

  constructor(
    source: Source,
    catalogue: FileRecord,
    pool: WorkerPool,
    settings: TakeSettings,
    options: RunOptions,
  ) {
    this.#source = source;
    this.#catalogue = catalogue;
    this.#pool = pool;
    this.#settings = settings;
    this.#options = options;
  }

  /** Fetches ahead of the workers, hands each file to the next free one, records what comes back. */
  async take(files: PlannedFile[]): Promise<void> {
    const { signal, connections = 3 } = this.#options;
    const { added } = this;
    this.#files = files.length;
    const source = this.#source;
    const waiting = [...files];
    let failure: unknown;
    this.#tell();
    const lane = async () => {
      while (failure === undefined) {
        const planned = waiting.shift();
        if (!planned) return;
        try {
          if (signal?.aborted) throw new Interrupted();
          await this.#takeFile(planned);
          this.#tell();
        } catch (error) {
          failure ??= error;
        }
      }
    };
    // A lane downloads, then waits for a worker: enough lanes keep both busy.
    const lanes = source.remote ? this.#options.workers + connections : this.#options.workers;
    await Promise.all(Array.from({ length: lanes }, lane));
    if (signal?.aborted) {
      throw new Interrupted(
        `Stopped; ${added.files} of ${files.length} files are in, and what came of others is kept; the ` +
          "same command goes on from here",
      );
    }
    if (failure !== undefined) throw failure;
  }

  #tell(): void {
    const { figures } = this.#meter;
    const downloads: DownloadFigures | undefined = this.#source.remote ? figures : undefined;
    this.#options.onProgress?.("files", this.added.files, this.#files, downloads);
  }

  async #takeFile({ file, md5, issuedAgain }: PlannedFile): Promise<void> {
    const { corpus, signal, keepRaw } = this.#options;
    const raw = corpusPaths.raw(corpus);
    const { added } = this;
    const source = this.#source;
    const { fields, policies, tokens } = this.#settings;
    const path = await this.#connect(() =>
      source.obtain(file, md5, raw, signal, (size, total) => {
        this.#meter.update(file.fileName, size, total);
        this.#tell();
      })
    );
    this.#meter.finished(file.fileName);
    this.#tell();
    const outcome = await this.#pool.run({
      kind: "file",
      job: {
        source: file.source,
        path,
        md5,
        corpus,
        fields,
        policies,
      },
      ...(tokens ? { tokens: { tokenizer: tokens.tokenizer, seed: tokens.seed } } : {}),
    });
    if (signal?.aborted) throw new Interrupted();
    if (source.remote && !keepRaw) {
      // Before the catalogue has the file: a run killed in between fetches it again, where the other
      // way round would leave a download behind that nothing asks for any more.
      removeIfExists(path);
      removeEmptyFolder(raw);
    }
    const taken = outcome.file ?? fail(`the worker returned nothing of ${file.source}`);
    this.#record(taken, outcome.tokens, { file, md5, issuedAgain });
    added.files++;
    added.records += taken.records;
    added.xmlBytes += taken.xmlBytes;
  }

  /** Runs `action` as one of at most `connections` at a time. */
  async #connect<T>(action: () => Promise<T>): Promise<T> {
    const limit = this.#source.remote ? this.#options.connections ?? 3 : Infinity;
    while (this.#connecting.length >= limit) {
      await Promise.race(this.#connecting.map((p) => p.catch(() => {})));
    }
    if (this.#options.signal?.aborted) throw new Interrupted(); // while this one waited its turn
    const running = action();
    this.#connecting.push(running);
    try {
      return await running;
    } finally {
      this.#connecting = this.#connecting.filter((p) => p !== running);
    }
  }

  #record(
    outcome: FileOutcome,
    tokens: TokenOutcome | undefined,
    { file, md5, issuedAgain }: PlannedFile,
  ): void {
    const row: FileRow = {
      number: file.number,
      name: file.source,
      folder: file.folder,
      md5,
      state: tokens ? "tokens" : "documents",
      records: outcome.records,
      documents: outcome.documents,
      deletions: outcome.events.deletedPmids.length,
      xml_bytes: outcome.xmlBytes,
      counts: JSON.stringify(outcome.counts),
      tokens: tokens?.tokens ?? null,
      documents_sha256: outcome.documentsSha256,
      tokens_sha256: tokens?.sha256 ?? null,
      stamp: file.stamp,
      rejected_sha256: outcome.rejectedSha256,
      raw: Number(this.#source.remote && this.#options.keepRaw === true),
    };
    this.#catalogue.addFile(row, outcome.events, issuedAgain);
  }
}

function removeEmptyFolder(path: string): void {
  try {
    Deno.removeSync(path);
  } catch { /* another download is in it */ }
}
