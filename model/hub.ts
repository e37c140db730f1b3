/**
 * Models from the Hugging Face hub, by their id. They are kept in the hub's own cache layout
 * (`models--org--name/{blobs,snapshots,refs}`), which Python's `huggingface_hub` shares. Honours
 * HF_ENDPOINT, HF_TOKEN and HF_HOME.
 * @module
 */
import { createHash } from "node:crypto";
import { isDiskFull, messageOf, UserError } from "../core/errors.ts";
import { exists, removeIfExists, writeAtomic } from "../core/files.ts";
import { formatBytes, type Reporter } from "../core/reporter.ts";
import { dirname, join, relative } from "../core/std.ts";

/** Where the hub is and what is known there. */
export interface HubSettings {
  endpoint: string;
  token: string | undefined;
  /** The folder of the cache: HF_HOME. */
  home: string;
}

/** The settings of the environment. */
export function hubSettings(): HubSettings {
  const get = (name: string) => Deno.env.get(name) || undefined;
  const cache = get("XDG_CACHE_HOME") ?? join(get("HOME") ?? get("USERPROFILE") ?? ".", ".cache");
  const home = get("HF_HOME") ?? join(cache, "huggingface"), tokenFile = join(home, "token");
  const token = get("HF_TOKEN") ??
    (exists(tokenFile) ? Deno.readTextFileSync(tokenFile).trim() || undefined : undefined);
  const endpoint = (get("HF_ENDPOINT") ?? "https://huggingface.co").replace(/\/+$/, "");
  return { endpoint, token, home };
}

/** True where `text` has the form of a hub id, "org/name" or "org/name@revision". */
export function isHubId(text: string): boolean {
  return /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*(@(?!.*\.\.)[\w./-]+)?$/.test(text);
}

/** The folder of a model: `model` itself where it exists, or the download of a hub id. */
export async function localModel(model: string, reporter: Reporter): Promise<string> {
  return exists(model) || !isHubId(model) ? model : await downloadModel(model, reporter);
}

/** A file of a repository, as the hub's API describes it. */
interface RemoteFile {
  rfilename: string;
  size?: number;
  /** The git blob's SHA-1. */
  blobId?: string;
  lfs?: { sha256?: string; oid?: string };
}

/**
 * Brings a model from the hub, or finds it in the cache. Downloads that broke off are gone on with;
 * every file is checked against the hub's hash.
 * @returns the folder with its files.
 * @throws {UserError} saying what could not be reached or was not right.
 */
export async function downloadModel(
  id: string,
  reporter: Reporter,
  settings: HubSettings = hubSettings(),
): Promise<string> {
  const [name, revision = "main"] = id.split("@") as [string, string?];
  const cache = join(settings.home, "hub", `models--${name.replace("/", "--")}`);
  const ref = join(cache, "refs", revision);
  let sha: string, files: RemoteFile[];
  try {
    ({ sha, files } = await listFiles(name, revision, settings));
  } catch (error) {
    const kept = exists(ref) ? join(cache, "snapshots", Deno.readTextFileSync(ref).trim()) : "";
    // Whatever the hub says of the id: a refusal is no reason to use an old copy silently.
    if (!(error instanceof HubUnreachable) || !kept || !exists(join(kept, "config.json"))) {
      throw error;
    }
    reporter.log(`${error.message}; using the copy in ${kept}`);
    return kept;
  }
  const snapshot = join(cache, "snapshots", sha);
  for (const file of chooseFiles(id, files)) {
    const place = join(snapshot, file.rfilename);
    if (exists(place)) continue;
    const hash = file.lfs?.sha256 ?? file.lfs?.oid ?? file.blobId;
    const blob = join(cache, "blobs", hash ?? `${sha}-${file.rfilename.replaceAll("/", "--")}`);
    if (!exists(blob)) {
      const url = `${settings.endpoint}/${name}/resolve/${sha}/${file.rfilename}`;
      await downloadFile(url, blob, file, settings, reporter);
    }
    Deno.mkdirSync(dirname(place), { recursive: true });
    link(blob, place);
  }
  writeAtomic(ref, sha);
  return snapshot;
}

/** The hub did not answer, so that a cached copy may serve. */
class HubUnreachable extends UserError {}

async function request(url: string, settings: HubSettings, headers: Record<string, string> = {}) {
  const authorization: Record<string, string> = settings.token
    ? { authorization: `Bearer ${settings.token}` }
    : {};
  try {
    return await fetch(url, { headers: { ...authorization, ...headers } });
  } catch (error) {
    throw new HubUnreachable(
      `Cannot reach ${new URL(url).origin}: ${
        messageOf(error)
      }; check the network or HF_ENDPOINT, ` +
        `or download the model's folder and name it`,
    );
  }
}

async function listFiles(name: string, revision: string, settings: HubSettings) {
  const path = `/api/models/${name}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const response = await request(settings.endpoint + path, settings);
  if (!response.ok) {
    await response.body?.cancel();
    const why: Record<number, string> = {
      401: "it does not exist, or HF_TOKEN is needed to see it",
      403: "access to it has not been granted to HF_TOKEN",
      404: `there is no such model, or no revision ${revision} of it`,
    };
    const status = response.status, kind = status >= 500 ? HubUnreachable : UserError;
    throw new kind(
      `Cannot get the model ${name} from ${settings.endpoint}: ` +
        (why[status] ?? `the hub answered ${status}`),
    );
  }
  const { sha, siblings } = await response.json() as { sha?: string; siblings?: RemoteFile[] };
  if (!sha || !/^[\w-]+$/.test(sha) || !Array.isArray(siblings)) {
    throw new UserError(
      `Cannot get the model ${name}: ${settings.endpoint} does not speak as a hub`,
    );
  }
  return { sha, files: siblings };
}

/** The files of a model that are used: safetensors where there are any, else PyTorch's. */
function chooseFiles(id: string, files: RemoteFile[]): RemoteFile[] {
  const has = (name: string) => files.some((f) => f.rfilename === name);
  const weights = has("model.safetensors")
    ? /^model\.safetensors$/
    : has("model.safetensors.index.json")
    ? /^model(-\d+-of-\d+\.safetensors|\.safetensors\.index\.json)$/
    : /^pytorch_model\.bin$/;
  const chosen = files.filter(({ rfilename }) =>
    weights.test(rfilename) || /^(config|generation_config|tokenizer)\.json$/.test(rfilename)
  );
  if (!has("config.json") || !chosen.some((f) => weights.test(f.rfilename))) {
    throw new UserError(
      `Cannot use the model ${id}: it has no config.json, or neither model.safetensors nor ` +
        `pytorch_model.bin`,
    );
  }
  // The weights last: what is wrong with the small files shows before the wait.
  return chosen.sort((a, b) => (a.size ?? 0) - (b.size ?? 0));
}

async function downloadFile(
  url: string,
  blob: string,
  file: RemoteFile,
  settings: HubSettings,
  reporter: Reporter,
): Promise<void> {
  const incomplete = `${blob}.incomplete`;
  Deno.mkdirSync(dirname(blob), { recursive: true });
  let have = exists(incomplete) ? Deno.statSync(incomplete).size : 0;
  const range: Record<string, string> = have ? { range: `bytes=${have}-` } : {};
  // Complete but for its name, after a kill: nothing is left to ask for.
  if (!have || have !== file.size) {
    const response = await request(url, settings, range);
    if (!response.ok || !response.body) {
      await response.body?.cancel();
      throw new UserError(`Cannot download ${url}: the hub answered ${response.status}`);
    }
    if (response.status !== 206) have = 0; // it sends the whole file
    const target = Deno.openSync(incomplete, { write: true, create: true, truncate: have === 0 });
    const total = file.size ?? 0;
    const progress = reporter.progress(`Downloading ${file.rfilename}`, total, "bytes", have);
    try {
      target.seekSync(0, Deno.SeekMode.End);
      for await (const chunk of response.body) {
        for (let at = 0; at < chunk.length;) at += target.writeSync(chunk.subarray(at));
        progress.update(have += chunk.length, formatBytes(have));
      }
      target.syncSync();
      if (have < total) throw new Error(`${formatBytes(total - have)} are missing`);
    } catch (error) {
      if (isDiskFull(error)) throw error;
      throw new HubUnreachable(
        `Cannot download ${url}: it broke off after ${formatBytes(have)} (${messageOf(error)}); ` +
          `run the command again to go on`,
      );
    } finally {
      progress.finish();
      target.close();
    }
  }
  checkHash(incomplete, url, file);
  Deno.renameSync(incomplete, blob);
}

/** @throws {UserError} after removing the file, where it is not what the hub said. */
function checkHash(path: string, url: string, { lfs, blobId, size }: RemoteFile): void {
  const found = Deno.statSync(path).size, sha256 = lfs?.sha256 ?? lfs?.oid;
  const wanted = sha256 ?? blobId;
  const hash = createHash(sha256 ? "sha256" : "sha1");
  if (!sha256) hash.update(`blob ${found}\0`); // as git hashes a file
  const file = Deno.openSync(path, { read: true }), block = new Uint8Array(1 << 20);
  try {
    for (let n = file.readSync(block); n !== null; n = file.readSync(block)) {
      hash.update(block.subarray(0, n));
    }
  } finally {
    file.close();
  }
  const right = (size === undefined || size === found) &&
    (wanted === undefined || hash.digest("hex") === wanted);
  if (right) return;
  removeIfExists(path);
  throw new UserError(
    `Cannot use ${url}: what came (${found} bytes) is not what the hub lists; run the command again`,
  );
}

/** A snapshot's file points to its blob; where links are not to be had, it is a copy. */
function link(blob: string, place: string): void {
  try {
    Deno.symlinkSync(relative(dirname(place), blob), place);
  } catch {
    Deno.copyFileSync(blob, place);
  }
}
