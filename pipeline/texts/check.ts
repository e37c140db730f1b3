/** `pipeline status` and `verify` for corpora of texts, which have no catalogue. @module */
import { exists } from "../../core/files.ts";
import { Interrupted, messageOf } from "../../core/errors.ts";
import { diskUse, shardStatus, type Status } from "../status.ts";
import { TokenFile } from "../shards/token_file.ts";
import { manifestPath } from "../shards/mod.ts";
import { checkHash, checkShards, checkTokenizer, type Verification } from "../verify.ts";
import { columnsOf, type TextCorpusState, textDocumentsPath, textTokensPath } from "./state.ts";

/** The figures of a corpus of texts. */
export type TextStatus =
  & Pick<
    Status,
    | "corpus"
    | "files"
    | "tokens"
    | "shards"
    | "rows"
    | "padding"
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
  const { files, settings, tokenizer_sha256 } = state, { sequence_length } = settings;
  return {
    ...{ corpus, files: files.length },
    documents: files.reduce((n, f) => n + f.documents, 0),
    tokens: files.reduce((n, f) => n + f.tokens, 0),
    columns: Object.fromEntries(
      columnsOf(state).map(({ name, kind, list }) => [name, list ? `list of ${kind}` : kind]),
    ),
    ...shardStatus(corpus, sequence_length),
    ...{ sequence_length, tokenizer_sha256, disk: diskUse(corpus) },
  };
}

/** Checks a corpus of texts. @throws {Interrupted} where the signal fires. */
export function verifyTextCorpus(
  corpus: string,
  { files, settings, tokenizer_sha256 }: TextCorpusState,
  options: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {},
): Verification {
  const problems: string[] = [];
  let documents = 0;
  checkTokenizer(corpus, tokenizer_sha256, problems);
  for (const [i, file] of files.entries()) {
    if (options.signal?.aborted) throw new Interrupted("Stopped");
    const path = textTokensPath(corpus, file.name);
    checkHash(path, file.tokens_sha256, problems);
    if (file.documents_sha256) {
      checkHash(textDocumentsPath(corpus, file.name), file.documents_sha256, problems);
    }
    try {
      const tokens = new TokenFile(path, tokenizer_sha256, settings.seed);
      tokens.close();
      documents += tokens.documents;
      if (tokens.documents !== file.documents) {
        problems.push(`${path} has ${tokens.documents} documents, not ${file.documents}`);
      }
    } catch (error) {
      if (exists(path)) problems.push(messageOf(error));
    }
    options.onProgress?.(i + 1, files.length);
  }
  const shards = exists(manifestPath(corpus)) ? checkShards(corpus, files, problems) : 0;
  return { files: files.length, documents, shards, live: documents, problems };
}
