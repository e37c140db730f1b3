/** The tasks a worker runs. @module */
import { Interrupted } from "../../core/errors.ts";
import { hashFile } from "../../core/files.ts";
import { readTexts } from "../documents/reader.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/mod.ts";
import { TokenFileWriter } from "../shards/mod.ts";
import { dropReason } from "./policy.ts";
import { corpusPaths } from "../corpus_paths.ts";
import { processFile } from "./process_file.ts";
import type { Task, TaskOutcome, TokenOutcome, TokenSettings } from "./worker_protocol.ts";

// A tokenizer's cache grows better with use, so a worker keeps the one it has.
let loaded: { path: string; tokenizer: Tokenizer } | undefined;

function tokenizerAt(path: string): Tokenizer {
  if (loaded?.path !== path) loaded = { path, tokenizer: loadTokenizer(path) };
  return loaded.tokenizer;
}

/**
 * Runs one task.
 * @throws {UserError} where its input is at fault
 * @throws {Interrupted} where the signal fires
 */
export async function runTask(task: Task, signal?: AbortSignal): Promise<TaskOutcome> {
  if (task.kind === "tokens") return { tokens: await tokenize(task, signal) };
  const { job } = task;
  const writer = task.tokens ? tokenWriter(job.corpus, job.source, task.tokens) : undefined;
  const file = await processFile(job, (citation, ordinal, text) => {
    writer?.add({ pmid: citation.pmid, version: citation.version, ordinal, text });
  }, signal);
  return writer ? { file, tokens: finish(writer) } : { file };
}

/** Makes the tokens of documents that are there already. */
async function tokenize(
  task: Extract<Task, { kind: "tokens" }>,
  signal?: AbortSignal,
): Promise<TokenOutcome> {
  const writer = tokenWriter(task.into ?? task.corpus, task.source, task.tokens);
  for await (const row of readTexts(corpusPaths.documents(task.corpus, task.source))) {
    if (signal?.aborted) throw new Interrupted("Stopped");
    if (dropReason(row, task.policies) === undefined) writer.add(row);
  }
  return finish(writer);
}

function tokenWriter(
  corpus: string,
  source: string,
  settings: TokenSettings,
): TokenFileWriter {
  const path = corpusPaths.tokens(corpus, source);
  return new TokenFileWriter(path, tokenizerAt(settings.tokenizer), settings.seed);
}

function finish(writer: TokenFileWriter): TokenOutcome {
  const { tokens } = writer.commit();
  return { tokens, sha256: hashFile(writer.path) };
}
