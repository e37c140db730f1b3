/** A corpus folder, as the trainer and the evaluator ask for it. @module */
import { UserError } from "../../core/errors.ts";
import { exists, hashFile, sha256 } from "../../core/files.ts";
import {
  keptSet,
  manifestPath,
  openShards,
  pinShards,
  readManifest,
  type ShardSet,
  tokenizerPath,
  unpinShards,
} from "../../pipeline/shards/mod.ts";
import {
  type SelectedRows,
  type SelectionSpec,
  selectRows,
} from "../../pipeline/selection/selection.ts";
import type { Split, TrainingCorpus } from "./corpus.ts";

/**
 * Opens a corpus that `pipeline run` made. Its files are opened as they are needed.
 * @throws {UserError} where there are no shards.
 */
export function openCorpus(path: string): TrainingCorpus & Disposable {
  if (!exists(path)) throw new UserError(`Cannot use the corpus ${path}: there is no such folder`);
  const manifest = readManifest(path);
  const hash = hashFile(manifestPath(path));
  const keptCorpora: (TrainingCorpus & Disposable)[] = [];
  const splits = new Map<Split, ShardSet>();
  const selections: SelectedRows[] = [];
  const corpus: TrainingCorpus & Disposable = {
    path,
    manifestSha256: hash,
    shardsSha256: hash,
    tokenizerSha256: manifest.tokenizer_sha256,
    vocabularySize: manifest.vocabulary_size,
    endOfText: manifest.end_of_text,
    sequenceLength: manifest.sequence_length,
    tokenizer() {
      const file = tokenizerPath(path);
      if (!exists(file) || hashFile(file) !== manifest.tokenizer_sha256) {
        throw new UserError(
          `Cannot use the corpus ${path}: ${file} is ${
            exists(file) ? "not the tokenizer it was made with" : "missing"
          }; put the one with sha256 ${manifest.tokenizer_sha256} there`,
        );
      }
      return Deno.readFileSync(file);
    },
    split(name) {
      const open = splits.get(name) ?? openShards(path, name);
      splits.set(name, open);
      return open;
    },
    async select(spec) {
      const train = await selectRows(path, spec);
      selections.push(train);
      return {
        ...corpus,
        manifestSha256: selectionHash(corpus.manifestSha256, spec),
        split: (name) => name === "train" ? train : corpus.split(name),
      };
    },
    kept(shards) {
      const folder = typeof shards === "string" ? keptSet(path, shards) : undefined;
      if (folder === undefined) return undefined;
      const kept = openCorpus(folder);
      keptCorpora.push(kept);
      return kept;
    },
    pin(run, shards) {
      if (!shards.length) return unpinShards(path, run);
      pinShards(path, run, shards.flat());
      requireShards(path, hash, run);
    },
    [Symbol.dispose]() {
      for (const kept of keptCorpora) kept[Symbol.dispose]();
      for (const set of [...splits.values(), ...selections]) set.close();
    },
  };
  return corpus;
}

/**
 * Looks whether the shards that a run has opened are still there, after it has pinned them: a refresh
 * that ended between these did not keep them.
 * @throws {UserError} where they are gone
 */
export function requireShards(path: string, hash: string, run: string): void {
  if (exists(manifestPath(path)) && hashFile(manifestPath(path)) === hash) return;
  if (keptSet(path, hash) !== undefined) return;
  throw new UserError(
    `Cannot train on ${path}: it was refreshed just as the run began; remove ${run} and start again`,
  );
}

/** Names a selection of a corpus: the corpus, what was asked for, and the scores that decided. */
function selectionHash(manifestSha256: string, spec: SelectionSpec): string {
  const { filter, upsample, curriculum, scores } = spec;
  const scored = scores === "" ? "" : hashFile(scores);
  return sha256(JSON.stringify([manifestSha256, filter, upsample, curriculum, scored]));
}
