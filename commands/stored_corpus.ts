/** Corpora named by a place in S3-compatible storage: `--corpus s3://bucket/corpus`. @module */
import { jsonLine } from "../core/json.ts";
import type { Invocation } from "../core/cli.ts";
import { formatBytes } from "../core/reporter.ts";
import { localCorpus, type TransferSummary } from "../pipeline/storage/corpus.ts";
import { isStorage } from "../pipeline/storage/credentials.ts";

/** A variable of the environment. */
const environment = (name: string): string | undefined => Deno.env.get(name);

/** The folder of a corpus: a place in the storage is first copied into the program's cache. */
export async function corpusFolder(invocation: Invocation, place: string): Promise<string> {
  if (!isStorage(place)) return place;
  const { reporter, signal } = invocation;
  const progress = reporter.progress(`Files of ${place}`, 0);
  const folder = await localCorpus(place, environment, {
    signal,
    log: (message) => reporter.log(message),
    onProgress: (done, total) => progress.update(done, `of ${total}`),
  });
  progress.finish();
  reporter.log(`Reading ${place} from the copy in ${folder}`);
  return folder;
}

/** A mix such as "s3://bucket/a=0.8,b=0.2" with folders in the places' stead. */
export async function mixFolders(invocation: Invocation, mix: string): Promise<string> {
  const parts: string[] = [];
  for (const part of mix.split(",")) {
    const [, place = part, share = ""] = /^(.*?)(=[\d.]+)?$/s.exec(part.trim()) ?? [];
    parts.push(await corpusFolder(invocation, place) + share);
  }
  return parts.join(",");
}

/** The call with a folder where `--corpus` names a place in the storage. */
export async function withCorpusFolder(invocation: Invocation): Promise<Invocation> {
  const place = invocation.string("corpus");
  if (place === undefined || !isStorage(place)) return invocation;
  const corpus = await corpusFolder(invocation, place);
  return {
    ...invocation,
    options: { ...invocation.options, corpus },
    string: (name) => name === "corpus" ? corpus : invocation.string(name),
  };
}

/** Prints what was moved. */
export function printTransfer({ json, reporter }: Invocation, summary: TransferSummary): void {
  if (json) return reporter.line(jsonLine(summary));
  const { files, moved, bytes } = summary;
  reporter.line(`${files} files, ${moved} of them moved (${formatBytes(bytes)})`);
}
