/**
 * `pipeline pack`: further shard sets of a corpus's documents, with another tokenizer, rows of another
 * length, or other shares held out. A set lies in `sets/NAME/` and is laid out as a corpus's shards
 * are, so that whoever reads a corpus reads a set by its folder.
 * @module
 */
import { exists, hashFile, readJson, writeAtomic } from "../core/files.ts";
import { Interrupted, UserError } from "../core/errors.ts";
import { breathe } from "../core/breathe.ts";
import { LiveBits } from "./catalogue/live_set.ts";
import { Corpus } from "./corpus.ts";
import { corpusPaths, setFolder, setPath } from "./corpus_paths.ts";
import { corpusSettings, type PackingSettings } from "./corpus_settings.ts";
import { checkSequenceLength } from "./ingest/shards.ts";
import {
  buildShards,
  figuresOf,
  isKeptName,
  manifestPath,
  type ShardSummary,
  tokenizerPath,
} from "./shards/mod.ts";
import { WorkerPool } from "./ingest/worker_pool.ts";
import { readHeldOut, withoutHeldOut } from "./overlap/contamination.ts";
import { loadTokenizer } from "./tokenizer/mod.ts";

/** What to pack, and how. What is left out is the set's own, or else the corpus's. */
export interface PackOptions extends Partial<PackingSettings> {
  corpus: string;
  /** The set's name, under `sets/`. */
  name: string;
  /** A `tokenizer.json`. */
  tokenizer?: string;
  workers: number;
  onProgress?: (stage: "tokens" | "shards", done: number, total: number) => void;
  signal?: AbortSignal;
}

/** `sets/NAME/set.json`: what the set was made with, and from. */
export interface SetRecord extends PackingSettings {
  format: 1;
  tokenizer_sha256: string;
  /** Of each source file: its documents and the tokens made of them. */
  files: Record<string, { documents_sha256: string; tokens_sha256: string }>;
}

/** What packing came to. */
export interface Packing extends ShardSummary {
  /** The set's folder, which is a corpus to whoever trains or evaluates. */
  folder: string;
  settings: PackingSettings;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/**
 * Makes a set, or brings it up to date with the corpus; shards whose documents are what they were are
 * left alone.
 * @throws {UserError} where the name or a setting is at fault, or the corpus has no documents
 * @throws {CorpusBusy} where another process is at work on the corpus
 * @throws {Interrupted} where the signal fires; the same command goes on
 */
export async function packSet(options: PackOptions): Promise<Packing> {
  const { corpus: folder, name, signal, onProgress } = options;
  if (isKeptName(name)) {
    throw new UserError(
      `Cannot name a shard set "${name}": names that begin with kept- are those of sets that runs still ` +
        "need; give another one",
    );
  }
  if (!NAME.test(name)) {
    throw new UserError(
      `Cannot name a shard set "${name}": give letters, digits, points, dashes and underscores, a ` +
        "letter or digit first",
    );
  }
  checkSequenceLength(options.sequenceLength);
  const corpus = new Corpus(folder);
  try {
    const { catalogue } = corpus;
    corpus.checkHeldOut();
    const set = setFolder(folder, name);
    const old = exists(setPath(set)) ? readJson<SetRecord>(setPath(set), "shard set") : undefined;
    const own = corpusSettings(folder, catalogue);
    const settings = settingsOf(options, old, own);
    const file = options.tokenizer ?? (old ? tokenizerPath(set) : tokenizerPath(folder));
    if (!exists(file)) {
      throw new UserError(
        `Cannot pack ${folder} as ${name}: there is no tokenizer ${file}; name one with --tokenizer`,
      );
    }
    const tokenizer = loadTokenizer(file);
    if (old && tokenizer.sha256 !== old.tokenizer_sha256) {
      throw new UserError(
        `Cannot pack ${folder} as ${name}: that set was made with another tokenizer (SHA-256 ` +
          `${old.tokenizer_sha256.slice(0, 12)}...); leave --tokenizer away, or give another name`,
      );
    }
    const record: SetRecord = {
      format: 1,
      ...settings,
      tokenizer_sha256: tokenizer.sha256,
      files: old?.files ?? {},
    };
    const save = () => writeAtomic(setPath(set), JSON.stringify(record, null, 1) + "\n");
    save();
    writeAtomic(tokenizerPath(set), Deno.readFileSync(tokenizer.path));
    const files = catalogue.files();
    const waiting = files.filter((f) => {
      const known = record.files[f.name];
      return known?.documents_sha256 !== f.documents_sha256 ||
        !exists(corpusPaths.tokens(set, f.name));
    });
    const pool = new WorkerPool(options.workers);
    const stop = () => pool.stop();
    signal?.addEventListener("abort", stop, { once: true });
    try {
      let done = 0;
      await Promise.all(waiting.map(async (f) => {
        const outcome = await pool.run({
          kind: "tokens",
          corpus: folder,
          into: set,
          source: f.name,
          policies: own.policies,
          tokens: { tokenizer: tokenizerPath(set), seed: settings.seed },
        });
        record.files[f.name] = {
          documents_sha256: f.documents_sha256 ?? "",
          tokens_sha256: outcome.tokens?.sha256 ?? "",
        };
        save();
        onProgress?.("tokens", ++done, waiting.length);
      }));
    } catch (error) {
      if (signal?.aborted) throw new Interrupted("Stopped; the same command goes on from here");
      throw error;
    } finally {
      signal?.removeEventListener("abort", stop);
      await pool.close();
    }
    await breathe();
    const before = exists(manifestPath(set)) ? hashFile(manifestPath(set)) : "";
    const manifest = await buildShards({
      corpus: set,
      tokenFiles: files.map((f) => ({
        source: f.name,
        path: corpusPaths.tokens(set, f.name),
        sha256: record.files[f.name]?.tokens_sha256 ?? "",
      })),
      live: withoutHeldOut(new LiveBits(catalogue), readHeldOut(folder, catalogue)),
      tokenizer: loadTokenizer(tokenizerPath(set)),
      ...settings,
      sourceFiles: files.map((f) => ({ name: f.name, md5: f.md5 })),
      onProgress: (done, total) => onProgress?.("shards", done, total),
      ...(signal ? { signal } : {}),
    });
    const written = hashFile(manifestPath(set)) !== before;
    return { folder: set, settings, written, figures: figuresOf(manifest) };
  } finally {
    corpus.close();
  }
}

/** The settings of a set: its own, those given where it is new, or the corpus's. */
function settingsOf(
  given: PackOptions,
  old: SetRecord | undefined,
  own: PackingSettings,
): PackingSettings {
  const one = <K extends keyof PackingSettings>(key: K): PackingSettings[K] => {
    const asked = given[key] as PackingSettings[K] | undefined;
    const recorded = old?.[key];
    if (recorded !== undefined && asked !== undefined && asked !== recorded) {
      throw new UserError(
        `Cannot pack ${given.corpus} as ${given.name} with ${key} ${asked}: that set was made with ` +
          `${recorded}; give another name with --out`,
      );
    }
    return recorded ?? asked ?? own[key];
  };
  return {
    sequenceLength: one("sequenceLength"),
    packing: one("packing"),
    seed: one("seed"),
    validation: one("validation"),
    test: one("test"),
  };
}
