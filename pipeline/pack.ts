/**
 * `pipeline pack`: further shard sets of a corpus's documents, with another tokenizer, rows of another
 * length, or other shares held out. A set lies in `sets/NAME/` and is laid out as a corpus's shards
 * are, so that whoever reads a corpus reads a set by its folder.
 * @module
 */
import { exists, hashFile, readJson, writeAtomic } from "../core/files.ts";
import { fail, Interrupted, UserError } from "../core/errors.ts";
import { breathe } from "../core/breathe.ts";
import { LiveBits } from "./catalogue/live_set.ts";
import { Corpus, holdFolder, removePartials } from "./corpus.ts";
import { corpusPaths, setFolder, setPath, textsPath, textTokensPath } from "./corpus_paths.ts";
import { corpusSettings, type PackingSettings } from "./corpus_settings.ts";
import { checkSequenceLength } from "./ingest/shards.ts";
import {
  buildShards,
  figuresOf,
  isKeptName,
  type LiveSet,
  manifestPath,
  type ShardSummary,
  tokenizerPath,
} from "./shards/mod.ts";
import { WorkerPool } from "./ingest/worker_pool.ts";
import { checkContamination, readHeldOut, withoutHeldOut } from "./overlap/contamination.ts";
import { textSettings, tokenizeTextFile } from "./texts/corpus.ts";
import { readTextCorpus, textRecord } from "./texts/state.ts";
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

/** Which documents of a source file are packed. */
interface FileState {
  documents_sha256: string;
  /** The number of its first document, in a corpus of texts; their files do not say it. */
  first?: number;
}

/** `sets/NAME/set.json`: what the set was made with, and from. */
export interface SetRecord extends PackingSettings {
  format: 1;
  tokenizer_sha256: string;
  /** Of each source file: its documents and the tokens made of them. */
  files: Record<string, FileState & { tokens_sha256: string }>;
}

/** A source file whose documents a set holds. */
interface PackedFile {
  name: string;
  md5: string;
  state: FileState;
}

/** The documents of a corpus, whatever it is of, while this process alone may change it. */
interface PackedCorpus {
  settings: PackingSettings;
  files: readonly PackedFile[];
  live: LiveSet;
  /** Where a set has a file's tokens. */
  tokensPath(set: string, name: string): string;
  /** Makes the tokens of files for a set and tells the hash of each. */
  tokenize(
    files: readonly PackedFile[],
    set: string,
    seed: number,
    onFile: (file: PackedFile, sha256: string) => void,
  ): Promise<void>;
  close(): void;
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
  const corpus = exists(textsPath(folder)) ? openTexts(options) : openCitations(options);
  try {
    const set = setFolder(folder, name);
    const old = exists(setPath(set)) ? readJson<SetRecord>(setPath(set), "shard set") : undefined;
    const settings = settingsOf(options, old, corpus.settings);
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
    const { files } = corpus;
    const waiting = files.filter((f) => {
      const known = record.files[f.name];
      return known?.documents_sha256 !== f.state.documents_sha256 ||
        known.first !== f.state.first || !exists(corpus.tokensPath(set, f.name));
    });
    let done = 0;
    await corpus.tokenize(waiting, set, settings.seed, (f, tokens_sha256) => {
      record.files[f.name] = { ...f.state, tokens_sha256 };
      save();
      onProgress?.("tokens", ++done, waiting.length);
    });
    await breathe();
    const before = exists(manifestPath(set)) ? hashFile(manifestPath(set)) : "";
    const manifest = await buildShards({
      corpus: set,
      tokenFiles: files.map((f) => ({
        source: f.name,
        path: corpus.tokensPath(set, f.name),
        sha256: record.files[f.name]?.tokens_sha256 ?? "",
      })),
      live: corpus.live,
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

const stopped = () => new Interrupted("Stopped; the same command goes on from here");

/** Opens a corpus of PubMed's citations for packing. */
function openCitations({ corpus: folder, workers, signal }: PackOptions): PackedCorpus {
  const corpus = new Corpus(folder);
  try {
    const { catalogue } = corpus;
    corpus.checkHeldOut();
    const own = corpusSettings(folder, catalogue);
    return {
      settings: own,
      files: catalogue.files().map(({ name, md5, documents_sha256 }) => ({
        name,
        md5,
        state: { documents_sha256: documents_sha256 ?? "" },
      })),
      live: withoutHeldOut(new LiveBits(catalogue), readHeldOut(folder, catalogue)),
      tokensPath: corpusPaths.tokens,
      async tokenize(files, set, seed, onFile) {
        const pool = new WorkerPool(workers);
        const stop = () => pool.stop();
        signal?.addEventListener("abort", stop, { once: true });
        try {
          await Promise.all(files.map(async (file) => {
            const outcome = await pool.run({
              kind: "tokens",
              corpus: folder,
              into: set,
              source: file.name,
              policies: own.policies,
              tokens: { tokenizer: tokenizerPath(set), seed },
            });
            onFile(file, outcome.tokens?.sha256 ?? "");
          }));
        } catch (error) {
          throw signal?.aborted ? stopped() : error;
        } finally {
          signal?.removeEventListener("abort", stop);
          await pool.close();
        }
      },
      close: () => corpus.close(),
    };
  } catch (error) {
    corpus.close();
    throw error;
  }
}

/** Opens a corpus of other texts for packing. */
function openTexts({ corpus: folder, signal }: PackOptions): PackedCorpus {
  const held = holdFolder(folder);
  try {
    removePartials(folder);
    const state = readTextCorpus(folder) ?? fail(`${folder} is no corpus of texts`);
    const record = textRecord(folder);
    checkContamination(folder, record);
    const { pmids } = readHeldOut(folder, record);
    const { sequence_length, ...rest } = textSettings({ corpus: folder }, state.settings);
    return {
      settings: { sequenceLength: sequence_length, ...rest },
      files: state.files.map(({ name, md5, documents_sha256 = "", first }) => ({
        name,
        md5,
        state: { documents_sha256, first },
      })),
      live: { isLive: (_source, number) => !pmids.has(number) },
      tokensPath: textTokensPath,
      async tokenize(files, set, seed, onFile) {
        const tokenizer = loadTokenizer(tokenizerPath(set));
        for (const file of files) {
          const known = state.files.find(({ name }) => name === file.name) ??
            fail(`there is no file of texts ${file.name}`);
          const path = textTokensPath(set, file.name);
          const made = await tokenizeTextFile(folder, known, path, { tokenizer, seed, signal });
          onFile(file, made.tokens_sha256);
        }
      },
      close: () => held.release(),
    };
  } catch (error) {
    held.release();
    throw error;
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
