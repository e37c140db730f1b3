/** `pipeline status` and `verify` for corpora of texts, which have no catalogue. @module */
import { exists } from "../../core/files.ts";
import { Interrupted, messageOf, UserError } from "../../core/errors.ts";
import { textDocumentsPath, textsPath, textTokensPath } from "../corpus_paths.ts";
import { holdFolder } from "../corpus.ts";
import { diskUse, shardStatus, type Status } from "../status.ts";
import { breathe } from "../../core/breathe.ts";
import { TokenFile } from "../shards/mod.ts";
import {
  checkHash,
  checkHeldOut,
  checkShards,
  checkTokenizer,
  type Findings,
  holdStill,
  removeOwn,
  type Repair,
  type Verification,
  type VerifyOptions,
} from "../verify.ts";
import { columnsOf, isWholeTextList, readTextCorpus, type TextCorpusState } from "./state.ts";

/** The figures of a corpus of texts. */
export type TextStatus =
  & Pick<
    Status,
    | "corpus"
    | "files"
    | "tokens"
    | "tokens_of_all_versions"
    | "shards"
    | "rows"
    | "splits"
    | "held_out"
    | "padding_share"
    | "split_documents"
    | "sequence_length"
    | "tokenizer_sha256"
    | "disk"
  >
  & {
    documents: number;
    /** What documents can be chosen by: "number", "list of string" ... by name. */
    columns: Record<string, string>;
  };

/** Reads the figures of a corpus of texts. */
export function readTextStatus(corpus: string, state: TextCorpusState): TextStatus {
  const { files, settings, tokenizer_sha256 = "" } = state;
  const sequence_length = settings?.sequence_length ?? 0;
  return {
    corpus,
    files: files.length,
    documents: files.reduce((n, f) => n + f.documents, 0),
    tokens_of_all_versions: files.reduce((n, f) => n + (f.tokens ?? 0), 0),
    columns: Object.fromEntries(
      columnsOf(state).map(({ name, kind, list }) => [name, list ? `list of ${kind}` : kind]),
    ),
    ...shardStatus(corpus, sequence_length),
    sequence_length,
    tokenizer_sha256,
    disk: diskUse(corpus),
  };
}

/**
 * Checks a corpus of texts. Where anything is wrong, a run may have been at work: it is looked at again
 * while nobody changes it.
 * @throws {Interrupted} where the signal fires
 * @throws {UserError} where its list of files is damaged
 */
export async function verifyTextCorpus(
  corpus: string,
  options: VerifyOptions = {},
): Promise<Verification> {
  const first = await lookAtTexts(corpus, options);
  if (first.problems.length === 0) return first;
  const release = await holdStill(corpus, options);
  try {
    return await lookAtTexts(corpus, options);
  } finally {
    release();
  }
}

async function lookAtTexts(corpus: string, options: VerifyOptions): Promise<Verification> {
  const state = readTextCorpus(corpus);
  if (!state) {
    throw new UserError(`Cannot find a corpus of texts in ${corpus}: it has no texts.json`);
  }
  const { files, settings, tokenizer_sha256, records } = state;
  const found: Findings = { problems: [], notes: [], renewable: [] };
  const { problems } = found;
  let documents = 0;
  if (!isWholeTextList(corpus)) {
    problems.push(
      `${textsPath(corpus)} is not what this version writes; "pipeline run" writes it again`,
    );
  }
  if (tokenizer_sha256 !== undefined) checkTokenizer(corpus, tokenizer_sha256, problems);
  for (const [i, file] of files.entries()) {
    await breathe();
    if (options.signal?.aborted) throw new Interrupted("Stopped");
    const path = textTokensPath(corpus, file.name);
    if (file.tokens_sha256) checkHash(path, file.tokens_sha256, found);
    if (file.documents_sha256) {
      checkHash(textDocumentsPath(corpus, file.name), file.documents_sha256, found);
    }
    if (file.tokens_sha256 && tokenizer_sha256 !== undefined && settings) {
      checkTokens(path, file.documents, tokenizer_sha256, settings.seed, problems);
    }
    documents += file.documents;
    options.onProgress?.(i + 1, files.length);
  }
  const record = { get: (key: string) => records?.[key] };
  checkHeldOut(corpus, record, problems);
  const shards = await checkShards(corpus, record, files, found, options.signal);
  return { files: files.length, documents, shards, live: documents, ...found };
}

/** Reports a token file that cannot be read, or has other documents than its file of texts. */
function checkTokens(
  path: string,
  documents: number,
  tokenizer: string,
  seed: number,
  problems: string[],
): void {
  try {
    const tokens = new TokenFile(path, tokenizer, seed);
    tokens.close();
    if (tokens.documents === documents) return;
    problems.push(`${path} has ${tokens.documents} documents, not ${documents}`);
  } catch (error) {
    if (exists(path)) problems.push(messageOf(error));
  }
}

/**
 * Removes the files of a corpus of texts that are damaged and that a run makes again.
 * @throws {CorpusBusy} where another process is at work on the corpus
 */
export function repairTextCorpus(
  corpus: string,
  { renewable }: Pick<Verification, "renewable">,
): Repair {
  const held = holdFolder(corpus);
  try {
    return { removed: renewable.filter((path) => removeOwn(corpus, path)) };
  } finally {
    held.release();
  }
}
