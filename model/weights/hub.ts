/**
 * Models from the Hugging Face hub, by their id. They are kept in the hub's own cache layout
 * (`models--org--name/{blobs,snapshots,refs}`), which Python's `huggingface_hub` shares. Honours
 * HF_ENDPOINT, HF_TOKEN and HF_HOME.
 * @module
 */
import { createHash } from "node:crypto";
import { isDiskFull, messageOf, UserError } from "../../core/errors.ts";
import { exists, removeIfExists, writeAtomic } from "../../core/files.ts";
import { hubEndpoint, hubHome, isHubId } from "../../core/locations.ts";
import { formatBytes, type Reporter } from "../../core/reporter.ts";
import { dirname, join, relative } from "../../core/std.ts";
import {
  type HubSettings,
  HubUnreachable,
  listRepository,
  openDownload,
  type RemoteFile,
} from "./hub_client.ts";
import { readIndex, WEIGHT_FILES } from "./tensor_source.ts";

export { isHubId };
export type { HubSettings } from "./hub_client.ts";

/** The settings of the environment. */
export function hubSettings(): HubSettings {
  const get = (name: string) => Deno.env.get(name);
  const home = hubHome(get);
  const tokenFile = join(home, "token");
  const kept = exists(tokenFile) ? Deno.readTextFileSync(tokenFile).trim() : "";
  return { endpoint: hubEndpoint(get), token: get("HF_TOKEN") || kept || undefined, home };
}

/**
 * The folder of a model: `model` itself where it exists, or the download of a hub id.
 * @throws {UserError} as {@linkcode downloadModel} does.
 */
export function localModel(model: string, reporter: Reporter): Promise<string> {
  return local(model, "folder", (id) => downloadModel(id, reporter));
}

/** The path of a tokenizer.json: `tokenizer` itself where it exists, or that of a hub id. */
export function localTokenizer(tokenizer: string, reporter: Reporter): Promise<string> {
  return local(tokenizer, "file", (id) => downloadTokenizer(id, reporter));
}

async function local(
  name: string,
  kind: string,
  download: (id: string) => Promise<string>,
): Promise<string> {
  if (exists(name) || !isHubId(name)) return name;
  try {
    return await download(name);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    // What was meant may have been a path.
    throw new UserError(`${error.message}; there is no ${kind} of that name here either`);
  }
}

/**
 * Brings a model from the hub, or finds it in the cache. Downloads that broke off are gone on with;
 * every file's size and hash are checked against the hub's.
 * @returns the folder with its files.
 * @throws {UserError} saying what could not be reached or was not right.
 */
export function downloadModel(
  id: string,
  reporter: Reporter,
  settings: HubSettings = hubSettings(),
): Promise<string> {
  return download(id, chooseModel, "config.json", reporter, settings);
}

/** The folder of a model that was brought from the hub before; undefined where there is none. */
export function cachedModel(
  id: string,
  settings: Pick<HubSettings, "home"> = { home: hubHome((name) => Deno.env.get(name)) },
): string | undefined {
  const [name = id, revision = "main"] = id.split("@");
  const cache = join(settings.home, "hub", `models--${name.replace("/", "--")}`);
  const ref = join(cache, "refs", revision);
  const sha = exists(ref) ? Deno.readTextFileSync(ref).trim() : revision;
  const snapshot = join(cache, "snapshots", sha);
  return exists(join(snapshot, "config.json")) ? snapshot : undefined;
}

/**
 * Brings a repository's tokenizer.json, and nothing else, as {@linkcode downloadModel} does.
 * @returns its path.
 */
export async function downloadTokenizer(
  id: string,
  reporter: Reporter,
  settings: HubSettings = hubSettings(),
): Promise<string> {
  const choose = (files: RemoteFile[]) => {
    const chosen = files.filter(({ path }) => path === TOKENIZER);
    if (!chosen.length) throw new UserError(`Cannot use the tokenizer of ${id}: it has none`);
    return chosen;
  };
  return join(
    await download(id, (_, files) => choose(files), TOKENIZER, reporter, settings),
    TOKENIZER,
  );
}

const TOKENIZER = "tokenizer.json";

/** Brings the chosen files; without the hub, a copy that has the file `needed` serves. */
async function download(
  id: string,
  choose: (id: string, files: RemoteFile[]) => RemoteFile[],
  needed: string,
  reporter: Reporter,
  settings: HubSettings,
): Promise<string> {
  const [name, revision = "main"] = id.split("@") as [string, string?];
  const cache = join(settings.home, "hub", `models--${name.replace("/", "--")}`);
  const ref = join(cache, "refs", revision);
  let repository: Awaited<ReturnType<typeof listRepository>>;
  try {
    repository = await listRepository(name, revision, settings);
  } catch (error) {
    const kept = exists(ref) ? join(cache, "snapshots", Deno.readTextFileSync(ref).trim()) : "";
    // Whatever the hub says of the id: a refusal is no reason to use an old copy silently.
    if (!(error instanceof HubUnreachable) || !kept || !exists(join(kept, needed))) throw error;
    reporter.log(`${error.message}; using the copy in ${kept}`);
    return kept;
  }
  const { sha } = repository;
  const snapshot = join(cache, "snapshots", sha);
  for (const file of choose(id, repository.files)) {
    const place = join(snapshot, file.path);
    if (!exists(place)) {
      const hash = file.sha256 ?? file.blobId;
      const blob = join(cache, "blobs", hash ?? `${sha}-${file.path.replaceAll("/", "--")}`);
      if (!exists(blob)) await downloadBlob({ name, sha }, file, blob, settings, reporter);
      Deno.mkdirSync(dirname(place), { recursive: true });
      link(blob, place);
    }
    if (/\.index\.json$/.test(file.path)) checkIndex(id, place, repository.files);
  }
  writeAtomic(ref, sha);
  return snapshot;
}

/** The files of a model that are used: safetensors where there are any, else PyTorch's. */
function chooseModel(id: string, files: RemoteFile[]): RemoteFile[] {
  const has = (name: string) => files.some(({ path }) => path === name);
  const { single, index, pytorch, pytorchIndex } = WEIGHT_FILES;
  const weights = has(single)
    ? /^model\.safetensors$/
    : has(index)
    ? /^model(-\d+-of-\d+\.safetensors|\.safetensors\.index\.json)$/
    : has(pytorch)
    ? /^pytorch_model\.bin$/
    : /^pytorch_model(-\d+-of-\d+\.bin|\.bin\.index\.json)$/;
  const chosen = files.filter(({ path }) =>
    weights.test(path) || /^(config|generation_config|tokenizer)\.json$/.test(path)
  );
  if (!has("config.json") || ![single, index, pytorch, pytorchIndex].some(has)) {
    throw new UserError(
      `Cannot use the model ${id}: it has no config.json, or no ${single} or ${pytorch}, ` +
        `whole or in shards`,
    );
  }
  // The weights last: what is wrong with the small files shows before the wait.
  const rank = ({ path }: RemoteFile) => path.endsWith(".json") ? 0 : 1;
  return chosen.sort((a, b) => rank(a) - rank(b) || a.size - b.size);
}

/** @throws {UserError} where the index names a shard that the repository lacks. */
function checkIndex(id: string, index: string, files: RemoteFile[]): void {
  for (const [tensor, shard] of Object.entries(readIndex(index))) {
    if (files.some(({ path }) => path === shard)) continue;
    throw new UserError(
      `Cannot use the model ${id}: its index places the tensor "${tensor}" in ${shard}, which ` +
        `the repository does not have`,
    );
  }
}

async function downloadBlob(
  repository: { name: string; sha: string },
  file: RemoteFile,
  blob: string,
  settings: HubSettings,
  reporter: Reporter,
): Promise<void> {
  const incomplete = `${blob}.incomplete`;
  const { path, size } = file;
  const url = `${settings.endpoint}/${repository.name}/resolve/${repository.sha}/${path}`;
  Deno.mkdirSync(dirname(blob), { recursive: true });
  let have = exists(incomplete) ? Deno.statSync(incomplete).size : 0;
  if (have > size) have = 0; // of another file
  // Complete but for its name, after a kill: nothing is left to ask for.
  if (!have || have !== size) {
    const target = Deno.openSync(incomplete, { write: true, create: true });
    const progress = reporter.progress(`Downloading ${path}`, size, "bytes", have);
    try {
      const remote = await openDownload(repository, file, have, settings);
      target.seekSync(have, Deno.SeekMode.Start);
      let first = true;
      for await (const chunk of remote.body) {
        if (first && remote.whole()) target.seekSync(have = 0, Deno.SeekMode.Start);
        first = false;
        if (have + chunk.length > size) {
          have = 0;
          throw new UserError(
            `Cannot use ${url}: more than the ${size} bytes came that the hub lists; run the command ` +
              "again",
          );
        }
        for (let at = 0; at < chunk.length;) at += target.writeSync(chunk.subarray(at));
        progress.update(have += chunk.length, formatBytes(have));
      }
      target.syncSync();
      if (have < size) throw new Error(`${formatBytes(size - have)} are missing`);
    } catch (error) {
      if (isDiskFull(error) || error instanceof UserError) throw error;
      throw new HubUnreachable(
        `Cannot download ${url}: it broke off after ${formatBytes(have)} (${messageOf(error)}); ` +
          `run the command again to go on`,
      );
    } finally {
      progress.finish();
      target.truncateSync(have); // what a file sent anew has not yet replaced
      target.close();
    }
  }
  checkHash(incomplete, url, file);
  Deno.renameSync(incomplete, blob);
}

/** @throws {UserError} after removing the file, where it is not what the hub said. */
function checkHash(path: string, url: string, { sha256, blobId, size }: RemoteFile): void {
  const found = Deno.statSync(path).size;
  const wanted = sha256 ?? blobId;
  const hash = createHash(sha256 ? "sha256" : "sha1");
  if (!sha256) hash.update(`blob ${found}\0`); // as git hashes a file
  const file = Deno.openSync(path, { read: true });
  const block = new Uint8Array(1 << 20);
  try {
    for (let n = file.readSync(block); n !== null; n = file.readSync(block)) {
      hash.update(block.subarray(0, n));
    }
  } finally {
    file.close();
  }
  const right = size === found && (wanted === undefined || hash.digest("hex") === wanted);
  if (right) return;
  removeIfExists(path);
  throw new UserError(
    `Cannot use ${url}: what came (${found} bytes) is not what the hub lists; run the command again`,
  );
}

/**
 * A snapshot's file points to its blob, as Python's library has it. A symbolic link may lead anywhere,
 * so it takes rights to the whole disk, which the tasks do not give: there it is a second name of
 * the same file, and a copy where the disk has no such names.
 */
function link(blob: string, place: string): void {
  const ways = [
    () => Deno.symlinkSync(relative(dirname(place), blob), place),
    () => Deno.linkSync(blob, place),
  ];
  for (const way of ways) {
    try {
      return way();
    } catch {
      // the next way
    }
  }
  Deno.copyFileSync(blob, place);
}
